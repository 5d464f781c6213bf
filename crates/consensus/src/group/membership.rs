//! Changes the members of a group step by step towards a goal.
//!
//! The goal is what the cluster's map says. A step is one entry in the group's log, or two for a change of voters: a
//! joint configuration, then the new one. [`GroupControl::reconcile`] compares goal and group and takes the next step.
//! The group's leader calls it again and again, so nothing has to be remembered: if a leader is lost midway, even
//! between the two entries of one change, its successor finds the group as it is and continues from there.
//!
//! Rules:
//! - **A membership that names a node unknown to the goal is newer than the goal, and is not changed.** Every change
//!   adds a node that older maps do not know, so a leader with an old map does not revert anything.
//! - A node becomes a voter only from a learner that **reports itself** that it has snapshot and log in memory, up to a
//!   bound in entries and in bytes of the end of the log, and whose owner could serve. The known length of its log
//!   proves nothing: the log may be short while the snapshot before it is large, and few entries may be many bytes.
//!   openraft's own "caught up" means nothing here (`replication_lag_threshold` has no bound).
//! - A joint configuration is started only if a majority of the new voters answers, because otherwise it could not be
//!   completed, and only if both halves obey the AZ rule.
//! - A leader that is not among the new voters hands over leadership first. No leader is made to step down, and no
//!   election is forced.
//! - Every change is proposed for one epoch and one preceding membership. If either has changed meanwhile, the change
//!   is refused.
//! - When the log takes the entry, the lease is adjusted to the new voters (`group/state.rs`, `lease/mod.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastness_events::{Event, HandOverReason};
use fastness_types::{Az, FormatLevel, LogIndex, NodeId, Plant, limits};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::Precondition;

use crate::group::control::GroupControl;
use crate::group::handle::Holding;
use crate::group::placement::{AzRule, Member, PlacementError, check_by};
use crate::group::state::Raft;
use crate::group::status::HandOverError;
use crate::raft::types::{LogId, Membership, PeerNode};

/// How long a step may take to commit. After that, the next call finds it done or not.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the owner may take to drain when this node hands over leadership in order to leave.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);

/// The desired members of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// Its voters.
    pub voters: Vec<Member>,
    /// Members without a vote.
    pub learners: Vec<Member>,
    /// Nodes that stay in the group without a vote if they are members, and are not added otherwise.
    pub keep: BTreeSet<NodeId>,
    /// Every node that is known to whoever sets the goal.
    pub known: BTreeSet<NodeId>,
    /// Whether the voters must obey the AZ rule.
    pub rule: AzRule,
}

/// How far a group is on its way to a goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reconciled {
    /// This node does not lead the group, or has no lease. Another node takes the next step.
    NotLeading,
    /// The group's membership is newer than the goal.
    GoalIsOld,
    /// The goal is reached and committed.
    Reached,
    /// A step was taken, now or earlier, and will commit soon.
    Stepped,
    /// A new voter does not have the whole log yet, or cannot serve yet.
    CatchingUp {
        /// The new voter.
        node: NodeId,
        /// Up to which index it is known to have the log.
        matched: LogIndex,
        /// What it reports to have in memory; `None` if it has not reported.
        holding: Option<Holding>,
        /// The last index of the leader's log.
        last: LogIndex,
    },
    /// Too few of the new voters answer.
    NoMajority,
    /// Leadership was handed over to this node, because the previous leader has to leave.
    HandedOver(NodeId),
}

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// One of the halves violates the AZ rule.
    #[error("the AZ rule: {0}")]
    Placement(#[from] PlacementError),
    /// A node is a member with other properties.
    #[error("node {0} is in the group with another disk or AZ than the cluster's map says")]
    OtherMember(NodeId),
    /// This node leads and has to leave, and no other node takes over.
    #[error("this node leads the group and is to leave it: {0}")]
    HandOver(#[from] HandOverError),
    /// Refused or not committed in time; may be tried again.
    #[error("{0}")]
    Step(String),
}

/// A group's membership according to its log, committed or not.
struct Effective {
    at: Option<LogId>,
    membership: Membership,
}

impl Effective {
    fn of(raft: &Raft) -> Effective {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        Effective { at: *stored.log_id(), membership: stored.membership().clone() }
    }

    fn halves(&self) -> &[BTreeSet<u64>] {
        self.membership.get_joint_config()
    }

    fn azs<'a>(&self, half: &'a BTreeSet<u64>, goal: &Goal) -> Vec<(NodeId, Az)> {
        let az = |id: &'a u64| {
            let here = self.membership.get_node(id).map(|node| Az::from(node.az.as_str()));
            let there = || goal.voters.iter().find(|member| member.node.0 == *id).map(|member| member.az.clone());
            Some((NodeId(*id), here.or_else(there)?))
        };
        half.iter().filter_map(az).collect()
    }
}

