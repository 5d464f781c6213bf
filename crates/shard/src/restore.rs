//! Memory follows the log: applying committed entries on replicas, checking them off on the primary, and restoring from
//! the log's beginning at the start and after an undo that undo records did not suffice for.
//!
//! Invariants, each checked on every entry; a violation stops the replica, since its memory can no longer be trusted:
//! - Indexes have no hole, epochs do not run backwards.
//! - The batches of an epoch are numbered from 1 without a hole.
//! - On a primary each committed batch of its own epoch is the oldest one in flight.
//!
//! The position in the log (`walked`) and that of memory (`applied`) are apart while the log is within a batch of
//! several entries (`fragment.rs`): memory, and with it snapshots, readers, what is reported as applied and the
//! beginning of a tenure, goes from the entry before the first fragment to the last one in one step. A restore from a
//! snapshot begins at memory's position, so it reads the fragments again. An entry of another epoch drops what has come
//! of a batch, which can no longer become whole. Readiness does not depend on it: a replica within a batch can lead,
//! since the first entry of its epoch ends that batch; if it could not, nobody could once the leader has died there.

use fail::fail_point;
use fastness_consensus::handle::{Committed, EntryPayload, ReadError};
use fastness_engine::ApplyError;
use fastness_types::{BootNs, Epoch, LogIndex, Plant, Seq};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::batch::{Batch, BatchError, Run};
use crate::fragment::Part;
use crate::lag_bound::DesiredLagBound;
use crate::loading::Loading;
use crate::state::{Phase, State};
use crate::time::CommittedTime;

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
    #[error("the log gave no entry from {0:?} on")]
    Nothing(LogIndex),
    #[error("log entry {expected:?} was expected, {found:?} came")]
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

/// What an entry takes in the log beside its batch, bytes, about: an idle shard's log is of nothing else.
const ENTRY_BYTES: usize = 96;

/// What an entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Memory stands at the entry.
    Done,
    /// Memory had run ahead of a foreign entry and is empty now: go on from the log's beginning.
    Emptied,
}

/// The checksum of the log up to this entry, from that up to the one before.
pub(crate) fn chain(before: u64, entry: &Committed) -> u64 {
    let (kind, payload): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (0, &[]),
        EntryPayload::Batch(payload) => (1, payload),
        EntryPayload::Membership => (2, &[]),
    };
    let mut head = [0; 25];
    head[..8].copy_from_slice(&entry.index.0.to_le_bytes());
    head[8..16].copy_from_slice(&entry.epoch.term.to_le_bytes());
    head[16..24].copy_from_slice(&entry.epoch.node.0.to_le_bytes());
    head[24] = kind;
    xxh3_64_with_seed(payload, xxh3_64_with_seed(&head, before))
}

impl State {
    /// Gives up memory for the log's.
    pub(crate) fn restart_from_log(&mut self) {
        self.engine.restart();
        self.generation += 1;
        fail_point!("shard::restore");
        self.applied = LogIndex(0);
        self.walked = LogIndex(0);
        self.fragments.clear();
        self.log_epoch = Epoch::default();
        self.log_seq = Seq(0);
        self.log_checksum = 0;
        self.committed_time = CommittedTime::default();
        self.applied_checksum = 0;
        self.mode.restart();
        self.lag_bound.restart();
        self.gate.set_bound(self.lag_bound.in_force());
        self.snapshots.restart();
        self.digests.image_is_gone();
        self.phase = Phase::Restoring;
        self.loading = Loading::new(self.clock.boot(), self.clock.wall());
        self.counters.restores += 1;
    }

    /// Takes the next committed entry.
    pub(crate) fn step(&mut self, entry: &Committed, now: BootNs) -> Result<Step, Fatal> {
        let index = entry.index;
        if index != self.next_index() {
            return Err(Fatal::Index { expected: self.next_index(), found: index });
        }
        let own = self.leader.as_ref().is_some_and(|leader| leader.epoch == entry.epoch);
        if !own && self.meet_foreign_entry() {
            return Ok(Step::Emptied);
        }
        self.check_epoch(entry)?;
        self.add_to_checksum(entry);
        let is_within = match &entry.payload {
            EntryPayload::Batch(payload) if own => !self.check_off(index, payload, now)?,
            EntryPayload::Batch(payload) => !self.apply(index, payload)?,
            EntryPayload::Membership if own => {
                self.move_base();
                self.is_within_batch()
            }
            EntryPayload::Blank | EntryPayload::Membership => self.is_within_batch(),
        };
        self.walked = index;
        if is_within && !Plant::FragmentMovesPosition.is_on() {
            return Ok(Step::Done);
        }
        self.applied = index;
        if !own {
            self.committed_time.advance(self.engine.newest_timestamp(), now);
        }
        self.applied_checksum = self.log_checksum;
        if own && let EntryPayload::Batch(_) = entry.payload {
            self.snapshot_sees_commit(self.log_seq);
        }
        Ok(Step::Done)
    }

