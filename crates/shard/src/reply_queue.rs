//! The connections that wait for the release of a reply (`release.rs`), ordered by the batch that they wait for. A
//! commit wakes only the connections whose replies it releases.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use fastness_types::{BootNs, Durability, Seq};

use crate::outcome::{PendingReply, Tenure};

/// One connection's place in the queue.
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

/// The pending replies of one tenure.
pub(crate) struct ReplyQueue {
    /// The sequence that the first element of both queues waits for.
    first: Seq,
    /// Replies that only a commit releases.
    for_commit: VecDeque<Vec<Rc<Waiter>>>,
    /// Replies that are also released when lease and lag have recovered.
    for_health: VecDeque<Vec<Rc<Waiter>>>,
    /// Reads that wait for a quorum, and for commits as well.
    for_quorum: Vec<Rc<Waiter>>,
}

impl ReplyQueue {
    /// An empty queue; the next batch to commit is `first`.
    pub(crate) fn new(first: Seq) -> ReplyQueue {
        ReplyQueue { first, for_commit: VecDeque::new(), for_health: VecDeque::new(), for_quorum: Vec::new() }
    }

    /// `waker` is woken when `pending` may be released. A waiter that already waits for it only takes the new waker.
    pub(crate) fn await_release(&mut self, pending: PendingReply, waiter: &Rc<Waiter>, waker: &Waker) {
        let mut known = waiter.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        let place = Some((pending.tenure, pending.seq));
        if waiter.queued_at.get() != place {
            waiter.queued_at.set(place);
            self.add(pending, waiter.clone());
        }
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

    /// Wakes the connections whose replies are released, because everything up to `seq` has committed.
    pub(crate) fn release(&mut self, seq: Seq) {
        while self.first <= seq {
            let due = [self.for_commit.pop_front(), self.for_health.pop_front()];
            due.into_iter().flatten().flatten().for_each(|waiter| waiter.wake());
            self.first = self.first.next();
        }
    }

    /// Wakes all connections, to check again.
    pub(crate) fn wake_all(&mut self) {
        self.for_commit.drain(..).flatten().for_each(|waiter| waiter.wake());
        self.wake_early();
        self.wake_confirming();
    }

    /// Wakes the connections that wait for a quorum.
    pub(crate) fn wake_confirming(&mut self) {
        self.for_quorum.drain(..).for_each(|waiter| waiter.wake());
    }

    /// Wakes the connections whose replies need not wait for a commit. The others would only check without effect.
    pub(crate) fn wake_early(&mut self) {
        self.for_health.drain(..).flatten().for_each(|waiter| waiter.wake());
    }
}
