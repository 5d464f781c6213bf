//! One Raft group on this node: what its owner and its administrators see of it, and the tasks that run it.

pub(crate) mod committed;
pub(crate) mod control;
pub(crate) mod driver;
pub mod handle;
pub(crate) mod handover;
pub(crate) mod membership;
pub mod placement;
pub(crate) mod proposer;
pub(crate) mod state;
pub(crate) mod status;
