//! What one connection is subscribed to, and the messages that wait for its task.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::publications::message::Publication;

/// What a subscription takes beside its name, here and among those of all connections, bytes.
const SUBSCRIPTION_BYTES: usize = 256;
/// Room for pushes that an empty queue keeps.
const PUSHES_KEPT: usize = 16;

/// What is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind {
    /// A channel of the cluster: SUBSCRIBE.
    Channel,
    /// Channels of the cluster whose names match: PSUBSCRIBE.
    Pattern,
    /// A channel of the shard: SSUBSCRIBE.
    Shard,
}

impl ChannelKind {
    /// All of them.
    pub const ALL: [ChannelKind; 3] = [ChannelKind::Channel, ChannelKind::Pattern, ChannelKind::Shard];
}

/// See the module.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// By kind: the names, each with the number of its subscription.
    names: [RefCell<BTreeMap<Rc<[u8]>, u64>>; 3],
    /// How many there are of all kinds.
    count: Cell<usize>,
    /// What they take, bytes.
    bytes: Cell<usize>,
    pushes: RefCell<VecDeque<Arc<Vec<u8>>>>,
    push_bytes: Cell<usize>,
    has_pushes: Cell<bool>,
    arrived: Notify,
    /// Messages that the transaction which is running has published.
    published: RefCell<Vec<Arc<Publication>>>,
    has_published: Cell<bool>,
    /// The number of the newest message of this connection that waits for a commit; 0: none has.
    pub(super) awaits: Cell<u64>,
}

impl Subscriptions {
    /// How many of one kind.
    #[must_use]
    pub fn count(&self, kind: ChannelKind) -> usize {
        self.names[kind as usize].borrow().len()
    }

    /// How many of all kinds.
    #[inline]
    #[must_use]
    pub fn total(&self) -> usize {
        self.count.get()
    }

    /// The number that a confirmation shows: channels and patterns together, channels of the shard on their own.
    #[must_use]
    pub fn shown(&self, kind: ChannelKind) -> usize {
        match kind {
            ChannelKind::Shard => self.count(ChannelKind::Shard),
            ChannelKind::Channel | ChannelKind::Pattern => {
                self.count(ChannelKind::Channel) + self.count(ChannelKind::Pattern)
            }
        }
    }

    /// Whether it has this one.
    #[must_use]
    pub fn has(&self, kind: ChannelKind, name: &[u8]) -> bool {
        self.names[kind as usize].borrow().contains_key(name)
    }

    /// All names of one kind.
    #[must_use]
    pub fn names(&self, kind: ChannelKind) -> Vec<Rc<[u8]>> {
        self.names[kind as usize].borrow().keys().cloned().collect()
    }

    /// Whether all names meet a condition.
    pub fn all(&self, mut holds: impl FnMut(ChannelKind, &[u8]) -> bool) -> bool {
        let mut all_of = |kind: ChannelKind| self.names[kind as usize].borrow().keys().all(|name| holds(kind, name));
        ChannelKind::ALL.into_iter().all(&mut all_of)
    }

    pub(super) fn add(&self, kind: ChannelKind, name: Rc<[u8]>, number: u64) {
        self.bytes.set(self.bytes.get() + SUBSCRIPTION_BYTES + name.len());
        self.count.set(self.count.get() + 1);
        self.names[kind as usize].borrow_mut().insert(name, number);
    }

    /// Removes one; returns its number.
    pub(super) fn remove(&self, kind: ChannelKind, name: &[u8]) -> Option<u64> {
        let number = self.names[kind as usize].borrow_mut().remove(name)?;
        self.bytes.set(self.bytes.get() - SUBSCRIPTION_BYTES - name.len());
        self.count.set(self.count.get() - 1);
        Some(number)
    }

    /// Appends a push message for the connection's task, and wakes it.
    pub(super) fn push(&self, message: Arc<Vec<u8>>) {
        self.push_bytes.set(self.push_bytes.get() + message.len());
        self.pushes.borrow_mut().push_back(message);
        if !self.has_pushes.replace(true) {
            self.arrived.notify_one();
        }
    }

    /// The oldest push message.
    pub fn take_push(&self) -> Option<Arc<Vec<u8>>> {
        let mut pushes = self.pushes.borrow_mut();
        let message = pushes.pop_front();
        self.push_bytes.set(self.push_bytes.get() - message.as_ref().map_or(0, |message| message.len()));
        if pushes.is_empty() {
            self.has_pushes.set(false);
            pushes.shrink_to(PUSHES_KEPT);
        }
        message
    }

    /// Drops the push messages of a connection that is closed.
    pub fn drop_pushes(&self) {
        self.pushes.take();
        self.push_bytes.set(0);
        self.has_pushes.set(false);
    }

    /// Whether push messages wait.
    #[inline]
    #[must_use]
    pub fn has_pushes(&self) -> bool {
        self.has_pushes.get()
    }

    /// Their bytes.
    #[must_use]
    pub fn push_bytes(&self) -> usize {
        self.push_bytes.get()
    }

    /// Resolves once push messages wait.
    pub async fn pushes_arrived(&self) {
        while !self.has_pushes.get() {
            self.arrived.notified().await;
        }
    }

    /// Keeps a message of the transaction that is running until it has ended.
    pub(super) fn keep_published(&self, message: Arc<Publication>) {
        self.has_published.set(true);
        self.published.borrow_mut().push(message);
    }

    /// The messages of the transaction that has ended.
    pub(super) fn take_published(&self) -> Vec<Arc<Publication>> {
        self.has_published.set(false);
        self.published.take()
    }

    /// Whether the transaction that has ended has published messages.
    #[inline]
    #[must_use]
    pub fn has_published(&self) -> bool {
        self.has_published.get()
    }

    /// What all this takes, bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let pushes = self.pushes.borrow().capacity() * size_of::<Arc<Vec<u8>>>();
        self.bytes.get() + self.push_bytes.get() + pushes
    }
}
