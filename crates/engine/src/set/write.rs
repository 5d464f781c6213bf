//! Changes of sets. Each stages one effect and performs it, unless the unit would become too long with it; such a unit
//! is rolled back as a whole. The caller has looked the key up before, which removed an expired one.

use super::effect::SetEffect;
use super::packed::SetForm;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::Key;
use fastness_resp::Args;

impl Engine {
    /// Adds members that the set does not have, each named once; the set has at least the form `least` afterwards.
    /// Without members nothing happens.
    pub fn add_members(&mut self, key: &Key<'_>, members: Args<'_>, least: SetForm, env: &mut Env<'_>) {
        if !members.is_empty() {
            self.stage(SetEffect::Add { key: *key, members: members.into(), least }, env.effects, env.now);
        }
    }

    /// Removes members that exist, each named once, and the key with the last of them; `pack`: a large set becomes a
    /// packed one, if what is left fits one. Without members nothing happens.
    pub fn remove_members(&mut self, key: &Key<'_>, members: Args<'_>, pack: bool, env: &mut Env<'_>) {
        if !members.is_empty() {
            self.stage(SetEffect::Remove { key: *key, members: members.into(), pack }, env.effects, env.now);
        }
    }

    /// Gives a key a set of these distinct members, in the place of what it holds; without members the key is removed.
    /// The set has at least the form `least`. Returns whether the key held anything.
    pub fn put_members(&mut self, key: &Key<'_>, members: Args<'_>, least: SetForm, env: &mut Env<'_>) -> bool {
        let existed = self.unlink(key, env);
        let mark = self.notified();
        self.add_members(key, members, least, env);
        self.is_replaced(existed, mark);
        existed
    }
}
