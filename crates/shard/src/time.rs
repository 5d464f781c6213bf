//! Time moves with the log alone (rule 9 of the design).
//!
//! - What a replica shows is hidden by the newest timestamp that has committed, never by a clock: a state that an entry
//!   on its way would contradict is never shown.
//! - So that time moves on a shard where nobody writes, a primary stages a **timestamp alone**
//!   ([`UnitKind::Time`](crate::batch::UnitKind::Time)) once the newest timestamp is [`STAMP_EVERY`] old, while any key
//!   or field has a deadline. A shard without deadlines stays silent. CLIENT PAUSE does not stop it: it changes no
//!   data.
//! - While clients are paused a primary hides by the newest **committed** timestamp, as a replica does: nothing is
//!   staged that a reply could wait for.
//! - A replica that has not heard from a primary for a lease cannot know what has become of a key whose deadline has
//!   passed by the newest timestamp and the time since it came: it neither shows nor hides it, and answers an error.
//!   What reads the whole keyspace is answered an error as long as there is any such key.

use std::time::Duration;

use fastness_engine::command::CommandSpec;
use fastness_resp::Args;
use fastness_types::{BootNs, FormatLevel, Plant, WallMs};

use crate::shard::Inner;
use crate::state::{Now, SeenRole, State};

/// How old the newest timestamp gets while keys have deadlines: what a time to live on a replica is exact to, beside
/// the commit.
const STAMP_EVERY: Duration = Duration::from_secs(1);

/// The newest committed timestamp, and when it came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CommittedTime {
    pub(crate) timestamp: WallMs,
    seen: BootNs,
}

impl CommittedTime {
    /// Everything up to `timestamp` has committed.
    pub(crate) fn advance(&mut self, timestamp: WallMs, now: BootNs) {
        if timestamp > self.timestamp {
            *self = CommittedTime { timestamp, seen: now };
        }
    }

    /// What a primary's clock shows by now, about.
    fn elapsed_to(self, now: BootNs) -> WallMs {
        WallMs(self.timestamp.0.saturating_add(now.since(self.seen).as_millis() as u64))
    }
}

impl State {
    /// Stages a timestamp alone, if it is time; gives when to look again.
    pub(crate) fn keep_time(&mut self, inner: &Inner, now: Now) -> Option<Duration> {
        let now = Now { wall: self.timestamp(now), ..now };
        let may_stage = self.draining.is_none() && now.trusted && !self.is_pressed();
        let leader = self.leader.as_mut().filter(|leader| may_stage && leader.may_act(now.boot))?;
        self.engine.first_deadline()?;
        if inner.handle.format() < FormatLevel::BOUNDS || Plant::NoTimeAlone.is_on() {
            return None;
        }
        let age = Duration::from_millis(now.wall.0 - self.engine.newest_timestamp().0);
        if age < STAMP_EVERY {
            return Some(STAMP_EVERY - age);
        }
        // One at a time: a log that is slow is not given more of them.
        if leader.stage.is_clean() {
            leader.stage.stage_time(now);
            self.engine.advance_timestamp(now.wall);
            self.engine.end_unit(leader.stage.last_staged());
            self.counters.time_units += 1;
        }
        Some(STAMP_EVERY)
    }

    /// Whether a read of this replica could show what is gone, or hide what is not: it is cut off, and a deadline of
    /// what is read has passed meanwhile.
    pub(crate) fn is_uncertain(&self, inner: &Inner, spec: &CommandSpec, args: Args<'_>, now: BootNs) -> bool {
        if matches!(self.role, SeenRole::Follower { .. }) && inner.handle.hears_leader(now) {
            return false;
        }
        let (from, to) = (self.engine.newest_timestamp(), self.committed_time.elapsed_to(now));
        if !spec.has_keys() {
            return self.engine.any_expires_between(from, to);
        }
        spec.keys(args).any(|key| self.engine.expires_between(&self.engine.key(key), from, to))
    }
}
