//! Tenures: when this replica starts to act as the primary of one epoch, and when it stops.
//!
//! # The problem
//!
//! Consensus elects a leader and grants it a lease. That does not make it safe to serve yet. Memory may be older than
//! the log; it may hold effects of an earlier tenure that never committed; and batches of an earlier process may still
//! be on their way. Simple rules fail:
//!
//! - *Serve once elected.* The new leader's log holds every committed entry, but its memory need not, and its commit
//!   index may be old: a leader that has applied 90 of 100 committed entries would lose ten acknowledged writes.
//! - *Serve once memory has reached the known commit index.* That index is the one of the last heartbeat. Raft lets a
//!   leader commit entries of older epochs only together with one of its own, so only the first entry of its **own**
//!   epoch proves, when it is applied, that all before it are.
//! - *End the tenure when the lease lapses.* Most lapses are short. Uncommitted effects may still commit, and their
//!   clients wait for that.
//! - *Undo when the role is lost.* Another leader may have the entries and commit them. Until a foreign entry commits,
//!   the staged effects may still commit.
//!
//! # The rules
//!
//! - A tenure starts when its epoch's first entry has been **applied** and the role still is that epoch's leader, on a
//!   node whose wall clock can be trusted, because the tenure may start with an effect of its own. No batch of an older
//!   tenure is uncommitted then: the walk over the log has ended that tenure.
//! - A process resumes an epoch only if it led this epoch before. Otherwise the batches of the epoch in the log are of
//!   a process before it, and more of them may follow.
//! - Losing the lease or the role fences (`may_act` is false) and undoes nothing.
//! - A **foreign entry**, one of another epoch, ends the tenure. Without uncommitted effects, memory equals the log up
//!   to that entry. Otherwise memory has diverged from the log, and returns to the committed state before anything else
//!   is applied or served (`undo.rs`).
//!
//! # An example
//!
//! Node A is elected for epoch 7. Its log ends with entry 99, of epoch 5; entry 100 is its own first entry. A has
//! applied 98 and serves nothing. When 100 is applied, the tenure starts: batch 1 of epoch 7 is expected at index 101.
//! A stages batches 1, 2 and 3; a membership entry takes index 102, so batches 2 and 3 are entries 103 and 104. The
//! lease lapses for 20 ms: commands wait, then continue in the same tenure. Now B is elected for epoch 9. A is deposed,
//! and serves nothing. Entries 101 to 103 commit: batches 1 and 2 are committed and their replies released. Then an
//! entry of epoch 9 commits at index 104. Batch 3 can never commit: it is undone, the tenure ends with batch 2 as its
//! last, and pending replies of batch 3 are answered UNKNOWN.
//!
//! # Invariants
//!
//! - There is a [`Leader`] only between the first entry of its epoch and the first foreign entry, and at most one.
//! - Batches of an epoch are numbered from 1 without a gap, across the tenures of the process that leads it.
//! - The ends of the last tenures are remembered (`tenures.rs`), so that a pending reply of an ended tenure is resolved
//!   by what had committed at its end, never by what a later tenure commits.

use std::sync::Arc;

use fail::fail_point;
use fastness_consensus::handle::GroupHandle;
use fastness_events::Event;
use fastness_types::{Plant, Seq};

use crate::leader::Leader;
use crate::now::Now;
use crate::role::{Phase, SeenRole};
use crate::state::{Replica, State};

impl State {
    /// Records the role that consensus reports; returns the reason if the group has stopped.
    pub(crate) fn see_role(&mut self, handle: &GroupHandle) -> Option<Arc<str>> {
        self.replica.role = SeenRole::of(&handle.role());
        let mut is_newly_deposed = false;
        if let Some(leader) = &mut self.leader {
            let is_still =
                matches!(&self.replica.role, SeenRole::Leader { lease, .. } if lease.epoch() == leader.epoch);
            let was_deposed = std::mem::replace(&mut leader.deposed, !is_still);
            is_newly_deposed = leader.deposed && !was_deposed;
        }
        self.fit_script_to_role();
        if self.leader.as_ref().is_some_and(|leader| leader.deposed && leader.stage.is_clean()) {
            self.end_tenure();
        } else if is_newly_deposed {
            self.replica.report_lost();
        }
        match &self.replica.role {
            SeenRole::Stopped { reason } => Some(reason.clone()),
            SeenRole::Leader { .. } | SeenRole::Follower { .. } => None,
        }
    }

    /// Starts a tenure if all conditions for it hold.
    pub(crate) fn start_tenure(&mut self, now: Now) {
        if self.leader.is_none() {
            self.leader = self.replica.lead(now);
            if self.leader.is_some() {
                self.replica.report_lost();
            }
        }
    }

    /// Ends the tenure without undoing: there are no uncommitted effects.
    pub(crate) fn end_tenure(&mut self) {
        let Some(mut leader) = self.leader.take() else { return };
        debug_assert!(leader.stage.is_clean(), "uncommitted effects are undone, not forgotten");
        self.replica.tenures.record_end(leader.tenure, leader.committed, self.replica.position.applied);
        self.replica.data.engine.drop_undo();
        leader.waiting.wake_all();
        self.replica.key_waits.release_all();
        self.replica.key_events.end_tenure();
        self.replica.report_lost();
    }

    /// Stops after a fatal error: nothing is served any more, and no pending reply is released.
    pub(crate) fn stop(&mut self, reason: Arc<str>) {
        self.abandon_script();
        if let Some(mut leader) = self.leader.take() {
            self.replica.tenures.record_end(leader.tenure, leader.committed, self.replica.position.applied);
            self.replica.data.engine.drop_undo();
            leader.waiting.wake_all();
        }
        self.replica.phase = Phase::Stopped(reason);
        self.replica.waits.end_all();
        self.replica.key_waits.release_all();
        self.replica.key_events.end_tenure();
        self.replica.report_lost();
    }
}

impl Replica {
    /// The leader part of a new tenure, if one may start now.
    fn lead(&mut self, now: Now) -> Option<Leader> {
        let SeenRole::Leader { lease, first } = &self.role else { return None };
        let (epoch, position) = (lease.epoch(), &self.position);
        // `position.epoch` differs if the newest applied entry is of an older epoch, or of a newer one.
        let is_applied = position.applied >= *first && position.epoch == epoch;
        let may_start = self.phase == Phase::Serving && !position.is_within_batch() && now.trusted;
        if !may_start || !(is_applied || Plant::NoNoOp.is_on()) {
            return None;
        }
        // Batches of the epoch in the log: this process led it before, and all of its batches have committed. A process
        // that has not never resumes the leadership of the process before it, whose batches may still be on their way.
        let committed = if is_applied { position.seq } else { Seq(0) };
        if committed != Seq(0) && !self.tenures.was_last(epoch) && !Plant::EpochResumed.is_on() {
            return None;
        }
        let tenure = self.tenures.start(epoch);
        fail_point!("shard::tenure");
        self.data.engine.keep_undo(self.batching.undo_bytes_max);
        let (shard, index) = (self.recorder.shard(), position.applied);
        self.recorder.record(Event::Primary { shard, term: epoch.term, index });
        Some(Leader::new(tenure, lease.clone(), committed, position.applied, &self.batching))
    }
}
