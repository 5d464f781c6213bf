//! Counters that clients of every kind add to, whatever happens to the cluster.
//!
//! ```text
//! resp.rs, grpc.rs, sdk.rs   adders: clients that add one at a time, with idempotency keys or without
//! adder.rs                   what all adders do
//! check.rs                   whether a counter is what its adders were told
//! changes.rs                 what a watch of the SDK shows of the counters
//! ```
//!
//! On each shard there are counters of two kinds:
//! - With idempotency keys, a write is sent until it is answered, by clients that speak RESP, gRPC and with the SDK, on
//!   the same counters. Each counter must be **exactly** what was acknowledged: nothing doubled, nothing lost.
//! - Without keys, an attempt is made once. A counter lies **within** what was acknowledged and what may have happened.
//!
//! Every increment changes the value by one. So a watch must show the values 1, 2, 3, … of each counter, each once, up
//! to the value that is stored in the end.

mod adder;
mod changes;
mod check;
mod grpc;
mod options;
mod resp;
mod sdk;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use fastness_client::{CallSettings, Client, ClientError, RetryOptions};
use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use crate::clients::{ClientKind, Tally};
use crate::keys::key_in_shard;
use crate::watching::{Followed, SharedFollowed, follow, follow_with_restarts};
use adder::Adding;
use changes::CounterChanges;
use check::{Promise, SharedCounter};

pub use options::CountingOptions;
pub use verdict::CountingVerdict;

/// Counters of each kind on a shard.
const COUNTERS: usize = 4;
/// How long a watch may take to show what is stored.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);
/// How long it must show nothing after that.
const QUIET: Duration = Duration::from_secs(2);

