//! Units that a primary stages without a command: the removal of expired keys (of evicted ones: `evict.rs`),
//! timestamps, and desired settings that the log does not have yet. Nothing is staged while a hand-over drains, without
//! a lease, or with an untrusted wall clock.
//!
//! - A primary stages a unit with **only a timestamp** ([`UnitKind::Time`]) when the newest timestamp is
//!   [`TIMESTAMP_EVERY`] old, while any key or field has a deadline. A shard without deadlines stages none. CLIENT
//!   PAUSE does not prevent it, because it changes no data. See `time.rs` for why replicas need it.

use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_types::{FormatLevel, Plant, limits};

use crate::batch::UnitKind;
use crate::now::Now;
use crate::outcome::WrittenAt;
use crate::stage::StagedUnit;
use crate::state::{Primary, State};

/// While keys have deadlines, the longest wait without reading the wall clock.
const EXPIRE_CHECK_MAX: Duration = Duration::from_secs(1);
/// How often a primary checks whether active expiry is on again, while keys have deadlines.
const STOPPED_EXPIRY_CHECK: Duration = Duration::from_millis(100);
/// Maximum age of the newest timestamp while keys have deadlines. This, plus the delay of the commit, is the precision
/// of expiration on a replica.
const TIMESTAMP_EVERY: Duration = Duration::from_secs(1);
/// How often a primary checks for idempotency records that are too old, while there are any.
const RECORDS_CHECK_EVERY: Duration = Duration::from_secs(1);

impl State {
    /// Stages the desired mode and the desired lag bound, if the log does not have them yet.
    pub(crate) fn follow_desired(&mut self, handle: &GroupHandle, now: Now) {
        let now = self.replica.stamped(now);
        let Some(mut primary) = self.staging(now) else { return };
        primary.stage_desired_mode(now);
        primary.stage_desired_lag_bound(handle.format(), now);
    }

    /// Removes expired keys; returns when to check again.
    pub(crate) fn expire(&mut self, now: Now) -> Option<Duration> {
        let now = self.replica.stamped(now);
        if let Some((_, left)) = self.replica.flow.client_pause.state(now.boot) {
            return Some(left.min(EXPIRE_CHECK_MAX));
        }
        let mut primary = self.staging(now).filter(|primary| !primary.is_pressed())?;
        if !primary.replica.expires_actively {
            return primary.replica.data.engine.first_deadline().map(|_| STOPPED_EXPIRY_CHECK);
        }
        primary.expire(now)
    }

    /// Lets idempotency records leave that are older than they may be; returns when to check again. A write with a key
    /// does the same for itself, so this is for shards without such writes.
    pub(crate) fn drop_old_records(&mut self, now: Now) -> Option<Duration> {
        self.replica.records.oldest()?;
        let now = self.replica.stamped(now);
        self.staging(now).filter(|primary| !primary.is_pressed())?.drop_old_records(now)
    }

    /// Stages a unit with only a timestamp, if one is due; returns when to check again.
    pub(crate) fn keep_time(&mut self, handle: &GroupHandle, now: Now) -> Option<Duration> {
        let now = self.replica.stamped(now);
        self.staging(now).filter(|primary| !primary.is_pressed())?.keep_time(handle.format(), now)
    }
}

impl Primary<'_> {
    fn stage_desired_mode(&mut self, now: Now) {
        let Some(desired) = self.replica.settings.mode.unstaged() else { return };
        let shard = self.replica.shard.0;
        tracing::info!(shard, mode = %desired.mode, version = desired.version, "the durability mode is staged");
        self.leader.stage.stage_mode(desired, now, &mut self.leader.dirty);
        self.end_unit(now);
        self.replica.settings.mode.stage(desired);
    }

    /// Only if every member of the group can read it.
    fn stage_desired_lag_bound(&mut self, format: FormatLevel, now: Now) {
        let Some(desired) = self.replica.settings.lag_bound.unstaged() else { return };
        if format < FormatLevel::BOUNDS {
            return;
        }
        let (shard, bound_ms) = (self.replica.shard.0, desired.bound.as_millis() as u64);
        tracing::info!(shard, bound_ms, version = desired.version, "durability-max-lag is staged");
        self.leader.stage.stage_lag_bound(desired, now);
        self.end_unit(now);
        self.replica.settings.lag_bound.stage(desired);
    }

    fn expire(&mut self, now: Now) -> Option<Duration> {
        let bytes_max = self.leader.stage.unit_bytes_max();
        let (engine, effects) = (&mut self.replica.data.engine, &mut self.leader.stage.effects);
        let before = effects.len();
        let savepoint = engine.begin_unit(effects, bytes_max);
        let removed = engine.expire_due(now.wall, limits::EXPIRY_UNIT_KEYS_MAX, effects);
        if effects.has_overflowed() {
            // A key that is larger than a unit may be. The log has it from an older version, or from before the limit
            // was lowered.
            engine.roll_back(savepoint, effects);
            tracing::error!(
                shard = self.replica.shard.0,
                "the removal of an expired key is longer than a unit may be: the key stays"
            );
            return Some(EXPIRE_CHECK_MAX);
        }
        if self.stage(StagedUnit { kind: UnitKind::Expiry, before, record: None }, now) {
            self.leader.stage.seal_cut();
        }
        self.pass_notifications(self.replica.settings.mode.in_force());
        if removed > 0 {
            // The turn has read the clock just before.
            let took = self.replica.clock.boot().since(now.boot);
            self.replica.peaks.expiry = self.replica.peaks.expiry.max(took);
        }
        let first = self.replica.data.engine.first_deadline();
        if removed > 0 && first.is_some_and(|at| at < now.wall) {
            // The unit is full.
            return Some(Duration::ZERO);
        }
        let due = first.map(|at| Duration::from_millis((at.0 + 1).saturating_sub(now.wall.0)));
        // The wall clock may jump, so it is read again from time to time, however far away the deadline is.
        due.map(|due| due.min(EXPIRE_CHECK_MAX).max(self.replica.batching.expire_every))
    }

    fn drop_old_records(&mut self, now: Now) -> Option<Duration> {
        let replica = &mut *self.replica;
        let count = replica.records.overdue(now.wall, &replica.idempotency);
        // One unit at a time, so that a slow log does not accumulate them.
        if count > 0 && self.leader.stage.is_clean() {
            self.leader.stage.stage_leave(count, now);
            let at = WrittenAt { tenure: self.leader.tenure, seq: self.leader.stage.last_staged() };
            replica.records.leave(count, Some(at));
            self.end_unit(now);
        }
        Some(RECORDS_CHECK_EVERY)
    }

    fn keep_time(&mut self, format: FormatLevel, now: Now) -> Option<Duration> {
        let engine = &self.replica.data.engine;
        engine.first_deadline()?;
        if format < FormatLevel::BOUNDS || Plant::NoTimeAlone.is_on() {
            return None;
        }
        let age = Duration::from_millis(now.wall.0 - engine.newest_timestamp().0);
        if age < TIMESTAMP_EVERY {
            return Some(TIMESTAMP_EVERY - age);
        }
        // At most one uncommitted timestamp, so that a slow log does not accumulate them.
        if self.leader.stage.is_clean() {
            self.leader.stage.stage_time(now);
            self.end_unit(now);
            self.replica.counters.time_units += 1;
        }
        Some(TIMESTAMP_EVERY)
    }
}
