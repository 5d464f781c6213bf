//! Removed data whose memory is freed in slices.
//!
//! Freeing the keys of a FLUSHALL, the fields of a large hash or the pages of a long text takes time in proportion to
//! their number, and no command should wait for it. So whatever is large is moved here in one step, and `Retired::free`
//! frees it in slices, each bounded in steps (entries and buckets) and in bytes. The owner of the data runs slices
//! until nothing is left, with or without further commands.
//!
//! # Invariants
//! - The account counts retired data until it is freed, and tells it from the data that exists (`Account::removed`).
//! - `objects` is the number of retired keys and tables of parts; `objects` plus `freed` only grows.
//! - One slice frees at most [`SLICE_BYTES`](super::budget::SLICE_BYTES), plus what its last step frees: a bucket, a
//!   part of a text, or an entry's name with the rest of its value.
//! - Every step frees something or shortens it; what cannot be shortened is freed at once. A text shrinks by the
//!   allocator's size classes, an eighth to a quarter at a time, which takes some milliseconds for the longest text.

use super::budget::FreeBudget;
use super::deadlines::Deadlines;
use super::entry::{Entry, Object};
use super::memory::{Account, size_class};
use super::table::EntryTable;
use super::value::{Dismantle, Remains};
use std::sync::Arc;

/// Bytes that one step cuts from a text; a shorter text or hash is freed at once.
pub const TEXT_PART: usize = 256 * 1024;
/// Capacity for entries that is kept when there are none.
const ENTRIES_KEPT: usize = 4_096;

/// How much has been freed, and how much is pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freeing {
    /// Keys, and large values of removed keys, that are not freed yet.
    pub pending_objects: u64,
    /// Keys and large values freed since the start.
    pub freed_objects: u64,
    /// Slices in which something was freed, since the start.
    pub slices: u64,
}

/// The tables of all slots that a FLUSHALL removed.
struct FlushedTables {
    tables: Box<[EntryTable]>,
    /// The first table that is not empty.
    next: usize,
}

/// Data that waits to be freed.
#[derive(Default)]
pub(super) struct Retired {
    flushed: Vec<FlushedTables>,
    /// Parts of large values.
    parts: Vec<Box<dyn Dismantle<Entry>>>,
    entries: Vec<Entry>,
    /// Long texts that were outside of their entries.
    texts: Vec<Vec<u8>>,
    deadlines: Vec<Deadlines>,
    objects: u64,
    freed: u64,
    slices: u64,
}

impl Retired {
    pub(super) fn is_empty(&self) -> bool {
        self.flushed.is_empty()
            && self.parts.is_empty()
            && self.entries.is_empty()
            && self.texts.is_empty()
            && self.deadlines.is_empty()
    }

    pub(super) fn freeing(&self) -> Freeing {
        Freeing { pending_objects: self.objects, freed_objects: self.freed, slices: self.slices }
    }

    /// Takes tables with all their keys, which the account still counts.
    pub(super) fn push_tables(&mut self, tables: Box<[EntryTable]>) {
        self.objects += tables.iter().map(|table| table.len() as u64).sum::<u64>();
        self.flushed.push(FlushedTables { tables, next: 0 });
    }

    /// Takes an index of deadlines, which the account does not count any more.
    pub(super) fn push_deadlines(&mut self, deadlines: Deadlines, account: &mut Account) {
        if !deadlines.is_empty() {
            account.add_removed(deadlines.bytes());
            self.deadlines.push(deadlines);
        }
    }

    /// Takes entries of `bytes` bytes, which the account does not count any more.
    pub(super) fn push_entries(&mut self, entries: &mut Vec<Entry>, bytes: usize, account: &mut Account) {
        account.add_removed(bytes);
        self.objects += entries.len() as u64;
        self.entries.append(entries);
    }

    /// Takes an entry that the account does not count any more, and frees it at once if that is quick.
    pub(super) fn push(&mut self, mut entry: Entry, account: &mut Account) {
        if entry.object().is_some() {
            // An image that owns the object too gives it back later.
            if let Some(object) = entry.take_object().and_then(Arc::into_inner) {
                self.push_object(object, account);
            }
        } else if entry.size() > TEXT_PART {
            account.add_removed(entry.size());
            self.objects += 1;
            self.entries.push(entry);
        }
    }

    /// As [`Retired::push`], of an object without owners.
    pub(super) fn push_object(&mut self, object: Object, account: &mut Account) {
        match object.into_remains() {
            Remains::Parts(table, bytes, deadlines) => {
                account.add_removed(bytes);
                self.objects += 1;
                self.parts.push(table);
                deadlines.into_iter().for_each(|deadlines| self.push_deadlines(*deadlines, account));
            }
            Remains::Text(text) if text.capacity() > TEXT_PART => {
                account.add_removed(size_class(text.capacity()));
                self.objects += 1;
                self.texts.push(text);
            }
            Remains::Text(_) | Remains::Nothing => {}
        }
    }

