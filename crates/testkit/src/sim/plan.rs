//! What the control plane says in a simulation, without a control plane: who shall be a member, in which mode, who was
//! replaced.
//!
//! There is one plan, which faults change, and each node has a copy of its own, which outlives its crashes and learns
//! what is new a while later, as a node's map does. Nodes bring their groups to what their copies say, as production
//! does (`server/src/members.rs`): by [`GroupControl::approach`](fastness_consensus::GroupControl::approach), whoever
//! leads.

use std::collections::BTreeSet;

use fastness_consensus::{AzRule, Goal, Member};
use fastness_shard::DesiredMode;
use fastness_types::{Durability, NodeId};

/// See the module.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The voters of every group.
    pub voters: Vec<Member>,
    /// Voters that an operator asks for by mistake; they break the AZ rule.
    pub asked: Option<Vec<Member>>,
    /// Every node that there ever was.
    pub known: BTreeSet<NodeId>,
    /// Who is being replaced, and by whom.
    pub replacing: Option<(NodeId, NodeId)>,
    /// Who was replaced, and by whom.
    pub replaced: Vec<(NodeId, NodeId)>,
    /// The mode that the operator desired states.
    pub desired: DesiredMode,
    /// The modes of all desired states, the first one's version is 1.
    pub modes: Vec<Durability>,
    /// Whether the groups have their first members: nobody writes them again.
    pub formed: bool,
}

impl Plan {
    /// A new cluster's.
    #[must_use]
    pub fn new(voters: Vec<Member>, mode: Durability) -> Plan {
        Plan {
            known: voters.iter().map(|member| member.node).collect(),
            voters,
            asked: None,
            replacing: None,
            replaced: Vec::new(),
            desired: DesiredMode { mode, version: 1 },
            modes: vec![mode],
            formed: false,
        }
    }

    /// Who shall be in every group.
    #[must_use]
    pub fn goal(&self) -> Goal {
        Goal {
            voters: self.asked.as_ref().unwrap_or(&self.voters).clone(),
            learners: Vec::new(),
            keep: self.voters.iter().map(|member| member.node).collect(),
            known: self.known.clone(),
            rule: AzRule::Required,
        }
    }

    /// Puts `new` in the place of `old`.
    pub fn replace(&mut self, old: NodeId, new: Member) {
        self.replacing = Some((old, new.node));
        self.known.insert(new.node);
        for member in self.voters.iter_mut().filter(|member| member.node == old) {
            *member = new.clone();
        }
    }

    /// Every group has done without the node that is being replaced.
    pub fn finish_replacement(&mut self) {
        self.replaced.extend(self.replacing.take());
    }

    /// Wishes another mode.
    pub fn switch(&mut self, mode: Durability) {
        self.desired = DesiredMode { mode, version: self.desired.version + 1 };
        self.modes.push(mode);
    }

    /// The mode of a desired state.
    #[must_use]
    pub fn mode_of(&self, version: u64) -> Option<Durability> {
        self.modes.get(usize::try_from(version).ok()?.checked_sub(1)?).copied()
    }
}
