//! The positions of a replica and of its memory in the log.
//!
//! The two differ within a batch of several entries (`fragment.rs`): until the batch is complete, the last entry taken
//! from the log (`walked`) is after the last one in memory (`applied`).

use fastness_consensus::handle::{Committed, EntryPayload};
use fastness_types::{Epoch, LogIndex, Seq};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fragment::Fragments;

/// Positions in the log of one replica.
#[derive(Default)]
pub(crate) struct LogPosition {
    /// The newest entry in memory; 0: none. Never within a batch.
    pub(crate) applied: LogIndex,
    /// The newest entry taken from the log. After `applied` within a batch of several entries.
    pub(crate) walked: LogIndex,
    /// Fragments taken after `applied`, of a batch of another primary or of an earlier tenure.
    pub(crate) fragments: Fragments,
    /// The newest entry known to be committed.
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
    /// The position of empty memory, which will be restored from a snapshot or from the start of the log.
    pub(crate) fn restart(&mut self) {
        let LogPosition { committed, jumped_to, .. } = *self;
        *self = LogPosition { committed, jumped_to, ..LogPosition::default() };
    }

    /// Index of the next entry to be taken from the log.
    pub(crate) fn next_index(&self) -> LogIndex {
        LogIndex(self.walked.0 + 1)
    }

    /// Whether `walked` is within a batch of several entries. Memory is then at the entry before its first fragment.
    #[inline]
    pub(crate) fn is_within_batch(&self) -> bool {
        self.walked != self.applied
    }

    /// Number of entries that are known to be committed and were not taken yet.
    pub(crate) fn entries_left(&self) -> u64 {
        self.committed.0.saturating_sub(self.walked.0)
    }

    /// Records that memory contains everything up to `walked`.
    pub(crate) fn apply_walked(&mut self) {
        self.applied = self.walked;
        self.applied_checksum = self.checksum;
    }
}

/// The checksum of the log up to this entry, computed from the checksum up to the preceding entry.
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
