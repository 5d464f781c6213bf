//! The report of a chaos run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastness_load::ledger::{Summary, Violation};
use serde_json::{Value, json};

use super::options::WRITES_BEFORE_POWER_LOSS;
use super::{ChaosFault, ChaosPlan, LoadVerdict};
use crate::clients::{ClientKind, ClientMix, Counts};

/// Delay with which a client that shares its cores with the cluster may read its replies.
pub(super) const CLIENT_DELAY_MAX: Duration = Duration::from_millis(150);

/// One fault and its effect.
#[derive(Debug, Clone)]
pub struct Injected {
    /// Kind of the fault.
    pub fault: ChaosFault,
    /// The nodes that it hit.
    pub nodes: Vec<u64>,
    /// Whether other faults were active.
    pub company: Company,
    /// Number of writes acknowledged since the fault before, or since the end of the round before.
    pub acknowledged_before: u64,
    /// Time from the fault to the next acknowledged write of shard 1; with overlapping faults from the last one, and
    /// from the end of all of them if they left no quorum.
    pub until_write: Duration,
    /// The same to the next linearizable read, on a node from which no packets were dropped.
    pub until_read: Duration,
    /// Evidence that the fault took effect.
    pub proof: String,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, nodes) = (self.fault.name(), &self.nodes);
        let company = match self.company {
            Company::Alone => "",
            Company::Bearable => " with other faults",
            Company::TooMuch => " with more faults than the cluster tolerates",
        };
        let (write, read) = (self.until_write.as_millis(), self.until_read.as_millis());
        write!(f, "{fault:14} nodes {nodes:?}{company}: next write after {write} ms, read {read} ms; {}", self.proof)
    }
}

/// Whether other faults were active at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// No other fault.
    Alone,
    /// Other faults, too, with a quorum left: the cluster had to continue.
    Bearable,
    /// Other faults, too, without a quorum: no write could be acknowledged.
    TooMuch,
}

/// The report of a run.
#[derive(Debug)]
pub struct ChaosReport {
    /// Seed of all choices.
    pub seed: u64,
    /// The faults to inject.
    pub plan: ChaosPlan,
    /// What clients spoke.
    pub clients: ClientMix,
    /// Longest allowed loss of a failover, under `async`.
    pub max_loss: Option<Duration>,
    /// Number of nodes and of shards.
    pub size: (usize, u32),
    /// All injected faults.
    pub injected: Vec<Injected>,
    /// Writes that were acknowledged although there was no quorum.
    pub without_quorum: Vec<Violation>,
    /// Findings of the load.
    pub verdict: LoadVerdict,
    /// Number of digests that matched one of another replica.
    pub digests_compared: u64,
    /// Length of the run.
    pub elapsed: Duration,
}

/// One of the two measured times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the next acknowledged write.
    Write,
    /// To the next linearizable read.
    Read,
}

