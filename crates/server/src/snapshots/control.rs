//! The snapshots of group 0, for the task that owns its state. They are small, and its callers are on threads for
//! blocking work, so nothing is queued.

use fastness_consensus::snapshot::{SnapshotFileError, SnapshotPart};
use fastness_control::SnapshotStore;
use fastness_control::snapshots::Parts;
use fastness_log::{Draft, SnapshotError, SnapshotReader};
use fastness_types::LogIndex;

use super::files::{DraftUnderWay, SnapshotFiles};

impl SnapshotStore for SnapshotFiles {
    fn list(&self) -> Result<Vec<LogIndex>, SnapshotFileError> {
        self.folder.list().map_err(SnapshotFileError::file)
    }

    fn read(&self, index: LogIndex) -> Result<Parts<'_>, SnapshotFileError> {
        let reader = self.folder.read(index).map_err(SnapshotFileError::file)?;
        let head = SnapshotPart::Head(reader.head().to_vec().into());
        Ok(Box::new(std::iter::once(Ok(head)).chain(Rest(Some(reader)))))
    }

    fn write(&self, index: LogIndex, parts: Vec<SnapshotPart>) -> Result<LogIndex, SnapshotFileError> {
        let _lock = self.writing.lock();
        let written = write(self, index, &parts, &self.draft());
        if written.is_err()
            && let Err(error) = self.folder.discard(Draft::Own)
        {
            tracing::error!(%error, "cannot remove an incomplete snapshot: it takes up space");
        }
        written?;
        self.keep_newest().map(|older| older.unwrap_or(LogIndex(0))).map_err(SnapshotFileError::file)
    }
}

fn write(
    files: &SnapshotFiles,
    index: LogIndex,
    parts: &[SnapshotPart],
    draft: &DraftUnderWay,
) -> Result<(), SnapshotFileError> {
    let [SnapshotPart::Head(head), chunks @ .., SnapshotPart::Tail(tail)] = parts else {
        return Err(SnapshotFileError::Order);
    };
    let failed = |error: SnapshotError| SnapshotFileError::file(error);
    let mut writer = files.folder.create(Draft::Own, head).map_err(failed)?;
    for chunk in chunks {
        draft.check().map_err(failed)?;
        writer.chunk(chunk.bytes()).map_err(failed)?;
    }
    writer.finish(index, tail).map_err(failed)
}

/// The chunks of a snapshot and its tail; `None` once the tail or an error was returned.
struct Rest(Option<SnapshotReader>);

impl Iterator for Rest {
    type Item = Result<SnapshotPart, SnapshotFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.0.as_mut()?;
        let part = match reader.next_piece() {
            // The content is one run of bytes, whatever pieces it was cut into.
            Ok(Some((piece, _))) => return Some(Ok(SnapshotPart::Chunk(piece.into()))),
            Ok(None) => reader.tail().map(|tail| Ok(SnapshotPart::Tail(tail.to_vec().into()))),
            Err(error) => Some(Err(SnapshotFileError::file(error))),
        };
        self.0 = None;
        part
    }
}
