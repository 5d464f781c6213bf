//! Undo records: what changes destroy and may have to bring back.
//!
//! A primary's memory runs ahead of the log. When it loses its leadership, what did not commit must go, and memory be
//! what it was at the last batch that did. While records are [kept](super::Keyspace::keep_undo), each change leaves the
//! smallest thing that reverses it: the old entry itself, moved here instead of being freed; a copy of it where the new
//! value is written over a short old one; a note that the key was not there; the old deadline; of a text that grew in
//! place its old length and what was written over; of a value with parts the same for each part; of FLUSHALL the old
//! tables.
//!
//! Changes go through few places ([`super::slots`], `change.rs`, and those of the data types), which say here
//! what they are about to destroy. A value that is changed in place leaves a record that its type can read
//! ([`Value::restore`](super::value::Value::restore)), or one for each part; whatever replaces whole entries has a
//! record already.
//!
//! # Invariants
//! - Records belong to the batch that their change was staged in: [`Keyspace::end_unit`](super::Keyspace::end_unit)
//!   says which. Those of a batch are dropped when it has committed
//!   ([`Keyspace::forget_undo`](super::Keyspace::forget_undo)).
//! - Taken back newest first ([`Keyspace::undo`](super::Keyspace::undo)) they lead through every state that memory was
//!   in, to that behind the newest batch that was forgotten. Entries, deadlines and the account are then as they were;
//!   the number of a table's buckets and times of access may differ.
//! - Records of the unit at hand lie on top, are never dropped, and can be taken back alone
//!   ([`Keyspace::undo_unit`](super::Keyspace::undo_unit)).
//! - What records hold is at most the bound, and the unit that passed it. At the bound **all** are dropped; records of
//!   later units count again once every batch that has lost some has committed. Of FLUSHALL the tables of one are held
//!   beside the bound: they are memory that was in use before, freed later; a second one counts as passing the bound.
//!
//! # Layout
//! A group has the records of one batch. The records themselves say only what they are; what they need lies on stacks
//! beside them, so that the commonest change, a short value written over another, appends to two vectors and allocates
//! nothing.

use super::entry::copies::Copies;
use super::entry::{Entry, NewValue};
use super::flushed::Flushed;
use fastness_types::{Seq, WallMs};
use std::collections::VecDeque;

/// Entries of at most this many bytes are copied when they are written over; larger ones make place for a new entry,
/// and are moved.
const COPY_MAX: usize = 512;
pub(super) const NUMBER: usize = size_of::<u64>();

/// What reverses one change. Numbers are lengths of what lies on top of `bytes`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Record {
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
    /// In `bytes`: the key of a value that was changed in place, and the record that its type has left.
    InPlace { key: u32, record: u32 },
    /// The last `count` records before this one are of parts of the value whose key is in `bytes`.
    Parts { key: u32, count: u32 },
    /// All keys were in the tables on top of `flushed`.
    Flushed,
}

impl Record {
    /// Whether it concerns one entry as a whole, found by its key alone.
    pub(super) fn is_of_whole(self) -> bool {
        matches!(self, Record::Absent { .. } | Record::Copied | Record::Moved)
    }

    pub(super) fn is_flushed(&self) -> bool {
        matches!(self, Record::Flushed)
    }

    /// Bytes that it has in `bytes`.
    pub(super) fn bytes(self) -> usize {
        match self {
            Record::Absent { key } | Record::ObjectMoved { to: key } | Record::Parts { key, .. } => key as usize,
            Record::Deadline { key, .. } => key as usize + NUMBER,
            Record::InPlace { key, record } => key as usize + record as usize,
            Record::Copied | Record::Moved | Record::Flushed => 0,
        }
    }
}

/// The records of one batch; see the module.
#[derive(Default)]
pub(super) struct BatchRecords {
    pub(super) seq: Seq,
    /// The newest timestamp behind the batch's last unit.
    pub(super) timestamp: WallMs,
    pub(super) records: Vec<Record>,
    pub(super) bytes: Vec<u8>,
    pub(super) copies: Copies,
    pub(super) moved: Vec<Entry>,
    /// What `moved` takes.
    pub(super) moved_bytes: usize,
    pub(super) flushed: Vec<Flushed>,
}

