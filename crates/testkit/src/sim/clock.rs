//! The clocks of simulated nodes.
//!
//! Each node's boot clock has an origin and a rate of its own; wall clocks differ by a little. Rates stay within the
//! drift that consensus allows for, unless a bug is planted. A reading is simulated time, so it never depends on the
//! machine that runs the simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::{BootNs, Clock, WallMs};

/// Wall time at the start of every simulation, milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_767_225_600_000;
/// Rates are in millionths.
const RATE_ONE: u64 = 1_000_000;

/// Simulated time as it is between two steps, for readings from outside of a host. Clones are the same time.
#[derive(Debug, Clone, Default)]
pub struct SimTime(Arc<AtomicU64>);

impl SimTime {
    /// The driver has reached this point.
    pub fn set(&self, elapsed: Duration) {
        self.0.store(elapsed.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Since the simulation's start; exact inside of a host, the last step's end outside.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| Duration::from_nanos(self.0.load(Ordering::Relaxed)))
    }
}

/// One node's clocks.
#[derive(Debug, Clone)]
pub struct SimClock {
    time: SimTime,
    /// Boot time at the simulation's start.
    origin: Duration,
    /// Millionths of a second that the boot clock counts per second.
    rate: u64,
    /// Added to the wall clock, milliseconds.
    wall_ahead_ms: u64,
}

impl SimClock {
    /// `drift`: by how many millionths the boot clock is fast (or slow, if negative).
    #[must_use]
    pub fn new(time: SimTime, origin: Duration, drift: i64, wall_ahead_ms: u64) -> SimClock {
        SimClock { time, origin, rate: RATE_ONE.saturating_add_signed(drift), wall_ahead_ms }
    }
}

impl Clock for SimClock {
    fn wall(&self) -> WallMs {
        WallMs(EPOCH_MS + self.wall_ahead_ms + self.time.elapsed().as_millis() as u64)
    }

    fn boot(&self) -> BootNs {
        let counted = u128::from(self.rate) * self.time.elapsed().as_nanos() / u128::from(RATE_ONE);
        BootNs(self.origin.as_nanos() as u64 + counted as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_have_their_own_origin_and_rate() {
        let time = SimTime::default();
        let clock = SimClock::new(time.clone(), Duration::from_secs(100), -500_000, 7);
        time.set(Duration::from_secs(10));
        assert_eq!(clock.boot(), BootNs(105_000_000_000));
        assert_eq!(clock.wall(), WallMs(EPOCH_MS + 10_007));
    }
}
