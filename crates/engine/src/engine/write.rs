//! Changes of keys of any type. The changes of one type are in the type's folder.

use super::Engine;
use crate::effect::{Effect, EffectBuf, KeyEffect};
use crate::env::Env;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use fastness_types::WallMs;

/// Writes. Each stages one effect and performs it, unless the unit would become too long with it; such a unit is rolled
/// back as a whole. The caller has looked the key up before, which removed an expired one.
impl Engine {
    /// Stages an effect and performs it, if it fits into the unit.
    #[inline]
    pub(crate) fn stage<'e>(&mut self, effect: impl Into<Effect<'e>>, effects: &mut EffectBuf, now: WallMs) {
        let effect = effect.into();
        if effects.admits(&effect) {
            effects.push(&effect);
            if self.notifies(NotifyClasses::NEW) {
                return self.perform_noting_new(&effect, now);
            }
            self.perform(&effect, now);
        }
    }

    /// Removes a key; returns whether it existed and had not expired.
    pub fn unlink(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> bool {
        let alive = self.is_alive(key, env);
        if alive {
            self.stage(KeyEffect::Unlink { key: *key }, env.effects, env.now);
        }
        alive
    }

    /// Sets the deadline of a key that exists.
    pub fn expire_at(&mut self, key: &Key<'_>, at: WallMs, env: &mut Env<'_>) {
        self.stage(KeyEffect::ExpireAt { key: *key, at }, env.effects, env.now);
    }

    /// Removes the deadline of a key that has one.
    pub fn persist(&mut self, key: &Key<'_>, env: &mut Env<'_>) {
        self.stage(KeyEffect::Persist { key: *key }, env.effects, env.now);
    }

    /// Moves an existing key with its deadline, and replaces the value of `to`.
    pub fn rename(&mut self, from: &Key<'_>, to: &Key<'_>, env: &mut Env<'_>) {
        self.stage(KeyEffect::Rename { from: *from, to: *to }, env.effects, env.now);
    }

    /// Copies an existing key with its deadline, and replaces the value of `to`.
    pub fn copy(&mut self, from: &Key<'_>, to: &Key<'_>, env: &mut Env<'_>) {
        self.stage(KeyEffect::Copy { from: *from, to: *to }, env.effects, env.now);
    }

    /// Removes every key. The effect is staged even if there is no key, because other replicas may still have some.
    pub fn flush_all(&mut self, env: &mut Env<'_>) {
        self.stage(KeyEffect::FlushAll, env.effects, env.now);
    }
}
