//! Changes of any key, whatever it holds. Those of one type are in the type's folder.

use super::Engine;
use crate::effect::{Effect, EffectBuf, KeyEffect};
use crate::env::Env;
use crate::keyspace::Key;
use fastness_types::WallMs;

/// Writes. Each stages one effect and performs it, unless the unit would be too long with it: then it will be taken
/// back whole. The caller has looked at the key before, so an expired one is gone.
impl Engine {
    #[inline]
    pub(crate) fn stage<'e>(&mut self, effect: impl Into<Effect<'e>>, effects: &mut EffectBuf, now: WallMs) {
        let effect = effect.into();
        if effects.admits(&effect) {
            effects.push(&effect);
            self.perform(&effect, now);
        }
    }

    /// Removes a key, if it is there and not expired.
    pub fn unlink(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> bool {
        let alive = self.is_alive(key, env);
        if alive {
            self.stage(KeyEffect::Unlink { key: *key }, env.effects, env.now);
        }
        alive
    }

    /// Sets the deadline of a key that is there.
    pub fn expire_at(&mut self, key: &Key<'_>, at: WallMs, env: &mut Env<'_>) {
        self.stage(KeyEffect::ExpireAt { key: *key, at }, env.effects, env.now);
    }

    /// Drops the deadline of a key that has one.
    pub fn persist(&mut self, key: &Key<'_>, env: &mut Env<'_>) {
        self.stage(KeyEffect::Persist { key: *key }, env.effects, env.now);
    }

    /// Moves a key that is there, with its deadline; what `to` held goes.
    pub fn rename(&mut self, from: &Key<'_>, to: &Key<'_>, env: &mut Env<'_>) {
        self.stage(KeyEffect::Rename { from: *from, to: *to }, env.effects, env.now);
    }

    /// Copies a key that is there, with its deadline; what `to` held goes.
    pub fn copy(&mut self, from: &Key<'_>, to: &Key<'_>, env: &mut Env<'_>) {
        self.stage(KeyEffect::Copy { from: *from, to: *to }, env.effects, env.now);
    }

    /// Removes every key. Staged even if there is none: other replicas may still hold some.
    pub fn flush_all(&mut self, env: &mut Env<'_>) {
        self.stage(KeyEffect::FlushAll, env.effects, env.now);
    }
}
