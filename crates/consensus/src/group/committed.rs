//! Committed entries, as the owner of the data reads them.

use std::sync::Arc;

use bytes::Bytes;
use fastness_log::{EntryKind, GroupLog, LogEntry};
use fastness_types::{Epoch, LogIndex, NodeId};

/// The payload of a committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryPayload {
    /// The first entry of a leader's term.
    Blank,
    /// A batch, as proposed.
    Batch(Bytes),
    /// A change of the group's members. It does not concern the data, but it occupies an index.
    Membership,
}

/// One committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its position in the log.
    pub index: LogIndex,
    /// The leader that proposed it.
    pub epoch: Epoch,
    /// Its payload.
    pub payload: EntryPayload,
}

/// Why committed entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log no longer holds them; a snapshot does.
    #[error("entries up to {0:?} are purged")]
    Purged(LogIndex),
    /// The log is broken; the replica must stop.
    #[error("log: {0}")]
    Log(String),
    /// Consensus has stopped.
    #[error("consensus has stopped")]
    Stopped,
}

/// Reads committed entries. Consensus implements it over the log.
#[async_trait::async_trait]
pub trait CommittedLog: Send + Sync {
    /// Entries from `from` on, if they are in memory: at least one, about `bytes_max` bytes, and none after `to`.
    fn read_cached(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Option<Vec<Committed>>;
    /// The same from disk. The log's own thread reads them, not the caller's.
    async fn read(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Result<Vec<Committed>, ReadError>;
}

/// Converts a log entry that is known to be committed.
#[must_use]
pub fn committed_entry(entry: &LogEntry) -> Committed {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Batch => EntryPayload::Batch(entry.payload.clone()),
        EntryKind::Membership => EntryPayload::Membership,
    };
    let epoch = Epoch { term: entry.term, node: NodeId(entry.node) };
    Committed { index: LogIndex(entry.index), epoch, payload }
}

/// Reads the committed entries of one group.
pub(crate) struct CommittedReader(pub(crate) GroupLog);

fn committed(entry: &Arc<LogEntry>) -> Committed {
    committed_entry(entry)
}

#[async_trait::async_trait]
impl CommittedLog for CommittedReader {
    fn read_cached(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Option<Vec<Committed>> {
        let found = self.0.read_cached(from.0..to.0 + 1, bytes_max)?;
        Some(found.iter().map(committed).collect())
    }

    async fn read(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Result<Vec<Committed>, ReadError> {
        use fastness_log::ReadError as LogReadError;
        match self.0.read(from.0..to.0 + 1, bytes_max).await {
            Ok(found) => Ok(found.iter().map(committed).collect()),
            Err(LogReadError::Purged(upto)) => Err(ReadError::Purged(LogIndex(upto.index))),
            Err(LogReadError::Closed) => Err(ReadError::Stopped),
            Err(error) => Err(ReadError::Log(error.to_string())),
        }
    }
}
