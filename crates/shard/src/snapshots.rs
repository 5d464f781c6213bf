//! The snapshots of one replica: when the next is due, and the one that is being written. `snapshot.rs` says what a
//! snapshot is.

use std::rc::Rc;
use std::time::Duration;

use fail::fail_point;
use fastness_consensus::handle::{GroupHandle, IncomingBytes, OwnSnapshot};
use fastness_engine::{Engine, ImageSum};
use fastness_types::limits::IMAGE_RECORD_BYTES_MAX;
use fastness_types::{BootNs, FormatLevel, LogIndex, Seq, ShardId};

use crate::outcome::Tenure;
use crate::snapshot_format::{Tail, encode_head};
use crate::snapshot_store::{SnapshotSink, SnapshotSource, SnapshotStore};

/// Bytes of an image that are written in one turn: some ten microseconds.
pub(crate) const SLICE_BYTES: usize = 32 * 1024;
/// Between two slices: an image is written at 64 MB/s at most, beside the commands.
pub(crate) const SLICE_PAUSE: Duration = Duration::from_micros(500);
/// How often a finished snapshot is checked until it is on stable storage.
const FINISH_CHECK: Duration = Duration::from_millis(10);
/// After a snapshot has failed the next is not started before this.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// One for which the disk has no space is tried again after this.
const ADMIT_AGAIN: Duration = Duration::from_secs(1);
/// Figures for INFO and metrics. Counts are since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotInfo {
    /// Whether one is being written.
    pub in_progress: bool,
    /// The position of the newest one that was written or restored from; 0: none.
    pub newest: LogIndex,
    /// Bytes of committed entries since the newest cut.
    pub log_bytes: u64,
    /// Written whole.
    pub written: u64,
    /// Given up, for a failed disk or a lost leadership.
    pub given_up: u64,
    /// Not started when it was time, because the disk had no space.
    pub refused: u64,
    /// Keys in the newest.
    pub keys: u64,
    /// Bytes of its image.
    pub bytes: u64,
    /// Snapshots of other nodes that replaced memory.
    pub received: u64,
    /// One that is being received.
    pub incoming: Option<IncomingBytes>,
}

/// Where in the log the image is that is being written.
pub(crate) enum SnapshotPlace {
    Known(Box<Tail>),
    /// After this batch of this tenure, which has not committed.
    Staged(Tenure, Seq),
}

/// A snapshot that is being written.
struct SnapshotInProgress {
    sink: Box<dyn SnapshotSink>,
    place: SnapshotPlace,
    bytes: u64,
    sum: Option<ImageSum>,
    /// The tail was pushed; it is not known yet to be on stable storage.
    finishing: bool,
}

/// The snapshots of one replica.
pub(crate) struct Snapshots {
    store: Option<Rc<dyn SnapshotStore>>,
    /// One is cut after so many bytes of log, or as many as the image was large if that is more; 0: never by itself.
    every: u64,
    /// The same in any case: this shard's share of the node's disk.
    share: u64,
    wanted: bool,
    not_before: BootNs,
    cut: Option<SnapshotInProgress>,
    info: SnapshotInfo,
    /// Memory is to be restored.
    restore: bool,
}

impl Snapshots {
    pub(crate) fn new(store: Option<Rc<dyn SnapshotStore>>, every: u64) -> Snapshots {
        let restore = store.is_some();
        let info = SnapshotInfo::default();
        Snapshots { store, every, share: u64::MAX, wanted: false, not_before: BootNs(0), cut: None, info, restore }
    }

    /// Whether there is somewhere to write them.
    pub(crate) fn have_store(&self) -> bool {
        self.store.is_some()
    }

    /// Whether one is being written.
    pub(crate) fn is_in_progress(&self) -> bool {
        self.cut.is_some()
    }

    /// One is cut as soon as can be.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// True if it is another one than before.
    pub(crate) fn set_every(&mut self, bytes: u64) -> bool {
        std::mem::replace(&mut self.every, bytes) != bytes
    }

    /// True if it is another one than before.
    pub(crate) fn set_share(&mut self, bytes: u64) -> bool {
        std::mem::replace(&mut self.share, bytes) != bytes
    }

    /// A committed entry was taken in.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.info.log_bytes += bytes as u64;
    }

    /// Memory is emptied: it is restored from the newest snapshot, and the image of it is dropped.
    pub(crate) fn restart(&mut self) {
        self.give_up();
        self.restore = self.store.is_some();
    }

    /// A snapshot that another node has sent replaces memory.
    pub(crate) fn count_received(&mut self) {
        self.info.received += 1;
    }

    /// Memory returns to what is committed. What the image in progress shows may be undone: it starts again.
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

    /// Bytes of the image that its file has not taken.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.cut.as_ref().map_or(0, |cut| cut.sink.waiting_bytes())
    }

    pub(crate) fn info(&self) -> SnapshotInfo {
        SnapshotInfo { in_progress: self.cut.is_some(), ..self.info }
    }

    /// When the next may be started, if one is wanted and has to wait.
    pub(crate) fn due_in(&self, now: BootNs) -> Option<Duration> {
        (self.is_due(self.not_before) && now < self.not_before).then(|| self.not_before.since(now))
    }

    /// Whether one is to be cut now.
    pub(crate) fn is_due(&self, now: BootNs) -> bool {
        // As much log as the data is large: then snapshots write no more than the log does, and a restart reads no more
        // than twice the data.
        let is_time = self.every > 0 && self.info.log_bytes >= self.every.max(self.info.bytes)
            || self.info.log_bytes >= self.share;
        self.store.is_some() && self.cut.is_none() && (self.wanted || is_time) && now >= self.not_before
    }
}

