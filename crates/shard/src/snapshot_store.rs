//! The edge to the files of snapshots: how a replica writes and reads them without waiting for a disk.

pub use fastness_consensus::snapshot::SnapshotPart;
use fastness_types::LogIndex;

/// An edge: the snapshots of this replica on disk.
pub trait SnapshotStore {
    /// Whether the disk has space for one of about `bytes`. If not, it is called again after a while.
    fn admits(&self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }
    /// Starts one, whose first part is `head`. One at a time.
    fn create(&self, head: Vec<u8>) -> Box<dyn SnapshotSink>;
    /// Opens the newest one below `below`, or of all; `None`: there is none.
    fn open_newest(&self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)>;
}

/// A snapshot that is being written, on another thread: nothing here waits. One that is dropped before
/// [`SnapshotSink::finish`] leaves no trace.
pub trait SnapshotSink {
    /// Whether the next chunk may be pushed.
    fn has_room(&self) -> bool;
    /// Memory of chunks that are not on their way to the disk yet, bytes.
    fn waiting_bytes(&self) -> u64;
    /// Adds a chunk.
    fn push(&mut self, chunk: Vec<u8>);
    /// Why it cannot be written; it has to be given up then.
    fn failure(&self) -> Option<String>;
    /// Ends it: from when all is on stable storage it is the snapshot of `index`.
    fn finish(&mut self, index: LogIndex, tail: Vec<u8>);
    /// `None` until that is so; then the position up to which the log is no longer needed: that of the snapshot before
    /// it, which is kept as well, or 0 without one.
    fn finished(&self) -> Option<LogIndex>;
}

/// Why a snapshot cannot be read: its text names file and place.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A snapshot that is being read.
#[async_trait::async_trait(?Send)]
pub trait SnapshotSource {
    /// About how many bytes its chunks have together, if that is known: for the progress that is shown.
    fn bytes(&self) -> Option<u64> {
        None
    }
    /// The next part; `None` after the last.
    ///
    /// # Errors
    /// It is damaged; the text names file and place.
    async fn next(&mut self) -> Result<Option<SnapshotPart>, SourceError>;
}
