//! A replica never shows what is older than what it, or anybody before its restart, has shown.
//!
//! After a start memory is the log up to where this node knew it to be committed, which may be before what it had
//! shown, and before what primaries have acknowledged since. So READONLY clients are told LOADING until
//! - it has applied what a leader reports as committed **now**, after the start ([`GroupHandle::leader_committed`]):
//!   that covers all that was acknowledged before it asked; or
//! - no leader was heard for [`LEADERLESS_AFTER`], and it has applied what was known as committed when it started: at
//!   least what it had shown, but for the last [`TELL_EVERY`], since what is shown is told to consensus, which stores
//!   it.
//!
//! Once open it stays open: from then on memory only moves forward.
//!
//! [`GroupHandle::leader_committed`]: fastness_consensus::handle::GroupHandle::leader_committed

use std::time::Duration;

use fastness_types::{BootNs, LogIndex};

use crate::shard::Inner;
use crate::state::{Phase, SeenRole, State};

/// How long after the start a leader is waited for: longer than one that is alive takes to be heard, and than an
/// election.
const LEADERLESS_AFTER: Duration = Duration::from_secs(3);
/// What was shown is told this often, at most.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    started: BootNs,
    /// READONLY clients are served.
    open: bool,
    /// What a leader had committed when it was first heard: what came later may always be on its way.
    target: Option<LogIndex>,
    /// The newest position that was shown, and the newest that was told.
    shown: LogIndex,
    told: LogIndex,
    told_at: BootNs,
}

impl Served {
    pub(crate) fn new(started: BootNs) -> Served {
        Served { started, open: false, target: None, shown: LogIndex(0), told: LogIndex(0), told_at: BootNs(0) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }
}

impl State {
    /// Serves READONLY clients from now on, if it is time; gives when to look again.
    pub(crate) fn open_reads(&mut self, inner: &Inner, now: BootNs) -> Option<Duration> {
        if self.served.open || self.phase != Phase::Serving {
            return None;
        }
        let leaderless = self.served.started.plus(LEADERLESS_AFTER);
        if self.served.target.is_none() {
            self.served.target = inner.handle.leader_committed();
        }
        self.served.open = match self.served.target {
            _ if self.leader.is_some() => true,
            Some(committed) => self.applied >= committed,
            None => now >= leaderless && matches!(self.role, SeenRole::Follower { leader: None }),
        };
        (!self.served.open).then(|| leaderless.since(now).max(TELL_EVERY))
    }

    /// Memory has been shown to a READONLY client.
    pub(crate) fn show(&mut self, inner: &Inner) {
        if self.applied > self.served.shown {
            let is_told = self.served.shown == self.served.told;
            self.served.shown = self.applied;
            if is_told {
                inner.work.notify_one();
            }
        }
    }

    /// Has what was shown stored; gives when to do so again.
    pub(crate) fn tell_served(&mut self, inner: &Inner, now: BootNs) -> Option<Duration> {
        let served = &mut self.served;
        if served.shown == served.told {
            return None;
        }
        let next = served.told_at.plus(TELL_EVERY);
        if served.told_at != BootNs(0) && now < next {
            return Some(next.since(now));
        }
        (served.told, served.told_at) = (served.shown, now);
        inner.handle.report_served();
        None
    }
}
