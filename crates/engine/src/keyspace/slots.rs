//! All slots of one replica.

use super::budget::FreeBudget;
use super::deadlines::{Deadlines, Mark};
use super::entry::{Entry, NewValue, Object, ValueRef};
use super::flushed::{Flushed, GROUP, Groups};
use super::key::{ExpiryChange, Key};
use super::memory::Account;
use super::retired::{Freeing, Retired, TEXT_PART};
use super::table::EntryTable;
use super::undo::{UndoLog, overwrite};
use crate::random::Random;
use fastness_types::limits::IMAGE_RECORD_BYTES_MAX;
use fastness_types::{HashSeed, SLOTS, Slot, WallMs, slot_of};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::Arc;

/// Low bits of the hash that stand in the index of deadlines, beside the slot.
const DUE_HASH_BITS: u32 = 50;
/// The slot's part of a scan's cursor.
const CURSOR_SLOT_BITS: u32 = 14;

/// Every key of one replica.
///
/// # Invariants
/// - A key is in the table of its slot, once.
/// - `due` holds exactly the entries with a deadline, each under its deadline; `parts_due` the hashes with a deadline
///   of a field, each under the earliest of them.
/// - `groups[i]` is the number of keys in the `i`-th 128 slots, `len` that of all.
/// - `account.bytes` is what all tables, entries and values take; what is retired is still counted.
/// - Whatever a change destroys is left to `undo` while that is there; see [`super::undo`].
///
/// The hash is SipHash-1-3 under the cluster's secret seed: keys are chosen by clients, and a faster hash that can be
/// attacked (foldhash promises no more than "minimal" resistance) would let one client make every other one slow. The
/// seed lives as long as the cluster, which rules out a hash that leaks it.
pub struct Keyspace {
    pub(super) seed: HashSeed,
    /// Texts longer than this are kept as objects, of which an image can become an owner.
    pub(super) inline_max: u32,
    pub(super) slots: Box<[EntryTable]>,
    groups: Groups,
    len: u64,
    due: Deadlines,
    parts_due: Deadlines,
    account: Account,
    pub(super) undo: UndoLog,
    /// What is freed a little at a time.
    retired: Retired,
}

fn empty_slots() -> Box<[EntryTable]> {
    (0..SLOTS).map(|_| EntryTable::default()).collect()
}

pub(super) fn seconds(now: WallMs) -> u32 {
    (now.0 / 1_000) as u32
}

/// A key's mark in the index of deadlines: its slot and the low bits of its hash.
fn due_mark(slot: Slot, hash: u64) -> u64 {
    u64::from(slot.0) << DUE_HASH_BITS | hash & ((1 << DUE_HASH_BITS) - 1)
}

fn reschedule(due: &mut Deadlines, key: &Key<'_>, old: Option<WallMs>, new: Option<WallMs>) {
    if old == new {
        return;
    }
    let mark = due_mark(key.slot, key.hash);
    if let Some(at) = old {
        due.remove((at, mark));
    }
    if let Some(at) = new {
        due.insert((at, mark));
    }
}

impl Keyspace {
    /// Empty.
    #[must_use]
    pub fn new(seed: HashSeed) -> Keyspace {
        let mut account = Account::default();
        account.add(SLOTS * size_of::<EntryTable>());
        let groups = [0; SLOTS / GROUP];
        Keyspace {
            seed,
            inline_max: IMAGE_RECORD_BYTES_MAX as u32,
            slots: empty_slots(),
            groups,
            len: 0,
            due: Deadlines::default(),
            parts_due: Deadlines::default(),
            account,
            undo: None,
            retired: Retired::default(),
        }
    }

    /// Texts longer than this are kept as objects from now on: large values of tests are short.
    #[cfg(test)]
    pub(crate) fn set_inline_max(&mut self, bytes: u32) {
        self.inline_max = bytes;
    }

    /// The longest text that is kept in its entry, bytes.
    pub(crate) fn inline_max(&self) -> u32 {
        self.inline_max
    }

    pub(crate) fn seed(&self) -> HashSeed {
        self.seed
    }

