//! Reads whole batches from the log, from a position on, as far as the replica has applied it.
//!
//! Invariants:
//! - No entry is read after the applied position, or at or before an installed snapshot: such an entry may not be
//!   committed.
//! - A batch of several fragments is returned once, at its last fragment. Fragments whose rest never came are dropped,
//!   as the replica drops them (`position.rs`).
//! - Dropping a future of the reader loses nothing: the next call continues.

use std::collections::VecDeque;
use std::sync::Arc;

use fastness_consensus::handle::{AppliedMoves, Committed, EntryPayload, GroupHandle, ReadError};
use fastness_types::{Epoch, LogIndex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ChangePosition;
use crate::batch::{Batch, BatchError, Unit};
use crate::fragment::{Fragment, Fragments, Part};

/// Entries that are read at once, bytes; a single one may be longer.
const SLICE_BYTES: usize = 512 * 1024;

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeStart {
    /// With what the replica applies from now on.
    Now,
    /// With the oldest whole batch in the log.
    Oldest,
    /// After this position.
    After(ChangePosition),
}

/// Why changes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The log does not have what follows the position.
    #[error("the log of this replica starts at {oldest:?}")]
    Purged {
        /// The first index that it has.
        oldest: LogIndex,
    },
    /// The replica has stopped, or is being restored.
    #[error("this replica does not serve")]
    NotServing,
    /// The log is broken, or newer than this version.
    #[error("log entry {index:?}: {error}")]
    Batch {
        /// The entry.
        index: LogIndex,
        /// What is wrong.
        error: BatchError,
    },
    /// The log could not be read.
    #[error("reading the log from {from:?}: {reason}")]
    Log {
        /// The first entry that was requested.
        from: LogIndex,
        /// What is wrong.
        reason: String,
    },
}

/// See the module.
#[derive(Debug)]
pub struct ChangeReader {
    handle: GroupHandle,
    moves: AppliedMoves,
    /// Everything up to here was returned.
    position: ChangePosition,
    /// The next entry to read.
    next: LogIndex,
    /// Entries that were read and not looked at.
    read: VecDeque<Committed>,
    epoch: Epoch,
    fragments: Fragments,
    /// Permits to assemble a batch of fragments, and the one for the batch that is being assembled.
    large: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    /// Whether fragments without their beginning are passed over: nothing before was promised.
    passes_over: bool,
}

impl ChangeReader {
    /// A reader of a replica's log. Batches of several entries are assembled in memory; `large` has a permit for each
    /// that may be at a time. The replica need not have reached the position ([`ChangeReader::is_reached`]).
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn open(
        handle: GroupHandle,
        start: ChangeStart,
        large: Arc<Semaphore>,
    ) -> Result<ChangeReader, ChangeError> {
        let moves = handle.follow_applied();
        let applied = handle.applied();
        if !handle.ready() || applied < handle.installed() {
            return Err(ChangeError::NotServing);
        }
        let position = match start {
            ChangeStart::Now => ChangePosition::end_of(applied),
            ChangeStart::After(position) => position,
            ChangeStart::Oldest => ChangePosition::default(),
        };
        let next = match position.unit {
            ChangePosition::END => LogIndex(position.index.0.saturating_add(1)),
            _ => LogIndex(position.index.0.max(1)),
        };
        let mut reader = ChangeReader {
            handle,
            moves,
            position,
            next,
            read: VecDeque::new(),
            epoch: Epoch::default(),
            fragments: Fragments::default(),
            large,
            permit: None,
            passes_over: start == ChangeStart::Oldest,
        };
        // It must be told at once if the start is purged.
        match reader.fill().await {
            Err(ChangeError::Purged { oldest }) if start == ChangeStart::Oldest => {
                reader.next = oldest;
                reader.position = ChangePosition::end_of(LogIndex(oldest.0 - 1));
            }
            filled => _ = filled?,
        }
        Ok(reader)
    }

