//! What group 0 knows of the cluster: nodes, shards, the desired durability.
//!
//! Invariants (checked by [`ClusterMap::check`] before a map is applied):
//! - nodes are ordered by id, without doubles; each has a disk of its own; no address is empty;
//! - shards are numbered from 1 in the order of their slots, which they cover without a hole or an overlap;
//! - every shard has members, all of them nodes, none twice;
//! - a node that is being replaced, or was, is no node any more, and its id is never one again.

use std::collections::BTreeSet;
use std::time::Duration;

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
    /// The mode that the operator desired states; what acts is an effect in each shard's log.
    pub durability: Durability,
    /// The version of the map that brought this desired state: of two desired states the newer one has the higher.
    pub durability_version: u64,
    /// Copies of each shard besides the primary.
    pub replicas: u32,
    /// By id.
    pub nodes: Vec<NodeInfo>,
    /// By id, which is the order of their slots too.
    pub shards: Vec<ShardMap>,
    /// The voters of group 0; the other nodes follow it as learners.
    pub control_voters: Vec<NodeId>,
    /// The replacement of a node that is under way.
    pub replacement: Option<Replacement>,
    /// Nodes that were replaced, in that order. Kept for good: nobody listens to them any more, and they are told why.
    pub replaced: Vec<Replaced>,
    /// Settings that promise something to clients.
    pub settings: ClusterSettings,
}

/// Settings that promise something to clients: the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterSettings {
    /// The version of the map that brought the newest change; 0: there was none, and each node's config file says what
    /// holds.
    pub version: u64,
    /// What AUTH asks of the user `default`; `None`: what the config file says.
    pub password: Option<Password>,
    /// `durability-max-lag`; `None`: what the config file says.
    pub max_lag: Option<LagBound>,
}

impl ClusterSettings {
    /// Whether every setting was made.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.password.is_some() && self.max_lag.is_some()
    }

    /// The part of a change that makes settings which were not made before.
    #[must_use]
    pub fn missing(&self, change: &SettingsChange) -> SettingsChange {
        SettingsChange {
            password: change.password.clone().filter(|_| self.password.is_none()),
            max_lag: change.max_lag.filter(|_| self.max_lag.is_none()),
        }
    }
}

/// What AUTH asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// Nothing.
    None,
    /// A password with this SHA-256.
    Sha256([u8; 32]),
}

impl std::fmt::Debug for Password {
    /// Without the hash: what is logged must not help anybody who guesses.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Password::None { "none" } else { "set" })
    }
}

/// A bound of the durability lag, and the version of the map that brought it: of two the newer one has the higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagBound {
    /// How old the oldest uncommitted write may be.
    pub bound: Duration,
    /// See above.
    pub version: u64,
}

/// A change of the settings; what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// See [`ClusterSettings::password`].
    pub password: Option<Password>,
    /// See [`ClusterSettings::max_lag`].
    pub max_lag: Option<Duration>,
}

/// A node takes the place of another one in every group. The map names the new one from the start; this lasts until
/// each group's own membership is what the map says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Who is to leave every group: the node that is replaced, and before it replacements of it that died themselves
    /// before they were whole. Members of some groups still, so peers must know them.
    pub leaving: Vec<NodeInfo>,
    /// Who takes the place.
    pub by: NodeId,
}

/// A node that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// Its id, which no node will have again.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// Who has taken its place.
    pub by: NodeId,
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
    /// `host:port` of the peer front end.
    pub peer_address: String,
    /// `host:port` of the admin gRPC front end.
    pub grpc_address: String,
    /// What clients are told to connect to: an address or a host name.
    pub announce_host: String,
    /// Host name besides, for the metadata of CLUSTER SLOTS; empty: none.
    pub announce_hostname: String,
    /// Plaintext port of shard 1's replica, shard n is on `resp_port + n - 1`. 0: there is no plaintext front end.
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
    /// The plaintext port of this node's replica of `shard`; `None` without a plaintext front end.
    #[must_use]
    pub fn resp_port_of(&self, shard: ShardId) -> Option<u16> {
        port_of(self.resp_port, shard)
    }

    /// The TLS port of this node's replica of `shard`; `None` without a TLS front end.
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
    /// A node or its disk was replaced, or is being replaced.
    #[error("node {0}, or its disk, was replaced or is being replaced")]
    Replaced(NodeId),
}

impl ClusterMap {
    /// Whether the mode can be changed to `mode` while the cluster runs: what a durable cluster needs (AZs, replicas,
    /// TLS, encryption) is decided when it is created.
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

