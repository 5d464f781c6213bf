//! Keeps memory in step with the log: takes the committed entries in order and applies them on replicas. On the
//! primary, whose memory has their effects already, it only marks them as committed.
//!
//! Invariants, each checked on every entry. A violation stops the replica, because its memory can no longer be trusted:
//! - Indexes have no gap, and epochs never decrease.
//! - The batches of an epoch are numbered from 1 without a gap.
//! - On a primary each committed batch of its own epoch is the oldest one in flight.
//!
//! The position in the log (`walked`) and the position of memory (`applied`) differ while the log is within a batch of
//! several entries (`fragment.rs`). Memory moves in one step from the entry before the first fragment to the last
//! fragment. Snapshots, readers, the reported applied position and the start of a tenure use the position of memory. A
//! restore from a snapshot starts there, too, so it reads the fragments again. An entry of another epoch discards the
//! fragments collected so far, because the rest of their batch will never arrive. A replica within a batch counts as
//! ready and may lead, because the first entry of its own epoch ends that batch. Otherwise no replica could lead after
//! a leader that failed in the middle of a batch.

use fail::fail_point;
use fastness_consensus::handle::{Committed, EntryPayload, ReadError};
use fastness_engine::ApplyError;
use fastness_types::{BootNs, Epoch, LogIndex, Plant, Seq};

use crate::batch::{Batch, BatchError, Run};
use crate::fragment::Part;
use crate::inner::Inner;
use crate::position::{LogPosition, chain};
use crate::recorder::SettingsVersions;
use crate::role::Phase;
use crate::snapshot_format::Tail;
use crate::state::{Primary, Replica, State};

/// Committed entries per slice, in bytes.
const SLICE_BYTES: usize = 1024 * 1024;

/// An error that stops this replica.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    #[error("reading the log from {from:?}: {error}")]
    Read { from: LogIndex, error: ReadError },
    #[error(
        "the log is needed from {from:?} on and purged up to {upto:?}, and no snapshot of that position or a later one can be \
         used: this replica's data cannot be restored here; replace it: fastness cluster replace-replica"
    )]
    NoSnapshot { from: LogIndex, upto: LogIndex },
    #[error("the log returned no entry from {0:?} on")]
    Nothing(LogIndex),
    #[error("log entry {expected:?} was expected, {found:?} was read")]
    Index { expected: LogIndex, found: LogIndex },
    #[error("entry {index:?} is of epoch {found}, older than {newest}")]
    Epoch { index: LogIndex, newest: Epoch, found: Epoch },
    #[error("entry {index:?} holds batch {found:?} of epoch {epoch}, batch {expected:?} was expected")]
    Gap { index: LogIndex, epoch: Epoch, expected: Seq, found: Seq },
    #[error("entry {index:?} holds batch {seq:?}, which this primary has not proposed next")]
    NotProposed { index: LogIndex, seq: Seq },
    #[error("entry {index:?}: {error}")]
    Batch { index: LogIndex, error: BatchError },
    #[error("entry {index:?}: {error}")]
    Apply { index: LogIndex, error: ApplyError },
}

/// Approximate size of an entry in the log without its batch, in bytes. On an idle shard the log has only such entries.
const ENTRY_BYTES: usize = 96;

/// The result of applying an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Memory contains the entry.
    Done,
    /// Memory had effects that conflict with an entry of another primary, and was emptied: continue from the start of
    /// the log.
    Emptied,
}

/// Applies one slice of the committed entries that memory does not contain yet. True if more remain.
pub(crate) async fn follow_log(inner: &Inner) -> Result<bool, Fatal> {
    let handle = &inner.edges.handle;
    let from = inner.state.borrow().replica.position.next_index();
    let to = handle.committed();
    if from > to {
        inner.state.borrow_mut().replica.position.committed = to;
        return Ok(false);
    }
    let installed = handle.installed();
    if installed < from && inner.state.borrow().replica.scripts.holds_log() {
        // A script that is suspended sees one state.
        return Ok(false);
    }
    if installed >= from {
        return jump(inner, from, installed);
    }
    let entries = match handle.read_cached(from, to, SLICE_BYTES) {
        Some(entries) => entries,
        None => {
            match handle.read(from, to, SLICE_BYTES).await {
                Ok(entries) => entries,
                // A snapshot is being installed: its file exists and the log is purged, but that is not on disk yet.
                // Only then the snapshot is reported as installed.
                Err(ReadError::Purged(upto)) => return jump(inner, from, upto),
                Err(error) => return Err(Fatal::Read { from, error }),
            }
        }
    };
    if entries.is_empty() {
        return Err(Fatal::Nothing(from));
    }
    let now = inner.edges.clock.boot();
    let mut state = inner.state.borrow_mut();
    state.replica.position.committed = to;
    for entry in &entries {
        if state.step(entry, now)? == Step::Emptied {
            handle.report_ready(false);
            break;
        }
    }
    Ok(state.replica.position.walked < handle.committed())
}

