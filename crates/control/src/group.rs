//! What the control plane asks of one Raft group beyond its log: the part of consensus that forms the group.
//!
//! A trait, so that the tests of this crate run without a disk or a network.

use fastness_consensus::{GroupControl, InitializeError};

pub use fastness_consensus::placement::{AzRule, Member};

/// Why a group could not be formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The members break the AZ rule.
    #[error("{0}")]
    Placement(String),
    /// Consensus refused or has stopped.
    #[error("{0}")]
    Refused(String),
}

/// Forms one Raft group.
#[async_trait::async_trait]
pub trait RaftGroup: Send + Sync + 'static {
    /// Whether the group has members: it was initialised here, or has heard from members that were.
    async fn is_initialized(&self) -> Result<bool, GroupError>;
    /// Gives a pristine group its voters. Several of them may do so at once, with the same members.
    async fn initialize(&self, voters: Vec<Member>, rule: AzRule) -> Result<(), GroupError>;
    /// Lets a node follow without a vote. On the leader only; adding one that is there changes nothing.
    async fn add_learner(&self, member: Member) -> Result<(), GroupError>;
}

#[async_trait::async_trait]
impl RaftGroup for GroupControl {
    async fn is_initialized(&self) -> Result<bool, GroupError> {
        Ok(GroupControl::is_initialized(self))
    }

    async fn initialize(&self, voters: Vec<Member>, rule: AzRule) -> Result<(), GroupError> {
        match GroupControl::initialize(self, &voters, rule).await {
            // Another member was faster: it wrote the same first entry, which has reached this node meanwhile.
            Ok(_) | Err(InitializeError::Already) => Ok(()),
            Err(InitializeError::Placement(error)) => Err(GroupError::Placement(error.to_string())),
            Err(error) => Err(GroupError::Refused(error.to_string())),
        }
    }

    async fn add_learner(&self, member: Member) -> Result<(), GroupError> {
        GroupControl::add_learner(self, &member).await.map_err(|error| GroupError::Refused(error.to_string()))
    }
}