impl Goal {
    fn voter_ids(&self) -> BTreeSet<u64> {
        self.voters.iter().map(|member| member.node.0).collect()
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.voters.iter().chain(&self.learners)
    }

    fn has(&self, node: u64) -> bool {
        self.keep.contains(&NodeId(node)) || self.members().any(|member| member.node.0 == node)
    }
}

impl GroupControl {
    /// Takes the next step from the group's membership to `goal`, if there is one and this node leads.
    ///
    /// # Errors
    /// See [`ReconcileError`]. Either nothing was changed, or the next call finds the change.
    pub async fn reconcile(&self, goal: &Goal) -> Result<Reconciled, ReconcileError> {
        let group = self.core();
        let now = self.node().now();
        let leads = group.with_lead(|lead| lead.lease().holds(now).then(|| lead.epoch()));
        let (Some(Some(epoch)), Some(raft)) = (leads, group.raft()) else { return Ok(Reconciled::NotLeading) };
        let effective = Effective::of(raft);
        let membership = &effective.membership;
        if membership.nodes().any(|(node, _)| !goal.known.contains(&NodeId(*node))) {
            return Ok(Reconciled::GoalIsOld);
        }
        if let Some(other) = goal.members().find(|member| {
            membership.get_node(&member.node.0).is_some_and(|is| is.disk != member.disk || is.az != *member.az.0)
        }) {
            return Err(ReconcileError::OtherMember(other.node));
        }
        if effective.at.is_some_and(|at| at.index > group.driver.committed().0) {
            // The previous step is not committed yet; one at a time.
            return Ok(Reconciled::Stepped);
        }
        let voters = goal.voter_ids();
        let step = match effective.halves() {
            [only] if *only == voters => self.tidy(&effective, goal),
            [only] => {
                // Before any change towards voters that would be refused: no learner, no hand-over.
                self.check_halves(&effective, goal, [only, &voters])?;
                if let Some(step) = self.tidy(&effective, goal) {
                    Some(step)
                } else if let Some(waiting) = self.not_yet(&effective, goal) {
                    return Ok(waiting);
                } else if !voters.contains(&self.node().own().0) {
                    return Ok(Reconciled::HandedOver(self.hand_over_to_one_of(goal).await?));
                } else {
                    Some(self.replace_voters(&effective, goal))
                }
            }
            [old, new] => {
                // A joint configuration is completed as it was started. What the goal requires beyond that is a later
                // step.
                self.check_halves(&effective, goal, [old, new])?;
                if !new.contains(&self.node().own().0) {
                    return Ok(Reconciled::HandedOver(self.hand_over_to_one_of(goal).await?));
                }
                let retain = old.difference(new).any(|node| goal.has(*node));
                Some((ChangeMembers::ReplaceAllVoters(new.clone()), retain))
            }
            _ => return Ok(Reconciled::NotLeading),
        };
        let Some((change, retain)) = step else { return Ok(Reconciled::Reached) };
        group.events().record(Event::MembersChanged { shard: group.id, change: describe(&change) });
        let preconditions = [
            Precondition::CommittedLeaderId { committed_leader_id: epoch },
            Precondition::LastMembershipLogId { last_membership_log_id: effective.at },
        ];
        let changed = raft.change_membership_if(change, retain, preconditions);
        match tokio::time::timeout(STEP_TIME_MAX, changed).await {
            Ok(Ok(_)) => Ok(Reconciled::Stepped),
            Ok(Err(error)) => Err(ReconcileError::Step(error.to_string())),
            Err(_) => Err(ReconcileError::Step("the change did not commit in time".to_owned())),
        }
    }

    /// Adds missing members and removes surplus ones without a vote, in one entry that changes no votes.
    fn tidy(&self, effective: &Effective, goal: &Goal) -> Option<(Change, bool)> {
        let membership = &effective.membership;
        let missing: BTreeMap<u64, PeerNode> = goal
            .members()
            .filter(|member| membership.get_node(&member.node.0).is_none())
            .map(|member| (member.node.0, PeerNode::from(member)))
            .collect();
        let extra: BTreeSet<u64> = membership.learner_ids().filter(|node| !goal.has(*node)).collect();
        let mut changes = Vec::new();
        if !missing.is_empty() {
            changes.push(ChangeMembers::AddNodes(missing));
        }
        if !extra.is_empty() {
            changes.push(ChangeMembers::RemoveNodes(extra));
        }
        // In one entry, so that a membership never returns to one that an older goal would know.
        (!changes.is_empty()).then_some((ChangeMembers::Batch(changes), true))
    }

