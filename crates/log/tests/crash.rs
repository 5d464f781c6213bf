//! Crash consistency: random operations of several groups on the simulated disk, with a crash at any moment of virtual
//! time. The content found afterwards is compared with a model.
//!
//! After a crash, the whole disk must equal the model after **some prefix** of all operations in the order of their
//! calls, and that prefix must include every operation whose callback was called. The check covers lost writes, votes
//! and entries that overtake each other, and half-applied batches, across groups. The master key is part of the model:
//! it is exchanged meanwhile.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{CLUSTER, NODE, StillClock, master, other_master};
use fastness_log::memory::{MemoryDisk, MemoryFault};
use fastness_log::{
    Cipher, DriverLatency, EntryId, EntryKind, Fingerprint, Log, LogEntry, LogOptions, WriteError, WriterDriver,
};
use fastness_types::{GroupId, WallMs};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const GROUPS: u32 = 3;
/// In the model, the place of the master key's fingerprint.
const KEY: u32 = u32::MAX;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct GroupModel {
    entries: Vec<LogEntry>,
    purged: Option<EntryId>,
    membership: Option<LogEntry>,
    vote: Option<Bytes>,
}

impl GroupModel {
    fn last(&self) -> Option<EntryId> {
        self.entries.last().map(LogEntry::id).or(self.purged)
    }
}

type Model = BTreeMap<u32, GroupModel>;

fn key_model(fingerprint: Fingerprint) -> GroupModel {
    GroupModel { vote: Some(Bytes::copy_from_slice(&fingerprint.0)), ..GroupModel::default() }
}

/// One life of a node: the operations that it was given, and those reported as stored.
struct Life {
    /// The model before the first and after each operation.
    history: Vec<Model>,
    /// Number of the newest operation reported as stored.
    acked: Arc<AtomicUsize>,
    /// Whether the master key was exchanged in this life.
    rotated: bool,
}

fn open(disk: &MemoryDisk, rng: &mut StdRng) -> Log {
    let mut options = LogOptions::new(NODE, CLUSTER);
    options.tail_bytes_max = rng.random_range(0..2_000);
    let mut seeded = StdRng::seed_from_u64(rng.random());
    let mut random = StdRng::seed_from_u64(rng.random());
    options.clock = Arc::new(StillClock(WallMs(1_800_000_000_000)));
    let cipher = Cipher::with_random(master(), Box::new(move |bytes| random.fill(bytes)));
    let cipher = cipher.with_alternative(other_master());
    let ms = move |rng: &mut StdRng| Duration::from_micros(rng.random_range(0..3_000));
    let latency = move |_| DriverLatency { before: ms(&mut seeded), after: ms(&mut seeded) };
    Log::open(disk.open().unwrap(), cipher, options, WriterDriver::Task { latency: Box::new(latency) }).unwrap()
}

impl Life {
    fn done(&self) -> impl FnOnce(Result<(), WriteError>) + Send + use<> {
        let number = self.history.len();
        let acked = self.acked.clone();
        move |result| {
            if result.is_ok() {
                let before = acked.swap(number, Ordering::Relaxed);
                assert!(before < number, "callbacks in order");
            }
        }
    }

    /// One random operation on the log and on the model.
    fn step(&mut self, log: &Log, term: u64, rng: &mut StdRng) {
        let number = rng.random_range(0..GROUPS);
        let group = log.group(GroupId(number));
        let mut model = self.history.last().unwrap().clone();
        let state = model.entry(number).or_default();
        match rng.random_range(0..20) {
            0..10 => {
                let next = state.last().map_or(1, |id| id.index + 1);
                let batch: Vec<LogEntry> =
                    (next..next + rng.random_range(1..5)).map(|index| random_entry(index, term, rng)).collect();
                state.entries.extend(batch.iter().cloned());
                group.append(batch, self.done());
            }
            10..13 => {
                let keep = rng.random_range(0..=state.entries.len());
                state.entries.truncate(keep);
                group.truncate_after(state.last(), self.done());
            }
            13..15 if !state.entries.is_empty() => {
                let count = rng.random_range(1..=state.entries.len());
                let purged: Vec<_> = state.entries.drain(..count).collect();
                state.purged = purged.last().map(LogEntry::id);
                let newest = purged.into_iter().rfind(|entry| entry.kind == EntryKind::Membership);
                state.membership = newest.or(state.membership.take());
                group.purge(state.purged.unwrap(), self.done());
            }
            15 => return log.rotate_data_key(|_| {}),
            16 => return group.save_committed(Bytes::from("a hint")),
            17 if self.rotated || log.keys().retired().is_some() => return log.forget_retired_key(|_| {}),
            17 => {
                self.rotated = true;
                let keys = [master(), other_master()].into_iter();
                let new = keys.into_iter().find(|key| key.fingerprint() != log.keys().fingerprint()).unwrap();
                model.insert(KEY, key_model(new.fingerprint()));
                let done = self.done();
                log.rotate_master_key(new, |result| done(result.map_err(|_| WriteError::Closed)));
            }
            _ => {
                let vote = Bytes::from(format!("vote {}", rng.random::<u32>()));
                state.vote = Some(vote.clone());
                group.save_vote(vote, self.done());
            }
        }
        self.history.push(model);
    }
}

