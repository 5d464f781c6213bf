//! All slots of one replica.

use super::access::{AccessClock, AccessMode};
use super::budget::FreeBudget;
use super::deadlines::{Deadlines, Mark};
use super::entry::{Entry, NewValue, Object, ValueRef};
use super::flushed::{Flushed, GROUP, Groups};
use super::key::{ExpiryChange, Key, seeded_hash};
use super::libraries::Libraries;
use super::memory::Account;
use super::packed_limits::PackedLimits;
use super::retired::{Freeing, Retired, TEXT_PART};
use super::table::EntryTable;
use super::undo::{UndoLog, overwrite};
use crate::random::Random;
use fastness_types::limits::IMAGE_RECORD_BYTES_MAX;
use fastness_types::{HashSeed, SLOTS, Slot, WallMs, slot_of};
use std::sync::Arc;

/// Low bits of a key's hash that the index of deadlines stores beside its slot.
const DUE_HASH_BITS: u32 = 50;
/// Bits of the slot in a scan's cursor.
const CURSOR_SLOT_BITS: u32 = 14;

/// Every key of one replica.
///
/// # Invariants
/// - A key is in the table of its slot, once.
/// - `due` has exactly the entries with a deadline, each under its deadline; `parts_due` has the values with a deadline
///   of a part, each under the earliest of these deadlines.
/// - `groups[i]` is the number of keys in the `i`-th 128 slots, `len` that of all.
/// - `account.bytes` is what all tables, entries and values take, retired ones included.
/// - While `undo` keeps records, every change leaves one of what it destroys; see [`super::undo`].
///
/// The hash is SipHash-1-3 under the cluster's secret seed: keys are chosen by clients, and a faster hash that can be
/// attacked (foldhash promises no more than "minimal" resistance) would let one client make every other one slow. The
/// seed lives as long as the cluster, which rules out a hash that leaks it.
pub struct Keyspace {
    pub(super) seed: HashSeed,
    /// Texts longer than this, bytes, are kept as objects, which an image can own too.
    pub(super) inline_max: u32,
    packed_limits: PackedLimits,
    pub(super) slots: Box<[EntryTable]>,
    groups: Groups,
    len: u64,
    pub(super) due: Deadlines,
    parts_due: Deadlines,
    libraries: Libraries,
    account: Account,
    pub(super) undo: UndoLog,
    /// Removed data that is freed in slices.
    retired: Retired,
    /// Makes what entries record of their accesses.
    pub(super) access: AccessClock,
}

