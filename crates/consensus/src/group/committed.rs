//! Committed entries as the owner of the data reads them.

use std::sync::Arc;

use bytes::Bytes;
use fastness_log::{EntryKind, GroupLog, LogEntry};
use fastness_types::{Epoch, LogIndex, NodeId};

/// What a committed entry is to the owner of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryPayload {
    /// The first entry of a leader's term.
    Blank,
    /// A batch, as proposed.
    Batch(Bytes),
    /// A change of the group's members; nothing for the data, but a foreign entry all the same.
    Membership,
}

/// One committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where it stands.
    pub index: LogIndex,
    /// The leader that proposed it.
    pub epoch: Epoch,
    /// What it carries.
    pub payload: EntryPayload,
}

/// Why committed entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log no longer holds them (a snapshot does).
    #[error("entries up to {0:?} are purged")]
    Purged(LogIndex),
    /// The log is broken; the replica must stop.
    #[error("log: {0}")]
    Log(String),
    /// Consensus has stopped.
    #[error("consensus has stopped")]
    Stopped,
}

/// Reads committed entries; implemented by the driver over the log.
#[async_trait::async_trait]
pub trait CommittedLog: Send + Sync {
    /// Entries from `from` on, at least one and about `bytes_max` bytes, never past `to`, if they are in memory.
    fn read_cached(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Option<Vec<Committed>>;
    /// The same from disk, on the log's own reader, not on the caller's thread.
    async fn read(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Result<Vec<Committed>, ReadError>;
}

/// A log entry that is known to be committed, as its owner sees it.
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

/// The owner's reader of committed entries.
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
