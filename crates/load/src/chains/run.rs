//! Starts a run, observes it, and judges it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastness_types::{SLOTS, Slot, slot_of};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::meter::{Interruption, Meter, Phase};
use super::modes::{ModeAnswer, Modes};
use super::reigns::Reigns;
use super::route::{Attempt, Route};
use super::verdict::ChainVerdict;
use super::worker::{ChainWorker, Shared, Wrong};
use crate::connection::{Endpoint, Login};
use crate::topology::{Topology, TopologyError};

/// Number of writes that all keys together remember.
const HISTORY_MAX: usize = 1 << 20;
/// Number of writes that one key remembers at least.
const HISTORY_MIN: usize = 16;
/// Interval between two questions for the mode of a shard.
const MODE_INTERVAL: Duration = Duration::from_millis(100);
/// How long a primary is asked for the mode once the last write is answered.
const LAST_MODE_PATIENCE: Duration = Duration::from_secs(5);
/// Time limit for every slot to have a primary at the start.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// Most workers of a run.
pub const WORKERS_MAX: usize = 512;

/// Options of a run.
#[derive(Clone)]
pub struct ChainOptions {
    /// Endpoints from which the topology is read.
    pub seeds: Vec<Endpoint>,
    /// What each connection needs to be let in.
    pub login: Login,
    /// Number of workers, each with one connection; at most 512.
    pub workers: usize,
    /// Number of keys of each worker.
    pub keys_each: usize,
    /// Commands per second of all workers together; 0: as many as are answered.
    pub rate: u32,
    /// Without a reply within this time, the outcome is unknown and the connection is closed.
    pub timeout: Duration,
    /// Padding of each value, in bytes.
    pub pad_bytes: usize,
    /// Prefix of every key, so that runs do not share keys.
    pub prefix: String,
    /// Seed of all choices.
    pub seed: u64,
}

impl Default for ChainOptions {
    fn default() -> ChainOptions {
        ChainOptions {
            seeds: Vec::new(),
            login: Login::default(),
            workers: 12,
            keys_each: 16,
            rate: 1_000,
            timeout: Duration::from_secs(1),
            pad_bytes: 64,
            prefix: "lab:".to_owned(),
            seed: 1,
        }
    }
}

/// A run in progress.
pub struct ChainRun {
    began: Instant,
    shared: Arc<Shared>,
    /// What has happened in the phases that were taken.
    total: Phase,
    longest: Duration,
    /// Number of shards that have a load: the first ones.
    loaded: usize,
    workers: Vec<JoinHandle<ChainWorker>>,
    pollers: Vec<JoinHandle<()>>,
}

/// The shard of each slot; waits a little until every slot has one, so that none is left out.
async fn shards_by_slot(options: &ChainOptions) -> Result<Vec<Option<usize>>, TopologyError> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        let read = Topology::read(&options.seeds, &options.login, options.timeout).await;
        let error = match read.map(|topology| topology.shards_by_slot()) {
            Ok(shards) if shards.iter().all(Option::is_some) => return Ok(shards),
            Ok(_) => TopologyError::Incomplete,
            Err(error) => error,
        };
        if Instant::now() >= until {
            return Err(error);
        }
        tokio::time::sleep(MODE_INTERVAL).await;
    }
}

/// Reads the topology and starts the workers on the current runtime. With fewer workers than shards, the last shards
/// get no load.
///
/// # Errors
/// If no seed answers, or not every slot has a primary.
pub async fn start(options: &ChainOptions) -> Result<ChainRun, TopologyError> {
    let by_slot = shards_by_slot(options).await?;
    let shards = by_slot.iter().flatten().max().map_or(1, |last| last + 1);
    let workers = options.workers.clamp(1, WORKERS_MAX);
    let per_shard = f64::from(options.rate) * 0.8 / shards as f64;
    let shared = Arc::new(Shared {
        meter: Mutex::new(Meter::new(shards.min(workers), per_shard)),
        reigns: (0..shards).map(|_| Mutex::new(Reigns::default())).collect(),
        modes: (0..shards).map(|_| Mutex::new(Modes::default())).collect(),
        bound: Mutex::new(None),
        wrong: Mutex::new(Wrong::default()),
        stop: AtomicBool::new(false),
        ended: AtomicBool::new(false),
    });
    let interval = if options.rate == 0 {
        Duration::ZERO
    } else {
        Duration::from_secs_f64(workers as f64 / f64::from(options.rate))
    };
    let history = (HISTORY_MAX / (workers * (options.keys_each + 1))).max(HISTORY_MIN);
    let route = |number, slot| Route::new(&options.seeds, number, options.login.clone(), options.timeout, slot);
    let tags: Vec<(String, Slot)> = (0..workers).map(|id| tag_in(&by_slot, id % shards, &options.prefix, id)).collect();
    let run = |(id, (tag, slot)): (usize, &(String, Slot))| {
        let (shard, route) = (id % shards, route(id, *slot));
        let mut worker = ChainWorker::new(shard, tag.clone(), route, options.keys_each.max(1), history, shared.clone());
        worker.interval = interval;
        worker.padding = "x".repeat(options.pad_bytes);
        worker.seed = options.seed.wrapping_add(id as u64);
        tokio::spawn(worker.run())
    };
    let running = tags.iter().enumerate().map(run).collect();
    let poll = |shard: usize| tokio::spawn(poll_modes(shard, route(shard, tags[shard].1), shared.clone()));
    let loaded = shards.min(workers);
    let pollers = (0..loaded).map(poll).collect();
    let (began, longest) = (Instant::now(), Duration::ZERO);
    Ok(ChainRun { began, shared, total: Phase::beginning(began), longest, loaded, workers: running, pollers })
}

