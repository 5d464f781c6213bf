//! An ordered store that injects disk faults on command, for labs. It wraps another store.
//!
//! It is below group commit and encryption, where the faults of a real disk come from, so the writer, its queue and its
//! error handling are the same as in production. A production node does not wrap its store.
//!
//! - **Stall**: a write does not return until the fault is healed. It reports no error, as with a device that hangs.
//! - **Slow**: a synced write takes additional time.
//! - **Fill**: a write is refused as on a full device; nothing of it is stored.
//! - **Fail**: the next batch is written and its fsync fails, once. The effect on the log is permanent: it writes
//!   nothing more.
//!
//! One fault is set at a time: a new one replaces the old one. Reads are not affected.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::store::{Family, KeyRange, KeyValue, OrderedStore, StoreError, Visitor, WriteBatch};

/// A fault of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Writes wait until the fault is healed.
    Stall,
    /// A synced write takes this much longer.
    Slow(Duration),
    /// Writes fail for lack of space.
    Fill,
    /// The next fsync fails.
    Fail,
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskFault::Stall => f.write_str("stall"),
            DiskFault::Slow(span) => write!(f, "slow {} ms", span.as_millis()),
            DiskFault::Fill => f.write_str("fill"),
            DiskFault::Fail => f.write_str("fail"),
        }
    }
}

#[derive(Debug, Default)]
struct FaultState {
    fault: Option<DiskFault>,
    met: u64,
}

/// The fault of one node's disk: set by the lab, applied by the [`FaultyStore`].
#[derive(Debug, Default)]
pub struct DiskFaults {
    state: Mutex<FaultState>,
    changed: Condvar,
}

/// How a write proceeds.
enum Verdict {
    Write,
    NoSpace,
    FailSync,
}

impl DiskFaults {
    /// Sets the fault; `None` heals the disk.
    pub fn set(&self, fault: Option<DiskFault>) {
        let mut state = self.state.lock();
        if fault.is_some() {
            state.met = 0;
        }
        state.fault = fault;
        self.changed.notify_all();
    }

    /// The current fault.
    #[must_use]
    pub fn get(&self) -> Option<DiskFault> {
        self.state.lock().fault
    }

    /// Number of writes that met the fault that was set last.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.state.lock().met
    }

    /// Waits as the fault requires, and returns how the write proceeds.
    fn before_write(&self, sync: bool) -> Verdict {
        let mut state = self.state.lock();
        match state.fault {
            None => return Verdict::Write,
            Some(DiskFault::Slow(_)) if !sync => return Verdict::Write,
            Some(_) => state.met += 1,
        }
        let began = Instant::now();
        loop {
            match state.fault {
                None => return Verdict::Write,
                Some(DiskFault::Stall) => self.changed.wait(&mut state),
                Some(DiskFault::Slow(span)) => {
                    if began.elapsed() >= span {
                        return Verdict::Write;
                    }
                    self.wait_until(&mut state, began + span);
                }
                Some(DiskFault::Fill) => return Verdict::NoSpace,
                Some(DiskFault::Fail) => {
                    state.fault = None;
                    return Verdict::FailSync;
                }
            }
        }
    }

    fn wait_until(&self, state: &mut MutexGuard<'_, FaultState>, at: Instant) {
        // The caller checks the fault again, whether it was woken or the time has passed.
        let _ = self.changed.wait_until(state, at);
    }
}

/// A store whose writes meet the current fault (see the module's documentation).
pub struct FaultyStore {
    store: Arc<dyn OrderedStore>,
    faults: Arc<DiskFaults>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(store: Arc<dyn OrderedStore>, faults: Arc<DiskFaults>) -> Arc<FaultyStore> {
        Arc::new(FaultyStore { store, faults })
    }
}

impl OrderedStore for FaultyStore {
    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        match self.faults.before_write(sync) {
            Verdict::Write => self.store.write(batch, sync),
            Verdict::NoSpace => {
                Err(StoreError::NoSpace { place: self.place(), detail: "injected: No space left on device".to_owned() })
            }
            Verdict::FailSync => {
                self.store.write(batch, false)?;
                Err(StoreError::Io { place: self.place(), detail: "injected: fsync failed".to_owned() })
            }
        }
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(family, key)
    }

    fn scan(&self, family: Family, range: &KeyRange, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.store.scan(family, range, visit)
    }

    fn last(&self, family: Family, range: &KeyRange) -> Result<Option<KeyValue>, StoreError> {
        self.store.last(family, range)
    }

    fn reclaim(&self, family: Family) {
        self.store.reclaim(family);
    }

    fn place(&self) -> String {
        self.store.place()
    }
}
