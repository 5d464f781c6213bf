//! Whether this node's consensus has run all the time.
//!
//! A process that was stopped (SIGSTOP, a hypervisor that took the cores) finds all of its timers over when it resumes,
//! also the one that says that the leader is dead: but it has not listened meanwhile. So nobody campaigns in the first
//! moment after such a gap; if the leader lives, its next heartbeat binds this node, and else the election follows a
//! little later.
//!
//! - The heartbeat's turns are the pulse: a gap is what lies between two of them beyond [`GAP_BEATS`] intervals.
//! - The check is made when a vote is about to leave, not when its timer rings: which of the timers that are over is
//!   served first is chance.
//! - It is about own candidacies alone. Votes for others are granted by the lease's rules, and a hand-over's target,
//!   which its leader has asked to campaign, does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::BootNs;

/// Intervals between two turns of the heartbeat that are a gap.
const GAP_BEATS: u32 = 4;
/// Intervals after a gap in which this node does not campaign: a leader that resumed with it first asks who is there,
/// then binds.
const SETTLE_BEATS: u32 = 4;

/// See the module. Boot times in ns.
#[derive(Debug)]
pub(crate) struct Pulse {
    heartbeat: Duration,
    /// The newest turn of the heartbeat; 0: none yet.
    last: AtomicU64,
    /// The end of the newest gap.
    resumed: AtomicU64,
    gaps: AtomicU64,
    longest: AtomicU64,
}

/// Gaps in the run of a node's consensus since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// How many there were.
    pub count: u64,
    /// The longest.
    pub longest: Duration,
}

impl Pulse {
    pub(crate) fn new(heartbeat: Duration) -> Pulse {
        let [last, resumed, gaps, longest] = [const { AtomicU64::new(0) }; 4];
        Pulse { heartbeat, last, resumed, gaps, longest }
    }

    fn is_gap(&self, last: u64, now: BootNs) -> Option<Duration> {
        let span = now.since(BootNs(last));
        (last != 0 && span > self.heartbeat * GAP_BEATS).then_some(span)
    }

    /// A turn of the heartbeat; gives the gap that it ends.
    pub(crate) fn heartbeat(&self, now: BootNs) -> Option<Duration> {
        let gap = self.is_gap(self.last.load(Ordering::Relaxed), now);
        if let Some(gap) = gap {
            self.resumed.store(now.0, Ordering::Relaxed);
            self.gaps.fetch_add(1, Ordering::Relaxed);
            self.longest.fetch_max(gap.as_nanos() as u64, Ordering::Relaxed);
        }
        // After the end of the gap is noted: nobody finds neither.
        self.last.store(now.0, Ordering::Release);
        gap
    }

    /// Whether this node has just resumed, or would find out if its heartbeat's turn came first.
    pub(crate) fn has_just_resumed(&self, now: BootNs) -> bool {
        let last = self.last.load(Ordering::Acquire);
        let resumed = self.resumed.load(Ordering::Relaxed);
        let resolves = resumed != 0 && now.since(BootNs(resumed)) < self.heartbeat * SETTLE_BEATS;
        resolves || self.is_gap(last, now).is_some()
    }

    /// For figures.
    pub(crate) fn gaps(&self) -> Gaps {
        Gaps {
            count: self.gaps.load(Ordering::Relaxed),
            longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootNs {
        BootNs(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn a_gap_bars_campaigns_from_the_moment_that_it_can_be_seen_until_things_have_settled() {
        let pulse = Pulse::new(Duration::from_millis(50));
        assert!(!pulse.has_just_resumed(at(0)), "it has just started");
        for heartbeat in 0..10 {
            assert_eq!(pulse.heartbeat(at(heartbeat * 50)), None);
            assert!(!pulse.has_just_resumed(at(heartbeat * 50 + 49)));
        }
        assert!(pulse.has_just_resumed(at(1_000)), "before the heartbeat's turn");
        assert_eq!(pulse.heartbeat(at(1_000)), Some(Duration::from_millis(550)));
        pulse.heartbeat(at(1_050));
        assert!(pulse.has_just_resumed(at(1_199)));
        pulse.heartbeat(at(1_190));
        assert!(!pulse.has_just_resumed(at(1_200)));
        assert_eq!(pulse.gaps(), Gaps { count: 1, longest: Duration::from_millis(550) });
    }
}
