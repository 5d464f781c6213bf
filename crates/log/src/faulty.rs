//! A disk that misbehaves on command, for labs: an ordered store around another one.
//!
//! It sits where a real disk's faults come from, below group commit and encryption: the writer, its queue and its error
//! handling are as shipped. Production has no such store in its way: the node wraps one only if it is a lab.
//!
//! - **Stall**: a write does not return until the fault is healed. No error: as a device that hangs.
//! - **Slow**: a synced write takes so much longer.
//! - **Fill**: a write is refused as on a full device, nothing of it is stored.
//! - **Fail**: the next batch is written and its fsync fails, once. What the log makes of that lasts: it writes nothing
//!   more.
//!
//! One fault at a time: a new one takes the place of the one before. Reads are not touched.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::store::{Family, KeyRange, KeyValue, OrderedStore, StoreError, Visitor, WriteBatch};

/// What the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Writes wait until it is healed.
    Stall,
    /// A synced write takes so much longer.
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

/// The faults of one node's disk: set by whoever commands, met by the [`FaultyStore`].
#[derive(Debug, Default)]
pub struct DiskFaults {
    state: Mutex<FaultState>,
    changed: Condvar,
}

/// How a write is to go on.
enum Verdict {
    Write,
    NoSpace,
    FailSync,
}

impl DiskFaults {
    /// Sets the fault, or heals with `None`.
    pub fn set(&self, fault: Option<DiskFault>) {
        let mut state = self.state.lock();
        if fault.is_some() {
            state.met = 0;
        }
        state.fault = fault;
        self.changed.notify_all();
    }

    /// The fault that is set.
    #[must_use]
    pub fn get(&self) -> Option<DiskFault> {
        self.state.lock().fault
    }

    /// How many writes have met the fault that was set last.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.state.lock().met
    }

    /// Waits as long as the disk lets a write wait.
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
        // Woken or late, the caller looks again.
        let _ = self.changed.wait_until(state, at);
    }
}

/// A store whose writes meet the faults set; see the module.
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
    /// Puts the faults before a store.
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
