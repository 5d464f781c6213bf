//! One round: a fault, perhaps a second one while it holds, the wait for what the cluster must do nevertheless, and the
//! recovery.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::ledger::Violation;
use rand::rngs::SmallRng;
use tokio::task::block_in_place;

use super::fault::{ChaosFault, Shape, What};
use super::load::Load;
use super::options::PATIENCE;
use super::probe::{Answered, Probe};
use super::profile::{self, Round};
use super::report::{Company, Injected};
use super::strike::{Struck, victims};
use crate::cluster::Cluster;
use crate::observe::Figures;

/// A fault that took effect.
struct Proven {
    struck: Struck,
    proof: String,
    acknowledged_before: u64,
}

/// The faults that hold now.
struct Now<'a> {
    cluster: &'a Cluster,
    load: &'a Load,
    probe: &'a Probe,
    /// Number of nodes in the cluster.
    count: usize,
    /// Number of writes acknowledged by the last fault, or by the end of the round before.
    acknowledged: u64,
    struck: Vec<Proven>,
}

/// Result of a round.
pub(super) struct Outcome {
    pub(super) injected: Vec<Injected>,
    /// A write that was acknowledged although there was no quorum.
    pub(super) without_quorum: Option<Violation>,
}

/// Runs one round to its end: no fault holds any more, and all nodes run. `acknowledged`: number of writes by the end
/// of the round before.
pub(super) async fn run(
    cluster: &Cluster,
    (load, probe): (&Load, &Probe),
    round: &Round,
    acknowledged: u64,
    rng: &mut SmallRng,
) -> Result<Outcome> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let term = term(cluster, primary).await?;
    let count = cluster.file()?.nodes.len();
    let mut now = Now { cluster, load, probe, count, acknowledged, struck: Vec::new() };
    let nodes = victims(cluster, round.fault, (&[], &[]), rng).await?.context("there is no node to hit")?;
    now.strike(round.fault, nodes).await?;
    if let Some(company) = &round.company {
        now.join(company, rng).await?;
    }
    if now.struck().any(|struck| struck.fault.kills_all()) {
        block_in_place(|| cluster.start_again())?;
    }
    if now.leaves_a_quorum() {
        now.end_bearable(primary, term, round.hold).await
    } else {
        now.end_too_much(round.hold).await
    }
}

