//! The Raft group of a replica, as its front end sees it.

use fastness_consensus::{GroupControl, GroupStatus, Progress};
use fastness_types::{LogIndex, NodeId};

/// The Raft group of a replica as this node sees it. Asked from the loop's thread, so nothing here waits.
pub trait GroupView: Send + Sync + 'static {
    /// See [`GroupStatus`].
    fn status(&self) -> Option<GroupStatus>;
    /// Other members that hold the log up to `index` on stable storage.
    fn stable_copies(&self, index: LogIndex) -> u64;
    /// Which members these are.
    fn stable_on(&self, index: LogIndex) -> Vec<NodeId>;
    /// Up to where this node's own disk holds it.
    fn flushed(&self) -> LogIndex;
    /// Follows the two.
    fn progress(&self) -> Progress;
}

impl GroupView for GroupControl {
    fn status(&self) -> Option<GroupStatus> {
        Some(GroupControl::status(self))
    }

    fn stable_copies(&self, index: LogIndex) -> u64 {
        GroupControl::stable_copies(self, index) as u64
    }

    fn stable_on(&self, index: LogIndex) -> Vec<NodeId> {
        GroupControl::stable_on(self, index)
    }

    fn flushed(&self) -> LogIndex {
        GroupControl::flushed(self)
    }

    fn progress(&self) -> Progress {
        GroupControl::progress(self)
    }
}
