//! The schedule of one replica's snapshots, and the snapshot that is being written. See `snapshot.rs` for the rules.

use std::rc::Rc;
use std::time::Duration;

use fail::fail_point;
use fastness_consensus::handle::{GroupHandle, IncomingBytes, OwnSnapshot};
use fastness_engine::{Digest, Engine, ImageSum};
use fastness_events::{Event, SnapshotFailure};
use fastness_types::limits::IMAGE_RECORD_BYTES_MAX;
use fastness_types::{BootNs, FormatLevel, LogIndex, Seq, ShardId};

use crate::idempotency::records::Records;
use crate::idempotency::stored::FrozenRecords;
use crate::outcome::Tenure;
use crate::snapshot_format::{SnapshotHead, Tail, encode_head};
use crate::snapshot_store::{SnapshotSink, SnapshotSource, SnapshotStore};

/// Bytes of an image that are written per turn, which takes about ten microseconds.
pub(crate) const SLICE_BYTES: usize = 32 * 1024;
/// Pause between two slices, which limits the writing of an image to 64 MB/s.
pub(crate) const SLICE_PAUSE: Duration = Duration::from_micros(500);
/// How often a finished snapshot is checked until it is on stable storage.
const FINISH_CHECK: Duration = Duration::from_millis(10);
/// Delay before the next snapshot after a failed one.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Delay before a snapshot is tried again for which the disk has no space.
const ADMIT_AGAIN: Duration = Duration::from_secs(1);
/// Figures for INFO and metrics. Counts are since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotInfo {
    /// Whether a snapshot is being written.
    pub in_progress: bool,
    /// Position of the newest snapshot that was written or restored from; 0: none.
    pub newest: LogIndex,
    /// Bytes of committed entries since the newest snapshot was cut.
    pub log_bytes: u64,
    /// Snapshots completely written.
    pub written: u64,
    /// Snapshots abandoned because of a disk error or a lost leadership.
    pub given_up: u64,
    /// Times that a due snapshot was not started because the disk had no space.
    pub refused: u64,
    /// Keys in the newest snapshot.
    pub keys: u64,
    /// Size of its image, in bytes.
    pub bytes: u64,
    /// Snapshots of other nodes that replaced memory.
    pub received: u64,
    /// Snapshot that is being received.
    pub incoming: Option<IncomingBytes>,
}

/// The log position of the image that is being written.
pub(crate) enum SnapshotPlace {
    Known(Box<Tail>),
    /// After this batch of this tenure, which has not committed yet.
    Staged(Tenure, Seq),
}

/// A snapshot that is being written.
struct SnapshotInProgress {
    sink: Box<dyn SnapshotSink>,
    place: SnapshotPlace,
    /// The idempotency records at that position, as far as they are not written.
    records: FrozenRecords,
    bytes: u64,
    sum: Option<ImageSum>,
    /// Whether the tail was pushed. The snapshot is not known to be on stable storage yet.
    finishing: bool,
}

/// The snapshots of one replica.
pub(crate) struct Snapshots {
    store: Option<Rc<dyn SnapshotStore>>,
    /// A snapshot is cut after this many bytes of log, or after as many as the size of the last image, if that is more.
    /// 0: only on request.
    every: u64,
    /// Upper limit on the bytes of log between two snapshots in any case: this shard's share of the node's disk.
    share: u64,
    wanted: bool,
    not_before: BootNs,
    cut: Option<SnapshotInProgress>,
    info: SnapshotInfo,
    /// Whether memory must be restored from a snapshot.
    restore: bool,
}

impl Snapshots {
    pub(crate) fn new(store: Option<Rc<dyn SnapshotStore>>, every: u64) -> Snapshots {
        let restore = store.is_some();
        let info = SnapshotInfo::default();
        Snapshots { store, every, share: u64::MAX, wanted: false, not_before: BootNs(0), cut: None, info, restore }
    }

    /// Whether a store for snapshots exists.
    pub(crate) fn have_store(&self) -> bool {
        self.store.is_some()
    }

    /// Whether one is being written.
    pub(crate) fn is_in_progress(&self) -> bool {
        self.cut.is_some()
    }

