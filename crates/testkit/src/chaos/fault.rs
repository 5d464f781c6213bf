//! The faults: how each one is brought about, what proves that it took effect, and how it is undone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::SmallRng;

use super::{Injected, PATIENCE, Probe};
use crate::cluster::Cluster;
use crate::observe::Figures;
use crate::partition::Cut;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `kill -9` of shard 1's primary, started again later.
    KillPrimary,
    /// `kill -9` of a random node, started again later.
    KillAny,
    /// `kill -9` of all nodes at once, all started again.
    KillAll,
    /// SIGSTOP of shard 1's primary, SIGCONT later.
    PausePrimary,
    /// Packets between shard 1's primary and all other nodes vanish; clients still reach it.
    CutPrimary,
    /// What others send to shard 1's primary vanishes, what it sends arrives.
    DeafenPrimary,
    /// What shard 1's primary sends to others vanishes, what they send arrives.
    MutePrimary,
    /// The log of shard 1's primary stands still, without an error.
    StallDisk,
    /// Each write of a random node's log takes 100 ms more.
    SlowDisk,
    /// The log of shard 1's primary finds no space, until it is healed.
    FillDisk,
    /// An fsync of the log of shard 1's primary fails.
    FailDisk,
    /// The links from shard 1's primary to others are cut, the links to it are not: without dropped packets.
    CutLinks,
    /// What a random node sends to others arrives 40 ms later, and one of fifty frames is sent twice.
    SlowLinks,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 13] = [
        Fault::KillPrimary,
        Fault::KillAny,
        Fault::KillAll,
        Fault::PausePrimary,
        Fault::CutPrimary,
        Fault::DeafenPrimary,
        Fault::MutePrimary,
        Fault::StallDisk,
        Fault::SlowDisk,
        Fault::FillDisk,
        Fault::FailDisk,
        Fault::CutLinks,
        Fault::SlowLinks,
    ];

    /// The primary is silent, and no connection to it has ended.
    pub const SILENT: [Fault; 4] = [Fault::PausePrimary, Fault::CutPrimary, Fault::DeafenPrimary, Fault::MutePrimary];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::KillPrimary => "kill-primary",
            Fault::KillAny => "kill-any",
            Fault::KillAll => "kill-all",
            Fault::PausePrimary => "pause-primary",
            Fault::CutPrimary => "cut-primary",
            Fault::DeafenPrimary => "deafen-primary",
            Fault::MutePrimary => "mute-primary",
            Fault::StallDisk => "stall-disk",
            Fault::SlowDisk => "slow-disk",
            Fault::FillDisk => "fill-disk",
            Fault::FailDisk => "fail-disk",
            Fault::CutLinks => "cut-links",
            Fault::SlowLinks => "slow-links",
        }
    }

    /// The fault of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether packets must be dropped for it.
    #[must_use]
    pub fn drops_packets(self) -> bool {
        matches!(self, Fault::CutPrimary | Fault::DeafenPrimary | Fault::MutePrimary)
    }

    /// Whether a primary that it hits does not stay one.
    fn deposes(self) -> bool {
        !matches!(self, Fault::SlowDisk | Fault::SlowLinks)
    }

    /// Whether a random node is hit, not the primary.
    fn hits_any(self) -> bool {
        matches!(self, Fault::KillAny | Fault::SlowDisk | Fault::SlowLinks)
    }
}

/// A fault that is under way. Dropping it without [`Struck::undo`] mends what is cut; processes are the cluster's to end.
struct Struck {
    node: u64,
    /// Just before.
    at: Instant,
    /// From here on nothing that was sent can be acknowledged by who was hit.
    effective: Instant,
    cut: Option<Cut>,
    /// Bytes that the node had logged before.
    logged: usize,
}

/// Injects one fault, waits for the next acknowledged write, and undoes it.
pub(super) async fn inject(cluster: &Cluster, fault: Fault, rng: &mut SmallRng, probe: &Probe) -> Result<Injected> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let term = term(cluster, primary).await?;
    let away = Duration::from_millis(rng.random_range(200..2000));
    let node = match fault {
        Fault::KillAll => 0,
        _ if fault.hits_any() => {
            let nodes = cluster.file()?.nodes;
            nodes[rng.random_range(0..nodes.len())].id
        }
        _ => primary,
    };
    // Processes and rules are waited for.
    let struck = tokio::task::block_in_place(|| strike(cluster, fault, node))?;
    if fault == Fault::KillAll {
        tokio::task::block_in_place(|| cluster.start_again())?;
    }
    let written = probe.next_after(struck.effective, PATIENCE).await?;
    let until_write = written - struck.at;
    let mut proof = tokio::task::block_in_place(|| prove(cluster, fault, &struck))?;
    if node == primary && fault.deposes() {
        let next = cluster.primary_other_than(node, 1, PATIENCE).await?;
        let new_term = self::term(cluster, next).await?;
        ensure!(new_term > term, "node {next} leads in term {new_term}, node {node} led in {term}");
        proof.push_str(&format!(", node {next} leads"));
    }
    tokio::time::sleep(away).await;
    tokio::task::block_in_place(|| undo(cluster, fault, struck))?;
    Ok(Injected { fault, node, until_write, proof })
}

