//! The disk of a simulated node: it outlives crashes, and its speed can be changed while the node runs.
//!
//! A write takes a while before the disk has it and a while after: a crash in the first span tears it off, one in the
//! second finds it stored although nobody was told. That is the log's own driver; here are only the numbers.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastness_log::key::Key;
use fastness_log::memory::{MemoryDisk, MemoryFault};
use fastness_log::store::{Family, OrderedStore, StoreError};
use fastness_log::{DriverLatency, WriteLoad};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Half of a write's duration on a healthy disk, microseconds.
const HEALTHY_US: Range<u64> = 100..1_200;
/// Batches that a crash takes from a disk that does not sync.
const FORGOTTEN_MAX: usize = 8;

struct DiskState {
    rng: SmallRng,
    disk: MemoryDisk,
    span_us: Range<u64>,
    /// Writes that began while the disk was not healthy.
    slowed: u64,
    /// Syncs before the newest write began; as many afterwards: it is not on the disk yet.
    syncs_before: u64,
    /// What the disk held when it was last opened.
    at_start: MemoryDisk,
    wiped: bool,
}

/// A node's disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        let rng = SmallRng::seed_from_u64(seed);
        let disk = MemoryDisk::new();
        let state = DiskState {
            rng,
            at_start: disk.copy(),
            disk,
            span_us: HEALTHY_US,
            slowed: 0,
            syncs_before: 0,
            wiped: false,
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn disk(&self) -> MemoryDisk {
        self.state.lock().disk.clone()
    }

    /// Opens it after a start.
    ///
    /// # Errors
    /// It is open already.
    pub fn open(&self) -> Result<Arc<dyn OrderedStore>, StoreError> {
        let disk = self.disk();
        self.state.lock().at_start = disk.copy();
        Ok(disk.open()?)
    }

    /// What the log's driver asks before each write.
    #[must_use]
    pub fn latency(&self) -> Box<dyn FnMut(WriteLoad) -> DriverLatency + Send> {
        let state = self.state.clone();
        Box::new(move |_| {
            let mut state = state.lock();
            let span_us = state.span_us.clone();
            state.slowed += u64::from(span_us != HEALTHY_US);
            state.syncs_before = state.disk.syncs();
            let mut half = || Duration::from_micros(state.rng.random_range(span_us.clone()));
            DriverLatency { before: half(), after: half() }
        })
    }

    /// From now on half of a write takes this long.
    pub fn slow_down(&self, span: Range<Duration>) {
        self.state.lock().span_us = span.start.as_micros() as u64..span.end.as_micros() as u64;
    }

    /// How many writes have begun while the disk was not healthy.
    #[must_use]
    pub fn slowed(&self) -> u64 {
        self.state.lock().slowed
    }

    /// From now on nothing more fits.
    pub fn fill(&self) {
        self.disk().set_capacity(Some(0));
    }

    /// The next write is stored and its sync fails.
    pub fn fail_sync(&self) {
        self.disk().inject(MemoryFault::Sync);
    }

    /// Healthy again.
    pub fn recover(&self) {
        self.state.lock().span_us = HEALTHY_US;
        self.disk().heal();
    }

    /// The machine is gone, with what was not synced. Of a write that was under way it tells whether it was torn off.
    pub fn crash(&self) -> bool {
        let mut state = self.state.lock();
        let unsynced = state.disk.unsynced();
        let lost = state.rng.random_range(0..=unsynced.min(FORGOTTEN_MAX));
        state.disk.crash(unsynced - lost);
        state.disk.syncs() == state.syncs_before
    }

    /// Whether what the disk has under a key is on stable storage.
    #[must_use]
    pub fn is_synced(&self, key: Key) -> bool {
        self.disk().is_synced(key.family(), &key.encode())
    }

    /// A disk that holds what a crash would leave, for those who look at it from outside.
    #[must_use]
    pub fn synced(&self) -> MemoryDisk {
        self.disk().synced()
    }

    /// One bit of an entry in the middle of the log changes. False if the log is too short to have one.
    pub fn corrupt_middle(&self) -> bool {
        let mut state = self.state.lock();
        let entries = state.disk.dump(Family::Log);
        if entries.len() < 3 {
            return false;
        }
        let at = state.rng.random_range(0..entries.len() - 1);
        let (key, mut value) = entries[at].clone();
        let bit = state.rng.random_range(0..value.len() * 8);
        value[bit / 8] ^= 1 << (bit % 8);
        state.disk.edit(Family::Log, &key, Some(value));
        true
    }

    /// Somebody puts an empty disk in its place.
    pub fn wipe(&self) {
        let mut state = self.state.lock();
        state.disk = MemoryDisk::new();
        state.wiped = true;
    }

    /// Whether it is not the disk any more that the node was made a member with.
    #[must_use]
    pub fn is_wiped(&self) -> bool {
        self.state.lock().wiped
    }

    /// Somebody puts the copy in its place that was made when the node was last started.
    pub fn roll_back(&self) {
        let mut state = self.state.lock();
        state.disk = state.at_start.copy();
    }

    /// Somebody puts another copy in its place.
    pub fn put_back(&self, copy: &MemoryDisk) {
        self.state.lock().disk = copy.copy();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastness_log::store::WriteBatch;
    use fastness_types::GroupId;

    use super::*;

    #[test]
    fn what_was_not_synced_is_seen_from_outside() {
        for stable in [true, false] {
            let disk = SimDisk::new(1);
            let key = Key::Entry { group: GroupId(1), index: 1 };
            let mut batch = WriteBatch::new();
            batch.put(key.family(), key.encode(), b"entry".to_vec());
            disk.open().unwrap().write(batch, stable).unwrap();
            assert_eq!(disk.is_synced(key), stable);
            assert_eq!(disk.synced().dump(Family::Log).len(), usize::from(stable));
        }
    }

    #[test]
    fn a_disk_that_was_rolled_back_holds_what_it_held_at_the_start() {
        let disk = SimDisk::new(1);
        let key = Key::Entry { group: GroupId(1), index: 1 };
        let write = |value: &[u8]| {
            let mut batch = WriteBatch::new();
            batch.put(key.family(), key.encode(), value.to_vec());
            disk.open().unwrap().write(batch, true).unwrap();
            disk.crash();
        };
        write(b"old");
        write(b"new");
        disk.roll_back();
        assert_eq!(disk.synced().dump(Family::Log), [(key.encode(), b"old".to_vec())]);
        assert!(!disk.corrupt_middle(), "there is no middle");
        write(b"newer");
        let copy = disk.synced();
        write(b"newest");
        disk.put_back(&copy);
        assert_eq!(disk.synced().dump(Family::Log), [(key.encode(), b"newer".to_vec())]);
    }
}
