//! Snapshots of this replica: when one is cut, how it is written beside the commands, when it counts, and how memory is
//! restored from one.
//!
//! - Each replica makes its own. The image (`engine/src/image.rs`) is cut at one point and written a slice a turn;
//!   slices wait while the disk is behind.
//! - A replica cuts at its newest applied entry. A **primary**, whose memory runs ahead of the log, closes the open
//!   batch and cuts behind it; its snapshot counts once that batch has committed, at the index where it did. If the
//!   tenure ends before, what the image shows was undone or is in doubt, and it is thrown away.
//! - A snapshot names its log position and the checksum of the log up to there, so that two replicas can be compared at
//!   any position that they share, and a restored one goes on with the same checksum.
//! - A restore takes the newest snapshot that reads whole; one that does not is passed over with an error in the log
//!   file, in the end for the log's own beginning, if that is there.
//! - Two are kept, and the log is purged up to the older one: should the newer not read whole, the older and the log
//!   still give all. What replicas that need more than the log holds are sent is the newer one
//!   (`consensus/src/snapshot/send.rs`).
//! - One that another node has sent stands in for the log up to its position, and counts as an entry of another epoch.

use std::rc::Rc;
use std::time::Duration;

use fail::fail_point;
use fastness_consensus::handle::{IncomingBytes, OwnSnapshot};
pub use fastness_consensus::snapshot::SnapshotPart;
use fastness_engine::ImageSum;
use fastness_types::limits::IMAGE_RECORD_BYTES_MAX;
use fastness_types::{BootNs, Durability, Epoch, FormatLevel, LogIndex, NodeId, Plant, Seq, ShardId, WallMs};
use serde::{Deserialize, Serialize};

use crate::lag_bound::DesiredLagBound;
use crate::mode::DesiredMode;
use crate::outcome::Tenure;
use crate::shard::Inner;
use crate::state::{Phase, State};

/// Bytes of an image that are written in one turn: some ten microseconds.
pub(crate) const SLICE_BYTES: usize = 32 * 1024;
/// Between two slices: an image is written at 64 MB/s at most, beside the commands.
pub(crate) const SLICE_PAUSE: Duration = Duration::from_micros(500);
/// How often a snapshot that was given its end is looked at until it is on stable storage.
const FINISH_LOOK: Duration = Duration::from_millis(10);
/// After a snapshot has failed the next is not begun before this.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// One for which there is no room is asked for again after this.
const ADMIT_AGAIN: Duration = Duration::from_secs(1);
/// Version of head and tail.
const VERSION: u32 = 1;

/// An edge: the snapshots of this replica on disk.
pub trait SnapshotStore {
    /// Whether one of about `bytes` may be begun: there is room for it. If not, it is asked again after a while.
    fn admits(&self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }
    /// Begins one, whose first part is `head`. One at a time.
    fn create(&self, head: Vec<u8>) -> Box<dyn SnapshotSink>;
    /// Opens the newest one below `below`, or of all; `None`: there is none.
    fn open_newest(&self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)>;
}

/// A snapshot that is being written, by others: nothing here waits. Dropped before [`SnapshotSink::finish`] it
/// never was.
pub trait SnapshotSink {
    /// Whether the next chunk may come.
    fn has_room(&self) -> bool;
    /// Bytes of chunks that are not on their way to the disk yet: memory in use.
    fn waiting_bytes(&self) -> u64;
    /// Adds a chunk.
    fn push(&mut self, chunk: Vec<u8>);
    /// Why it cannot be written; it is to be given up then.
    fn failure(&self) -> Option<String>;
    /// Ends it: from when all is on stable storage it is the snapshot of `index`.
    fn finish(&mut self, index: LogIndex, tail: Vec<u8>);
    /// `None` until that is so; then up to where the log is no longer needed: the position of the one before it that is
    /// kept as well, 0 if there is none.
    fn finished(&self) -> Option<LogIndex>;
}

/// A snapshot that is being read.
#[async_trait::async_trait(?Send)]
pub trait SnapshotSource {
    /// About how many bytes its chunks have together, if that is known: for the progress that is shown.
    fn bytes(&self) -> Option<u64> {
        None
    }
    /// The next part; `None` behind the last.
    ///
    /// # Errors
    /// It is damaged; the text names file and place.
    async fn next(&mut self) -> Result<Option<SnapshotPart>, String>;
}

