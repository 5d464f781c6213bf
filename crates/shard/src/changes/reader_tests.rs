#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fastness_consensus::handle::{CommittedLog, GroupDriver, group_pair};
use fastness_events::Events;
use fastness_resp::SharedBuf;
use fastness_types::{Durability, GroupId, NodeId, Seq, WallMs};
use std::sync::Mutex;

use super::*;
use crate::batch::{BatchHeader, UnitHead, UnitKind, encode, encode_head};
use crate::fragment::Cut;
use crate::idempotency::record::UnitRecord;

/// A log whose first entries can be purged. Half of the reads are "from memory".
#[derive(Default)]
struct TestLog {
    entries: Mutex<BTreeMap<u64, Committed>>,
    purged: AtomicU64,
}

impl TestLog {
    fn slice(&self, from: LogIndex, to: LogIndex) -> Vec<Committed> {
        // Few at a time, so that batches of several entries are read in parts.
        self.entries.lock().unwrap().range(from.0..=to.0).take(2).map(|(_, entry)| entry.clone()).collect()
    }
}

#[async_trait::async_trait]
impl CommittedLog for TestLog {
    fn read_cached(&self, from: LogIndex, to: LogIndex, _: usize) -> Option<Vec<Committed>> {
        let is_cached = from.0.is_multiple_of(2) && from.0 > self.purged.load(Ordering::Relaxed);
        is_cached.then(|| self.slice(from, to))
    }

    async fn read(&self, from: LogIndex, to: LogIndex, _: usize) -> Result<Vec<Committed>, ReadError> {
        tokio::task::yield_now().await;
        let purged = self.purged.load(Ordering::Relaxed);
        if from.0 <= purged { Err(ReadError::Purged(LogIndex(purged))) } else { Ok(self.slice(from, to)) }
    }
}

struct World {
    log: Arc<TestLog>,
    handle: GroupHandle,
    driver: GroupDriver,
    epoch: Epoch,
    /// Of the epoch's entries with batches.
    seq: u64,
    large: Arc<Semaphore>,
}

impl World {
    fn new() -> World {
        let log = Arc::<TestLog>::default();
        let (handle, driver) = group_pair(GroupId(1), log.clone(), Events::only_logged());
        handle.report_ready(true);
        let large = Arc::new(Semaphore::new(1));
        World { log, handle, driver, epoch: Epoch { term: 1, node: NodeId(1) }, seq: 0, large }
    }

    fn append(&mut self, payload: EntryPayload) -> u64 {
        let mut entries = self.log.entries.lock().unwrap();
        let index = entries.last_key_value().map_or(1, |(last, _)| last + 1);
        entries.insert(index, Committed { index: LogIndex(index), epoch: self.epoch, payload });
        index
    }

    fn parts(&mut self, units: &[&str]) -> (BatchHeader, Vec<UnitHead>, SharedBuf) {
        let header = BatchHeader { seq: Seq(self.seq + 1), timestamp: WallMs(5), durability: Durability::Sync };
        let head = |effects: &&str| {
            // An idempotency record shows nothing.
            let record = UnitRecord { leave: 0, leave_own: 0, client: b"c", sequence: 1, payload: 2, reply: b"" };
            let record = effects.contains('r').then(|| record.encode());
            UnitHead { kind: UnitKind::Write, durability: None, timestamp: WallMs(5), length: effects.len(), record }
        };
        (header, units.iter().map(head).collect(), units.concat().as_bytes().into())
    }

    /// Appends a whole batch, and applies it.
    fn batch(&mut self, units: &[&str]) -> u64 {
        let (header, heads, effects) = self.parts(units);
        self.seq += 1;
        let index = self.append(EntryPayload::Batch(encode(header, &heads, &effects)));
        self.apply(index);
        index
    }

