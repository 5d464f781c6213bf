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
use fastness_consensus::handle::{GroupHandle, Role};
use fastness_types::{FormatLevel, LogIndex, Plant, Seq};

use crate::confirm::Confirming;
use crate::dirty::DirtyKeys;
use crate::outcome::Tenure;
use crate::release::WaitQueue;
use crate::stage::Stage;
use crate::state::{Leader, Now, Phase, SeenRole, State, new_engine};

impl State {
    /// Takes over the role as consensus gives it now; gives the reason if the group has stopped.
    pub(crate) fn see_role(&mut self, handle: &GroupHandle) -> Option<Arc<str>> {
        let role = handle.role();
        self.role = match &**role {
            Role::Leader { lease, first } => SeenRole::Leader { lease: lease.clone(), first: *first },
            Role::Follower { leader } => SeenRole::Follower { leader: *leader },
            Role::Stopped { reason } => SeenRole::Stopped { reason: reason.clone() },
        };
        if let Some(leader) = &mut self.leader {
            let is_still = matches!(&self.role, SeenRole::Leader { lease, .. } if lease.epoch() == leader.epoch);
            leader.deposed = !is_still;
            if leader.deposed && leader.stage.is_clean() {
                self.end_tenure();
            }
        }
        match &self.role {
            SeenRole::Stopped { reason } => Some(reason.clone()),
            SeenRole::Leader { .. } | SeenRole::Follower { .. } => None,
        }
    }

    /// Begins a tenure if everything for it is there.
    pub(crate) fn begin_tenure(&mut self, now: Now) {
        let SeenRole::Leader { lease, first } = &self.role else { return };
        let epoch = lease.epoch();
        let begun = self.leader.is_some() || self.phase != Phase::Serving;
        // `log_epoch` differs if the newest applied entry is of an older epoch, or of a newer one.
        let is_applied = self.applied >= *first && self.log_epoch == epoch;
        if begun || self.is_within_batch() || !(is_applied || Plant::NoNoOp.is_on()) || !now.trusted {
            return;
        }
        // Batches of the epoch in the log: this process led it before, and all of its batches have committed. A process
        // that has not never resumes a leadership of the one before it, whose batches may still be on their way.
        let log_seq = if is_applied { self.log_seq } else { Seq(0) };
        if log_seq != Seq(0) && self.led != Some(epoch) && !Plant::EpochResumed.is_on() {
            return;
        }
        self.led = Some(epoch);
        self.tenures += 1;
        fail_point!("shard::tenure");
        self.engine.keep_undo(self.batching.undo_bytes_max);
        tracing::info!(shard = self.shard.0, %epoch, index = self.applied.0, "primary");
        self.leader = Some(Leader {
            tenure: Tenure(self.tenures),
            epoch,
            lease: lease.clone(),
            deposed: false,
            stage: Stage::new(epoch, log_seq.next(), &self.batching),
            dirty: DirtyKeys::new(),
            waiting: WaitQueue::new(log_seq.next()),
            confirming: Confirming::default(),
            committed: log_seq,
            base: LogIndex(self.applied.0 - log_seq.0),
            moved: Vec::new(),
        });
    }

    /// Stages the mode that is desired, if the log does not say it yet.
    pub(crate) fn follow_desired_mode(&mut self, now: Now) {
        let Some(desired) = self.mode.unstaged() else { return };
        let now = Now { wall: self.timestamp(now), ..now };
        let may_stage = self.draining.is_none() && now.trusted;
        let Some(leader) = self.leader.as_mut().filter(|leader| may_stage && leader.may_act(now.boot)) else { return };
        tracing::info!(shard = self.shard.0, mode = %desired.mode, version = desired.version, "the durability mode is staged");
        leader.stage.stage_mode(desired, now, &mut leader.dirty);
        self.engine.advance_timestamp(now.wall);
        self.engine.end_unit(leader.stage.last_staged());
        self.mode.stage(desired);
    }

