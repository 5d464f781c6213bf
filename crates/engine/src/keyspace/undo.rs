//! Undo records: what changes destroy and may have to bring back.
//!
//! A primary's memory runs ahead of the log. When it loses its leadership, what did not commit must go, and memory be what it was
//! at the last batch that did. While records are [kept](Keyspace::keep_undo), each change leaves the smallest thing that
//! reverses it: the old entry itself, moved here instead of being freed; a copy of it where the new value is written over a short
//! old one; a note that the key was not there; the old deadline; of a text that grew in place its old length and what was written
//! over; of a large hash the same for each field; of FLUSHALL the old tables.
//!
//! Changes go through few places ([`super::slots`], [`super::hashes`]), which say here what they are about to destroy. A new kind of
//! value that is changed in place needs a record of its own; whatever replaces whole entries has one already.
//!
//! # Invariants
//! - Records belong to the batch that their change was staged in: [`Keyspace::end_unit`] says which. Those of a batch are dropped when it
//!   has committed ([`Keyspace::forget_undo`]).
//! - Taken back newest first ([`Keyspace::undo`]) they lead through every state that memory was in, to that behind the newest
//!   batch that was forgotten. Entries, deadlines and the account are then as they were; the number of a table's buckets and times of
//!   access may differ.
//! - Records of the unit at hand lie on top, are never dropped, and can be taken back alone ([`Keyspace::undo_unit`]).
//! - What records hold is at most the bound, and the unit that passed it. At the bound **all** are dropped; records of later units count
//!   again once every batch that has lost some has committed. Of FLUSHALL the tables of one are held beside the bound: they are
//!   memory that was in use before, freed later; a second one counts as passing the bound.
//!
//! # Layout
//! A group has the records of one batch. The records themselves say only what they are; what they need lies on stacks beside
//! them, so that the commonest change, a short value written over another, appends to two vectors and allocates nothing.

use super::deadlines::Deadlines;
use super::entry::{Copies, Entry, NewValue};
use super::slots::{Key, Keyspace};
use super::table::Table;
use crate::value::hash::FieldTable;
use crate::value::text::Text;
use fastness_types::{Seq, Slot, WallMs};
use std::collections::VecDeque;
use std::ops::Range;

/// Entries of at most this many bytes are copied when they are written over; larger ones make place for a new entry, and are moved.
const COPY_MAX: usize = 512;
/// Entries that are freed when their batch commits, as far as one slice allows; [`Keyspace::release`] frees the rest.
/// More than a batch of the usual size has.
const FREED_MAX: usize = 4_096;
/// Entries that are loaded side by side while changes are taken back.
const WINDOW: usize = 16;
/// Groups kept for later batches, and how large they may be, bytes.
const SPARE_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 2 * 1024 * 1024;
const NUMBER: usize = size_of::<u64>();

/// What reverses one change. Numbers are lengths of what lies on top of `bytes`.
#[derive(Debug, Clone, Copy)]
enum Record {
    /// The key, in `bytes`, was not there.
    Absent { key: u32 },
    /// The entry on top of `copies` was there.
    Copied,
    /// The entry on top of `moved` was there.
    Moved,
    /// The key, in `bytes` with a number behind it, had that deadline, or none.
    Deadline { key: u32, had: bool },
    /// The entry on top of `moved` was there, and its object is now that of the key in `bytes`.
    ObjectMoved { to: u32 },
    /// In `bytes`: the key of a text that grew in place; what was written over; where; the old length and capacity.
    Text { key: u32, overwritten: u32 },
    /// The last `count` records before this one are of fields of the hash whose key is in `bytes`.
    Fields { key: u32, count: u32 },
    /// All keys were in the tables on top of `flushed`.
    Flushed,
}

/// An entry that is to be put back, or a key, at `name` in `bytes`, that is to be removed.
struct Whole {
    slot: Slot,
    hash: u64,
    entry: Option<Entry>,
    name: Range<usize>,
}

