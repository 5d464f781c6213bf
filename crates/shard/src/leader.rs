//! What a replica has in addition while it is the primary: the leader part of one tenure.
//!
//! Made when a tenure starts and dropped whole when it ends (`leadership.rs`), so that nothing of one tenure is ever
//! seen by the next.

use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::Lease;
use fastness_types::{BootNs, Epoch, LogIndex, Plant, Seq};

use crate::confirm::{self, Confirming};
use crate::dirty::DirtyKeys;
use crate::edges::Edges;
use crate::options::Batching;
use crate::outcome::{PendingReply, Release, Tenure};
use crate::reply_queue::ReplyQueue;
use crate::stage::Stage;

/// How old the reading is that [`Plant::StaleClock`] takes for a fresh one.
const PLANTED_STALENESS_NS: u64 = 3_000_000_000;

/// One tenure as primary.
pub(crate) struct Leader {
    pub(crate) tenure: Tenure,
    pub(crate) epoch: Epoch,
    pub(crate) lease: Arc<Lease>,
    /// The role has been lost; what is staged may still turn out to have committed.
    pub(crate) deposed: bool,
    pub(crate) stage: Stage,
    pub(crate) dirty: DirtyKeys,
    pub(crate) waiting: ReplyQueue,
    pub(crate) confirming: Confirming,
    /// Everything up to this has committed.
    pub(crate) committed: Seq,
    /// Index of the entry before the epoch's first batch: batch `n` is at `base + n` while no other entry of the epoch
    /// lies between.
    base: LogIndex,
    /// Where other entries of the epoch (membership) have moved the base: batches after `.0` are `.1` further on.
    moved: Vec<(Seq, u64)>,
}

impl Leader {
    /// A tenure that starts when memory is exactly the log up to `applied`, whose newest batch of `epoch` is
    /// `committed` (0: there is none).
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

    /// The index of a committed batch.
    pub(crate) fn index_of(&self, seq: Seq) -> LogIndex {
        let moved = self.moved.iter().rev().find(|(after, _)| seq > *after).map_or(0, |(_, by)| *by);
        LogIndex(self.base.0 + seq.0 + moved)
    }

    /// An entry of this epoch that is no batch lies between its batches.
    pub(crate) fn move_base(&mut self) {
        let by = self.moved.last().map_or(0, |(_, by)| *by);
        self.moved.push((self.committed, by + 1));
    }

    /// Whether the reply to a read that waits for a quorum may leave.
    pub(crate) fn release_confirmed(&self, pending: PendingReply, now: BootNs) -> Release {
        confirm::release(&self.lease, self.committed, pending, now)
    }

    /// Asks for a round of heartbeats if a read waits for one, and wakes those whose round has been answered; returns
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