fn empty_slots() -> Box<[EntryTable]> {
    (0..SLOTS).map(|_| EntryTable::default()).collect()
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
            packed_limits: PackedLimits::default(),
            slots: empty_slots(),
            groups,
            len: 0,
            due: Deadlines::default(),
            parts_due: Deadlines::default(),
            libraries: Libraries::default(),
            account,
            undo: None,
            retired: Retired::default(),
            access: AccessClock::new(seed),
        }
    }

    /// Sets the length above which texts are kept as objects: the large values of tests are short.
    #[cfg(test)]
    pub(crate) fn set_inline_max(&mut self, bytes: u32) {
        self.inline_max = bytes;
    }

    /// The longest text that is kept in its entry, bytes.
    pub(crate) fn inline_max(&self) -> u32 {
        self.inline_max
    }

    /// Up to which size values are packed.
    pub(crate) fn packed_limits(&self) -> PackedLimits {
        self.packed_limits
    }

    /// Sets up to which size values are packed from now on, within [`PackedLimits`]' upper bounds.
    pub(crate) fn set_packed_limits(&mut self, limits: PackedLimits) {
        self.packed_limits = limits.bounded();
    }

    pub(crate) fn seed(&self) -> HashSeed {
        self.seed
    }

    /// What entries record of their accesses.
    #[must_use]
    pub fn access_clock(&self) -> &AccessClock {
        &self.access
    }

    /// Sets what entries record of their accesses from now on.
    pub(crate) fn set_access_mode(&mut self, mode: AccessMode) {
        self.access.set_mode(mode);
    }

    /// Sets what a key's entry records of its accesses.
    pub(crate) fn set_access(&mut self, key: &Key<'_>, bits: u32) {
        if let Some(entry) = self.entry_mut(key) {
            entry.set_access(bits);
        }
    }

    /// The libraries of functions.
    #[must_use]
    pub fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// Replaces the libraries of functions, and leaves an undo record.
    pub(crate) fn set_libraries(&mut self, new: Libraries) {
        self.recount(self.libraries.bytes(), new.bytes());
        let old = std::mem::replace(&mut self.libraries, new);
        if let Some(undo) = &mut self.undo {
            undo.libraries(old);
        }
    }

    /// The key's hash under the seed.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        seeded_hash(self.seed, key)
    }

    /// The key with slot and hash.
    #[inline]
    #[must_use]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, slot: slot_of(bytes), hash: self.hash(bytes) }
    }

    /// Number of keys, including expired ones that have not been removed yet.
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

    /// Number of keys with a deadline of a part (a field of a hash).
    #[must_use]
    pub fn len_with_part_deadlines(&self) -> u64 {
        self.parts_due.len() as u64
    }

    /// Number of keys in a slot.
    #[must_use]
    pub fn len_in_slot(&self, slot: Slot) -> usize {
        self.slots[usize::from(slot.0)].len()
    }

    /// The account of memory, including the indexes of deadlines.
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

    /// The key's entry, after an access at `now` was noted.
    #[inline]
    pub fn find_touched(&mut self, key: &Key<'_>, now: WallMs) -> Option<&Entry> {
        let entry = self.slots[usize::from(key.slot.0)].find_mut(key.hash, key.bytes)?;
        entry.set_access(self.access.accessed(entry.access(), key.hash, now));
        Some(entry)
    }

    /// Sets a value of any type.
    pub fn put(&mut self, key: &Key<'_>, value: NewValue<'_>, expiry: ExpiryChange, now: WallMs) {
        let value = match value {
            NewValue::RawText(text) => NewValue::raw_text(text, self.inline_max),
            other => other,
        };
        self.put_with(key, |_| value, expiry, now);
    }

    /// Sets the value that `value` returns; its argument says whether it replaces a value with a deadline.
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
            let access = self.access.fresh(now);
            return self.insert(key, Entry::new(key.bytes, value, expiry.after(None), access));
        };
        let old = entry.deadline();
        let new = expiry.after(old);
        let bytes_before = entry.heap_bytes();
        let access = self.access.written(entry.access(), key.hash, now);
        // A value that takes long to free is removed as a whole.
        if entry.parts().is_some() || bytes_before > TEXT_PART {
            self.unlink(key);
            return self.insert(key, Entry::new(key.bytes, value(old.is_some()), new, access));
        }
        overwrite(&mut self.undo, entry, value(old.is_some()), new, access);
        let (bytes_after, first_of_parts) = (entry.heap_bytes(), entry.first_part_deadline());
        self.recount(bytes_before, bytes_after);
        self.reschedule(key, old, new);
        // The value before had no parts.
        self.reschedule_parts(key, None, first_of_parts);
    }

    pub(crate) fn recount(&mut self, before: usize, after: usize) {
        self.account.add(after);
        self.account.sub(before);
    }

    fn reschedule(&mut self, key: &Key<'_>, old: Option<WallMs>, new: Option<WallMs>) {
        reschedule(&mut self.due, key, old, new);
    }

    /// The key's entry, to change it. The caller updates the account and the indexes of deadlines.
    #[inline]
    pub(super) fn entry_mut(&mut self, key: &Key<'_>) -> Option<&mut Entry> {
        self.slots[usize::from(key.slot.0)].find_mut(key.hash, key.bytes)
    }

    /// Adds an entry whose key does not exist, and leaves an undo record.
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
        let hash_of = |bytes: &[u8]| seeded_hash(seed, bytes);
        let slot = usize::from(key.slot.0);
        self.slots[slot].insert(key.hash, entry, &mut self.account, hash_of);
        self.groups[slot / GROUP] += 1;
        self.len += 1;
    }

    /// Sets the entry of a key, in the place of what it holds, without an undo record.
    pub(super) fn replace(&mut self, slot: Slot, hash: u64, entry: Entry) {
        // Slot and hash are all that is needed below.
        let key = Key { bytes: &[], slot, hash };
        let table = &mut self.slots[usize::from(slot.0)];
        let Some(held) = table.find_mut(hash, entry.key()) else { return self.add(&key, entry) };
        let new = (entry.heap_bytes(), entry.deadline(), entry.first_part_deadline());
        let replaced = std::mem::replace(held, entry);
        let old = (replaced.heap_bytes(), replaced.deadline(), replaced.first_part_deadline());
        self.recount(old.0, new.0);
        self.reschedule(&key, old.1, new.1);
        self.reschedule_parts(&key, old.2, new.2);
        self.retired.push(replaced, &mut self.account);
    }

    /// Removes a key and returns its entry. The caller leaves the undo record.
    pub fn remove(&mut self, key: &Key<'_>) -> Option<Entry> {
        let slot = usize::from(key.slot.0);
        let entry = self.slots[slot].remove(key.hash, key.bytes, &mut self.account)?;
        self.groups[slot / GROUP] -= 1;
        self.len -= 1;
        self.reschedule(key, entry.deadline(), None);
        self.reschedule_parts(key, entry.first_part_deadline(), None);
        Some(entry)
    }

    /// Removes a key. [`Keyspace::release`] frees a large value in slices.
    pub fn unlink(&mut self, key: &Key<'_>) {
        let Some(entry) = self.remove(key) else { return };
        match &mut self.undo {
            Some(undo) => undo.moved(entry),
            None => self.retired.push(entry, &mut self.account),
        }
    }

    /// Updates the index after the earliest deadline of a key's parts has changed.
    pub(super) fn reschedule_parts(&mut self, key: &Key<'_>, old: Option<WallMs>, new: Option<WallMs>) {
        reschedule(&mut self.parts_due, key, old, new);
    }

    /// Sets or removes the deadline of a key that exists.
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

    /// Moves a value with its deadline to another key, and replaces that key's value.
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
            // The record of the moved object names the new key.
            self.add(to, renamed);
        } else {
            self.insert(to, renamed);
        }
    }

    /// Copies a value with its deadline to another key, and replaces that key's value.
    pub fn copy(&mut self, from: &Key<'_>, to: &Key<'_>, now: WallMs) {
        if from.bytes == to.bytes {
            return;
        }
        let Some(entry) = self.find(from) else { return };
        let object = entry.object().cloned().map(Arc::new);
        let copied = remade(to.bytes, entry, object, entry.deadline(), self.access.fresh(now));
        self.unlink(to);
        self.insert(to, copied);
    }

    /// Removes every key. [`Keyspace::release`] frees them in slices.
    pub fn clear(&mut self) {
        if self.len > 0 {
            self.take_tables(false);
        }
    }

    /// Removes every key, and lends the old tables to the caller if `lend` is set; the account counts them until they
    /// are [given back](Keyspace::give_back_tables) and freed.
    pub fn take_tables(&mut self, lend: bool) -> Option<Box<[EntryTable]>> {
        let bytes = self.account.live();
        self.account.remove_all();
        self.account.add(SLOTS * size_of::<EntryTable>());
        let mut flushed = Flushed {
            tables: None,
            bytes,
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

    /// Undoes a FLUSHALL. Later changes have been undone before.
    pub(super) fn put_back_tables(&mut self, flushed: Flushed) {
        debug_assert!(self.is_empty(), "later changes are undone before");
        let Some(tables) = flushed.tables else {
            debug_assert!(false, "the tables are still lent to an image");
            return;
        };
        let empty = std::mem::replace(&mut self.slots, tables);
        self.account.remove_all();
        self.account.removed -= flushed.bytes;
        self.retire(empty);
        (self.groups, self.len) = (flushed.groups, flushed.len);
        (self.due, self.parts_due) = (flushed.due, flushed.parts_due);
    }

    /// Takes tables that are no longer read; [`Keyspace::release`] frees them.
    pub fn retire(&mut self, tables: Box<[EntryTable]>) {
        self.retired.push_tables(tables);
    }

    /// As [`Keyspace::retire`], of everything that FLUSHALL removed.
    pub(super) fn retire_flushed(&mut self, flushed: Flushed) {
        flushed.tables.into_iter().for_each(|tables| self.retire(tables));
        self.retired.push_deadlines(flushed.due, &mut self.account);
        self.retired.push_deadlines(flushed.parts_due, &mut self.account);
    }

    /// Takes entries of `bytes` bytes that the account does not count any more, to be freed.
    pub(super) fn retire_entries(&mut self, entries: &mut Vec<Entry>, bytes: usize) {
        self.retired.push_entries(entries, bytes, &mut self.account);
    }

    /// Takes an object that an image has written; if it has no other owner, [`Keyspace::release`] frees it.
    pub fn give_back_object(&mut self, object: Arc<Object>) {
        if let Some(object) = Arc::into_inner(object) {
            self.retired.push_object(object, &mut self.account);
        }
    }

    /// Frees retired entries, in one slice of `steps` steps.
    pub(super) fn release_entries(&mut self, steps: usize) {
        let before = self.account;
        self.retired.free_entries(&mut FreeBudget::new(steps), &mut self.account);
        self.account.freed_since(before);
    }

    /// Frees a slice of retired data, in at most `steps` steps (see [`super::retired`]); returns whether there is more.
    pub fn release(&mut self, steps: usize) -> bool {
        let before = self.account;
        let is_left = self.retired.free(&mut FreeBudget::new(steps), &mut self.account);
        self.account.freed_since(before);
        is_left
    }

    /// Whether [`Keyspace::release`] has data to free.
    #[must_use]
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// How much [`Keyspace::release`] has freed and has yet to free.
    #[must_use]
    pub fn freeing(&self) -> Freeing {
        self.retired.freeing()
    }

    /// Removes everything, undo records included. The account counts the old data until [`Keyspace::release`] has freed
    /// it.
    pub fn restart(&mut self) {
        self.drop_undo();
        self.exchange(Keyspace::new(self.seed));
    }

    /// Replaces all data by that of `new`, which has the same seed. The limits of packed values and the mode of access
    /// records stay, and so does the undo log, whose records must not name old data. The account counts the old data
    /// until [`Keyspace::release`] has freed it.
    pub(crate) fn exchange(&mut self, new: Keyspace) {
        let mut old = std::mem::replace(self, new);
        self.packed_limits = old.packed_limits;
        self.access.set_mode(old.access.mode());
        self.undo = old.undo.take();
        let due = [std::mem::take(&mut old.due), std::mem::take(&mut old.parts_due)];
        old.account.remove_all();
        self.account.bytes += old.account.bytes;
        self.account.removed += old.account.removed;
        self.account.sub(old.libraries.bytes());
        self.retired.append(old.retired);
        self.retired.push_tables(old.slots);
        due.into_iter().for_each(|due| self.retired.push_deadlines(due, &mut self.account));
    }

    /// The key with the earliest deadline, if that has passed at `now`. At the deadline itself the key still exists.
    #[must_use]
    pub fn next_due(&self, now: WallMs) -> Option<&Entry> {
        self.marked(self.due.first(), now, Entry::deadline)
    }

    /// The key whose value has the part with the earliest deadline, if that has passed at `now`.
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
        first.filter(|(at, _)| *at < now).and_then(|first| self.entry_of(first, deadline_of))
    }

    /// The key of a mark in one of the indexes of deadlines.
    pub(super) fn entry_of(&self, (at, mark): Mark, deadline_of: impl Fn(&Entry) -> Option<WallMs>) -> Option<&Entry> {
        let slot = Slot((mark >> DUE_HASH_BITS) as u16);
        let is_it = |entry: &Entry| due_mark(slot, self.hash(entry.key())) == mark && deadline_of(entry) == Some(at);
        let entry = self.table(slot).find_by(mark & ((1 << DUE_HASH_BITS) - 1), is_it);
        debug_assert!(entry.is_some(), "an index of deadlines names a key that does not exist");
        entry
    }

    /// The earliest deadline, of a key or of a part.
    #[must_use]
    pub fn first_deadline(&self) -> Option<WallMs> {
        let firsts = [self.due.first(), self.parts_due.first()];
        firsts.into_iter().flatten().map(|(at, _)| at).min()
    }

    /// Whether any key may expire between the two moments. A value one of whose parts has expired counts: it expires
    /// with its last part, whose deadline is not indexed.
    #[must_use]
    pub fn any_ends_between(&self, from: WallMs, to: WallMs) -> bool {
        self.due.count_before(to) > self.due.count_before(from) || self.parts_due.count_before(to) > 0
    }

    /// Visits at least `count` entries, if there are so many, from `cursor` on; returns the next cursor, or 0 at the
    /// end. As in Valkey's cluster mode, a cursor has the slot in its low 14 bits. Any number is a valid cursor. The
    /// work is bounded by `count` and the number of slots.
    pub fn scan(&self, cursor: u64, count: usize, visit: impl FnMut(&Entry)) -> u64 {
        self.scan_to(Slot(SLOTS as u16 - 1), cursor, count, visit)
    }

    /// As [`Keyspace::scan`], up to and including the slot `last`.
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

    /// A cursor's slot, and its position in the slot's table.
    #[must_use]
    pub fn slot_and_place(&self, cursor: u64) -> (Slot, u64) {
        (Slot((cursor % SLOTS as u64) as u16), cursor >> CURSOR_SLOT_BITS)
    }

    /// The cursor of a slot and a position in its table.
    #[must_use]
    pub fn cursor(&self, slot: Slot, place: u64) -> u64 {
        place << CURSOR_SLOT_BITS | u64::from(slot.0)
    }

    /// Visits at least `count` entries of one slot, if there are so many, from `cursor` on; returns the next cursor, or
    /// 0 at the end.
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
        self.random_table(random)?.random(|bound| random.below(bound))
    }

    /// The table of a random slot: each is chosen in proportion to its keys.
    pub(super) fn random_table(&self, random: &mut dyn Random) -> Option<&EntryTable> {
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
        slots.iter().find(|table| {
            let here = nth < table.len() as u64;
            nth -= if here { 0 } else { table.len() as u64 };
            here
        })
    }

    /// Prefetches the slot's table.
    #[inline]
    pub fn prefetch_table(&self, slot: Slot) {
        super::entry::cell::prefetch(self.table(slot));
    }

    /// Prefetches the key's bucket; its table should have been prefetched before.
    #[inline]
    pub fn prefetch_bucket(&self, slot: Slot, hash: u64) {
        self.table(slot).prefetch_bucket(hash);
    }

    /// Prefetches the key's entry; call it a few keys after [`Keyspace::prefetch_bucket`].
    #[inline]
    pub fn prefetch_entry(&self, slot: Slot, hash: u64) {
        self.table(slot).prefetch_entry(hash);
    }
}

/// Leaves an undo record of an entry that was replaced; its object, if it had one, now belongs to `to`.
fn keep_emptied(undo_log: &mut UndoLog, entry: Entry, had_object: bool, to: &[u8]) {
    match undo_log {
        Some(undo) if had_object => undo.object_moved(entry, to),
        Some(undo) => undo.moved(entry),
        None => {}
    }
}

/// A new entry with the value of `entry` and another key or deadline; `object` is its object, if it has one.
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
