//! Undo records: what a change destroys, kept until the change is committed.
//!
//! # The problem
//! A primary executes a command against memory at once and appends its effects to a batch. Only later has a quorum
//! stored the batch, so memory is always ahead of what is committed. If the replica loses its leadership in between,
//! the next primary may continue the log without those batches. The effects that the replica already executed are then
//! history that never happened, and its memory has to return to the state after the newest batch that committed.
//!
//! # Why simpler solutions fail
//! - *Execute after the commit.* Then no reply could be sent before the commit, not even in `async` mode, and a
//!   transaction or an INCR would have to wait for all uncommitted commands before it to know what it reads.
//! - *Keep a second copy of the data*, at the committed state. That doubles memory and applies every write twice.
//! - *Reload from snapshot and log.* That is correct, and it is the fallback, but it takes seconds to minutes, during
//!   which the replica cannot serve.
//! - *Log the inverse command.* SET has no inverse without the old value, and copying the old value is exactly the cost
//!   to avoid: a value can have 512 MB.
//!
//! So each change leaves the smallest thing that reverses it. A value that is replaced or removed is not copied: its
//! entry, which would have been freed, is moved into the records and freed when the batch commits.
//!
//! | change | record |
//! |---|---|
//! | a new key | its name, to remove it |
//! | a short value written over in place | a copy of the old entry |
//! | a value replaced or removed | the old entry itself, moved |
//! | a deadline changed in place | the old deadline |
//! | a long text grown or overwritten in place | its old length, and the bytes that were overwritten |
//! | a part of a large value (a field of a hash) | the same for that part, grouped under the key |
//! | elements of a large list | a few bytes that reverse it, or the nodes that were replaced, moved |
//! | RENAME | the emptied entry, and the key that has its object now |
//! | FLUSHALL | the old tables of all slots |
//! | a change of the libraries of functions | the old set, which shares most of its parts with the new one |
//!
//! # A worked example
//! Key `a` holds `1`, and batch 6 has committed. Batch 7 stages `SET a 2` and `SET b 9`, batch 8 stages `DEL a`:
//!
//! ```text
//! command     memory         records, newest last
//!             a=1
//! SET a 2     a=2            7: [copied a=1]
//! SET b 9     a=2 b=9        7: [copied a=1, absent b]
//! DEL a       b=9            7: [copied a=1, absent b]   8: [moved a=2]
//! ```
//!
//! Batch 7 commits: its records are dropped, and memory does not change. If leadership is lost now, undoing takes the
//! records of batch 8 alone and puts `a=2` back: memory is `a=2 b=9`, the state after batch 7. If leadership is lost
//! before batch 7 commits, undoing goes from the newest record to the oldest: `a=2` is put back, `b` is removed, `a=1`
//! is put back. Records of one key must be undone in this order, because each describes the state just before its
//! change.
//!
//! # How changes leave records
//! Changes go through few places ([`super::slots`], `change.rs`, and the folders of the data types), which report here
//! what they are about to destroy. A value that is changed in place leaves a record that its type can read
//! ([`Value::restore`](super::value::Value::restore)), or one for each part. Code that replaces whole entries needs
//! nothing of its own.
//!
//! # Invariants
//! - Records belong to the batch that their change was staged in, which
//!   [`Keyspace::end_unit`](super::Keyspace::end_unit) names. They are dropped when that batch has committed
//!   ([`Keyspace::forget_undo`](super::Keyspace::forget_undo)).
//! - Undone from the newest to the oldest ([`Keyspace::undo`](super::Keyspace::undo)), records lead through every state
//!   that memory was in, back to the state after the newest batch that was forgotten. Entries, deadlines and the
//!   account are then as they were; the number of a table's buckets and access times may differ.
//! - Records of the current unit are the newest, are never dropped, and can be undone alone
//!   ([`Keyspace::undo_unit`](super::Keyspace::undo_unit)).
//! - Records hold at most the bound and the unit that exceeded it. At the bound **all** are dropped, and undoing is
//!   impossible until every batch that lost records has committed; records of later units count again after that. The
//!   tables of one FLUSHALL do not count against the bound: that memory was in use before and is only freed later. A
//!   second FLUSHALL counts as exceeding it.
//!
//! # Layout
//! `BatchRecords` has the records of one batch. A `Record` says only what it is; its data lies on stacks beside the
//! records, so that the most frequent change, a short value written over another, appends to two vectors and allocates
//! nothing.

