//! The operations of a Raft group that the control plane needs besides its log: those that form the group.
//!
//! They are a trait so that this crate's tests run without a disk and a network.

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
    /// Whether the group has members: it was initialized here, or has heard from members that were.
    async fn is_initialized(&self) -> Result<bool, GroupError>;
    /// Gives a pristine group its voters. Several members may do so at once, with the same voters.
    async fn initialize(&self, voters: Vec<Member>, rule: AzRule) -> Result<(), GroupError>;
    /// Adds a node as a follower without a vote. Only on the leader; adding an existing one changes nothing.
    async fn add_learner(&self, member: Member) -> Result<(), GroupError>;
}

#[async_trait::async_trait]
impl RaftGroup for GroupControl {
    async fn is_initialized(&self) -> Result<bool, GroupError> {
        Ok(GroupControl::is_initialized(self))
    }

    async fn initialize(&self, voters: Vec<Member>, rule: AzRule) -> Result<(), GroupError> {
        match GroupControl::initialize(self, &voters, rule).await {
            // Another member was faster: it wrote the same first entry, which has reached this node.
            Ok(_) | Err(InitializeError::Already) => Ok(()),
            Err(InitializeError::Placement(error)) => Err(GroupError::Placement(error.to_string())),
            Err(error) => Err(GroupError::Refused(error.to_string())),
        }
    }

    async fn add_learner(&self, member: Member) -> Result<(), GroupError> {
        GroupControl::add_learner(self, &member).await.map_err(|error| GroupError::Refused(error.to_string()))
    }
}
