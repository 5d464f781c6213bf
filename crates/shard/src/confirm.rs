//! Reads that need no clock: a primary's reply is released once a quorum has confirmed that it was the primary when the
//! command arrived.
//!
//! A lease depends on clocks that run at nearly the same rate, and that continue while a machine is suspended. Where a
//! hypervisor pauses a whole machine its clock may stop, and a primary that is resumed believes in its lease for up to
//! as long as one lasts. A client that cannot accept that asks for
//! [`ReadConfirmation::Quorum`](crate::ReadConfirmation::Quorum):
//!
//! - The command runs as always. Its reply is held until a quorum, this node's own Raft core among it, has answered
//!   heartbeats that were sent **after the command arrived** and still held this primary's vote when it did
//!   ([`Lease::confirmed`](fastness_consensus::handle::Lease::confirmed)). Nobody else was elected before that, so the
//!   reply shows everything that was acknowledged before the command arrived.
//! - It is held for the commit of what it depends on as well, in every mode: otherwise it could show what a failover
//!   takes back. A write needs no round: its commit confirms more.
//! - One round serves all reads that arrived before it; while one is under way no other is started.
//! - If no quorum answers within [`limits::READ_CONFIRM_MAX`] the reply is replaced by CLUSTERDOWN.

use std::time::Duration;

use fastness_consensus::handle::Lease;
use fastness_types::{BootNs, Seq, limits};

use crate::edges::Edges;
use crate::outcome::{PendingReply, Release};

/// How often pending reads are checked though nothing has happened: their time may be over, or a frame was lost.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// The rounds of one tenure.
#[derive(Debug, Default)]
pub(crate) struct Confirming {
    /// When the newest command arrived whose reply waits for a round; 0: none does.
    wanted: BootNs,
    /// When the newest round was started.
    round_started: BootNs,
    /// What had been confirmed and committed when those who wait were woken last.
    seen: (BootNs, Seq),
    check_at: BootNs,
}

impl Confirming {
    /// The reply of a command that arrived at `arrived` waits. True if the loop has to start a round.
    pub(crate) fn want(&mut self, arrived: BootNs) -> bool {
        let is_first = !self.is_wanted();
        self.wanted = self.wanted.max(arrived);
        is_first
    }

    /// Whether any reply waits for a round.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted != BootNs(0)
    }

    /// Whether those who wait are to be woken: something was confirmed or committed, or it is time to check.
    pub(crate) fn has_news(&mut self, lease: &Lease, committed: Seq, now: BootNs) -> bool {
        let seen = (lease.confirmed(), committed);
        let has_news = self.seen != seen || now >= self.check_at;
        if has_news {
            (self.seen, self.check_at) = (seen, now.plus(CHECK_EVERY));
        }
        has_news
    }

    /// Starts a round if one is needed and none is under way; returns when to check again, `None` if nobody waits any
    /// more.
    pub(crate) fn follow(&mut self, lease: &Lease, last_staged: Seq, edges: &Edges) -> Option<Duration> {
        let (confirmed, committed) = self.seen;
        if confirmed > self.wanted && committed >= last_staged {
            self.wanted = BootNs(0);
            return None;
        }
        if confirmed <= self.wanted && confirmed >= self.round_started {
            self.round_started = edges.clock.boot();
            lease.await_confirmation(self.round_started);
            edges.handle.request_confirmation();
        }
        Some(CHECK_EVERY)
    }
}

/// Whether the reply to a read that waits for a round may leave.
pub(crate) fn release(lease: &Lease, committed: Seq, pending: PendingReply, now: BootNs) -> Release {
    if lease.confirmed() > pending.arrived && pending.seq <= committed {
        Release::Now
    } else if now >= pending.arrived.plus(limits::READ_CONFIRM_MAX) {
        Release::Unknown
    } else {
        Release::Wait
    }
}
