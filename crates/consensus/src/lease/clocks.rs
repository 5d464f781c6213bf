//! Whether this node's wall clock can be trusted, judged by the clocks of its peers.
//!
//! A primary timestamps its batches with its wall clock, and keys expire by these timestamps. A clock that is a year
//! ahead expires everything, and the group's time never runs back. So a node whose clock differs from the median of all
//! known clocks by more than a bound stages nothing and hands over leadership (schedule 33).
//!
//! - Pongs on the heartbeat stream carry each peer's wall clock. Half of the round trip is added to it, so the error of
//!   a measurement is at most that. Measurements with a slow round trip are discarded.
//! - A clock is stored as its **distance from this machine's boot clock**, which nobody can set. So a jump of this
//!   node's own wall clock shows at the next reading, without any message from a peer. Measurements of peers that have
//!   died since still count.
//! - The median is of all known clocks, including this node's. Of an even number of clocks it is the middle one that is
//!   farther from this node's own. It counts only if more than half of all clocks are within the bound of it. With one
//!   clock against one, two against two, or three that all differ, nobody can say which one is right, so none is
//!   trusted. To trust a wrong one would lose the keys that expire by it; an operator can set a clock.
//! - A node that has peers but knows none of their clocks does not trust its own. The first measurements arrive
//!   together with the first lease answers.
//! - A clock that was off is trusted again once it is within three quarters of the bound, so that leadership does not
//!   flap because of a clock near the bound.
//!
//! Apart from its lock this module is pure: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_events::{Event, Events};
use fastness_types::{BootNs, Clock, NodeId, Plant, WallMs};
use parking_lot::Mutex;

/// A measurement with a longer round trip is discarded.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// Measurements are discarded after this time, because the boot clocks of machines drift apart by some parts in ten
/// thousand.
const KEPT_MAX: Duration = Duration::from_secs(3600);

/// A wall clock, as its distance from this machine's boot clock in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Distance(i64);

impl Distance {
    fn of(wall: WallMs, boot: BootNs) -> Distance {
        Distance((wall.0 as i64).saturating_sub((boot.0 / 1_000_000) as i64))
    }

    /// How far this clock is ahead of `other`, ms.
    fn ahead_of(self, other: Distance) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

/// What is known of this node's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum WallState {
    /// It agrees with the other clocks, or the node has no peers.
    #[default]
    Fine = 0,
    /// No other clock is known yet. Nothing may be staged, but nothing is wrong.
    Unknown = 1,
    /// It is too far off, or too few clocks agree.
    Off = 2,
}

/// Whether a reading of the wall clock can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockCheck {
    /// How far the reading is ahead of the median of all nodes' clocks, in ms; 0 while no other clock is known.
    pub offset_ms: i64,
    /// Whether the offset is within the bound.
    pub trusted: bool,
}

#[derive(Debug)]
struct Measured {
    distance: Distance,
    at: BootNs,
}

#[derive(Debug, Default)]
struct ClocksState {
    peers: BTreeMap<NodeId, Measured>,
    /// The newest judgement.
    wall: WallState,
}

/// The clocks of this node and its peers.
#[derive(Debug)]
pub(crate) struct Clocks {
    bound: Duration,
    events: Events,
    state: Mutex<ClocksState>,
}

/// What readings of the wall clock are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedWall {
    /// The median of all nodes' wall clocks, as its distance from this machine's boot clock in ms.
    pub median_ms: i64,
    /// How far a clock may be from the median, in ms.
    pub within_ms: u64,
}

impl TrustedWall {
    /// Checks one reading of both clocks.
    #[must_use]
    pub fn check(self, wall: WallMs, boot: BootNs) -> ClockCheck {
        let offset_ms = Distance::of(wall, boot).ahead_of(Distance(self.median_ms));
        ClockCheck { offset_ms, trusted: offset_ms.unsigned_abs() <= self.within_ms }
    }
}

impl Clocks {
    pub(crate) fn new(bound: Duration, events: Events) -> Clocks {
        Clocks { bound, events, state: Mutex::default() }
    }

    /// Records a peer's wall clock, which the peer read between `sent` and `received` on this node's boot clock.
    pub(crate) fn measured(&self, peer: NodeId, wall: WallMs, sent: BootNs, received: BootNs) {
        let round_trip = received.since(sent);
        if sent > received || round_trip > ROUND_TRIP_MAX {
            return;
        }
        let distance = Distance::of(wall, sent.plus(round_trip / 2));
        self.state.lock().peers.insert(peer, Measured { distance, at: received });
    }