/// What a snapshot begins with. JSON: it is small, and read by people in emergencies. **Frozen**, as the tail is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    shard: u32,
    /// The newest timestamp in the data, ms since the Unix epoch.
    timestamp: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a snapshot ends with: where in the log it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) node: u64,
    /// The newest batch of that epoch.
    pub(crate) sequence: u64,
    /// The mode that the log says; absent: it says none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    #[serde(default)]
    durability_version: u64,
    /// The bound of the durability lag that the log says, and its version; absent: it says none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_lag_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    max_lag_version: u64,
    /// 16 hexadecimal digits.
    pub(crate) log_checksum: String,
    pub(crate) keys: u64,
    /// 32 hexadecimal digits.
    pub(crate) digest: String,
}

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
    /// Not begun when it was time, since there was no room.
    pub refused: u64,
    /// Keys in the newest.
    pub keys: u64,
    /// Bytes of its image.
    pub bytes: u64,
    /// Snapshots of other nodes that memory was given up for.
    pub received: u64,
    /// One that is being received.
    pub incoming: Option<IncomingBytes>,
}

/// Where the image that is being written stands in the log.
enum Position {
    Known(Box<Tail>),
    /// Behind this batch of this tenure, which has not committed.
    Staged(Tenure, Seq),
}

/// A snapshot that is being written.
struct Cut {
    sink: Box<dyn SnapshotSink>,
    position: Position,
    bytes: u64,
    sum: Option<ImageSum>,
    /// The tail was given; it is not known yet to be on stable storage.
    finishing: bool,
}

/// The snapshots of one replica.
pub(crate) struct Snapshots {
    store: Option<Rc<dyn SnapshotStore>>,
    /// One is cut after so many bytes of log, or as many as the image was large if that is more; 0: never by itself.
    every: u64,
    /// And after so many in any case: this shard's share of the node's disk.
    share: u64,
    wanted: bool,
    not_before: BootNs,
    cut: Option<Cut>,
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
    pub(crate) fn are_there(&self) -> bool {
        self.store.is_some()
    }