/// The running clients and watches.
pub struct RunningCounters {
    options: CountingOptions,
    sdk: Client,
    stop: Arc<AtomicBool>,
    odd: Arc<Mutex<Vec<String>>>,
    counters: Vec<Arc<SharedCounter>>,
    clients: Vec<(&'static str, ClientKind, Arc<Tally>)>,
    tasks: Vec<JoinHandle<()>>,
    watches: JoinSet<(&'static str, anyhow::Error)>,
    followed: Vec<(&'static str, SharedFollowed<CounterChanges>)>,
}

/// Starts clients and watches on the current runtime.
///
/// # Errors
/// If a watch cannot be started.
pub async fn start(options: CountingOptions) -> Result<RunningCounters> {
    let retries = RetryOptions { budget: 10_000, ..RetryOptions::default() };
    let sdk = options.grpc.nodes.sdk(retries)?;
    let sdk = sdk.with_options(CallSettings { deadline: Some(options.patience), ..CallSettings::default() });
    let mut running = RunningCounters {
        sdk,
        stop: Arc::default(),
        odd: Arc::default(),
        counters: Vec::new(),
        clients: Vec::new(),
        tasks: Vec::new(),
        watches: JoinSet::new(),
        followed: Vec::new(),
        options,
    };
    let mut adding = Vec::new();
    for shard in 1..=running.options.shards {
        for promise in [Promise::Exact, Promise::Within] {
            let counters = running.counters_of(shard, promise);
            running.counters.extend(counters.iter().cloned());
            adding.push((promise, counters));
        }
    }
    running.start_watches().await?;
    for (promise, counters) in adding {
        running.start_clients(promise, &counters);
    }
    Ok(running)
}

impl RunningCounters {
    fn counters_of(&self, shard: u32, promise: Promise) -> Vec<Arc<SharedCounter>> {
        let CountingOptions { shards, prefix, .. } = &self.options;
        let tag = key_in_shard(shard, *shards, prefix);
        let counter = |number| Arc::new(SharedCounter::new(format!("{{{tag}}}{}{number}", promise.letter()), promise));
        (0..COUNTERS).map(counter).collect()
    }

    /// Watches all counters: without an end, and with restarts.
    async fn start_watches(&mut self) -> Result<()> {
        for name in ["watch", "watch with restarts"] {
            let watch = self.counters.iter().fold(self.sdk.watch(), |watch, counter| watch.key(&counter.key));
            let shown = CounterChanges::new(self.options.purges);
            let followed: SharedFollowed<CounterChanges> = Arc::new(Followed::new(shown).into());
            self.followed.push((name, followed.clone()));
            let stream = watch.clone().start().await.context(name)?;
            self.watches.spawn(async move {
                let ended = match name {
                    "watch" => follow(watch, stream, followed).await,
                    _ => follow_with_restarts(watch, stream, followed).await,
                };
                (name, ended.err().unwrap_or_else(|| anyhow::anyhow!("it has ended")))
            });
        }
        Ok(())
    }

    fn start_clients(&mut self, promise: Promise, counters: &[Arc<SharedCounter>]) {
        let kinds: Vec<ClientKind> = self.options.mix.kinds().collect();
        let adders = match promise {
            Promise::Exact => {
                let keyed = resp::keyed(&self.options).into_iter().chain(grpc::keyed(&self.options));
                keyed.chain(sdk::keyed(&self.sdk)).collect::<Vec<_>>()
            }
            Promise::Within => {
                let single = resp::single(&self.options).into_iter().chain(grpc::single(&self.options));
                single.chain(sdk::single(&self.sdk)).collect()
            }
        };
        for adder in adders {
            if !kinds.contains(&adder.kind) {
                continue;
            }
            let tally = self.tally(adder.name, adder.kind);
            let adding = Adding {
                counters: counters.to_vec(),
                tally,
                odd: self.odd.clone(),
                stop: self.stop.clone(),
                pause: self.options.pause,
                patience: self.options.patience,
            };
            self.tasks.push(adder.start(adding));
        }
    }

    fn tally(&mut self, name: &'static str, kind: ClientKind) -> Arc<Tally> {
        if let Some((_, _, tally)) = self.clients.iter().find(|(other, ..)| *other == name) {
            return tally.clone();
        }
        let tally = Arc::new(Tally::default());
        self.clients.push((name, kind, tally.clone()));
        tally
    }

    /// Stops the clients, and compares counters and watches with what clients were told.
    ///
    /// # Errors
    /// If a counter cannot be read.
    pub async fn stop_and_check(mut self) -> Result<CountingVerdict> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.context("a client that counts has panicked")?;
        }
        let mut verdict = CountingVerdict { violations: std::mem::take(&mut self.odd.lock()), ..Default::default() };
        for (name, kind, tally) in &self.clients {
            let counts = tally.counts();
            verdict.by_name.insert(*name, counts);
            let sum = verdict.by_client.entry(*kind).or_default();
            *sum = *sum + counts;
            if counts.acknowledged == 0 {
                verdict.undecided.push(format!("{name} has counted nothing"));
            }
        }
        self.check_watches(&mut verdict).await?;
        let stored = self.stored().await?;
        for counter in &self.counters {
            let value = stored.get(counter.key.as_bytes()).copied().unwrap_or_default();
            verdict.counted += value;
            counter.check(value, &self.options, &mut verdict);
        }
        Ok(verdict)
    }

    /// The values of all counters that exist.
    async fn stored(&self) -> Result<BTreeMap<Bytes, u64>> {
        let mut stored = BTreeMap::new();
        for counter in &self.counters {
            if let Some(value) = self.sdk.get(&counter.key).await.context("a counter")? {
                let number = std::str::from_utf8(&value)?.parse().with_context(|| format!("{value:?}"))?;
                stored.insert(Bytes::from(counter.key.clone()), number);
            }
        }
        Ok(stored)
    }

    /// Waits until the watches have shown what is stored, and for a while in which they must not show anything else.
    async fn check_watches(&mut self, verdict: &mut CountingVerdict) -> Result<()> {
        let until = Instant::now() + SHOWN_WITHIN;
        let mut quiet_since: Option<Instant> = None;
        loop {
            if let Some(ended) = self.watches.try_join_next() {
                let (name, error) = ended.context("a watch has panicked")?;
                let found = if error.is::<ClientError>() { &mut verdict.undecided } else { &mut verdict.violations };
                found.push(format!("{name}: {error:#}"));
                break;
            }
            let stored = self.stored().await?;
            let differs = self.followed.iter().find_map(|(name, followed)| {
                let difference = followed.lock().shown.difference(&stored)?;
                Some(format!("{name}: {difference}"))
            });
            match (differs, quiet_since) {
                (None, None) => quiet_since = Some(Instant::now()),
                (None, Some(since)) if since.elapsed() >= QUIET => break,
                (None, Some(_)) => {}
                (Some(difference), Some(_)) => {
                    // An increment of unknown outcome may still arrive; then it is shown and stored.
                    quiet_since = None;
                    if Instant::now() >= until {
                        verdict.violations.push(difference);
                        break;
                    }
                }
                (Some(difference), None) if Instant::now() >= until => {
                    verdict.violations.push(difference);
                    break;
                }
                (Some(_), None) => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for (_, followed) in &self.followed {
            let followed = followed.lock();
            verdict.events += followed.events as u64;
            verdict.purged += followed.shown.purged();
        }
        Ok(())
    }
}