impl Record {
    /// Whether it concerns one entry as a whole, found by its key alone.
    fn is_of_whole(self) -> bool {
        matches!(self, Record::Absent { .. } | Record::Copied | Record::Moved)
    }

    fn is_flushed(&self) -> bool {
        matches!(self, Record::Flushed)
    }

    /// Bytes that it has in `bytes`.
    fn bytes(self) -> usize {
        match self {
            Record::Absent { key } | Record::ObjectMoved { to: key } | Record::Fields { key, .. } => key as usize,
            Record::Deadline { key, .. } => key as usize + NUMBER,
            Record::Text { key, overwritten } => key as usize + overwritten as usize + 3 * NUMBER,
            Record::Copied | Record::Moved | Record::Flushed => 0,
        }
    }
}

/// What FLUSHALL took away.
pub(super) struct Flushed {
    /// `None` while an image reads them; see [`Keyspace::give_back_tables`].
    pub(super) tables: Option<Box<[Table]>>,
    pub(super) groups: super::slots::Groups,
    pub(super) len: u64,
    pub(super) due: Deadlines,
    pub(super) fields_due: Deadlines,
}

/// The records of one batch; see the module.
#[derive(Default)]
struct Group {
    seq: Seq,
    /// The newest stamp behind the batch's last unit.
    stamp: WallMs,
    records: Vec<Record>,
    bytes: Vec<u8>,
    copies: Copies,
    moved: Vec<Entry>,
    /// What `moved` takes.
    moved_bytes: usize,
    flushed: Vec<Flushed>,
}

impl Group {
    fn held(&self) -> usize {
        let due = self.flushed.iter().map(|flushed| flushed.due.bytes() + flushed.fields_due.bytes()).sum::<usize>();
        size_of_val(&self.records[..])
            + self.bytes.len()
            + self.copies.bytes()
            + size_of_val(&self.moved[..])
            + self.moved_bytes
            + due
    }

    /// The records from `from` on, of which those before belong to another batch.
    fn split_off(&mut self, from: usize, mut into: Group) -> Group {
        let of = |wanted: fn(&Record) -> bool| self.records[from..].iter().filter(|record| wanted(record)).count();
        let copies = of(|record| matches!(record, Record::Copied));
        let moved = self.moved.len() - of(|record| matches!(record, Record::Moved | Record::ObjectMoved { .. }));
        let flushed = self.flushed.len() - of(|record| matches!(record, Record::Flushed));
        let bytes = self.bytes.len() - self.records[from..].iter().map(|record| record.bytes()).sum::<usize>();
        self.copies.split_last(copies, &mut into.copies);
        into.records.extend(self.records.drain(from..));
        into.bytes.extend(self.bytes.drain(bytes..));
        into.flushed.extend(self.flushed.drain(flushed..));
        into.moved.extend(self.moved.drain(moved..));
        into.moved_bytes = into.moved.iter().map(Entry::heap_bytes).sum();
        self.moved_bytes -= into.moved_bytes;
        into
    }

    /// What is kept besides the records: which batch, and its time.
    fn emptied(&mut self) -> Group {
        let rest = Group { seq: self.seq, stamp: self.stamp, ..Group::default() };
        std::mem::replace(self, rest)
    }

    fn pop_bytes(&mut self, count: usize) {
        self.bytes.truncate(self.bytes.len() - count);
    }

    fn top(&self, count: usize) -> &[u8] {
        &self.bytes[self.bytes.len() - count..]
    }

    /// The number `back` numbers below the top.
    fn number(&self, back: usize) -> u64 {
        let end = self.bytes.len() - back * NUMBER;
        u64::from_le_bytes(self.bytes[end - NUMBER..end].try_into().expect("eight bytes"))
    }
}

/// Where changes leave what they destroy; `None`: nothing has to be kept.
pub type Keeper = Option<Box<Undo>>;

