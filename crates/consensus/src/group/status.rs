//! The status of a group, and the errors of operations on it.

use std::collections::{BTreeMap, BTreeSet};

use fastness_types::{GroupId, LogIndex, NodeId};

use crate::group::handle::Holding;
use crate::group::placement::{Member, PlacementError};

/// The role of this node in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleName {
    /// Leads, with or without a lease.
    Leader,
    /// Follows a leader, or looks for one.
    Follower,
    /// A member without a vote, or no member yet.
    Learner,
    /// Shut down or failed.
    Stopped,
}

impl RoleName {
    /// The name in lower case, for humans and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RoleName::Leader => "leader",
            RoleName::Follower => "follower",
            RoleName::Learner => "learner",
            RoleName::Stopped => "stopped",
        }
    }
}

/// A member of the group's newest configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Node, AZ, address.
    pub member: Member,
    /// Whether it votes.
    pub voter: bool,
}

/// A group as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// The role of this node.
    pub role: RoleName,
    /// Raft term.
    pub term: u64,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// Committed index known here.
    pub committed: LogIndex,
    /// The owner's applied position.
    pub applied: LogIndex,
    /// Last index in this node's log.
    pub last_log: LogIndex,
    /// On the leader: per member, the index up to which it is known to store the log on stable storage.
    pub matched: BTreeMap<NodeId, LogIndex>,
    /// The members.
    pub members: Vec<MemberStatus>,
    /// The voters of each half: one half outside of a joint configuration, none before the group is formed.
    pub halves: Vec<Vec<NodeId>>,
    /// The index of this membership in the log. It is committed if that is not above `committed`.
    pub members_since: LogIndex,
    /// On the leader: members, including itself, that answer it.
    pub answering: BTreeSet<NodeId>,
    /// On the leader: what members have last reported about their memory.
    pub holding: BTreeMap<NodeId, Holding>,
    /// On the leader: members that answer and could serve.
    pub fit: BTreeSet<NodeId>,
    /// Whether the owner could serve.
    pub ready: bool,
    /// Whether this node holds the group's lease now.
    pub lease_held: bool,
}

impl GroupStatus {
    /// The number of **other** members that store the log up to `index` on stable storage, as far as the leader knows;
    /// 0 elsewhere.
    #[must_use]
    pub fn stable_copies(&self, own: NodeId, index: LogIndex) -> usize {
        self.matched.iter().filter(|(node, matched)| **node != own && **matched >= index).count()
    }
}

impl GroupStatus {
    /// On the leader: how many of the voters that answer could fail before no write commits; negative: so many more
    /// voters are needed. `None` elsewhere.
    #[must_use]
    pub fn quorum_margin(&self) -> Option<i64> {
        let margin = |half: &Vec<NodeId>| {
            let answering = half.iter().filter(|node| self.answering.contains(node)).count();
            answering as i64 - (half.len() / 2 + 1) as i64
        };
        self.halves.iter().map(margin).min().filter(|_| self.role == RoleName::Leader)
    }
}

/// Why consensus on a node, or one of its groups, could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The timers do not fit together.
    #[error(transparent)]
    Timers(#[from] crate::options::TimersError),
    /// The group is running already.
    #[error("group {0} is already started")]
    Started(GroupId),
    /// This node's consensus has stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
    /// The stored record of a peer cannot be decoded.
    #[error("stored record of node {node}: {reason}")]
    Peer {
        /// The peer.
        node: NodeId,
        /// What is wrong.
        reason: String,
    },
    /// The log cannot be read or decoded.
    #[error("group {group}: {reason}")]
    Log {
        /// The group.
        group: GroupId,
        /// What is wrong.
        reason: String,
    },
}

/// Why a group could not be initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// The members violate the AZ rule.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// This node must be among the members.
    #[error("this node ({0}), with its disk, is not among the members")]
    NotAMember(NodeId),
    /// The group already has other members.
    #[error("the group is already initialised")]
    Already,
    /// The group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// Why a node was not added to a group.
#[derive(Debug, thiserror::Error)]
pub enum AddLearnerError {
    /// Only the leader adds members.
    #[error("this node does not lead the group; the leader is {0:?}")]
    NotLeader(Option<NodeId>),
    /// Another change of the members is in progress, or the entry was discarded.
    #[error("the group's members cannot change now: {0}")]
    Refused(String),
    /// The group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

/// Why leadership was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Another node leads.
    #[error("this node does not lead the group; the leader is {0:?}")]
    NotLeader(Option<NodeId>),
    /// Only one hand-over at a time.
    #[error("a hand-over is already in progress")]
    UnderWay,
    /// The requested target is not a voter, is this node itself, or does not answer.
    #[error("node {0} cannot take over: it is not a voter of the group that is reachable")]
    BadTarget(NodeId),
    /// No other replica is ready and has the whole log.
    #[error("no other replica is ready and has the whole log")]
    NoTarget,
    /// The owner did not drain in time. It continues to serve.
    #[error("staged writes did not commit in time; this node continues to serve")]
    NotDrained,
    /// The target did not win in time. Whoever wins next leads; this node serves only if it wins a new term.
    #[error("the target did not take over in time; an election follows")]
    NotTaken,
    /// Leadership was lost during the hand-over.
    #[error("leadership was lost during the hand-over")]
    Lost,
    /// The group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_that_of_the_weaker_half() {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let status = |role, halves: &[&[u64]], answering: &[u64]| GroupStatus {
            group: GroupId(1),
            role,
            term: 1,
            leader: None,
            committed: LogIndex(0),
            applied: LogIndex(0),
            last_log: LogIndex(0),
            matched: BTreeMap::new(),
            members: Vec::new(),
            halves: halves.iter().map(|half| nodes(half)).collect(),
            members_since: LogIndex(0),
            answering: nodes(answering).into_iter().collect(),
            holding: BTreeMap::new(),
            fit: BTreeSet::new(),
            ready: true,
            lease_held: true,
        };
        let leader = |halves: &[&[u64]], answering: &[u64]| status(RoleName::Leader, halves, answering).quorum_margin();
        assert_eq!(leader(&[&[1, 2, 3]], &[1, 2, 3]), Some(1));
        assert_eq!(leader(&[&[1, 2, 3]], &[1, 3, 9]), Some(0));
        assert_eq!(leader(&[&[1, 2, 3]], &[1]), Some(-1));
        assert_eq!(leader(&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3]), Some(0));
        assert_eq!(status(RoleName::Follower, &[&[1, 2, 3]], &[1, 2, 3]).quorum_margin(), None);
    }
}