/// A hash tag whose slot belongs to this shard.
fn tag_in(by_slot: &[Option<usize>], shard: usize, prefix: &str, id: usize) -> (String, Slot) {
    let mut suffix = 0u32;
    loop {
        let tag = format!("{{{prefix}w{id}.{suffix}}}");
        let slot = slot_of(tag.as_bytes());
        // A shard that has no slots at all does not exist; every other one is hit soon.
        if by_slot[usize::from(slot.0)] == Some(shard) || suffix > 100 * SLOTS as u32 {
            return (tag, slot);
        }
        suffix += 1;
    }
}

async fn poll_modes(shard: usize, mut route: Route, shared: Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        poll_mode(shard, &mut route, &shared).await;
        tokio::time::sleep(MODE_INTERVAL).await;
    }
    // Asked after the last write is answered, so that its mode is known.
    let until = Instant::now() + LAST_MODE_PATIENCE;
    while !poll_mode(shard, &mut route, &shared).await && Instant::now() < until {
        tokio::time::sleep(MODE_INTERVAL).await;
    }
}

/// Asks the primary for the mode; returns whether it has answered.
async fn poll_mode(shard: usize, route: &mut Route, shared: &Shared) -> bool {
    let asked = Instant::now();
    let Attempt::Reply(_, reply) = route.call(&[b"INFO", b"durability"]).await else { return false };
    let Some(answer) = ModeAnswer::parse(&reply) else { return false };
    if !answer.leads {
        route.look_elsewhere();
        return false;
    }
    shared.modes[shard].lock().seen(&answer.mode, asked, Instant::now());
    *shared.bound.lock() = answer.bound;
    true
}

impl ChainRun {
    /// Ends the current phase and returns what has happened in it.
    pub fn next_phase(&mut self) -> Phase {
        let phase = self.shared.meter.lock().next_phase();
        self.total.add(&phase);
        let now = Instant::now();
        let gaps = self.interruptions(phase.began);
        self.longest = gaps.iter().map(|gap| gap.length(now)).fold(self.longest, Duration::max);
        phase
    }

    /// Interruptions that ended after `since` or last, oldest first.
    #[must_use]
    pub fn interruptions(&self, since: Instant) -> Vec<Interruption> {
        self.shared.meter.lock().interruptions(since)
    }

    /// The figures.
    #[must_use]
    pub fn meter(&self) -> &Mutex<Meter> {
        &self.shared.meter
    }

    /// What has happened in all phases that were taken.
    #[must_use]
    pub fn total(&self) -> &Phase {
        &self.total
    }

    /// Acknowledged writes that were found to be lost so far.
    #[must_use]
    pub fn lost_so_far(&self) -> u64 {
        self.shared.wrong.lock().lost()
    }

    /// Stops the load, reads every key back and judges the run. Keys that cannot be read within `patience` are counted.
    pub async fn stop_and_check(mut self, patience: Duration) -> ChainVerdict {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut workers = Vec::new();
        for worker in self.workers.drain(..) {
            workers.push(worker.await.expect("a load worker does not panic"));
        }
        self.shared.ended.store(true, Ordering::Relaxed);
        for poller in self.pollers.drain(..) {
            poller.await.expect("a poller does not panic");
        }
        let seconds = self.began.elapsed().as_secs_f64();
        self.next_phase();
        let until = Instant::now() + patience;
        let checks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(worker.check(until))).collect();
        let mut unread = 0;
        for check in checks {
            unread += check.await.expect("a check does not panic");
        }
        let (mut wrong, total) = (std::mem::take(&mut *self.shared.wrong.lock()), &self.total);
        self.shared.judge(&mut wrong);
        ChainVerdict {
            seconds,
            acknowledged: total.acknowledged,
            refused: total.refused,
            unknown: total.unknown,
            reads: total.reads,
            lost_in_sync: wrong.lost_in_sync,
            lost_otherwise: wrong.lost_otherwise,
            loss_longest_ms: wrong.loss_longest.as_millis() as u64,
            loss_bound_ms: self.shared.bound.lock().map(|bound| bound.as_millis() as u64),
            lost_before_history: wrong.lost_before,
            doubled: wrong.doubled,
            phantoms: wrong.phantoms,
            unread,
            unobserved: self.unobserved(),
            interruption_longest_ms: self.longest.as_millis() as u64,
            modes: self.modes(),
        }
    }

    fn modes(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        for modes in &self.shared.modes {
            seen.extend(modes.lock().all().map(str::to_owned));
        }
        seen.into_iter().collect()
    }

    /// The number of shards with a load whose mode was never seen.
    fn unobserved(&self) -> u64 {
        let loaded = self.shared.modes.iter().take(self.loaded);
        loaded.filter(|modes| modes.lock().all().next().is_none()).count() as u64
    }
}

impl Drop for ChainRun {
    /// Ends a run that is not judged.
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
        self.pollers.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_lies_in_the_shard_of_its_worker() {
        let by_slot: Vec<Option<usize>> = (0..SLOTS).map(|slot| Some(slot * 3 / SLOTS)).collect();
        for id in 0..12 {
            let (tag, slot) = tag_in(&by_slot, id % 3, "t:", id);
            assert_eq!(by_slot[usize::from(slot_of(format!("{tag}k3").as_bytes()).0)], Some(id % 3));
            assert_eq!(slot_of(tag.as_bytes()), slot);
        }
    }
}
