//! A large hash: a table of the kind that a slot's keys are in, with fields as keys.
//!
//! The table grows and shrinks by one bucket at a time, so that the cost of a command does not depend on the size of
//! the hash, and cursors stay valid, as SCAN's do. A field with its value and its deadline is one allocation, an
//! [`Entry`]. (Tables of libraries grow all at once: a hash of a million fields would block the shard for some ten
//! milliseconds.)
//!
//! # Invariants
//! - `due` has exactly the fields with a deadline, each under its deadline; it exists only if there are some.
//! - `account.bytes` is the memory of the table and its entries.

use super::packed::Pair;
use crate::keyspace::deadlines::Deadlines;
use crate::keyspace::key::seeded_hash;
use crate::keyspace::memory::{Account, size_class};
use crate::keyspace::table::EntryTable;
use crate::keyspace::text::Text;
use crate::keyspace::undo::{UndoLog, overwrite};
use crate::keyspace::{Entry, ExpiryChange, NewValue, ValueRef};
use fastness_types::{HashSeed, WallMs};
use std::sync::Arc;

/// The fields of a large hash.
#[derive(Debug)]
pub struct FieldTable {
    table: EntryTable,
    account: Account,
    due: Option<Box<Deadlines>>,
    /// The cluster's hash seed, because clients choose fields as they choose keys.
    seed: HashSeed,
    /// Values longer than this, bytes, are objects, which an image can own too.
    inline_max: u32,
}

/// The field and value of an entry.
#[must_use]
pub fn pair(entry: &Entry) -> Pair<'_> {
    let value = match entry.value() {
        ValueRef::Text(value) => value,
        ValueRef::Long(value) => value,
        ValueRef::Int(_) | ValueRef::Packed(_) | ValueRef::Object(_) => b"",
    };
    (entry.key(), value)
}

impl FieldTable {
    /// The value of a key, if it is a large hash.
    #[inline]
    #[must_use]
    pub fn of(entry: &Entry) -> Option<&FieldTable> {
        entry.object()?.downcast_ref()
    }

    /// A hash without fields.
    #[must_use]
    pub fn new(seed: HashSeed, inline_max: u32) -> FieldTable {
        FieldTable { table: EntryTable::default(), account: Account::default(), due: None, seed, inline_max }
    }

    /// The field's hash, which determines its place in the table.
    #[must_use]
    pub fn hash(&self, field: &[u8]) -> u64 {
        seeded_hash(self.seed, field)
    }