    /// The fragments of a batch.
    fn fragments(&mut self, units: &[&str], bytes: usize) -> Vec<Bytes> {
        let (mut header, heads, effects) = self.parts(units);
        let length = encode_head(header, &heads).len() + effects.len();
        header.seq = Seq(self.seq + length.div_ceil(bytes) as u64);
        let mut cut = Cut::new(encode_head(header, &heads), effects, bytes, Seq(self.seq + 1));
        self.seq = header.seq.0;
        std::iter::from_fn(|| cut.next().map(|(_, payload)| payload)).collect()
    }

    fn apply(&self, index: u64) {
        self.driver.advance_committed(LogIndex(index));
        self.handle.report_applied(LogIndex(index));
    }

    async fn open(&self, start: ChangeStart) -> Result<ChangeReader, ChangeError> {
        ChangeReader::open(self.handle.clone(), start, self.large.clone()).await
    }

    /// Everything after a start, as `INDEX.UNIT EFFECTS`.
    async fn read(&self, start: ChangeStart) -> Vec<String> {
        rest(&mut self.open(start).await.unwrap()).await
    }
}

async fn rest(reader: &mut ChangeReader) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(batch) = reader.next().await.unwrap() {
        for CommittedUnit { position, unit } in batch.units().unwrap() {
            let effects = String::from_utf8_lossy(unit.effects).into_owned();
            all.push(format!("{}.{} {effects}", position.index.0, position.unit));
        }
        assert_eq!(reader.position(), ChangePosition::end_of(batch.index()));
    }
    all
}

fn after(index: u64, unit: u32) -> ChangeStart {
    ChangeStart::After(ChangePosition { index: LogIndex(index), unit })
}

const END: u32 = ChangePosition::END;

/// A log with everything: batches of one entry and of several with a change of members between them, one that never
/// became whole, and entries without a batch.
fn mixed() -> World {
    let mut world = World::new();
    world.append(EntryPayload::Blank);
    world.batch(&["a", "b", "cr"]);
    let fragments = world.fragments(&["long one", "d"], 10);
    assert_eq!(fragments.len(), 4);
    for (at, fragment) in fragments.into_iter().enumerate() {
        world.append(EntryPayload::Batch(fragment));
        if at == 1 {
            world.append(EntryPayload::Membership);
        }
    }
    world.apply(7);
    let lost = world.fragments(&["never whole"], 10);
    world.append(EntryPayload::Batch(lost[0].clone()));
    world.append(EntryPayload::Batch(lost[1].clone()));
    (world.epoch.term, world.seq) = (2, 0);
    world.append(EntryPayload::Blank);
    world.batch(&["e"]);
    world
}

#[tokio::test]
async fn every_start_gives_exactly_the_rest() {
    let world = mixed();
    let all = ["2.1 a", "2.2 b", "2.3 cr", "7.1 long one", "7.2 d", "11.1 e"];
    assert_eq!(world.read(ChangeStart::Oldest).await, all);
    assert_eq!(world.read(ChangeStart::Now).await, [""; 0]);
    assert_eq!(world.read(after(0, 0)).await, all);
    for (at, (index, unit)) in [(2, 1), (2, 2), (2, 3), (7, 1), (7, 2), (11, 1)].into_iter().enumerate() {
        assert_eq!(world.read(after(index, unit)).await, all[at + 1..], "after {index}.{unit}");
    }
    for (index, left) in [(1, 6), (2, 3), (3, 3), (4, 3), (5, 3), (6, 3), (7, 1), (8, 1), (9, 1), (10, 1), (11, 0)] {
        assert_eq!(world.read(after(index, END)).await, all[all.len() - left..], "after {index}");
    }
    assert_eq!(world.large.available_permits(), 1, "nothing is kept in memory");
}