    /// The key's hash under the seed.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed.0);
        hasher.write(key);
        hasher.finish()
    }

    /// The key with slot and hash.
    #[inline]
    #[must_use]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, slot: slot_of(bytes), hash: self.hash(bytes) }
    }

    /// Number of keys, expired ones that are still there included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of keys with a deadline.
    #[must_use]
    pub fn len_with_deadline(&self) -> u64 {
        self.due.len() as u64
    }

    /// Number of hashes with a deadline of a field.
    #[must_use]
    pub fn len_with_part_deadlines(&self) -> u64 {
        self.parts_due.len() as u64
    }

    /// Number of keys in a slot.
    #[must_use]
    pub fn len_in_slot(&self, slot: Slot) -> usize {
        self.slots[usize::from(slot.0)].len()
    }

    /// Bytes in use, and entries moved since the start.
    #[must_use]
    pub fn account(&self) -> Account {
        let mut account = self.account;
        account.bytes += (self.due.bytes() + self.parts_due.bytes()) as u64;
        account
    }

    /// The keys of all slots.
    pub(crate) fn tables(&self) -> &[EntryTable] {
        &self.slots
    }

    /// The keys of one slot.
    #[must_use]
    pub fn table(&self, slot: Slot) -> &EntryTable {
        &self.slots[usize::from(slot.0)]
    }

    /// The key's entry.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &Key<'_>) -> Option<&Entry> {
        self.table(key.slot).find(key.hash, key.bytes)
    }

    /// The key's entry, with an access at `now` noted.
    #[inline]
    pub fn find_touched(&mut self, key: &Key<'_>, now: WallMs) -> Option<&Entry> {
        let entry = self.slots[usize::from(key.slot.0)].find_mut(key.hash, key.bytes)?;
        entry.set_access(seconds(now));
        Some(entry)
    }

    /// Sets any value.
    pub fn put(&mut self, key: &Key<'_>, value: NewValue<'_>, expiry: ExpiryChange, now: WallMs) {
        let value = match value {
            NewValue::RawText(text) => NewValue::raw_text(text, self.inline_max),
            other => other,
        };
        self.put_with(key, |_| value, expiry, now);
    }

    /// Sets the value that `value` makes of whether it replaces one with a deadline.
    pub(crate) fn put_with<'v>(
        &mut self,
        key: &Key<'_>,
        value: impl FnOnce(bool) -> NewValue<'v>,
        expiry: ExpiryChange,
        now: WallMs,
    ) {
        let table = &mut self.slots[usize::from(key.slot.0)];
        let Some(entry) = table.find_mut(key.hash, key.bytes) else {
            let value = value(false);
            return self.insert(key, Entry::new(key.bytes, value, expiry.after(None), seconds(now)));
        };
        let old = entry.deadline();
        let new = expiry.after(old);
        let bytes_before = entry.heap_bytes();
        // What takes long to free is taken out whole.
        if entry.parts().is_some() || bytes_before > TEXT_PART {
            self.unlink(key);
            return self.insert(key, Entry::new(key.bytes, value(old.is_some()), new, seconds(now)));
        }
        overwrite(&mut self.undo, entry, value(old.is_some()), new, seconds(now));
        let bytes_after = entry.heap_bytes();
        self.recount(bytes_before, bytes_after);
        self.reschedule(key, old, new);
    }

    pub(crate) fn recount(&mut self, before: usize, after: usize) {
        self.account.add(after);
        self.account.sub(before);
    }

    fn reschedule(&mut self, key: &Key<'_>, old: Option<WallMs>, new: Option<WallMs>) {
        reschedule(&mut self.due, key, old, new);
    }

    /// The key's entry, to be changed. What it takes, and its deadlines, are the caller's to note.
    #[inline]
    pub(super) fn entry_mut(&mut self, key: &Key<'_>) -> Option<&mut Entry> {
        self.slots[usize::from(key.slot.0)].find_mut(key.hash, key.bytes)
    }

    /// Adds an entry whose key is not there, and notes that it was not.
    fn insert(&mut self, key: &Key<'_>, entry: Entry) {
        if let Some(undo) = &mut self.undo {
            undo.absent(key.bytes);
        }
        self.add(key, entry);
    }

    fn add(&mut self, key: &Key<'_>, entry: Entry) {
        self.reschedule(key, None, entry.deadline());
        self.reschedule_parts(key, None, entry.first_part_deadline());
        let seed = self.seed;
        let hash_of = |bytes: &[u8]| {
            let mut hasher = SipHasher13::new_with_key(&seed.0);
            hasher.write(bytes);
            hasher.finish()
        };
        let slot = usize::from(key.slot.0);
        self.slots[slot].insert(key.hash, entry, &mut self.account, hash_of);
        self.groups[slot / GROUP] += 1;
        self.len += 1;
    }

    /// Puts an entry in the place of what its key holds, if anything.
    pub(super) fn replace(&mut self, slot: Slot, hash: u64, entry: Entry) {
        // What follows needs the place alone.
        let place = Key { bytes: &[], slot, hash };
        let table = &mut self.slots[usize::from(slot.0)];
        let Some(held) = table.find_mut(hash, entry.key()) else { return self.add(&place, entry) };
        let new = (entry.heap_bytes(), entry.deadline(), entry.first_part_deadline());
        let gone = std::mem::replace(held, entry);
        let old = (gone.heap_bytes(), gone.deadline(), gone.first_part_deadline());
        self.recount(old.0, new.0);
        self.reschedule(&place, old.1, new.1);
        self.reschedule_parts(&place, old.2, new.2);
        self.retired.push(gone, &mut self.account);
    }

    /// Takes a key out. What it held is the caller's, also to be left to [`super::undo`].
    pub fn remove(&mut self, key: &Key<'_>) -> Option<Entry> {
        let slot = usize::from(key.slot.0);
        let entry = self.slots[slot].remove(key.hash, key.bytes, &mut self.account)?;
        self.groups[slot / GROUP] -= 1;
        self.len -= 1;
        self.reschedule(key, entry.deadline(), None);
        self.reschedule_parts(key, entry.first_part_deadline(), None);
        Some(entry)
    }

    /// Removes a key. A large hash or text is freed by [`Keyspace::release`], a little at a time.
    pub fn unlink(&mut self, key: &Key<'_>) {
        let Some(entry) = self.remove(key) else { return };
        match &mut self.undo {
            Some(undo) => undo.moved(entry),
            None => self.retired.push(entry, &mut self.account),
        }
    }

    /// The earliest deadline of a field in a hash has changed.
    pub(super) fn reschedule_parts(&mut self, key: &Key<'_>, old: Option<WallMs>, new: Option<WallMs>) {
        reschedule(&mut self.parts_due, key, old, new);
    }

    /// Sets or drops the deadline of a key that is there.
    pub fn set_expiry(&mut self, key: &Key<'_>, deadline: Option<WallMs>) {
        let table = &mut self.slots[usize::from(key.slot.0)];
        let Some(entry) = table.find_mut(key.hash, key.bytes) else { return };
        let old = entry.deadline();
        let before = entry.heap_bytes();
        if entry.set_deadline(deadline) {
            if let Some(undo) = self.undo.as_mut().filter(|_| old != deadline) {
                undo.deadline(key.bytes, old);
            }
        } else {
            let (access, object) = (entry.access(), entry.take_object());
            let had_object = object.is_some();
            let new = remade(key.bytes, entry, object, deadline, access);
            let emptied = std::mem::replace(entry, new);
            keep_emptied(&mut self.undo, emptied, had_object, key.bytes);
        }
        let after = entry.heap_bytes();
        self.recount(before, after);
        self.reschedule(key, old, deadline);
    }

    /// Moves a value with its deadline to another key, whose own value goes.
    pub fn rename(&mut self, from: &Key<'_>, to: &Key<'_>) {
        if from.bytes == to.bytes {
            return;
        }
        let Some(mut entry) = self.remove(from) else { return };
        self.unlink(to);
        let object = entry.take_object();
        let had_object = object.is_some();
        let renamed = remade(to.bytes, &entry, object, entry.deadline(), entry.access());
        keep_emptied(&mut self.undo, entry, had_object, to.bytes);
        if had_object {
            // The record of the object tells where it went.
            self.add(to, renamed);
        } else {
            self.insert(to, renamed);
        }
    }

    /// Copies a value with its deadline to another key, whose own value goes.
    pub fn copy(&mut self, from: &Key<'_>, to: &Key<'_>, now: WallMs) {
        if from.bytes == to.bytes {
            return;
        }
        let Some(entry) = self.find(from) else { return };
        let object = entry.object().cloned().map(Arc::new);
        let copied = remade(to.bytes, entry, object, entry.deadline(), seconds(now));
        self.unlink(to);
        self.insert(to, copied);
    }

    /// Removes every key. What they took is freed by [`Keyspace::release`], a little at a time.
    pub fn clear(&mut self) {
        if self.len > 0 {
            self.take_tables(false);
        }
    }

    /// Takes every key out, and lends the old tables if that is asked for; they count until they are
    /// [given back](Keyspace::give_back_tables) and freed.
    pub fn take_tables(&mut self, lend: bool) -> Option<Box<[EntryTable]>> {
        self.account.add(SLOTS * size_of::<EntryTable>());
        let mut flushed = Flushed {
            tables: None,
            groups: std::mem::replace(&mut self.groups, [0; SLOTS / GROUP]),
            len: std::mem::take(&mut self.len),
            due: std::mem::take(&mut self.due),
            parts_due: std::mem::take(&mut self.parts_due),
        };
        let tables = std::mem::replace(&mut self.slots, empty_slots());
        let lent = if lend {
            Some(tables)
        } else {
            flushed.tables = Some(tables);
            None
        };
        match &mut self.undo {
            Some(undo) => undo.flushed(flushed),
            None => self.retire_flushed(flushed),
        }
        lent
    }

    /// FLUSHALL is taken back. What was set behind it has been taken back before.
    pub(super) fn put_back_tables(&mut self, flushed: Flushed) {
        debug_assert!(self.is_empty(), "what came later is undone before");
        let Some(tables) = flushed.tables else {
            debug_assert!(false, "an image reads what is to be put back");
            return;
        };
        let empty = std::mem::replace(&mut self.slots, tables);
        self.retire(empty);
        (self.groups, self.len) = (flushed.groups, flushed.len);
        (self.due, self.parts_due) = (flushed.due, flushed.parts_due);
    }

    /// Tables that nobody reads any more are freed by [`Keyspace::release`].
    pub fn retire(&mut self, tables: Box<[EntryTable]>) {
        self.retired.push_tables(tables);
    }

    /// The same of all that FLUSHALL took away.
    pub(super) fn retire_flushed(&mut self, flushed: Flushed) {
        flushed.tables.into_iter().for_each(|tables| self.retire(tables));
        self.retired.push_deadlines(flushed.due, &mut self.account);
        self.retired.push_deadlines(flushed.parts_due, &mut self.account);
    }

    /// Entries of so many bytes, which count no longer, are to be freed.
    pub(super) fn retire_entries(&mut self, entries: &mut Vec<Entry>, bytes: usize) {
        self.retired.push_entries(entries, bytes, &mut self.account);
    }

    /// An object that an image is done with: if nobody else owns it any more, it is freed by [`Keyspace::release`].
    pub fn give_back_object(&mut self, object: Arc<Object>) {
        if let Some(object) = Arc::into_inner(object) {
            self.retired.push_object(object, &mut self.account);
        }
    }

    /// Frees entries that were retired, in one slice of so many steps.
    pub(super) fn release_entries(&mut self, steps: usize) {
        self.retired.free_entries(&mut FreeBudget::new(steps), &mut self.account);
    }

    /// Frees a slice of what was flushed, removed or replaced, in at most so many steps (see [`super::retired`]); true
    /// if there is more.
    pub fn release(&mut self, steps: usize) -> bool {
        self.retired.free(&mut FreeBudget::new(steps), &mut self.account)
    }

    /// Whether [`Keyspace::release`] has something to free.
    #[must_use]
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// How much [`Keyspace::release`] has freed and has still to free.
    #[must_use]
    pub fn freeing(&self) -> Freeing {
        self.retired.freeing()
    }

    /// Gives up all that is here, to be freed by [`Keyspace::release`]: an empty keyspace, that counts what it has yet
    /// to free.
    pub fn restart(&mut self) {
        let mut old = std::mem::replace(self, Keyspace::new(self.seed));
        old.drop_undo();
        let due = [std::mem::take(&mut old.due), std::mem::take(&mut old.parts_due)];
        self.account.bytes += old.account.bytes;
        self.retired.append(old.retired);
        self.retired.push_tables(old.slots);
        due.into_iter().for_each(|due| self.retired.push_deadlines(due, &mut self.account));
    }

    /// The key whose deadline is the earliest, if that has passed at `now`: deadlines are points that still belong to
    /// the key's life.
    #[must_use]
    pub fn next_due(&self, now: WallMs) -> Option<&Entry> {
        self.marked(self.due.first(), now, Entry::deadline)
    }

    /// The hash in which the earliest deadline of a field has passed at `now`, likewise.
    #[must_use]
    pub fn next_with_part_due(&self, now: WallMs) -> Option<&Entry> {
        self.marked(self.parts_due.first(), now, Entry::first_part_deadline)
    }

    fn marked(
        &self,
        first: Option<Mark>,
        now: WallMs,
        deadline_of: impl Fn(&Entry) -> Option<WallMs>,
    ) -> Option<&Entry> {
        let (at, mark) = first?;
        if at >= now {
            return None;
        }
        let slot = Slot((mark >> DUE_HASH_BITS) as u16);
        let is_it = |entry: &Entry| due_mark(slot, self.hash(entry.key())) == mark && deadline_of(entry) == Some(at);
        let entry = self.table(slot).find_by(mark & ((1 << DUE_HASH_BITS) - 1), is_it);
        debug_assert!(entry.is_some(), "an index of deadlines names a key that is not there");
        entry
    }

    /// The earliest deadline, of a key or of a field.
    #[must_use]
    pub fn first_deadline(&self) -> Option<WallMs> {
        let firsts = [self.due.first(), self.parts_due.first()];
        firsts.into_iter().flatten().map(|(at, _)| at).min()
    }

    /// Whether the life of any key may end between the two: that of a hash whose first field's has ended ends with its
    /// last field's, which is not looked for.
    #[must_use]
    pub fn any_ends_between(&self, from: WallMs, to: WallMs) -> bool {
        self.due.count_before(to) > self.due.count_before(from) || self.parts_due.count_before(to) > 0
    }

    /// Visits at least `count` entries, if there are so many, from `cursor` on; returns the cursor to go on with, 0 at
    /// the end. As Valkey's in cluster mode, a cursor carries the slot in its low 14 bits. Any number is a valid
    /// cursor. The work is bounded by `count` and the number of slots.
    pub fn scan(&self, cursor: u64, count: usize, visit: impl FnMut(&Entry)) -> u64 {
        self.scan_to(Slot(SLOTS as u16 - 1), cursor, count, visit)
    }

    /// As [`Keyspace::scan`], and ends with the slot `last`.
    pub fn scan_to(&self, last: Slot, cursor: u64, count: usize, mut visit: impl FnMut(&Entry)) -> u64 {
        let (Slot(slot), mut place) = self.slot_and_place(cursor);
        let mut slot = usize::from(slot);
        let mut visited = 0;
        while visited < count.max(1) {
            place = self.slots[slot].scan(place, |entry| {
                visited += 1;
                visit(entry);
            });
            if place == 0 {
                match self.occupied_from(slot + 1) {
                    Some(next) if next <= usize::from(last.0) => slot = next,
                    _ => return 0,
                }
            }
        }
        self.cursor(Slot(slot as u16), place)
    }

    /// A cursor's slot, and its place in the slot's table.
    #[must_use]
    pub fn slot_and_place(&self, cursor: u64) -> (Slot, u64) {
        (Slot((cursor % SLOTS as u64) as u16), cursor >> CURSOR_SLOT_BITS)
    }

    /// The cursor of a slot and a place in its table.
    #[must_use]
    pub fn cursor(&self, slot: Slot, place: u64) -> u64 {
        place << CURSOR_SLOT_BITS | u64::from(slot.0)
    }

    /// Visits the entries of one slot, at least `count` if there are so many, from `cursor` on; 0 at the end.
    pub fn scan_slot(&self, slot: Slot, cursor: u64, count: usize, mut visit: impl FnMut(&Entry)) -> u64 {
        let mut cursor = cursor;
        let mut visited = 0;
        loop {
            cursor = self.table(slot).scan(cursor, |entry| {
                visited += 1;
                visit(entry);
            });
            if cursor == 0 || visited >= count {
                return cursor;
            }
        }
    }

    /// The first slot from `slot` on that has keys.
    fn occupied_from(&self, slot: usize) -> Option<usize> {
        let mut slot = slot;
        while slot < SLOTS {
            if slot.is_multiple_of(GROUP) && self.groups[slot / GROUP] == 0 {
                slot += GROUP;
            } else if self.slots[slot].is_empty() {
                slot += 1;
            } else {
                return Some(slot);
            }
        }
        None
    }

    /// Every entry of a slot.
    pub fn iter_slot(&self, slot: Slot) -> impl Iterator<Item = &Entry> {
        self.table(slot).iter()
    }

    /// Every entry, slot by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flat_map(EntryTable::iter)
    }

    /// Every slot that has keys, in order.
    pub fn occupied(&self) -> impl Iterator<Item = Slot> {
        std::iter::successors(self.occupied_from(0), |&slot| self.occupied_from(slot + 1)).map(|slot| Slot(slot as u16))
    }

    /// A uniformly random entry.
    pub fn random(&self, random: &mut dyn Random) -> Option<&Entry> {
        if self.len == 0 {
            return None;
        }
        let mut nth = random.below(self.len);
        let group = self.groups.iter().position(|&len| {
            let here = nth < len;
            nth -= if here { 0 } else { len };
            here
        })?;
        let slots = &self.slots[group * GROUP..(group + 1) * GROUP];
        let table = slots.iter().find(|table| {
            let here = nth < table.len() as u64;
            nth -= if here { 0 } else { table.len() as u64 };
            here
        })?;
        table.random(|bound| random.below(bound))
    }

    /// Starts to load the slot's table.
    #[inline]
    pub fn prefetch_table(&self, slot: Slot) {
        super::entry::cell::prefetch(self.table(slot));
    }

    /// Starts to load the key's bucket; its table should have been loaded.
    #[inline]
    pub fn prefetch_bucket(&self, slot: Slot, hash: u64) {
        self.table(slot).prefetch_bucket(hash);
    }

    /// Starts to load the key's entry; call it a few keys after [`Keyspace::prefetch_bucket`].
    #[inline]
    pub fn prefetch_entry(&self, slot: Slot, hash: u64) {
        self.table(slot).prefetch_entry(hash);
    }
}

