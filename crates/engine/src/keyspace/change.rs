//! Changes of values in place. A value's type makes the change; the keyspace keeps the account of memory, the index of
//! deadlines and the undo records right.

use super::entry::{Entry, Object};
use super::key::Key;
use super::slots::Keyspace;
use super::undo::UndoLog;
use super::value::Value;
use fastness_types::WallMs;

impl Keyspace {
    /// Changes an object, if the key holds one, and accounts for its new size. Leaves no undo record.
    pub(super) fn change_object(&mut self, key: &Key<'_>, change: impl FnOnce(&mut Object)) {
        let Some(entry) = self.entry_mut(key) else { return };
        let before = entry.heap_bytes();
        if let Some(object) = entry.object_mut() {
            change(object);
        }
        let after = entry.heap_bytes();
        self.recount(before, after);
    }

    /// Changes a value in place, if the key holds a `V` outside of its entry; returns whether it does. `write_undo`
    /// writes the record from which [`Value::restore`] undoes the change.
    pub(crate) fn change_in_place<V: Value<Entry>>(
        &mut self,
        key: &Key<'_>,
        now: WallMs,
        write_undo: impl FnOnce(&V, &mut Vec<u8>),
        change: impl FnOnce(&mut V),
    ) -> bool {
        let (mut undo, mut access) = (self.undo.take(), self.access);
        let changed = self.entry_mut(key).and_then(|entry| {
            let before = entry.heap_bytes();
            let value = entry.object_mut()?.downcast_mut::<V>()?;
            if let Some(undo) = &mut undo {
                undo.in_place(key.bytes, |record| write_undo(value, record));
            }
            change(value);
            entry.set_access(access.written(entry.access(), key.hash, now));
            Some((before, entry.heap_bytes()))
        });
        (self.undo, self.access) = (undo, access);
        if let Some((before, after)) = changed {
            self.recount(before, after);
        }
        changed.is_some()
    }

    /// Changes a value outside of its entry part by part, if the key holds one, and accounts for its new size and its
    /// earliest deadline. The change leaves to the undo log what it destroys of each part. Returns whether no part is
    /// left, if the value consists of entries with names.
    pub(crate) fn change_parts(&mut self, key: &Key<'_>, change: impl FnOnce(&mut Object, &mut UndoLog)) -> bool {
        let mut undo = self.undo.take();
        let Some(object) = self.entry_mut(key).and_then(Entry::object_mut) else {
            self.undo = undo;
            return false;
        };
        let first = |object: &Object| object.parts().and_then(|parts| parts.first_deadline());
        let (old_bytes, old_first) = (object.heap_bytes(), first(object));
        let mark = undo.as_ref().map_or(0, |undo| undo.mark());
        change(object, &mut undo);
        if let Some(undo) = &mut undo {
            undo.parts(key.bytes, mark);
        }
        let (bytes, first) = (object.heap_bytes(), first(object));
        let is_empty = object.parts().is_some_and(|parts| parts.is_empty());
        self.undo = undo;
        self.recount(old_bytes, bytes);
        self.reschedule_parts(key, old_first, first);
        is_empty
    }

    /// Makes a change that leaves no undo record, because the record of an earlier change restores the state before
    /// both.
    pub(crate) fn without_undo(&mut self, change: impl FnOnce(&mut Keyspace)) {
        let undo = self.undo.take();
        change(self);
        self.undo = undo;
    }
}
