//! What group 0 knows of the cluster: nodes, shards, the wished durability.
//!
//! Invariants (checked by [`ClusterMap::check`] before a map is applied):
//! - nodes are ordered by id, without doubles; each has a disk of its own; no address is empty;
//! - shards are numbered from 1 in the order of their slots, which they cover without a hole or an overlap;
//! - every shard has members, all of them nodes, none twice.

use std::collections::BTreeSet;

use fastness_consensus::placement::AzRule;
use fastness_types::{Az, ClusterId, DiskId, Durability, HashSeed, NodeId, SLOTS, ShardId, Slot};

/// The topology of one cluster. Immutable: a change makes a new one with a higher [`ClusterMap::version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMap {
    /// Made before the cluster is: the certificates name it.
    pub cluster_id: ClusterId,
    /// Secret seed of the keyspace's hash.
    pub hash_seed: HashSeed,
    /// Counts the changes, from 1.
    pub version: u64,
    /// The mode that the operator wishes; what acts is an effect in each shard's log.
    pub durability: Durability,
    /// The version of the map that brought this wish: of two wishes the newer one has the higher.
    pub durability_version: u64,
    /// Copies of each shard besides the primary.
    pub replicas: u32,
    /// By id.
    pub nodes: Vec<NodeInfo>,
    /// By id, which is the order of their slots too.
    pub shards: Vec<ShardMap>,
    /// The voters of group 0; the other nodes follow it as learners.
    pub control_voters: Vec<NodeId>,
}

/// One node: one process, labelled with one AZ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id, for life.
    pub id: NodeId,
    /// The disk with which it is a member; on another one it is not.
    pub disk: DiskId,
    /// Its AZ.
    pub az: Az,
    /// `host:port` of the peer door.
    pub peer_address: String,
    /// `host:port` of the admin gRPC door.
    pub grpc_address: String,
    /// What clients are told to connect to: an address or a host name.
    pub announce_host: String,
    /// Host name besides, for the metadata of CLUSTER SLOTS; empty: none.
    pub announce_hostname: String,
    /// Plaintext port of shard 1's replica, shard n is on `resp_port + n - 1`. 0: there is no plaintext door.
    pub resp_port: u16,
    /// TLS port, likewise.
    pub resp_tls_port: u16,
}

/// One shard: a slot range and its Raft group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    /// From 1.
    pub id: ShardId,
    /// First slot.
    pub first: Slot,
    /// Last slot, which belongs to it.
    pub last: Slot,
    /// The nodes that hold a replica; the one that should lead first.
    pub members: Vec<NodeId>,
    /// Counts changes of the slots' owner, as Valkey's configuration epoch does; differs between shards.
    pub config_epoch: u64,
}

impl ShardMap {
    /// Whether it owns `slot`.
    #[must_use]
    pub fn owns(&self, slot: Slot) -> bool {
        self.first <= slot && slot <= self.last
    }

    /// The node that should lead it.
    #[must_use]
    pub fn preferred_primary(&self) -> Option<NodeId> {
        self.members.first().copied()
    }

    /// Whether `node` holds a replica.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }
}

impl NodeInfo {
    /// The plaintext port of this node's replica of `shard`; `None` without a plaintext door.
    #[must_use]
    pub fn resp_port_of(&self, shard: ShardId) -> Option<u16> {
        port_of(self.resp_port, shard)
    }

    /// The TLS port of this node's replica of `shard`; `None` without a TLS door.
    #[must_use]
    pub fn resp_tls_port_of(&self, shard: ShardId) -> Option<u16> {
        port_of(self.resp_tls_port, shard)
    }
}

fn port_of(base: u16, shard: ShardId) -> Option<u16> {
    let offset = u16::try_from(shard.0.checked_sub(1)?).ok()?;
    (base != 0).then(|| base.checked_add(offset)).flatten()
}