use super::entry::copies::Copies;
use super::entry::{Entry, NewValue};
use super::flushed::Flushed;
use super::libraries::Libraries;
use fastness_types::{Seq, WallMs};
use std::collections::VecDeque;

/// Entries of at most this many bytes are copied before they are written over; a larger one is replaced by a new entry
/// and moved.
const COPY_MAX: usize = 512;
pub(super) const NUMBER: usize = size_of::<u64>();

/// What reverses one change. Numbers are lengths of the data on top of `bytes`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Record {
    /// The key, in `bytes`, did not exist.
    Absent { key: u32 },
    /// The key had the entry on top of `copies`.
    Copied,
    /// The key had the entry on top of `moved`.
    Moved,
    /// The key, in `bytes` before a number, had that number as its deadline, or no deadline.
    Deadline { key: u32, had: bool },
    /// The key had the entry on top of `moved`, whose object now belongs to the key in `bytes`.
    ObjectMoved { to: u32 },
    /// The value of a key was changed in place; `bytes` has the key and the record that the value's type wrote.
    InPlace { key: u32, record: u32 },
    /// The last `count` records before this one concern parts of the value of the key in `bytes`.
    Parts { key: u32, count: u32 },
    /// All keys were in the tables on top of `flushed`.
    Flushed,
    /// The libraries of functions were those on top of `libraries`.
    Libraries,
}

impl Record {
    /// Whether it concerns a whole entry, which is found by its key alone.
    pub(super) fn is_of_whole(self) -> bool {
        matches!(self, Record::Absent { .. } | Record::Copied | Record::Moved)
    }

    pub(super) fn is_flushed(&self) -> bool {
        matches!(self, Record::Flushed)
    }

    /// How many bytes of `bytes` belong to it.
    pub(super) fn bytes(self) -> usize {
        match self {
            Record::Absent { key } | Record::ObjectMoved { to: key } | Record::Parts { key, .. } => key as usize,
            Record::Deadline { key, .. } => key as usize + NUMBER,
            Record::InPlace { key, record } => key as usize + record as usize,
            Record::Copied | Record::Moved | Record::Flushed | Record::Libraries => 0,
        }
    }
}

/// The records of one batch.
#[derive(Default)]
pub(super) struct BatchRecords {
    pub(super) seq: Seq,
    /// The newest timestamp after the batch's last unit.
    pub(super) timestamp: WallMs,
    pub(super) records: Vec<Record>,
    pub(super) bytes: Vec<u8>,
    pub(super) copies: Copies,
    pub(super) moved: Vec<Entry>,
    /// Bytes that the entries in `moved` take.
    pub(super) moved_bytes: usize,
    pub(super) flushed: Vec<Flushed>,
    pub(super) libraries: Vec<Libraries>,
}

impl BatchRecords {
    /// Bytes that the records hold.
    pub(super) fn held(&self) -> usize {
        let due = self.flushed.iter().map(|flushed| flushed.due.bytes() + flushed.parts_due.bytes()).sum::<usize>();
        size_of_val(&self.records[..])
            + self.bytes.len()
            + self.copies.bytes()
            + size_of_val(&self.moved[..])
            + self.moved_bytes
            + due
            + self.libraries.iter().map(Libraries::held).sum::<usize>()
    }

    /// Moves the records from `from` on into `into`; those before belong to another batch.
    pub(super) fn split_off(&mut self, from: usize, mut into: BatchRecords) -> BatchRecords {
        let of = |wanted: fn(&Record) -> bool| self.records[from..].iter().filter(|record| wanted(record)).count();
        let copies = of(|record| matches!(record, Record::Copied));
        let moved = self.moved.len() - of(|record| matches!(record, Record::Moved | Record::ObjectMoved { .. }));
        let flushed = self.flushed.len() - of(|record| matches!(record, Record::Flushed));
        let libraries = self.libraries.len() - of(|record| matches!(record, Record::Libraries));
        let bytes = self.bytes.len() - self.records[from..].iter().map(|record| record.bytes()).sum::<usize>();
        self.copies.split_last(copies, &mut into.copies);
        into.records.extend(self.records.drain(from..));
        into.bytes.extend(self.bytes.drain(bytes..));
        into.flushed.extend(self.flushed.drain(flushed..));
        into.libraries.extend(self.libraries.drain(libraries..));
        into.moved.extend(self.moved.drain(moved..));
        into.moved_bytes = into.moved.iter().map(Entry::heap_bytes).sum();
        self.moved_bytes -= into.moved_bytes;
        into
    }

