//! The disk of a simulated node: it outlives crashes, and its speed can be changed while the node runs.
//!
//! A write takes a while before the disk has it and a while after: a crash in the first span loses it, one in the second
//! finds it stored although nobody was told. That is the log's own driver; here are only the numbers.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastness_log::memory::{MemoryDisk, MemoryStore};
use fastness_log::store::{Family, KeyRange, KeyValue, OrderedStore, StoreError, Visitor, WriteBatch};
use fastness_log::{DriverLatency, WriteLoad};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Half of a write's duration on a healthy disk, microseconds.
const HEALTHY_US: Range<u64> = 100..1_200;
/// Batches that a crash takes from a disk that does not sync.
const FORGOTTEN_MAX: usize = 8;

struct Dial {
    rng: SmallRng,
    span_us: Range<u64>,
}

/// A node's disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    disk: MemoryDisk,
    dial: Arc<Mutex<Dial>>,
    /// Planted: says that it has synced, and has not.
    lies: bool,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64, lies: bool) -> SimDisk {
        let dial = Dial { rng: SmallRng::seed_from_u64(seed), span_us: HEALTHY_US };
        SimDisk { disk: MemoryDisk::new(), dial: Arc::new(Mutex::new(dial)), lies }
    }

    /// Opens it after a start.
    ///
    /// # Errors
    /// It is open already.
    pub fn open(&self) -> Result<Arc<dyn OrderedStore>, StoreError> {
        let store = self.disk.open()?;
        Ok(if self.lies { Arc::new(Unsynced(store)) } else { store })
    }

    /// What the log's driver asks before each write.
    #[must_use]
    pub fn latency(&self) -> Box<dyn FnMut(WriteLoad) -> DriverLatency + Send> {
        let dial = self.dial.clone();
        Box::new(move |_| {
            let mut dial = dial.lock();
            let span_us = dial.span_us.clone();
            let mut half = || Duration::from_micros(dial.rng.random_range(span_us.clone()));
            DriverLatency { before: half(), after: half() }
        })
    }

    /// From now on half of a write takes this long.
    pub fn slow_down(&self, span: Range<Duration>) {
        self.dial.lock().span_us = span.start.as_micros() as u64..span.end.as_micros() as u64;
    }

    /// Healthy again.
    pub fn recover(&self) {
        self.dial.lock().span_us = HEALTHY_US;
    }

    /// The machine is gone, with what was not synced.
    pub fn crash(&self) {
        let unsynced = self.disk.unsynced();
        let lost = self.dial.lock().rng.random_range(0..=unsynced.min(FORGOTTEN_MAX));
        self.disk.crash(unsynced - lost);
    }
}

/// A disk whose sync does nothing.
struct Unsynced(Arc<MemoryStore>);

impl OrderedStore for Unsynced {
    fn write(&self, batch: WriteBatch, _: bool) -> Result<(), StoreError> {
        self.0.write(batch, false)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(family, key)
    }

    fn scan(&self, family: Family, range: &KeyRange, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.0.scan(family, range, visit)
    }

    fn last(&self, family: Family, range: &KeyRange) -> Result<Option<KeyValue>, StoreError> {
        self.0.last(family, range)
    }

    fn reclaim(&self, family: Family) {
        self.0.reclaim(family);
    }

    fn place(&self) -> String {
        self.0.place()
    }
}
