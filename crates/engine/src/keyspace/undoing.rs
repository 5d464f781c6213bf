//! A keyspace that keeps [undo records](super::undo), and takes changes back by them.

use super::entry::{Entry, Object};
use super::key::Key;
use super::slots::Keyspace;
use super::table::EntryTable;
use super::undo::{BatchRecords, NUMBER, Record, Undo};
use super::value::OldPart;
use fastness_types::{Seq, Slot, WallMs};
use std::collections::VecDeque;
use std::ops::Range;

/// Entries that are freed when their batch commits, as far as one slice allows; [`Keyspace::release`] frees the rest.
/// More than a batch of the usual size has.
const FREED_MAX: usize = 4_096;
/// Entries that are loaded side by side while changes are taken back.
const WINDOW: usize = 16;
/// Groups kept for later batches, and how large they may be, bytes.
const SPARE_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// An entry that is to be put back, or a key, at `name` in `bytes`, that is to be removed.
struct Whole {
    slot: Slot,
    hash: u64,
    entry: Option<Entry>,
    name: Range<usize>,
}

/// Keeping records.
impl Keyspace {
    /// From here on changes can be undone: memory is committed, `timestamp` its time. Records are dropped at
    /// `bytes_max`.
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

    /// What has changed since the last call is one unit of the batch `seq`; `timestamp` is the newest from now on.
    /// Sequences only grow.
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

    fn forget_group(&mut self, group: BatchRecords, undo: &mut Undo) {
        undo.timestamp = group.timestamp;
        let group = self.retire_group(group);
        if undo.spare.len() < SPARE_MAX && group.copies.capacity() + group.bytes.capacity() <= SPARE_BYTES_MAX {
            undo.spare.push(group);
        }
    }

    /// Drops what a group holds; gives it back empty.
    fn retire_group(&mut self, mut group: BatchRecords) -> BatchRecords {
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
    pub fn give_back_tables(&mut self, tables: Box<[EntryTable]>) {
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
    /// Takes back every change that was not forgotten, and keeps no records from then on. Gives the timestamp of that
    /// time; `None` if records were lost, or none kept: then memory is as it was and must be thrown away. No image may
    /// be in progress.
    pub fn undo(&mut self) -> Option<WallMs> {
        let undo = self.undo.take()?;
        if undo.lost.is_some() {
            return None;
        }
        self.take_back(undo.open);
        undo.closed.into_iter().rev().for_each(|group| self.take_back(group));
        Some(undo.timestamp)
    }

    /// Whether a FLUSHALL of the unit at hand has given its tables to an image.
    pub fn unit_lends_tables(&self) -> bool {
        let of_unit = |undo: &Undo| undo.open.records[undo.ended..].iter().filter(|record| record.is_flushed()).count();
        let lends =
            |undo: &Undo| undo.open.flushed.iter().rev().take(of_unit(undo)).any(|flushed| flushed.tables.is_none());
        self.undo.as_deref().is_some_and(lends)
    }

    /// Takes back what has changed since the last unit ended; records of that unit and of those before stay. `lent` are
    /// tables that an image was given by the unit. Records must be kept: without them memory would hold half a unit.
    ///
    /// # Panics
    /// If no records are kept.
    pub fn undo_unit(&mut self, lent: Option<Box<[EntryTable]>>) {
        let mut undo = self.undo.take().expect("a unit that may be taken back leaves records");
        let ended = undo.ended;
        let mut unit = undo.open.split_off(ended, BatchRecords::default());
        if let Some(waiting) = unit.flushed.iter_mut().find(|flushed| flushed.tables.is_none()) {
            waiting.tables = lent;
        }
        self.take_back(unit);
        self.undo = Some(undo);
    }

    fn take_back(&mut self, mut group: BatchRecords) {
        let mut window = Vec::with_capacity(WINDOW);
        loop {
            self.take_back_window(&mut group, &mut window);
            match group.records.pop() {
                Some(record) => self.take_back_one(record, &mut group),
                None => return,
            }
        }
    }

    /// Takes back all that stands on top and concerns one whole entry each, in windows whose entries are loaded side by
    /// side.
    fn take_back_window(&mut self, group: &mut BatchRecords, window: &mut Vec<Whole>) {
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

    fn take_back_one(&mut self, record: Record, group: &mut BatchRecords) {
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
            Record::InPlace { key, record } => {
                let whole = group.top(key as usize + record as usize);
                let (name, record) = whole.split_at(key as usize);
                let key = self.key(name);
                self.change_object(&key, |object| object.restore(record));
            }
            Record::Parts { key, count } => {
                let name = group.top(key as usize).to_vec();
                group.pop_bytes(name.len());
                let key = self.key(&name);
                self.change_parts(&key, |object, _| (0..count).for_each(|_| take_back_part(object, group)));
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
}

fn take_back_part(object: &mut Object, group: &mut BatchRecords) {
    let Some(record) = group.records.pop() else { return };
    match record {
        Record::Copied => group.copies.pop().into_iter().for_each(|entry| object.restore_part(OldPart::Held(entry))),
        Record::Moved => group.moved.pop().into_iter().for_each(|entry| object.restore_part(OldPart::Held(entry))),
        Record::Absent { key } => object.restore_part(OldPart::Absent(group.top(key as usize))),
        Record::Deadline { key, had } => {
            let at = had.then(|| WallMs(group.number(0)));
            object.restore_part(OldPart::Deadline(&group.top(key as usize + NUMBER)[..key as usize], at));
        }
        Record::ObjectMoved { .. } | Record::InPlace { .. } | Record::Parts { .. } | Record::Flushed => {
            debug_assert!(false, "{record:?} is not of a part");
        }
    }
    group.pop_bytes(record.bytes());
}
