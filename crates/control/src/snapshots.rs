//! The snapshots of group 0 on this node: when one is made, and from which one the state is restored.
//!
//! - One is due after [`CONTROL_LOG_ENTRIES_MAX`] entries, or [`CONTROL_LOG_BYTES_MAX`] bytes of commands. It is
//!   encoded and written on a thread for blocking work, one at a time; the log is followed meanwhile.
//! - It is made only if every member of the group can receive one, because the log is purged afterwards.
//! - Two are kept. The log is purged up to the older one, so that the newer one may turn out to be damaged.
//! - A failed attempt is repeated after a minute.

use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::{GroupHandle, OwnSnapshot};
use fastness_consensus::snapshot::{SnapshotFileError, SnapshotPart};
use fastness_events::{Event, SnapshotFailure};
use fastness_types::limits::{CONTROL_LOG_BYTES_MAX, CONTROL_LOG_ENTRIES_MAX};
use fastness_types::{BootNs, Clock, FormatLevel, LogIndex};
use tokio::task::JoinHandle;

use crate::snapshot::{self, Decoder, SnapshotFormatError};
use crate::state::ControlState;

/// Delay before the next attempt after a failed one.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The parts of a stored snapshot, in order.
pub type Parts<'s> = Box<dyn Iterator<Item = Result<SnapshotPart, SnapshotFileError>> + 's>;

/// Where the snapshots of group 0 are kept on this node. All calls block.
pub trait SnapshotStore: Send + Sync + 'static {
    /// Positions of the snapshots, the newest first.
    ///
    /// # Errors
    /// The disk refuses.
    fn list(&self) -> Result<Vec<LogIndex>, SnapshotFileError>;

    /// Reads the snapshot of this position.
    ///
    /// # Errors
    /// It does not exist, or is damaged.
    fn read(&self, index: LogIndex) -> Result<Parts<'_>, SnapshotFileError>;

    /// Stores a snapshot, which is on stable storage when this returns. The newest one before it is kept, and older
    /// ones are removed. Returns the position of the one before it; 0: there is none.
    ///
    /// # Errors
    /// The disk refuses; nothing is stored then.
    fn write(&self, index: LogIndex, parts: Vec<SnapshotPart>) -> Result<LogIndex, SnapshotFileError>;
}

/// Why a snapshot was not made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Encode(#[from] SnapshotFormatError),
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    #[error("its thread has panicked")]
    Panicked,
}

/// Why a stored snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
enum UnusableSnapshot {
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    #[error(transparent)]
    Content(#[from] SnapshotFormatError),
    #[error("it is one of another position, {}", .0.0)]
    Position(LogIndex),
}

/// Log since a snapshot.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    entries: u64,
    bytes: u64,
}

/// A snapshot that is being written.
struct Writing {
    snapshot: OwnSnapshot,
    /// The log before it, which was counted when it was started.
    covers: Amount,
    /// Returns the position of the snapshot before it, and the size of this one in bytes.
    written: JoinHandle<Result<(LogIndex, u64), MakeError>>,
}

/// See the module.
pub(crate) struct Snapshots {
    /// `None`: the log is never purged.
    store: Option<Arc<dyn SnapshotStore>>,
    /// Entries applied since the newest snapshot.
    since: Amount,
    writing: Option<Writing>,
    not_before: BootNs,
    /// The newest snapshot that consensus was informed of.
    reported: LogIndex,
}

impl Snapshots {
    pub(crate) fn new(store: Option<Arc<dyn SnapshotStore>>) -> Snapshots {
        Snapshots { store, since: Amount::default(), writing: None, not_before: BootNs(0), reported: LogIndex(0) }
    }

