//! The snapshots of a replica, in files. A shard's thread never waits for a disk: each file has a thread that writes
//! or reads it, and a short queue.
//!
//! The two newest are kept; older ones are removed once a newer one is on stable storage. One that comes from another
//! node is written to a draft until consensus installs it, and read again from this node's disk like any other.
//!
//! - `files`: the files of one group: which exist, which are kept, which drafts are given up.
//! - `control`: those of group 0.
//! - `own`: those that this replica makes and restores from. `exchange`: those that are sent to other nodes and
//!   received from them. `verify`: all of a node's are read and compared with the log, for the operator.

mod control;
mod exchange;
mod files;
mod own;
mod verify;

pub use files::{SnapshotFiles, folder_of};
pub(crate) use files::{folders_in, keep_verified_alone};
pub use verify::{SnapshotFault, SnapshotFound, Verified, VerifyError, verify};

/// Chunks or parts in a queue; together they have [`fastness_types::limits::SNAPSHOT_QUEUE_BYTES_MAX`] bytes, and one
/// more.
const QUEUE_MAX: usize = 16;

#[cfg(test)]
mod tests;