    /// Judges this node's clock and records what has changed. `None` while the clocks cannot be compared, or no
    /// majority agrees; then the clock is not trusted, unless the node is `alone`.
    pub(crate) fn judge(&self, clock: &dyn Clock, alone: bool) -> Option<TrustedWall> {
        let (boot, wall) = (clock.boot(), clock.wall());
        let mut state = self.state.lock();
        state.peers.retain(|_, measured| boot.since(measured.at) <= KEPT_MAX);
        let own = Distance::of(wall, boot);
        let Some(median) = median(own, state.peers.values().map(|measured| measured.distance)) else {
            state.wall = if alone { WallState::Fine } else { WallState::Unknown };
            return None;
        };
        let bound_ms = self.bound.as_millis() as u64;
        let agrees = |clock: Distance| clock.ahead_of(median).unsigned_abs() <= bound_ms;
        let others = state.peers.values().filter(|measured| agrees(measured.distance)).count();
        let agree = (others + usize::from(agrees(own))) * 2 > state.peers.len() + 1;
        if !(agree || Plant::ClockWithoutMajority.is_on()) {
            self.record_change(&mut state, None);
            return None;
        }
        let within_ms = if state.wall == WallState::Off { bound_ms / 4 * 3 } else { bound_ms };
        let trusted = TrustedWall { median_ms: median.0, within_ms };
        let check = trusted.check(wall, boot);
        self.record_change(&mut state, Some(check));
        Some(trusted)
    }

    /// The newest judgement of this node's clock.
    pub(crate) fn wall(&self) -> WallState {
        self.state.lock().wall
    }

    /// Records a change. `check`: this node's clock against the median; `None` if no majority of the clocks agrees.
    fn record_change(&self, state: &mut ClocksState, check: Option<ClockCheck>) {
        let wall = if check.is_some_and(|check| check.trusted) { WallState::Fine } else { WallState::Off };
        let before = std::mem::replace(&mut state.wall, wall);
        if before == wall || (before, wall) == (WallState::Unknown, WallState::Fine) {
            return;
        }
        let bound_ms = self.bound.as_millis() as u64;
        self.events.record(match check {
            Some(ClockCheck { offset_ms, trusted: true }) => Event::ClockTrusted { offset_ms },
            Some(ClockCheck { offset_ms, .. }) => Event::ClockOff { offset_ms, bound_ms },
            None => Event::ClocksDisagree { clocks: state.peers.len() as u64 + 1, bound_ms },
        });
    }
}