    /// Counts an applied entry with a command of this many bytes.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.since.entries += 1;
        self.since.bytes += bytes as u64;
    }

    /// Starts to make a snapshot of this state if one is due.
    pub(crate) fn make_if_due(&mut self, state: &ControlState, handle: &GroupHandle, now: BootNs) {
        let Some(store) = &self.store else { return };
        let is_due = self.since.entries >= CONTROL_LOG_ENTRIES_MAX || self.since.bytes >= CONTROL_LOG_BYTES_MAX;
        let may_start = self.writing.is_none() && now >= self.not_before;
        if !(is_due && may_start && handle.format() >= FormatLevel::CONTROL_SNAPSHOTS) {
            return;
        }
        let (store, state) = (store.clone(), state.clone());
        let snapshot = OwnSnapshot { index: state.index, epoch: state.epoch, purge_upto: LogIndex(0) };
        let written = tokio::task::spawn_blocking(move || {
            let parts = snapshot::encode(&state)?;
            let bytes = parts.iter().map(|part| part.bytes().len() as u64).sum();
            Ok((store.write(state.index, parts)?, bytes))
        });
        self.writing = Some(Writing { snapshot, covers: self.since, written });
    }

    /// Resolves once the snapshot that is being written is on stable storage, and reports it; never if there is none.
    /// May be dropped at any time.
    pub(crate) async fn written(&mut self, handle: &GroupHandle, clock: &dyn Clock) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let written = (&mut writing.written).await.unwrap_or(Err(MakeError::Panicked));
        let Writing { snapshot, covers, .. } = *writing;
        self.writing = None;
        match written {
            // One that another node has sent meanwhile is newer.
            Ok(_) if snapshot.index <= self.reported => {}
            Ok((purge_upto, bytes)) => {
                self.since.entries -= covers.entries;
                self.since.bytes -= covers.bytes;
                self.report(OwnSnapshot { purge_upto, ..snapshot }, handle);
                let (shard, index) = (handle.group(), snapshot.index);
                handle.events().record(Event::SnapshotWritten { shard, index, keys: None, bytes });
            }
            Err(error) => {
                self.not_before = clock.boot().plus(RETRY_AFTER);
                record_failure(handle, SnapshotFailure::Write, Some(snapshot.index), &error);
            }
        }
    }

    fn report(&mut self, snapshot: OwnSnapshot, handle: &GroupHandle) {
        self.reported = snapshot.index;
        handle.report_snapshot(snapshot);
    }

    /// The state of the newest usable snapshot after `after`; `None`: there is none.
    pub(crate) async fn restore(&mut self, after: LogIndex, handle: &GroupHandle) -> Option<ControlState> {
        let store = self.store.clone()?;
        let restored = tokio::task::spawn_blocking(move || newest(store.as_ref(), after)).await;
        let (state, unusable) = restored.unwrap_or_else(|error| {
            tracing::error!(%error, "the thread that reads the control plane's snapshots has panicked");
            (None, Vec::new())
        });
        for (index, error) in unusable {
            record_failure(handle, SnapshotFailure::Read, index, &error);
        }
        let state = state?;
        self.since = Amount::default();
        // The next own one has the log purged.
        self.report(OwnSnapshot { index: state.index, epoch: state.epoch, purge_upto: LogIndex(0) }, handle);
        handle.events().record(Event::MemoryRestored { shard: handle.group(), index: state.index });
        Some(state)
    }
}

fn record_failure(handle: &GroupHandle, step: SnapshotFailure, index: Option<LogIndex>, error: &impl ToString) {
    let (shard, reason) = (handle.group(), error.to_string());
    handle.events().record(Event::SnapshotFailed { shard, step, index, reason });
}

/// Reads the newest usable snapshot after `after`, and tells which newer ones cannot be used, and why.
fn newest(
    store: &dyn SnapshotStore,
    after: LogIndex,
) -> (Option<ControlState>, Vec<(Option<LogIndex>, UnusableSnapshot)>) {
    let mut unusable = Vec::new();
    let list = match store.list() {
        Ok(list) => list,
        Err(error) => return (None, vec![(None, error.into())]),
    };
    for index in list.into_iter().take_while(|index| *index > after) {
        match read(store, index) {
            Ok(state) => return (Some(state), unusable),
            Err(error) => unusable.push((Some(index), error)),
        }
    }
    (None, unusable)
}

fn read(store: &dyn SnapshotStore, index: LogIndex) -> Result<ControlState, UnusableSnapshot> {
    let mut decoder = Decoder::default();
    for part in store.read(index)? {
        decoder.take(&part?)?;
    }
    let state = decoder.finish()?;
    if state.index == index { Ok(state) } else { Err(UnusableSnapshot::Position(state.index)) }
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
