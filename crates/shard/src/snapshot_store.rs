//! The interface to the snapshot files: how a replica writes and reads them without blocking on a disk.

use std::error::Error;
use std::sync::Arc;

pub use fastness_consensus::snapshot::SnapshotPart;
use fastness_types::LogIndex;

/// The snapshots of this replica on disk.
pub trait SnapshotStore {
    /// Whether the disk has space for a snapshot of about `bytes`. If not, the shard tries again later.
    fn admits(&self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }
    /// Starts a new snapshot, whose first part is `head`. Only one is written at a time.
    fn create(&self, head: Vec<u8>) -> Box<dyn SnapshotSink>;
    /// Opens the newest snapshot, or the newest one before position `below`. `None` if none exists.
    fn open_newest(&self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)>;
}

/// A snapshot that another thread writes; no method blocks. A snapshot that is dropped before
/// [`SnapshotSink::finish`] is removed.
pub trait SnapshotSink {
    /// Whether the next chunk may be pushed.
    fn has_room(&self) -> bool;
    /// Memory of the chunks that are not yet passed to the disk, in bytes.
    fn waiting_bytes(&self) -> u64;
    /// Adds a chunk.
    fn push(&mut self, chunk: Vec<u8>);
    /// Why the snapshot cannot be written; its owner must abandon it then. `None`: no error so far.
    fn failure(&self) -> Option<SinkError>;
    /// Adds the last part. Once everything is on stable storage, this is the snapshot of `index`.
    fn finish(&mut self, index: LogIndex, tail: Vec<u8>);
    /// `None` until the snapshot is on stable storage. Then the position up to which the log is no longer needed: that
    /// of the preceding snapshot, which is kept as well, or 0 without one.
    fn finished(&self) -> Option<LogIndex>;
}

/// Why a snapshot cannot be written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SinkError {
    /// The thread that writes the file cannot be started.
    #[error("the thread that writes the snapshot cannot be started: {0}")]
    Thread(#[source] Arc<std::io::Error>),
    /// The file cannot be written; the text names file and place.
    #[error("{0}")]
    Write(#[source] Arc<dyn Error + Send + Sync>),
}

/// Why a snapshot cannot be read: its text names file and place.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// A snapshot that is being read.
#[async_trait::async_trait(?Send)]
pub trait SnapshotSource {
    /// Approximate size of all chunks in bytes, if it is known. Only for the progress report.
    fn bytes(&self) -> Option<u64> {
        None
    }
    /// The next part; `None` after the last.
    ///
    /// # Errors
    /// The snapshot is damaged or cannot be read; the text names file and place.
    async fn next(&mut self) -> Result<Option<SnapshotPart>, SourceError>;
}
