//! The interface to one group for its administrators: initialise it, read its status, hand over its leadership.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastness_events::HandOverReason;
use fastness_types::{Epoch, GroupId, LogIndex, NodeId, Seq};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, InitializeError as RaftInitializeError, RaftError};

use crate::group::handle::Holding;
use crate::group::handover;
use crate::group::placement::{self, AzRule, Member, PlacementWarning};
use crate::group::state::{Group, Raft};
use crate::group::status::{AddLearnerError, GroupStatus, HandOverError, InitializeError, MemberStatus, RoleName};
use crate::node::NodeCore;
use crate::peer::links::Links;
use crate::raft::types::{PeerNode, Types};

/// One group, as its administrators see it. Cheap to clone.
#[derive(Clone)]
pub struct GroupControl {
    links: Arc<Links>,
    group: Arc<Group>,
}

impl std::fmt::Debug for GroupControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupControl").field("group", &self.group.id).finish_non_exhaustive()
    }
}

impl GroupControl {
    pub(crate) fn new(links: Arc<Links>, group: Arc<Group>) -> GroupControl {
        GroupControl { links, group }
    }

    pub(crate) fn core(&self) -> &Arc<Group> {
        &self.group
    }

    pub(crate) fn node(&self) -> &Arc<NodeCore> {
        self.links.node()
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group.id
    }

    /// Gives a group that has never had members its first ones, all of them voters. Called on one of these nodes; the
    /// others learn it by replication.
    ///
    /// # Errors
    /// If the members break the AZ rule, or if the group has members already.
    pub async fn initialize(
        &self,
        members: &[Member],
        rule: AzRule,
    ) -> Result<Option<PlacementWarning>, InitializeError> {
        let warning = placement::check_by(rule, members.iter().map(|member| (member.node, &member.az)))?;
        let own = self.node().own();
        let disk = self.node().identities.own_disk();
        if !members.iter().any(|member| member.node == own && member.disk == disk) {
            return Err(InitializeError::NotAMember(own));
        }
        let stopped = || InitializeError::Stopped(self.stop_reason());
        let raft = self.group.raft().ok_or_else(stopped)?;
        let nodes: BTreeMap<u64, PeerNode> =
            members.iter().map(|member| (member.node.0, PeerNode::from(member))).collect();
        match raft.initialize(nodes).await {
            Ok(()) => Ok(warning),
            Err(RaftError::APIError(RaftInitializeError::NotAllowed(_))) => Err(InitializeError::Already),
            Err(RaftError::APIError(RaftInitializeError::NotInMembers(_))) => Err(InitializeError::NotAMember(own)),
            Err(RaftError::Fatal(_)) => Err(stopped()),
        }
    }