#[tokio::test]
async fn nothing_is_read_that_is_not_applied() {
    let mut world = World::new();
    world.batch(&["a"]);
    let mut reader = world.open(ChangeStart::Oldest).await.unwrap();
    assert_eq!(rest(&mut reader).await, ["1.1 a"]);
    // Committed, but not applied: the replica may be within a batch.
    world.append(EntryPayload::Blank);
    world.driver.advance_committed(LogIndex(2));
    assert!(reader.next().await.unwrap().is_none());
    let next = world.batch(&["b"]);
    assert_eq!(rest(&mut reader).await, [format!("{next}.1 b")]);
    // A replica that restores its memory starts again from an older position.
    world.handle.report_applied(LogIndex(1));
    assert!(reader.next().await.unwrap().is_none());
    assert!(!world.open(after(next, 1)).await.unwrap().is_reached());
    world.apply(next);
    assert!(world.open(after(next, 1)).await.unwrap().is_reached());
    world.handle.report_ready(false);
    assert!(matches!(world.open(ChangeStart::Now).await, Err(ChangeError::NotServing)));
}

#[tokio::test]
async fn what_is_purged_is_reported() {
    let world = mixed();
    let mut reader = world.open(after(0, 0)).await.unwrap();
    // Within the batch of several entries.
    world.log.purged.store(4, Ordering::Relaxed);
    assert_eq!(world.read(ChangeStart::Oldest).await, ["11.1 e"]);
    for start in [after(0, 0), after(2, END), after(4, 1), after(4, END), after(5, END), after(7, 1)] {
        let failed = match world.open(start).await {
            Ok(mut reader) => reader.next().await.map(|batch| batch.is_some()),
            Err(error) => Err(error),
        };
        let is_purged = matches!(failed, Err(ChangeError::Purged { oldest: LogIndex(5) }));
        assert!(is_purged, "{start:?}: {failed:?}");
    }
    assert_eq!(world.read(after(7, END)).await, ["11.1 e"]);
    // One that was behind.
    let failed = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(failed, Some(ChangeError::Purged { .. })), "{failed:?}");
}

#[tokio::test]
async fn a_snapshot_that_was_installed_hides_the_entries_before_it() {
    let mut world = World::new();
    world.batch(&["a"]);
    let mut reader = world.open(ChangeStart::Now).await.unwrap();
    let foreign = world.append(EntryPayload::Batch(Bytes::from_static(b"of another history")));
    world.driver.set_installed(LogIndex(foreign + 1));
    // Memory is not restored yet.
    assert!(reader.next().await.unwrap().is_none());
    assert!(matches!(world.open(ChangeStart::Now).await, Err(ChangeError::NotServing)));
    world.handle.report_applied(LogIndex(foreign + 1));
    assert!(matches!(reader.next().await, Err(ChangeError::Purged { oldest }) if oldest.0 == foreign + 2));
    assert!(world.open(ChangeStart::Now).await.is_ok());
}

#[tokio::test]
async fn a_large_batch_waits_for_its_permit_and_a_dropped_call_loses_nothing() {
    let world = mixed();
    let (mut first, mut second) = (world.open(after(2, END)).await.unwrap(), world.open(after(0, 0)).await.unwrap());
    let large = first.next().await.unwrap().unwrap();
    assert_eq!(large.index().0, 7);
    assert_eq!(second.next().await.unwrap().unwrap().index().0, 2);
    for _ in 0..3 {
        let waits = tokio::time::timeout(std::time::Duration::from_millis(5), second.next()).await;
        assert!(waits.is_err(), "{waits:?}");
    }
    drop(large);
    assert_eq!(rest(&mut second).await, ["7.1 long one", "7.2 d", "11.1 e"]);
}

#[tokio::test]
async fn moves_of_the_applied_position_wake_a_reader() {
    let mut world = World::new();
    world.batch(&["a"]);
    let mut reader = world.open(ChangeStart::Now).await.unwrap();
    let moves = tokio::spawn(async move {
        reader.moved().await;
        rest(&mut reader).await
    });
    tokio::task::yield_now().await;
    world.batch(&["b"]);
    assert_eq!(moves.await.unwrap(), ["2.1 b"]);
}
