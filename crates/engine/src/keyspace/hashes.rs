//! What a keyspace does with hashes: sets and removes fields, and moves a hash from its row to a table when it grows.

use super::entry::NewValue;
use super::slots::{ExpiryChange, Key, Keyspace};
use super::undo::Keeper;
use crate::value::hash::flat::FIELDS_MAX;
use crate::value::hash::{FieldTable, FlatBuf};
use crate::value::{Object, ValueRef};
use fastness_types::WallMs;

/// A field and the value that it gets.
pub type NewField<'a> = (&'a [u8], &'a [u8]);

impl Keyspace {
    /// Sets fields; a missing key is an empty hash. `expiry` is that of the fields. A value of another type stays as it is.
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
        let mut row = match self.find(key).map(|entry| entry.value()) {
            None => FlatBuf::default(),
            Some(ValueRef::Flat(flat)) => flat.to_buf(),
            Some(ValueRef::Object(Object::Hash(_))) => return self.set_in_table(key, pairs, expiry),
            Some(_) => return,
        };
        let is_long = |(field, value): NewField<'_>| !FlatBuf::takes(field) || !FlatBuf::takes(value);
        if matches!(expiry, ExpiryChange::At(_)) || pairs.clone().any(is_long) || pairs.clone().count() > FIELDS_MAX {
            return self.put_table(key, &row, now, |keyspace| keyspace.set_in_table(key, pairs, expiry));
        }
        for (field, value) in pairs.clone() {
            row.set(field, value);
            if row.flat().len() > FIELDS_MAX {
                return self.put_table(key, &row, now, |keyspace| keyspace.set_in_table(key, pairs, expiry));
            }
        }
        self.put(key, NewValue::Flat(row.flat()), ExpiryChange::Keep, now);
    }

    /// Makes a row a table, and changes that. What the key held before is kept once, for both.
    fn put_table(&mut self, key: &Key<'_>, row: &FlatBuf, now: WallMs, change: impl FnOnce(&mut Keyspace)) {
        let mut fields = FieldTable::new(self.seed, self.inline_max);
        row.flat().iter().for_each(|(field, value)| fields.set(field, value, ExpiryChange::Drop, &mut None));
        self.put(key, NewValue::of(Object::Hash(Box::new(fields))), ExpiryChange::Keep, now);
        let undo = self.undo.take();
        change(self);
        self.undo = undo;
    }

    /// Makes a large hash of these fields, instead of what the key held.
    pub fn put_fields<'a>(
        &mut self,
        key: &Key<'_>,
        fields: impl Iterator<Item = (NewField<'a>, Option<WallMs>)>,
        now: WallMs,
    ) {
        let mut table = FieldTable::new(self.seed, self.inline_max);
        for ((field, value), deadline) in fields {
            table.set(field, value, deadline.map_or(ExpiryChange::Drop, ExpiryChange::At), &mut None);
        }
        self.unlink(key);
        if !table.is_empty() {
            self.put(key, NewValue::of(Object::Hash(Box::new(table))), ExpiryChange::Drop, now);
        }
    }

    fn set_in_table<'a>(&mut self, key: &Key<'_>, pairs: impl Iterator<Item = NewField<'a>>, expiry: ExpiryChange) {
        self.change_table(key, |fields, keeper| {
            pairs.for_each(|(field, value)| fields.set(field, value, expiry, keeper));
        });
    }

    /// Changes a large hash, if it is one, and counts what has changed with it. True if no field is left.
    pub(super) fn change_table(&mut self, key: &Key<'_>, change: impl FnOnce(&mut FieldTable, &mut Keeper)) -> bool {
        let table = &mut self.slots[usize::from(key.slot.0)];
        let Some(Object::Hash(fields)) = table.find_mut(key.hash, key.bytes).and_then(|entry| entry.object_mut())
        else {
            return false;
        };
        let (old_bytes, old_first) = (fields.heap_bytes(), fields.first_deadline());
        let mark = self.undo.as_ref().map_or(0, |undo| undo.mark());
        change(fields, &mut self.undo);
        if let Some(undo) = &mut self.undo {
            undo.fields(key.bytes, mark);
        }
        let (bytes, first, is_empty) = (fields.heap_bytes(), fields.first_deadline(), fields.is_empty());
        self.recount(old_bytes, bytes);
        self.reschedule_fields(key, old_first, first);
        is_empty
    }

    /// Removes fields, and the key with the last of them.
    pub fn remove_fields<'a>(&mut self, key: &Key<'_>, gone: impl Iterator<Item = &'a [u8]>, now: WallMs) {
        let Some(ValueRef::Flat(flat)) = self.find(key).map(|entry| entry.value()) else {
            if self.change_table(key, |fields, keeper| gone.for_each(|field| fields.remove(field, keeper))) {
                self.unlink(key);
            }
            return;
        };
        let mut row = flat.to_buf();
        gone.for_each(|field| row.remove(field));
        if row.flat().is_empty() {
            self.unlink(key);
        } else {
            self.put(key, NewValue::Flat(row.flat()), ExpiryChange::Keep, now);
        }
    }

    /// Sets or drops the deadline of fields that are there.
    pub fn expire_fields<'a>(
        &mut self,
        key: &Key<'_>,
        deadline: Option<WallMs>,
        expiring: impl Iterator<Item = &'a [u8]>,
        now: WallMs,
    ) {
        if let Some(ValueRef::Flat(flat)) = self.find(key).map(|entry| entry.value()) {
            if deadline.is_none() {
                return;
            }
            let row = flat.to_buf();
            return self.put_table(key, &row, now, |keyspace| keyspace.expire_in_table(key, deadline, expiring));
        }
        self.expire_in_table(key, deadline, expiring);
    }

    fn expire_in_table<'a>(
        &mut self,
        key: &Key<'_>,
        deadline: Option<WallMs>,
        expiring: impl Iterator<Item = &'a [u8]>,
    ) {
        self.change_table(key, |fields, keeper| {
            expiring.for_each(|field| fields.set_deadline(field, deadline, keeper));
        });
    }
}