    /// Requests a snapshot as soon as possible.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether one is requested that has not begun.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Sets after how many bytes of log a snapshot is cut. True if the value has changed.
    pub(crate) fn set_every(&mut self, bytes: u64) -> bool {
        std::mem::replace(&mut self.every, bytes) != bytes
    }

    /// Sets the shard's share of the node's disk. True if the value has changed.
    pub(crate) fn set_share(&mut self, bytes: u64) -> bool {
        std::mem::replace(&mut self.share, bytes) != bytes
    }

    /// Counts a committed entry.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.info.log_bytes += bytes as u64;
    }

    /// Records that memory was emptied: it will be restored from the newest snapshot. Discards the image of it.
    pub(crate) fn restart(&mut self) {
        self.give_up();
        self.restore = self.store.is_some();
    }

    /// Records that a snapshot from another node replaces memory.
    pub(crate) fn count_received(&mut self) {
        self.info.received += 1;
    }

    /// Restarts the snapshot in progress, because memory returns to the committed state and its image may show undone
    /// effects.
    pub(crate) fn start_again(&mut self) {
        if self.cut.is_some() {
            self.give_up();
            self.want();
        }
    }

    fn give_up(&mut self) {
        if self.cut.take().is_some() {
            self.info.given_up += 1;
        }
    }

    /// Bytes of the image that are not passed to the disk yet.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.cut.as_ref().map_or(0, |cut| cut.sink.waiting_bytes())
    }

    pub(crate) fn info(&self) -> SnapshotInfo {
        SnapshotInfo { in_progress: self.cut.is_some(), ..self.info }
    }

    /// When the next snapshot may be started, if one is due but must wait.
    pub(crate) fn due_in(&self, now: BootNs) -> Option<Duration> {
        (self.is_due(self.not_before) && now < self.not_before).then(|| self.not_before.since(now))
    }

    /// Whether a snapshot must be cut now.
    pub(crate) fn is_due(&self, now: BootNs) -> bool {
        // After as many bytes of log as the data has: then snapshots write no more than the log does, and a restart
        // reads at most twice the size of the data.
        let is_time = self.every > 0 && self.info.log_bytes >= self.every.max(self.info.bytes)
            || self.info.log_bytes >= self.share;
        self.store.is_some() && self.cut.is_none() && (self.wanted || is_time) && now >= self.not_before
    }
}

impl Snapshots {
    /// Whether the disk has space for a snapshot of about `bytes`. If not, the snapshot is tried again later.
    pub(crate) fn admits(&mut self, bytes: u64, now: BootNs) -> bool {
        let admits = self.store.as_ref().is_some_and(|store| store.admits(bytes));
        if !admits {
            self.info.refused += 1;
            self.not_before = now.plus(ADMIT_AGAIN);
        }
        admits
    }

    /// Cuts a snapshot of the engine's data and the idempotency records, whose log position is `place`.
    pub(crate) fn cut(
        &mut self,
        (engine, records): (&mut Engine, &Records),
        shard: ShardId,
        place: SnapshotPlace,
        format: FormatLevel,
    ) {
        let Some(store) = &self.store else { return };
        let records = FrozenRecords::of(records, SLICE_BYTES);
        let head = SnapshotHead { timestamp: engine.newest_timestamp(), record_chunks: records.chunks() };
        let sink = store.create(encode_head(shard, head));
        engine.begin_image(record_max(format));
        fail_point!("shard::cut");
        self.wanted = false;
        self.info.log_bytes = 0;
        self.cut = Some(SnapshotInProgress { sink, place, records, bytes: 0, sum: None, finishing: false });
    }

    /// Records that batch `seq` of `tenure` has committed as the newest entry in memory; `tail` describes that entry.
    pub(crate) fn commit(&mut self, tenure: Tenure, seq: Seq, tail: impl FnOnce() -> Tail) {
        if let Some(cut) = &mut self.cut
            && matches!(cut.place, SnapshotPlace::Staged(of, cut_at) if (of, cut_at) == (tenure, seq))
        {
            cut.place = SnapshotPlace::Known(Box::new(tail()));
        }
    }

