//! The streams of messages to other nodes: one connection to the gRPC port of each, beside those of consensus, so that
//! no flood of messages delays a heartbeat.
//!
//! Messages for a node that is not connected are dropped: they would arrive long after they were published.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastness_control::ClusterMap;
use fastness_types::limits::{CHANNEL_LINK_BYTES_MAX, CHANNEL_MESSAGE_BYTES_MAX};
use fastness_wire::peer::v1::channel_service_client::ChannelServiceClient;
use fastness_wire::peer::v1::{ChannelMessage, PublishRequest};
use futures::Stream;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::link::Link;
use super::message::Lost;
use super::queue::MessageQueue;
use crate::certificates::Newest;
use crate::peer_server::KEEP_ALIVE;
use crate::shared::{NodeShared, Phase};

/// How soon another map is followed.
const MAP_EVERY: Duration = Duration::from_millis(200);
/// Time limit for connecting.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Pause before a node is tried again, at first; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause. A node of an older version has no such service, and each attempt costs it a handshake.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A request is sent once it has so many bytes; the last message in it may exceed that.
const REQUEST_BYTES: usize = 128 * 1024;
/// Largest request, bytes.
pub(super) const REQUEST_BYTES_MAX: usize = CHANNEL_MESSAGE_BYTES_MAX + 2 * REQUEST_BYTES;

/// Keeps a stream open to every other node of the map, until the node closes.
pub(crate) async fn follow(node: Arc<NodeShared>, tls: Newest<ClientTlsConfig>) {
    let mut seen: Option<Arc<ClusterMap>> = None;
    while node.phase() < Phase::Closing {
        let map = node.map.load_full();
        if let Some(map) = map.filter(|map| seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, map))) {
            connect(&node, &tls, &map);
            seen = Some(map);
        }
        tokio::time::sleep(MAP_EVERY).await;
    }
}

/// Starts the links to the nodes of this map that do not have one yet. Links that no node has any more end by
/// themselves, once nobody but their task holds the queue.
fn connect(node: &Arc<NodeShared>, tls: &Newest<ClientTlsConfig>, map: &ClusterMap) {
    let before = node.publications.links.load_full();
    let others = map.nodes.iter().chain(map.leaving()).filter(|other| other.id != node.node);
    let mut added = Vec::new();
    let links = others.map(|other| {
        let shards = map.shards_on(map.place_of(other.id)).map(|shard| shard.id).collect();
        let known = before.iter().find(|link| link.node == other.id && link.address == other.grpc_address);
        if let Some(known) = known {
            return Link { shards, ..known.clone() };
        }
        let queue = Arc::new(MessageQueue::new(CHANNEL_LINK_BYTES_MAX));
        let link = Link { node: other.id, address: other.grpc_address.clone(), shards, queue };
        added.push(link.clone());
        link
    });
    let links: Vec<Link> = links.collect();
    node.publications.links.store(Arc::new(links));
    // A task ends if the list does not have its link.
    for link in added {
        tokio::spawn(keep(node.clone(), tls.clone(), link));
    }
}

/// Keeps one link open as long as the map has it.
async fn keep(node: Arc<NodeShared>, tls: Newest<ClientTlsConfig>, link: Link) {
    let is_wanted = || {
        let links = node.publications.links.load();
        node.phase() < Phase::Closing && links.iter().any(|known| Arc::ptr_eq(&known.queue, &link.queue))
    };
    let mut pause = PAUSE_MIN;
    while is_wanted() {
        let began = Instant::now();
        if let Some(channel) = connected(&node, &tls, &link.address).await {
            link.queue.open();
            let mut client = ChannelServiceClient::new(channel).max_encoding_message_size(REQUEST_BYTES_MAX);
            let ended = client.publish(requests(node.clone(), link.queue.clone()));
            tokio::select! {
                // It ends with the connection: the other node never ends it.
                ended = ended => {
                    let reason = ended.err().map(|status| status.to_string()).unwrap_or_default();
                    tracing::debug!(node = %link.node, reason, "the stream of messages to a node has ended");
                }
                () = unwanted(is_wanted) => {}
            }
        }
        let dropped = link.queue.close();
        node.publications.count_lost(Lost::NodeUnreachable, dropped as u64);
        pause = if began.elapsed() > 2 * PAUSE_MAX { PAUSE_MIN } else { (2 * pause).min(PAUSE_MAX) };
        tokio::time::sleep(pause).await;
    }
}

async fn unwanted(is_wanted: impl Fn() -> bool) {
    while is_wanted() {
        tokio::time::sleep(MAP_EVERY).await;
    }
}

async fn connected(node: &NodeShared, tls: &Newest<ClientTlsConfig>, address: &str) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).ok()?;
    let tls = ClientTlsConfig::clone(&tls.load());
    let endpoint = endpoint.tls_config(tls).ok()?;
    let source = node.config.load().source_address();
    let endpoint = endpoint.connect_timeout(CONNECT_MAX).local_address(source);
    // A node that is gone without a word must not keep messages waiting.
    let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE.0).keep_alive_timeout(KEEP_ALIVE.1);
    let endpoint = endpoint.keep_alive_while_idle(true);
    tokio::time::timeout(2 * CONNECT_MAX, endpoint.connect()).await.ok()?.ok()
}

/// What is sent over one stream.
fn requests(node: Arc<NodeShared>, queue: Arc<MessageQueue>) -> impl Stream<Item = PublishRequest> + Send + 'static {
    futures::stream::unfold((node, queue), |(node, queue)| async move {
        let messages = loop {
            queue.arrived().await;
            let messages = queue.take(REQUEST_BYTES);
            if !messages.is_empty() {
                break messages;
            }
        };
        node.publications.sent.fetch_add(messages.len() as u64, Ordering::Relaxed);
        let messages = messages.into_iter().map(|message| ChannelMessage {
            channel: message.channel.clone(),
            payload: message.payload.clone(),
            shard: message.shard.map_or(0, |shard| shard.0),
        });
        Some((PublishRequest { messages: messages.collect() }, (node, queue)))
    })
}
