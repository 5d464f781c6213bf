//! Replaces a node: a new one, with its own id and disk, takes its place in every group.
//!
//! The map names the target at once ([`ClusterMap::with_replacement`]). Each group's leader then changes its group step
//! by step until it matches ([`goal_of`] is the target), also across changes of the leader. When all groups match, the
//! map records that too ([`crate::command::Command::FinishReplacement`]). This module has the conditions that must hold
//! before the start: [`check`] is pure, the reports of other nodes are passed in.
//!
//! Does not know how other nodes are called, and how a group changes its members
//! (`consensus/src/group/membership.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fastness_consensus::Goal;
use fastness_consensus::placement::{PlacementError, check_by};
use fastness_types::{Az, GroupId, NodeId};

use crate::create::member;
use crate::map::{ClusterMap, NodeInfo};

/// State of a group, as its leader reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// The leader, which has a lease.
    pub leader: NodeId,
    /// The voters of each half of a joint configuration; one half otherwise.
    pub halves: Vec<BTreeSet<NodeId>>,
    /// Members, voters or not, that have answered the leader recently.
    pub answering: BTreeSet<NodeId>,
}

/// The new node, as it reports about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// The node's entry for the map.
    pub info: NodeInfo,
    /// Whether nothing has ever been stored on the node's disk.
    pub pristine: bool,
}

/// A group's name in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupName(pub GroupId);

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == GroupId::CONTROL { f.write_str("the control plane") } else { write!(f, "shard {}", self.0) }
    }
}

/// Why a node is not replaced. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// The old node is not a node of the cluster.
    #[error("there is no node {node} in this cluster; its nodes are {nodes}")]
    UnknownOld {
        /// The requested node.
        node: NodeId,
        /// The existing nodes.
        nodes: String,
    },
    /// The old node was already replaced by another node.
    #[error("node {old} was replaced already, by node {by}")]
    WasReplaced {
        /// The old node.
        old: NodeId,
        /// The node that replaced it.
        by: NodeId,
    },
    /// Another replacement is in progress.
    #[error(
        "node {by} is replacing node {old}: wait until that is complete. If node {by} is lost as well, replace it with \
         --node {by}"
    )]
    UnderWay {
        /// The node that is replaced.
        old: NodeId,
        /// The node that replaces it.
        by: NodeId,
    },
    /// The id or the disk of the new node is already known.
    #[error(
        "node {node} cannot replace another node: {why}. Start a new node, with an id that no node has had and an empty disk"
    )]
    NotNew {
        /// The new node.
        node: NodeId,
        /// How it is known.
        why: String,
    },
    /// An address or port of the new node is not usable.
    #[error("node {node} cannot replace another node: {why}")]
    Unfit {
        /// The new node.
        node: NodeId,
        /// What is not usable.
        why: String,
    },
    /// The old node is running.
    #[error(
        "node {old} is running ({how}): stop it first. Replace a node only if its machine or disk is lost: its replicas \
         serve the cluster as long as it runs"
    )]
    OldAlive {
        /// The old node.
        old: NodeId,
        /// Why the node is considered running.
        how: String,
    },
    /// A group has no leader that could change its members.
    #[error(
        "{0} has no primary that answers, so a majority of its members is down and its membership cannot change: start the nodes \
         that can be started first"
    )]
    NoLeader(GroupName),
    /// The membership of a group differs from the map's.
    #[error("the membership of {0} does not match the cluster's map yet: repeat the request in a moment")]
    Unsettled(GroupName),
    /// The replacement would break the AZ rule.
    #[error("{group} would break the AZ rule: {error}. {advice}")]
    Placement {
        /// The first group that breaks it.
        group: GroupName,
        /// How it breaks the rule.
        error: PlacementError,
        /// AZs in which the new node would be accepted.
        advice: String,
    },
}

/// Checks everything that can be checked before the new node or any other is called.
///
/// # Errors
/// See [`ReplaceError`].
pub fn check_names(map: &ClusterMap, old: NodeId, new: NodeId) -> Result<(), ReplaceError> {
    if let Some(by) = map.replaced_by(old) {
        return Err(ReplaceError::WasReplaced { old, by });
    }
    if let Some(replacement) = &map.replacement
        && replacement.by != old
    {
        let leaving = replacement.leaving.last().map_or(old, |node| node.id);
        return Err(ReplaceError::UnderWay { old: leaving, by: replacement.by });
    }
    if map.node(old).is_none() {
        return Err(ReplaceError::UnknownOld { node: old, nodes: listed(map.nodes.iter().map(|node| node.id)) });
    }
    if map.known().any(|known| known == new) || new == NodeId(0) {
        let why = match map.node(new) {
            Some(_) => "it belongs to the cluster already",
            None if new == NodeId(0) => "node ids start at 1",
            None => "a node with that id was replaced",
        };
        return Err(ReplaceError::NotNew { node: new, why: why.to_owned() });
    }
    Ok(())
}

/// Checks a whole replacement; returns warnings for the operator. `groups` has the report of each group's leader, for
/// groups that have one.
///
/// # Errors
/// See [`ReplaceError`].
pub fn check(
    map: &ClusterMap,
    old: NodeId,
    new: &Newcomer,
    groups: &BTreeMap<GroupId, GroupView>,
) -> Result<Vec<String>, ReplaceError> {
    let node = new.info.id;
    check_names(map, old, node)?;
    if !new.pristine {
        let why = "its disk is not empty: the node has voted or stored something before".to_owned();
        return Err(ReplaceError::NotNew { node, why });
    }
    let wanted = map.with_replacement(old, &new.info).map_err(|error| {
        let why = format!("the cluster's map would be invalid: {error}");
        ReplaceError::Unfit { node, why }
    })?;
    check_addresses(&wanted, &new.info)?;
    let warnings = check_azs(map, &wanted, old, &new.info)?;
    for group in groups_of(map) {
        let view = groups.get(&group).ok_or(ReplaceError::NoLeader(GroupName(group)))?;
        check_group(map, old, group, view)?;
    }
    Ok(warnings)
}

