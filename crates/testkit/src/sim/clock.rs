//! The clocks of simulated nodes.
//!
//! The boot clock of each node has its own origin and rate, and the rate can change while the node runs. Wall clocks
//! differ by a little, and can be set. Rates stay within the drift that consensus allows for, unless a bug is planted.
//! A reading depends on simulated time only, never on the machine that runs the simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::{BootNs, Clock, WallMs};
use parking_lot::Mutex;

/// Wall time at the start of every simulation, milliseconds since the Unix epoch.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// Rates are in millionths.
const RATE_ONE: u64 = 1_000_000;
/// Larger than all small shifts of a wall clock together.
const FAR_MS: i64 = 30_000;
/// Largest deviation of a boot clock, millionths: two of them differ by less than the lease's drift margin.
pub const DRIFT_MAX: i64 = 10_000;

/// Simulated time between two steps, for readings from outside a host. Clones share the same time.
#[derive(Debug, Clone, Default)]
pub struct SimTime(Arc<AtomicU64>);

impl SimTime {
    /// Sets the time that the driver has reached.
    pub fn set(&self, elapsed: Duration) {
        self.0.store(elapsed.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Time since the start of the simulation: exact inside a host, the end of the last step outside.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| Duration::from_nanos(self.0.load(Ordering::Relaxed)))
    }
}

/// State of a node's clocks.
#[derive(Debug, Clone, Copy)]
struct ClockState {
    /// Simulated time from which the rate counts, and the reading of the boot clock then.
    since: Duration,
    boot: Duration,
    /// Millionths of a second that the boot clock counts per second.
    rate: u64,
    /// Added to the wall clock, milliseconds.
    wall_ahead_ms: i64,
}

impl ClockState {
    fn boot_at(&self, elapsed: Duration) -> Duration {
        let counted = u128::from(self.rate) * elapsed.saturating_sub(self.since).as_nanos() / u128::from(RATE_ONE);
        self.boot + Duration::from_nanos(counted as u64)
    }
}

/// The clocks of one node. Clones share the same clocks.
#[derive(Debug, Clone)]
pub struct SimClock {
    time: SimTime,
    state: Arc<Mutex<ClockState>>,
}

impl SimClock {
    /// `origin`: boot time at the start of the simulation. `drift`: by how many millionths the boot clock is fast (or
    /// slow, if negative).
    #[must_use]
    pub fn new(time: SimTime, origin: Duration, drift: i64, wall_ahead_ms: i64) -> SimClock {
        let rate = RATE_ONE.saturating_add_signed(drift);
        let state = ClockState { since: Duration::ZERO, boot: origin, rate, wall_ahead_ms };
        SimClock { time, state: Arc::new(Mutex::new(state)) }
    }

    /// Makes the boot clock fast, or slow, by another `drift` from now on.
    pub fn set_drift(&self, drift: i64) {
        let now = self.time.elapsed();
        let mut state = self.state.lock();
        let boot = state.boot_at(now);
        *state = ClockState { since: now, boot, rate: RATE_ONE.saturating_add_signed(drift), ..*state };
    }

    /// Whether the wall clock is off by more than the small differences between machines.
    #[must_use]
    pub fn is_far_off(&self) -> bool {
        self.state.lock().wall_ahead_ms.abs() > FAR_MS
    }

    /// Moves the wall clock forwards or backwards.
    pub fn shift_wall(&self, by_ms: i64) {
        self.state.lock().wall_ahead_ms += by_ms;
    }
}

impl Clock for SimClock {
    fn wall(&self) -> WallMs {
        let ahead = self.state.lock().wall_ahead_ms;
        WallMs((EPOCH_MS + ahead + self.time.elapsed().as_millis() as i64) as u64)
    }

    fn boot(&self) -> BootNs {
        BootNs(self.state.lock().boot_at(self.time.elapsed()).as_nanos() as u64)
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
        assert_eq!(clock.wall(), WallMs(EPOCH_MS as u64 + 10_007));
    }

    #[test]
    fn a_clock_that_is_changed_does_not_jump_in_boot_time() {
        let time = SimTime::default();
        let clock = SimClock::new(time.clone(), Duration::ZERO, 0, 0);
        time.set(Duration::from_secs(10));
        clock.set_drift(-500_000);
        assert_eq!(clock.boot(), BootNs(10_000_000_000));
        time.set(Duration::from_secs(12));
        clock.shift_wall(-600_000);
        assert_eq!(clock.boot(), BootNs(11_000_000_000));
        assert_eq!(clock.wall(), WallMs(EPOCH_MS as u64 + 12_000 - 600_000));
    }
}
