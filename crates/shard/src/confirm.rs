//! Reads that need no clock: a primary's reply leaves once a quorum has confirmed that it was the primary when the
//! command arrived.
//!
//! A lease rests on clocks that run at nearly the same rate, and that go on while a machine is suspended. Where a
//! hypervisor pauses a whole machine its clock may stand still, and a primary that is resumed believes in its lease for
//! up to as long as one lasts. A client that cannot live with that asks for
//! [`ReadConfirmation::Quorum`](crate::ReadConfirmation::Quorum):
//!
//! - The command runs as it always does. Its reply is held until a quorum, this node's own Raft core among it, has
//!   answered heartbeats that were sent **after the command arrived** and still held this primary's vote when it did
//!   ([`Lease::confirmed`](fastness_consensus::handle::Lease::confirmed)). Nobody else was elected before that, so the
//!   reply shows all that was acknowledged before the command came.
//! - It is held for the commit of what it depends on as well, in every mode: else it could show what a failover takes
//!   back. A write needs no round: its commit confirms more.
//! - One round serves all reads that came before it; while one is under way no other is asked for.
//! - Where no quorum answers within [`limits::READ_CONFIRM_MAX`] the reply is replaced by CLUSTERDOWN.

use std::time::Duration;

use fastness_types::{BootNs, Seq, limits};

use crate::outcome::{PendingReply, Release};
use crate::shard::Inner;
use crate::state::{Leader, State};

/// How often those who wait are looked at though nothing has happened: their time may be over, or a frame was lost.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The rounds of one tenure.
#[derive(Debug, Default)]
pub(crate) struct Confirming {
    /// When the newest command arrived whose reply waits for a round; 0: none does.
    wanted: BootNs,
    /// When the newest round was asked for.
    asked: BootNs,
    /// What had been confirmed and committed when those who wait were woken last.
    seen: (BootNs, Seq),
    look_at: BootNs,
}

impl Confirming {
    /// The reply of a command that arrived at `arrived` waits. True if the loop has to ask for a round.
    pub(crate) fn want(&mut self, arrived: BootNs) -> bool {
        let is_first = self.wanted == BootNs(0);
        self.wanted = self.wanted.max(arrived);
        is_first
    }
}

impl Leader {
    /// Whether the reply to a read that waits for a round may leave.
    pub(crate) fn release_confirmed(&self, pending: PendingReply, now: BootNs) -> Release {
        if self.lease.confirmed() > pending.arrived && pending.seq <= self.committed {
            Release::Now
        } else if now >= pending.arrived.plus(limits::READ_CONFIRM_MAX) {
            Release::Unknown
        } else {
            Release::Wait
        }
    }
}

impl State {
    /// Asks for a round if one is wanted, and wakes those who wait for one; gives when to look again.
    pub(crate) fn confirm_reads(&mut self, inner: &Inner, now: BootNs) -> Option<Duration> {
        let leader = self.leader.as_mut()?;
        let confirming = &mut leader.confirming;
        if confirming.wanted == BootNs(0) {
            return None;
        }
        let seen = (leader.lease.confirmed(), leader.committed);
        if confirming.seen != seen || now >= confirming.look_at {
            (confirming.seen, confirming.look_at) = (seen, now.plus(LOOK_EVERY));
            leader.waiting.wake_confirming();
        }
        if seen.0 > confirming.wanted && seen.1 >= leader.stage.last_staged() {
            confirming.wanted = BootNs(0);
            return None;
        }
        if seen.0 <= confirming.wanted && seen.0 >= confirming.asked {
            confirming.asked = inner.clock.boot();
            leader.lease.await_confirmation(confirming.asked);
            inner.handle.ask_quorum();
        }
        Some(LOOK_EVERY)
    }
}
