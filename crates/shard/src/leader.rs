//! The leader part: the state that a replica has in addition during one tenure as primary.
//!
//! It is created when a tenure starts and dropped as a whole when it ends (`leadership.rs`), so that no state of one
//! tenure reaches the next.

use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::Lease;
use fastness_types::{BootNs, Epoch, LogIndex, Plant, Seq};

use crate::confirm::{self, Confirming};
use crate::dirty::DirtyKeys;
use crate::edges::Edges;
use crate::options::Batching;
use crate::outcome::{PendingReply, Release, Tenure};
use crate::probe::{Probes, StageMark};
use crate::reply_queue::ReplyQueue;
use crate::stage::Stage;

/// The age of the clock reading that [`Plant::StaleClock`] treats as fresh.
const PLANTED_STALENESS_NS: u64 = 3_000_000_000;

/// One tenure as primary.
pub(crate) struct Leader {
    pub(crate) tenure: Tenure,
    pub(crate) epoch: Epoch,
    pub(crate) lease: Arc<Lease>,
    /// Whether the role is lost. Staged effects may still commit.
    pub(crate) deposed: bool,
    pub(crate) stage: Stage,
    pub(crate) dirty: DirtyKeys,
    pub(crate) waiting: ReplyQueue,
    pub(crate) confirming: Confirming,
    /// Sampled writes that have not committed.
    pub(crate) probes: Probes,
    /// The newest committed batch.
    pub(crate) committed: Seq,
    /// Index of the entry before the epoch's first batch. Batch `n` is at `base + n`, unless other entries of the epoch
    /// lie between.
    base: LogIndex,
    /// Shifts by other entries of the epoch (membership): the indexes of batches after `.0` are higher by `.1`.
    moved: Vec<(Seq, u64)>,
}

impl Leader {
    /// Starts a tenure. Memory must contain exactly the log up to `applied`, whose newest batch of `epoch` is
    /// `committed` (0: none).
    pub(crate) fn new(
        tenure: Tenure,
        lease: Arc<Lease>,
        committed: Seq,
        applied: LogIndex,
        batching: &Batching,
    ) -> Leader {
        let epoch = lease.epoch();
        Leader {
            tenure,
            epoch,
            lease,
            deposed: false,
            stage: Stage::new(epoch, committed.next(), batching),
            dirty: DirtyKeys::new(),
            waiting: ReplyQueue::new(committed.next()),
            confirming: Confirming::default(),
            probes: Probes::default(),
            committed,
            base: LogIndex(applied.0 - committed.0),
            moved: Vec::new(),
        }
    }

    /// Whether commands may be served at `now`, a fresh reading.
    #[inline]
    pub(crate) fn may_act(&self, now: BootNs) -> bool {
        let now = if Plant::StaleClock.is_on() { BootNs(now.0.saturating_sub(PLANTED_STALENESS_NS)) } else { now };
        !self.deposed && (self.lease.holds(now) || Plant::NoLeaseCheck.is_on())
    }

    /// Whether uncommitted effects may have changed a key with this hash.
    pub(crate) fn is_covered(&self, hash: u64) -> bool {
        self.stage.is_held() || self.dirty.last_change(hash) > self.committed
    }

    /// The index of a committed batch.
    pub(crate) fn index_of(&self, seq: Seq) -> LogIndex {
        let moved = self.moved.iter().rev().find(|(after, _)| seq > *after).map_or(0, |(_, by)| *by);
        LogIndex(self.base.0 + seq.0 + moved)
    }

    /// Records an entry of this epoch that is not a batch.
    pub(crate) fn move_base(&mut self) {
        let by = self.moved.last().map_or(0, |(_, by)| *by);
        self.moved.push((self.committed, by + 1));
    }

    /// How much is staged now.
    pub(crate) fn stage_mark(&self) -> StageMark {
        StageMark { tenure: self.tenure, seq: self.stage.last_staged(), units: self.stage.units_in_open_batch() }
    }

    /// Tells the probes what was proposed since the last call.
    #[cold]
    pub(crate) fn note_proposed(&mut self, now: BootNs) {
        let Some(newest) = self.stage.newest_proposed() else { return };
        let mut probes = std::mem::take(&mut self.probes);
        probes.propose(newest, |seq| self.index_of(seq), now);
        self.probes = probes;
    }

    /// Whether the reply to a read that waits for a quorum may be released.
    pub(crate) fn release_confirmed(&self, pending: PendingReply, now: BootNs) -> Release {
        confirm::release(&self.lease, self.committed, pending, now)
    }

    /// Requests a round of heartbeats if a read waits for one, and wakes the reads whose round is confirmed. Returns
    /// when to check again.
    pub(crate) fn confirm_reads(&mut self, edges: &Edges, now: BootNs) -> Option<Duration> {
        if !self.confirming.is_wanted() {
            return None;
        }
        if self.confirming.has_news(&self.lease, self.committed, now) {
            self.waiting.wake_confirming();
        }
        self.confirming.follow(&self.lease, self.stage.last_staged(), edges)
    }
}
