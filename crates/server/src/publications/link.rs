//! Another node as a destination of messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastness_types::{NodeId, ShardId};

use super::message::Publication;
use super::queue::MessageQueue;

/// Another node.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) node: NodeId,
    /// Of its gRPC port.
    pub(super) address: String,
    /// The shards of which it has replicas.
    pub(super) shards: BTreeSet<ShardId>,
    /// What waits to be sent to it.
    pub(super) queue: Arc<MessageQueue>,
}

impl Link {
    /// Whether the node may have subscribers for it.
    pub(super) fn wants(&self, message: &Publication) -> bool {
        message.shard.is_none_or(|shard| self.shards.contains(&shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sharded_message_is_for_nodes_with_a_replica_of_its_shard() {
        let link = Link {
            node: NodeId(2),
            address: String::new(),
            shards: [ShardId(1)].into(),
            queue: Arc::new(MessageQueue::new(1)),
        };
        let message = |shard| Publication { channel: "c".into(), payload: "m".into(), shard };
        assert!(link.wants(&message(None)));
        assert!(link.wants(&message(Some(ShardId(1)))));
        assert!(!link.wants(&message(Some(ShardId(2)))));
    }
}
