//! What openraft's log storage and state machine report to their group.

use crate::raft::types::{Entry, Membership, Vote};

/// A group, as its log storage and its state machine see it. All methods are called on the Raft core's own tasks and in
/// its order, except [`RaftObserver::observe_flushed`], which the log's writer calls.
pub(crate) trait RaftObserver: Send + Sync + 'static {
    /// `vote` is about to be stored.
    fn observe_vote(&self, vote: Vote);

    /// `entry` is readable in the log. Called before `append` returns, thus before the entry can commit.
    fn observe_entry(&self, entry: &Entry);

    /// Entries after `last` were removed.
    fn observe_truncated(&self, last: Option<u64>);

    /// Entries up to `index` are on this node's stable storage.
    fn observe_flushed(&self, index: u64);

    /// Entries up to `index` are committed.
    fn observe_committed(&self, index: u64);

    /// A snapshot of `index` has replaced the log up to there.
    fn observe_installed(&self, index: u64, membership: &Membership);
}
