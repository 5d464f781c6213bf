//! Evicting keys, and its options.

use super::Engine;
use crate::effect::{EffectBuf, KeyEffect};
use crate::eviction::policy::EvictionOptions;
use crate::random::Random;
use fastness_types::WallMs;
use fastness_types::limits::EXPIRY_UNIT_BYTES_MAX;

/// What [`Engine::evict`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// Keys removed.
    pub keys: usize,
    /// Why it stopped.
    pub end: EvictionEnd,
}

/// Why [`Engine::evict`] has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionEnd {
    /// Enough memory is free, or will be at the commit.
    Enough,
    /// The slice has reached its bound; more is to be evicted.
    Bounded,
    /// Undo records have reached half of their bound, so that evictions cost nobody the undo: more after a commit.
    AwaitsCommit,
    /// The policy allows no key that exists.
    NothingLeft,
}

impl Engine {
    /// The options of eviction.
    #[must_use]
    pub fn eviction(&self) -> &EvictionOptions {
        &self.eviction
    }

    /// Sets the options of eviction. Keys record the time or the number of their accesses from now on, as the policy
    /// needs it.
    pub fn set_eviction(&mut self, options: EvictionOptions) {
        if options.policy != self.eviction.policy {
            self.choice.reset();
        }
        self.eviction = options;
        self.keyspace.set_access_mode(options.access_mode());
    }

    /// Whether there are keys that the policy allows to evict.
    #[must_use]
    pub fn can_evict(&self) -> bool {
        let policy = self.eviction.policy;
        let count = if policy.is_volatile() { self.keyspace.len_with_deadline() } else { self.keyspace.len() };
        policy.evicts() && count > 0
    }

    /// Removes up to `keys_max` keys, as long as more memory than allowed will be in use
    /// ([`Engine::eviction_excess`]). The primary calls it between commands, with the open batch's timestamp. Names can
    /// be long, so it also stops once its effects take [`EXPIRY_UNIT_BYTES_MAX`], with the one that reaches that bound.
    pub fn evict(&mut self, now: WallMs, keys_max: usize, random: &mut dyn Random, effects: &mut EffectBuf) -> Evicted {
        let bytes_end = effects.len() + EXPIRY_UNIT_BYTES_MAX;
        let mut keys = 0;
        let end = loop {
            if self.eviction_excess() == 0 {
                break EvictionEnd::Enough;
            }
            if keys == keys_max || effects.len() >= bytes_end {
                break EvictionEnd::Bounded;
            }
            if self.keyspace.is_undo_half_full() {
                break EvictionEnd::AwaitsCommit;
            }
            let Some(name) = self.choice.choose(&self.eviction, &self.keyspace, now, random) else {
                break EvictionEnd::NothingLeft;
            };
            let key = self.keyspace.key(&name);
            self.stage(KeyEffect::Unlink { key }, effects, now);
            if effects.has_overflowed() {
                // Its name is longer than a unit may be.
                break EvictionEnd::NothingLeft;
            }
            self.note_evicted();
            keys += 1;
        };
        Evicted { keys, end }
    }

    /// Counts a key that was evicted.
    fn note_evicted(&mut self) {
        self.stats.evicted += 1;
    }
}