/// The median of all clocks; of an even number the middle one that is farther from `own`. `None` if `own` is the only
/// clock.
fn median(own: Distance, others: impl Iterator<Item = Distance>) -> Option<Distance> {
    let mut all: Vec<Distance> = others.collect();
    if all.is_empty() {
        return None;
    }
    all.push(own);
    all.sort_unstable();
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    if Plant::ClockWithoutMajority.is_on() {
        return Some(high);
    }
    let distance = |middle: &Distance| middle.ahead_of(own).unsigned_abs();
    [low, high].into_iter().max_by_key(distance)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const YEAR: i64 = 365 * 86_400_000;
    const START: WallMs = WallMs(1_700_000_000_000);
    const BOOT: BootNs = BootNs(5_000_000_000_000);

    /// This node's clock, which a test sets.
    #[derive(Default)]
    struct Set {
        shift_ms: AtomicI64,
        passed_ms: AtomicI64,
    }

    impl Set {
        fn at(shift_ms: i64) -> Set {
            let clock = Set::default();
            clock.shift_ms.store(shift_ms, Ordering::Relaxed);
            clock
        }
    }

    impl Clock for Set {
        fn wall(&self) -> WallMs {
            let (shift, passed) = (self.shift_ms.load(Ordering::Relaxed), self.passed_ms.load(Ordering::Relaxed));
            WallMs(START.0.saturating_add_signed(shift + passed))
        }

        fn boot(&self) -> BootNs {
            BOOT.plus(Duration::from_millis(self.passed_ms.load(Ordering::Relaxed) as u64))
        }
    }

    /// Peers whose clocks are ahead of the true time by `ahead_ms`, measured with a round trip of 20 ms.
    fn clocks(ahead_ms: &[i64]) -> Clocks {
        let clocks = Clocks::new(Duration::from_secs(10), Events::only_logged());
        for (peer, ahead_ms) in (2..).zip(ahead_ms) {
            let wall = WallMs(START.0.saturating_add_signed(*ahead_ms - 10));
            let sent = BootNs(BOOT.0 - 20_000_000);
            clocks.measured(NodeId(peer), wall, sent, BOOT);
        }
        clocks
    }

    fn check(clocks: &Clocks, own: &Set) -> ClockCheck {
        let unknown = ClockCheck { offset_ms: 0, trusted: false };
        clocks.judge(own, false).map_or(unknown, |trusted| trusted.check(own.wall(), own.boot()))
    }

    fn assert_trusted(own_ms: i64, peers_ms: &[i64], trusted: bool) {
        let (clocks, own) = (clocks(peers_ms), Set::at(own_ms));
        let found = check(&clocks, &own);
        let wall = if trusted { WallState::Fine } else { WallState::Off };
        assert_eq!((found.trusted, clocks.wall()), (trusted, wall), "{own_ms} among {peers_ms:?}: {found:?}");
    }

    #[test]
    fn a_clock_far_off_the_median_is_not_trusted() {
        assert_trusted(0, &[0, 0], true);
        assert_trusted(YEAR, &[0, 0], false);
        assert_trusted(-YEAR, &[0, 0], false);
        assert_trusted(0, &[YEAR, 0], true);
        assert_trusted(7_000, &[0, 14_000], true);
        assert_trusted(0, &[7_000, 14_000], true);
        assert_trusted(10_000, &[0, 0], true);
        assert_trusted(10_001, &[0, 0], false);
        assert_trusted(YEAR, &[YEAR, 0, 0, 0], false);
        assert_trusted(YEAR, &[0, 0, 0], false);
    }

    #[test]
    fn without_a_majority_that_agrees_none_is_trusted() {
        assert_trusted(YEAR, &[0], false);
        assert_trusted(0, &[YEAR], false);
        assert_trusted(9_000, &[0], true);
        assert_trusted(YEAR, &[YEAR, 0, 0], false);
        assert_trusted(0, &[YEAR, 0, 0], true);
        assert_trusted(0, &[YEAR, -YEAR], false);
        assert_trusted(0, &[60_000, -60_000], false);
    }

    #[test]
    fn a_node_without_measurements_trusts_its_clock_only_if_it_is_alone() {
        for alone in [true, false] {
            let clocks = clocks(&[]);
            assert_eq!(clocks.judge(&Set::at(YEAR), alone), None);
            assert_eq!(clocks.wall(), if alone { WallState::Fine } else { WallState::Unknown });
        }
    }

    #[test]
    fn half_the_round_trip_is_subtracted_and_slow_measurements_are_discarded() {
        assert_eq!(check(&clocks(&[3, 3]), &Set::at(0)).offset_ms, -3);
        let clocks = clocks(&[0, 0]);
        let late = BOOT.plus(Duration::from_millis(501));
        clocks.measured(NodeId(2), WallMs(0), BOOT, late);
        clocks.measured(NodeId(3), WallMs(0), late, BOOT);
        assert!(check(&clocks, &Set::at(0)).trusted);
    }

    #[test]
    fn a_jump_shows_at_the_next_reading_and_without_peers_that_live() {
        let (clocks, own) = (clocks(&[0, 0]), Set::default());
        let before = clocks.judge(&own, false).unwrap();
        own.passed_ms.store(600_000, Ordering::Relaxed);
        assert!(check(&clocks, &own).trusted, "ten minutes on nothing has jumped");
        own.shift_ms.store(YEAR, Ordering::Relaxed);
        assert!(!before.check(own.wall(), own.boot()).trusted, "the earlier judgement reveals it");
        assert!(!check(&clocks, &own).trusted);
        own.passed_ms.store(2 * 3_600_000, Ordering::Relaxed);
        assert_eq!(clocks.judge(&own, false), None, "what is too old is forgotten");
        assert_eq!(clocks.wall(), WallState::Unknown, "and without any other nothing can be said");
    }

    #[test]
    fn a_clock_that_was_off_must_come_well_within_the_bound() {
        let (clocks, own) = (clocks(&[0, 0]), Set::at(10_001));
        for (shift_ms, trusted) in [(10_001, false), (9_999, false), (7_501, false), (7_500, true), (9_999, true)] {
            own.shift_ms.store(shift_ms, Ordering::Relaxed);
            assert_eq!(check(&clocks, &own).trusted, trusted, "at {shift_ms}");
        }
    }
}
