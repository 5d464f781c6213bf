//! How a keyspace keeps [undo records](super::undo), drops them at commits, and undoes changes with them.
//!
//! Records of whole entries are undone in windows: a record is small, but the entry that it replaces lies anywhere in
//! memory, and a primary may have tens of thousands of uncommitted changes. A window computes the places of up to
//! `WINDOW` keys first and prefetches them, so that the waits for memory overlap. All other records are undone one by
//! one. The order of undoing is always that of the stack, newest first.
//!
//! Entries that a commit leaves behind are freed right there, up to a bound, because the allocator is about to need
//! memory of their sizes; large values go to [`super::retired`] and are freed in slices.

use super::entry::{Entry, Object};
use super::key::Key;
use super::slots::Keyspace;
use super::table::EntryTable;
use super::undo::{BatchRecords, NUMBER, Record, Undo};
use super::value::OldPart;
use fastness_types::{Seq, Slot, WallMs};
use std::collections::VecDeque;
use std::ops::Range;

/// Entries that are freed at once when their batch commits, more than a usual batch has; [`Keyspace::release`] frees
/// the rest.
const FREED_MAX: usize = 4_096;
/// Entries that are prefetched together while changes are undone.
const WINDOW: usize = 16;
/// How many emptied [`BatchRecords`] are kept for later batches, and how many bytes each may have.
const SPARE_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// An entry to put back, or the key at `name` in `bytes` to remove.
struct Whole {
    slot: Slot,
    hash: u64,
    entry: Option<Entry>,
    name: Range<usize>,
}

/// Keeping and dropping records.
impl Keyspace {
    /// Starts to keep records: the present state is committed and its newest timestamp is `timestamp`. All records are
    /// dropped once they hold more than `bytes_max`.
    pub fn keep_undo(&mut self, timestamp: WallMs, bytes_max: usize) {
        self.drop_undo();
        self.undo = Some(Box::new(Undo {
            open: BatchRecords::default(),
            ended: 0,
            closed: VecDeque::new(),
            closed_held: 0,
            timestamp,
            lost: None,
            spare: Vec::new(),
            bytes_max,
        }));
    }

    /// Ends a unit: what has changed since the last call belongs to the batch `seq`, and `timestamp` is the newest
    /// timestamp from now on. Sequence numbers only grow.
    #[inline]
    pub fn end_unit(&mut self, seq: Seq, timestamp: WallMs) {
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
        undo.open.timestamp = timestamp;
        undo.ended = undo.open.records.len();
        if undo.held() > undo.bytes_max || (!undo.open.flushed.is_empty() && undo.flushes() > 1) {
            self.lose_undo(seq);
        }
    }

    /// Drops all records, the newest of which belong to the batch `seq`.
    #[cold]
    fn lose_undo(&mut self, seq: Seq) {
        let Some(mut undo) = self.undo.take() else { return };
        undo.lost = Some(seq);
        undo.ended = 0;
        undo.closed_held = 0;
        for batch in undo.closed.iter_mut().chain([&mut undo.open]) {
            let dropped = batch.emptied();
            self.retire_batch(dropped);
        }
        self.undo = Some(undo);
        self.release_entries(FREED_MAX);
    }

    /// Drops the records of the batches up to `seq`, which have committed. Those of the current unit stay.
    pub fn forget_undo(&mut self, seq: Seq) {
        let Some(mut undo) = self.undo.take() else { return };
        while undo.closed.front().is_some_and(|batch| batch.seq <= seq)
            && let Some(batch) = undo.closed.pop_front()
        {
            undo.closed_held -= batch.held();
            self.forget_batch(batch, &mut undo);
        }
        if undo.open.seq <= seq && undo.open.seq != Seq(0) {
            // What follows belongs to a unit that has not ended: a script that is suspended.
            let unit = undo.open.split_off(undo.ended, BatchRecords::default());
            let batch = std::mem::replace(&mut undo.open, unit);
            undo.ended = 0;
            self.forget_batch(batch, &mut undo);
        }
        undo.lost = undo.lost.filter(|lost| *lost > seq);
        self.undo = Some(undo);
        self.release_entries(FREED_MAX);
    }

