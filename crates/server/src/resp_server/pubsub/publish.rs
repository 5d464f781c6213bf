//! The way of a message: from its publisher to the subscribers of this replica, and to the other replicas and nodes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use fastness_shard::{Outcome, Release};
use fastness_types::limits::CHANNEL_MATCH_TIME_MAX;

use super::deliveries::{Delivery, ROOM_PAUSE, SLICE_TIME};
use super::encoded;
use super::notify::follow_notifications;
use super::subscriptions::ChannelKind;
use crate::publications::message::{Lost, Publication};
use crate::publications::queue::MessageQueue;
use crate::resp_server::ReplicaServer;
use crate::resp_server::clients::Client;
use crate::resp_server::stats::add;

/// A message with at most so many receivers is delivered at once.
const AT_ONCE_MAX: usize = 64;
/// Receivers of one slice.
const SLICE_RECEIVERS: usize = 256;
/// Bytes of messages that are taken from the queue at once.
const TAKEN_BYTES: usize = 256 * 1024;
/// While the log keeps a subscriber's reply waiting, this multiple of the hard limit may wait for it.
const HELD_FACTOR: u64 = 4;
/// Subscribers that are told at once that the shard does not serve their channels any more.
const LOST_AT_ONCE: usize = 500;

impl ReplicaServer {
    /// Whether a message of this connection may be published now. It may have to wait for a commit.
    pub(crate) fn may_publish(&self, client: &Client, is_in_exec: bool) -> bool {
        let awaiting = &self.pubsub.awaiting;
        let waits = is_in_exec || awaiting.waits(client.subscriptions.awaits.get());
        self.pubsub.deliveries.has_room() && (!waits || awaiting.has_room())
    }

    /// Publishes a message at once: to the subscribers of this replica and to all others. Returns how many receive it
    /// here.
    pub(crate) fn publish(&self, message: &Arc<Publication>) -> usize {
        self.node.publications.publish(self.shard_id, message);
        self.publish_here(message)
    }

    /// Delivers a message to the subscribers of this replica; returns how many.
    pub(super) fn publish_here(&self, message: &Arc<Publication>) -> usize {
        let pubsub = &self.pubsub;
        let receivers = pubsub.channels.receivers(message, Instant::now() + CHANNEL_MATCH_TIME_MAX);
        let mut delivery = Delivery::new(message.clone(), receivers);
        let count = delivery.count();
        if count == 0 && delivery.knows_all() {
            return 0;
        }
        let at_once = count <= AT_ONCE_MAX && delivery.knows_all() && pubsub.deliveries.is_empty();
        if !(at_once && self.deliver_to(&mut delivery, usize::MAX)) {
            pubsub.deliveries.add(delivery);
        }
        count
    }

    /// How many subscribers of this replica would receive a message.
    fn count_receivers(&self, message: &Publication) -> usize {
        self.pubsub.channels.receivers(message, Instant::now() + CHANNEL_MATCH_TIME_MAX).count
    }

    /// Publishes a message of a connection, after its earlier ones that wait for a commit.
    pub(crate) fn publish_after(&self, client: &Client, message: &Arc<Publication>) -> usize {
        if !self.pubsub.awaiting.waits(client.subscriptions.awaits.get()) {
            return self.publish(message);
        }
        self.pubsub.awaiting.reserve(message);
        client.subscriptions.awaits.set(self.pubsub.awaiting.add(None, vec![message.clone()]));
        self.count_receivers(message)
    }

    /// Keeps a message of a transaction that is running; see [`ReplicaServer::end_transaction`].
    pub(crate) fn publish_with_commit(&self, client: &Client, message: Arc<Publication>) -> usize {
        let count = self.count_receivers(&message);
        self.pubsub.awaiting.reserve(&message);
        client.subscriptions.keep_published(message);
        count
    }

    /// EXEC has ended, with this outcome; `is_undone`: nothing of it counts. Its messages leave with its commit.
    #[cold]
    pub(crate) fn end_transaction(&self, client: &Client, outcome: Outcome, is_undone: bool) {
        let messages = client.subscriptions.take_published();
        let pending = match outcome {
            Outcome::Reply { pending, .. } => pending,
            Outcome::Busy | Outcome::Wait(_) | Outcome::Close => None,
        };
        if is_undone {
            self.pubsub.awaiting.release(&messages);
            return self.node.publications.count_lost(Lost::Undone, messages.len() as u64);
        }
        let are_few = messages.len() <= AT_ONCE_MAX;
        if are_few && pending.is_none() && !self.pubsub.awaiting.waits(client.subscriptions.awaits.get()) {
            self.pubsub.awaiting.release(&messages);
            for message in &messages {
                self.publish(message);
            }
            return;
        }
        let pending = pending.map(|pending| pending.until_commit());
        client.subscriptions.awaits.set(self.pubsub.awaiting.add(pending, messages));
    }