    /// The effect of [`Plant::ImageKeptOverUndo`](fastness_types::Plant::ImageKeptOverUndo): a snapshot after a batch
    /// that did not commit is treated as if it had.
    pub(crate) fn mistake(&mut self, tail: Tail) {
        if let Some(cut) = &mut self.cut {
            cut.place = SnapshotPlace::Known(Box::new(tail));
        }
    }

    /// Writes a slice of the snapshot in progress, or completes it; returns when to continue.
    pub(crate) fn write_slice(&mut self, engine: &mut Engine, handle: &GroupHandle, now: BootNs) -> Option<Duration> {
        let cut = self.cut.as_mut()?;
        if let Some(error) = cut.sink.failure() {
            record_failure(handle, error.to_string());
            engine.drop_image();
            self.fail(now);
            return None;
        }
        if !cut.records.is_empty() {
            if cut.sink.has_room() {
                let chunk = cut.records.next_chunk();
                cut.bytes += chunk.len() as u64;
                cut.sink.push(chunk);
            }
            return Some(SLICE_PAUSE);
        }
        if cut.sum.is_none() && cut.sink.has_room() {
            let mut chunk = Vec::with_capacity(SLICE_BYTES + SLICE_BYTES / 4);
            cut.sum = match engine.image_step(SLICE_BYTES, &mut chunk) {
                Ok(sum) => sum,
                Err(error) => {
                    record_failure(handle, error.to_string());
                    self.fail(now);
                    return None;
                }
            };
            if !chunk.is_empty() {
                cut.bytes += chunk.len() as u64;
                cut.sink.push(chunk);
            }
        }
        let Some(sum) = cut.sum else { return Some(SLICE_PAUSE) };
        // The commit of its batch wakes the loop.
        let SnapshotPlace::Known(tail) = &mut cut.place else { return None };
        let index = tail.index();
        if !cut.finishing {
            let digest = Digest(sum.digest.0.wrapping_add(cut.records.digest));
            (tail.keys, tail.digest) = (sum.keys, digest.to_string());
            cut.sink.finish(index, tail.encode());
            cut.finishing = true;
        }
        let Some(purge_upto) = cut.sink.finished() else { return Some(FINISH_CHECK) };
        handle.report_snapshot(OwnSnapshot { index, epoch: tail.epoch(), purge_upto });
        (self.info.newest, self.info.keys, self.info.bytes) = (index, sum.keys, cut.bytes);
        self.info.written += 1;
        self.cut = None;
        let SnapshotInfo { keys, bytes, .. } = self.info;
        handle.events().record(Event::SnapshotWritten { shard: handle.group(), index, keys: Some(keys), bytes });
        None
    }

    fn fail(&mut self, now: BootNs) {
        self.give_up();
        self.not_before = now.plus(RETRY_AFTER);
    }

    /// Opens the newest snapshot (before `below`, if given), if memory must be restored. Clears the request to restore.
    pub(crate) fn take_restore(&mut self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)> {
        if !std::mem::take(&mut self.restore) {
            return None;
        }
        self.store.as_ref()?.open_newest(below)
    }

    /// Records that `bytes` more of a snapshot's image were read.
    pub(crate) fn read_chunk(&mut self, bytes: usize) {
        self.info.bytes += bytes as u64;
    }

    /// Records that the head of a snapshot was read.
    pub(crate) fn begin_read(&mut self) {
        self.info.bytes = 0;
    }

    /// Records that memory was restored from the snapshot of `index`, which has `keys` keys.
    pub(crate) fn end_read(&mut self, index: LogIndex, keys: u64) {
        (self.info.newest, self.info.keys, self.info.log_bytes) = (index, keys, 0);
    }
}

fn record_failure(handle: &GroupHandle, reason: String) {
    let (shard, step) = (handle.group(), SnapshotFailure::Write);
    handle.events().record(Event::SnapshotFailed { shard, step, index: None, reason });
}

/// Larger records of an image are written in parts, if every member of the group can read parts.
fn record_max(format: FormatLevel) -> usize {
    if format >= FormatLevel::BOUNDS { IMAGE_RECORD_BYTES_MAX } else { usize::MAX }
}
