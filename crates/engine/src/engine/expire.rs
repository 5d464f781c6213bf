//! Keys and fields whose deadline has passed.

use super::Engine;
use crate::effect::{EffectBuf, KeyEffect};
use crate::keyspace::Key;
use fastness_types::limits::EXPIRY_UNIT_BYTES_MAX;
use fastness_types::{Plant, WallMs};

impl Engine {
    /// Removes up to `budget` keys and fields whose deadline has passed, earliest first, and returns how many it
    /// removed: the primary calls it between commands, with the open batch's timestamp. Names have no bound that a turn
    /// could rest on, so it ends as well once they take [`EXPIRY_UNIT_BYTES_MAX`]: with the one that reaches it.
    pub fn expire_due(&mut self, now: WallMs, budget: usize, effects: &mut EffectBuf) -> usize {
        let bytes_end = if Plant::ExpiryUnbounded.is_on() { usize::MAX } else { effects.len() + EXPIRY_UNIT_BYTES_MAX };
        let removed = self.expire_keys(now, budget, bytes_end, effects);
        removed + self.expire_fields(now, budget - removed, bytes_end, effects)
    }

    fn expire_keys(&mut self, now: WallMs, budget: usize, bytes_end: usize, effects: &mut EffectBuf) -> usize {
        let mut removed = 0;
        while removed < budget && effects.len() < bytes_end && !effects.has_overflowed() {
            let Some(entry) = self.keyspace.next_due(now) else { break };
            let bytes = entry.key().to_vec();
            let key = self.keyspace.key(&bytes);
            self.stage(KeyEffect::Unlink { key }, effects, now);
            removed += 1;
        }
        self.stats.expired += removed as u64;
        removed
    }

    /// Whether the key, or a field of it, is alive at `from` and past its deadline at `to`.
    #[must_use]
    pub fn expires_between(&self, key: &Key<'_>, from: WallMs, to: WallMs) -> bool {
        let found = self.keyspace.find(key).filter(|entry| !entry.is_expired(from));
        found.is_some_and(|entry| entry.is_expired(to) || entry.has_lost_parts_between(from, to))
    }

    /// Whether any key may be such a one.
    #[must_use]
    pub fn any_expires_between(&self, from: WallMs, to: WallMs) -> bool {
        self.keyspace.any_ends_between(from, to)
    }

    /// The earliest deadline, to know when [`Engine::expire_due`] has something to do.
    #[must_use]
    pub fn first_deadline(&self) -> Option<WallMs> {
        self.keyspace.first_deadline()
    }
}
