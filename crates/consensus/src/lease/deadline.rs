//! The lease as leader and owner share it: a deadline that heartbeat answers extend.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fastness_types::{BootNs, Epoch};

/// The span in which no other primary of the group can exist, as a deadline that heartbeat answers move on.
#[derive(Debug)]
pub struct Lease {
    epoch: Epoch,
    /// Boot time in ns; 0: never held.
    deadline: AtomicU64,
    /// Set for good by a hand-over.
    closed: AtomicBool,
    /// The newest send time of frames that a quorum has answered, this node among them.
    confirmed: AtomicU64,
    /// The owner waits for this send time, or a later one, to be confirmed; 0: it does not.
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

    /// Whether the lease is held at `now`, a clock reading taken **after** what depends on it was received.
    #[must_use]
    pub fn holds(&self, now: BootNs) -> bool {
        now.0 < self.deadline.load(Ordering::Acquire) && !self.closed.load(Ordering::Acquire)
    }

    /// The point up to which it is held; `BootNs(0)` if never or closed.
    #[must_use]
    pub fn deadline(&self) -> BootNs {
        if self.closed.load(Ordering::Acquire) {
            return BootNs(0);
        }
        BootNs(self.deadline.load(Ordering::Acquire))
    }

    /// Moves the deadline on; earlier ones are ignored.
    pub fn extend(&self, deadline: BootNs) {
        self.deadline.fetch_max(deadline.0, Ordering::AcqRel);
    }

    /// Moves the deadline back: what earned a later one no longer counts. Later ones are kept from now on.
    pub fn restrict(&self, deadline: BootNs) {
        self.deadline.fetch_min(deadline.0, Ordering::AcqRel);
    }

    /// A quorum has answered frames that were sent at this time or later, and held this leader's vote when it did:
    /// nobody else had been elected by then. No clock is compared with another node's for this, nor a span measured.
    #[must_use]
    pub fn confirmed(&self) -> BootNs {
        BootNs(self.confirmed.load(Ordering::Acquire))
    }

    /// The owner wants to be woken once `sent` is confirmed, or anything later.
    pub fn await_confirmation(&self, sent: BootNs) {
        self.awaited.store(sent.0, Ordering::Release);
    }

    /// See [`Lease::confirmed`]. True if the owner waits for it.
    pub fn confirm(&self, sent: BootNs) -> bool {
        self.confirmed.fetch_max(sent.0, Ordering::AcqRel);
        let awaited = self.awaited.load(Ordering::Acquire);
        awaited != 0
            && awaited <= sent.0
            && self.awaited.compare_exchange(awaited, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives the lease up for the rest of the epoch.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