    /// Whether the replica has applied everything up to the position.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.handle.applied() >= self.position.index
    }

    /// Everything up to here was returned.
    #[must_use]
    pub fn position(&self) -> ChangePosition {
        self.position
    }

    /// Resolves when there may be more to read.
    pub async fn moved(&mut self) {
        self.moves.changed().await;
    }

    /// The next batch; absent if everything that the replica has applied was returned.
    ///
    /// # Errors
    /// See [`ChangeError`]. The reader is of no use afterwards.
    pub async fn next(&mut self) -> Result<Option<CommittedBatch>, ChangeError> {
        loop {
            let Some(first) = self.read.front() else {
                if !self.fill().await? {
                    return Ok(None);
                }
                continue;
            };
            if self.permit.is_none() && fragment_of(first)?.is_some() {
                let permit = self.large.clone().acquire_owned().await;
                self.permit = Some(permit.map_err(|_| ChangeError::NotServing)?);
            }
            let Some(entry) = self.read.pop_front() else { continue };
            if let Some(batch) = self.take(entry)? {
                return Ok(Some(batch));
            }
        }
    }

    /// Reads further entries. False: there are none.
    async fn fill(&mut self) -> Result<bool, ChangeError> {
        let (handle, from) = (&self.handle, self.next);
        let to = handle.applied();
        if from > to {
            return Ok(false);
        }
        // After the applied position, which is at or after an installed snapshot only if memory was restored from it.
        let installed = handle.installed();
        if installed >= from {
            return Err(ChangeError::Purged { oldest: LogIndex(installed.0 + 1) });
        }
        let entries = match handle.read_cached(from, to, SLICE_BYTES) {
            Some(entries) => entries,
            None => handle.read(from, to, SLICE_BYTES).await.map_err(|error| match error {
                ReadError::Purged(upto) => ChangeError::Purged { oldest: LogIndex(upto.0 + 1) },
                ReadError::Stopped => ChangeError::NotServing,
                ReadError::Log(reason) => ChangeError::Log { from, reason },
            })?,
        };
        let Some(last) = entries.last() else {
            let reason = "it returned no entry".to_owned();
            return Err(ChangeError::Log { from, reason });
        };
        self.next = LogIndex(last.index.0 + 1);
        self.read.extend(entries);
        Ok(true)
    }

    /// Takes one entry; returns the batch that it completes.
    fn take(&mut self, entry: Committed) -> Result<Option<CommittedBatch>, ChangeError> {
        let index = entry.index;
        if entry.epoch > self.epoch {
            self.epoch = entry.epoch;
            if !self.fragments.is_empty() {
                // The rest of their batch never came.
                self.fragments.clear();
                self.permit = None;
            }
        }
        if let Some(fragment) = fragment_of(&entry)?
            && fragment.number > 0
            && self.fragments.is_empty()
        {
            let number = u64::from(fragment.number);
            self.begin_within(index, number);
            return Ok(None);
        }
        let EntryPayload::Batch(payload) = entry.payload else {
            if self.fragments.is_empty() {
                self.pass(index);
            }
            return Ok(None);
        };
        self.passes_over = false;
        let broken = |error| ChangeError::Batch { index, error };
        let payload = match Part::of(&payload).map_err(broken)? {
            Part::Whole(_) if self.fragments.is_empty() => BatchPayload::Entry(payload),
            part => match self.fragments.push(part).map_err(broken)? {
                None => return Ok(None),
                Some(whole) => {
                    let whole = whole.into_owned();
                    BatchPayload::Assembled { whole, _permit: self.permit.take() }
                }
            },
        };
        let skip = if index == self.position.index { self.position.unit } else { 0 };
        self.pass(index);
        Ok(Some(CommittedBatch { index, skip, payload }))
    }

    fn pass(&mut self, index: LogIndex) {
        self.position = self.position.max(ChangePosition::end_of(index));
    }

    /// The start is within a batch of several entries: goes back to its first one, or passes over it.
    fn begin_within(&mut self, index: LogIndex, number: u64) {
        self.permit = None;
        if self.passes_over {
            self.pass(index);
            return;
        }
        // Entries without a batch may come between the fragments: then the first one is even earlier.
        self.read.clear();
        self.next = LogIndex(index.0.saturating_sub(number).max(1));
        self.epoch = Epoch::default();
    }
}

/// The fragment that an entry carries.
fn fragment_of(entry: &Committed) -> Result<Option<Fragment<'_>>, ChangeError> {
    let EntryPayload::Batch(payload) = &entry.payload else { return Ok(None) };
    match Part::of(payload) {
        Ok(Part::Fragment(fragment)) => Ok(Some(fragment)),
        Ok(Part::Whole(_)) => Ok(None),
        Err(error) => Err(ChangeError::Batch { index: entry.index, error }),
    }
}

#[derive(Debug)]
enum BatchPayload {
    Entry(bytes::Bytes),
    /// With the permit to have it in memory.
    Assembled {
        whole: Vec<u8>,
        _permit: Option<OwnedSemaphorePermit>,
    },
}

/// A whole batch that has committed.
#[derive(Debug)]
pub struct CommittedBatch {
    index: LogIndex,
    /// Units that are not returned, because they are not after the start.
    skip: u32,
    payload: BatchPayload,
}

/// A unit with its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedUnit<'a> {
    /// After this unit.
    pub position: ChangePosition,
    /// The unit.
    pub unit: Unit<'a>,
}

impl CommittedBatch {
    /// Index of the entry that completes it.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.index
    }

    /// Whether it was assembled of several entries.
    #[must_use]
    pub fn is_assembled(&self) -> bool {
        matches!(self.payload, BatchPayload::Assembled { .. })
    }

    fn payload(&self) -> &[u8] {
        match &self.payload {
            BatchPayload::Entry(payload) => payload,
            BatchPayload::Assembled { whole, .. } => whole,
        }
    }

    /// Its units after the start, in order.
    ///
    /// # Errors
    /// It is not a batch of this version.
    pub fn units(&self) -> Result<impl Iterator<Item = CommittedUnit<'_>>, ChangeError> {
        let index = self.index;
        let batch = Batch::decode(self.payload()).map_err(|error| ChangeError::Batch { index, error })?;
        let numbered = (1_u32..).zip(batch.units()).filter(|(number, _)| *number > self.skip);
        Ok(numbered.map(move |(number, unit)| CommittedUnit { position: ChangePosition { index, unit: number }, unit }))
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