    /// Takes all records out and leaves the batch's sequence number and timestamp.
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

    /// The number that is `back` numbers below the top of `bytes`.
    pub(super) fn number(&self, back: usize) -> u64 {
        let end = self.bytes.len() - back * NUMBER;
        u64::from_le_bytes(self.bytes[end - NUMBER..end].try_into().expect("eight bytes"))
    }
}

/// Where changes leave what they destroy; `None` while nothing has to be kept.
pub type UndoLog = Option<Box<Undo>>;

/// The records of the batches that have not committed.
pub struct Undo {
    /// Records of the newest batch that has units, and of the current unit.
    pub(super) open: BatchRecords,
    /// How many records of `open` belong to units that have ended.
    pub(super) ended: usize,
    /// Records of the batches before, the oldest first.
    pub(super) closed: VecDeque<BatchRecords>,
    /// Bytes that `closed` holds.
    pub(super) closed_held: usize,
    /// The newest timestamp after the newest batch that was forgotten.
    pub(super) timestamp: WallMs,
    /// The newest batch that has lost records.
    pub(super) lost: Option<Seq>,
    /// Emptied records, whose memory later batches use.
    pub(super) spare: Vec<BatchRecords>,
    /// The bound of the bytes that records hold.
    pub(super) bytes_max: usize,
}

/// The length of data that is put on `bytes`. Requests are bounded far below 4 GiB.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("keys and values are at most 512 MB")
}

/// Reports of changes: each method is called for what a change is about to destroy.
impl Undo {
    /// A key, or a part, that does not exist yet.
    #[inline]
    pub(crate) fn absent(&mut self, key: &[u8]) {
        self.open.bytes.extend_from_slice(key);
        self.open.records.push(Record::Absent { key: length(key) });
    }

    /// An entry that is about to be written over. Returns false if it was not copied: the caller must then replace it
    /// and give the old one to [`Undo::moved`].
    #[inline]
    pub(super) fn copied(&mut self, entry: &Entry) -> bool {
        let is_copied = self.open.copies.push(entry, COPY_MAX);
        if is_copied {
            self.open.records.push(Record::Copied);
        }
        is_copied
    }

    /// An entry that was removed or replaced.
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

    /// An entry that was removed or replaced, after its object had moved to the key `to`.
    pub(super) fn object_moved(&mut self, emptied: Entry, to: &[u8]) {
        self.push_moved(emptied);
        self.open.bytes.extend_from_slice(to);
        self.open.records.push(Record::ObjectMoved { to: length(to) });
    }

    /// A value that is about to be changed in place; `write` appends the record from which its type
    /// [restores](super::value::Value::restore) it.
    pub(super) fn in_place(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let bytes = &mut self.open.bytes;
        bytes.extend_from_slice(key);
        let start = bytes.len();
        write(bytes);
        let record = length(&bytes[start..]);
        self.open.records.push(Record::InPlace { key: length(key), record });
    }

    /// The number of records so far, from which [`Undo::parts`] groups those of one value.
    pub(super) fn mark(&self) -> usize {
        self.open.records.len()
    }

    /// Groups all records since `mark`, which concern parts of this key's value.
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

    pub(super) fn libraries(&mut self, old: Libraries) {
        self.open.libraries.push(old);
        self.open.records.push(Record::Libraries);
    }

    pub(super) fn held(&self) -> usize {
        self.open.held() + self.closed_held
    }

    /// Whether there is nothing to undo, and nothing was dropped that would have been.
    pub(super) fn is_empty(&self) -> bool {
        self.lost.is_none() && self.closed.is_empty() && self.open.records.is_empty()
    }

    pub(super) fn flushes(&self) -> usize {
        self.open.flushed.len() + self.closed.iter().map(|batch| batch.flushed.len()).sum::<usize>()
    }
}

/// Gives an entry another value and deadline, in place if they fit, and leaves a record of what it held.
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