    /// Whether nodes and groups are those that the cluster was created with. The first members of a group may be
    /// written only then: whoever does it later would write other ones than those that the group began with.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.replacement.is_none() && self.replaced.is_empty()
    }

    /// Nodes that are to leave every group.
    #[must_use]
    pub fn leaving(&self) -> &[NodeInfo] {
        self.replacement.as_ref().map_or(&[], |replacement| &replacement.leaving)
    }

    /// Whether the node takes another one's place just now, and need not have all data yet.
    #[must_use]
    pub fn is_arriving(&self, node: NodeId) -> bool {
        self.replacement.as_ref().is_some_and(|replacement| replacement.by == node)
    }

    /// Who has taken the place of `node`, if it was replaced.
    #[must_use]
    pub fn replaced_by(&self, node: NodeId) -> Option<NodeId> {
        self.replaced.iter().find(|replaced| replaced.node == node).map(|replaced| replaced.by)
    }

    /// In whose place `node` holds replicas: its own, or, while it is leaving, that of the node which takes it.
    #[must_use]
    pub fn place_of(&self, node: NodeId) -> NodeId {
        match &self.replacement {
            Some(replacement) if replacement.leaving.iter().any(|leaving| leaving.id == node) => replacement.by,
            _ => node,
        }
    }

    /// Every node that this map or an older one has named. A membership that names another one is newer than this map.
    pub fn known(&self) -> impl Iterator<Item = NodeId> {
        let nodes = self.nodes.iter().chain(self.leaving()).map(|node| node.id);
        nodes.chain(self.replaced.iter().map(|replaced| replaced.node))
    }

    /// The map with `new` in the place of `old`, which begins to leave.
    ///
    /// # Errors
    /// The invariant that would not hold; `old` is no node, or another node is being replaced.
    pub fn with_replacement(&self, old: NodeId, new: &NodeInfo) -> Result<ClusterMap, MapError> {
        let old = self.node(old).ok_or(MapError::Nodes)?.clone();
        if self.replacement.is_some() && !self.is_arriving(old.id) {
            return Err(MapError::Replaced(old.id));
        }
        let mut map = self.clone();
        let place = |id: &mut NodeId| {
            if *id == old.id {
                *id = new.id;
            }
        };
        map.shards.iter_mut().flat_map(|shard| &mut shard.members).for_each(place);
        map.control_voters.iter_mut().for_each(place);
        map.nodes.retain(|node| node.id != old.id);
        map.nodes.push(new.clone());
        map.nodes.sort_by_key(|node| node.id);
        let mut leaving = map.replacement.take().map_or_else(Vec::new, |replacement| replacement.leaving);
        leaving.push(old);
        map.replacement = Some(Replacement { leaving, by: new.id });
        map.version += 1;
        map.check()?;
        Ok(map)
    }

    /// The map with changed settings; `None` if they say so already.
    #[must_use]
    pub fn with_settings(&self, change: &SettingsChange) -> Option<ClusterMap> {
        let version = self.version + 1;
        let mut settings = self.settings.clone();
        if let Some(password) = &change.password {
            settings.password = Some(password.clone());
        }
        if let Some(bound) = change.max_lag.filter(|bound| settings.max_lag.is_none_or(|now| now.bound != *bound)) {
            settings.max_lag = Some(LagBound { bound, version });
        }
        if settings == self.settings {
            return None;
        }
        settings.version = version;
        Some(ClusterMap { version, settings, ..self.clone() })
    }

    /// The map after the replacement by `by`; `None` if that is not the one that is under way.
    #[must_use]
    pub fn with_replacement_finished(&self, by: NodeId) -> Option<ClusterMap> {
        let replacement = self.replacement.as_ref().filter(|replacement| replacement.by == by)?;
        let gone = replacement.leaving.iter().map(|node| Replaced { node: node.id, disk: node.disk, by });
        let replaced = self.replaced.iter().copied().chain(gone).collect();
        Some(ClusterMap { version: self.version + 1, replacement: None, replaced, ..self.clone() })
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
        if !self.are_nodes(&self.control_voters) {
            return Err(MapError::Voters);
        }
        self.check_replaced()
    }

    fn check_replaced(&self) -> Result<(), MapError> {
        let leaving = self.leaving().iter().map(|node| (node.id, node.disk));
        let gone: Vec<_> = leaving.chain(self.replaced.iter().map(|replaced| (replaced.node, replaced.disk))).collect();
        let back = self.nodes.iter().find(|node| gone.iter().any(|(id, disk)| *id == node.id || *disk == node.disk));
        back.map_or(Ok(()), |node| Err(MapError::Replaced(node.id)))
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
