//! Injects a fault, proves that it took effect, and undoes it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::task::block_in_place;

use super::fault::{ChaosFault, Shape, What, Whom};
use super::options::PATIENCE;
use crate::cluster::Cluster;
use crate::observe::Figures;
use crate::partition::Cut;

/// Maximum time until a fault takes effect.
const SHOWS_WITHIN: Duration = Duration::from_secs(20);

/// An active fault. Dropping it without [`Struck::heal`] removes its packet filters; its processes belong to the
/// cluster.
pub(super) struct Struck {
    pub(super) fault: ChaosFault,
    /// The nodes that it hit; for a bridge the middle node.
    pub(super) nodes: Vec<u64>,
    /// Just before the fault.
    pub(super) at: Instant,
    /// From this moment on the victims cannot acknowledge requests sent later.
    pub(super) effective: Instant,
    cut: Option<Cut>,
    /// For each victim, the length of its log messages before the fault, and the number of writes and frames affected
    /// by earlier faults.
    before: Vec<Before>,
}

struct Before {
    node: u64,
    logged: usize,
    met: u64,
}

/// Chooses the victims of a fault, except nodes that were hit already (`hit`; of these, `deposed` lose leadership).
/// `None` if no node is left.
pub(super) async fn victims(
    cluster: &Cluster,
    fault: ChaosFault,
    (hit, deposed): (&[u64], &[u64]),
    rng: &mut SmallRng,
) -> Result<Option<Vec<u64>>> {
    let nodes = cluster.file()?.nodes;
    let mut left: Vec<u64> = nodes.iter().map(|node| node.id).filter(|node| !hit.contains(node)).collect();
    let victims = match fault.whom() {
        Whom::All => return Ok(Some(nodes.iter().map(|node| node.id).collect())),
        Whom::Any => left,
        Whom::Primary => vec![cluster.primary_outside(deposed, 1, PATIENCE).await?],
        Whom::Other => {
            let primary = cluster.primary_outside(deposed, 1, PATIENCE).await?;
            left.retain(|node| *node != primary);
            left
        }
        Whom::Az => {
            let primary = cluster.primary_outside(deposed, 1, PATIENCE).await?;
            let az = nodes.iter().find(|node| node.id == primary).map(|node| node.az.clone());
            nodes.iter().filter(|node| Some(&node.az) == az.as_ref()).map(|node| node.id).collect()
        }
    };
    if victims.is_empty() || victims.iter().any(|node| hit.contains(node)) {
        return Ok(None);
    }
    Ok(Some(match fault.whom() {
        Whom::Any | Whom::Other => vec![victims[rng.random_range(0..victims.len())]],
        _ => victims,
    }))
}

impl Struck {
    /// Injects a fault.
    fn strike(cluster: &Cluster, fault: ChaosFault, nodes: Vec<u64>) -> Result<Struck> {
        let before = nodes.iter().map(|node| Before::of(cluster, fault, *node)).collect::<Result<_>>()?;
        let begun = Instant::now();
        let mut cut = None;
        match fault.what() {
            What::Kill if fault.whom() == Whom::All => cluster.kill_all()?,
            What::Kill => nodes.iter().try_for_each(|node| cluster.kill(*node))?,
            What::PowerLoss => cluster.lose_power(&nodes)?,
            What::Pause => nodes.iter().try_for_each(|node| cluster.pause(*node))?,
            What::Drop(shape) => cut = Some(drop_packets(cluster, shape, &nodes)?),
            What::Disk(how) => nodes.iter().try_for_each(|node| cluster.disk_fault(*node, how))?,
            What::Links(how) => nodes.iter().try_for_each(|node| links(cluster, *node, how))?,
            What::Clock(ahead_s) => nodes.iter().try_for_each(|node| cluster.set_clock(*node, ahead_s))?,
        }
        let effective = Instant::now();
        // Creating rules and running commands takes a while during which nothing has changed yet.
        let by_signal = matches!(fault.what(), What::Kill | What::PowerLoss | What::Pause);
        let at = if by_signal { begun } else { effective };
        Ok(Struck { fault, nodes, at, effective, cut, before })
    }

    /// Injects a fault, waits until it takes effect, and returns the evidence in words.
    pub(super) async fn strike_and_prove(
        cluster: &Cluster,
        fault: ChaosFault,
        nodes: Vec<u64>,
    ) -> Result<(Struck, String)> {
        let mut struck = block_in_place(|| Struck::strike(cluster, fault, nodes))?;
        let proof = struck.prove(cluster).await?;
        if matches!(fault.what(), What::Clock(_)) {
            // The clock was set when the node has read it.
            struck.at = Instant::now();
            struck.effective = struck.at;
        }
        Ok((struck, proof))
    }

    /// Waits for evidence that the fault holds, and returns it.
    async fn prove(&self, cluster: &Cluster) -> Result<String> {
        let count = self.nodes.len();
        match self.fault.what() {
            // Killing has waited until the processes ended, and power loss has checked the canaries.
            What::Kill => Ok(format!("{count} processes have ended")),
            What::PowerLoss => Ok(format!("{count} processes have ended, and their unsynced canaries are lost")),
            What::Pause => {
                self.all_are_stopped(cluster)?;
                Ok(format!("all threads of {count} processes are stopped"))
            }
            What::Drop(_) => {
                let dropped = wait_for("a dropped packet", || self.dropped()).await?;
                Ok(format!("{dropped} packets were dropped at once"))
            }
            What::Disk("full") => {
                block_in_place(|| self.logs(cluster, "the disk is full by an injected fault"))?;
                self.nodes
                    .iter()
                    .try_for_each(|node| cluster.pid(*node).map(drop))
                    .context("it must wait, not stop")?;
                Ok("the node waits for space".to_owned())
            }
            What::Disk("fail") => {
                block_in_place(|| self.logs(cluster, "fsync failed"))?;
                wait_for("the node's stop", || Ok(u64::from(self.nobody_runs(cluster)?))).await?;
                Ok("the node has stopped".to_owned())
            }
            What::Disk(_) | What::Links(_) => {
                let met = wait_for("a write or a frame that meets the fault", || self.met(cluster)).await?;
                Ok(format!("met {met} times at once"))
            }
            What::Clock(_) => self.clock_is_off(cluster).await,
        }
    }

