//! The lease as its leader and the owner of the data share it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fastness_types::{BootNs, Epoch};

/// The span in which the group has no other primary, as a deadline that heartbeat answers extend. See `lease/mod.rs`.
#[derive(Debug)]
pub struct Lease {
    epoch: Epoch,
    /// Boot time in ns; 0 if the lease was never held.
    deadline: AtomicU64,
    /// Set for good when the lease is closed.
    closed: AtomicBool,
    /// The newest send time of a heartbeat that a quorum, including this node, has answered.
    confirmed: AtomicU64,
    /// The owner waits until this send time, or a later one, is confirmed; 0 if it does not wait.
    awaited: AtomicU64,
}

impl Lease {
    /// A lease that is not held yet.
    #[must_use]
    pub fn new(epoch: Epoch) -> Lease {
        Lease {
            epoch,
            deadline: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            confirmed: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
        }
    }

    /// The epoch it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the lease is held at `now`. `now` must be read from the clock **after** the command was received that
    /// depends on it.
    #[must_use]
    pub fn holds(&self, now: BootNs) -> bool {
        now.0 < self.deadline.load(Ordering::Acquire) && !self.closed.load(Ordering::Acquire)
    }

    /// The time until which the lease is held; `BootNs(0)` if it was never held or is closed.
    #[must_use]
    pub fn deadline(&self) -> BootNs {
        if self.closed.load(Ordering::Acquire) {
            return BootNs(0);
        }
        BootNs(self.deadline.load(Ordering::Acquire))
    }

    /// Extends the lease to `deadline`. An earlier deadline is ignored.
    pub fn extend(&self, deadline: BootNs) {
        self.deadline.fetch_max(deadline.0, Ordering::AcqRel);
    }

    /// Cuts the lease to `deadline`, because what justified a later one no longer counts. Later extensions count again.
    pub fn restrict(&self, deadline: BootNs) {
        self.deadline.fetch_min(deadline.0, Ordering::AcqRel);
    }

    /// The newest send time of a heartbeat that a quorum has answered while it held this leader's vote. Nobody else had
    /// been elected by that time. This compares no clock with another node's clock, and measures no span.
    #[must_use]
    pub fn confirmed(&self) -> BootNs {
        BootNs(self.confirmed.load(Ordering::Acquire))
    }

    /// Has the owner woken once `sent`, or a later send time, is confirmed.
    pub fn await_confirmation(&self, sent: BootNs) {
        self.awaited.store(sent.0, Ordering::Release);
    }

    /// Records that `sent` is confirmed. Returns whether the owner waited for that.
    pub fn confirm(&self, sent: BootNs) -> bool {
        self.confirmed.fetch_max(sent.0, Ordering::AcqRel);
        let awaited = self.awaited.load(Ordering::Acquire);
        awaited != 0
            && awaited <= sent.0
            && self.awaited.compare_exchange(awaited, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Closes the lease for the rest of the epoch.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
