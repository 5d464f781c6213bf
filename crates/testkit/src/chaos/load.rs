//! The load of a run, and its verdict: only this module knows which loads there are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fastness_load::Access;
use fastness_load::ledger::{self, Book, Summary, Violation};
use fastness_load::losses::{self, Losses};
use fastness_resp::Protocol;

use super::fault::Needs;
use super::options::{ChaosOptions, PATIENCE};
use crate::cluster::Cluster;
use crate::history;
use crate::wait::until_acknowledged;

/// The load of a run.
pub(super) struct Load {
    ledger: ledger::LedgerRun,
    histories: Option<history::RunningWorkloads>,
    losses: Option<losses::LossRun>,
}

/// Number of workers that measure losses, and their pause: each of their writes is remembered to the end.
const LOSSES_WORKERS: usize = 6;
const LOSSES_PAUSE: Duration = Duration::from_millis(2);
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Findings of the load.
#[derive(Debug, Default)]
pub struct LoadVerdict {
    /// Violations that reads during the run have shown: stale reads, or reads of refused writes.
    pub while_running: Vec<Violation>,
    /// Violations that the final reads of all keys have shown: lost writes.
    pub read_back: Vec<Violation>,
    /// Number of operations by outcome.
    pub summary: Summary,
    /// Verdict of the histories' checkers; `None`: no histories were recorded.
    pub histories: Option<history::HistoryVerdict>,
    /// Losses of failovers; `None`: nothing may be lost.
    pub losses: Option<Losses>,
}

impl Load {
    pub(super) fn start(cluster: &Cluster, options: &ChaosOptions, prefix: &str) -> Result<Load> {
        let seeds = if options.tls { cluster.tls_servers()? } else { cluster.listeners()? };
        let tls = options.tls.then(|| cluster.tls()).transpose()?;
        let losses = options.loses.then(|| -> Result<losses::LossRun> {
            Ok(losses::start(losses::LossOptions {
                access: Access { seeds: seeds.clone(), tls: tls.clone(), protocol: Protocol::Resp2, timeout: TIMEOUT },
                workers: LOSSES_WORKERS,
                shards: cluster.file()?.shards,
                pause: LOSSES_PAUSE,
                prefix: prefix.to_owned(),
            }))
        });
        let losses = losses.transpose()?;
        let ledger = ledger::start(ledger::LedgerOptions {
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

    /// The book in which other clients record their writes and reads.
    pub(super) fn book(&self) -> Arc<Book> {
        self.ledger.book.clone()
    }

    /// Whether acknowledged writes may be lost, and so need no quorum.
    pub(super) fn may_lose(&self) -> bool {
        self.losses.is_some()
    }

    /// Number of writes acknowledged so far, as counted by the ledger.
    pub(super) fn acknowledged(&self) -> u64 {
        self.ledger.book.summary().acknowledged
    }

    /// Waits until further writes are acknowledged.
    pub(super) async fn wait_for_writes(&self, writes: u64) -> Result<()> {
        until_acknowledged(&self.ledger.book, writes, PATIENCE).await
    }

    /// Stops the load, reads all keys back and judges.
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

/// Options of the histories of all workloads, besides the ledger. If clocks are among the faults, deadlines are not
/// compared with clocks.
fn of_histories(cluster: &Cluster, options: &ChaosOptions) -> Result<history::HistoryOptions> {
    let seeds = if options.tls { cluster.tls_servers()? } else { cluster.listeners()? };
    let tls = options.tls.then(|| cluster.tls()).transpose()?;
    let all = history::HistoryOptions::new(seeds, tls, options.seed);
    let sets_clocks = options.plan.deck.iter().any(|fault| fault.needs() == Needs::Clocks);
    Ok(history::HistoryOptions { clock_slack: all.clock_slack.filter(|_| !sets_clocks), ..all })
}
