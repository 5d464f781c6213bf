//! Changes of hashes in the keyspace; a packed hash becomes a table when it grows.

use super::fields::FieldTable;
use super::packed::{PackedHash, PackedHashBuf};
use crate::keyspace::undo::UndoLog;
use crate::keyspace::{ExpiryChange, Key, Keyspace, NewValue, Object, ValueRef};
use fastness_types::WallMs;

/// A field and its new value.
pub type NewField<'a> = (&'a [u8], &'a [u8]);

impl Keyspace {
    /// Sets fields, with `expiry` for each of them; a missing key counts as an empty hash. A value of another type does
    /// not change.
    pub fn set_fields<'a>(
        &mut self,
        key: &Key<'_>,
        pairs: impl Iterator<Item = NewField<'a>> + Clone,
        expiry: ExpiryChange,
        now: WallMs,
    ) {
        if pairs.clone().next().is_none() {
            return;
        }
        let mut packed = match self.find(key).map(|entry| entry.value()) {
            None => PackedHashBuf::default(),
            Some(ValueRef::Packed(packed)) => match PackedHash::of(packed) {
                Some(packed) => packed.to_buf(),
                None => return,
            },
            Some(ValueRef::Object(_)) => return self.set_in_table(key, pairs, expiry),
            Some(_) => return,
        };
        let limits = self.packed_limits();
        let is_long = |(field, value): NewField<'_>| !limits.takes_text(field) || !limits.takes_text(value);
        let is_large = pairs.clone().any(is_long) || !limits.takes_fields(pairs.clone().count());
        if is_large || matches!(expiry, ExpiryChange::At(_)) {
            return self.put_table(key, &packed, now, |keyspace| keyspace.set_in_table(key, pairs, expiry));
        }
        for (field, value) in pairs.clone() {
            packed.set(field, value);
            if !limits.takes_fields(packed.packed().len()) {
                return self.put_table(key, &packed, now, |keyspace| keyspace.set_in_table(key, pairs, expiry));
            }
        }
        self.put(key, packed.packed().value(), ExpiryChange::Keep, now);
    }

    /// Replaces a packed hash by a table, and changes that. One undo record covers both.
    fn put_table(&mut self, key: &Key<'_>, packed: &PackedHashBuf, now: WallMs, change: impl FnOnce(&mut Keyspace)) {
        let mut fields = FieldTable::new(self.seed(), self.inline_max());
        packed.packed().iter().for_each(|(field, value)| fields.set(field, value, ExpiryChange::Drop, &mut None));
        self.put(key, NewValue::of(Object::new(fields)), ExpiryChange::Keep, now);
        self.without_undo(change);
    }

    fn packed_hash(&self, key: &Key<'_>) -> Option<PackedHash<'_>> {
        match self.find(key)?.value() {
            ValueRef::Packed(packed) => PackedHash::of(packed),
            _ => None,
        }
    }

    fn set_in_table<'a>(&mut self, key: &Key<'_>, pairs: impl Iterator<Item = NewField<'a>>, expiry: ExpiryChange) {
        self.change_table(key, |fields, undo_log| {
            pairs.for_each(|(field, value)| fields.set(field, value, expiry, undo_log));
        });
    }

    /// Changes a large hash, if the key holds one. Returns whether no field is left.
    fn change_table(&mut self, key: &Key<'_>, change: impl FnOnce(&mut FieldTable, &mut UndoLog)) -> bool {
        self.change_parts(key, |object, undo_log| {
            if let Some(fields) = object.downcast_mut() {
                change(fields, undo_log);
            }
        })
    }

    /// Removes fields, and the key with the last of them.
    pub fn remove_fields<'a>(&mut self, key: &Key<'_>, removed: impl Iterator<Item = &'a [u8]>, now: WallMs) {
        let Some(packed) = self.packed_hash(key) else {
            if self.change_table(key, |fields, undo_log| removed.for_each(|field| fields.remove(field, undo_log))) {
                self.unlink(key);
            }
            return;
        };
        let mut packed = packed.to_buf();
        removed.for_each(|field| packed.remove(field));
        if packed.packed().is_empty() {
            self.unlink(key);
        } else {
            self.put(key, packed.packed().value(), ExpiryChange::Keep, now);
        }
    }

    /// Sets or removes the deadline of fields that exist.
    pub fn expire_fields<'a>(
        &mut self,
        key: &Key<'_>,
        deadline: Option<WallMs>,
        expiring: impl Iterator<Item = &'a [u8]>,
        now: WallMs,
    ) {
        if let Some(packed) = self.packed_hash(key) {
            if deadline.is_none() {
                return;
            }
            let packed = packed.to_buf();
            return self.put_table(key, &packed, now, |keyspace| keyspace.expire_in_table(key, deadline, expiring));
        }
        self.expire_in_table(key, deadline, expiring);
    }

    fn expire_in_table<'a>(
        &mut self,
        key: &Key<'_>,
        deadline: Option<WallMs>,
        expiring: impl Iterator<Item = &'a [u8]>,
    ) {
        self.change_table(key, |fields, undo_log| {
            expiring.for_each(|field| fields.set_deadline(field, deadline, undo_log));
        });
    }
}

#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
