//! The cluster map, the state of group 0: nodes, shards, settings and the desired durability mode.
//!
//! Invariants (checked by [`ClusterMap::check`] before a map is applied):
//! - Nodes are ordered by id, without duplicates. Each has its own disk; no address is empty.
//! - Shards are numbered from 1 in the order of their slots, which they cover without a gap or an overlap.
//! - Every shard has members; all of them are nodes, none occurs twice.
//! - A node that is being replaced or was replaced is no longer a node, and its id is never used again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::placement::AzRule;
use fastness_types::{Az, ClusterId, DiskId, Durability, HashSeed, NodeId, SLOTS, ShardId, Slot};

/// The topology of one cluster. Immutable: a change makes a new one with a higher [`ClusterMap::version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMap {
    /// Id of the cluster. It exists before the cluster, because the certificates name it.
    pub cluster_id: ClusterId,
    /// Secret seed of the keyspace's hash.
    pub hash_seed: HashSeed,
    /// Number of changes so far, from 1.
    pub version: u64,
    /// The operator's desired mode. The mode in force is an effect in each shard's log.
    pub durability: Durability,
    /// The version of the map that set the desired mode: the newer of two desired modes has the higher version.
    pub durability_version: u64,
    /// Copies of each shard besides the primary.
    pub replicas: u32,
    /// All nodes, ordered by id.
    pub nodes: Vec<NodeInfo>,
    /// All shards, ordered by id, which is the order of their slots too.
    pub shards: Vec<ShardMap>,
    /// The voters of group 0; the other nodes follow it as learners.
    pub control_voters: Vec<NodeId>,
    /// The replacement in progress, if any.
    pub replacement: Option<Replacement>,
    /// Nodes that were replaced, in that order. Kept permanently: peers ignore these nodes and tell them why.
    pub replaced: Vec<Replaced>,
    /// Settings that affect promises to clients.
    pub settings: ClusterSettings,
}

/// Settings that affect promises to clients, and must therefore be the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterSettings {
    /// The version of the map with the newest change. 0: no setting was changed, and each node uses its config file.
    pub version: u64,
    /// The password that AUTH requires for the user `default`; `None`: the config file applies.
    pub password: Option<Password>,
    /// `durability-max-lag`; `None`: the config file applies.
    pub max_lag: Option<LagBound>,
    /// See [`Users`].
    pub users: Arc<Users>,
}

/// The users of the cluster. Group 0 stores their rules and does not interpret them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Users {
    /// The version of the map with the newest change of users. 0: there was none.
    pub version: u64,
    /// By name, what ACL LIST prints after the name. While `default` is missing, it may do everything with the password
    /// of the settings.
    pub rules: BTreeMap<String, String>,
}

/// By name, the new rules of users; `None`: the user is deleted.
pub type UserRules = BTreeMap<String, Option<String>>;

/// A change of users that was computed from the users of one version.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UsersChange {
    /// The version of the users that it was computed from; without effect on others.
    pub base: u64,
    /// The users that change.
    pub rules: UserRules,
}

impl fmt::Debug for Users {
    /// Omits the rules: they contain hashes of passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} of {:?}", self.version, self.rules.keys())
    }
}

impl fmt::Debug for UsersChange {
    /// Omits the rules: they contain hashes of passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "change of {:?} from version {}", self.rules.keys(), self.base)
    }
}

impl ClusterSettings {
    /// Whether every setting has a value.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.password.is_some() && self.max_lag.is_some()
    }

    /// The part of a change that concerns settings without a value.
    #[must_use]
    pub fn missing(&self, change: &SettingsChange) -> SettingsChange {
        SettingsChange {
            password: change.password.clone().filter(|_| self.password.is_none()),
            max_lag: change.max_lag.filter(|_| self.max_lag.is_none()),
        }
    }
}

/// The password that AUTH requires.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// No password is required.
    None,
    /// A password with this SHA-256.
    Sha256([u8; 32]),
}

impl fmt::Debug for Password {
    /// Omits the hash, so that a log does not help to guess the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Password::None { "none" } else { "set" })
    }
}

