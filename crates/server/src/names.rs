//! The names that clients know replicas and shards by: 40 hexadecimal digits, as Valkey's node ids.
//!
//! To a client each replica is a cluster node of its own (it has its own port and one role), so its id is made of
//! cluster, node and shard. Derived, never stored: every node computes the same one.

use fastness_types::{ClusterId, NodeId, ShardId};
use ring::digest;

/// A name of 40 hexadecimal digits.
pub type Name = String;

/// The cluster-node id of `node`'s replica of `shard`.
#[must_use]
pub fn replica(cluster: ClusterId, node: NodeId, shard: ShardId) -> Name {
    name(&[b"fastness/replica/1", &cluster.0, &node.0.to_be_bytes(), &shard.0.to_be_bytes()])
}

/// The id of `shard`, as CLUSTER MYSHARDID gives it.
#[must_use]
pub fn shard(cluster: ClusterId, shard: ShardId) -> Name {
    name(&[b"fastness/shard/1", &cluster.0, &shard.0.to_be_bytes()])
}

/// The id of the data's history in INFO (`master_replid`): one per shard, the same after a failover, since nothing
/// that was committed is ever lost.
#[must_use]
pub fn history(cluster: ClusterId, shard: ShardId) -> Name {
    name(&[b"fastness/history/1", &cluster.0, &shard.0.to_be_bytes()])
}

fn name(parts: &[&[u8]]) -> Name {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref()[..20].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_stay() {
        let cluster = ClusterId([7; 16]);
        let one = replica(cluster, NodeId(1), ShardId(1));
        assert_eq!(one.len(), 40);
        assert_eq!(one, replica(cluster, NodeId(1), ShardId(1)));
        assert_ne!(one, replica(cluster, NodeId(2), ShardId(1)));
        assert_ne!(one, replica(cluster, NodeId(1), ShardId(2)));
        assert_ne!(one, replica(ClusterId([8; 16]), NodeId(1), ShardId(1)));
        assert_ne!(shard(cluster, ShardId(1)), history(cluster, ShardId(1)));
    }
}
