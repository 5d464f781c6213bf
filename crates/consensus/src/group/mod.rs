//! One Raft group on this node: the interfaces for its owner and its administrators, and the tasks that run it.

pub(crate) mod committed;
pub(crate) mod control;
pub(crate) mod driver;
pub(crate) mod freshness;
pub mod handle;
pub(crate) mod handover;
pub(crate) mod history;
pub(crate) mod membership;
pub mod placement;
pub(crate) mod proposer;
pub(crate) mod state;
pub(crate) mod status;
