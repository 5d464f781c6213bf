//! A replica never shows READONLY clients older data than it, or the process before its restart, has shown.
//!
//! After a start, memory contains the log up to the position that this node knew to be committed. That may be older
//! than the data that it had shown before, and than what primaries have acknowledged meanwhile. READONLY clients are
//! answered LOADING until one of these holds:
//! - The replica has applied what a leader reports as committed **after the start**
//!   ([`GroupHandle::leader_committed`]). This covers everything that was acknowledged before the report.
//! - No leader was heard for [`LEADERLESS_AFTER`], and the replica has applied everything that was known to be
//!   committed at the start. This covers all data shown before, except in the last [`REPORT_EVERY`], because consensus
//!   stores the position of the data that was shown.
//!
//! From then on READONLY clients are always served, because memory only moves forward.
//!
//! [`GroupHandle::leader_committed`]: fastness_consensus::handle::GroupHandle::leader_committed

use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_types::{BootNs, LogIndex};

use crate::edges::Edges;
use crate::role::SeenRole;

/// How long to wait for a leader after the start: longer than the first contact with a live leader takes, and longer
/// than an election.
const LEADERLESS_AFTER: Duration = Duration::from_secs(3);
/// Minimum interval between two reports to consensus of the position that was shown.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The position that READONLY clients were shown, and whether they are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    started: BootNs,
    /// Whether READONLY clients are served.
    open: bool,
    /// The committed position in the first report of a leader. Later reports do not matter.
    target: Option<LogIndex>,
    /// The newest position that was shown, and the newest that was reported.
    shown: LogIndex,
    reported: LogIndex,
    reported_at: BootNs,
}

impl Served {
    pub(crate) fn new(started: BootNs) -> Served {
        Served { started, open: false, target: None, shown: LogIndex(0), reported: LogIndex(0), reported_at: BootNs(0) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Checks whether READONLY clients may be served from now on; returns when to check again. `applied`: the position
    /// of memory, which must not be restoring. `role` is `None` during a tenure as primary.
    pub(crate) fn follow(
        &mut self,
        role: Option<&SeenRole>,
        applied: LogIndex,
        handle: &GroupHandle,
        now: BootNs,
    ) -> Option<Duration> {
        if self.open {
            return None;
        }
        let leaderless = self.started.plus(LEADERLESS_AFTER);
        if self.target.is_none() {
            self.target = handle.leader_committed();
        }
        self.open = match (role, self.target) {
            (None, _) => true,
            (_, Some(committed)) => applied >= committed,
            (Some(role), None) => now >= leaderless && matches!(role, SeenRole::Follower { leader: None }),
        };
        (!self.open).then(|| leaderless.since(now).max(REPORT_EVERY))
    }

    /// Records that memory at `applied` is shown to a READONLY client.
    pub(crate) fn show(&mut self, applied: LogIndex, edges: &Edges) {
        if applied > self.shown {
            let is_reported = self.shown == self.reported;
            self.shown = applied;
            if is_reported {
                edges.work.notify_one();
            }
        }
    }

    /// Reports a newer shown position to consensus, which stores it. Returns when to report again.
    pub(crate) fn report(&mut self, handle: &GroupHandle, now: BootNs) -> Option<Duration> {
        if self.shown == self.reported {
            return None;
        }
        let next = self.reported_at.plus(REPORT_EVERY);
        if self.reported_at != BootNs(0) && now < next {
            return Some(next.since(now));
        }
        (self.reported, self.reported_at) = (self.shown, now);
        handle.report_served();
        None
    }
}