/// The records of the batches that have not committed.
pub struct Undo {
    /// Of the newest batch that has units, and of the unit at hand.
    open: Group,
    /// Records of `open` that belong to units that have ended.
    ended: usize,
    /// Of the batches before, the oldest first.
    closed: VecDeque<Group>,
    closed_held: usize,
    /// The newest stamp behind the newest batch that was forgotten.
    stamp: WallMs,
    /// The newest batch that has lost records.
    lost: Option<Seq>,
    spare: Vec<Group>,
    bytes_max: usize,
}

/// A length on top of `bytes`. Requests are bounded far below.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("keys and values are at most 512 MB")
}

/// What a change is about to destroy.
impl Undo {
    /// A key, or a field, that is not there.
    #[inline]
    pub(crate) fn absent(&mut self, key: &[u8]) {
        self.open.bytes.extend_from_slice(key);
        self.open.records.push(Record::Absent { key: length(key) });
    }

    /// An entry that is about to be written over. False if it is not copied: then it must be replaced, and given to
    /// [`Undo::moved`].
    #[inline]
    fn copied(&mut self, entry: &Entry) -> bool {
        let is_copied = self.open.copies.push(entry, COPY_MAX);
        if is_copied {
            self.open.records.push(Record::Copied);
        }
        is_copied
    }

    /// An entry that was taken out or replaced.
    pub(crate) fn moved(&mut self, entry: Entry) {
        self.push_moved(entry);
        self.open.records.push(Record::Moved);
    }

    fn push_moved(&mut self, entry: Entry) {
        self.open.moved_bytes += entry.heap_bytes();
        self.open.moved.push(entry);
    }

    /// A deadline that is about to be written over in place.
    pub(crate) fn deadline(&mut self, key: &[u8], old: Option<WallMs>) {
        self.open.bytes.extend_from_slice(key);
        self.open.bytes.extend_from_slice(&old.map_or(0, |at| at.0).to_le_bytes());
        self.open.records.push(Record::Deadline { key: length(key), had: old.is_some() });
    }

    /// An entry that was taken out or replaced, after its object had become that of `to`.
    pub(super) fn object_moved(&mut self, emptied: Entry, to: &[u8]) {
        self.push_moved(emptied);
        self.open.bytes.extend_from_slice(to);
        self.open.records.push(Record::ObjectMoved { to: length(to) });
    }

    /// A text that is about to be written over in place within `range`, and to grow.
    pub(super) fn text(&mut self, key: &[u8], text: &Text, range: Range<usize>) {
        let overwritten = &text[range.start.min(text.len())..range.end.min(text.len())];
        self.open.bytes.extend_from_slice(key);
        self.open.bytes.extend_from_slice(overwritten);
        for number in [range.start.min(text.len()), text.len(), text.capacity()] {
            self.open.bytes.extend_from_slice(&(number as u64).to_le_bytes());
        }
        self.open.records.push(Record::Text { key: length(key), overwritten: length(overwritten) });
    }

    /// How many records there are: the place from which [`Undo::fields`] takes those of a hash together.
    pub(super) fn mark(&self) -> usize {
        self.open.records.len()
    }

    /// All records since `mark` are of fields of this hash.
    pub(super) fn fields(&mut self, key: &[u8], mark: usize) {
        let count = self.open.records.len() - mark;
        if count > 0 {
            self.open.bytes.extend_from_slice(key);
            let count = u32::try_from(count).expect("fields of one effect are bounded by its bytes");
            self.open.records.push(Record::Fields { key: length(key), count });
        }
    }

    pub(super) fn flushed(&mut self, flushed: Flushed) {
        self.open.flushed.push(flushed);
        self.open.records.push(Record::Flushed);
    }

    fn held(&self) -> usize {
        self.open.held() + self.closed_held
    }

    fn flushes(&self) -> usize {
        self.open.flushed.len() + self.closed.iter().map(|group| group.flushed.len()).sum::<usize>()
    }
}

