//! What all streams of a node share: how many there may be, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastness_types::limits::{WATCH_LARGE_BATCHES_MAX, WATCH_MEMORY_BYTES_MAX, WATCH_STALL_MAX, WATCHERS_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module.
#[derive(Debug)]
pub struct Watchers {
    places: Arc<Semaphore>,
    /// Permits to have a batch of several log entries in memory.
    pub(super) large: Arc<Semaphore>,
    /// For responses that were not taken. Their own: watchers that stall must not take the room of other calls'
    /// replies.
    memory: Arc<Semaphore>,
    units: AtomicU64,
    cut_off: AtomicU64,
}

impl Default for Watchers {
    fn default() -> Watchers {
        Watchers {
            places: Arc::new(Semaphore::new(WATCHERS_MAX)),
            large: Arc::new(Semaphore::new(WATCH_LARGE_BATCHES_MAX)),
            memory: Arc::new(Semaphore::new(WATCH_MEMORY_BYTES_MAX)),
            units: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
        }
    }
}

impl Watchers {
    /// A place for one more stream, if there is one.
    pub(super) fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Reserves memory for a response.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(WATCH_MEMORY_BYTES_MAX)).ok()?;
        tokio::time::timeout(WATCH_STALL_MAX, self.memory.clone().acquire_many_owned(bytes)).await.ok()?.ok()
    }

    pub(super) fn count_unit(&self) {
        self.units.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    /// Streams now.
    #[must_use]
    pub fn count(&self) -> usize {
        WATCHERS_MAX - self.places.available_permits()
    }

    /// Units that were sent to watchers since the process started.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }

    /// Streams that were ended because their client took nothing, since the process started.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }
}