impl ChaosReport {
    /// All violations; a good run has none.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let LoadVerdict { while_running, read_back, histories, counters, .. } = &self.verdict;
        let of_counters = counters.iter().flat_map(|counters| counters.violations.iter().cloned());
        let of_ledger = self.without_quorum.iter().chain(while_running).chain(read_back).map(ToString::to_string);
        let of_histories = histories.iter().flat_map(|histories| &histories.violations).map(ToString::to_string);
        of_ledger.chain(of_histories).chain(of_counters).chain(self.lost_too_much()).collect()
    }

    /// The longest loss of a failover.
    #[must_use]
    pub fn async_loss_max_ms(&self) -> Option<u64> {
        self.verdict.losses.as_ref().map(|losses| losses.longest.as_millis() as u64)
    }

    /// The violation if a failover lost more than the bound of `async`.
    fn lost_too_much(&self) -> Option<String> {
        let (bound, losses) = (self.max_loss?, self.verdict.losses.as_ref()?);
        (losses.longest > bound + CLIENT_DELAY_MAX).then(|| {
            format!(
                "a failover lost a write {:?} older than the newest acknowledged one, the bound is {bound:?}",
                losses.longest
            )
        })
    }

    /// Histories and counters without a verdict, and why: a run with any of them proves nothing.
    #[must_use]
    pub fn undecided(&self) -> Vec<String> {
        let LoadVerdict { histories, counters, .. } = &self.verdict;
        let of_histories = histories.iter().flat_map(|histories| &histories.undecided);
        let of_counters = counters.iter().flat_map(|counters| &counters.undecided);
        of_histories.chain(of_counters).cloned().collect()
    }

    /// Number of lost acknowledged writes, by the ledger and the histories, and of counters that lack some.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let LoadVerdict { read_back, histories, counters, .. } = &self.verdict;
        let of_histories = histories.as_ref().map_or(0, |histories| histories.lost);
        read_back.len() as u64 + of_histories + counters.as_ref().map_or(0, |counters| counters.lost)
    }

    /// Number of stale reads.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.verdict.while_running.len() as u64 + self.verdict.histories.as_ref().map_or(0, |histories| histories.stale)
    }

    /// Operations of all clients.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Summary { acknowledged, refused, unknown, reads } = self.verdict.summary;
        let of_histories = self.verdict.histories.iter().flat_map(|histories| histories.by_workload.values().copied());
        let of_counters = self.verdict.counters.iter().flat_map(|counters| counters.by_name.values().copied());
        of_histories
            .chain(of_counters)
            .fold(Counts { acknowledged, refused, unknown, reads }, |sum, counts| sum + counts)
    }

    /// Number of judged answers: the reads of the ledger, the operations of histories, and the increments.
    #[must_use]
    pub fn ops_checked(&self) -> u64 {
        let LoadVerdict { summary, histories, counters, .. } = &self.verdict;
        let increments = counters.iter().flat_map(|counters| counters.by_name.values());
        let increments: u64 = increments.map(|counts| counts.acknowledged + counts.unknown).sum();
        summary.reads + histories.as_ref().map_or(0, |histories| histories.ops_checked) + increments
    }

    /// Operations of each kind of client, without those of the probe.
    #[must_use]
    pub fn by_client(&self) -> BTreeMap<String, Counts> {
        let of = |(kind, counts): (&ClientKind, &Counts)| (kind.name().to_owned(), *counts);
        self.verdict.by_client.iter().map(of).collect()
    }

    /// How often one of these faults was injected.
    #[must_use]
    pub fn times(&self, faults: &[ChaosFault]) -> usize {
        self.injected.iter().filter(|i| faults.contains(&i.fault)).count()
    }

    /// How often one of these faults was injected alone.
    #[must_use]
    pub fn alone(&self, faults: &[ChaosFault]) -> usize {
        self.injected.iter().filter(|i| i.company == Company::Alone && faults.contains(&i.fault)).count()
    }

    /// Number of power losses that count. Each has lost an unsynced canary on every node that it hit (otherwise the run
    /// would have failed), after a thousand acknowledged writes.
    #[must_use]
    pub fn power_losses(&self, faults: &[ChaosFault]) -> usize {
        let losses = self.injected.iter().filter(|i| i.fault.is_power_loss() && faults.contains(&i.fault));
        losses.filter(|i| i.acknowledged_before >= WRITES_BEFORE_POWER_LOSS).count()
    }

    /// Quantile `0.0 < share <= 1.0` of the time for these faults, of those that were injected alone.
    #[must_use]
    pub fn until(&self, what: Until, faults: &[ChaosFault], share: f64) -> Option<Duration> {
        self.quantile(what, share, |i| i.company == Company::Alone && faults.contains(&i.fault))
    }

    /// The same for all faults with this company.
    #[must_use]
    pub fn until_in(&self, what: Until, company: Company, share: f64) -> Option<Duration> {
        self.quantile(what, share, |i| i.company == company)
    }

    fn quantile(&self, what: Until, share: f64, is_selected: impl Fn(&Injected) -> bool) -> Option<Duration> {
        let span = |i: &Injected| match what {
            Until::Write => i.until_write,
            Until::Read => i.until_read,
        };
        let mut spans: Vec<Duration> = self.injected.iter().filter(|i| is_selected(i)).map(span).collect();
        spans.sort();
        let rank = (share * spans.len() as f64).ceil() as usize;
        spans.get(rank.checked_sub(1)?).copied()
    }

    /// The figures of the run, as JSON.
    #[must_use]
    pub fn row(&self) -> Value {
        let counts = self.counts();
        let mut by_kind = BTreeMap::new();
        for fault in ChaosFault::ALL {
            let times = self.times(&[fault]);
            if times > 0 {
                let ms = |what| {
                    let at = |share| self.until(what, &[fault], share).map(|span| span.as_millis() as u64);
                    json!({ "p50": at(0.5), "p99": at(0.99) })
                };
                let figures =
                    json!({ "times": times, "next_write_ms": ms(Until::Write), "next_read_ms": ms(Until::Read) });
                by_kind.insert(fault.name(), figures);
            }
        }
        json!({
            "seed": self.seed,
            "nodes": self.size.0,
            "shards": self.size.1,
            "faults": self.injected.len(),
            "by_kind": by_kind,
            "power_losses": {
                "node": self.power_losses(&[ChaosFault::PowerPrimary, ChaosFault::PowerAny]),
                "az": self.power_losses(&[ChaosFault::PowerAz]),
                "cluster": self.power_losses(&[ChaosFault::PowerAll]),
            },
            "overlapping": self.injected.iter().filter(|i| i.company != Company::Alone).count(),
            "acknowledged": counts.acknowledged,
            "refused": counts.refused,
            "unknown": counts.unknown,
            "reads": counts.reads,
            "by_client": self.by_client(),
            "counted": self.verdict.counters.as_ref().map(|counters| counters.counted),
            "watched": self.verdict.counters.as_ref().map(|counters| counters.events),
            "watches_purged": self.verdict.counters.as_ref().map(|counters| counters.purged),
            "ops_checked": self.ops_checked(),
            "lost": self.lost(),
            "stale": self.stale(),
            "undecided": self.undecided().len(),
            "without_quorum": self.without_quorum.len(),
            "lost_within_bound": self.verdict.losses.as_ref().map(|losses| losses.lost),
            "async_loss_max_ms": self.async_loss_max_ms(),
            "digests_compared": self.digests_compared,
            "wall_s": self.elapsed.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use fastness_load::losses::Losses;

    use super::*;

    fn one(fault: ChaosFault, company: Company, ms: u64) -> Injected {
        let span = Duration::from_millis(ms);
        Injected {
            fault,
            nodes: vec![1],
            company,
            acknowledged_before: 10 * ms,
            until_write: span,
            until_read: span / 2,
            proof: String::new(),
        }
    }

    fn report(injected: Vec<Injected>) -> ChaosReport {
        ChaosReport {
            seed: 1,
            plan: ChaosPlan::these(&[]),
            clients: ClientMix::Resp,
            max_loss: None,
            size: (3, 1),
            injected,
            without_quorum: Vec::new(),
            verdict: LoadVerdict::default(),
            digests_compared: 0,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_power_loss_counts_if_there_was_something_to_lose() {
        let losses = [one(ChaosFault::PowerAll, Company::Alone, 99), one(ChaosFault::PowerAll, Company::Bearable, 100)];
        let report = report(losses.to_vec());
        assert_eq!((report.power_losses(&ChaosFault::ALL), report.power_losses(&[ChaosFault::PowerAny])), (1, 0));
        assert_eq!(report.row()["power_losses"], json!({ "node": 0, "az": 0, "cluster": 1 }));
    }

    #[test]
    fn what_is_lost_beyond_the_bound_is_a_broken_promise() {
        for (max_loss, longest_ms, broken) in [(Some(1_000), 1_150, 0), (Some(1_000), 1_151, 1), (None, 9_000, 0)] {
            let mut report = report(Vec::new());
            report.max_loss = max_loss.map(Duration::from_millis);
            let longest = Duration::from_millis(longest_ms);
            report.verdict.losses = Some(Losses { lost: 1, tenures: 1, longest, ..Losses::default() });
            assert_eq!(report.violations().len(), broken, "{longest:?} of {max_loss:?} ms");
            assert_eq!(report.async_loss_max_ms(), Some(longest_ms));
        }
    }

    #[test]
    fn quantiles_are_of_the_selected_faults() {
        let mut injected: Vec<_> = (1..=100).map(|ms| one(ChaosFault::KillPrimary, Company::Alone, ms)).collect();
        injected.push(one(ChaosFault::PausePrimary, Company::Alone, 7000));
        injected.push(one(ChaosFault::KillPrimary, Company::Bearable, 9000));
        let report = report(injected);
        let ms = |what, share| report.until(what, &[ChaosFault::KillPrimary], share).map(|span| span.as_millis());
        assert_eq!((ms(Until::Write, 0.5), ms(Until::Write, 0.99)), (Some(50), Some(99)));
        assert_eq!(ms(Until::Read, 1.0), Some(50));
        let both = [ChaosFault::KillPrimary, ChaosFault::PausePrimary];
        assert_eq!(report.until(Until::Write, &both, 1.0).map(|span| span.as_secs()), Some(7));
        assert_eq!(report.until(Until::Write, &[ChaosFault::KillAll], 0.5), None);
        assert_eq!(report.until_in(Until::Write, Company::Bearable, 1.0).map(|span| span.as_secs()), Some(9));
        assert_eq!((report.times(&[ChaosFault::PausePrimary]), report.times(&both)), (1, 102));
        let row = report.row();
        assert_eq!(row["by_kind"]["kill-primary"]["next_write_ms"]["p99"], 99);
        assert_eq!((&row["faults"], &row["overlapping"]), (&json!(102), &json!(1)));
    }
}
