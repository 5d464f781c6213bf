//! Tenures as primary: when one begins, how it ends, and what is undone then.
//!
//! - A tenure begins when its epoch's first entry has been **applied** and the role still is that epoch's leader, on a
//!   node whose wall clock can be trusted: it may begin with an effect of its own. No
//!   batch of an older tenure is open then: the walk over the log has ended that one.
//! - Losing the lease, or the role, fences (`may_act` is false) and undoes nothing: what is open may still commit.
//! - A **foreign entry**, one of another epoch, while the tenure stands, ends it: memory either is the log up to there
//!   (nothing was open), or has left history and goes back to what is committed before anything else is applied or
//!   served. It goes back at once, by undo records that the engine keeps for what is open; where those would have taken
//!   too much memory it is restored from snapshot and log.

use std::sync::Arc;

use fail::fail_point;
use fastness_consensus::handle::GroupHandle;
use fastness_types::{Plant, Seq};

use crate::leader::Leader;
use crate::now::Now;
use crate::role::{Phase, SeenRole};
use crate::state::{Replica, State};

impl State {
    /// Takes over the role as consensus reports it now; returns the reason if the group has stopped.
    pub(crate) fn see_role(&mut self, handle: &GroupHandle) -> Option<Arc<str>> {
        self.replica.role = SeenRole::of(&handle.role());
        if let Some(leader) = &mut self.leader {
            let is_still =
                matches!(&self.replica.role, SeenRole::Leader { lease, .. } if lease.epoch() == leader.epoch);
            leader.deposed = !is_still;
            if leader.deposed && leader.stage.is_clean() {
                self.end_tenure();
            }
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
        }
    }

    /// Ends the tenure without undoing: there are no uncommitted effects.
    pub(crate) fn end_tenure(&mut self) {
        let Some(mut leader) = self.leader.take() else { return };
        debug_assert!(leader.stage.is_clean(), "open effects are undone, not forgotten");
        self.replica.tenures.record_end(leader.tenure, leader.committed, self.replica.position.applied);
        self.replica.data.engine.drop_undo();
        leader.waiting.wake_all();
    }

    /// A fatal error: nothing is served any more, and nothing held will be released.
    pub(crate) fn stop(&mut self, reason: Arc<str>) {
        if let Some(mut leader) = self.leader.take() {
            self.replica.tenures.record_end(leader.tenure, leader.committed, self.replica.position.applied);
            self.replica.data.engine.drop_undo();
            leader.waiting.wake_all();
        }
        self.replica.phase = Phase::Stopped(reason);
        self.replica.waits.end_all();
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
        // that has not never resumes a leadership of the one before it, whose batches may still be on their way.
        let committed = if is_applied { position.seq } else { Seq(0) };
        if committed != Seq(0) && !self.tenures.was_last(epoch) && !Plant::EpochResumed.is_on() {
            return None;
        }
        let tenure = self.tenures.start(epoch);
        fail_point!("shard::tenure");
        self.data.engine.keep_undo(self.batching.undo_bytes_max);
        tracing::info!(shard = self.shard.0, %epoch, index = position.applied.0, "primary");
        Some(Leader::new(tenure, lease.clone(), committed, position.applied, &self.batching))
    }
}
