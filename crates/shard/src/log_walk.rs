//! Memory follows the log: committed entries are taken in order, applied on replicas and checked off on the primary.
//!
//! Invariants, each checked on every entry; a violation stops the replica, because its memory can no longer be trusted:
//! - Indexes have no hole, epochs do not run backwards.
//! - The batches of an epoch are numbered from 1 without a hole.
//! - On a primary each committed batch of its own epoch is the oldest one in flight.
//!
//! The position in the log (`walked`) and that of memory (`applied`) differ while the log is within a batch of several
//! entries (`fragment.rs`). Memory moves from the entry before the first fragment to the last one in one step, and with
//! it snapshots, readers, what is reported as applied, and the start of a tenure. A restore from a snapshot starts at
//! memory's position, so it reads the fragments again. An entry of another epoch drops the fragments that were taken,
//! because their batch can no longer become whole. Readiness does not depend on it: a replica within a batch can lead,
//! because the first entry of its epoch ends that batch; otherwise nobody could lead after a leader that died there.

use fail::fail_point;
use fastness_consensus::handle::{Committed, EntryPayload, ReadError};
use fastness_engine::ApplyError;
use fastness_types::{BootNs, Epoch, LogIndex, Plant, Seq};

use crate::batch::{Batch, BatchError, Run};
use crate::fragment::Part;
use crate::inner::Inner;
use crate::position::{LogPosition, chain};
use crate::role::Phase;
use crate::snapshot_format::Tail;
use crate::state::{Primary, Replica, State};

/// Committed entries taken per slice, bytes.
const SLICE_BYTES: usize = 1024 * 1024;

/// Why this replica stops.
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

/// About how many bytes an entry takes in the log besides its batch: the log of an idle shard has nothing else.
const ENTRY_BYTES: usize = 96;

/// What an entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Memory is at the entry.
    Done,
    /// Memory had run ahead of a foreign entry and is empty now: continue from the start of the log.
    Emptied,
}

/// Takes one slice of the committed entries that memory does not hold yet. True if there are more.
pub(crate) async fn follow_log(inner: &Inner) -> Result<bool, Fatal> {
    let handle = &inner.edges.handle;
    let from = inner.state.borrow().replica.position.next_index();
    let to = handle.committed();
    if from > to {
        inner.state.borrow_mut().replica.position.committed = to;
        return Ok(false);
    }
    let installed = handle.installed();
    if installed >= from {
        return jump(inner, from, installed);
    }
    let entries = match handle.read_cached(from, to, SLICE_BYTES) {
        Some(entries) => entries,
        None => {
            match handle.read(from, to, SLICE_BYTES).await {
                Ok(entries) => entries,
                // A snapshot is being installed: its file exists, the log is cut, and that is on its way to the disk.
                // It is reported as installed only then.
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

/// The log is purged up to `upto`: memory is restored from a snapshot of that position or a later one. If it was
/// restored for this very position before, no such snapshot can be used.
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
    /// Takes the next committed entry.
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
            // What a batch of an older epoch lacks will not come.
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
    /// A batch of this primary's own, or a fragment of one, has committed: memory holds it already. False if more of
    /// the batch is to come.
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
        replica.data.engine.forget_undo(seq);
        debug_assert_eq!(leader.index_of(seq), index, "batches follow one another");
        replica.flow.lag.record(batch.opened, now);
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
        Ok(true)
    }
}

impl Replica {
    /// Each entry's checksum is seeded with the one before.
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

    /// A batch of another primary, or of the past, or a fragment of one. False if more of the batch is to come.
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
        self.data.engine.advance_timestamp(batch.header.timestamp);
        self.counters.batches_applied += 1;
        Ok(true)
    }
}