impl Snapshots {
    /// Whether the disk has space for one of data of about `bytes`. If not, the next is due after a while.
    pub(crate) fn admits(&mut self, bytes: u64, now: BootNs) -> bool {
        let admits = self.store.as_ref().is_some_and(|store| store.admits(bytes));
        if !admits {
            self.info.refused += 1;
            self.not_before = now.plus(ADMIT_AGAIN);
        }
        admits
    }

    /// Cuts one of what the engine holds, which is at `place`.
    pub(crate) fn cut(&mut self, engine: &mut Engine, shard: ShardId, place: SnapshotPlace, format: FormatLevel) {
        let Some(store) = &self.store else { return };
        let sink = store.create(encode_head(shard, engine.newest_timestamp()));
        engine.begin_image(record_max(format));
        fail_point!("shard::cut");
        self.wanted = false;
        self.info.log_bytes = 0;
        self.cut = Some(SnapshotInProgress { sink, place, bytes: 0, sum: None, finishing: false });
    }

    /// The batch `seq` of `tenure` has committed, as the newest entry that memory holds: `tail` describes that entry.
    pub(crate) fn commit(&mut self, tenure: Tenure, seq: Seq, tail: impl FnOnce() -> Tail) {
        if let Some(cut) = &mut self.cut
            && matches!(cut.place, SnapshotPlace::Staged(of, cut_at) if (of, cut_at) == (tenure, seq))
        {
            cut.place = SnapshotPlace::Known(Box::new(tail()));
        }
    }

    /// What [`Plant::ImageKeptOverUndo`](fastness_types::Plant::ImageKeptOverUndo) makes of a snapshot after a batch
    /// that did not commit.
    pub(crate) fn mistake(&mut self, tail: Tail) {
        if let Some(cut) = &mut self.cut {
            cut.place = SnapshotPlace::Known(Box::new(tail));
        }
    }

    /// Writes a slice of the one in progress, or ends it; returns when to continue.
    pub(crate) fn write_slice(
        &mut self,
        shard: ShardId,
        engine: &mut Engine,
        handle: &GroupHandle,
        now: BootNs,
    ) -> Option<Duration> {
        let cut = self.cut.as_mut()?;
        if let Some(error) = cut.sink.failure() {
            tracing::error!(shard = shard.0, %error, "a snapshot is given up");
            engine.drop_image();
            self.fail(now);
            return None;
        }
        if cut.sum.is_none() && cut.sink.has_room() {
            let mut chunk = Vec::with_capacity(SLICE_BYTES + SLICE_BYTES / 4);
            cut.sum = match engine.image_step(SLICE_BYTES, &mut chunk) {
                Ok(sum) => sum,
                Err(error) => {
                    tracing::error!(shard = shard.0, %error, "a snapshot is given up");
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
            (tail.keys, tail.digest) = (sum.keys, sum.digest.to_string());
            cut.sink.finish(index, tail.encode());
            cut.finishing = true;
        }
        let Some(purge_upto) = cut.sink.finished() else { return Some(FINISH_CHECK) };
        handle.report_snapshot(OwnSnapshot { index, epoch: tail.epoch(), purge_upto });
        (self.info.newest, self.info.keys, self.info.bytes) = (index, sum.keys, cut.bytes);
        self.info.written += 1;
        self.cut = None;
        tracing::info!(shard = shard.0, index = index.0, keys = sum.keys, digest = %sum.digest, "a snapshot is made");
        None
    }

    fn fail(&mut self, now: BootNs) {
        self.give_up();
        self.not_before = now.plus(RETRY_AFTER);
    }

    /// Opens the newest below `below` (or of all), if memory is to be restored from one. The request is taken: it
    /// does not come again by itself.
    pub(crate) fn take_restore(&mut self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)> {
        if !std::mem::take(&mut self.restore) {
            return None;
        }
        self.store.as_ref()?.open_newest(below)
    }

    /// One is being read: `bytes` more of its image.
    pub(crate) fn read_chunk(&mut self, bytes: usize) {
        self.info.bytes += bytes as u64;
    }

    /// The head of one was read.
    pub(crate) fn begin_read(&mut self) {
        self.info.bytes = 0;
    }

    /// Memory was restored from the one of `index`, which has so many keys.
    pub(crate) fn end_read(&mut self, index: LogIndex, keys: u64) {
        (self.info.newest, self.info.keys, self.info.log_bytes) = (index, keys, 0);
    }
}

/// A record of an image that would be longer is written in parts, if every member of the group reads these.
fn record_max(format: FormatLevel) -> usize {
    if format >= FormatLevel::BOUNDS { IMAGE_RECORD_BYTES_MAX } else { usize::MAX }
}
