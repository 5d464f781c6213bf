//! Brings each group's members to what the cluster's map says, and tells the map when all are there.
//!
//! One task per group on each node; whoever leads takes the steps (`consensus/src/group/membership.rs`), so nothing is
//! lost with a leader, and a restart has nothing to remember. Group 0's leader ends a replacement: once every group has
//! told, under its leader's lease, that it has committed the members that the map gives it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_consensus::{GroupControl, GroupStatus, ReconcileError, Reconciled, RoleName};
use fastness_control::command::Command;
use fastness_control::replace::{GroupName, goal_of, groups_of, voters_of};
use fastness_control::{ClusterMap, Control};
use fastness_types::{GroupId, NodeId};
use fastness_wire::admin::v1::{GroupMember, ReplicaStatus};
use tonic::transport::ClientTlsConfig;

use crate::leaders::Members;
use crate::shared::{NodeShared, Phase};

/// How often a group is compared with the map.
const EVERY: Duration = Duration::from_millis(250);
/// What does not change is told again after this.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Looks after one group until the node stops or the group does.
pub async fn follow(node: Arc<NodeShared>, group: GroupControl) {
    let mut told: Option<(String, Instant)> = None;
    while node.phase() == Phase::Running {
        tokio::time::sleep(EVERY).await;
        let Some(map) = node.map.load_full() else { continue };
        if group.status().role == RoleName::Stopped {
            return;
        }
        let step = group.reconcile(&goal_of(&map, group.group())).await;
        let news = match &step {
            Err(error @ ReconcileError::Step(_)) => {
                // An election, or another step under way: ordinary, and tried again.
                tracing::debug!(group = %group.group(), %error, "a change of members will be retried");
                None
            }
            Err(error) => Some(format!("cannot change its members to those in the cluster's map: {error}")),
            Ok(Reconciled::CatchingUp { node, .. }) => {
                Some(format!("waits until node {node} has loaded snapshot and log and can serve"))
            }
            Ok(Reconciled::NoMajority) => Some("waits for an answer from a majority of the new members".to_owned()),
            Ok(Reconciled::HandedOver(to)) => Some(format!("is led by node {to} now, because this node leaves it")),
            Ok(_) => None,
        };
        match news {
            Some(news) if told.as_ref().is_none_or(|(old, at)| *old != news || at.elapsed() > TELL_EVERY) => {
                tracing::info!("{} {news}", GroupName(group.group()));
                told = Some((news, Instant::now()));
            }
            Some(_) => {}
            None => told = None,
        }
    }
}

/// While this node leads group 0: ends the replacement that is under way, once it is complete.
pub async fn finish(node: Arc<NodeShared>, control: Control, group_0: GroupControl, tls: ClientTlsConfig) {
    let mut members = Members::new(&node, tls);
    while node.phase() == Phase::Running {
        tokio::time::sleep(EVERY).await;
        let Some(map) = control.map() else { continue };
        let Some(replacement) = &map.replacement else { continue };
        let status = group_0.status();
        if !(status.role == RoleName::Leader && status.lease_held) {
            continue;
        }
        let mut left: Vec<GroupId> = groups_of(&map).collect();
        left.retain(|group| *group != GroupId::CONTROL || !is_there(&map, *group, &told_of(0, &status)));
        for (_, described) in members.ask_all(map.nodes.iter()).await {
            left.retain(|group| !described.replicas.iter().any(|replica| is_there(&map, *group, replica)));
        }
        if left.is_empty() {
            let by = replacement.by;
            if let Err(error) = control.propose(Command::FinishReplacement { by }).await {
                tracing::debug!(%by, %error, "the end of a replacement will be proposed again");
            }
        }
    }
}

/// Whether a replica that leads tells that its group has committed exactly the voters that the map gives it.
fn is_there(map: &ClusterMap, group: GroupId, replica: &ReplicaStatus) -> bool {
    let leads = replica.shard == group.0 && replica.role == RoleName::Leader.name() && replica.lease_held;
    let mut votes: Vec<NodeId> = replica.members.iter().filter(|m| m.votes).map(|m| NodeId(m.node)).collect();
    let mut wanted: Vec<NodeId> = voters_of(map, group).collect();
    votes.sort();
    wanted.sort();
    leads && !replica.joint && replica.committed >= replica.members_since && votes == wanted
}

fn told_of(shard: u32, status: &GroupStatus) -> ReplicaStatus {
    ReplicaStatus {
        shard,
        role: status.role.name().to_owned(),
        term: status.term,
        committed: status.committed.0,
        lease_held: status.lease_held,
        members: told(status),
        joint: status.halves.len() > 1,
        members_since: status.members_since.0,
        ..ReplicaStatus::default()
    }
}

/// A group's members as others are told.
pub(crate) fn told(status: &GroupStatus) -> Vec<GroupMember> {
    let (before, after) = (status.halves.first(), status.halves.last());
    let tell = |member: &fastness_consensus::MemberStatus| {
        let node = member.member.node;
        let votes = |half: Option<&Vec<NodeId>>| half.is_some_and(|half| half.contains(&node));
        GroupMember {
            node: node.0,
            voted: votes(before),
            votes: votes(after),
            matched: status.matched.get(&node).map_or(0, |matched| matched.0),
            answers: status.answering.contains(&node),
            held_index: status.holding.get(&node).map(|holding| holding.index.0),
            held_keys: status.holding.get(&node).map_or(0, |holding| holding.keys),
            held_bytes: status.holding.get(&node).map_or(0, |holding| holding.bytes),
            snapshot_index: status.holding.get(&node).map_or(0, |holding| holding.snapshot.0),
            serves: status.fit.contains(&node),
        }
    };
    status.members.iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn leader(votes: &[u64], joint: bool, committed: u64) -> ReplicaStatus {
        let member = |node: &u64| GroupMember { node: *node, votes: true, ..GroupMember::default() };
        ReplicaStatus {
            shard: 1,
            role: "leader".into(),
            lease_held: true,
            members: votes.iter().map(member).collect(),
            joint,
            committed,
            members_since: 7,
            ..ReplicaStatus::default()
        }
    }

    #[test]
    fn a_group_is_there_when_its_leader_has_committed_the_maps_members() {
        let map = crate::topology::tests::map();
        let shard_1 = GroupId(1);
        assert!(is_there(&map, shard_1, &leader(&[3, 1, 2], false, 7)));
        assert!(!is_there(&map, shard_1, &leader(&[3, 1, 2], false, 6)), "not committed");
        assert!(!is_there(&map, shard_1, &leader(&[3, 1, 2], true, 7)), "joint");
        assert!(!is_there(&map, shard_1, &leader(&[3, 1, 4], false, 7)), "others");
        assert!(!is_there(&map, GroupId(2), &leader(&[3, 1, 2], false, 7)), "another group");
        let without_lease = ReplicaStatus { lease_held: false, ..leader(&[3, 1, 2], false, 7) };
        assert!(!is_there(&map, shard_1, &without_lease));
        let follower = ReplicaStatus { role: "follower".into(), ..leader(&[3, 1, 2], false, 7) };
        assert!(!is_there(&map, shard_1, &follower));
    }
}
