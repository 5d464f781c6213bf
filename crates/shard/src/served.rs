//! A replica never shows READONLY clients older data than it, or the process before its restart, has shown.
//!
//! After a start memory is the log up to where this node knew it to be committed, which may be before what it had
//! shown, and before what primaries have acknowledged meanwhile. READONLY clients are answered LOADING until
//! - it has applied what a leader reports as committed **now**, after the start ([`GroupHandle::leader_committed`]):
//!   that covers everything that was acknowledged before the report; or
//! - no leader was heard for [`LEADERLESS_AFTER`], and it has applied what was known as committed when it started. That
//!   is at least what it had shown, except in the last [`REPORT_EVERY`], because what is shown is reported to
//!   consensus, which stores it.
//!
//! Once open, reads stay open: from then on memory only moves forward.
//!
//! [`GroupHandle::leader_committed`]: fastness_consensus::handle::GroupHandle::leader_committed

use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_types::{BootNs, LogIndex};

use crate::edges::Edges;
use crate::role::SeenRole;

/// How long after the start a leader is waited for: longer than one that is alive takes to be heard, and than an
/// election.
const LEADERLESS_AFTER: Duration = Duration::from_secs(3);
/// What was shown is reported to consensus this often, at most.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What READONLY clients were shown, and whether they are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    started: BootNs,
    /// READONLY clients are served.
    open: bool,
    /// What a leader had committed when it was first heard. Later entries may always be on their way.
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

    /// Serves READONLY clients from now on, if it is time; returns when to check again. Memory is serving and at
    /// `applied`; `role` is `None` during a tenure as primary.
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

    /// Memory at `applied` is shown to a READONLY client.
    pub(crate) fn show(&mut self, applied: LogIndex, edges: &Edges) {
        if applied > self.shown {
            let is_reported = self.shown == self.reported;
            self.shown = applied;
            if is_reported {
                edges.work.notify_one();
            }
        }
    }

    /// Reports to consensus that something newer was shown, so that it is stored; returns when to do so again.
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
