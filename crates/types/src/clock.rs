//! The clock interface. Code receives a clock instead of reading the machine's clocks itself.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{BootNs, WallMs};

/// Both clocks of one node. A simulation provides its own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump; used for TTLs, and only through the primary's timestamp.
    fn wall(&self) -> WallMs;
    /// Nanoseconds since the machine started, **including suspended time** (`CLOCK_BOOTTIME`). Used for leases and lag.
    fn boot(&self) -> BootNs;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> WallMs {
        // Reads through the C library, unlike the boot clock, so that a test can set the wall clock of a single process
        // (libfaketime). A time before the epoch counts as the epoch.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallMs(since.as_millis() as u64)
    }

    fn boot(&self) -> BootNs {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        BootNs((t.tv_sec as u64) * 1_000_000_000 + t.tv_nsec as u64)
    }
}
