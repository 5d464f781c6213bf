//! One error enum per operation. All of [`WriteError`] but its two first variants, and all of [`ReadError`] but
//! `Purged` and `Closed`, are fatal to the replica.

use fastness_types::{ClusterId, GroupId, NodeId};

use crate::cipher::Fingerprint;
use crate::entry::{EntryId, RecordError};
use crate::store::StoreError;

/// What to do about damage.
const REPLACE: &str = "do not delete parts of it: put a new node with an empty disk in this one's place (`fastness cluster \
                       replace-replica`), which takes the data from the other replicas";

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The entries do not follow the log's last one; nothing was changed.
    #[error("entry {found} cannot follow entry {last:?} of group {group}")]
    NotContiguous {
        /// The group.
        group: GroupId,
        /// Index of the log's last entry.
        last: Option<u64>,
        /// Index that was to be appended.
        found: u64,
    },
    /// A truncation reaches below what is purged; nothing was changed.
    #[error("group {group} cannot be cut after {after:?}: it is purged up to {purged:?}")]
    BelowPurged {
        /// The group.
        group: GroupId,
        /// Where it was to be cut.
        after: Option<u64>,
        /// What is purged.
        purged: Option<u64>,
    },
    /// The write failed, or one before it did; the log is failed for good and whether this was stored is unknown.
    #[error("the log has failed: {0}")]
    Failed(StoreError),
    /// The log was closed before this was written.
    #[error("the log is closed")]
    Closed,
}

/// Why entries could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They are purged.
    #[error("entries up to index {} are purged", .0.index)]
    Purged(EntryId),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A stored record does not check.
    #[error("entry {index} of group {group} in {place}: {error}; {REPLACE}")]
    Record {
        /// The store.
        place: String,
        /// The group.
        group: GroupId,
        /// The entry.
        index: u64,
        /// What is wrong.
        error: RecordError,
    },
    /// An entry that must be there is not.
    #[error("entry {index} of group {group} is missing in {place}; {REPLACE}")]
    Missing {
        /// The store.
        place: String,
        /// The group.
        group: GroupId,
        /// The entry.
        index: u64,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a log could not be opened. Nothing is changed by an open that fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is data without an identity.
    #[error("{place} has records, but not the identity record: it is damaged or not a log; {REPLACE}")]
    NoIdentity {
        /// The store.
        place: String,
    },
    /// The disk belongs to another node.
    #[error("{place} belongs to node {disk}, not to node {given}: correct the node id or the directory")]
    OtherNode {
        /// The store.
        place: String,
        /// As stored.
        disk: NodeId,
        /// As configured.
        given: NodeId,
    },
    /// The disk belongs to another cluster.
    #[error("{place} belongs to cluster {disk}, not to cluster {given}: correct the directory or the cluster id")]
    OtherCluster {
        /// The store.
        place: String,
        /// As stored.
        disk: ClusterId,
        /// As configured.
        given: ClusterId,
    },
    /// The master key is not the one this disk was written with.
    #[error(
        "{place} is encrypted under the master key with fingerprint {disk}, the key file given has {given}: give the \
         key file that this node had (and the old one as the previous key, if it was changed)"
    )]
    OtherMasterKey {
        /// The store.
        place: String,
        /// As stored.
        disk: Fingerprint,
        /// As given.
        given: Fingerprint,
    },
    /// A record does not check.
    #[error("{place}, {record}: {error}; {REPLACE}")]
    Record {
        /// The store.
        place: String,
        /// Which record.
        record: String,
        /// What is wrong.
        error: RecordError,
    },
    /// A key that this version does not know.
    #[error(
        "{place} has a {family} key {key} that this version of the program does not know: was it used by a newer one?"
    )]
    UnknownKey {
        /// The store.
        place: String,
        /// The family.
        family: &'static str,
        /// Its bytes in hexadecimal.
        key: String,
    },
    /// Entries are missing.
    #[error("{place}: group {group} has entry {found} where entry {expected} must be; {REPLACE}")]
    Gap {
        /// The store.
        place: String,
        /// The group.
        group: GroupId,
        /// The index that must come next.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// Terms run back.
    #[error("{place}: group {group} has term {term} at entry {index}, after term {before}; {REPLACE}")]
    TermOrder {
        /// The store.
        place: String,
        /// The group.
        group: GroupId,
        /// The entry.
        index: u64,
        /// Its term.
        term: u64,
        /// The term of the one before.
        before: u64,
    },
    /// The threads could not be started.
    #[error("cannot start the log's threads: {0}")]
    Thread(String),
}