    /// Adds a member without a vote. Works on the leader only. A node that is a member already is left unchanged.
    ///
    /// # Errors
    /// See [`AddLearnerError`].
    pub async fn add_learner(&self, member: &Member) -> Result<(), AddLearnerError> {
        if self.status().members.iter().any(|known| known.member == *member) {
            return Ok(());
        }
        let raft = self.group.raft().ok_or_else(|| AddLearnerError::Stopped(self.stop_reason()))?;
        match raft.add_learner(member.node.0, PeerNode::from(member), false).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(AddLearnerError::NotLeader(forward.leader_id.map(NodeId)))
            }
            Err(RaftError::APIError(refused)) => Err(AddLearnerError::Refused(refused.to_string())),
            Err(RaftError::Fatal(error)) => Err(AddLearnerError::Stopped(error.to_string())),
        }
    }

    fn stop_reason(&self) -> String {
        self.group.stopped().map_or_else(|| "it is not running".to_owned(), |reason| reason.to_string())
    }

    /// Whether the group has members.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        !self.status().members.is_empty()
    }

    /// The group as this node sees it now.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let group = &self.group;
        let Some(raft) = group.raft() else { return self.bare_status() };
        let metrics = raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let members = membership
            .nodes()
            .map(|(node, at)| MemberStatus { member: at.member(*node), voter: voters.contains(node) });
        let halves = membership.get_joint_config().iter().map(|half| half.iter().copied().map(NodeId).collect());
        let since = metrics.membership_config.log_id().map_or(0, |id| id.index);
        let matched = metrics.replication.iter().flatten();
        let role = match (group.stopped(), group.leads(), metrics.state) {
            (Some(_), ..) | (_, _, ServerState::Shutdown) => RoleName::Stopped,
            (_, Some(_), _) => RoleName::Leader,
            (_, _, ServerState::Learner) => RoleName::Learner,
            _ => RoleName::Follower,
        };
        GroupStatus {
            role,
            matched: matched.filter_map(|(node, id)| id.map(|id| (NodeId(*node), LogIndex(id.index)))).collect(),
            members: members.collect(),
            halves: halves.collect(),
            members_since: LogIndex(since),
            ..self.bare_status()
        }
    }

    fn bare_status(&self) -> GroupStatus {
        let group = &self.group;
        let now = self.node().now();
        GroupStatus {
            group: group.id,
            role: if group.stopped().is_some() { RoleName::Stopped } else { RoleName::Follower },
            term: group.vote().leader_id.0.term,
            leader: group.leader(),
            committed: group.driver.committed(),
            applied: group.driver.applied(),
            last_log: group.last_log(),
            matched: BTreeMap::new(),
            members: Vec::new(),
            halves: Vec::new(),
            members_since: LogIndex(0),
            answering: self.answering().into_iter().map(NodeId).collect(),
            holding: self.holdings(),
            fit: self.fit().into_iter().map(NodeId).collect(),
            ready: group.driver.ready(),
            lease_held: group.with_lead(|lead| lead.lease().holds(now)).unwrap_or(false),
        }
    }

    /// Members, including this node, that have answered the newest heartbeats of this node, if it leads.
    pub(crate) fn answering(&self) -> BTreeSet<u64> {
        let since = self.group.fresh_since();
        self.group.with_lead(|lead| lead.answering(since)).unwrap_or_default()
    }

    /// Those of the answering members that could serve.
    fn fit(&self) -> BTreeSet<u64> {
        let since = self.group.fresh_since();
        self.group.with_lead(|lead| lead.fit(since)).unwrap_or_default()
    }

    fn holdings(&self) -> BTreeMap<NodeId, Holding> {
        let holdings = self.group.with_lead(|lead| lead.holdings()).unwrap_or_default();
        holdings.into_iter().map(|(node, holding)| (NodeId(node), holding)).collect()
    }

    /// Bytes of the log after `index`; `None` if not all of it is in this node's memory.
    pub(crate) fn log_bytes_after(&self, index: LogIndex) -> Option<u64> {
        self.node().log.group(self.group.id).bytes_after(index.0)
    }

    /// The number of **other** members that store the log up to `index` on stable storage, as far as this node knows as
    /// the leader; 0 elsewhere.
    #[must_use]
    pub fn stable_copies(&self, index: LogIndex) -> usize {
        let Some(raft) = self.group.raft() else { return 0 };
        let metrics = raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let others = metrics.replication.iter().flatten().filter(|(node, _)| **node != self.node().own().0);
        others.filter(|(_, matched)| matched.is_some_and(|id| id.index >= index.0)).count()
    }

    /// The same for a batch that this node proposed; 0 while it is not in the log. Never overestimated.
    #[must_use]
    pub fn stable_copies_of(&self, epoch: Epoch, seq: Seq) -> usize {
        self.group.index_of(epoch, seq).map_or(0, |index| self.stable_copies(index))
    }

    /// The index up to which this node's log is purged; 0 if the log is complete.
    #[must_use]
    pub fn purged(&self) -> LogIndex {
        let purged = self.group.raft().and_then(|raft| raft.metrics().borrow_watched().purged);
        LogIndex(purged.map_or(0, |id| id.index))
    }

    /// The position of this node's newest snapshot; 0 if there is none.
    #[must_use]
    pub fn snapshot(&self) -> LogIndex {
        self.group.driver.own_snapshot().map_or(LogIndex(0), |own| own.index)
    }

    /// The index up to which the log is on this node's own stable storage.
    #[must_use]
    pub fn flushed(&self) -> LogIndex {
        self.group.flushed()
    }

    /// Whether a batch that this node proposed is on its own stable storage.
    #[must_use]
    pub fn is_flushed(&self, epoch: Epoch, seq: Seq) -> bool {
        self.group.index_of(epoch, seq).is_some_and(|index| index <= self.group.flushed())
    }

    /// The other members that have the log up to `index` on stable storage, as far as this leader knows.
    #[must_use]
    pub fn stable_on(&self, index: LogIndex) -> Vec<NodeId> {
        let Some(raft) = self.group.raft() else { return Vec::new() };
        let metrics = raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let others = metrics.replication.iter().flatten().filter(|(node, _)| **node != self.node().own().0);
        others
            .filter(|(_, matched)| matched.is_some_and(|id| id.index >= index.0))
            .map(|(node, _)| NodeId(*node))
            .collect()
    }

    /// Notifies of changes to the numbers above.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { changes: self.group.raft().map(Raft::data_metrics) }
    }

    /// Hands over leadership to `to`, or to the best other replica: one that is ready and has the whole log.
    /// `patience`: how long the owner may take to drain. `reason` is recorded with the outcome as an event.
    /// `group/handover.rs` describes the steps. They run as a task of the node, so they continue if the caller is
    /// dropped.
    ///
    /// # Errors
    /// See [`HandOverError`]. After all but [`HandOverError::NotTaken`] and [`HandOverError::Lost`] this node still
    /// leads and serves.
    pub async fn hand_over(
        &self,
        to: Option<NodeId>,
        patience: Duration,
        reason: HandOverReason,
    ) -> Result<NodeId, HandOverError> {
        let (links, group) = (self.links.clone(), self.group.clone());
        let steps = async move {
            let outcome = handover::run(&links, &group, to, patience, reason).await;
            if let Err(error) = &outcome {
                group.record_failed_hand_over(reason, error);
            }
            outcome
        };
        let steps = self.node().runtime().spawn(steps);
        steps.await.unwrap_or_else(|ended| Err(HandOverError::Stopped(ended.to_string())))
    }

    /// Stops this node's replica of the group without handing over leadership.
    pub async fn shutdown(&self) {
        self.group.stop("shut down");
        if let Some(raft) = self.group.raft() {
            // The Raft core's task may have ended by itself.
            let _ = raft.shutdown().await;
        }
        self.node().remove_group(self.group.id);
    }
}

/// Notifies when [`GroupControl::stable_copies`] and [`GroupControl::flushed`] may have changed.
pub struct Progress {
    changes: Option<openraft::alias::WatchReceiverOf<Types, openraft::metrics::RaftDataMetrics<Types>>>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl Progress {
    /// The progress of a group that acknowledges nothing.
    #[must_use]
    pub fn never() -> Progress {
        Progress { changes: None }
    }

    /// Resolves at the next change. Never resolves again once the group has stopped.
    pub async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes
            && changes.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}
