//! Maps of small clusters, for the tests of this crate and of those above it.

use fastness_types::{ClusterId, DiskId, Durability, HashSeed, NodeId, ShardId, Slot};

use crate::map::{ClusterMap, ClusterSettings, NodeInfo, ShardMap};

/// A node of a cluster on one machine.
#[must_use]
pub fn node(id: u64, az: &str) -> NodeInfo {
    NodeInfo {
        id: NodeId(id),
        disk: DiskId([id as u8; 16]),
        az: az.into(),
        peer_address: format!("127.0.0.1:{}", 7450 + id),
        grpc_address: format!("127.0.0.1:{}", 7460 + id),
        announce_host: "127.0.0.1".into(),
        announce_hostname: String::new(),
        resp_port: 7400 + 10 * id as u16,
        resp_tls_port: 0,
    }
}

/// A shard of the slots from `first` to `last`.
#[must_use]
pub fn shard<const N: usize>(id: u32, (first, last): (u16, u16), members: [u64; N]) -> ShardMap {
    ShardMap {
        id: ShardId(id),
        first: Slot(first),
        last: Slot(last),
        members: members.map(NodeId).to_vec(),
        config_epoch: u64::from(id),
    }
}

/// Three nodes in three AZs, with two shards of three replicas each.
#[must_use]
pub fn three_nodes() -> ClusterMap {
    ClusterMap {
        cluster_id: ClusterId([7; 16]),
        hash_seed: HashSeed([9; 16]),
        version: 1,
        durability: Durability::Sync,
        durability_version: 1,
        replicas: 2,
        nodes: vec![node(1, "a"), node(2, "b"), node(3, "c")],
        shards: vec![shard(1, (0, 8191), [1, 2, 3]), shard(2, (8192, 16383), [2, 3, 1])],
        control_voters: vec![NodeId(1), NodeId(2), NodeId(3)],
        replacement: None,
        replaced: Vec::new(),
        settings: ClusterSettings::default(),
    }
}
