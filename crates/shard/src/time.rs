//! Time moves with the log alone (rule 9 of the design).
//!
//! - A replica hides a key by the newest timestamp that has committed, never by a clock, so it never shows a state that
//!   an entry on its way would contradict.
//! - So that time moves on a shard where nobody writes, a primary stages a **timestamp alone** once the newest
//!   timestamp is a second old, while any key or field has a deadline (`upkeep.rs`).
//! - While clients are paused a primary hides by the newest **committed** timestamp, as a replica does: nothing is
//!   staged that a reply could wait for.
//! - A replica that has not heard from a primary for a lease cannot know what happened to a key whose deadline has
//!   passed by the newest timestamp plus the time since it arrived. It neither shows nor hides such a key, and answers
//!   an error. A command that reads the whole keyspace is answered an error as long as there is any such key.

use fastness_engine::Engine;
use fastness_engine::command::CommandSpec;
use fastness_resp::Args;
use fastness_types::{BootNs, WallMs};

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

    /// Whether a read of a replica that hears no primary could show what has expired, or hide what has not: a deadline
    /// of what is read has passed since the newest timestamp came.
    pub(crate) fn is_uncertain(self, engine: &Engine, spec: &CommandSpec, args: Args<'_>, now: BootNs) -> bool {
        let (from, to) = (engine.newest_timestamp(), self.elapsed_to(now));
        if !spec.has_keys() {
            return engine.any_expires_between(from, to);
        }
        spec.keys(args).any(|key| engine.expires_between(&engine.key(key), from, to))
    }
}
