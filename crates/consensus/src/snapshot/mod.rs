//! Snapshots as consensus sees them: the files of a replica, and the transfer of one from a leader to a replica.

pub(crate) mod files;
pub(crate) mod receive;
pub(crate) mod send;

pub use files::{IncomingSnapshot, OutgoingSnapshot, SnapshotFileError, SnapshotFiles, SnapshotPart, SnapshotPiece};
