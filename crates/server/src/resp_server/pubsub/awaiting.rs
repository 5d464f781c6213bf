//! Messages that transactions have published, until their transactions have committed. They leave in the order in which
//! they were published; so do later messages of the same connections, which wait here, too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use fastness_shard::PendingReply;
use fastness_types::limits::DELIVERY_BYTES_MAX;
use tokio::sync::Notify;

use crate::publications::message::Publication;

/// Messages that leave together, or never.
pub(super) struct Awaiting {
    /// The commit that they wait for; `None`: only those before them.
    pub(super) pending: Option<PendingReply>,
    pub(super) messages: Vec<Arc<Publication>>,
    number: u64,
}

/// See the module.
#[derive(Default)]
pub struct AwaitingCommit {
    queue: RefCell<VecDeque<Awaiting>>,
    bytes: Cell<usize>,
    /// The number of the newest one.
    newest: Cell<u64>,
    /// All up to this number have left or were dropped.
    ended: Cell<u64>,
    arrived: Notify,
}

impl AwaitingCommit {
    /// Whether one more message may wait.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.get() < DELIVERY_BYTES_MAX
    }

    /// Counts a message of a transaction that is running, which will be added or dropped.
    pub(super) fn reserve(&self, message: &Publication) {
        self.bytes.set(self.bytes.get() + message.bytes());
    }

    /// The opposite of [`AwaitingCommit::reserve`].
    pub(super) fn release(&self, messages: &[Arc<Publication>]) {
        let bytes: usize = messages.iter().map(|message| message.bytes()).sum();
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// Appends reserved messages; returns their number.
    pub(super) fn add(&self, pending: Option<PendingReply>, messages: Vec<Arc<Publication>>) -> u64 {
        let number = self.newest.get() + 1;
        self.newest.set(number);
        self.queue.borrow_mut().push_back(Awaiting { pending, messages, number });
        self.arrived.notify_one();
        number
    }

    /// Whether the messages of this number wait still.
    pub(super) fn waits(&self, number: u64) -> bool {
        number > self.ended.get()
    }

    /// What the oldest ones wait for; the outer `None`: there are none.
    pub(super) fn oldest(&self) -> Option<Option<PendingReply>> {
        self.queue.borrow().front().map(|oldest| oldest.pending)
    }

    /// Takes the oldest ones. They count as waiting until [`AwaitingCommit::end`].
    pub(super) fn take(&self) -> Option<Awaiting> {
        self.queue.borrow_mut().pop_front()
    }

    /// These have left, or were dropped.
    pub(super) fn end(&self, taken: &Awaiting) {
        self.ended.set(taken.number);
        self.release(&taken.messages);
    }

    /// Resolves once something waits.
    pub(super) async fn arrived(&self) {
        while self.queue.borrow().is_empty() {
            self.arrived.notified().await;
        }
    }
}