/// Gives an entry another value and deadline, in place where they fit; keeps what it held.
pub fn overwrite(keeper: &mut Keeper, entry: &mut Entry, value: NewValue<'_>, deadline: Option<WallMs>, access: u32) {
    let in_place = keeper.as_mut().is_none_or(|undo| undo.copied(entry));
    let value = if in_place {
        match entry.overwrite(value, deadline) {
            Ok(()) => return entry.set_access(access),
            Err(value) => value,
        }
    } else {
        value
    };
    let new = Entry::new(entry.key(), value, deadline, access);
    let old = std::mem::replace(entry, new);
    if let Some(undo) = keeper.as_mut().filter(|_| !in_place) {
        undo.moved(old);
    }
}

/// Keeping records.
impl Keyspace {
    /// From here on changes can be undone: memory is committed, `stamp` its time. Records are dropped at `bytes_max`.
    pub fn keep_undo(&mut self, stamp: WallMs, bytes_max: usize) {
        self.drop_undo();
        self.undo = Some(Box::new(Undo {
            open: Group::default(),
            ended: 0,
            closed: VecDeque::new(),
            closed_held: 0,
            stamp,
            lost: None,
            spare: Vec::new(),
            bytes_max,
        }));
    }

    /// What has changed since the last call is one unit of the batch `seq`; `stamp` is the newest from now on. Sequences only grow.
    #[inline]
    pub fn end_unit(&mut self, seq: Seq, stamp: WallMs) {
        let Some(undo) = &mut self.undo else { return };
        if undo.open.seq != seq {
            let spare = undo.spare.pop().unwrap_or_default();
            let unit = undo.open.split_off(undo.ended, spare);
            let before = std::mem::replace(&mut undo.open, unit);
            if before.seq != Seq(0) {
                undo.closed_held += before.held();
                undo.closed.push_back(before);
            }
            undo.open.seq = seq;
        }
        undo.open.stamp = stamp;
        undo.ended = undo.open.records.len();
        if undo.held() > undo.bytes_max || (!undo.open.flushed.is_empty() && undo.flushes() > 1) {
            self.lose_undo(seq);
        }
    }

    /// Drops all records, the newest of which are those of the batch `seq`.
    #[cold]
    fn lose_undo(&mut self, seq: Seq) {
        let Some(mut undo) = self.undo.take() else { return };
        undo.lost = Some(seq);
        undo.ended = 0;
        undo.closed_held = 0;
        for group in undo.closed.iter_mut().chain([&mut undo.open]) {
            let dropped = group.emptied();
            self.retire_group(dropped);
        }
        self.undo = Some(undo);
        self.release_entries(FREED_MAX);
    }

    /// The batches up to `seq` have committed.
    pub fn forget_undo(&mut self, seq: Seq) {
        let Some(mut undo) = self.undo.take() else { return };
        while undo.closed.front().is_some_and(|group| group.seq <= seq)
            && let Some(group) = undo.closed.pop_front()
        {
            undo.closed_held -= group.held();
            self.forget_group(group, &mut undo);
        }
        if undo.open.seq <= seq {
            let group = std::mem::take(&mut undo.open);
            undo.ended = 0;
            if group.seq != Seq(0) {
                self.forget_group(group, &mut undo);
            }
        }
        undo.lost = undo.lost.filter(|lost| *lost > seq);
        self.undo = Some(undo);
        self.release_entries(FREED_MAX);
    }

    fn forget_group(&mut self, group: Group, undo: &mut Undo) {
        undo.stamp = group.stamp;
        let group = self.retire_group(group);
        if undo.spare.len() < SPARE_MAX && group.copies.capacity() + group.bytes.capacity() <= SPARE_BYTES_MAX {
            undo.spare.push(group);
        }
    }

