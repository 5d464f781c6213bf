//! A large set: a table of the kind that a slot's keys are in, with members as keys.
//!
//! The table grows and shrinks by one bucket at a time, so that the cost of a command does not depend on the size of
//! the set, and cursors stay valid, as SCAN's do. A member is one allocation, an [`Entry`] without a value.
//!
//! # Invariant
//! `account.bytes` is the memory of the table and its entries.

use crate::keyspace::key::seeded_hash;
use crate::keyspace::memory::{Account, size_class};
use crate::keyspace::table::EntryTable;
use crate::keyspace::undo::UndoLog;
use crate::keyspace::{Entry, NewValue};
use fastness_types::HashSeed;

/// The members of a large set.
#[derive(Debug)]
pub struct SetTable {
    table: EntryTable,
    account: Account,
    /// The cluster's hash seed, because clients choose members as they choose keys.
    seed: HashSeed,
}

impl SetTable {
    /// A set without members.
    #[must_use]
    pub fn new(seed: HashSeed) -> SetTable {
        SetTable { table: EntryTable::default(), account: Account::default(), seed }
    }

    /// The member's hash, which determines its place in the table.
    #[must_use]
    pub fn hash(&self, member: &[u8]) -> u64 {
        seeded_hash(self.seed, member)
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The table and its memory in bytes, to be freed in slices.
    #[must_use]
    pub fn into_table(self) -> (EntryTable, usize) {
        (self.table, self.account.bytes as usize)
    }

    /// Bytes on the heap, including the table itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_class(size_of::<SetTable>()) + self.account.bytes as usize
    }

    /// Members moved between buckets since the start: the cost of growing.
    #[cfg(test)]
    pub(super) fn moved(&self) -> u64 {
        self.account.moved
    }

    /// The member's entry.
    #[must_use]
    pub fn find(&self, member: &[u8]) -> Option<&Entry> {
        self.table.find(self.hash(member), member)
    }

    /// Every member's entry.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// Visits the members of the bucket at `cursor` and returns the next cursor; 0 at the end.
    pub fn scan<'t>(&'t self, cursor: u64, visit: impl FnMut(&'t Entry)) -> u64 {
        self.table.scan(cursor, visit)
    }

    /// A uniformly random member.
    pub fn random(&self, below: impl FnMut(u64) -> u64) -> Option<&Entry> {
        self.table.random(below)
    }

    /// Adds a member; returns whether it is new. This and removing leave undo records in `undo_log`; the caller adds
    /// the key of the set.
    pub fn add(&mut self, member: &[u8], undo_log: &mut UndoLog) -> bool {
        let hash = self.hash(member);
        if self.table.find(hash, member).is_some() {
            return false;
        }
        if let Some(undo) = undo_log {
            undo.absent(member);
        }
        self.insert(hash, Entry::new(member, NewValue::Text(b""), None, 0));
        true
    }

    /// Removes a member; returns whether there was one.
    pub fn remove(&mut self, member: &[u8], undo_log: &mut UndoLog) -> bool {
        let Some(entry) = self.table.remove(self.hash(member), member, &mut self.account) else { return false };
        if let Some(undo) = undo_log {
            undo.moved(entry);
        }
        true
    }

    /// Adds the entry of a member, if there is none, without an undo record.
    pub fn put_back(&mut self, entry: Entry) {
        let hash = self.hash(entry.key());
        if self.table.find(hash, entry.key()).is_none() {
            self.insert(hash, entry);
        }
    }

    fn insert(&mut self, hash_of_member: u64, entry: Entry) {
        let seed = self.seed;
        self.table.insert(hash_of_member, entry, &mut self.account, |member| seeded_hash(seed, member));
    }
}

impl Clone for SetTable {
    fn clone(&self) -> SetTable {
        let mut copy = SetTable::new(self.seed);
        self.iter().for_each(|entry| _ = copy.add(entry.key(), &mut None));
        copy
    }
}

impl PartialEq for SetTable {
    fn eq(&self, other: &SetTable) -> bool {
        self.len() == other.len() && self.iter().all(|entry| other.find(entry.key()).is_some())
    }
}
