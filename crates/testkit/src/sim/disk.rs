//! The disk of a simulated node: it outlives crashes, and its speed can be changed while the node runs.
//!
//! A write takes some time before the disk has it and some time after. A crash in the first span tears the write off; a
//! crash in the second one keeps it, although it was not reported as done. The log's own driver implements this; this
//! module only chooses the durations.

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
/// Number of batches that a crash removes from a disk that does not sync.
const FORGOTTEN_MAX: usize = 8;

struct DiskState {
    rng: SmallRng,
    disk: MemoryDisk,
    span_us: Range<u64>,
    /// Number of writes that started while the disk was not healthy.
    slowed: u64,
    /// Number of syncs before the newest write started; while it is unchanged, that write is not on the disk.
    syncs_before: u64,
    /// Content of the disk when it was last opened.
    at_start: MemoryDisk,
    wiped: bool,
}

/// The disk of one node. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
}

impl SimDisk {
    /// Creates an empty disk.
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

    /// Opens the disk after a start.
    ///
    /// # Errors
    /// The disk is open already.
    pub fn open(&self) -> Result<Arc<dyn OrderedStore>, StoreError> {
        let disk = self.disk();
        self.state.lock().at_start = disk.copy();
        Ok(disk.open()?)
    }

    /// The function that chooses the latency of each write, for the log's driver.
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

    /// Makes half of every further write take a time in this range.
    pub fn slow_down(&self, span: Range<Duration>) {
        self.state.lock().span_us = span.start.as_micros() as u64..span.end.as_micros() as u64;
    }

    /// Number of writes that started while the disk was not healthy.
    #[must_use]
    pub fn slowed(&self) -> u64 {
        self.state.lock().slowed
    }

    /// Makes the disk full.
    pub fn fill(&self) {
        self.disk().set_capacity(Some(0));
    }

    /// Makes the sync of the next write fail; the write itself is stored.
    pub fn fail_sync(&self) {
        self.disk().inject(MemoryFault::Sync);
    }

    /// Makes the disk healthy again.
    pub fn recover(&self) {
        self.state.lock().span_us = HEALTHY_US;
        self.disk().heal();
    }

    /// Crashes the machine and drops unsynced data. Returns whether a write in progress was torn off.
    pub fn crash(&self) -> bool {
        let mut state = self.state.lock();
        let unsynced = state.disk.unsynced();
        let lost = state.rng.random_range(0..=unsynced.min(FORGOTTEN_MAX));
        state.disk.crash(unsynced - lost);
        state.disk.syncs() == state.syncs_before
    }

    /// Whether the value under a key is on stable storage.
    #[must_use]
    pub fn is_synced(&self, key: Key) -> bool {
        self.disk().is_synced(key.family(), &key.encode())
    }

    /// A copy of the disk as a crash would leave it, for observers.
    #[must_use]
    pub fn synced(&self) -> MemoryDisk {
        self.disk().synced()
    }

    /// Flips one bit of an entry in the middle of the log. False if the log is too short to have one.
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

    /// Replaces the disk by an empty one.
    pub fn wipe(&self) {
        let mut state = self.state.lock();
        state.disk = MemoryDisk::new();
        state.wiped = true;
    }

    /// Whether the disk is not the one any more with which the node became a member.
    #[must_use]
    pub fn is_wiped(&self) -> bool {
        self.state.lock().wiped
    }

    /// Replaces the disk by the copy made at the node's last start.
    pub fn roll_back(&self) {
        let mut state = self.state.lock();
        state.disk = state.at_start.copy();
    }

    /// Replaces the disk by another copy.
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
