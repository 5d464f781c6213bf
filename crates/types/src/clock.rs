//! The clock that code is handed instead of reading one itself.

use crate::{BootNs, WallMs};

/// Both clocks of one node. A simulation gives its own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump; used for TTLs through the primary's stamp only.
    fn wall(&self) -> WallMs;
    /// Nanoseconds since the machine started, **counting suspended time** (`CLOCK_BOOTTIME`): leases and lag.
    fn boot(&self) -> BootNs;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> WallMs {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        WallMs((t.tv_sec as u64) * 1_000 + (t.tv_nsec as u64) / 1_000_000)
    }

    fn boot(&self) -> BootNs {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        BootNs((t.tv_sec as u64) * 1_000_000_000 + t.tv_nsec as u64)
    }
}