fn random_entry(index: u64, term: u64, rng: &mut StdRng) -> LogEntry {
    let kind = if rng.random_range(0..5) == 0 { EntryKind::Membership } else { EntryKind::Batch };
    let mut payload = vec![0; rng.random_range(0..300)];
    rng.fill(&mut payload[..]);
    LogEntry { index, term, node: NODE.0, kind, payload: payload.into() }
}

/// The content of the disk, read through a newly opened log.
async fn found(log: &Log) -> Model {
    let mut model = Model::from([(KEY, key_model(log.keys().fingerprint()))]);
    for id in log.groups() {
        let group = log.group(id);
        let state = group.state();
        let mut entries = Vec::new();
        let mut next = state.first.unwrap_or_default();
        while state.first.is_some() && next <= state.last.unwrap().index {
            let read = group.read(next..u64::MAX, 500).await.unwrap();
            next += read.len() as u64;
            entries.extend(read.iter().map(|entry| (**entry).clone()));
        }
        let purged = state.purged;
        let membership = state.memberships.first().filter(|m| purged.is_some_and(|p| m.index <= p.index));
        let membership = membership.map(|entry| (**entry).clone());
        assert_eq!(state.last, entries.last().map(LogEntry::id).or(purged));
        let model_group = GroupModel { entries, purged, membership, vote: state.vote };
        if model_group != GroupModel::default() {
            model.insert(id.0, model_group);
        }
    }
    model
}

fn without_empty(model: &Model) -> Model {
    model.iter().filter(|(_, group)| **group != GroupModel::default()).map(|(id, group)| (*id, group.clone())).collect()
}

/// Runs a node until the machine crashes at `crash_at`. Returns its life, against which the disk is checked.
fn live(disk: &MemoryDisk, start: Model, term: u64, seed: u64, crash_at: Duration) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut life = Life { history: vec![start], acked: Arc::default(), rotated: false };
    runtime.block_on(async {
        let log = open(disk, &mut rng);
        life.history[0].insert(KEY, key_model(log.keys().fingerprint()));
        let lives = async {
            loop {
                life.step(&log, term, &mut rng);
                if rng.random_range(0..400) == 0 {
                    disk.inject(if rng.random() { MemoryFault::Sync } else { MemoryFault::Write });
                }
                tokio::time::sleep(Duration::from_micros(rng.random_range(0..1_500))).await;
            }
        };
        let crashed: Result<(), _> = tokio::time::timeout(crash_at, lives).await;
        assert!(crashed.is_err(), "it lives until the crash");
    });
    drop(runtime);
    life
}

/// Finds the model that equals the disk, after some prefix of the life's operations that includes all acknowledged
/// ones.
fn check(disk: &MemoryDisk, life: &Life, seed: u64) -> Model {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let found = runtime.block_on(async {
        let log = open(disk, &mut StdRng::seed_from_u64(seed));
        found(&log).await
    });
    disk.kill();
    // The history has one more model than operations: number n is the model after operation n.
    let acked = life.acked.load(Ordering::Relaxed);
    let fits = life.history[acked..].iter().position(|model| without_empty(model) == found);
    assert!(
        fits.is_some(),
        "seed {seed}: no prefix from operation {acked} of {} on gives {found:#?}; acknowledged: {:#?}",
        life.history.len() - 1,
        life.history[acked],
    );
    found
}

#[test]
fn a_crash_at_any_moment_leaves_a_prefix_with_all_that_was_acknowledged() {
    let mut acked = 0;
    for seed in 0..8 {
        for crash_at in (200..40_000).step_by(700) {
            let disk = MemoryDisk::new();
            let life = live(&disk, Model::new(), 1, seed, Duration::from_micros(crash_at));
            disk.crash(usize::from(crash_at % 2 == 0));
            check(&disk, &life, seed);
            acked += life.acked.load(Ordering::Relaxed);
        }
    }
    assert!(acked > 1_000, "the test must have tested something: {acked}");
}

#[test]
fn a_node_that_crashes_over_and_over_keeps_everything() {
    for seed in 100..112 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = MemoryDisk::new();
        let mut model = Model::new();
        for term in 1..25 {
            let crash_at = Duration::from_micros(rng.random_range(0..30_000));
            let life = live(&disk, model, term, rng.random(), crash_at);
            disk.crash(rng.random_range(0..3));
            model = check(&disk, &life, seed);
        }
        assert!(!model.is_empty());
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = || {
        let disk = MemoryDisk::new();
        let life = live(&disk, Model::new(), 1, 7, Duration::from_millis(50));
        disk.kill();
        (disk.dump(fastness_log::store::Family::Log), disk.dump(fastness_log::store::Family::Meta), life.history.len())
    };
    assert_eq!(run(), run());
}
