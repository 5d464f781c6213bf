//! The role of this replica in its group, and the state of its memory.

use std::sync::Arc;

use fastness_consensus::handle::{Lease, Role};
use fastness_types::{LogIndex, NodeId};

/// The role that the loop saw in its newest turn.
#[derive(Debug, Clone)]
pub(crate) enum SeenRole {
    /// Leads under this lease; its epoch's first entry is `first`.
    Leader {
        lease: Arc<Lease>,
        first: LogIndex,
    },
    Follower {
        leader: Option<NodeId>,
    },
    Stopped {
        reason: Arc<str>,
    },
}

impl SeenRole {
    /// The role as consensus reports it.
    pub(crate) fn of(role: &Role) -> SeenRole {
        match role {
            Role::Leader { lease, first } => SeenRole::Leader { lease: lease.clone(), first: *first },
            Role::Follower { leader } => SeenRole::Follower { leader: *leader },
            Role::Stopped { reason } => SeenRole::Stopped { reason: reason.clone() },
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        matches!(self, SeenRole::Leader { .. })
    }

    pub(crate) fn is_follower(&self) -> bool {
        matches!(self, SeenRole::Follower { .. })
    }
}

/// The state of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Replaying the log into new memory; nothing is served.
    Restoring,
    /// Memory equals the applied log, plus uncommitted effects on a primary.
    Serving,
    /// A fatal error.
    Stopped(Arc<str>),
}
