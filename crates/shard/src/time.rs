//! The logical time of a shard, which advances only with the log (rule 9 of the design).
//!
//! - A replica hides expired keys according to the newest committed timestamp, never according to a clock. So it never
//!   shows a state that contradicts an entry that is still in transit.
//! - To advance the time of a shard without writes, a primary stages a unit with **only a timestamp** when the newest
//!   timestamp is one second old, while any key or field has a deadline (`upkeep.rs`).
//! - While clients are paused, a primary hides keys according to the newest **committed** timestamp, too, because no
//!   effect is staged for whose commit a reply could wait.
//! - A replica that has not heard from a primary for a lease cannot know what happened to a key whose deadline has
//!   passed by the newest timestamp plus the time since it arrived. It neither shows nor hides such a key, but returns
//!   an error. A command that reads the whole keyspace fails as long as any such key exists.

use fastness_engine::Engine;
use fastness_engine::command::CommandSpec;
use fastness_resp::Args;
use fastness_types::{BootNs, WallMs};

/// The newest committed timestamp, and when it arrived.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CommittedTime {
    pub(crate) timestamp: WallMs,
    seen: BootNs,
}

impl CommittedTime {
    /// Records that everything up to `timestamp` has committed.
    pub(crate) fn advance(&mut self, timestamp: WallMs, now: BootNs) {
        if timestamp > self.timestamp {
            *self = CommittedTime { timestamp, seen: now };
        }
    }

    /// Estimate of the primary's clock now.
    fn elapsed_to(self, now: BootNs) -> WallMs {
        WallMs(self.timestamp.0.saturating_add(now.since(self.seen).as_millis() as u64))
    }

    /// Whether a read on a replica that hears no primary could show expired data, or hide data that has not expired: a
    /// deadline in the data has passed since the newest timestamp arrived.
    pub(crate) fn is_uncertain(self, engine: &Engine, spec: &CommandSpec, args: Args<'_>, now: BootNs) -> bool {
        let (from, to) = (engine.newest_timestamp(), self.elapsed_to(now));
        if !spec.has_keys() || spec.reads_unnamed_keys(args) {
            return engine.any_expires_between(from, to);
        }
        spec.keys(args).any(|key| engine.expires_between(&engine.key(key), from, to))
    }
}