    /// Whether one is being written.
    pub(crate) fn is_cut(&self) -> bool {
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

    /// Memory is given up: it is restored from the newest snapshot, and the image of it is gone.
    pub(crate) fn restart(&mut self) {
        self.give_up();
        self.restore = self.store.is_some();
    }

    /// Memory is given up for a snapshot that another node has sent.
    pub(crate) fn count_received(&mut self) {
        self.info.received += 1;
    }

    /// Memory goes back to what is committed. What the image in progress shows may be undone: it begins anew.
    pub(crate) fn begin_anew(&mut self) {
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

    /// When the next is to be begun, if one is wanted and may not yet be.
    fn due_in(&self, now: BootNs) -> Option<Duration> {
        (self.is_due(self.not_before) && now < self.not_before).then(|| self.not_before.since(now))
    }

    fn is_due(&self, now: BootNs) -> bool {
        // As much log as the data is large: then snapshots write no more than the log does, and a restart reads no more
        // than twice the data.
        let is_time = self.every > 0 && self.info.log_bytes >= self.every.max(self.info.bytes)
            || self.info.log_bytes >= self.share;
        self.store.is_some() && self.cut.is_none() && (self.wanted || is_time) && now >= self.not_before
    }
}

/// A record of an image that would be longer is written in parts, if every member of the group reads these.
fn record_max(format: FormatLevel) -> usize {
    if format >= FormatLevel::BOUNDS { IMAGE_RECORD_BYTES_MAX } else { usize::MAX }
}

impl State {
    /// Cuts a snapshot if it is time, writes a slice of one, ends it; gives when to go on.
    pub(crate) fn follow_snapshot(&mut self, inner: &Inner, now: BootNs) -> Option<Duration> {
        if self.phase != Phase::Serving {
            return None;
        }
        if self.snapshots.is_due(now) && !self.digests.is_walking() {
            let bytes = self.engine.memory_of_data();
            if self.snapshots.store.as_ref().is_some_and(|store| store.admits(bytes)) {
                self.cut_snapshot(inner, now);
            } else {
                self.snapshots.info.refused += 1;
                self.snapshots.not_before = now.plus(ADMIT_AGAIN);
            }
        }
        self.write_slice(inner, now).or_else(|| self.snapshots.due_in(now))
    }

    fn cut_snapshot(&mut self, inner: &Inner, now: BootNs) {
        let mode = self.mode.in_force();
        let is_within_batch = self.is_within_batch();
        let position = match &mut self.leader {
            Some(leader) if !leader.stage.is_clean() && !Plant::SpeculativeSnapshot.is_on() => {
                if !leader.may_act(now) {
                    return;
                }
                leader.stage.seal(mode);
                leader.stage.propose(&inner.handle, self.batching.in_flight_max);
                Position::Staged(leader.tenure, leader.stage.last_staged())
            }
            // Memory and the log's checksum do not stand at the same entry.
            _ if is_within_batch => return,
            _ => Position::Known(Box::new(self.tail())),
        };
        let head = Head { version: VERSION, shard: self.shard.0, timestamp: self.engine.newest_timestamp().0 };
        let head = serde_json::to_vec(&head).expect("numbers have a JSON form");
        let Some(store) = &self.snapshots.store else { return };
        let sink = store.create(head);
        self.engine.begin_image(record_max(inner.handle.format()));
        fail_point!("shard::cut");
        self.snapshots.wanted = false;
        self.snapshots.info.log_bytes = 0;
        self.snapshots.cut = Some(Cut { sink, position, bytes: 0, sum: None, finishing: false });
    }

    fn write_slice(&mut self, inner: &Inner, now: BootNs) -> Option<Duration> {
        let cut = self.snapshots.cut.as_mut()?;
        if let Some(reason) = cut.sink.failure() {
            tracing::error!(shard = self.shard.0, reason, "a snapshot is given up");
            self.engine.drop_image();
            self.snapshots.give_up();
            self.snapshots.not_before = now.plus(RETRY_AFTER);
            return None;
        }
        if cut.sum.is_none() && cut.sink.has_room() {
            let mut chunk = Vec::with_capacity(SLICE_BYTES + SLICE_BYTES / 4);
            cut.sum = match self.engine.image_step(SLICE_BYTES, &mut chunk) {
                Ok(sum) => sum,
                Err(error) => {
                    tracing::error!(shard = self.shard.0, %error, "a snapshot is given up");
                    self.snapshots.give_up();
                    self.snapshots.not_before = now.plus(RETRY_AFTER);
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
        let Position::Known(tail) = &mut cut.position else { return None };
        let index = LogIndex(tail.index);
        if !cut.finishing {
            (tail.keys, tail.digest) = (sum.keys, sum.digest.to_string());
            cut.sink.finish(index, serde_json::to_vec(&**tail).expect("numbers and strings have a JSON form"));
            cut.finishing = true;
        }
        let Some(purge_upto) = cut.sink.finished() else { return Some(FINISH_LOOK) };
        let epoch = Epoch { term: tail.term, node: NodeId(tail.node) };
        inner.handle.report_snapshot(OwnSnapshot { index, epoch, purge_upto });
        let info = &mut self.snapshots.info;
        (info.newest, info.keys, info.bytes) = (index, sum.keys, cut.bytes);
        info.written += 1;
        self.snapshots.cut = None;
        tracing::info!(shard = self.shard.0, index = index.0, keys = sum.keys, digest = %sum.digest, "a snapshot is made");
        None
    }

    /// A batch of this primary's own has committed, as the newest entry that memory holds.
    pub(crate) fn snapshot_sees_commit(&mut self, seq: Seq) {
        let Some(leader) = &self.leader else { return };
        let waits_for = Position::Staged(leader.tenure, seq);
        if let Some(Cut { position, .. }) = &self.snapshots.cut
            && let (Position::Staged(tenure, cut_at), Position::Staged(of, committed)) = (position, &waits_for)
            && (tenure, cut_at) == (of, committed)
        {
            let tail = Position::Known(Box::new(self.tail()));
            if let Some(cut) = &mut self.snapshots.cut {
                cut.position = tail;
            }
        }
    }

    /// What [`Plant::ImageKeptOverUndo`] makes of a snapshot behind a batch that did not commit.
    pub(crate) fn mistake_snapshot(&mut self) {
        let tail = Position::Known(Box::new(self.tail()));
        if let Some(cut) = &mut self.snapshots.cut {
            cut.position = tail;
        }
    }

    /// Of the newest entry that memory holds; keys and digest are the image's.
    fn tail(&self) -> Tail {
        let (mode, bound) = (self.mode.committed(), self.lag_bound.committed());
        Tail {
            index: self.applied.0,
            term: self.log_epoch.term,
            node: self.log_epoch.node.0,
            sequence: self.log_seq.0,
            durability: mode.map(|desired| desired.mode.name().to_owned()),
            durability_version: mode.map_or(0, |desired| desired.version),
            max_lag_ms: bound.map(|desired| desired.bound.as_millis() as u64),
            max_lag_version: bound.map_or(0, |desired| desired.version),
            log_checksum: format!("{:016x}", self.log_checksum),
            keys: 0,
            digest: String::new(),
        }
    }

    fn stand_at(&mut self, tail: &Tail) -> Result<(), String> {
        self.engine.end_image_load().map_err(|error| error.to_string())?;
        let keys = self.engine.keyspace_stats().keys;
        if keys != tail.keys {
            return Err(format!("{keys} keys were read, {} were written", tail.keys));
        }
        self.log_checksum =
            u64::from_str_radix(&tail.log_checksum, 16).map_err(|error| format!("log_checksum: {error}"))?;
        if let Some(mode) = &tail.durability {
            let mode: Durability = mode.parse().map_err(|error| format!("durability: {error}"))?;
            self.mode.commit(DesiredMode { mode, version: tail.durability_version });
        }
        if let Some(ms) = tail.max_lag_ms {
            self.commit_lag_bound(DesiredLagBound { bound: Duration::from_millis(ms), version: tail.max_lag_version });
        }
        self.committed_time.advance(self.engine.newest_timestamp(), self.clock.boot());
        self.applied = LogIndex(tail.index);
        self.applied_checksum = self.log_checksum;
        self.walked = self.applied;
        self.fragments.clear();
        self.log_epoch = Epoch { term: tail.term, node: NodeId(tail.node) };
        self.log_seq = Seq(tail.sequence);
        let info = &mut self.snapshots.info;
        (info.newest, info.keys, info.log_bytes) = (self.applied, tail.keys, 0);
        Ok(())
    }
}

/// Restores memory from the newest snapshot that reads whole, if that is asked for. What is left is the log's.
pub(crate) async fn restore(inner: &Inner) {
    let mut below = None;
    loop {
        let opened = {
            let mut state = inner.state.borrow_mut();
            if !std::mem::take(&mut state.snapshots.restore) {
                return;
            }
            state.snapshots.store.as_ref().and_then(|store| store.open_newest(below))
        };
        let Some((index, mut source)) = opened else { return };
        inner.state.borrow_mut().loading.expect_snapshot(source.bytes().unwrap_or(0));
        let loaded = match load(inner, source.as_mut()).await {
            Ok(()) if inner.state.borrow().applied != index => Err("it is one of another position".to_owned()),
            loaded => loaded,
        };
        match loaded {
            Ok(()) => {
                if Plant::SnapshotOffByOne.is_on() {
                    inner.state.borrow_mut().applied = LogIndex(index.0 + 1);
                }
                let state = inner.state.borrow();
                let keys = state.snapshots.info.keys;
                // The next own one has the log purged.
                let epoch = state.log_epoch;
                inner.handle.report_snapshot(OwnSnapshot { index, epoch, purge_upto: LogIndex(0) });
                return tracing::info!(
                    shard = state.shard.0,
                    index = index.0,
                    keys,
                    "memory is restored from a snapshot"
                );
            }
            Err(error) => {
                let mut state = inner.state.borrow_mut();
                tracing::error!(shard = state.shard.0, index = index.0, error, "a snapshot cannot be used");
                state.restart_from_log();
                below = Some(index);
            }
        }
    }
}

async fn load(inner: &Inner, source: &mut dyn SnapshotSource) -> Result<(), String> {
    let mut timestamp = None;
    loop {
        inner.handle.report_turn();
        let part = source.next().await?.ok_or("it has no tail")?;
        if inner.state.borrow_mut().take_part(part, &mut timestamp)? {
            return Ok(());
        }
        // Whoever is connected is told LOADING meanwhile.
        tokio::task::yield_now().await;
    }
}

impl State {
    /// Takes over one part of a snapshot; true if it was the last. `timestamp` is what the head has said.
    fn take_part(&mut self, part: SnapshotPart, timestamp: &mut Option<WallMs>) -> Result<bool, String> {
        match (part, *timestamp) {
            (SnapshotPart::Head(head), None) => {
                let at = read_head(self.shard, &head)?;
                // Also if there is no key: time must not run backwards.
                self.engine.advance_timestamp(at);
                *timestamp = Some(at);
                self.snapshots.info.bytes = 0;
                Ok(false)
            }
            (SnapshotPart::Chunk(chunk), Some(timestamp)) => {
                self.snapshots.info.bytes += chunk.len() as u64;
                self.loading.read_chunk(chunk.len());
                self.engine.load_image(timestamp, &chunk).map_err(|error| error.to_string())?;
                Ok(false)
            }
            (SnapshotPart::Tail(tail), Some(_)) => {
                self.stand_at(&read_tail(&tail)?)?;
                self.loading.end_snapshot();
                Ok(true)
            }
            (SnapshotPart::Head(_), Some(_)) => Err("it has two heads".to_owned()),
            (SnapshotPart::Chunk(_) | SnapshotPart::Tail(_), None) => Err("it begins without a head".to_owned()),
        }
    }
}

/// The timestamp that a head says.
pub(crate) fn read_head(shard: ShardId, head: &[u8]) -> Result<WallMs, String> {
    let head: Head = serde_json::from_slice(head).map_err(|error| format!("its head: {error}"))?;
    if (head.version, head.shard) != (VERSION, shard.0) {
        return Err(format!("version {}, shard {}: not of this shard", head.version, head.shard));
    }
    Ok(WallMs(head.timestamp))
}

pub(crate) fn read_tail(tail: &[u8]) -> Result<Tail, String> {
    serde_json::from_slice(tail).map_err(|error| format!("its tail: {error}"))
}