    /// The same of the bound of the durability lag, once every member understands it.
    pub(crate) fn follow_desired_lag_bound(&mut self, handle: &GroupHandle, now: Now) {
        let Some(desired) = self.lag_bound.unstaged() else { return };
        let now = Now { wall: self.timestamp(now), ..now };
        let may_stage = self.draining.is_none() && now.trusted && handle.format() >= FormatLevel::BOUNDS;
        let Some(leader) = self.leader.as_mut().filter(|leader| may_stage && leader.may_act(now.boot)) else { return };
        let bound_ms = desired.bound.as_millis() as u64;
        tracing::info!(shard = self.shard.0, bound_ms, version = desired.version, "durability-max-lag is staged");
        leader.stage.stage_lag_bound(desired, now);
        self.engine.advance_timestamp(now.wall);
        self.engine.end_unit(leader.stage.last_staged());
        self.lag_bound.stage(desired);
        self.gate.set_bound(self.lag_bound.in_force());
    }

    /// Ends the tenure without undoing: nothing is open.
    fn end_tenure(&mut self) {
        let Some(mut leader) = self.leader.take() else { return };
        debug_assert!(leader.stage.is_clean(), "open effects are undone, not forgotten");
        self.ended.record(leader.tenure, leader.committed, self.applied);
        self.engine.drop_undo();
        leader.waiting.wake_all();
    }

    /// Ends the tenure because of an entry of another epoch. True if memory had run ahead and is empty now: it must be
    /// restored.
    pub(crate) fn meet_foreign_entry(&mut self) -> bool {
        match &self.leader {
            Some(leader) if leader.stage.is_clean() => {
                self.end_tenure();
                false
            }
            Some(_) => self.undo(),
            None => false,
        }
    }

    /// A snapshot of `index` was installed, and memory does not hold as much: it is given up for the snapshot.
    pub(crate) fn meet_installed(&mut self, index: LogIndex) {
        tracing::info!(shard = self.shard.0, applied = self.applied.0, index = index.0, "a snapshot is restored from");
        self.jumped_to = index;
        self.snapshots.count_received();
        let open = self.leader.as_ref().is_some_and(|leader| !leader.stage.is_clean());
        let kept = (Plant::OpenKeptOverInstall.is_on() && open).then(|| {
            let spare = new_engine(self.engine_options, &self.slots);
            std::mem::replace(&mut self.engine, spare)
        });
        if !self.meet_foreign_entry() {
            self.restart_from_log();
        }
        if let Some(kept) = kept {
            self.engine = kept;
        }
    }

    /// Throws away what did not commit. True if the memory that held it went with it.
    fn undo(&mut self) -> bool {
        let Some(mut leader) = self.leader.take() else { return false };
        let began = self.clock.boot();
        let units = leader.stage.open_units();
        fail_point!("shard::undo");
        self.counters.undone += 1;
        self.counters.undone_units += units as u64;
        self.ended.record(leader.tenure, leader.committed, self.applied);
        let (record_bytes, by_records) = (self.engine.undo_bytes(), self.take_back());
        if by_records {
            self.counters.undone_by_records += 1;
            self.mode.unstage();
            self.lag_bound.unstage();
            self.gate.set_bound(self.lag_bound.in_force());
            if Plant::ImageKeptOverUndo.is_on() {
                self.mistake_snapshot();
            } else {
                self.snapshots.begin_anew();
            }
            self.digests.image_is_gone();
            self.undo_took = self.clock.boot().since(began);
        } else {
            self.restart_from_log();
            self.undo_began = Some(began);
        }
        tracing::warn!(
            shard = self.shard.0, epoch = %leader.epoch, committed = leader.committed.0,
            staged = leader.stage.last_staged().0, units, record_bytes, by_records,
            "leadership was lost with effects open: what did not commit is undone"
        );
        leader.waiting.wake_all();
        !by_records
    }

    /// Takes back what is open by its records; false if they do not suffice.
    fn take_back(&mut self) -> bool {
        if Plant::NoUndo.is_on() {
            self.engine.drop_undo();
            return true;
        }
        self.engine.undo()
    }

    /// A fatal error: nothing is served any more, and nothing held will be released.
    pub(crate) fn stop(&mut self, reason: Arc<str>) {
        if let Some(mut leader) = self.leader.take() {
            self.ended.record(leader.tenure, leader.committed, self.applied);
            self.engine.drop_undo();
            leader.waiting.wake_all();
        }
        self.phase = Phase::Stopped(reason);
        self.waits.end_all();
    }

    /// Index of the next entry to be taken from the log.
    pub(crate) fn next_index(&self) -> LogIndex {
        LogIndex(self.walked.0 + 1)
    }
}