    /// Each entry's checksum is seeded with the one before.
    fn add_to_checksum(&mut self, entry: &Committed) {
        let bytes = match &entry.payload {
            EntryPayload::Batch(payload) => payload.len(),
            EntryPayload::Blank | EntryPayload::Membership => 0,
        };
        self.log_checksum = chain(self.log_checksum, entry);
        self.snapshots.count(ENTRY_BYTES + bytes);
        if self.phase == Phase::Restoring {
            self.loading.read_entry(bytes);
        }
    }

    fn check_epoch(&mut self, entry: &Committed) -> Result<(), Fatal> {
        if entry.epoch < self.log_epoch {
            return Err(Fatal::Epoch { index: entry.index, newest: self.log_epoch, found: entry.epoch });
        }
        if entry.epoch > self.log_epoch {
            self.log_epoch = entry.epoch;
            self.log_seq = Seq(0);
            // What a batch of an older epoch lacks will not come.
            self.applied = self.walked;
            self.applied_checksum = self.log_checksum;
            if !Plant::FragmentsKept.is_on() {
                self.fragments.clear();
            }
        }
        Ok(())
    }

    fn check_seq(&mut self, index: LogIndex, found: Seq) -> Result<(), Fatal> {
        let expected = self.log_seq.next();
        if Plant::AppliedTwice.is_on() && found < expected {
            return Ok(());
        }
        let passes_over = Plant::SnapshotsPassedOver.is_on() && self.log_seq == Seq(0);
        if found != expected && !passes_over {
            return Err(Fatal::Gap { index, epoch: self.log_epoch, expected, found });
        }
        self.log_seq = found;
        Ok(())
    }

    /// A batch of this primary's own, or a fragment of one, has committed: memory holds it already. False if more of
    /// the batch is to come.
    fn check_off(&mut self, index: LogIndex, payload: &[u8], now: BootNs) -> Result<bool, Fatal> {
        let place = Part::of(payload).and_then(|part| part.place());
        let (seq, is_whole) = place.map_err(|error| Fatal::Batch { index, error })?;
        self.check_seq(index, seq)?;
        let leader = self.leader.as_mut().expect("the entry is of its epoch");
        if Plant::AppliedTwice.is_on() && seq <= leader.committed {
            self.move_base();
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
        self.engine.forget_undo(seq);
        debug_assert_eq!(leader.index_of(seq), index, "batches follow one another");
        self.lag.record(batch.opened, now);
        self.committed_time.advance(batch.timestamp, now);
        if let Some(mode) = batch.mode {
            self.mode.commit(mode);
        }
        if let Some(desired) = batch.lag_bound {
            self.lag_bound.commit(desired);
            self.gate.set_bound(self.lag_bound.in_force());
        }
        self.counters.batches += 1;
        self.counters.units += batch.units as u64;
        self.counters.effect_bytes += batch.bytes as u64;
        leader.waiting.release(seq);
        Ok(true)
    }

    /// A batch of another primary, or of the past, or a fragment of one. False if more of the batch is to come.
    fn apply(&mut self, index: LogIndex, payload: &[u8]) -> Result<bool, Fatal> {
        fail_point!("shard::apply");
        let broken = |error| Fatal::Batch { index, error };
        let part = Part::of(payload).map_err(broken)?;
        let (seq, _) = part.place().map_err(broken)?;
        self.check_seq(index, seq)?;
        let Some(whole) = self.fragments.push(part).map_err(broken)? else { return Ok(false) };
        let batch = Batch::decode(&whole).map_err(broken)?;
        for run in batch.runs() {
            match run {
                Run::Mode(mode) => self.mode.commit(mode),
                Run::LagBound(desired) => self.commit_lag_bound(desired),
                Run::Effects { timestamp, effects } => {
                    self.engine.apply(timestamp, effects).map_err(|error| Fatal::Apply { index, error })?;
                }
            }
        }
        self.engine.advance_timestamp(batch.header.timestamp);
        self.counters.batches_applied += 1;
        Ok(true)
    }

    pub(crate) fn commit_lag_bound(&mut self, desired: DesiredLagBound) {
        self.lag_bound.commit(desired);
        self.gate.set_bound(self.lag_bound.in_force());
    }

    /// An entry of this primary's epoch that is no batch stands between its batches.
    fn move_base(&mut self) {
        let Some(leader) = &mut self.leader else { return };
        let by = leader.moved.last().map_or(0, |(_, by)| *by);
        leader.moved.push((leader.committed, by + 1));
    }
}