/// A bound of the durability lag, and the version of the map that set it: the newer of two bounds has the higher
/// version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagBound {
    /// How old the oldest uncommitted write may be.
    pub bound: Duration,
    /// The version of the map that set the bound.
    pub version: u64,
}

/// A change of the settings; a setting that is `None` is not changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// See [`ClusterSettings::password`].
    pub password: Option<Password>,
    /// See [`ClusterSettings::max_lag`].
    pub max_lag: Option<Duration>,
}

/// A replacement in progress: a node takes the place of another one in every group. The map names the new node from the
/// start. The replacement is complete when each group's own membership equals the map's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The nodes that leave every group: the replaced node, preceded by replacing nodes that failed before their
    /// replacement was complete. Some groups may still have them as members, so peers must know them.
    pub leaving: Vec<NodeInfo>,
    /// The replacing node.
    pub by: NodeId,
}

/// A node that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// Its id, which no other node gets.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// The node that replaced it.
    pub by: NodeId,
}

/// One node: one process, labelled with one AZ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id, for life.
    pub id: NodeId,
    /// The disk with which the node is a member; on any other disk it is not.
    pub disk: DiskId,
    /// Its AZ.
    pub az: Az,
    /// `host:port` of the peer listener.
    pub peer_address: String,
    /// `host:port` of the admin gRPC listener.
    pub grpc_address: String,
    /// Address or host name that is announced to clients.
    pub announce_host: String,
    /// Additional host name for the metadata of CLUSTER SLOTS; empty: none.
    pub announce_hostname: String,
    /// Plaintext port of shard 1's replica; shard n is on `resp_port + n - 1`. 0: no plaintext listener.
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
    /// Last slot, inclusive.
    pub last: Slot,
    /// The nodes with a replica, the preferred primary first.
    pub members: Vec<NodeId>,
    /// Number of changes of the slots' owner, as Valkey's configuration epoch; differs between shards.
    pub config_epoch: u64,
}

impl ShardMap {
    /// Whether the shard owns `slot`.
    #[must_use]
    pub fn owns(&self, slot: Slot) -> bool {
        self.first <= slot && slot <= self.last
    }

    /// The preferred primary.
    #[must_use]
    pub fn preferred_primary(&self) -> Option<NodeId> {
        self.members.first().copied()
    }

    /// Whether `node` has a replica.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }
}

impl NodeInfo {
    /// The plaintext port of this node's replica of `shard`; `None` without a plaintext listener.
    #[must_use]
    pub fn resp_port_of(&self, shard: ShardId) -> Option<u16> {
        port_of(self.resp_port, shard)
    }

    /// The TLS port of this node's replica of `shard`; `None` without a TLS listener.
    #[must_use]
    pub fn resp_tls_port_of(&self, shard: ShardId) -> Option<u16> {
        port_of(self.resp_tls_port, shard)
    }
}

fn port_of(base: u16, shard: ShardId) -> Option<u16> {
    let offset = u16::try_from(shard.0.checked_sub(1)?).ok()?;
    (base != 0).then(|| base.checked_add(offset)).flatten()
}

/// The invariant that a map breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Nodes are not ordered by id, or an id occurs twice.
    #[error("nodes are not ordered by id, or an id occurs twice")]
    Nodes,
    /// A node has no disk, or the same disk as another node.
    #[error("node {0} has no disk, or the disk of another node")]
    Disk(NodeId),
    /// A node has an empty address or AZ.
    #[error("node {0} has an empty address or AZ")]
    Address(NodeId),
    /// Slots are not covered exactly once, or shards are not numbered from 1.
    #[error("shards do not cover the {SLOTS} slots exactly once, numbered from 1")]
    Slots,
    /// A shard has no members, an unknown one, or one twice.
    #[error("shard {0} has no members, an unknown one or one twice")]
    Members(ShardId),
    /// The control plane has no voters, an unknown one, or one twice.
    #[error("the control plane has no voters, an unknown one or one twice")]
    Voters,
    /// A node or its disk was replaced, or is being replaced.
    #[error("node {0}, or its disk, was replaced or is being replaced")]
    Replaced(NodeId),
}

