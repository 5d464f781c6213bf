//! The control plane: Raft group 0, which every node follows and answers topology questions from.
//!
//! - [`map`]: what group 0 knows, the [`ClusterMap`].
//! - [`command`]: how a change of it is written into group 0's log (versioned JSON, frozen by a golden test).
//! - [`placement`]: which nodes hold which shard, by the AZ rule.
//! - [`create`]: from a request to a running group 0 with a map in it.
//! - [`replace`]: what must hold before a node takes another one's place, and what each group is to become then.
//! - [`follow`]: the task that owns group 0's data: it walks committed entries and proposes commands.
//! - [`group`]: what it asks of a Raft group's membership.
//! - [`bootstrap`]: how the members of a new shard start its Raft group without waiting for one another for ever.
//!
//! Invariants:
//! - The map changes by committed entries of group 0 alone; it is the same on all nodes that applied the same entries.
//! - A command that this version does not know stops the control plane of the node with an error; it is never skipped.
//! - Nothing is executed ahead of its commit here, so there is nothing to undo when leadership is lost.
//!
//! It does not know data commands, sockets, clocks or randomness: the cluster's id and the hash seed are handed in.
//!
//! Group 0 is not snapshotted yet: it is a handful of entries, replayed from its log at each start.

pub mod bootstrap;
pub mod command;
pub mod create;
pub mod fixtures;
pub mod follow;
pub mod group;
pub mod map;
pub mod placement;
pub mod replace;

pub use create::{CreateError, CreateRequest, Requirements};
pub use follow::{Control, ControlOptions, ControlRole, ControlStatus, ProposeError};
pub use group::{GroupError, Member, RaftGroup};
pub use map::{
    ClusterMap, ClusterSettings, LagBound, NodeInfo, Password, Replaced, Replacement, SettingsChange, ShardMap,
};
pub use replace::ReplaceError;

/// gRPC metadata key that goes with a refusal because another node leads: that node's gRPC address (`host:port`).
/// Whoever gets it asks there again.
pub const LEADER_METADATA: &str = "fastness-leader-address";

#[cfg(test)]
mod testing;
