//! Errors of the log, one enum per operation.
//!
//! All are fatal to the replica, except the first two variants of [`WriteError`], and `Purged` and `Closed` of
//! [`ReadError`].

use fastness_types::{ClusterId, GroupId, NodeId};

use crate::entry::{EntryId, RecordError};
use crate::master_key::Fingerprint;
use crate::store::StoreError;

/// What an operator does about damage: the end of every message that reports it.
const REPLACE: &str = "do not delete parts of it: put a new node with an empty disk in this one's place (`fastness cluster \
                       replace-replica`), which copies the data from the other replicas";

/// Why an operation was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The entries do not directly follow the last entry of the log. Nothing was changed.
    #[error("entry {found} cannot follow entry {last:?} of group {group}")]
    NotContiguous {
        /// The group's id.
        group: GroupId,
        /// Index of the last entry of the log.
        last: Option<u64>,
        /// Index of the entry that was to be appended.
        found: u64,
    },
    /// The truncation would remove purged entries. Nothing was changed.
    #[error("group {group} cannot be truncated after {after:?}: it is purged up to {purged:?}")]
    BelowPurged {
        /// The group's id.
        group: GroupId,
        /// The log was to be truncated after this index.
        after: Option<u64>,
        /// Index of the last purged entry.
        purged: Option<u64>,
    },
    /// This write failed, or an earlier one did. The log accepts no more writes; whether this one was stored is
    /// unknown.
    #[error("the log has failed: {0}")]
    Failed(StoreError),
    /// The log was closed before this operation was written.
    #[error("the log is closed")]
    Closed,
}

/// Why the master key was not exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// The new key is the one in force. Nothing was changed.
    #[error("the new master key is the one in force ({0})")]
    Same(Fingerprint),
    /// Snapshot files may still need the key before. Nothing was changed.
    #[error("snapshot files may still be under master key {0}: the rotation from that key must be completed first")]
    Unfinished(Fingerprint),
    /// Another rotation is waiting for the disk. Nothing was changed.
    #[error("another rotation of the master key is in progress")]
    InProgress,
    /// The log has failed. Which of the two keys the disk is under is found out when it is opened again.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why entries could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The entries are purged.
    #[error("entries up to index {} are purged", .0.index)]
    Purged(EntryId),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A stored record is damaged.
    #[error("entry {index} of group {group} in {place}: {error}; {REPLACE}")]
    Record {
        /// Directory of the store.
        place: String,
        /// The group's id.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// What is wrong with the record.
        error: RecordError,
    },
    /// An entry that the log must contain is missing.
    #[error("entry {index} of group {group} is missing in {place}; {REPLACE}")]
    Missing {
        /// Directory of the store.
        place: String,
        /// The group's id.
        group: GroupId,
        /// Index of the entry.
        index: u64,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a log could not be opened. An open that fails changes nothing on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The store has records but no identity record.
    #[error("{place} has records but no identity record: it is damaged, or it is not a log; {REPLACE}")]
    NoIdentity {
        /// Directory of the store.
        place: String,
    },
    /// The disk belongs to another node.
    #[error("{place} belongs to node {disk}, not to node {given}: correct the node id or the directory")]
    OtherNode {
        /// Directory of the store.
        place: String,
        /// Node id on the disk.
        disk: NodeId,
        /// Configured node id.
        given: NodeId,
    },
    /// The disk belongs to another cluster.
    #[error("{place} belongs to cluster {disk}, not to cluster {given}: correct the directory or the cluster id")]
    OtherCluster {
        /// Directory of the store.
        place: String,
        /// Cluster id on the disk.
        disk: ClusterId,
        /// Configured cluster id.
        given: ClusterId,
    },
    /// The given master key is not the one that this disk was written with.
    #[error(
        "{place} is encrypted under the master key with fingerprint {disk}, but the given key file has {given}: give the \
         key file that this node had. After a rotation of the master key only the new key opens it"
    )]
    OtherMasterKey {
        /// Directory of the store.
        place: String,
        /// Fingerprint of the key that the disk was written with.
        disk: Fingerprint,
        /// Fingerprint of the given key.
        given: Fingerprint,
    },
    /// A stored record is damaged.
    #[error("{place}, {record}: {error}; {REPLACE}")]
    Record {
        /// Directory of the store.
        place: String,
        /// Names the record.
        record: String,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A stored key has a form that this version does not know.
    #[error(
        "{place} has a {family} key {key}, which this version does not know: start the newer version that wrote it"
    )]
    UnknownKey {
        /// Directory of the store.
        place: String,
        /// Name of the key's family.
        family: &'static str,
        /// The key, in hexadecimal.
        key: String,
    },
    /// One or more entries are missing.
    #[error("{place}: group {group} has entry {found} where entry {expected} is expected; {REPLACE}")]
    Gap {
        /// Directory of the store.
        place: String,
        /// The group's id.
        group: GroupId,
        /// The index expected next.
        expected: u64,
        /// The index found instead.
        found: u64,
    },
    /// An entry has a lower term than the entry before it.
    #[error(
        "{place}: group {group} has term {term} at entry {index}, lower than term {before} of the entry before it; {REPLACE}"
    )]
    TermOrder {
        /// Directory of the store.
        place: String,
        /// The group's id.
        group: GroupId,
        /// Index of the entry.
        index: u64,
        /// Term of the entry.
        term: u64,
        /// Term of the entry before it.
        before: u64,
    },
    /// The log's threads could not be started.
    #[error("cannot start the log's threads: {0}")]
    Thread(String),
}
