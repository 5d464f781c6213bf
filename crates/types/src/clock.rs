//! The clock that code is handed instead of reading one itself.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{BootNs, WallMs};

/// Both clocks of one node. A simulation gives its own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump; used for TTLs through the primary's timestamp only.
    fn wall(&self) -> WallMs;
    /// Nanoseconds since the machine started, **counting suspended time** (`CLOCK_BOOTTIME`): leases and lag.
    fn boot(&self) -> BootNs;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> WallMs {
        // Through the C library, not past it as the boot clock: so a test can set the wall clock of one process alone
        // (libfaketime). A clock before the epoch counts as the epoch.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallMs(since.as_millis() as u64)
    }

    fn boot(&self) -> BootNs {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        BootNs((t.tv_sec as u64) * 1_000_000_000 + t.tv_nsec as u64)
    }
}
