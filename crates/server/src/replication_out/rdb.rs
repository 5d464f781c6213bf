//! The RDB file with which a stream starts, made of a snapshot file of this node.
//!
//! The snapshot is read from the disk piece by piece. A reader that knows no mark of the end (`capa eof`) is told the
//! length first: then the snapshot is read twice, and both times the file is the same.

use fastness_engine::outbound::dialect::Dialect;
use fastness_engine::outbound::rdb::RdbWriter;
use fastness_log::{SnapshotError, SnapshotReader};
use fastness_shard::{ExportedSnapshot, RdbStart, SnapshotExport, UnusableSnapshot};
use fastness_types::{LogIndex, ShardId};

use crate::shared::{REDIS_VERSION, VALKEY_VERSION};
use crate::snapshots::SnapshotFiles;

/// How a reader finds the end of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileForm {
    /// By its length, which is sent first.
    Length,
    /// By a mark of 40 bytes, which is sent first, and again after the file.
    Mark(String),
}

/// Why a file cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The snapshot cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Read(#[from] SnapshotError),
    /// The snapshot is damaged.
    #[error("the snapshot is damaged: {0}")]
    Unusable(#[from] UnusableSnapshot),
}

/// The facts of a file.
#[derive(Debug, Clone)]
pub(super) struct FileFacts {
    pub(super) shard: ShardId,
    pub(super) dialect: Dialect,
    /// About how many keys it has.
    pub(super) keys: u64,
    /// Seconds since the Unix epoch.
    made_at: String,
}

impl FileFacts {
    pub(super) fn new(shard: ShardId, dialect: Dialect, keys: u64, made_at: u64) -> FileFacts {
        FileFacts { shard, dialect, keys, made_at: made_at.to_string() }
    }

    fn facts(&self) -> [(&str, &str); 3] {
        let version = match self.dialect {
            Dialect::Rdb11 => ("redis-ver", REDIS_VERSION),
            Dialect::Rdb80 => ("valkey-ver", VALKEY_VERSION),
        };
        [version, ("redis-bits", "64"), ("ctime", self.made_at.as_str())]
    }
}

/// A file that is being made.
pub(super) struct RdbFile {
    reader: SnapshotReader,
    export: Option<SnapshotExport>,
}

impl RdbFile {
    /// Starts the file of the snapshot at `index`, and appends its first bytes to `out`.
    pub(super) fn open(
        files: &SnapshotFiles,
        index: LogIndex,
        facts: &FileFacts,
        out: &mut Vec<u8>,
    ) -> Result<RdbFile, FileError> {
        let reader = files.reader(index)?;
        let start = RdbStart { dialect: facts.dialect, facts: &facts.facts(), keys: facts.keys };
        let export = SnapshotExport::begin(facts.shard, reader.head(), start, out)?;
        Ok(RdbFile { reader, export: Some(export) })
    }

    /// Appends the next bytes to `out`, maybe none. Returns what the file has once it is complete.
    pub(super) fn write_next(&mut self, out: &mut Vec<u8>) -> Result<Option<ExportedSnapshot>, FileError> {
        let incomplete = || UnusableSnapshot::Parts("it has no tail");
        let Some(export) = &mut self.export else { return Err(incomplete().into()) };
        if let Some(chunk) = self.reader.next_chunk()? {
            export.chunk(&chunk, out)?;
            return Ok(None);
        }
        let tail = self.reader.tail().ok_or_else(incomplete)?;
        let Some(export) = self.export.take() else { return Err(incomplete().into()) };
        Ok(Some(export.finish(tail, out)?))
    }
}

/// The length of a file, bytes.
pub(super) fn length_of(files: &SnapshotFiles, index: LogIndex, facts: &FileFacts) -> Result<u64, FileError> {
    let mut out = Vec::new();
    let mut file = RdbFile::open(files, index, facts, &mut out)?;
    let mut length = 0;
    loop {
        length += out.len() as u64;
        out.clear();
        if file.write_next(&mut out)?.is_some() {
            return Ok(length + out.len() as u64);
        }
    }
}

/// A file without keys.
pub(super) fn empty(facts: &FileFacts) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = RdbWriter::begin(facts.dialect, &facts.facts(), 0, &mut out);
    // There is no hash in it.
    let _ = writer.end(&mut out);
    out
}
