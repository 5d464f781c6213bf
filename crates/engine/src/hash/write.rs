//! Changes of hashes. Each stages one effect and performs it, unless the unit would be too long with it: then it will
//! be rolled back whole. The caller has looked at the key before, so expired fields are gone.

use super::effect::HashEffect;
use super::fields::FieldTable;
use crate::effect::{EffectBuf, Items};
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{ExpiryChange, Key};
use fastness_resp::Args;
use fastness_types::WallMs;

impl Engine {
    /// Sets fields of a hash, `pairs` of field and value, with a deadline of theirs; if there are none, nothing
    /// happens.
    pub fn set_fields(&mut self, key: &Key<'_>, pairs: Args<'_>, expiry: ExpiryChange, env: &mut Env<'_>) {
        if !pairs.is_empty() {
            self.stage(HashEffect::Set { key: *key, pairs: pairs.into(), expiry }, env.effects, env.now);
        }
    }

    /// Sets one field of a hash.
    pub fn set_field(&mut self, key: &Key<'_>, field: &[u8], value: &[u8], expiry: ExpiryChange, env: &mut Env<'_>) {
        self.set_fields(key, Args::slices(&[field, value]), expiry, env);
    }

    /// Removes fields of a hash, and the key with the last of them. They are there; if there are none, nothing happens.
    pub fn remove_fields(&mut self, key: &Key<'_>, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(HashEffect::Remove { key: *key, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Sets the deadline of fields that are there; if there are none, nothing happens.
    pub fn expire_fields_at(&mut self, key: &Key<'_>, at: WallMs, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(HashEffect::ExpireAt { key: *key, at, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Drops the deadline of fields that have one; if there are none, nothing happens.
    pub fn persist_fields(&mut self, key: &Key<'_>, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(HashEffect::Persist { key: *key, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Removes up to `budget` fields whose deadline has passed, with one effect for each hash, until the effects end
    /// after `bytes_end`; gives how many.
    pub(crate) fn expire_fields(
        &mut self,
        now: WallMs,
        budget: usize,
        bytes_end: usize,
        effects: &mut EffectBuf,
    ) -> usize {
        let mut removed = 0;
        while removed < budget && effects.len() < bytes_end && !effects.has_overflowed() {
            let Some(entry) = self.keyspace.next_with_part_due(now) else { break };
            let mut bytes_left = bytes_end - effects.len();
            let has_room = |field: &&[u8]| {
                let has_room = bytes_left > 0;
                bytes_left = bytes_left.saturating_sub(field.len());
                has_room
            };
            let past = FieldTable::of(entry).into_iter().flat_map(|fields| fields.past(now)).take(budget - removed);
            let fields: Vec<Vec<u8>> = past.take_while(has_room).map(<[u8]>::to_vec).collect();
            if fields.is_empty() {
                debug_assert!(false, "the index of deadlines names a field that is not there");
                break;
            }
            let bytes = entry.key().to_vec();
            let key = self.keyspace.key(&bytes);
            removed += fields.len();
            self.stage(HashEffect::Remove { key, fields: Items::from(Args::owned(&fields)) }, effects, now);
        }
        self.stats.expired_fields += removed as u64;
        removed
    }
}
