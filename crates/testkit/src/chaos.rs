//! Faults on a cluster of real processes under load, and the verdict of the ledger.
//!
//! A run is valid only if writes were acknowledged before every fault and after it, and if every fault took effect;
//! else it fails, whatever the ledger says. The seed decides faults, victims and moments (not the processes' own timing).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::ledger::{self, Summary, Violation};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use crate::cluster::Cluster;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `kill -9` of shard 1's primary, started again later.
    KillPrimary,
    /// `kill -9` of a random node, started again later.
    KillAny,
    /// `kill -9` of all nodes at once, all started again.
    KillAll,
    /// SIGSTOP of shard 1's primary for longer than its lease, then SIGCONT.
    PausePrimary,
}

impl Fault {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::KillPrimary => "kill-primary",
            Fault::KillAny => "kill-any",
            Fault::KillAll => "kill-all",
            Fault::PausePrimary => "pause-primary",
        }
    }

    /// The fault of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Fault> {
        [Fault::KillPrimary, Fault::KillAny, Fault::KillAll, Fault::PausePrimary].into_iter().find(|f| f.name() == name)
    }
}

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
    /// The longest span without any acknowledged write that began after the fault, until service was steady again.
    pub silence: Duration,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// Every fault.
    pub injected: Vec<Injected>,
    /// Broken promises; a good run has none.
    pub violations: Vec<Violation>,
    /// Counts.
    pub summary: Summary,
    /// Length of the run.
    pub elapsed: Duration,
}

impl Report {
    /// The silence that a share of the faults of one kind stays below, `0.0 < share <= 1.0`.
    #[must_use]
    pub fn silence_quantile(&self, fault: Fault, share: f64) -> Option<Duration> {
        let mut spans: Vec<Duration> = self.injected.iter().filter(|i| i.fault == fault).map(|i| i.silence).collect();
        spans.sort();
        let rank = (share * spans.len() as f64).ceil() as usize;
        spans.get(rank.checked_sub(1)?).copied()
    }
}

/// Longest wait for the cluster to be healthy again after a fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the faults against a cluster under load and checks the ledger.
///
/// # Errors
/// If the run is not valid: the cluster was not healthy where it had to be.
pub async fn run(cluster: &Cluster, options: &Options) -> Result<Report> {
    let started = Instant::now();
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let mut load = ledger::start(ledger::Options {
        seeds: if options.tls { cluster.tls_doors()? } else { cluster.doors()? },
        tls: options.tls.then(|| cluster.tls()).transpose()?,
        workers: options.workers,
        keys_each: 20,
        timeout: Duration::from_millis(1500),
        pause: options.pause,
        pad_bytes: 100,
        seed: options.seed,
        prefix: format!("chaos{}:", options.seed),
    });
    let mut injected = Vec::new();
    for (round, &fault) in options.faults.iter().enumerate() {
        let what = format!("seed {}, fault {round} ({})", options.seed, fault.name());
        wait_for_acknowledgements(&load, 200).await.with_context(|| format!("{what}: before it"))?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..500))).await;
        let one = inject(cluster, fault, &mut rng, &load).await.with_context(|| what.clone())?;
        injected.push(one);
    }
    wait_for_acknowledgements(&load, 200).await.context("after the last fault")?;
    let violations = load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    Ok(Report { injected, violations, summary: load.book.summary(), elapsed: started.elapsed() })
}

async fn inject(cluster: &Cluster, fault: Fault, rng: &mut SmallRng, load: &ledger::Running) -> Result<Injected> {
    let away = Duration::from_millis(rng.random_range(1500..3000));
    let node = match fault {
        Fault::KillPrimary | Fault::PausePrimary => cluster.primary(1, PATIENCE).await?,
        Fault::KillAny => {
            let nodes = cluster.file()?.nodes;
            nodes[rng.random_range(0..nodes.len())].id
        }
        Fault::KillAll => 0,
    };
    let at = Instant::now();
    match fault {
        Fault::KillPrimary | Fault::KillAny => {
            cluster.kill(node)?;
            tokio::time::sleep(away).await;
            tokio::task::block_in_place(|| cluster.start_node(node))?;
        }
        Fault::KillAll => {
            cluster.kill_all()?;
            tokio::task::block_in_place(|| cluster.start_again())?;
        }
        Fault::PausePrimary => {
            cluster.signal(node, Signal::STOP)?;
            tokio::time::sleep(away).await;
            cluster.signal(node, Signal::CONT)?;
        }
    }
    wait_for_acknowledgements(load, 200).await.context("afterwards")?;
    let silence = load.book.longest_silence(at, Instant::now());
    Ok(Injected { fault, node, silence })
}

/// Waits for `more` further acknowledged writes.
async fn wait_for_acknowledgements(load: &ledger::Running, more: u64) -> Result<()> {
    let target = load.book.summary().acknowledged + more;
    let until = Instant::now() + PATIENCE;
    while load.book.summary().acknowledged < target {
        ensure!(Instant::now() < until, "fewer than {more} writes were acknowledged in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