impl ClusterMap {
    /// Whether the mode can be changed to `mode` while the cluster runs. Whether a cluster is durable is decided when
    /// it is created, because a durable one has requirements (AZs, replicas, TLS, encryption).
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

    /// The shards of which `node` has a replica, in order.
    pub fn shards_on(&self, node: NodeId) -> impl Iterator<Item = &ShardMap> {
        self.shards.iter().filter(move |shard| shard.has(node))
    }

    /// The members of a shard with their addresses, the preferred primary first.
    pub fn members_of(&self, shard: ShardId) -> impl Iterator<Item = &NodeInfo> {
        let members = self.shard(shard).map_or(&[][..], |shard| &shard.members[..]);
        members.iter().filter_map(|id| self.node(*id))
    }

    /// Whether the voters of the cluster's groups must obey the AZ rule; not required without a durability promise.
    #[must_use]
    pub fn az_rule(&self) -> AzRule {
        if self.durability.is_durable() { AzRule::Required } else { AzRule::Waived }
    }

    /// Whether nodes and groups are those that the cluster was created with. Only then may the first members of a group
    /// be written: later they would differ from those that the group was formed with.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.replacement.is_none() && self.replaced.is_empty()
    }

    /// Nodes that leave every group.
    #[must_use]
    pub fn leaving(&self) -> &[NodeInfo] {
        self.replacement.as_ref().map_or(&[], |replacement| &replacement.leaving)
    }

    /// Whether the node is replacing another one, and therefore may not have all data yet.
    #[must_use]
    pub fn is_arriving(&self, node: NodeId) -> bool {
        self.replacement.as_ref().is_some_and(|replacement| replacement.by == node)
    }

    /// The node that replaced `node`, if it was replaced.
    #[must_use]
    pub fn replaced_by(&self, node: NodeId) -> Option<NodeId> {
        self.replaced.iter().find(|replaced| replaced.node == node).map(|replaced| replaced.by)
    }

    /// The node whose place in the map `node` has: itself, or the node that replaces it.
    #[must_use]
    pub fn place_of(&self, node: NodeId) -> NodeId {
        match &self.replacement {
            Some(replacement) if replacement.leaving.iter().any(|leaving| leaving.id == node) => replacement.by,
            _ => node,
        }
    }

    /// Every node that this map or an older one has named. A membership with another node is newer than this map.
    pub fn known(&self) -> impl Iterator<Item = NodeId> {
        let nodes = self.nodes.iter().chain(self.leaving()).map(|node| node.id);
        nodes.chain(self.replaced.iter().map(|replaced| replaced.node))
    }

    /// The map with `new` in the place of `old`, which starts to leave.
    ///
    /// # Errors
    /// The invariant that would be broken, `old` is not a node, or another replacement is in progress.
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

    /// The map with changed settings; `None` if it has them already.
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

    /// The map with changed users; `None`: the change was computed from others than these.
    #[must_use]
    pub fn with_users(&self, change: &UsersChange) -> Option<ClusterMap> {
        let now = &self.settings.users;
        if now.version != change.base {
            return None;
        }
        let version = self.version + 1;
        let mut rules = now.rules.clone();
        for (name, new) in &change.rules {
            match new {
                Some(new) => rules.insert(name.clone(), new.clone()),
                None => rules.remove(name),
            };
        }
        let users = Arc::new(Users { version, rules });
        Some(ClusterMap {
            version,
            settings: ClusterSettings { version, users, ..self.settings.clone() },
            ..self.clone()
        })
    }

    /// The map after the replacement by `by`; `None` if that replacement is not in progress.
    #[must_use]
    pub fn with_replacement_finished(&self, by: NodeId) -> Option<ClusterMap> {
        let replacement = self.replacement.as_ref().filter(|replacement| replacement.by == by)?;
        let gone = replacement.leaving.iter().map(|node| Replaced { node: node.id, disk: node.disk, by });
        let replaced = self.replaced.iter().copied().chain(gone).collect();
        Some(ClusterMap { version: self.version + 1, replacement: None, replaced, ..self.clone() })
    }

    /// Checks all invariants.
    ///
    /// # Errors
    /// The first invariant that is broken.
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
