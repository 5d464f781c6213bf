//! Keyspace notifications: the messages that say what has happened to which key, for the subscribers of this replica
//! alone, as each node of a Valkey cluster publishes those of its own keys.
//!
//! The shard decides when they leave (`shard/src/key_events.rs`). Here they wait until deliveries have room; meanwhile
//! they fill the shard's queue, which drops what exceeds it. No command waits.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fastness_engine::{Notification, Notifications, NotifyClasses};
use fastness_types::limits::CHANNEL_BYTES_MAX;

use super::deliveries::{ROOM_PAUSE, SLICE_TIME};
use super::subscriptions::ChannelKind;
use crate::publications::message::{Lost, Publication};
use crate::resp_server::ReplicaServer;

/// Of a key; the message is the event. There is one database.
const KEYSPACE: &[u8] = b"__keyspace@0__:";
/// Of an event; the message is the key.
const KEYEVENT: &[u8] = b"__keyevent@0__:";

/// Publishes notifications as they arrive, in slices between which others run.
pub(super) async fn follow_notifications(server: &ReplicaServer) {
    let mut began = Instant::now();
    loop {
        // What is ready returns at once: many short units must not keep the thread.
        let passed = server.shard.next_notifications().await;
        let publications = &server.node.publications;
        publications.count_lost(Lost::TooManyEvents, passed.dropped);
        publications.count_lost(Lost::Undone, passed.undone);
        publish_unit(server, &passed.unit, &mut began).await;
    }
}

async fn publish_unit(server: &ReplicaServer, unit: &Notifications, began: &mut Instant) {
    for one in unit.iter() {
        if began.elapsed() >= SLICE_TIME {
            tokio::task::yield_now().await;
            *began = Instant::now();
        }
        let has_subscribers = |kind| server.pubsub.channels.names_count(kind) > 0;
        if !has_subscribers(ChannelKind::Channel) && !has_subscribers(ChannelKind::Pattern) {
            continue;
        }
        while !server.pubsub.deliveries.has_room() {
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        server.publish_notification(&one, unit.channels());
    }
}

impl ReplicaServer {
    /// Publishes one, first to the channel of the key.
    fn publish_notification(&self, one: &Notification<'_>, channels: NotifyClasses) {
        let event = Bytes::from_static(one.event.as_bytes());
        if channels.has(NotifyClasses::KEYSPACE) {
            let channel = [KEYSPACE, one.key].concat();
            if channel.len() > CHANNEL_BYTES_MAX {
                self.node.publications.count_lost(Lost::LongKey, 1);
            } else {
                self.publish_own(channel.into(), event.clone());
            }
        }
        if channels.has(NotifyClasses::KEYEVENT) {
            self.publish_own([KEYEVENT, one.event.as_bytes()].concat().into(), Bytes::copy_from_slice(one.key));
        }
    }

    fn publish_own(&self, channel: Bytes, payload: Bytes) {
        self.publish_here(&Arc::new(Publication { channel, payload, shard: None }));
    }
}
