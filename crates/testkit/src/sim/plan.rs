//! The decisions of a control plane, without a control plane: the members, the mode, and the replaced nodes.
//!
//! There is one plan, which faults change. Each node has its own copy, which outlives its crashes and follows the plan
//! with a delay, as a node's map does. Nodes reconcile their groups with their copies as production nodes do
//! (`server/src/members.rs`), by [`GroupControl::reconcile`](fastness_consensus::GroupControl::reconcile) on the
//! leader.

use std::collections::BTreeSet;

use fastness_consensus::{AzRule, Goal, Member};
use fastness_shard::DesiredMode;
use fastness_types::{Durability, NodeId};

/// Members, mode and replacements of a simulated cluster.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The voters of every group.
    pub voters: Vec<Member>,
    /// Voters that an operator orders by mistake; they break the AZ rule.
    pub invalid_voters: Option<Vec<Member>>,
    /// All nodes so far.
    pub known: BTreeSet<NodeId>,
    /// The node being replaced, and its replacement.
    pub replacing: Option<(NodeId, NodeId)>,
    /// Replaced nodes, and their replacements.
    pub replaced: Vec<(NodeId, NodeId)>,
    /// The desired durability mode.
    pub desired: DesiredMode,
    /// All desired modes; the first one's version is 1.
    pub modes: Vec<Durability>,
    /// Whether the groups have their first members: they are initialized only once.
    pub formed: bool,
}

impl Plan {
    /// The plan of a new cluster.
    #[must_use]
    pub fn new(voters: Vec<Member>, mode: Durability) -> Plan {
        Plan {
            known: voters.iter().map(|member| member.node).collect(),
            voters,
            invalid_voters: None,
            replacing: None,
            replaced: Vec::new(),
            desired: DesiredMode { mode, version: 1 },
            modes: vec![mode],
            formed: false,
        }
    }

    /// The members that every group should have.
    #[must_use]
    pub fn goal(&self) -> Goal {
        Goal {
            voters: self.invalid_voters.as_ref().unwrap_or(&self.voters).clone(),
            learners: Vec::new(),
            keep: self.voters.iter().map(|member| member.node).collect(),
            known: self.known.clone(),
            rule: AzRule::Required,
        }
    }

    /// Replaces `old` by `new`.
    pub fn replace(&mut self, old: NodeId, new: Member) {
        self.replacing = Some((old, new.node));
        self.known.insert(new.node);
        for member in self.voters.iter_mut().filter(|member| member.node == old) {
            *member = new.clone();
        }
    }

    /// Records that every group works without the replaced node.
    pub fn finish_replacement(&mut self) {
        self.replaced.extend(self.replacing.take());
    }

    /// Desires another mode.
    pub fn switch(&mut self, mode: Durability) {
        self.desired = DesiredMode { mode, version: self.desired.version + 1 };
        self.modes.push(mode);
    }

    /// The desired mode of a version.
    #[must_use]
    pub fn mode_of(&self, version: u64) -> Option<Durability> {
        self.modes.get(usize::try_from(version).ok()?.checked_sub(1)?).copied()
    }
}
