//! Removal of keys and of parts of values (fields of hashes) whose deadline has passed.

use super::Engine;
use crate::effect::{EffectBuf, Items, KeyEffect};
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use crate::types::Type;
use fastness_resp::Args;
use fastness_types::limits::EXPIRY_UNIT_BYTES_MAX;
use fastness_types::{Plant, WallMs};

impl Engine {
    /// Removes up to `budget` keys and parts of values whose deadline has passed, earliest first, and returns how many
    /// it removed. The primary calls it between commands, with the open batch's timestamp. Names can be long, so it
    /// also stops once its effects take [`EXPIRY_UNIT_BYTES_MAX`], with the one that reaches that bound.
    pub fn expire_due(&mut self, now: WallMs, budget: usize, effects: &mut EffectBuf) -> usize {
        let bytes_end = if Plant::ExpiryUnbounded.is_on() { usize::MAX } else { effects.len() + EXPIRY_UNIT_BYTES_MAX };
        let removed = self.expire_keys(now, budget, bytes_end, effects);
        removed + self.expire_parts(now, budget - removed, bytes_end, effects)
    }

    fn expire_keys(&mut self, now: WallMs, budget: usize, bytes_end: usize, effects: &mut EffectBuf) -> usize {
        let mut removed = 0;
        while removed < budget && effects.len() < bytes_end && !effects.has_overflowed() {
            let Some(entry) = self.keyspace.next_due(now) else { break };
            let bytes = entry.key().to_vec();
            let key = self.keyspace.key(&bytes);
            self.stage(KeyEffect::Unlink { key }, effects, now);
            self.notify(NotifyClasses::EXPIRED, "expired", &key);
            removed += 1;
        }
        self.stats.expired += removed as u64;
        removed
    }

    /// Removes parts with one effect for each value, which the value's type makes.
    fn expire_parts(&mut self, now: WallMs, budget: usize, bytes_end: usize, effects: &mut EffectBuf) -> usize {
        let mut removed = 0;
        while removed < budget && effects.len() < bytes_end && !effects.has_overflowed() {
            let Some(entry) = self.keyspace.next_with_part_due(now) else { break };
            let mut bytes_left = bytes_end - effects.len();
            let fits = |name: &&[u8]| {
                let fits = bytes_left > 0;
                bytes_left = bytes_left.saturating_sub(name.len());
                fits
            };
            let past = entry.parts().into_iter().flat_map(|parts| parts.past(now)).take(budget - removed);
            let names: Vec<Vec<u8>> = past.take_while(fits).map(<[u8]>::to_vec).collect();
            let Some(remove) = Type::of(entry.value()).remove_parts.filter(|_| !names.is_empty()) else {
                debug_assert!(false, "the index of deadlines names a part that does not exist");
                break;
            };
            let bytes = entry.key().to_vec();
            let key = self.keyspace.key(&bytes);
            removed += names.len();
            self.stage(remove(key, Items::from(Args::owned(&names))), effects, now);
            self.notify_removal(NotifyClasses::EXPIRED, "hexpired", &key);
        }
        self.stats.expired_fields += removed as u64;
        removed
    }

    /// Whether the key, or a part of its value, is alive at `from` and past its deadline at `to`.
    #[must_use]
    pub fn expires_between(&self, key: &Key<'_>, from: WallMs, to: WallMs) -> bool {
        let found = self.keyspace.find(key).filter(|entry| !entry.is_expired(from));
        found.is_some_and(|entry| entry.is_expired(to) || entry.has_lost_parts_between(from, to))
    }

    /// Whether [`Engine::expires_between`] may hold for any key.
    #[must_use]
    pub fn any_expires_between(&self, from: WallMs, to: WallMs) -> bool {
        self.keyspace.any_ends_between(from, to)
    }

    /// The earliest deadline, of a key or a part, which tells when [`Engine::expire_due`] has work.
    #[must_use]
    pub fn first_deadline(&self) -> Option<WallMs> {
        self.keyspace.first_deadline()
    }
}