    /// Checks that the fault still holds, before it is undone.
    fn still_holds(&self, cluster: &Cluster) -> Result<()> {
        match self.fault.what() {
            What::Pause => self.all_are_stopped(cluster),
            What::Kill | What::PowerLoss if !self.fault.kills_all() => {
                ensure!(self.nobody_runs(cluster)?, "nodes {:?} run again", self.nodes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn all_are_stopped(&self, cluster: &Cluster) -> Result<()> {
        for node in &self.nodes {
            ensure!(cluster.is_stopped(*node)?, "node {node} is not stopped");
        }
        Ok(())
    }

    /// Undoes what can be undone at once, after checking that the fault still holds. Then stopped nodes can be started,
    /// see [`Struck::to_start`], and finally [`Struck::wait_for_recovery`] waits for the others.
    pub(super) fn heal(&mut self, cluster: &Cluster) -> Result<()> {
        self.still_holds(cluster)?;
        let mut nodes = self.nodes.iter();
        match self.fault.what() {
            What::Kill | What::PowerLoss | What::Disk("fail") => Ok(()),
            What::Pause => nodes.try_for_each(|node| cluster.resume(*node)),
            What::Drop(_) => self.cut.take().map_or(Ok(()), Cut::mend),
            What::Disk(_) => nodes.try_for_each(|node| cluster.disk_fault(*node, "heal")),
            What::Links(_) => nodes.try_for_each(|node| links(cluster, *node, &["heal"])),
            What::Clock(_) => nodes.try_for_each(|node| cluster.set_clock(*node, 0)),
        }
    }

    /// Nodes that the fault has left stopped.
    pub(super) fn to_start(&self) -> &[u64] {
        match self.fault.what() {
            What::Kill | What::PowerLoss | What::Disk("fail") if !self.fault.kills_all() => &self.nodes,
            _ => &[],
        }
    }

    /// Waits for nodes that recover on their own.
    pub(super) fn wait_for_recovery(&self, cluster: &Cluster) -> Result<()> {
        if self.fault.what() != What::Disk("full") {
            return Ok(());
        }
        for before in &self.before {
            cluster.wait_for_log(before.node, before.logged, "node started", PATIENCE)?;
        }
        cluster.configure()
    }

    fn dropped(&self) -> Result<u64> {
        self.cut.as_ref().context("nothing is cut")?.dropped()
    }

    fn met(&self, cluster: &Cluster) -> Result<u64> {
        let met = self.before.iter().map(|before| Ok(cluster.faults_met(before.node)?.saturating_sub(before.met)));
        met.sum()
    }

    fn logs(&self, cluster: &Cluster, words: &str) -> Result<()> {
        let mut before = self.before.iter();
        before.try_for_each(|before| cluster.wait_for_log(before.node, before.logged, words, SHOWS_WITHIN))
    }

    fn nobody_runs(&self, cluster: &Cluster) -> Result<bool> {
        let file = cluster.file()?;
        let mut hit = file.nodes.iter().filter(|node| self.nodes.contains(&node.id));
        Ok(hit.all(|node| node.pid.is_none()))
    }

    async fn clock_is_off(&self, cluster: &Cluster) -> Result<String> {
        let until = Instant::now() + SHOWS_WITHIN;
        for node in &self.nodes {
            while Figures::of(&cluster.node(*node)?).await?.shard("fastness_clock_trusted", 1)? == 1 {
                ensure!(Instant::now() < until, "node {node} trusts its clock");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok("the node does not trust its clock".to_owned())
    }
}

impl Before {
    fn of(cluster: &Cluster, fault: ChaosFault, node: u64) -> Result<Before> {
        let counts = matches!(fault.what(), What::Disk(_) | What::Links(_));
        let met = if counts { cluster.faults_met(node)? } else { 0 };
        Ok(Before { node, logged: cluster.node_log(node)?.len(), met })
    }
}

/// Polls `count` until it is not zero.
async fn wait_for(what: &str, mut count: impl FnMut() -> Result<u64>) -> Result<u64> {
    let until = Instant::now() + SHOWS_WITHIN;
    loop {
        match block_in_place(&mut count)? {
            0 => ensure!(Instant::now() < until, "no sign of {what}"),
            some => return Ok(some),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn drop_packets(cluster: &Cluster, shape: Shape, nodes: &[u64]) -> Result<Cut> {
    let one = *nodes.first().context("a fault hits a node")?;
    match shape {
        Shape::Apart => Cut::apart(cluster, nodes),
        Shape::Deafen => Cut::deafen(cluster, one),
        Shape::Mute => Cut::mute(cluster, one),
        Shape::Bridge => Cut::bridge(cluster, one),
        Shape::Ring => Cut::ring(cluster),
    }
}

/// Sets faults of all links from a node.
fn links(cluster: &Cluster, node: u64, faults: &[&str]) -> Result<()> {
    for other in cluster.file()?.nodes.iter().filter(|other| other.id != node) {
        faults.iter().try_for_each(|fault| cluster.link_fault(node, other.id, fault))?;
    }
    Ok(())
}
