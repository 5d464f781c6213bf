//! The load of a run, and its verdict: only this module knows which loads there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fastness_load::SharedTopology;
use fastness_load::ledger::{self, Book, Summary, Violation};
use fastness_load::losses::{self, Losses};
use fastness_resp::Protocol;

use super::fault::Needs;
use super::options::{ChaosOptions, PATIENCE};
use crate::clients::{ClientKind, ClientMix, Counts, RunAccess, Tallied, Tally};
use crate::cluster::Cluster;
use crate::counting;
use crate::history;
use crate::wait::until_acknowledged;

/// The load of a run.
pub(super) struct Load {
    ledger: ledger::LedgerRun,
    /// The ledger's operations, for each kind of client.
    tallies: BTreeMap<ClientKind, Arc<Tally>>,
    histories: Option<history::RunningWorkloads>,
    counters: Option<counting::RunningCounters>,
    losses: Option<losses::LossRun>,
}

/// Number of workers that measure losses, and their pause: each of their writes is remembered to the end.
const LOSSES_WORKERS: usize = 6;
const LOSSES_PAUSE: Duration = Duration::from_millis(2);
/// Pause of a client that counts.
const COUNTING_PAUSE: Duration = Duration::from_millis(10);

/// Findings of the load.
#[derive(Debug, Default)]
pub struct LoadVerdict {
    /// Violations that reads during the run have shown: stale reads, or reads of refused writes.
    pub while_running: Vec<Violation>,
    /// Violations that the final reads of all keys have shown: lost writes.
    pub read_back: Vec<Violation>,
    /// Number of operations by outcome.
    pub summary: Summary,
    /// Operations of each kind of client, of all loads.
    pub by_client: BTreeMap<ClientKind, Counts>,
    /// Verdict of the histories' checkers; `None`: no histories were recorded.
    pub histories: Option<history::HistoryVerdict>,
    /// Verdict of the counters; `None`: all clients speak RESP.
    pub counters: Option<counting::CountingVerdict>,
    /// Losses of failovers; `None`: nothing may be lost.
    pub losses: Option<Losses>,
}

impl Load {
    pub(super) async fn start(cluster: &Cluster, options: &ChaosOptions, prefix: &str) -> Result<Load> {
        let access = RunAccess::of(cluster, options.clients, options.tls, history::TIMEOUT)?;
        let shards = cluster.file()?.shards;
        let losses = options.loses.then(|| {
            losses::start(losses::LossOptions {
                access: access.access(Protocol::Resp2),
                workers: LOSSES_WORKERS,
                shards,
                pause: LOSSES_PAUSE,
                prefix: prefix.to_owned(),
            })
        });
        // Watches see everything only if they start before the first increment.
        let counters = match counting_options(&access, options, shards, prefix) {
            Some(counting) => Some(counting::start(counting).await.context("counters")?),
            None => None,
        };
        let (ledger, tallies) = start_ledger(&access, options, prefix);
        let histories = options.histories.then(|| history::start(of_histories(access, options)));
        Ok(Load { ledger, tallies, histories, counters, losses })
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
        let counters = match self.counters {
            Some(running) => Some(running.stop_and_check().await.context("counters")?),
            None => None,
        };
        let losses = match self.losses {
            Some(running) => {
                Some(running.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg).context("losses")?)
            }
            None => None,
        };
        let mut by_client: BTreeMap<ClientKind, Counts> = BTreeMap::new();
        let of_ledger = self.tallies.iter().map(|(kind, tally)| (*kind, tally.counts()));
        let of_histories = histories.iter().flat_map(|histories| histories.by_client.clone());
        let of_counters = counters.iter().flat_map(|counters| counters.by_client.clone());
        for (kind, counts) in of_ledger.chain(of_histories).chain(of_counters) {
            let sum = by_client.entry(kind).or_default();
            *sum = *sum + counts;
        }
        let summary = self.ledger.book.summary();
        Ok(LoadVerdict { while_running, read_back, summary, by_client, histories, counters, losses })
    }
}

/// Starts the ledger's load. Each key has one writer; readers of all kinds read it.
fn start_ledger(
    access: &RunAccess,
    options: &ChaosOptions,
    prefix: &str,
) -> (ledger::LedgerRun, BTreeMap<ClientKind, Arc<Tally>>) {
    let tallies: BTreeMap<ClientKind, Arc<Tally>> =
        options.clients.kinds().map(|kind| (kind, Arc::default())).collect();
    let ledger = ledger::LedgerOptions {
        seeds: access.seeds.clone(),
        tls: access.tls.clone(),
        workers: options.workers,
        keys_each: 20,
        timeout: access.timeout,
        pause: options.pause,
        pad_bytes: 100,
        seed: options.seed,
        prefix: prefix.to_owned(),
        lossy: options.loses,
    };
    let topology = SharedTopology::default();
    let run = ledger::start_with(ledger, |worker| {
        let client = access.client(worker, &topology);
        let tally = tallies[&client.kind()].clone();
        Box::new(Tallied::new(client.into_caller(), tally))
    });
    (run, tallies)
}

/// How clients count; `None`: all of them speak RESP.
fn counting_options(
    access: &RunAccess,
    options: &ChaosOptions,
    shards: u32,
    prefix: &str,
) -> Option<counting::CountingOptions> {
    let grpc = access.grpc().filter(|_| options.clients != ClientMix::Resp)?;
    Some(counting::CountingOptions {
        mix: options.clients,
        prefix: format!("{prefix}count:"),
        pause: COUNTING_PAUSE,
        patience: PATIENCE,
        lossy: options.loses,
        forgets_keys: sets_clocks(options),
        purges: options.purges,
        ..counting::CountingOptions::new(access.access(Protocol::Resp3), grpc, shards)
    })
}

fn sets_clocks(options: &ChaosOptions) -> bool {
    options.plan.deck.iter().any(|fault| fault.needs() == Needs::Clocks)
}

/// Options of the histories of all workloads, besides the ledger. If clocks are among the faults, deadlines are not
/// compared with clocks.
fn of_histories(access: RunAccess, options: &ChaosOptions) -> history::HistoryOptions {
    let all = history::HistoryOptions::with(access, options.seed);
    history::HistoryOptions { clock_slack: all.clock_slack.filter(|_| !sets_clocks(options)), ..all }
}
