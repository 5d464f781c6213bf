//! Whether this node's consensus has run without interruption.
//!
//! When a stopped process (SIGSTOP, a hypervisor that took the cores) resumes, all of its timers have expired,
//! including the one that says that the leader is dead. But the process has not listened meanwhile. So a node does not
//! campaign right after such a gap. If the leader lives, its next heartbeat binds this node; if not, the election
//! starts a little later.
//!
//! - The iterations of the heartbeat are the pulse. A gap is a span of more than [`GAP_HEARTBEATS`] intervals between
//!   two of them.
//! - The check is made when a vote is about to leave, not when the election timer expires, because it is undefined
//!   which of several expired timers is served first.
//! - The check concerns the node's own candidacies only. Votes for others follow the rules of the lease, and the target
//!   of a hand-over campaigns because its leader has requested it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::BootNs;

/// Two iterations of the heartbeat with more than this many intervals between them make a gap.
const GAP_HEARTBEATS: u32 = 4;
/// Intervals after a gap in which this node does not campaign. A leader that resumes at the same time first probes its
/// members, then binds them.
const QUIET_HEARTBEATS: u32 = 4;

/// Times of the heartbeat's iterations, and the gaps between them. Boot times in ns.
#[derive(Debug)]
pub(crate) struct Pulse {
    heartbeat: Duration,
    /// The newest iteration of the heartbeat; 0: none yet.
    last: AtomicU64,
    /// The end of the newest gap.
    resumed: AtomicU64,
    gaps: AtomicU64,
    longest: AtomicU64,
}

/// Gaps in which this node's consensus did not run, since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// How many gaps there were.
    pub count: u64,
    /// The longest gap.
    pub longest: Duration,
}

impl Pulse {
    pub(crate) fn new(heartbeat: Duration) -> Pulse {
        let [last, resumed, gaps, longest] = [const { AtomicU64::new(0) }; 4];
        Pulse { heartbeat, last, resumed, gaps, longest }
    }

    fn is_gap(&self, last: u64, now: BootNs) -> Option<Duration> {
        let span = now.since(BootNs(last));
        (last != 0 && span > self.heartbeat * GAP_HEARTBEATS).then_some(span)
    }

    /// Records an iteration of the heartbeat. Returns the gap that it ends, if any.
    pub(crate) fn heartbeat(&self, now: BootNs) -> Option<Duration> {
        let gap = self.is_gap(self.last.load(Ordering::Relaxed), now);
        if let Some(gap) = gap {
            self.resumed.store(now.0, Ordering::Relaxed);
            self.gaps.fetch_add(1, Ordering::Relaxed);
            self.longest.fetch_max(gap.as_nanos() as u64, Ordering::Relaxed);
        }
        // Stored last, so that whoever reads the new value also finds the end of the gap.
        self.last.store(now.0, Ordering::Release);
        gap
    }

    /// Whether this node has just resumed, or would notice it if its heartbeat ran first.
    pub(crate) fn has_just_resumed(&self, now: BootNs) -> bool {
        let last = self.last.load(Ordering::Acquire);
        let resumed = self.resumed.load(Ordering::Relaxed);
        let is_quiet = resumed != 0 && now.since(BootNs(resumed)) < self.heartbeat * QUIET_HEARTBEATS;
        is_quiet || self.is_gap(last, now).is_some()
    }

    /// For metrics.
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
    fn a_node_does_not_campaign_from_the_start_of_a_gap_until_shortly_after_it() {
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
