//! The interface to snapshot files: consensus reads the one that it sends to another node, and stores the one that it
//! receives. The owner of the data decides what a snapshot holds and when it makes one (`group/handle.rs`,
//! `OwnSnapshot`).

use std::sync::Arc;

use bytes::Bytes;
use fastness_types::LogIndex;

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPart {
    /// The first part.
    Head(Bytes),
    /// Any number of chunks follow.
    Chunk(Bytes),
    /// The last part.
    Tail(Bytes),
}

impl SnapshotPart {
    /// The content of the part.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            SnapshotPart::Head(bytes) | SnapshotPart::Chunk(bytes) | SnapshotPart::Tail(bytes) => bytes,
        }
    }
}

/// A piece of a part, as it is sent. A chunk may be cut into several pieces, so that the size of a message does not
/// grow with what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPiece {
    /// The content of the piece.
    pub part: SnapshotPart,
    /// Whether the next piece continues the same chunk.
    pub continues: bool,
}

impl SnapshotPiece {
    /// A whole part in one piece.
    #[must_use]
    pub fn whole(part: SnapshotPart) -> SnapshotPiece {
        SnapshotPiece { part, continues: false }
    }
}

/// Why a snapshot file could not be read or stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotFileError {
    /// No file holds the snapshot of this position.
    #[error("the snapshot of index {} does not exist", .0.0)]
    Missing(LogIndex),
    /// The node's disk budget does not allow another snapshot.
    #[error("the disk budget of this node does not hold another snapshot")]
    NoSpace,
    /// The first part is not a head.
    #[error("the snapshot does not start with a head")]
    NoHead,
    /// A snapshot is one head, any number of chunks, and one tail.
    #[error("the parts of the snapshot are not in order")]
    Order,
    /// Reading or storing stopped before the end of the snapshot.
    #[error("the snapshot was given up")]
    GivenUp,
    /// Reading or writing failed. The cause names the file.
    #[error("{0}")]
    File(Arc<dyn std::error::Error + Send + Sync>),
}

impl SnapshotFileError {
    /// The error of an operation on a snapshot file.
    pub fn file(cause: impl std::error::Error + Send + Sync + 'static) -> SnapshotFileError {
        SnapshotFileError::File(Arc::new(cause))
    }
}

/// The snapshot files of one group on this node.
#[async_trait::async_trait]
pub trait SnapshotFiles: Send + Sync + 'static {
    /// Opens the snapshot of exactly this position.
    ///
    /// # Errors
    /// The snapshot does not exist (any more), or cannot be read.
    async fn open(&self, index: LogIndex) -> Result<Box<dyn OutgoingSnapshot>, SnapshotFileError>;

    /// Starts to store a snapshot from another node. At most one is received at a time: an unfinished one is given up.
    ///
    /// # Errors
    /// The disk refuses.
    async fn receive(&self) -> Result<Box<dyn IncomingSnapshot>, SnapshotFileError>;
}

/// A snapshot that is read in order to send it.
#[async_trait::async_trait]
pub trait OutgoingSnapshot: Send {
    /// The approximate size of all parts in bytes.
    fn bytes(&self) -> u64;

    /// The next piece; `None` after the last. The size of a piece is bounded by the file's format, not by what is
    /// stored.
    ///
    /// # Errors
    /// The file is damaged or cannot be read. The text names file and position.
    async fn next(&mut self) -> Result<Option<SnapshotPiece>, SnapshotFileError>;
}

/// A snapshot that is being received. If it is dropped before [`IncomingSnapshot::publish`], it leaves no trace.
#[async_trait::async_trait]
pub trait IncomingSnapshot: Send + Sync {
    /// Stores a piece. Returns when the next one may be pushed.
    ///
    /// # Errors
    /// The disk refuses, the parts are not in order, or another snapshot is received meanwhile.
    async fn push(&mut self, piece: SnapshotPiece) -> Result<(), SnapshotFileError>;

    /// Makes the complete snapshot the one of this position. It is on stable storage when this returns.
    ///
    /// # Errors
    /// The disk refuses, or the last part is not a tail. The snapshot does not exist then.
    async fn publish(self: Box<Self>, index: LogIndex) -> Result<(), SnapshotFileError>;
}