    /// The form in which a field's value is stored. It is never changed in place.
    fn new_value<'v>(&self, value: &'v [u8]) -> NewValue<'v> {
        if value.len() > self.inline_max as usize {
            NewValue::long(Text::shared(Arc::new(value.to_vec())))
        } else {
            NewValue::Text(value)
        }
    }

    /// Number of fields, including those past their deadline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The table, its memory in bytes, and the index of its deadlines, to be freed in slices.
    #[must_use]
    pub fn into_table(self) -> (EntryTable, usize, Option<Box<Deadlines>>) {
        (self.table, self.account.bytes as usize, self.due)
    }

    /// Bytes on the heap, including the table itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let due = self.due.as_ref().map_or(0, |due| size_class(size_of::<Deadlines>()) + due.bytes());
        size_class(size_of::<FieldTable>()) + self.account.bytes as usize + due
    }

    /// The field's entry, even if it is past its deadline.
    #[must_use]
    pub fn find(&self, field: &[u8]) -> Option<&Entry> {
        self.table.find(seeded_hash(self.seed, field), field)
    }

    /// Every entry, including those past their deadline.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// Visits the fields of the bucket at `cursor` and returns the next cursor; 0 at the end.
    pub fn scan<'t>(&'t self, cursor: u64, visit: impl FnMut(&'t Entry)) -> u64 {
        self.table.scan(cursor, visit)
    }

    /// A uniformly random entry, which may be past its deadline.
    pub fn random(&self, below: impl FnMut(u64) -> u64) -> Option<&Entry> {
        self.table.random(below)
    }

    /// Sets a field. This and the other changes leave undo records in `undo_log`; the caller adds the key of the hash.
    pub fn set(&mut self, field: &[u8], value: &[u8], expiry: ExpiryChange, undo_log: &mut UndoLog) {
        let seed = self.seed;
        let hash_of = |field: &[u8]| seeded_hash(seed, field);
        let hash = hash_of(field);
        let new_value = self.new_value(value);
        let Some(entry) = self.table.find_mut(hash, field) else {
            if let Some(undo) = undo_log {
                undo.absent(field);
            }
            let deadline = expiry.after(None);
            let entry = Entry::new(field, new_value, deadline, 0);
            self.table.insert(hash, entry, &mut self.account, hash_of);
            return self.reschedule(hash, None, deadline);
        };
        let old = entry.deadline();
        let new = expiry.after(old);
        let before = entry.heap_bytes();
        overwrite(undo_log, entry, new_value, new, 0);
        let after = entry.heap_bytes();
        self.account.add(after);
        self.account.sub(before);
        self.reschedule(hash, old, new);
    }

    /// Sets or removes the deadline of a field, if the field exists.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Option<WallMs>, undo_log: &mut UndoLog) {
        let hash = seeded_hash(self.seed, field);
        let Some(entry) = self.table.find_mut(hash, field) else { return };
        let (old, before) = (entry.deadline(), entry.heap_bytes());
        if entry.set_deadline(deadline) {
            if let Some(undo) = undo_log.as_mut().filter(|_| old != deadline) {
                undo.deadline(field, old);
            }
        } else {
            let value = entry.share_object().map_or_else(|| NewValue::Text(pair(entry).1), NewValue::Object);
            let new = Entry::new(field, value, deadline, 0);
            let replaced = std::mem::replace(entry, new);
            if let Some(undo) = undo_log {
                undo.moved(replaced);
            }
        }
        let after = entry.heap_bytes();
        self.account.add(after);
        self.account.sub(before);
        self.reschedule(hash, old, deadline);
    }

    /// Removes a field.
    pub fn remove(&mut self, field: &[u8], undo_log: &mut UndoLog) {
        let hash = seeded_hash(self.seed, field);
        if let Some(entry) = self.table.remove(hash, field, &mut self.account) {
            self.reschedule(hash, entry.deadline(), None);
            if let Some(undo) = undo_log {
                undo.moved(entry);
            }
        }
    }

    /// Sets the entry of a field, in the place of the present one, without an undo record.
    pub fn put_back(&mut self, entry: Entry) {
        let seed = self.seed;
        let hash_of = |field: &[u8]| seeded_hash(seed, field);
        let (hash, new) = (hash_of(entry.key()), entry.deadline());
        let Some(held) = self.table.find_mut(hash, entry.key()) else {
            self.table.insert(hash, entry, &mut self.account, hash_of);
            return self.reschedule(hash, None, new);
        };
        self.account.add(entry.heap_bytes());
        let replaced = std::mem::replace(held, entry);
        self.account.sub(replaced.heap_bytes());
        self.reschedule(hash, replaced.deadline(), new);
    }

    fn reschedule(&mut self, hash: u64, old: Option<WallMs>, new: Option<WallMs>) {
        if old == new {
            return;
        }
        let due = self.due.get_or_insert_default();
        if let Some(at) = old {
            due.remove((at, hash));
        }
        if let Some(at) = new {
            due.insert((at, hash));
        }
        if due.is_empty() {
            self.due = None;
        }
    }

    /// The earliest deadline of a field.
    #[must_use]
    pub fn first_deadline(&self) -> Option<WallMs> {
        self.due.as_ref()?.first().map(|(at, _)| at)
    }

    /// Number of fields that are past their deadline at `now`.
    #[must_use]
    pub fn count_past(&self, now: WallMs) -> usize {
        self.due.as_ref().map_or(0, |due| due.count_before(now))
    }

    /// Whether every field is past its deadline at `now`.
    #[must_use]
    pub fn is_past(&self, now: WallMs) -> bool {
        let Some(due) = &self.due else { return false };
        due.len() == self.len() && due.last().is_some_and(|(at, _)| at < now)
    }

    /// Whether a field's deadline has passed between two moments.
    #[must_use]
    pub fn has_expired_between(&self, from: WallMs, now: WallMs) -> bool {
        self.count_past(from) != self.count_past(now)
    }

    /// The fields that are past their deadline at `now`, earliest first.
    pub fn past(&self, now: WallMs) -> impl Iterator<Item = &[u8]> {
        let marks = self.due.as_ref().into_iter().flat_map(|due| due.iter());
        marks.take_while(move |(at, _)| *at < now).filter_map(|(at, mark)| {
            let is_it = |entry: &Entry| entry.deadline() == Some(at) && seeded_hash(self.seed, entry.key()) == mark;
            self.table.find_by(mark, is_it).map(Entry::key)
        })
    }
}

impl Clone for FieldTable {
    fn clone(&self) -> FieldTable {
        let mut copy = FieldTable::new(self.seed, self.inline_max);
        for entry in self.iter() {
            let (field, value) = pair(entry);
            copy.set(field, value, entry.deadline().map_or(ExpiryChange::Drop, ExpiryChange::At), &mut None);
        }
        copy
    }
}

impl PartialEq for FieldTable {
    fn eq(&self, other: &FieldTable) -> bool {
        let is_equal = |entry: &Entry| {
            let (field, value) = pair(entry);
            other.find(field).is_some_and(|held| pair(held).1 == value && held.deadline() == entry.deadline())
        };
        self.len() == other.len() && self.iter().all(is_equal)
    }
}