/// What is wrong with a map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Ids out of order or double.
    #[error("nodes are not in the order of their ids, or one is there twice")]
    Nodes,
    /// A node without a disk, or with another one's.
    #[error("node {0} has no disk, or that of another node")]
    Disk(NodeId),
    /// A node without an address.
    #[error("node {0} has an empty address or AZ")]
    Address(NodeId),
    /// Slots not covered exactly once, or shards not numbered from 1.
    #[error("shards do not cover the {SLOTS} slots exactly once, numbered from 1")]
    Slots,
    /// Members empty, double or unknown.
    #[error("shard {0} has no members, an unknown one or one twice")]
    Members(ShardId),
    /// Voters empty, double or unknown.
    #[error("the control plane has no voters, an unknown one or one twice")]
    Voters,
}

impl ClusterMap {
    /// Whether the mode can be changed to `mode` while the cluster runs: what a durable cluster needs (AZs, replicas, TLS,
    /// encryption) is decided when it is created.
    #[must_use]
    pub fn may_become(&self, mode: Durability) -> bool {
        self.durability.is_durable() == mode.is_durable()
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeInfo> {
        self.nodes.binary_search_by_key(&id, |node| node.id).ok().map(|i| &self.nodes[i])
    }

    /// The shard with this id.
    #[must_use]
    pub fn shard(&self, id: ShardId) -> Option<&ShardMap> {
        self.shards.get((id.0 as usize).checked_sub(1)?)
    }

    /// The owner of a slot.
    #[must_use]
    pub fn shard_of(&self, slot: Slot) -> Option<&ShardMap> {
        let i = self.shards.partition_point(|shard| shard.last < slot);
        self.shards.get(i).filter(|shard| shard.owns(slot))
    }

    /// The shards of which `node` holds a replica, in order.
    pub fn shards_on(&self, node: NodeId) -> impl Iterator<Item = &ShardMap> {
        self.shards.iter().filter(move |shard| shard.has(node))
    }

    /// The members of a shard with their addresses, the preferred primary first.
    pub fn members_of(&self, shard: ShardId) -> impl Iterator<Item = &NodeInfo> {
        let members = self.shard(shard).map_or(&[][..], |shard| &shard.members[..]);
        members.iter().filter_map(|id| self.node(*id))
    }

    /// Whether the voters of its groups must obey the AZ rule: without a durability promise they need not.
    #[must_use]
    pub fn az_rule(&self) -> AzRule {
        if self.durability.is_durable() { AzRule::Required } else { AzRule::Waived }
    }

    /// Whether all invariants hold.
    ///
    /// # Errors
    /// The first one that does not.
    pub fn check(&self) -> Result<(), MapError> {
        if self.nodes.is_empty() || !self.nodes.is_sorted_by(|a, b| a.id < b.id) {
            return Err(MapError::Nodes);
        }
        let mut disks = BTreeSet::from([DiskId::default()]);
        if let Some(node) = self.nodes.iter().find(|node| !disks.insert(node.disk)) {
            return Err(MapError::Disk(node.id));
        }
        let incomplete = |n: &&NodeInfo| {
            n.az.0.is_empty() || n.peer_address.is_empty() || n.grpc_address.is_empty() || n.announce_host.is_empty()
        };
        if let Some(node) = self.nodes.iter().find(incomplete) {
            return Err(MapError::Address(node.id));
        }
        self.check_slots()?;
        if let Some(shard) = self.shards.iter().find(|shard| !self.are_nodes(&shard.members)) {
            return Err(MapError::Members(shard.id));
        }
        if self.are_nodes(&self.control_voters) { Ok(()) } else { Err(MapError::Voters) }
    }

    fn check_slots(&self) -> Result<(), MapError> {
        let mut next = 0usize;
        for (i, shard) in self.shards.iter().enumerate() {
            let numbered = shard.id.0 as usize == i + 1;
            if !numbered || usize::from(shard.first.0) != next || shard.last < shard.first {
                return Err(MapError::Slots);
            }
            next = usize::from(shard.last.0) + 1;
        }
        if next == SLOTS { Ok(()) } else { Err(MapError::Slots) }
    }

    fn are_nodes(&self, ids: &[NodeId]) -> bool {
        let distinct: BTreeSet<_> = ids.iter().collect();
        !ids.is_empty() && distinct.len() == ids.len() && ids.iter().all(|id| self.node(*id).is_some())
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
pub(crate) mod tests;