impl Now<'_> {
    async fn strike(&mut self, fault: ChaosFault, nodes: Vec<u64>) -> Result<()> {
        let acknowledged = self.load.acknowledged();
        let acknowledged_before = acknowledged - self.acknowledged;
        self.acknowledged = acknowledged;
        let (struck, proof) = Struck::strike_and_prove(self.cluster, fault, nodes).await.context(fault.name())?;
        self.struck.push(Proven { struck, proof, acknowledged_before });
        Ok(())
    }

    /// Injects a second fault, if it can be combined with the first.
    async fn join(&mut self, company: &profile::Companion, rng: &mut SmallRng) -> Result<()> {
        let (first, second) = (self.struck[0].struck.fault, company.fault);
        let both_drop = matches!((first.what(), second.what()), (What::Drop(_), What::Drop(_)));
        let at_the_processes = second.kills_all() && !first.outlives_processes();
        if first.kills_all() || both_drop || at_the_processes || !self.leaves_a_quorum() {
            return Ok(());
        }
        let hit = self.nodes(|_| true);
        let deposed = self.nodes(|struck| struck.fault.deposes());
        let Some(nodes) = victims(self.cluster, second, (&hit, &deposed), rng).await? else { return Ok(()) };
        if !company.at_any_price && !second.kills_all() && !has_quorum(self.count, self.away_with(second, &nodes)) {
            return Ok(());
        }
        if let Some(left) = company.after.checked_sub(self.struck[0].struck.at.elapsed()) {
            tokio::time::sleep(left).await;
        }
        self.strike(second, nodes).await
    }

    /// Victims of the faults for which `is_such` is true.
    fn nodes(&self, is_such: impl Fn(&Struck) -> bool) -> Vec<u64> {
        self.struck().filter(|struck| is_such(struck)).flat_map(|struck| struck.nodes.iter().copied()).collect()
    }

    fn struck(&self) -> impl Iterator<Item = &Struck> {
        self.struck.iter().map(|proven| &proven.struck)
    }

    /// Number of nodes that do not contribute to a quorum. If all nodes were killed at once, they are restarted at once
    /// and do not count.
    fn away(&self) -> usize {
        let taking = self.struck().filter(|struck| struck.fault.takes_away() && !struck.fault.kills_all());
        taking.map(|struck| struck.nodes.len()).sum()
    }

    fn away_with(&self, fault: ChaosFault, nodes: &[u64]) -> usize {
        self.away() + self.lost_to_shapes() + if fault.takes_away() { nodes.len() } else { shape_loss(fault) }
    }

    /// In a bridge or a ring each node sees just a majority: with one more node lost, it sees less.
    fn lost_to_shapes(&self) -> usize {
        self.struck().map(|struck| shape_loss(struck.fault)).sum()
    }

    fn leaves_a_quorum(&self) -> bool {
        let alone = self.struck.len() == 1;
        has_quorum(self.count, self.away() + if alone { 0 } else { self.lost_to_shapes() })
    }

    /// Nodes from which packets are dropped: such a primary may still answer reads under its lease.
    fn cut_off(&self) -> Vec<u64> {
        let cuts = |fault: ChaosFault| fault.takes_away() && matches!(fault.what(), What::Drop(_) | What::Links(_));
        self.nodes(|struck| cuts(struck.fault))
    }

    /// Ends a round with a quorum: the cluster must acknowledge and answer while the faults hold.
    async fn end_bearable(self, primary: u64, term: u64, hold: Duration) -> Result<Outcome> {
        let last = self.struck().last().context("a round has a fault")?;
        let since = (last.at, last.effective);
        let spans = next_answers(self.probe, since, &self.cut_off()).await?;
        let next = self.next_primary(primary, term).await?;
        if self.struck().any(|struck| !struck.fault.kills_all()) {
            tokio::time::sleep(hold).await;
        }
        let company = if self.struck.len() == 1 { Company::Alone } else { Company::Bearable };
        let injected = self.undo(company, spans, next).await?;
        Ok(Outcome { injected, without_quorum: None })
    }

    /// Ends a round without a quorum: no write may be acknowledged until the faults are undone, and then it must be.
    async fn end_too_much(self, hold: Duration) -> Result<Outcome> {
        let proven = Instant::now();
        tokio::time::sleep(hold).await;
        // With a bridge or a ring it is not certain that there is no quorum: then a write may be acknowledged or not.
        let none_left = !has_quorum(self.count, self.away()) && !self.load.may_lose();
        let acknowledged = self.probe.first_write_since(proven).filter(|_| none_left);
        let what = self.struck().map(|struck| format!("{} of {:?}", struck.fault.name(), struck.nodes));
        let what = what.collect::<Vec<_>>().join(", ");
        let without_quorum = acknowledged.map(|_| Violation {
            key: "a write of shard 1".to_owned(),
            what: format!("acknowledged although no quorum was left: {what}"),
        });
        let (cluster, probe) = (self.cluster, self.probe);
        let mut injected = self.undo(Company::TooMuch, (Duration::ZERO, Duration::ZERO), String::new()).await?;
        let undone = Instant::now();
        let spans = next_answers(probe, (undone, undone), &[]).await?;
        for one in &mut injected {
            (one.until_write, one.until_read) = spans;
        }
        cluster.primary(1, PATIENCE).await?;
        Ok(Outcome { injected, without_quorum })
    }

    /// If a single fault has deposed the primary: checks that another node leads, in a later term.
    async fn next_primary(&self, primary: u64, term: u64) -> Result<String> {
        let [Proven { struck: only, .. }] = self.struck.as_slice() else { return Ok(String::new()) };
        if !only.nodes.contains(&primary) || !only.fault.deposes() || only.fault.kills_all() {
            return Ok(String::new());
        }
        let next = self.cluster.primary_outside(&only.nodes, 1, PATIENCE).await?;
        let new_term = self::term(self.cluster, next).await?;
        ensure!(new_term > term, "node {next} leads in term {new_term}, node {primary} led in {term}");
        Ok(format!(", node {next} leads"))
    }

    /// Heals first and then starts all stopped nodes at the same time: each may need another one before it serves.
    async fn undo(mut self, company: Company, spans: (Duration, Duration), next: String) -> Result<Vec<Injected>> {
        block_in_place(|| {
            self.struck.iter_mut().try_for_each(|struck| struck.struck.heal(self.cluster))?;
            let dead: Vec<u64> =
                self.struck.iter().flat_map(|struck| struck.struck.to_start().iter().copied()).collect();
            self.cluster.start_nodes(&dead)?;
            self.struck.iter().try_for_each(|struck| struck.struck.wait_for_recovery(self.cluster))
        })
        .context("the end of the faults")?;
        let injected = self.struck.into_iter().map(|Proven { struck, proof, acknowledged_before }| Injected {
            fault: struck.fault,
            nodes: struck.nodes,
            company,
            acknowledged_before,
            until_write: spans.0,
            until_read: spans.1,
            proof: format!("{proof}{next}"),
        });
        Ok(injected.collect())
    }
}

/// The times from the first moment to the next write and the next read that were sent after the second moment.
async fn next_answers(
    probe: &Probe,
    (at, effective): (Instant, Instant),
    outside: &[u64],
) -> Result<(Duration, Duration)> {
    let write = probe.next_after(Answered::Write, effective, &[], PATIENCE).await?;
    let read = probe.next_after(Answered::Read, effective, outside, PATIENCE).await?;
    Ok((write - at, read - at))
}

fn has_quorum(count: usize, away: usize) -> bool {
    count.saturating_sub(away) > count / 2
}

fn shape_loss(fault: ChaosFault) -> usize {
    usize::from(matches!(fault.what(), What::Drop(Shape::Bridge | Shape::Ring)))
}

/// The term of a node's replica of shard 1.
async fn term(cluster: &Cluster, node: u64) -> Result<u64> {
    Figures::of(&cluster.node(node)?).await?.shard("fastness_term", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_a_quorum() {
        assert!(has_quorum(3, 1) && !has_quorum(3, 2));
        assert!(has_quorum(5, 2) && !has_quorum(5, 3) && !has_quorum(5, 7));
    }
}