fn check_addresses(wanted: &ClusterMap, new: &NodeInfo) -> Result<(), ReplaceError> {
    let unfit = |why: String| Err(ReplaceError::Unfit { node: new.id, why });
    let others = || wanted.nodes.iter().filter(|node| node.id != new.id);
    for address in [&new.peer_address, &new.grpc_address] {
        if let Some(other) = others().find(|node| [&node.peer_address, &node.grpc_address].contains(&address)) {
            return unfit(format!("it announces {address}, which is node {}'s", other.id));
        }
    }
    if wanted.durability.is_durable() && new.resp_tls_port == 0 {
        return unfit("a durable cluster needs TLS for clients (`tls-port`)".to_owned());
    }
    let shards = wanted.shards.len() as u32;
    for base in [new.resp_port, new.resp_tls_port].into_iter().filter(|base| *base != 0) {
        if u32::from(base) + shards - 1 > u32::from(u16::MAX) {
            return unfit(format!("{shards} shards from port {base} on need ports above 65535"));
        }
    }
    Ok(())
}

fn check_group(map: &ClusterMap, old: NodeId, group: GroupId, view: &GroupView) -> Result<(), ReplaceError> {
    let alive = |how: String| Err(ReplaceError::OldAlive { old, how });
    if view.leader == old {
        return alive(format!("it leads {}", GroupName(group)));
    }
    if view.answering.contains(&old) {
        return alive(format!("node {}, which leads {}, hears it", view.leader, GroupName(group)));
    }
    let settled = view.halves == [voters_of(map, group).collect()];
    // The failed new node of a replacement in progress may itself be replaced.
    if !settled && map.replacement.is_none() {
        return Err(ReplaceError::Unsettled(GroupName(group)));
    }
    Ok(())
}

/// Checks the AZ rule for every group in which the old node votes, before and after the replacement.
fn check_azs(map: &ClusterMap, wanted: &ClusterMap, old: NodeId, new: &NodeInfo) -> Result<Vec<String>, ReplaceError> {
    let mut warnings = BTreeSet::new();
    for group in groups_of(map).filter(|group| voters_of(map, *group).any(|voter| voter == old)) {
        for map in [map, wanted] {
            match check_by(map.az_rule(), azs_of(map, group)) {
                Ok(warning) => warnings.extend(warning.map(|warning| warning.to_string())),
                Err(error) => {
                    let advice = advice(wanted, new);
                    return Err(ReplaceError::Placement { group: GroupName(group), error, advice });
                }
            }
        }
    }
    Ok(warnings.into_iter().collect())
}

/// The AZs known to the cluster in which the new node would be accepted.
fn advice(wanted: &ClusterMap, new: &NodeInfo) -> String {
    let known: BTreeSet<&Az> = wanted.nodes.iter().chain(wanted.leaving()).map(|node| &node.az).collect();
    let fits = |az: &Az| {
        let moved = |(node, at): (NodeId, _)| (node, if node == new.id { az.clone() } else { at });
        groups_of(wanted).all(|group| {
            let sites: Vec<_> = azs_of(wanted, group).map(|(node, az)| moved((node, az.clone()))).collect();
            check_by(wanted.az_rule(), sites.iter().map(|(node, az)| (*node, az))).is_ok()
        })
    };
    let fitting: Vec<_> = known.into_iter().filter(|az| fits(az)).map(ToString::to_string).collect();
    if fitting.is_empty() {
        return "Use a new node in an AZ that has no node yet".to_owned();
    }
    format!("Use a new node in AZ {}", fitting.join(" or "))
}

/// All groups of the cluster.
pub fn groups_of(map: &ClusterMap) -> impl Iterator<Item = GroupId> {
    [GroupId::CONTROL].into_iter().chain(map.shards.iter().map(|shard| GroupId::from(shard.id)))
}

/// The voters that the map gives a group.
pub fn voters_of(map: &ClusterMap, group: GroupId) -> impl Iterator<Item = NodeId> {
    let shard = map.shards.iter().find(|shard| GroupId::from(shard.id) == group);
    let voters = shard.map_or(&map.control_voters, |shard| &shard.members);
    voters.iter().copied()
}

fn azs_of(map: &ClusterMap, group: GroupId) -> impl Iterator<Item = (NodeId, &Az)> {
    voters_of(map, group).filter_map(|id| Some((id, &map.node(id)?.az)))
}

/// The target membership of a group according to this map.
///
/// Every node follows group 0. A leaving node continues to follow it until the replacement is complete: if it returns
/// and leads a shard that it has not left yet, it must know that it is to leave.
#[must_use]
pub fn goal_of(map: &ClusterMap, group: GroupId) -> Goal {
    let voters: Vec<_> = voters_of(map, group).filter_map(|id| map.node(id)).map(member).collect();
    let mut goal =
        Goal { learners: Vec::new(), keep: BTreeSet::new(), known: map.known().collect(), rule: map.az_rule(), voters };
    if group == GroupId::CONTROL {
        let follows = |node: &&NodeInfo| !map.control_voters.contains(&node.id);
        goal.learners = map.nodes.iter().filter(follows).map(member).collect();
        goal.keep = map.leaving().iter().map(|node| node.id).collect();
    }
    goal
}

fn listed(nodes: impl Iterator<Item = NodeId>) -> String {
    nodes.map(|node| node.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "replace_tests.rs"]
mod tests;