/// Restores memory from a snapshot, because the log is purged up to `upto`. The snapshot must be at that position or a
/// later one. Fails if a restore was already tried for the same position: then no usable snapshot exists.
fn jump(inner: &Inner, from: LogIndex, upto: LogIndex) -> Result<bool, Fatal> {
    let mut state = inner.state.borrow_mut();
    let position = &mut state.replica.position;
    if position.jumped_to == upto && Plant::SnapshotsPassedOver.is_on() {
        position.applied = upto;
        position.walked = upto;
        return Ok(true);
    }
    if position.jumped_to == upto {
        return Err(Fatal::NoSnapshot { from, upto });
    }
    inner.edges.handle.report_ready(false);
    state.meet_installed(upto);
    Ok(true)
}

impl State {
    /// Processes the next committed entry.
    pub(crate) fn step(&mut self, entry: &Committed, now: BootNs) -> Result<Step, Fatal> {
        let index = entry.index;
        let expected = self.replica.position.next_index();
        if index != expected {
            return Err(Fatal::Index { expected, found: index });
        }
        let own = self.leader.as_ref().is_some_and(|leader| leader.epoch == entry.epoch);
        if !own && self.meet_foreign_entry() {
            return Ok(Step::Emptied);
        }
        let State { leader, replica } = self;
        replica.position.check_epoch(entry)?;
        replica.count_entry(entry);
        let settings = SettingsVersions::of(&replica.settings);
        let is_whole = match (&entry.payload, leader.as_mut().filter(|_| own)) {
            (EntryPayload::Batch(payload), Some(leader)) => {
                Primary { leader, replica }.check_off(index, payload, now)?
            }
            (EntryPayload::Batch(payload), None) => replica.apply(index, payload)?,
            (EntryPayload::Membership, Some(leader)) => {
                leader.move_base();
                !replica.position.is_within_batch()
            }
            (EntryPayload::Blank | EntryPayload::Membership, _) => !replica.position.is_within_batch(),
        };
        replica.recorder.follow_settings(settings, &replica.settings, index);
        replica.position.walked = index;
        if !is_whole && !Plant::FragmentMovesPosition.is_on() {
            return Ok(Step::Done);
        }
        replica.position.applied = index;
        if !own {
            replica.committed_time.advance(replica.data.engine.newest_timestamp(), now);
        }
        replica.position.applied_checksum = replica.position.checksum;
        if let (EntryPayload::Batch(_), Some(leader)) = (&entry.payload, leader.as_ref().filter(|_| own)) {
            let (position, settings) = (&replica.position, &replica.settings);
            replica.snapshots.commit(leader.tenure, position.seq, || Tail::at(position, settings));
        }
        Ok(Step::Done)
    }
}

impl LogPosition {
    fn check_epoch(&mut self, entry: &Committed) -> Result<(), Fatal> {
        if entry.epoch < self.epoch {
            return Err(Fatal::Epoch { index: entry.index, newest: self.epoch, found: entry.epoch });
        }
        if entry.epoch > self.epoch {
            self.epoch = entry.epoch;
            self.seq = Seq(0);
            // The missing fragments of a batch of an older epoch will never arrive.
            self.apply_walked();
            if !Plant::FragmentsKept.is_on() {
                self.fragments.clear();
            }
        }
        Ok(())
    }

    fn check_seq(&mut self, index: LogIndex, found: Seq) -> Result<(), Fatal> {
        let expected = self.seq.next();
        if Plant::AppliedTwice.is_on() && found < expected {
            return Ok(());
        }
        let passes_over = Plant::SnapshotsPassedOver.is_on() && self.seq == Seq(0);
        if found != expected && !passes_over {
            return Err(Fatal::Gap { index, epoch: self.epoch, expected, found });
        }
        self.seq = found;
        Ok(())
    }
}

