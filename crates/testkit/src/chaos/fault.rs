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
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 7] = [
        Fault::KillPrimary,
        Fault::KillAny,
        Fault::KillAll,
        Fault::PausePrimary,
        Fault::CutPrimary,
        Fault::DeafenPrimary,
        Fault::MutePrimary,
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
}

/// A fault that is under way. Dropping it without [`Struck::undo`] mends what is cut; processes are the cluster's to end.
struct Struck {
    node: u64,
    /// Just before.
    at: Instant,
    /// From here on nothing that was sent can be acknowledged by who was hit.
    effective: Instant,
    cut: Option<Cut>,
}

/// Injects one fault, waits for the next acknowledged write, and undoes it.
pub(super) async fn inject(cluster: &Cluster, fault: Fault, rng: &mut SmallRng, probe: &Probe) -> Result<Injected> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let term = term(cluster, primary).await?;
    let away = Duration::from_millis(rng.random_range(200..2000));
    let node = match fault {
        Fault::KillAny => {
            let nodes = cluster.file()?.nodes;
            nodes[rng.random_range(0..nodes.len())].id
        }
        Fault::KillAll => 0,
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
    if node == primary {
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
    };
    let effective = Instant::now();
    // Making the rules takes a while, in which nothing has changed yet.
    let at = if cut.is_some() { effective } else { before };
    Ok(Struck { node, at, effective, cut })
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
        Fault::KillPrimary | Fault::KillAny => cluster.start_node(struck.node),
        Fault::KillAll => Ok(()),
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
