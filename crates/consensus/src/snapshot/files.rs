//! The edge towards snapshot files: how consensus reads one that it sends to another node, and stores one that it
//! receives. What a snapshot holds is its owner's business; when its own are made, too (`group/handle.rs`,
//! `OwnSnapshot`).

use std::sync::Arc;

use bytes::Bytes;
use fastness_types::LogIndex;

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPart {
    /// The first.
    Head(Bytes),
    /// Any number of them.
    Chunk(Bytes),
    /// The last.
    Tail(Bytes),
}

impl SnapshotPart {
    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            SnapshotPart::Head(bytes) | SnapshotPart::Chunk(bytes) | SnapshotPart::Tail(bytes) => bytes,
        }
    }
}

/// A part of a snapshot as it travels: a chunk may be cut into several, so that no message grows with what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPiece {
    /// What it holds.
    pub part: SnapshotPart,
    /// Whether the next piece is of the same chunk.
    pub continues: bool,
}

impl SnapshotPiece {
    /// A part in one piece.
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
    /// The snapshot was not read or stored to its end.
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
    /// There is none (any more), or it cannot be read.
    async fn open(&self, index: LogIndex) -> Result<Box<dyn OutgoingSnapshot>, SnapshotFileError>;

    /// Begins to store one that another node sends. One at a time: what was being received is given up.
    ///
    /// # Errors
    /// The disk refuses.
    async fn receive(&self) -> Result<Box<dyn IncomingSnapshot>, SnapshotFileError>;
}

/// A snapshot that is read to be sent.
#[async_trait::async_trait]
pub trait OutgoingSnapshot: Send {
    /// About how many bytes its parts have.
    fn bytes(&self) -> u64;

    /// The next piece; `None` after the last. The size of a piece is bounded by the file's format, not by what is
    /// stored.
    ///
    /// # Errors
    /// It is damaged; the text names file and place.
    async fn next(&mut self) -> Result<Option<SnapshotPiece>, SnapshotFileError>;
}

/// A snapshot that is being received. Dropped before [`IncomingSnapshot::publish`] it never was.
#[async_trait::async_trait]
pub trait IncomingSnapshot: Send + Sync {
    /// Takes a piece; returns when there is room for the next one.
    ///
    /// # Errors
    /// The disk refuses, the parts are in no possible order, or another one is received meanwhile.
    async fn push(&mut self, piece: SnapshotPiece) -> Result<(), SnapshotFileError>;

    /// All parts are there: makes it the snapshot of this position. On stable storage when it returns.
    ///
    /// # Errors
    /// The disk refuses, or the last part was not a tail; there is no such snapshot then.
    async fn publish(self: Box<Self>, index: LogIndex) -> Result<(), SnapshotFileError>;
}