impl Primary<'_> {
    /// Marks a batch of this primary, or a fragment of one, as committed; memory has its effects already. False if
    /// further fragments of the batch follow.
    fn check_off(&mut self, index: LogIndex, payload: &[u8], now: BootNs) -> Result<bool, Fatal> {
        let Primary { leader, replica } = self;
        let place = Part::of(payload).and_then(|part| part.place());
        let (seq, is_whole) = place.map_err(|error| Fatal::Batch { index, error })?;
        replica.position.check_seq(index, seq)?;
        if Plant::AppliedTwice.is_on() && seq <= leader.committed {
            leader.move_base();
            return Ok(true);
        }
        if !is_whole {
            if Plant::FragmentIsWhole.is_on()
                && let Ok(Part::Fragment(fragment)) = Part::of(payload)
            {
                leader.committed = Seq(seq.0 + u64::from(fragment.count - fragment.number) - 1);
                leader.waiting.release(leader.committed);
            }
            return if leader.stage.commit_fragment(seq) { Ok(false) } else { Err(Fatal::NotProposed { index, seq }) };
        }
        let Some(batch) = leader.stage.commit(seq, now) else {
            return Err(Fatal::NotProposed { index, seq });
        };
        fail_point!("shard::commit");
        leader.committed = seq;
        if !leader.probes.is_empty() {
            leader.probes.commit(seq, index, now);
        }
        replica.data.engine.forget_undo(seq);
        replica.records.commit(seq);
        debug_assert_eq!(leader.index_of(seq), index, "batches follow one another");
        replica.flow.lag.record(batch.opened, now);
        replica.peaks.commit = replica.peaks.commit.max(now.since(batch.opened));
        replica.committed_time.advance(batch.timestamp, now);
        if let Some(mode) = batch.mode {
            replica.settings.mode.commit(mode);
        }
        if let Some(desired) = batch.lag_bound {
            replica.settings.lag_bound.commit(desired);
        }
        replica.counters.batches += 1;
        replica.counters.units += batch.units as u64;
        replica.counters.effect_bytes += batch.bytes as u64;
        leader.waiting.release(seq);
        replica.serve_committed(seq);
        replica.key_events.commit(seq);
        replica.report_committed(seq);
        Ok(true)
    }
}

impl Replica {
    /// Updates the checksum of the log: the checksum of each entry is seeded with that of the preceding entry.
    fn count_entry(&mut self, entry: &Committed) {
        let bytes = match &entry.payload {
            EntryPayload::Batch(payload) => payload.len(),
            EntryPayload::Blank | EntryPayload::Membership => 0,
        };
        self.position.checksum = chain(self.position.checksum, entry);
        self.snapshots.count(ENTRY_BYTES + bytes);
        if self.phase == Phase::Restoring {
            self.loading.read_entry(bytes);
        }
    }

    /// Applies a batch of another primary or of an earlier tenure, or a fragment of one. False if further fragments of
    /// the batch follow.
    fn apply(&mut self, index: LogIndex, payload: &[u8]) -> Result<bool, Fatal> {
        fail_point!("shard::apply");
        let broken = |error| Fatal::Batch { index, error };
        let part = Part::of(payload).map_err(broken)?;
        let (seq, _) = part.place().map_err(broken)?;
        self.position.check_seq(index, seq)?;
        let Some(whole) = self.position.fragments.push(part).map_err(broken)? else { return Ok(false) };
        let batch = Batch::decode(&whole).map_err(broken)?;
        for run in batch.runs() {
            match run {
                Run::Mode(mode) => self.settings.mode.commit(mode),
                Run::LagBound(desired) => self.settings.lag_bound.commit(desired),
                Run::Effects { timestamp, effects } => {
                    self.data.engine.apply(timestamp, effects).map_err(|error| Fatal::Apply { index, error })?;
                }
            }
        }
        for (timestamp, change) in batch.records() {
            self.records.apply(&change, timestamp);
        }
        self.data.engine.advance_timestamp(batch.header.timestamp);
        self.counters.batches_applied += 1;
        self.report_applied();
        Ok(true)
    }
}
