//! When pending replies are released.
//!
//! Ordering rules:
//! - In `sync`, and in `async` for a client with an override (`client_override.rs`), a reply is released only after
//!   everything that it depends on has committed, whatever the lease and the lag are.
//! - In `async` and `disabled` a write's reply is released at once **if the lease still holds when it is flushed**, and
//!   in `async` only while the durability lag is within its bound. A reply that was delayed past either (a paused
//!   process) waits for its commit like one in `sync`.
//! - A reply whose tenure has ended is released if everything that it depends on had committed by then, and never
//!   otherwise.
//!
//! A waiting connection has one [`Waiter`] in the queue of its tenure (`reply_queue.rs`).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use fastness_types::{BootNs, Durability, Plant};

use crate::inner::Inner;
use crate::lag;
use crate::leader::Leader;
use crate::outcome::{PendingReply, Release};
use crate::reply_queue::Waiter;
use crate::state::{Replica, State};

impl State {
    /// Whether a reply may be sent now; `now` is a fresh reading of the boot clock.
    pub(crate) fn release(&self, pending: PendingReply, now: BootNs) -> Release {
        match &self.leader {
            Some(leader) if leader.tenure == pending.tenure => self.replica.release_of_tenure(leader, pending, now),
            // Its tenure has ended before a quorum confirmed the read, which may be retried.
            _ if pending.arrived != BootNs(0) => Release::Unknown,
            _ if self.replica.tenures.committed_by(pending.tenure, pending.seq).is_some() => Release::Now,
            _ => Release::Unknown,
        }
    }
}

impl Replica {
    /// Whether a reply of the current tenure may be released now.
    fn release_of_tenure(&self, leader: &Leader, pending: PendingReply, now: BootNs) -> Release {
        if pending.arrived != BootNs(0) {
            return leader.release_confirmed(pending, now);
        }
        let is_in_bound = || lag::is_within(self.settings.lag_bound.in_force(), leader.stage.oldest_open(), now);
        let acts_early = match pending.durability {
            Durability::Sync => Plant::AckBeforeCommit.is_on() && leader.may_act(now),
            Durability::Async if Plant::AsyncAckUnchecked.is_on() => true,
            Durability::Async => leader.may_act(now) && is_in_bound(),
            Durability::Disabled => leader.may_act(now),
        };
        if pending.seq <= leader.committed || acts_early { Release::Now } else { Release::Wait }
    }
}

/// A future that resolves when [`crate::Shard::release`] no longer returns [`Release::Wait`]. Cheap to create and to
/// drop.
pub struct Released {
    pub(crate) inner: Rc<Inner>,
    pub(crate) waiter: Rc<Waiter>,
    pub(crate) pending: PendingReply,
}

impl Future for Released {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.inner.state.borrow_mut();
        let release = state.release(self.pending, self.inner.edges.clock.boot());
        match (release, &mut state.leader) {
            // Only a reply of the current tenure waits.
            (Release::Wait, Some(leader)) => {
                leader.waiting.await_release(self.pending, &self.waiter, cx.waker());
                Poll::Pending
            }
            (Release::Wait, None) | (Release::Now | Release::Unknown, _) => Poll::Ready(()),
        }
    }
}