    fn forget_batch(&mut self, batch: BatchRecords, undo: &mut Undo) {
        undo.timestamp = batch.timestamp;
        let batch = self.retire_batch(batch);
        if undo.spare.len() < SPARE_MAX && batch.copies.capacity() + batch.bytes.capacity() <= SPARE_BYTES_MAX {
            undo.spare.push(batch);
        }
    }

    /// Hands the entries and tables of records over to be freed, and returns the emptied records.
    fn retire_batch(&mut self, mut batch: BatchRecords) -> BatchRecords {
        batch.flushed.drain(..).for_each(|flushed| self.retire_flushed(flushed));
        batch.libraries.clear();
        self.retire_entries(&mut batch.moved, batch.moved_bytes);
        batch.moved_bytes = 0;
        batch.records.clear();
        batch.bytes.clear();
        batch.copies.clear();
        batch.seq = Seq(0);
        batch
    }

    /// Drops all records and stops keeping them.
    pub fn drop_undo(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for batch in undo.closed.into_iter().chain([undo.open]) {
            self.retire_batch(batch);
        }
        self.release_entries(FREED_MAX);
    }

    /// Whether a change may have to be undone: it has not committed.
    #[must_use]
    pub(crate) fn has_undo_records(&self) -> bool {
        self.undo.as_ref().is_some_and(|undo| !undo.is_empty())
    }

    /// Whether records hold more than half of their bound.
    #[must_use]
    pub(crate) fn is_undo_half_full(&self) -> bool {
        self.undo.as_ref().is_some_and(|undo| undo.held() > undo.bytes_max / 2)
    }

    /// Bytes that records hold besides the data.
    #[must_use]
    pub fn undo_bytes(&self) -> usize {
        self.undo.as_ref().map_or(0, |undo| undo.held())
    }

    /// Takes tables back that an image has read: the record of the FLUSHALL that lent them keeps them, if it still
    /// exists.
    pub fn give_back_tables(&mut self, tables: Box<[EntryTable]>) {
        if let Some(undo) = &mut self.undo {
            let batches = undo.closed.iter_mut().chain([&mut undo.open]);
            let mut flushed = batches.flat_map(|batch| &mut batch.flushed);
            if let Some(waiting) = flushed.find(|flushed| flushed.tables.is_none()) {
                waiting.tables = Some(tables);
                return;
            }
        }
        self.retire(tables);
    }
}

/// Undoing.
impl Keyspace {
    /// Undoes every change that was not forgotten, and stops keeping records. Returns the newest timestamp of the state
    /// that memory is in afterwards; `None` if records were lost or not kept: memory is then unchanged and has to be
    /// discarded. No image may be in progress.
    pub fn undo(&mut self) -> Option<WallMs> {
        let undo = self.undo.take()?;
        if undo.lost.is_some() {
            return None;
        }
        self.undo_batch(undo.open);
        undo.closed.into_iter().rev().for_each(|batch| self.undo_batch(batch));
        Some(undo.timestamp)
    }

    /// Whether a FLUSHALL of the current unit has lent its tables to an image.
    pub fn unit_lends_tables(&self) -> bool {
        let of_unit = |undo: &Undo| undo.open.records[undo.ended..].iter().filter(|record| record.is_flushed()).count();
        let lends =
            |undo: &Undo| undo.open.flushed.iter().rev().take(of_unit(undo)).any(|flushed| flushed.tables.is_none());
        self.undo.as_deref().is_some_and(lends)
    }

    /// Undoes what has changed since the last unit ended; records of earlier units stay. `lent` are the tables that the
    /// unit lent to an image. Records must be kept: without them memory would hold half a unit.
    ///
    /// # Panics
    /// If no records are kept.
    pub fn undo_unit(&mut self, lent: Option<Box<[EntryTable]>>) {
        let mut undo = self.undo.take().expect("a unit that may be rolled back leaves records");
        let ended = undo.ended;
        let mut unit = undo.open.split_off(ended, BatchRecords::default());
        if let Some(waiting) = unit.flushed.iter_mut().find(|flushed| flushed.tables.is_none()) {
            waiting.tables = lent;
        }
        self.undo_batch(unit);
        self.undo = Some(undo);
    }