    /// Drops what a group holds; gives it back empty.
    fn retire_group(&mut self, mut group: Group) -> Group {
        group.flushed.drain(..).for_each(|flushed| self.retire_flushed(flushed));
        self.retire_entries(&mut group.moved, group.moved_bytes);
        group.moved_bytes = 0;
        group.records.clear();
        group.bytes.clear();
        group.copies.clear();
        group.seq = Seq(0);
        group
    }

    /// Nothing has to be undone any more, and nothing is kept from here on.
    pub fn drop_undo(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for group in undo.closed.into_iter().chain([undo.open]) {
            self.retire_group(group);
        }
        self.release_entries(FREED_MAX);
    }

    /// Bytes that records hold besides the data.
    #[must_use]
    pub fn undo_bytes(&self) -> usize {
        self.undo.as_ref().map_or(0, |undo| undo.held())
    }

    /// Tables that an image has read: a record of FLUSHALL takes them, if one waits for them.
    pub fn give_back_tables(&mut self, tables: Box<[Table]>) {
        if let Some(undo) = &mut self.undo {
            let groups = undo.closed.iter_mut().chain([&mut undo.open]);
            let mut flushed = groups.flat_map(|group| &mut group.flushed);
            if let Some(waiting) = flushed.find(|flushed| flushed.tables.is_none()) {
                waiting.tables = Some(tables);
                return;
            }
        }
        self.retire(tables);
    }
}

/// Taking changes back.
impl Keyspace {
    /// Takes back every change that was not forgotten, and keeps no records from then on. Gives the stamp of that time; `None` if records
    /// were lost, or none kept: then memory is as it was and must be thrown away. No image may be in progress.
    pub fn undo(&mut self) -> Option<WallMs> {
        let undo = self.undo.take()?;
        if undo.lost.is_some() {
            return None;
        }
        self.take_back(undo.open);
        undo.closed.into_iter().rev().for_each(|group| self.take_back(group));
        Some(undo.stamp)
    }

    /// Whether a FLUSHALL of the unit at hand has given its tables to an image.
    pub fn unit_lends_tables(&self) -> bool {
        let of_unit = |undo: &Undo| undo.open.records[undo.ended..].iter().filter(|record| record.is_flushed()).count();
        let lends =
            |undo: &Undo| undo.open.flushed.iter().rev().take(of_unit(undo)).any(|flushed| flushed.tables.is_none());
        self.undo.as_deref().is_some_and(lends)
    }

    /// Takes back what has changed since the last unit ended; records of that unit and of those before stay. `lent` are tables that
    /// an image was given by the unit. Records must be kept: without them memory would hold half a unit.
    ///
    /// # Panics
    /// If no records are kept.
    pub fn undo_unit(&mut self, lent: Option<Box<[Table]>>) {
        let mut undo = self.undo.take().expect("a unit that may be taken back leaves records");
        let ended = undo.ended;
        let mut unit = undo.open.split_off(ended, Group::default());
        if let Some(waiting) = unit.flushed.iter_mut().find(|flushed| flushed.tables.is_none()) {
            waiting.tables = lent;
        }
        self.take_back(unit);
        self.undo = Some(undo);
    }

    fn take_back(&mut self, mut group: Group) {
        let mut window = Vec::with_capacity(WINDOW);
        loop {
            self.take_back_window(&mut group, &mut window);
            match group.records.pop() {
                Some(record) => self.take_back_one(record, &mut group),
                None => return,
            }
        }
    }

