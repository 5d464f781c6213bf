//! Messages that are being delivered to the subscribers of one replica, in their order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_types::limits::DELIVERY_BYTES_MAX;
use tokio::sync::Notify;

use super::channels::{Channels, Receivers};
use super::encoded::Encoded;
use super::subscriptions::ChannelKind;
use crate::publications::message::Publication;
use crate::resp_server::clients::Client;

/// How long one slice compares with patterns, or takes messages of others.
pub(super) const SLICE_TIME: Duration = Duration::from_millis(1);
/// Pause while deliveries have no room.
pub(super) const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// A message that is being delivered.
pub struct Delivery {
    message: Arc<Publication>,
    receivers: Receivers,
    /// What it takes while it waits, bytes: the message, and the names that were found at first.
    bytes: usize,
    /// The name under which it is being delivered.
    at: usize,
    /// The last subscription of that name that has got it.
    after: u64,
    /// For the subscribers of that name.
    encoded: Encoded,
}

impl Delivery {
    pub(super) fn new(message: Arc<Publication>, receivers: Receivers) -> Delivery {
        let bytes = message.bytes() + receivers.names.capacity() * size_of::<(ChannelKind, Rc<[u8]>)>();
        Delivery { message, receivers, bytes, at: 0, after: 0, encoded: Encoded::default() }
    }

    /// How many are known to receive it.
    pub(super) fn count(&self) -> usize {
        self.receivers.count
    }

    /// Whether all that receive it are known.
    pub(super) fn knows_all(&self) -> bool {
        self.receivers.compared_to.is_none()
    }

    /// Passes the message to at most `count_max` of its receivers, and compares it with patterns until `until`. After
    /// that it begins with no further name. Returns whether all have it.
    pub(super) fn advance(
        &mut self,
        channels: &Channels,
        mut count_max: usize,
        until: Instant,
        mut give: impl FnMut(&Client, &Arc<Vec<u8>>),
    ) -> bool {
        loop {
            let Some((kind, name)) = self.receivers.names.get(self.at).cloned() else {
                let Some(from) = self.receivers.compared_to.take() else { return true };
                channels.compare(&self.message, Some(&from), until, &mut self.receivers);
                if self.at == self.receivers.names.len() && self.receivers.compared_to.is_some() {
                    return false;
                }
                continue;
            };
            let (count, last) = self.give_to_some((kind, &name), channels, count_max, &mut give);
            count_max -= count;
            match last {
                Some(last) => {
                    self.after = last;
                    return false;
                }
                None => {
                    (self.at, self.after, self.encoded) = (self.at + 1, 0, Encoded::default());
                    // Each name has an encoding of its own, which takes long for a long message.
                    if Instant::now() >= until {
                        return false;
                    }
                }
            }
        }
    }

    fn give_to_some(
        &self,
        (kind, name): (ChannelKind, &Rc<[u8]>),
        channels: &Channels,
        count_max: usize,
        give: &mut impl FnMut(&Client, &Arc<Vec<u8>>),
    ) -> (usize, Option<u64>) {
        let between = (self.after, self.receivers.before);
        channels.visit((kind, name), between, count_max, |client| {
            give(client, self.encoded.of(client.protocol.get(), (kind, name), &self.message));
        })
    }
}

/// See the module.
#[derive(Default)]
pub struct Deliveries {
    queue: RefCell<VecDeque<Delivery>>,
    bytes: Cell<usize>,
    wake: Notify,
}

impl Deliveries {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.get() < DELIVERY_BYTES_MAX
    }

    /// Appends one, and wakes the task that delivers.
    pub(super) fn add(&self, delivery: Delivery) {
        self.bytes.set(self.bytes.get() + delivery.bytes);
        self.queue.borrow_mut().push_back(delivery);
        self.wake.notify_one();
    }

    /// Works on the oldest one; it leaves once `advance` returns `true`. Returns whether any is left.
    pub(super) fn advance(&self, advance: impl FnOnce(&mut Delivery) -> bool) -> bool {
        let mut queue = self.queue.borrow_mut();
        if queue.front_mut().is_some_and(advance)
            && let Some(done) = queue.pop_front()
        {
            self.bytes.set(self.bytes.get() - done.bytes);
        }
        !queue.is_empty()
    }

    /// Resolves once something waits.
    pub(super) async fn arrived(&self) {
        while self.is_empty() {
            self.wake.notified().await;
        }
    }
}