/// Keeps an entry that was replaced; its object, if it had one, is now that of `to`.
fn keep_emptied(undo_log: &mut UndoLog, entry: Entry, had_object: bool, to: &[u8]) {
    match undo_log {
        Some(undo) if had_object => undo.object_moved(entry, to),
        Some(undo) => undo.moved(entry),
        None => {}
    }
}

/// An entry like `entry` under another key or deadline; `object` is its object, if it has one.
fn remade(key: &[u8], entry: &Entry, object: Option<Arc<Object>>, deadline: Option<WallMs>, access: u32) -> Entry {
    let value = match (object, entry.value()) {
        (Some(object), _) => NewValue::Object(object),
        (None, ValueRef::Text(text)) if entry.is_raw() => NewValue::RawText(text),
        (None, ValueRef::Text(text)) => NewValue::Text(text),
        (None, ValueRef::Int(number)) => NewValue::Int(number),
        (None, ValueRef::Packed(packed)) => NewValue::Packed(packed),
        (None, ValueRef::Long(text)) => NewValue::long(text.clone()),
        (None, ValueRef::Object(object)) => NewValue::of(object.clone()),
    };
    Entry::new(key, value, deadline, access)
}

impl std::fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyspace").field("len", &self.len).field("account", &self.account).finish_non_exhaustive()
    }
}
