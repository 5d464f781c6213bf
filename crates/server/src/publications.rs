//! Messages of channels on their way between the replicas of this node, and to other nodes.
//!
//! ```text
//! PUBLISH ─▶ replica's thread ─┬─▶ its own subscribers (resp_server/pubsub)
//!                              ├─▶ queue of each other replica of this node ─▶ its subscribers
//!                              └─▶ queue of each other node ─▶ gRPC stream ─▶ queues of its replicas
//! ```
//!
//! Rules:
//! - Best effort, at most once: nothing is stored, nothing is sent again. What does not fit into a queue, or is for a
//!   node that is not connected, is dropped and counted.
//! - A publisher never waits for a queue: a replica or a node that does not take its messages loses them, and delays
//!   nobody.
//! - One queue and one stream for each destination: what one replica publishes arrives in its order.
//!
//! - [`message`]: a message. [`queue`]: the bounded queue. `links`: the streams to other nodes. `service`: those from
//!   other nodes.
//!
//! It does not know subscribers.

mod link;
pub(crate) mod links;
pub mod message;
pub mod queue;
pub(crate) mod service;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use fastness_types::ShardId;
use fastness_types::limits::CHANNEL_INBOX_BYTES_MAX;
use parking_lot::RwLock;

use link::Link;
use message::{Lost, Publication};
use queue::MessageQueue;

/// Where messages go. One per node.
#[derive(Default)]
pub struct Publications {
    /// The replicas of this node.
    replicas: RwLock<BTreeMap<ShardId, Arc<MessageQueue>>>,
    /// The other nodes.
    links: ArcSwap<Vec<Link>>,
    sent: AtomicU64,
    received: AtomicU64,
    lost: [AtomicU64; Lost::ALL.len()],
}

impl Publications {
    /// Enters a replica of this node; returns the messages for its subscribers that come from elsewhere.
    #[must_use]
    pub fn enter(&self, shard: ShardId) -> Arc<MessageQueue> {
        let queue = Arc::new(MessageQueue::new(CHANNEL_INBOX_BYTES_MAX));
        queue.open();
        self.replicas.write().insert(shard, queue.clone());
        queue
    }

    /// Forgets a replica that has ended.
    pub fn leave(&self, shard: ShardId) {
        self.replicas.write().remove(&shard);
    }

    /// Sends a message of replica `from` to all others that may have subscribers. Never waits.
    pub fn publish(&self, from: ShardId, message: &Arc<Publication>) {
        if message.shard.is_none() {
            self.offer_to_replicas(Some(from), message);
        }
        for link in self.links.load().iter().filter(|link| link.wants(message)) {
            let lost = if link.queue.is_open() { Lost::NodeBusy } else { Lost::NodeUnreachable };
            if !link.queue.offer(message) {
                self.count_lost(lost, 1);
            }
        }
    }

    /// Passes on a message from another node.
    pub fn deliver(&self, message: &Arc<Publication>) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.offer_to_replicas(None, message);
    }

    fn offer_to_replicas(&self, but: Option<ShardId>, message: &Arc<Publication>) {
        let replicas = self.replicas.read();
        let is_for = |shard: ShardId| Some(shard) != but && message.shard.is_none_or(|only| only == shard);
        for (_, queue) in replicas.iter().filter(|(shard, _)| is_for(**shard)) {
            if !queue.offer(message) {
                self.count_lost(Lost::ReplicaBusy, 1);
            }
        }
    }

    /// Counts messages that were dropped, one for each destination.
    pub fn count_lost(&self, why: Lost, count: u64) {
        self.lost[why as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Messages that were dropped for this reason, one for each destination.
    #[must_use]
    pub fn lost(&self, why: Lost) -> u64 {
        self.lost[why as usize].load(Ordering::Relaxed)
    }

    /// Messages that were sent to other nodes, one for each.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages that came from other nodes.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(shard: Option<ShardId>) -> Arc<Publication> {
        Arc::new(Publication { channel: "c".into(), payload: "m".into(), shard })
    }

    #[test]
    fn a_message_reaches_every_other_replica_and_a_sharded_one_its_own() {
        let publications = Publications::default();
        let [first, second] = [1, 2].map(|shard| publications.enter(ShardId(shard)));
        publications.publish(ShardId(1), &message(None));
        assert_eq!((first.take(usize::MAX).len(), second.take(usize::MAX).len()), (0, 1));
        publications.publish(ShardId(1), &message(Some(ShardId(1))));
        assert_eq!((first.take(usize::MAX).len(), second.take(usize::MAX).len()), (0, 0));
        publications.deliver(&message(None));
        publications.deliver(&message(Some(ShardId(2))));
        assert_eq!((first.take(usize::MAX).len(), second.take(usize::MAX).len()), (1, 2));
        publications.leave(ShardId(2));
        publications.deliver(&message(None));
        assert_eq!((first.take(usize::MAX).len(), second.take(usize::MAX).len()), (1, 0));
        assert_eq!(publications.received(), 3);
    }

    #[test]
    fn a_replica_that_takes_nothing_loses_messages() {
        let publications = Publications::default();
        let _queue = publications.enter(ShardId(1));
        let payload = Bytes::from(vec![0; CHANNEL_INBOX_BYTES_MAX / 2]);
        for _ in 0..4 {
            let message = Publication { channel: "c".into(), payload: payload.clone(), shard: None };
            publications.deliver(&Arc::new(message));
        }
        assert_eq!(publications.lost(Lost::ReplicaBusy), 2);
    }
}
