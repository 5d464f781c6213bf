//! A message of a channel, and why it may be lost.

use bytes::Bytes;
use fastness_types::ShardId;

/// What a message takes beside its bytes, as it is counted in queues.
const MESSAGE_BYTES: usize = 128;

/// A message that was published.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    /// The channel.
    pub channel: Bytes,
    /// The message.
    pub payload: Bytes,
    /// The shard of SPUBLISH; `None`: PUBLISH.
    pub shard: Option<ShardId>,
}

impl Publication {
    /// What it takes, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        MESSAGE_BYTES + self.channel.len() + self.payload.len()
    }
}

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// A replica of this node does not take its messages.
    ReplicaBusy,
    /// A node does not take its messages.
    NodeBusy,
    /// A node is not connected, or the connection has broken.
    NodeUnreachable,
    /// The transaction that had published it was undone, or the write that it notifies of.
    Undone,
    /// A keyspace notification, while too many waited.
    TooManyEvents,
    /// A keyspace notification to the channel of a key whose name is too long for a channel.
    LongKey,
}

impl Lost {
    /// All of them.
    pub const ALL: [Lost; 6] =
        [Lost::ReplicaBusy, Lost::NodeBusy, Lost::NodeUnreachable, Lost::Undone, Lost::TooManyEvents, Lost::LongKey];

    /// As metrics name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Lost::ReplicaBusy => "replica_busy",
            Lost::NodeBusy => "node_busy",
            Lost::NodeUnreachable => "node_unreachable",
            Lost::Undone => "undone",
            Lost::TooManyEvents => "too_many_events",
            Lost::LongKey => "long_key",
        }
    }
}
