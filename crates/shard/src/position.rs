//! Where in the log this replica is, and where its memory is.
//!
//! The two differ while the log is within a batch of several entries (`fragment.rs`): what was taken from the log
//! (`walked`) is beyond what memory holds (`applied`) until the batch is whole.

use fastness_consensus::handle::{Committed, EntryPayload};
use fastness_types::{Epoch, LogIndex, Seq};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fragment::Fragments;

/// Positions in the log of one replica.
#[derive(Default)]
pub(crate) struct LogPosition {
    /// Newest entry that memory holds; 0: none. Never within a batch.
    pub(crate) applied: LogIndex,
    /// Newest entry that was taken from the log: beyond `applied` within a batch of several entries.
    pub(crate) walked: LogIndex,
    /// What was taken beyond `applied`, of a batch of another primary or of the past.
    pub(crate) fragments: Fragments,
    /// Newest entry that is known as committed.
    pub(crate) committed: LogIndex,
    /// The newest installed snapshot for which memory was emptied; 0: none.
    pub(crate) jumped_to: LogIndex,
    /// The epoch of the newest entry, and its newest batch.
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    /// Checksum of all entries up to `walked`: equal on replicas that have the same log.
    pub(crate) checksum: u64,
    /// Checksum of all entries up to `applied`, which is reported.
    pub(crate) applied_checksum: u64,
}

impl LogPosition {
    /// Memory is empty, to be restored from a snapshot or from the start of the log.
    pub(crate) fn restart(&mut self) {
        let LogPosition { committed, jumped_to, .. } = *self;
        *self = LogPosition { committed, jumped_to, ..LogPosition::default() };
    }

    /// Index of the next entry to be taken from the log.
    pub(crate) fn next_index(&self) -> LogIndex {
        LogIndex(self.walked.0 + 1)
    }

    /// Whether the log was walked up to between two fragments of a batch: memory is at the entry before the first of
    /// them.
    #[inline]
    pub(crate) fn is_within_batch(&self) -> bool {
        self.walked != self.applied
    }

    /// Entries that are known as committed and were not taken yet.
    pub(crate) fn entries_left(&self) -> u64 {
        self.committed.0.saturating_sub(self.walked.0)
    }

    /// Memory holds everything that was taken.
    pub(crate) fn apply_walked(&mut self) {
        self.applied = self.walked;
        self.applied_checksum = self.checksum;
    }
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