    /// Drops the messages of a transaction or script that was undone.
    #[cold]
    pub(crate) fn drop_published(&self, client: &Client) {
        let messages = client.subscriptions.take_published();
        self.pubsub.awaiting.release(&messages);
        self.node.publications.count_lost(Lost::Undone, messages.len() as u64);
    }

    /// Delivers to at most `count_max` receivers; returns whether everything was delivered.
    fn deliver_to(&self, delivery: &mut Delivery, count_max: usize) -> bool {
        let hard_bytes = self.node.config.load().client_output_buffer_limit.pubsub.hard_bytes;
        let until = Instant::now() + SLICE_TIME;
        delivery.advance(&self.pubsub.channels, count_max, until, |client, message| {
            add(&self.stats.channel_messages, 1);
            self.push_to(client, message, hard_bytes);
        })
    }

    /// Passes a push message to a connection, or closes it if it does not read.
    pub(crate) fn push_to(&self, client: &Client, message: &Arc<Vec<u8>>, hard_bytes: u64) {
        if client.is_killed() {
            return;
        }
        // What waits for the log is not the client's fault, but it is bounded, too.
        let hard_bytes = match client.held_since.get() {
            Some(_) => hard_bytes.saturating_mul(HELD_FACTOR),
            None => hard_bytes,
        };
        let waiting = client.subscriptions.push_bytes() + client.unsent_bytes.get() + message.len();
        if hard_bytes > 0 && waiting as u64 > hard_bytes {
            return self.close_unread(client);
        }
        client.subscriptions.push(message.clone());
    }

    /// Closes a connection that does not read what is pushed to it.
    pub(super) fn close_unread(&self, client: &Client) {
        if !client.is_killed() {
            self.note_unread(client, "client-output-buffer-limit's hard limit for pushed messages is reached");
            client.subscriptions.drop_pushes();
            client.kill();
        }
    }

    /// Ends subscriptions to channels of the shard, which this replica does not serve any more: some at a time.
    pub(crate) fn lose_shard_channels(&self) {
        for (client, channel) in self.pubsub.channels.of_shard(LOST_AT_ONCE) {
            self.pubsub.channels.unsubscribe(&client, ChannelKind::Shard, &channel);
            let left = client.subscriptions.shown(ChannelKind::Shard);
            self.push_to(&client, &Arc::new(encoded::lost(client.protocol.get(), &channel, left)), 0);
        }
    }
}

/// Everything that a replica does with messages beside commands, until it is dropped. `from_others`: the messages for
/// its subscribers that come from elsewhere.
pub(crate) async fn run(server: Rc<ReplicaServer>, from_others: Arc<MessageQueue>) {
    tokio::join!(
        deliver(&server),
        receive(&server, &from_others),
        follow_commits(&server),
        follow_notifications(&server)
    );
}

/// Delivers what waits, in slices between which others run.
async fn deliver(server: &ReplicaServer) {
    let deliveries = &server.pubsub.deliveries;
    loop {
        deliveries.arrived().await;
        while deliveries.advance(|oldest| server.deliver_to(oldest, SLICE_RECEIVERS)) {
            tokio::task::yield_now().await;
        }
    }
}

/// Delivers what others have published. Without room it waits, and the queue drops what exceeds it.
async fn receive(server: &ReplicaServer, from_others: &MessageQueue) {
    loop {
        from_others.arrived().await;
        let mut began = Instant::now();
        for message in from_others.take(TAKEN_BYTES) {
            while !server.pubsub.deliveries.has_room() {
                tokio::time::sleep(ROOM_PAUSE).await;
            }
            server.publish_here(&message);
            if began.elapsed() >= SLICE_TIME {
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Publishes messages of transactions once these have committed.
async fn follow_commits(server: &ReplicaServer) {
    let awaiting = &server.pubsub.awaiting;
    let session = server.shard.session();
    loop {
        awaiting.arrived().await;
        let mut began = Instant::now();
        while let Some(pending) = awaiting.oldest() {
            let mut release = Release::Now;
            if let Some(pending) = pending {
                server.shard.wait_released(&session, pending).await;
                release = server.shard.commit_of(pending);
            }
            if release == Release::Wait {
                continue;
            }
            while !server.pubsub.deliveries.has_room() {
                tokio::time::sleep(ROOM_PAUSE).await;
            }
            let Some(oldest) = awaiting.take() else { break };
            match release {
                Release::Unknown => server.node.publications.count_lost(Lost::Undone, oldest.messages.len() as u64),
                Release::Now | Release::Wait => {
                    for message in &oldest.messages {
                        if began.elapsed() >= SLICE_TIME {
                            tokio::task::yield_now().await;
                            while !server.pubsub.deliveries.has_room() {
                                tokio::time::sleep(ROOM_PAUSE).await;
                            }
                            began = Instant::now();
                        }
                        server.publish(message);
                    }
                }
            }
            awaiting.end(&oldest);
        }
    }
}
