//! The control plane: Raft group 0. Every node follows it and answers topology questions from it.
//!
//! - [`map`]: the state of group 0, the [`ClusterMap`].
//! - [`command`]: the encoding of its changes in group 0's log (versioned JSON, frozen by a golden test).
//! - [`placement`]: which nodes have replicas of which shard, by the AZ rule.
//! - [`create`]: from a request to a running group 0 with a map.
//! - [`replace`]: the conditions for replacing a node, and the target membership of each group.
//! - [`state`]: the state at one position of the log, and how an entry changes it.
//! - [`snapshot`]: the encoding of that state as a snapshot (frozen by a golden test). [`snapshots`]: when one is made,
//!   and from which one the state is restored.
//! - [`follow`]: the task that owns group 0's data; it applies committed entries and proposes commands.
//! - [`group`]: the operations on a Raft group's membership.
//! - [`bootstrap`]: how the members of a new shard form its Raft group without waiting for each other forever.
//!
//! Invariants:
//! - The map changes only by committed entries of group 0. It is the same on all nodes that have applied the same
//!   entries.
//! - A command that this version does not know stops the node's control plane with an error; it is never skipped.
//! - Nothing is executed before it commits, so there is nothing to undo when leadership is lost.
//!
//! Does not know: data commands, sockets, clocks, randomness. The cluster's id and the hash seed are passed in.

pub mod bootstrap;
pub mod command;
pub mod create;
pub mod fixtures;
pub mod follow;
pub mod group;
pub mod map;
mod map_events;
pub mod placement;
pub mod replace;
pub mod snapshot;
pub mod snapshots;
pub mod state;

pub use create::{CreateError, CreateRequest, Requirements};
pub use follow::{Control, ControlOptions, ControlRole, ControlStatus, ProposeError};
pub use group::{GroupError, Member, RaftGroup};
pub use map::{
    ClusterMap, ClusterSettings, LagBound, NodeInfo, Password, Replaced, Replacement, SettingsChange, ShardMap,
    UserRules, Users, UsersChange,
};
pub use replace::ReplaceError;
pub use snapshots::SnapshotStore;
pub use state::ControlState;

/// gRPC metadata key of a refusal because another node leads group 0. The value is that node's gRPC address
/// (`host:port`), to which the caller sends the request again.
pub const LEADER_METADATA: &str = "fastness-leader-address";

#[cfg(test)]
mod testing;