    /// Takes everything from another one, which the account counts already.
    pub(super) fn append(&mut self, mut other: Retired) {
        self.flushed.append(&mut other.flushed);
        self.parts.append(&mut other.parts);
        self.entries.append(&mut other.entries);
        self.texts.append(&mut other.texts);
        self.deadlines.append(&mut other.deadlines);
        self.objects += other.objects;
        self.freed += other.freed;
        self.slices += other.slices;
    }

    /// Frees one slice; returns whether there is more.
    pub(super) fn free(&mut self, budget: &mut FreeBudget, account: &mut Account) -> bool {
        if self.is_empty() {
            return false;
        }
        self.slices += 1;
        self.free_entries(budget, account);
        self.free_texts(budget, account);
        self.free_flushed(budget, account);
        self.free_parts(budget, account);
        self.free_deadlines(budget, account);
        !self.is_empty()
    }

    /// Frees entries only: those that a commit released, whose memory is about to be allocated again.
    pub(super) fn free_entries(&mut self, budget: &mut FreeBudget, account: &mut Account) {
        while !budget.is_spent()
            && let Some(entry) = self.entries.last_mut()
        {
            let before = entry.heap_bytes();
            // Without its text, the entry has only its name, which is short enough to be freed at once.
            if before > TEXT_PART && entry.inline_len() > 0 {
                entry.shorten_text(TEXT_PART);
                let after = entry.heap_bytes();
                account.sub(before - after);
                budget.spend(before - after);
                continue;
            }
            account.sub(before);
            if let Some(mut entry) = self.entries.pop() {
                self.objects_freed(1);
                budget.spend(entry.size());
                // A large object is retired by itself; an image that owns it too gives it back later.
                if let Some(object) = entry.take_object().and_then(Arc::into_inner) {
                    self.push_object(object, account);
                }
            }
        }
        if self.entries.is_empty() && self.entries.capacity() > ENTRIES_KEPT {
            self.entries = Vec::new();
        }
    }

    fn free_texts(&mut self, budget: &mut FreeBudget, account: &mut Account) {
        while !budget.is_spent()
            && let Some(text) = self.texts.last_mut()
        {
            let before = size_class(text.capacity());
            let left = text.capacity().saturating_sub(TEXT_PART);
            text.truncate(left);
            text.shrink_to(left);
            let after = if left == 0 { 0 } else { size_class(text.capacity()) };
            if left == 0 {
                self.texts.pop();
                self.objects_freed(1);
            }
            account.sub(before.saturating_sub(after));
            budget.spend(before.saturating_sub(after));
        }
    }

    fn free_flushed(&mut self, budget: &mut FreeBudget, account: &mut Account) {
        while !budget.is_spent()
            && let Some(mut flushed) = self.flushed.pop()
        {
            let mut keys = 0;
            while let Some(table) = flushed.tables.get_mut(flushed.next) {
                table.dismantle(budget, account, |entry, account| {
                    keys += 1;
                    self.push(entry, account);
                });
                if table.buckets() > 0 {
                    break;
                }
                flushed.next += 1;
            }
            self.objects_freed(keys);
            if flushed.next < flushed.tables.len() {
                self.flushed.push(flushed);
            } else {
                account.sub(size_of_val(&*flushed.tables));
            }
        }
    }

    fn free_parts(&mut self, budget: &mut FreeBudget, account: &mut Account) {
        while !budget.is_spent()
            && let Some(mut parts) = self.parts.pop()
        {
            let is_left = parts.dismantle_some(budget, account, &mut |entry, account| self.push(entry, account));
            if is_left {
                self.parts.push(parts);
            } else {
                self.objects_freed(1);
            }
        }
    }

    fn free_deadlines(&mut self, budget: &mut FreeBudget, account: &mut Account) {
        while !budget.is_spent()
            && let Some(deadlines) = self.deadlines.last_mut()
        {
            let before = deadlines.bytes();
            let is_left = deadlines.drop_first_run();
            let freed = before - if is_left { deadlines.bytes() } else { 0 };
            if !is_left {
                self.deadlines.pop();
            }
            account.sub(freed);
            budget.spend(freed);
        }
    }

    fn objects_freed(&mut self, count: u64) {
        debug_assert!(self.objects >= count, "every object that is freed was counted");
        self.objects = self.objects.saturating_sub(count);
        self.freed += count;
    }
}