    /// What a change of voters still has to wait for.
    fn not_yet(&self, effective: &Effective, goal: &Goal) -> Option<Reconciled> {
        let own = self.node().own().0;
        let since = self.core().fresh_since();
        let lead = self.core().with_lead(|lead| (lead.answering(since), lead.fit(since)));
        let Some((mut answering, fit)) = lead else { return Some(Reconciled::NotLeading) };
        let status = self.status();
        for voter in &goal.voters {
            let votes = effective.halves().iter().any(|half| half.contains(&voter.node.0));
            let matched = status.matched.get(&voter.node).copied().unwrap_or_default();
            let holding = status.holding.get(&voter.node).copied();
            let caught_up = fit.contains(&voter.node.0) && self.has_caught_up(matched, holding);
            if !(votes || caught_up) {
                return Some(Reconciled::CatchingUp { node: voter.node, matched, holding, last: status.last_log });
            }
        }
        answering.insert(own);
        let voters = goal.voter_ids();
        (answering.intersection(&voters).count() <= voters.len() / 2).then_some(Reconciled::NoMajority)
    }

    /// Whether a member with the log up to `matched` and `holding` in memory lacks no more than what may be in flight.
    fn has_caught_up(&self, matched: LogIndex, holding: Option<Holding>) -> bool {
        let lacks_little = |index: LogIndex| {
            self.core().last_log().0.saturating_sub(index.0) <= limits::CAUGHT_UP_ENTRIES_MAX
            // `None`: more bytes than this node has in memory, which is more than the bound.
            && self.log_bytes_after(index).is_some_and(|bytes| bytes <= limits::CAUGHT_UP_BYTES_MAX)
        };
        if Plant::CaughtUpByEntries.is_on() {
            return matched.0 + limits::CAUGHT_UP_ENTRIES_MAX >= self.core().last_log().0;
        }
        match holding {
            Some(holding) => lacks_little(matched) && lacks_little(holding.index),
            // An older version does not report. All that can be checked is that it needs no snapshot and few bytes of
            // the log.
            None => self.core().driver.format() < FormatLevel::BOUNDS && lacks_little(matched),
        }
    }

    fn check_halves(
        &self,
        effective: &Effective,
        goal: &Goal,
        halves: [&BTreeSet<u64>; 2],
    ) -> Result<(), PlacementError> {
        for half in halves {
            let azs = effective.azs(half, goal);
            check_by(goal.rule, azs.iter().map(|(node, az)| (*node, az)))?;
        }
        Ok(())
    }

    fn replace_voters(&self, effective: &Effective, goal: &Goal) -> (Change, bool) {
        let voters = goal.voter_ids();
        let leave = effective.halves().iter().flatten().filter(|node| !voters.contains(node));
        let retain = leave.copied().any(|node| goal.has(node));
        (ChangeMembers::ReplaceAllVoters(voters), retain)
    }

    async fn hand_over_to_one_of(&self, goal: &Goal) -> Result<NodeId, HandOverError> {
        let own = self.node().own();
        let mut last = HandOverError::NoTarget;
        for to in goal.voters.iter().map(|voter| voter.node).filter(|node| *node != own) {
            match self.hand_over(Some(to), HAND_OVER_PATIENCE, HandOverReason::Membership).await {
                Ok(to) => return Ok(to),
                Err(error @ HandOverError::BadTarget(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

type Change = ChangeMembers<u64, PeerNode>;

/// Describes a step for the log.
fn describe(change: &Change) -> String {
    let list = |nodes: &mut dyn Iterator<Item = &u64>| nodes.map(u64::to_string).collect::<Vec<_>>().join(", ");
    match change {
        ChangeMembers::AddNodes(nodes) => format!("add {} without a vote", list(&mut nodes.keys())),
        ChangeMembers::RemoveNodes(nodes) => format!("remove {}", list(&mut nodes.iter())),
        ChangeMembers::ReplaceAllVoters(nodes) => format!("voters {}", list(&mut nodes.iter())),
        ChangeMembers::Batch(changes) => changes.iter().map(describe).collect::<Vec<_>>().join(", "),
        other => format!("{other:?}"),
    }
}
