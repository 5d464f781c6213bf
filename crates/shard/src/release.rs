//! Which replies may leave, and who waits for that.
//!
//! Ordering rules:
//! - In `sync`, and in `async` where a client asks for it (`ask.rs`), a reply leaves only after everything it depends
//!   on has committed: neither a lease that holds nor a small lag lets it leave before.
//! - In `async` and `disabled` a write's reply leaves at once **if the lease still holds when it is flushed**, and in
//!   `async` only while the durability lag is within its bound; a reply that was delayed past either (a paused
//!   process) waits for its commit like one in `sync`.
//! - A reply whose tenure has ended leaves if what it depends on had committed by then, and never otherwise.
//!
//! A waiting connection has one [`Waiter`]; it stands in the queue of the batch that it waits for, so that a commit
//! wakes those it releases and nobody else.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use fastness_types::{BootNs, Durability, LogIndex, Plant, Seq};

use crate::outcome::{PendingReply, Release, Tenure};
use crate::shard::Inner;
use crate::state::{Leader, State};

/// Ended tenures that are remembered; a reply held longer than that many is in doubt.
const TENURES_KEPT: usize = 64;

/// One connection's place in a queue of held replies.
#[derive(Default)]
pub(crate) struct Waiter {
    waker: RefCell<Option<Waker>>,
    queued_at: Cell<Option<(Tenure, Seq)>>,
}

impl Waiter {
    fn wake(&self) {
        self.queued_at.set(None);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Who waits for which batch of the current tenure.
pub(crate) struct WaitQueue {
    /// The sequence that the first place of both queues waits for.
    first: Seq,
    /// Replies that only their commit releases.
    for_commit: VecDeque<Vec<Rc<Waiter>>>,
    /// Replies that leave earlier if lease and lag are well again.
    for_health: VecDeque<Vec<Rc<Waiter>>>,
    /// Reads that wait for a quorum, and for commits besides.
    for_quorum: Vec<Rc<Waiter>>,
}

impl WaitQueue {
    /// Nobody waits; the next batch to commit is `first`.
    pub(crate) fn new(first: Seq) -> WaitQueue {
        WaitQueue { first, for_commit: VecDeque::new(), for_health: VecDeque::new(), for_quorum: Vec::new() }
    }

    fn add(&mut self, pending: PendingReply, waiter: Rc<Waiter>) {
        if pending.arrived != BootNs(0) {
            return self.for_quorum.push(waiter);
        }
        let queue = if pending.durability == Durability::Sync { &mut self.for_commit } else { &mut self.for_health };
        let place = pending.seq.0.saturating_sub(self.first.0) as usize;
        if queue.len() <= place {
            queue.resize_with(place + 1, Vec::new);
        }
        queue[place].push(waiter);
    }

    /// Everything up to `seq` has committed.
    pub(crate) fn release(&mut self, seq: Seq) {
        while self.first <= seq {
            let due = [self.for_commit.pop_front(), self.for_health.pop_front()];
            due.into_iter().flatten().flatten().for_each(|waiter| waiter.wake());
            self.first = self.first.next();
        }
    }

    /// Wakes everybody, to look again.
    pub(crate) fn wake_all(&mut self) {
        self.for_commit.drain(..).flatten().for_each(|waiter| waiter.wake());
        self.wake_early();
        self.wake_confirming();
    }

    /// Wakes those who wait for a quorum.
    pub(crate) fn wake_confirming(&mut self) {
        self.for_quorum.drain(..).for_each(|waiter| waiter.wake());
    }

    /// Wakes those whose replies need not wait for their commit. The others would look in vain at every turn.
    pub(crate) fn wake_early(&mut self) {
        self.for_health.drain(..).flatten().for_each(|waiter| waiter.wake());
    }
}

/// How a tenure ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    tenure: Tenure,
    committed: Seq,
    /// Everything of the tenure that committed is at or below this.
    index: LogIndex,
}

/// The last tenures' ends.
#[derive(Debug, Default)]
pub(crate) struct EndedTenures(VecDeque<Ended>);

impl EndedTenures {
    pub(crate) fn record(&mut self, tenure: Tenure, committed: Seq, index: LogIndex) {
        if self.0.len() == TENURES_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Ended { tenure, committed, index });
    }

    /// An index by which `seq` of the ended `tenure` had committed; `None`: it did not, or nobody knows any more.
    pub(crate) fn committed_by(&self, tenure: Tenure, seq: Seq) -> Option<LogIndex> {
        let ended = self.0.iter().find(|ended| ended.tenure == tenure)?;
        (seq <= ended.committed).then_some(ended.index)
    }
}

impl State {
    /// Whether a reply may leave now; `now` is a fresh reading of the boot clock.
    pub(crate) fn release(&self, pending: PendingReply, now: BootNs) -> Release {
        match &self.leader {
            Some(leader) if leader.tenure == pending.tenure && pending.arrived != BootNs(0) => {
                leader.release_confirmed(pending, now)
            }
            // Its tenure has ended: nobody has confirmed it, and it may run again.
            _ if pending.arrived != BootNs(0) => Release::Unknown,
            Some(leader) if leader.tenure == pending.tenure => {
                let in_bound = |leader: &Leader| self.gate.allows(leader.stage.oldest_open(), now);
                let acts_early = match pending.durability {
                    Durability::Sync => Plant::AckBeforeCommit.is_on() && leader.may_act(now),
                    Durability::Async if Plant::AsyncAckUnchecked.is_on() => true,
                    Durability::Async => leader.may_act(now) && in_bound(leader),
                    Durability::Disabled => leader.may_act(now),
                };
                if pending.seq <= leader.committed || acts_early { Release::Now } else { Release::Wait }
            }
            _ if self.ended.committed_by(pending.tenure, pending.seq).is_some() => Release::Now,
            _ => Release::Unknown,
        }
    }
}

/// Resolves when [`crate::Shard::release`] no longer says [`Release::Wait`]. Cheap to make and to drop again.
pub struct Released {
    pub(crate) inner: Rc<Inner>,
    pub(crate) waiter: Rc<Waiter>,
    pub(crate) pending: PendingReply,
}

impl Future for Released {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.inner.state.borrow_mut();
        if state.release(self.pending, self.inner.clock.boot()) != Release::Wait {
            return Poll::Ready(());
        }
        let leader = state.leader.as_mut().expect("only a reply of the current tenure waits");
        let mut waker = self.waiter.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        let place = Some((self.pending.tenure, self.pending.seq));
        if self.waiter.queued_at.get() != place {
            self.waiter.queued_at.set(place);
            leader.waiting.add(self.pending, self.waiter.clone());
        }
        Poll::Pending
    }
}
