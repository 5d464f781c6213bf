//! Faults on a cluster of real processes under load, and the verdict of the ledger.
//!
//! A run is valid only if writes were acknowledged before every fault and after it, and if every fault was seen to take
//! effect; else it fails, whatever the ledger says. The seed decides faults, victims and moments (not the processes' own
//! timing).
//!
//! What is measured is the time from a fault to the next acknowledged write: see [`Probe`]. A dead or silent node is left
//! away until that write has come and for a random while longer, so that nothing but the others can have brought it.

mod fault;
mod probe;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::ledger::{self, Summary, Violation};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cluster::Cluster;
use crate::observe::Digests;

pub use fault::Fault;
pub use probe::Probe;

/// One run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seed of all choices.
    pub seed: u64,
    /// The faults, one after the other.
    pub faults: Vec<Fault>,
    /// Workers of the ledger's load.
    pub workers: usize,
    /// Whether the load uses the TLS doors.
    pub tls: bool,
    /// Pause of each worker between two commands.
    pub pause: Duration,
}

/// One fault and what followed.
#[derive(Debug, Clone)]
pub struct Injected {
    /// What was done.
    pub fault: Fault,
    /// To which node; 0: to all.
    pub node: u64,
    /// From the fault to the next acknowledged write of shard 1.
    pub until_write: Duration,
    /// What showed that it took effect.
    pub proof: String,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// Every fault.
    pub injected: Vec<Injected>,
    /// Broken promises; a good run has none.
    pub violations: Vec<Violation>,
    /// How often the digest of one replica was met again on another one.
    pub digests_compared: u64,
    /// Counts.
    pub summary: Summary,
    /// Length of the run.
    pub elapsed: Duration,
}

impl Report {
    /// How often one of these faults was injected.
    #[must_use]
    pub fn times(&self, faults: &[Fault]) -> usize {
        self.injected.iter().filter(|i| faults.contains(&i.fault)).count()
    }

    /// The time to the next acknowledged write that a share of these faults stays within, `0.0 < share <= 1.0`.
    #[must_use]
    pub fn until_write(&self, faults: &[Fault], share: f64) -> Option<Duration> {
        let of_kind = self.injected.iter().filter(|i| faults.contains(&i.fault));
        let mut spans: Vec<Duration> = of_kind.map(|i| i.until_write).collect();
        spans.sort();
        let rank = (share * spans.len() as f64).ceil() as usize;
        spans.get(rank.checked_sub(1)?).copied()
    }
}

/// Longest wait for the cluster to be healthy again after a fault.
const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged writes that there must be between two faults.
const WRITES_BETWEEN: u64 = 400;

/// Runs the faults against a cluster under load and checks the ledger.
///
/// # Errors
/// If the run is not valid (the cluster was not healthy where it had to be, a fault did not take effect), or if replicas
/// of one log have different digests.
pub async fn run(cluster: &Cluster, options: &Options) -> Result<Report> {
    let started = Instant::now();
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let prefix = format!("chaos{}:", options.seed);
    let mut load = ledger::start(ledger::Options {
        seeds: if options.tls { cluster.tls_doors()? } else { cluster.doors()? },
        tls: options.tls.then(|| cluster.tls()).transpose()?,
        workers: options.workers,
        keys_each: 20,
        timeout: Duration::from_millis(1500),
        pause: options.pause,
        pad_bytes: 100,
        seed: options.seed,
        prefix: prefix.clone(),
    });
    let mut probe = Probe::start(cluster, 1, &prefix, load.book.clone())?;
    let mut digests = Digests::default();
    let mut injected = Vec::new();
    for (round, &fault) in options.faults.iter().enumerate() {
        let what = format!("seed {}, fault {round} ({})", options.seed, fault.name());
        wait_for_writes(&load).await.with_context(|| format!("{what}: before it"))?;
        digests.look(cluster).await.with_context(|| what.clone())?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..500))).await;
        let one = fault::inject(cluster, fault, &mut rng, &probe).await.with_context(|| what.clone())?;
        injected.push(one);
    }
    wait_for_writes(&load).await.context("after the last fault")?;
    probe.stop().await;
    let violations = load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    digests.settle(cluster, PATIENCE).await?;
    Ok(Report {
        injected,
        violations,
        digests_compared: digests.compared(),
        summary: load.book.summary(),
        elapsed: started.elapsed(),
    })
}

/// Waits until further writes are acknowledged.
async fn wait_for_writes(load: &ledger::Running) -> Result<()> {
    let target = load.book.summary().acknowledged + WRITES_BETWEEN;
    let until = Instant::now() + PATIENCE;
    while load.book.summary().acknowledged < target {
        ensure!(Instant::now() < until, "fewer than {WRITES_BETWEEN} writes were acknowledged in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_faults_asked_for() {
        let one = |fault, ms| Injected { fault, node: 1, until_write: Duration::from_millis(ms), proof: String::new() };
        let mut injected: Vec<_> = (1..=100).map(|ms| one(Fault::KillPrimary, ms)).collect();
        injected.push(one(Fault::PausePrimary, 7000));
        let report = Report {
            injected,
            violations: Vec::new(),
            digests_compared: 0,
            summary: Summary::default(),
            elapsed: Duration::ZERO,
        };
        let kills = |share| report.until_write(&[Fault::KillPrimary], share).map(|d| d.as_millis());
        assert_eq!((kills(0.5), kills(0.99), kills(1.0)), (Some(50), Some(99), Some(100)));
        assert_eq!(report.until_write(&[Fault::KillPrimary, Fault::PausePrimary], 1.0).map(|d| d.as_secs()), Some(7));
        assert_eq!(report.until_write(&[Fault::KillAll], 0.5), None);
        assert_eq!(report.times(&[Fault::PausePrimary]), 1);
    }
}
