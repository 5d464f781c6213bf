//! Reads that do not depend on clocks: the reply is released once a quorum has confirmed that this node was the primary
//! when the command arrived. (Raft calls this a read index.)
//!
//! A lease requires clocks that run at nearly the same rate, and that continue while a machine is suspended. If a
//! hypervisor pauses a whole machine, its clock may stop, and the resumed primary may rely on an expired lease for up
//! to the length of a lease. A client that cannot accept this requests
//! [`ReadConfirmation::Quorum`](crate::ReadConfirmation::Quorum):
//!
//! - The command runs as usual. Its reply is pending until a quorum, which includes this node's own Raft core, has
//!   answered heartbeats that were sent **after the command arrived**, while each member of it still voted for this
//!   primary ([`Lease::confirmed`](fastness_consensus::handle::Lease::confirmed)). So no other primary was elected
//!   before, and the reply shows everything that was acknowledged before the command arrived.
//! - The reply also waits for the commit of the data that it depends on, in every mode. Otherwise it could show effects
//!   that a failover undoes. A write needs no round, because its commit implies the confirmation.
//! - One round confirms all reads that arrived before it started. At most one round is in progress.
//! - If no quorum answers within [`limits::READ_CONFIRM_MAX`], the reply is replaced by CLUSTERDOWN.

use std::time::Duration;

use fastness_consensus::handle::Lease;
use fastness_types::{BootNs, Seq, limits};

use crate::edges::Edges;
use crate::outcome::{PendingReply, Release};

/// How often pending reads are checked without an event: their time may be over, or a heartbeat was lost.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// The confirmation rounds of one tenure. A round is one heartbeat to all members.
#[derive(Debug, Default)]
pub(crate) struct Confirming {
    /// Arrival time of the newest command whose reply waits for a round; 0: no reply waits.
    wanted: BootNs,
    /// Start time of the newest round.
    round_started: BootNs,
    /// The confirmed time and the committed sequence when the pending replies were last checked.
    seen: (BootNs, Seq),
    check_at: BootNs,
}

impl Confirming {
    /// Records that the reply to a command that arrived at `arrived` waits. True if the loop must start a round.
    pub(crate) fn want(&mut self, arrived: BootNs) -> bool {
        let is_first = !self.is_wanted();
        self.wanted = self.wanted.max(arrived);
        is_first
    }

    /// Whether any reply waits for a round.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted != BootNs(0)
    }

    /// Whether pending replies must be checked: something was confirmed or committed, or [`CHECK_EVERY`] is over.
    pub(crate) fn has_news(&mut self, lease: &Lease, committed: Seq, now: BootNs) -> bool {
        let seen = (lease.confirmed(), committed);
        let has_news = self.seen != seen || now >= self.check_at;
        if has_news {
            (self.seen, self.check_at) = (seen, now.plus(CHECK_EVERY));
        }
        has_news
    }

    /// Starts a round if one is needed and none is in progress. Returns when to check again; `None` if no reply waits
    /// any more.
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

/// Whether the reply to a read that waits for a round may be released.
pub(crate) fn release(lease: &Lease, committed: Seq, pending: PendingReply, now: BootNs) -> Release {
    if lease.confirmed() > pending.arrived && pending.seq <= committed {
        Release::Now
    } else if now >= pending.arrived.plus(limits::READ_CONFIRM_MAX) {
        Release::Unknown
    } else {
        Release::Wait
    }
}