    fn undo_batch(&mut self, mut batch: BatchRecords) {
        let mut window = Vec::with_capacity(WINDOW);
        loop {
            self.undo_window(&mut batch, &mut window);
            match batch.records.pop() {
                Some(record) => self.undo_one(record, &mut batch),
                None => return,
            }
        }
    }

    /// Undoes the newest records as long as each concerns a whole entry, in windows whose entries are prefetched.
    fn undo_window(&mut self, batch: &mut BatchRecords, window: &mut Vec<Whole>) {
        loop {
            let mut end = batch.bytes.len();
            while window.len() < WINDOW
                && let Some(record) = batch.records.pop_if(|record| record.is_of_whole())
            {
                let name = end - record.bytes()..end;
                end = name.start;
                let entry = match record {
                    Record::Copied => batch.copies.pop(),
                    Record::Moved => batch.moved.pop(),
                    _ => None,
                };
                let Key { slot, hash, .. } =
                    self.key(entry.as_ref().map_or(&batch.bytes[name.clone()], |entry| entry.key()));
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
                    None => self.unlink(&Key { bytes: &batch.bytes[name], slot, hash }),
                }
            }
            batch.bytes.truncate(end);
        }
    }

    fn undo_one(&mut self, record: Record, batch: &mut BatchRecords) {
        match record {
            Record::Copied | Record::Moved | Record::Absent { .. } => {
                debug_assert!(false, "{record:?} is undone in a window");
            }
            Record::Deadline { key, had } => {
                let at = had.then(|| WallMs(batch.number(0)));
                let key = self.key(&batch.top(key as usize + NUMBER)[..key as usize]);
                self.set_expiry(&key, at);
            }
            Record::ObjectMoved { to } => {
                let to = self.key(batch.top(to as usize));
                let object = self.remove(&to).and_then(|mut entry| entry.take_object());
                let mut entry = batch.moved.pop();
                if let (Some(entry), Some(object)) = (&mut entry, object) {
                    entry.put_object(object);
                }
                self.put_back(entry);
            }
            Record::InPlace { key, record } => {
                let whole = batch.top(key as usize + record as usize);
                let (name, record) = whole.split_at(key as usize);
                let key = self.key(name);
                self.change_object(&key, |object| object.restore(record));
            }
            Record::Parts { key, count } => {
                let name = batch.top(key as usize).to_vec();
                batch.pop_bytes(name.len());
                let key = self.key(&name);
                self.change_parts(&key, |object, _| (0..count).for_each(|_| undo_part(object, batch)));
                return;
            }
            Record::Flushed => {
                if let Some(flushed) = batch.flushed.pop() {
                    self.put_back_tables(flushed);
                }
            }
            // No records are kept while changes are undone.
            Record::Libraries => batch.libraries.pop().into_iter().for_each(|old| self.set_libraries(old)),
        }
        batch.pop_bytes(record.bytes());
    }

    /// Puts an entry back in the place of what its key holds now.
    fn put_back(&mut self, entry: Option<Entry>) {
        let Some(entry) = entry else {
            debug_assert!(false, "a record without its entry");
            return;
        };
        let Key { slot, hash, .. } = self.key(entry.key());
        self.replace(slot, hash, entry);
    }
}

fn undo_part(object: &mut Object, batch: &mut BatchRecords) {
    let Some(record) = batch.records.pop() else { return };
    match record {
        Record::Copied => batch.copies.pop().into_iter().for_each(|entry| object.restore_part(OldPart::Held(entry))),
        Record::Moved => batch.moved.pop().into_iter().for_each(|entry| object.restore_part(OldPart::Held(entry))),
        Record::Absent { key } => object.restore_part(OldPart::Absent(batch.top(key as usize))),
        Record::Deadline { key, had } => {
            let at = had.then(|| WallMs(batch.number(0)));
            object.restore_part(OldPart::Deadline(&batch.top(key as usize + NUMBER)[..key as usize], at));
        }
        Record::ObjectMoved { .. }
        | Record::InPlace { .. }
        | Record::Parts { .. }
        | Record::Flushed
        | Record::Libraries => {
            debug_assert!(false, "{record:?} does not concern a part");
        }
    }
    batch.pop_bytes(record.bytes());
}