impl BatchRecords {
    pub(super) fn held(&self) -> usize {
        let due = self.flushed.iter().map(|flushed| flushed.due.bytes() + flushed.parts_due.bytes()).sum::<usize>();
        size_of_val(&self.records[..])
            + self.bytes.len()
            + self.copies.bytes()
            + size_of_val(&self.moved[..])
            + self.moved_bytes
            + due
    }

    /// The records from `from` on, of which those before belong to another batch.
    pub(super) fn split_off(&mut self, from: usize, mut into: BatchRecords) -> BatchRecords {
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
    pub(super) fn emptied(&mut self) -> BatchRecords {
        let rest = BatchRecords { seq: self.seq, timestamp: self.timestamp, ..BatchRecords::default() };
        std::mem::replace(self, rest)
    }

    pub(super) fn pop_bytes(&mut self, count: usize) {
        self.bytes.truncate(self.bytes.len() - count);
    }

    pub(super) fn top(&self, count: usize) -> &[u8] {
        &self.bytes[self.bytes.len() - count..]
    }

    /// The number `back` numbers below the top.
    pub(super) fn number(&self, back: usize) -> u64 {
        let end = self.bytes.len() - back * NUMBER;
        u64::from_le_bytes(self.bytes[end - NUMBER..end].try_into().expect("eight bytes"))
    }
}

/// Where changes leave what they destroy; `None`: nothing has to be kept.
pub type UndoLog = Option<Box<Undo>>;

/// The records of the batches that have not committed.
pub struct Undo {
    /// Of the newest batch that has units, and of the unit at hand.
    pub(super) open: BatchRecords,
    /// Records of `open` that belong to units that have ended.
    pub(super) ended: usize,
    /// Of the batches before, the oldest first.
    pub(super) closed: VecDeque<BatchRecords>,
    pub(super) closed_held: usize,
    /// The newest timestamp behind the newest batch that was forgotten.
    pub(super) timestamp: WallMs,
    /// The newest batch that has lost records.
    pub(super) lost: Option<Seq>,
    pub(super) spare: Vec<BatchRecords>,
    pub(super) bytes_max: usize,
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
    pub(super) fn copied(&mut self, entry: &Entry) -> bool {
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

    /// A value that is about to be changed in place; `write` appends the record by which its type
    /// [restores](super::value::Value::restore) it.
    pub(super) fn in_place(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let bytes = &mut self.open.bytes;
        bytes.extend_from_slice(key);
        let start = bytes.len();
        write(bytes);
        let record = length(&bytes[start..]);
        self.open.records.push(Record::InPlace { key: length(key), record });
    }

    /// How many records there are: the place from which [`Undo::parts`] takes those of one value together.
    pub(super) fn mark(&self) -> usize {
        self.open.records.len()
    }

    /// All records since `mark` are of parts of this key's value.
    pub(super) fn parts(&mut self, key: &[u8], mark: usize) {
        let count = self.open.records.len() - mark;
        if count > 0 {
            self.open.bytes.extend_from_slice(key);
            let count = u32::try_from(count).expect("parts that one effect names are bounded by its bytes");
            self.open.records.push(Record::Parts { key: length(key), count });
        }
    }

    pub(super) fn flushed(&mut self, flushed: Flushed) {
        self.open.flushed.push(flushed);
        self.open.records.push(Record::Flushed);
    }

    pub(super) fn held(&self) -> usize {
        self.open.held() + self.closed_held
    }

    pub(super) fn flushes(&self) -> usize {
        self.open.flushed.len() + self.closed.iter().map(|group| group.flushed.len()).sum::<usize>()
    }
}

/// Gives an entry another value and deadline, in place where they fit; keeps what it held.
pub fn overwrite(
    undo_log: &mut UndoLog,
    entry: &mut Entry,
    value: NewValue<'_>,
    deadline: Option<WallMs>,
    access: u32,
) {
    let in_place = undo_log.as_mut().is_none_or(|undo| undo.copied(entry));
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
    if let Some(undo) = undo_log.as_mut().filter(|_| !in_place) {
        undo.moved(old);
    }
}
