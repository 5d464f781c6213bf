//! What loads the cluster in a run, and what it says in the end: the one place that knows which load it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::Access;
use fastness_load::ledger::{self, Book, Summary, Violation};
use fastness_load::losses::{self, Losses};
use fastness_resp::Protocol;

use super::fault::Needs;
use super::options::{ChaosOptions, PATIENCE};
use crate::cluster::Cluster;
use crate::history;

/// The load of a run.
pub(super) struct Load {
    ledger: ledger::Running,
    histories: Option<history::RunningWorkloads>,
    losses: Option<losses::Running>,
}

/// Workers that measure what is lost, and their pause: each of their writes is kept in mind to the end.
const LOSSES_WORKERS: usize = 6;
const LOSSES_PAUSE: Duration = Duration::from_millis(2);
const TIMEOUT: Duration = Duration::from_millis(1500);

/// What the load has found.
#[derive(Debug, Default)]
pub struct LoadVerdict {
    /// Broken promises that reads of the run have shown: stale ones, or of what was refused.
    pub while_running: Vec<Violation>,
    /// Broken promises that showed when everything was read back in the end: what is lost.
    pub read_back: Vec<Violation>,
    /// Counts.
    pub summary: Summary,
    /// What the checkers of histories say; `None`: no histories were kept.
    pub histories: Option<history::HistoryVerdict>,
    /// What failovers have lost; `None`: they must lose nothing.
    pub losses: Option<Losses>,
}

impl Load {
    pub(super) fn start(cluster: &Cluster, options: &ChaosOptions, prefix: &str) -> Result<Load> {
        let seeds = if options.tls { cluster.tls_servers()? } else { cluster.listeners()? };
        let tls = options.tls.then(|| cluster.tls()).transpose()?;
        let losses = options.loses.then(|| -> Result<losses::Running> {
            Ok(losses::start(losses::Options {
                access: Access { seeds: seeds.clone(), tls: tls.clone(), protocol: Protocol::Resp2, timeout: TIMEOUT },
                workers: LOSSES_WORKERS,
                shards: cluster.file()?.shards,
                pause: LOSSES_PAUSE,
                prefix: prefix.to_owned(),
            }))
        });
        let losses = losses.transpose()?;
        let ledger = ledger::start(ledger::Options {
            seeds,
            tls,
            workers: options.workers,
            keys_each: 20,
            timeout: TIMEOUT,
            pause: options.pause,
            pad_bytes: 100,
            seed: options.seed,
            prefix: prefix.to_owned(),
            lossy: options.loses,
        });
        let histories = if options.histories { Some(history::start(of_histories(cluster, options)?)) } else { None };
        Ok(Load { ledger, histories, losses })
    }

    /// Where others write down what they write and read.
    pub(super) fn book(&self) -> Arc<Book> {
        self.ledger.book.clone()
    }

    /// Whether what is acknowledged may be lost, and so needs no quorum.
    pub(super) fn may_lose(&self) -> bool {
        self.losses.is_some()
    }

    /// Writes acknowledged so far, as the ledger counts them.
    pub(super) fn acknowledged(&self) -> u64 {
        self.ledger.book.summary().acknowledged
    }

    /// Waits until further writes are acknowledged.
    pub(super) async fn wait_for_writes(&self, writes: u64) -> Result<()> {
        let target = self.acknowledged() + writes;
        let until = Instant::now() + PATIENCE;
        while self.acknowledged() < target {
            ensure!(Instant::now() < until, "fewer than {writes} writes were acknowledged in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends the load, reads everything back and judges.
    pub(super) async fn stop_and_check(mut self) -> Result<LoadVerdict> {
        self.ledger.stop().await;
        let while_running = self.ledger.book.violations();
        let mut all = self.ledger.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
        let read_back = all.split_off(while_running.len());
        let histories = match self.histories {
            Some(running) => {
                Some(running.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg).context("histories")?)
            }
            None => None,
        };
        let losses = match self.losses {
            Some(running) => {
                Some(running.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg).context("losses")?)
            }
            None => None,
        };
        Ok(LoadVerdict { while_running, read_back, summary: self.ledger.book.summary(), histories, losses })
    }
}

/// Histories of all workloads, beside the ledger. Where clocks are among the faults, deadlines are not compared with
/// them.
fn of_histories(cluster: &Cluster, options: &ChaosOptions) -> Result<history::HistoryOptions> {
    let seeds = if options.tls { cluster.tls_servers()? } else { cluster.listeners()? };
    let tls = options.tls.then(|| cluster.tls()).transpose()?;
    let all = history::HistoryOptions::new(seeds, tls, options.seed);
    let sets_clocks = options.plan.deck.iter().any(|fault| fault.needs() == Needs::Clocks);
    Ok(history::HistoryOptions { clock_slack: all.clock_slack.filter(|_| !sets_clocks), ..all })
}
