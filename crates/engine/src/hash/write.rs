//! Changes of hashes. Each stages one effect and performs it, unless the unit would become too long with it; such a
//! unit is rolled back as a whole. The caller has looked the key up before, which removed an expired one.

use super::effect::HashEffect;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{ExpiryChange, Key};
use fastness_resp::Args;
use fastness_types::WallMs;

impl Engine {
    /// Sets fields of a hash, given as `pairs` of field and value; `expiry` is what happens to their deadlines. Without
    /// pairs nothing happens.
    pub fn set_fields(&mut self, key: &Key<'_>, pairs: Args<'_>, expiry: ExpiryChange, env: &mut Env<'_>) {
        if !pairs.is_empty() {
            self.stage(HashEffect::Set { key: *key, pairs: pairs.into(), expiry }, env.effects, env.now);
        }
    }

    /// Sets one field of a hash.
    pub fn set_field(&mut self, key: &Key<'_>, field: &[u8], value: &[u8], expiry: ExpiryChange, env: &mut Env<'_>) {
        self.set_fields(key, Args::slices(&[field, value]), expiry, env);
    }

    /// Removes fields that exist, and the key with the last of them. Without fields nothing happens.
    pub fn remove_fields(&mut self, key: &Key<'_>, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(HashEffect::Remove { key: *key, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Sets the deadline of fields that exist. Without fields nothing happens.
    pub fn expire_fields_at(&mut self, key: &Key<'_>, at: WallMs, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(HashEffect::ExpireAt { key: *key, at, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Removes the deadline of fields that have one. Without fields nothing happens.
    pub fn persist_fields(&mut self, key: &Key<'_>, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(HashEffect::Persist { key: *key, fields: fields.into() }, env.effects, env.now);
        }
    }
}
