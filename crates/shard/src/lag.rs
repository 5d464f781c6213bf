//! Durability lag, and the gate that bounds it in `async` (rule 6 of the design).
//!
//! The lag is the age of the oldest effect that has not committed, in boot time, which continues during suspend. In
//! `async` it bounds what a failover can lose: a write is acknowledged only while the lag is below
//! `durability-max-lag`, so the oldest write that is lost is at most that much older than the newest one acknowledged.
//! As the bound nears, each write is delayed by less than 250 ms. At the bound the gate closes and all writes of the
//! shard are refused alike; it opens again by itself once the lag is below a lower mark. Reads are served all the time.
//!
//! The gate changes only between two turns of the loop ([`LagGate::follow`]). So all commands of a pipeline that run in
//! one turn get the same answer. A pipeline that takes several turns keeps the answer of its first command
//! ([`crate::Shard::keep_gate`]).

use std::cell::Cell;
use std::time::Duration;

use fastness_types::{BootNs, Durability, Plant, SpanCounts};

/// Writes are slowed from this fraction of the bound on. A log that keeps up does not reach it.
const SLOW_FROM: u32 = 2;
/// The gate opens again below this fraction of the bound.
const OPEN_BELOW: u32 = 4;
/// Longest delay of one write at the front end: an absolute limit, and a fraction of the bound.
const SLOW_MAX: Duration = Duration::from_millis(240);
const SLOW_PART: u32 = 5;
/// While writes are slowed the lag is checked this often, at least.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The lag of one replica, recorded in every mode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lag {
    longest: Duration,
    /// From the first effect of a batch to its commit.
    commits: SpanCounts,
}

impl Lag {
    /// Records the commit of a batch whose first effect was staged at `staged`.
    pub fn record(&mut self, staged: BootNs, now: BootNs) {
        let lag = now.since(staged);
        self.longest = self.longest.max(lag);
        self.commits.record(lag);
    }

    /// Of the batches that have committed, the time from their first effect to the commit.
    #[must_use]
    pub fn commits(&self) -> SpanCounts {
        self.commits
    }

    /// The lag now, given when the oldest uncommitted effect was staged.
    #[must_use]
    pub fn now(&self, oldest_open: Option<BootNs>, now: BootNs) -> Duration {
        oldest_open.map_or(Duration::ZERO, |staged| now.since(staged))
    }

    /// The longest such age since the process started.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

/// Whether a reply may be released before its commit while the oldest uncommitted effect was staged at `oldest_open`.
#[inline]
pub(crate) fn is_within(bound: Duration, oldest_open: Option<BootNs>, now: BootNs) -> bool {
    oldest_open.is_none_or(|staged| now.since(staged) <= bound) || Plant::NoLagGate.is_on()
}

/// How the lag gate treats writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GateState {
    /// They run; always so in `sync` and `disabled`.
    #[default]
    Open,
    /// Each is held at the front end for this long before it runs.
    Slowing(Duration),
    /// They are refused.
    Closed,
}

impl GateState {
    /// The name in INFO and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            GateState::Open => "open",
            GateState::Slowing(_) => "slowing",
            GateState::Closed => "closed",
        }
    }
}

/// The gate of one replica, with its counts since the process started.
#[derive(Debug, Default)]
pub(crate) struct LagGate {
    state: GateState,
    slowed: Cell<u64>,
    refused: Cell<u64>,
    closures: u64,
}

impl LagGate {
    #[inline]
    pub(crate) fn state(&self) -> GateState {
        self.state
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == GateState::Closed
    }

    /// Moves the gate, given the lag at this turn of the loop; returns how long it stays as it is unless something
    /// commits. `bound` is `durability-max-lag`.
    pub(crate) fn follow(&mut self, mode: Durability, bound: Duration, lag: Duration) -> Option<Duration> {
        let slow_from = bound / SLOW_FROM;
        let was_closed = self.is_closed();
        let stays_closed = was_closed && lag >= bound / OPEN_BELOW;
        let (state, next) = if mode != Durability::Async || lag.is_zero() || Plant::NoLagGate.is_on() {
            (GateState::Open, None)
        } else if stays_closed || lag >= bound {
            // Only a commit can open the gate, and a commit wakes the loop.
            (GateState::Closed, None)
        } else if lag < slow_from {
            (GateState::Open, Some(slow_from - lag))
        } else {
            let nearness = (lag - slow_from).as_secs_f64() / (bound - slow_from).as_secs_f64();
            let span = SLOW_MAX.min(bound / SLOW_PART).mul_f64(nearness);
            (GateState::Slowing(span), Some(LOOK_EVERY.min(bound - lag)))
        };
        self.state = state;
        if self.is_closed() && !was_closed {
            self.closures += 1;
        }
        next
    }

    pub(crate) fn count_slowed(&self) {
        self.slowed.set(self.slowed.get() + 1);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    /// For INFO and the metrics.
    pub(crate) fn info(&self, bound: Duration) -> GateInfo {
        GateInfo {
            state: self.state,
            bound,
            slowed: self.slowed.get(),
            refused: self.refused.get(),
            closures: self.closures,
        }
    }
}

/// The gate's figures. Counts are since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateInfo {
    /// How it treats writes now.
    pub state: GateState,
    /// `durability-max-lag`.
    pub bound: Duration,
    /// Writes that were held at the front end.
    pub slowed: u64,
    /// Writes and transactions that were refused.
    pub refused: u64,
    /// How often it has closed.
    pub closures: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Async, Disabled, Sync};

    const BOUND: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn slows_then_closes_and_opens_below_a_lower_mark() {
        let mut gate = LagGate::default();
        assert_eq!(gate.follow(Async, BOUND, ms(10)), Some(ms(4_990)));
        assert_eq!(gate.state(), GateState::Open);
        gate.follow(Async, BOUND, ms(7_500));
        assert_eq!(gate.state(), GateState::Slowing(ms(120)));
        gate.follow(Async, BOUND, ms(9_999));
        assert!(matches!(gate.state(), GateState::Slowing(span) if span < ms(250)));
        for lag in [10_000, 12_000, 9_000, 2_500] {
            gate.follow(Async, BOUND, ms(lag));
            assert_eq!(gate.state(), GateState::Closed, "{lag}");
        }
        gate.follow(Async, BOUND, ms(2_499));
        assert_eq!(gate.state(), GateState::Open);
        assert_eq!(gate.info(BOUND).closures, 1);
    }

    #[test]
    fn other_modes_have_no_gate() {
        for mode in [Sync, Disabled] {
            let mut gate = LagGate::default();
            gate.follow(Async, BOUND, ms(11_000));
            assert!(gate.is_closed());
            assert_eq!(gate.follow(mode, BOUND, ms(60_000)), None);
            assert_eq!(gate.state(), GateState::Open);
        }
    }

    #[test]
    fn a_short_bound_slows_shortly() {
        let mut gate = LagGate::default();
        assert_eq!(gate.follow(Async, ms(100), ms(99)), Some(ms(1)));
        assert!(matches!(gate.state(), GateState::Slowing(span) if span < ms(20)));
    }
}