fn strike(cluster: &Cluster, fault: Fault, node: u64) -> Result<Struck> {
    let logged = if fault == Fault::KillAll { 0 } else { cluster.node_log(node)?.len() };
    let before = Instant::now();
    let cut = match fault {
        Fault::KillPrimary | Fault::KillAny => {
            cluster.kill(node)?;
            None
        }
        Fault::KillAll => {
            cluster.kill_all()?;
            None
        }
        Fault::PausePrimary => {
            cluster.pause(node)?;
            None
        }
        Fault::CutPrimary => Some(Cut::off(cluster, node)?),
        Fault::DeafenPrimary => Some(Cut::deafen(cluster, node)?),
        Fault::MutePrimary => Some(Cut::mute(cluster, node)?),
        Fault::StallDisk => cluster.disk_fault(node, "stall").map(|()| None)?,
        Fault::SlowDisk => cluster.disk_fault(node, "slow 100").map(|()| None)?,
        Fault::FillDisk => cluster.disk_fault(node, "fill").map(|()| None)?,
        Fault::FailDisk => cluster.disk_fault(node, "fail").map(|()| None)?,
        Fault::CutLinks => links(cluster, node, &["cut"]).map(|()| None)?,
        Fault::SlowLinks => links(cluster, node, &["delay 40", "drop 2"]).map(|()| None)?,
    };
    let effective = Instant::now();
    // Making rules and giving commands takes a while, in which nothing has changed yet.
    let by_signal = matches!(fault, Fault::KillPrimary | Fault::KillAny | Fault::KillAll | Fault::PausePrimary);
    let at = if by_signal { before } else { effective };
    Ok(Struck { node, at, effective, cut, logged })
}

/// Commands faults of all links from a node.
fn links(cluster: &Cluster, node: u64, faults: &[&str]) -> Result<()> {
    for other in cluster.file()?.nodes.iter().filter(|other| other.id != node) {
        faults.iter().try_for_each(|fault| cluster.link_fault(node, other.id, fault))?;
    }
    Ok(())
}

/// What shows that the fault holds, now that a write was acknowledged after it.
fn prove(cluster: &Cluster, fault: Fault, struck: &Struck) -> Result<String> {
    match fault {
        Fault::KillPrimary | Fault::KillAny => {
            ensure!(!runs(cluster, struck.node)?, "node {} is there again", struck.node);
            Ok("the process is gone".to_owned())
        }
        // Killing has waited until no process was left.
        Fault::KillAll => Ok("all processes were gone".to_owned()),
        Fault::PausePrimary => {
            ensure!(cluster.is_stopped(struck.node)?, "node {} does not stand still", struck.node);
            Ok("all threads stand still".to_owned())
        }
        Fault::CutPrimary | Fault::DeafenPrimary | Fault::MutePrimary => {
            let dropped = struck.cut.as_ref().context("nothing is cut")?.dropped()?;
            ensure!(dropped > 0, "no packet was dropped");
            Ok(format!("{dropped} packets were dropped"))
        }
        Fault::StallDisk | Fault::SlowDisk | Fault::CutLinks | Fault::SlowLinks => met(cluster, struck.node),
        Fault::FillDisk => {
            let waits = "the disk is full by command";
            cluster.wait_for_log(struck.node, struck.logged, waits, Duration::from_secs(20))?;
            cluster.pid(struck.node).context("it must wait, not end")?;
            Ok("the node waits for space".to_owned())
        }
        Fault::FailDisk => {
            let why = "fsync failed";
            cluster.wait_for_log(struck.node, struck.logged, why, Duration::from_secs(20))?;
            ensure!(!runs(cluster, struck.node)?, "node {} has not ended", struck.node);
            Ok("the node has ended".to_owned())
        }
    }
}

/// Waits until a write or frame has met the fault.
fn met(cluster: &Cluster, node: u64) -> Result<String> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let met = cluster.faults_met(node)?;
        if met > 0 {
            return Ok(format!("met {met} times"));
        }
        ensure!(Instant::now() < until, "nothing has met the fault of node {node}");
    }
}

fn runs(cluster: &Cluster, node: u64) -> Result<bool> {
    let until = Instant::now() + Duration::from_secs(10);
    // The file is kept true by a supervisor that looks now and then.
    while cluster.node(node)?.pid.is_some() {
        if Instant::now() > until {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(false)
}

fn undo(cluster: &Cluster, fault: Fault, struck: Struck) -> Result<()> {
    match fault {
        Fault::KillPrimary | Fault::KillAny | Fault::FailDisk => cluster.start_node(struck.node),
        Fault::KillAll => Ok(()),
        Fault::StallDisk | Fault::SlowDisk => cluster.disk_fault(struck.node, "heal"),
        Fault::CutLinks | Fault::SlowLinks => links(cluster, struck.node, &["heal"]),
        Fault::FillDisk => {
            cluster.disk_fault(struck.node, "heal")?;
            // By itself, as a process of the same id.
            cluster.wait_for_log(struck.node, struck.logged, "the node has started", PATIENCE)?;
            cluster.configure()
        }
        Fault::PausePrimary => cluster.resume(struck.node),
        Fault::CutPrimary | Fault::DeafenPrimary | Fault::MutePrimary => struck.cut.map_or(Ok(()), Cut::mend),
    }
}

/// The term of a node's replica of shard 1.
async fn term(cluster: &Cluster, node: u64) -> Result<u64> {
    Figures::of(&cluster.node(node)?).await?.shard("fastness_term", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for fault in Fault::ALL {
            assert_eq!(Fault::from_name(fault.name()), Some(fault));
        }
        assert_eq!(Fault::from_name("pause"), None);
        assert!(Fault::SILENT.iter().all(|fault| Fault::ALL.contains(fault)));
    }
}