    /// Takes back all that stands on top and concerns one whole entry each, in windows whose entries are loaded side by side.
    fn take_back_window(&mut self, group: &mut Group, window: &mut Vec<Whole>) {
        loop {
            let mut end = group.bytes.len();
            while window.len() < WINDOW
                && let Some(record) = group.records.pop_if(|record| record.is_of_whole())
            {
                let name = end - record.bytes()..end;
                end = name.start;
                let entry = match record {
                    Record::Copied => group.copies.pop(),
                    Record::Moved => group.moved.pop(),
                    _ => None,
                };
                let Key { slot, hash, .. } =
                    self.key(entry.as_ref().map_or(&group.bytes[name.clone()], |entry| entry.key()));
                window.push(Whole { slot, hash, entry, name });
            }
            if window.is_empty() {
                return;
            }
            window.iter().for_each(|whole| self.prefetch_table(whole.slot));
            window.iter().for_each(|whole| self.prefetch_bucket(whole.slot, whole.hash));
            window.iter().for_each(|whole| self.prefetch_entry(whole.slot, whole.hash));
            for Whole { slot, hash, entry, name } in window.drain(..) {
                match entry {
                    Some(entry) => self.replace(slot, hash, entry),
                    None => self.unlink(&Key { bytes: &group.bytes[name], slot, hash }),
                }
            }
            group.bytes.truncate(end);
        }
    }

    fn take_back_one(&mut self, record: Record, group: &mut Group) {
        match record {
            Record::Copied | Record::Moved | Record::Absent { .. } => {
                debug_assert!(false, "{record:?} is taken back in a window");
            }
            Record::Deadline { key, had } => {
                let at = had.then(|| WallMs(group.number(0)));
                let key = self.key(&group.top(key as usize + NUMBER)[..key as usize]);
                self.set_expiry(&key, at);
            }
            Record::ObjectMoved { to } => {
                let to = self.key(group.top(to as usize));
                let object = self.remove(&to).and_then(|mut entry| entry.take_object());
                let mut entry = group.moved.pop();
                if let (Some(entry), Some(object)) = (&mut entry, object) {
                    entry.put_object(object);
                }
                self.put_back(entry);
            }
            Record::Text { key, overwritten } => self.shorten(group, key as usize, overwritten as usize),
            Record::Fields { key, count } => {
                let name = group.top(key as usize).to_vec();
                group.pop_bytes(name.len());
                let key = self.key(&name);
                self.change_table(&key, |fields, _| (0..count).for_each(|_| take_back_field(fields, group)));
                return;
            }
            Record::Flushed => {
                if let Some(flushed) = group.flushed.pop() {
                    self.put_back_tables(flushed);
                }
            }
        }
        group.pop_bytes(record.bytes());
    }

    /// Puts an entry where it was; what stands there goes.
    fn put_back(&mut self, entry: Option<Entry>) {
        let Some(entry) = entry else {
            debug_assert!(false, "a record without its entry");
            return;
        };
        let Key { slot, hash, .. } = self.key(entry.key());
        self.replace(slot, hash, entry);
    }

    fn shorten(&mut self, group: &Group, key_len: usize, overwritten: usize) {
        let record = group.top(key_len + overwritten + 3 * NUMBER);
        let key = self.key(&record[..key_len]);
        let [from, len, capacity] = [2, 1, 0].map(|back| group.number(back) as usize);
        let old = &record[key_len..key_len + overwritten];
        self.change_text(&key, |text| {
            text[from..from + overwritten].copy_from_slice(old);
            text.truncate(len);
            text.shrink_to(capacity);
        });
    }
}

fn take_back_field(fields: &mut FieldTable, group: &mut Group) {
    let Some(record) = group.records.pop() else { return };
    match record {
        Record::Copied => group.copies.pop().into_iter().for_each(|entry| fields.put_back(entry)),
        Record::Moved => group.moved.pop().into_iter().for_each(|entry| fields.put_back(entry)),
        Record::Absent { key } => fields.remove(group.top(key as usize), &mut None),
        Record::Deadline { key, had } => {
            let at = had.then(|| WallMs(group.number(0)));
            fields.set_deadline(&group.top(key as usize + NUMBER)[..key as usize], at, &mut None);
        }
        Record::ObjectMoved { .. } | Record::Text { .. } | Record::Fields { .. } | Record::Flushed => {
            debug_assert!(false, "{record:?} is not of a field");
        }
    }
    group.pop_bytes(record.bytes());
}
