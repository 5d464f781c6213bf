//! Reconciles each group's members with the cluster's map, and reports to the map when all groups have them.
//!
//! One task per group on each node; whoever leads takes the steps (`consensus/src/group/membership.rs`), so nothing is
//! lost with a leader, and a restart has nothing to remember. Group 0's leader ends a replacement: once every group has
//! reported, under its leader's lease, that it has committed the members that the map gives it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_consensus::{GroupControl, GroupStatus, ReconcileError, Reconciled, RoleName};
use fastness_control::command::Command;
use fastness_control::replace::{GroupName, goal_of, groups_of, voters_of};
use fastness_control::{ClusterMap, Control};
use fastness_types::{GroupId, NodeId};
use fastness_wire::admin::v1::{GroupMember, ReplicaStatus};
use tonic::transport::ClientTlsConfig;

use crate::certificates::Newest;
use crate::leaders::Members;
use crate::shared::{NodeShared, Phase};

/// How often a group is compared with the map.
const EVERY: Duration = Duration::from_millis(250);
/// An unchanged state is logged again after this time.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Reconciles one group with the map until the node or the group stops.
pub async fn follow(node: Arc<NodeShared>, group: GroupControl) {
    let mut logged: Option<(String, Instant)> = None;
    while node.phase() == Phase::Running {
        tokio::time::sleep(EVERY).await;
        let Some(map) = node.map.load_full() else { continue };
        if group.status().role == RoleName::Stopped {
            return;
        }
        let step = group.reconcile(&goal_of(&map, group.group())).await;
        let news = match &step {
            Err(error @ ReconcileError::Step(_)) => {
                // An election, or another step in progress: normal, and retried.
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
            Some(news) if logged.as_ref().is_none_or(|(old, at)| *old != news || at.elapsed() > LOG_AGAIN_AFTER) => {
                tracing::info!("{} {news}", GroupName(group.group()));
                logged = Some((news, Instant::now()));
            }
            Some(_) => {}
            None => logged = None,
        }
    }
}

/// While this node leads group 0: ends the replacement in progress once it is complete.
pub async fn finish(node: Arc<NodeShared>, control: Control, group_0: GroupControl, tls: Newest<ClientTlsConfig>) {
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
        left.retain(|group| *group != GroupId::CONTROL || !has_converged(&map, *group, &report_of(0, &status)));
        for (_, described) in members.poll_all(map.nodes.iter()).await {
            left.retain(|group| !described.replicas.iter().any(|replica| has_converged(&map, *group, replica)));
        }
        if left.is_empty() {
            let by = replacement.by;
            if let Err(error) = control.propose(Command::FinishReplacement { by }).await {
                tracing::debug!(%by, %error, "the end of a replacement will be proposed again");
            }
        }
    }
}

/// Whether a replica that leads reports that its group has committed exactly the voters that the map gives it.
fn has_converged(map: &ClusterMap, group: GroupId, replica: &ReplicaStatus) -> bool {
    let leads = replica.shard == group.0 && replica.role == RoleName::Leader.name() && replica.lease_held;
    let mut votes: Vec<NodeId> = replica.members.iter().filter(|m| m.votes).map(|m| NodeId(m.node)).collect();
    let mut wanted: Vec<NodeId> = voters_of(map, group).collect();
    votes.sort();
    wanted.sort();
    leads && !replica.joint && replica.committed >= replica.members_since && votes == wanted
}

fn report_of(shard: u32, status: &GroupStatus) -> ReplicaStatus {
    ReplicaStatus {
        shard,
        role: status.role.name().to_owned(),
        term: status.term,
        committed: status.committed.0,
        lease_held: status.lease_held,
        members: report(status),
        joint: status.halves.len() > 1,
        members_since: status.members_since.0,
        ..ReplicaStatus::default()
    }
}

/// A group's members, as reported to other nodes.
pub(crate) fn report(status: &GroupStatus) -> Vec<GroupMember> {
    let (before, after) = (status.halves.first(), status.halves.last());
    let report = |member: &fastness_consensus::MemberStatus| {
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
    status.members.iter().map(report).collect()
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
    fn a_group_has_converged_when_its_leader_has_committed_the_maps_members() {
        let map = crate::topology::tests::map();
        let shard_1 = GroupId(1);
        assert!(has_converged(&map, shard_1, &leader(&[3, 1, 2], false, 7)));
        assert!(!has_converged(&map, shard_1, &leader(&[3, 1, 2], false, 6)), "not committed");
        assert!(!has_converged(&map, shard_1, &leader(&[3, 1, 2], true, 7)), "joint");
        assert!(!has_converged(&map, shard_1, &leader(&[3, 1, 4], false, 7)), "others");
        assert!(!has_converged(&map, GroupId(2), &leader(&[3, 1, 2], false, 7)), "another group");
        let without_lease = ReplicaStatus { lease_held: false, ..leader(&[3, 1, 2], false, 7) };
        assert!(!has_converged(&map, shard_1, &without_lease));
        let follower = ReplicaStatus { role: "follower".into(), ..leader(&[3, 1, 2], false, 7) };
        assert!(!has_converged(&map, shard_1, &follower));
    }
}
