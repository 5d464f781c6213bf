//! An image: all data at one point, written out a little at a time while commands go on.
//!
//! [`Engine::begin_image`](crate::Engine::begin_image) fixes the point.
//! [`Engine::image_step`](crate::Engine::image_step) then writes what was there, slot by slot in the order of a scan.
//! Whatever changes an entry that has not been written yet writes it first (copy before write), so the image is of the
//! one point, however long it takes. There is no fork, no second copy of the data, and no long stop: a step writes its
//! budget and one record at most, and a change costs at most the copy of one record and of what the change itself
//! names.
//!
//! What is known of an entry by its place alone: an entry is written if its slot is before the one at hand, or if its
//! place in the scan's order (the reversed bits of its hash, see [`crate::keyspace::table`]) is before the cursor.
//! Growing and shrinking change neither. Entries that were written ahead because they were about to change are
//! remembered by key until their slot is done. FLUSHALL hands the old tables to the image, which writes them from then
//! on.
//!
//! # Large values
//! An entry whose record would be longer than the image's bound is not written at once, but by a walk (`Walk`) of its
//! own, which has a cursor inside the value and writes a part a step. A walk starts at the entry's turn, or before the
//! entry changes; walks in progress are finished before the next entry's turn. While one is in progress, what happens
//! to its value is bounded by the effect:
//!
//! - Fields of a hash that are about to change are written first, as keys are.
//! - Of a text that is overwritten in place, the bytes at that place are kept until their turn. What is appended is not
//!   the image's.
//! - A value that leaves its key for good (SET, UNLINK, the target of RENAME) is not copied: the image becomes an owner
//!   of it, beside undo records, and gives it back when it has been written.
//! - RENAME moves the value; the walk follows it. Walks find values by slot, hash and address, not by name.
//!
//! Below [`FormatLevel::BOUNDS`](fastness_types::FormatLevel) there are no walks: each entry is one record, however
//! large.
//!
//! # Rollback
//! Changes of the newest unit may be taken back while the image is in progress
//! ([`Engine::roll_back`](crate::Engine::roll_back)): what was written ahead is of the point and stays right; places of
//! values that this unit has moved or removed are set back.

pub mod codec;
mod load;
mod record;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fastness_types::{SLOTS, Slot};
use smallvec::SmallVec;

use crate::digest::{self, Digest};
use crate::effect::{Effect, Impact, TypeEffect};
use crate::keyspace::table::EntryTable;
use crate::keyspace::value::Parts;
use crate::keyspace::{Entry, Key, Keyspace, Object};

pub use codec::ImageError;
pub(crate) use load::Loader;
pub use walk::ImageLost;
use walk::{ValuePlace, Walk, ahead_bytes};

/// What an image came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageSum {
    /// Keys in it.
    pub keys: u64,
    /// Of all data at its point: that of an engine that was restored from it.
    pub digest: Digest,
}

/// Records that were written ahead are handed out in chunks of this size, bytes, and one record.
const PENDING_CHUNK: usize = 32 * 1024;
/// Least part of a value that is worth a record, bytes: what a step may write over its budget beside whole records.
const PART_MIN: usize = 512;

/// Records that were written ahead, oldest first.
#[derive(Debug, Default)]
struct Pending {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Pending {
    /// Adds one record.
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() >= PENDING_CHUNK) {
            self.chunks.push_back(Vec::new());
        }
        if let Some(chunk) = self.chunks.back_mut() {
            let before = chunk.capacity();
            write(chunk);
            self.bytes += chunk.capacity() - before;
        }
    }

    /// Bytes of the oldest chunk.
    fn next_len(&self) -> Option<usize> {
        self.chunks.front().map(Vec::len)
    }

    fn pop(&mut self, out: &mut Vec<u8>) {
        let Some(mut chunk) = self.chunks.pop_front() else { return };
        self.bytes -= chunk.capacity();
        if out.is_empty() {
            std::mem::swap(&mut chunk, out);
        } else {
            out.append(&mut chunk);
        }
    }
}

/// How far a step may go.
#[derive(Debug, Clone, Copy)]
struct StepBudget {
    /// The step ends once its output is as long as this.
    until: usize,
    /// Buckets that it may still look at: one without entries takes time as well.
    buckets: usize,
}

/// An image that is being written.
#[derive(Debug)]
pub(crate) struct Image {
    /// A longer record is written in parts.
    record_max: usize,
    /// The slot at hand, and the place in it; `SLOTS`: all are done.
    slot: usize,
    place: u64,
    /// By slot, from the one at hand on: keys of entries that were written ahead, or were not there.
    ahead: BTreeMap<u16, BTreeSet<Box<[u8]>>>,
    ahead_bytes: usize,
    pending: Pending,
    /// Large values that are being written, by their ids. The newest is written first, so that a value never has more
    /// than one part at its turn.
    walks: BTreeMap<u64, Walk>,
    walks_bytes: usize,
    newest_id: u64,
    /// Walks of values that are in the keyspace, by the address of the value.
    live: BTreeMap<usize, u64>,
    /// Where walks had their values before the unit at hand moved or removed these.
    moved_in_unit: Vec<(u64, ValuePlace)>,
    /// The tables of the point, once FLUSHALL has replaced them.
    flushed: Option<Box<[EntryTable]>>,
    /// Values that were handed over and have been written.
    written: Vec<Arc<Object>>,
    sum: ImageSum,
}

impl Image {
    fn new(record_max: usize) -> Image {
        Image {
            record_max,
            slot: 0,
            place: 0,
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            pending: Pending::default(),
            walks: BTreeMap::new(),
            walks_bytes: 0,
            newest_id: 0,
            live: BTreeMap::new(),
            moved_in_unit: Vec::new(),
            flushed: None,
            written: Vec::new(),
            sum: ImageSum::default(),
        }
    }

    fn is_written(&self, key: &Key<'_>) -> bool {
        let slot = usize::from(key.slot.0);
        slot < self.slot || (slot == self.slot && key.hash.reverse_bits() < self.place.reverse_bits())
    }

    fn is_ahead(&self, slot: u16, key: &[u8]) -> bool {
        self.ahead.get(&slot).is_some_and(|keys| keys.contains(key))
    }

    fn remember(&mut self, slot: u16, key: &[u8]) {
        if self.ahead.entry(slot).or_default().insert(key.into()) {
            self.ahead_bytes += ahead_bytes(key);
        }
    }

    /// Bytes that it holds besides the data.
    pub(crate) fn bytes(&self) -> usize {
        self.ahead_bytes + self.pending.bytes + self.walks_bytes
    }

    fn add_to_sum(&mut self, digest: u128) {
        self.sum.keys += 1;
        self.sum.digest = Digest(self.sum.digest.0.wrapping_add(digest));
    }

    /// The unit at hand has ended: it is not rolled back any more.
    pub(crate) fn unit_ended(&mut self) {
        self.moved_in_unit.clear();
    }
}

/// Before changes.
impl Image {
    /// Something is about to change this key. Writes its entry first, if that has not been written, or starts a walk.
    /// Returns the walk through the value that the key holds, if there is one.
    fn meet(&mut self, keyspace: &Keyspace, key: &Key<'_>) -> Option<u64> {
        if !self.live.is_empty()
            && let Some(address) = keyspace.find(key).and_then(Entry::object_address)
            && let Some(id) = self.live.get(&address)
        {
            return Some(*id);
        }
        if self.is_written(key) || self.is_ahead(key.slot.0, key.bytes) {
            return None;
        }
        self.remember(key.slot.0, key.bytes);
        let entry = keyspace.find(key)?;
        if record::weight(entry) <= self.record_max {
            self.pending.push(|out| record::write_entry(entry, out));
            self.add_to_sum(digest::of_entry(entry));
            return None;
        }
        self.start_walk(key.slot, key.hash, entry)
    }

    /// What the key holds is about to leave the keyspace.
    fn before_replacing(&mut self, keyspace: &Keyspace, key: &Key<'_>) {
        let Some(id) = self.meet(keyspace, key) else { return };
        let Some(object) = keyspace.find(key).and_then(Entry::share_object) else { return };
        self.change_walk(id, |image, walk| image.moved_in_unit.extend(walk.own(object).map(|place| (id, place))));
    }

    /// What the key `from` holds is about to become that of `to`, which is another key.
    fn before_renaming(&mut self, keyspace: &Keyspace, from: &Key<'_>, to: &Key<'_>) {
        self.before_replacing(keyspace, to);
        let Some(id) = self.meet(keyspace, from) else { return };
        let moved = |image: &mut Image, walk: &mut Walk| {
            image.moved_in_unit.extend(walk.follow(to.slot, to.hash).map(|place| (id, place)));
        };
        self.change_walk(id, moved);
    }

    /// A string is about to be overwritten from `from` on up to `to`.
    fn before_overwriting(&mut self, keyspace: &Keyspace, key: &Key<'_>, from: usize, to: usize) {
        let Some(id) = self.meet(keyspace, key) else { return };
        let Some(text) = keyspace.find(key).and_then(Entry::long_text) else { return };
        self.change_walk(id, |_, walk| walk.keep(text, from, to));
    }

    /// These parts are about to change.
    fn before_parts<'f>(&mut self, keyspace: &Keyspace, key: &Key<'_>, changing: impl Iterator<Item = &'f [u8]>) {
        let Some(id) = self.meet(keyspace, key) else { return };
        let Some(parts) = keyspace.find(key).and_then(Entry::parts) else { return };
        let Some(mut walk) = self.take_walk(id) else { return };
        for name in changing {
            if let Some(part) = walk.meet_part(parts, name) {
                self.write_part(&mut walk, parts, part, None);
            }
        }
        self.put_walk(walk);
    }

    /// Called before an effect is performed that is not FLUSHALL.
    fn before_effect(&mut self, keyspace: &Keyspace, effect: &Effect<'_>) {
        let keys = effect.keys();
        let Some(key) = keys.first() else { return };
        let is_there = |key: &Key<'_>| keyspace.find(key).is_some();
        match effect.impact() {
            Impact::MovesTo(to) if key.bytes != to.bytes && is_there(&key) => {
                self.before_renaming(keyspace, &key, &to);
            }
            // What is copied from stays as it is.
            Impact::CopiesTo(to) if key.bytes != to.bytes && is_there(&key) => self.before_replacing(keyspace, &to),
            Impact::MovesTo(_) | Impact::CopiesTo(_) | Impact::Flushes => {}
            Impact::Replaces => self.before_replacing(keyspace, &key),
            // The length at the point is known to the walk.
            Impact::Extends => _ = self.meet(keyspace, &key),
            Impact::Overwrites { from, to } => self.before_overwriting(keyspace, &key, from, to),
            Impact::ChangesParts { named, step } => self.before_parts(keyspace, &key, named.iter().step_by(step)),
        }
    }
}

/// Walks.
impl Image {
    /// Starts the walk through a key's value. `None` if it holds a copy of the value and is not affected by changes.
    fn start_walk(&mut self, slot: Slot, hash: u64, entry: &Entry) -> Option<u64> {
        self.newest_id += 1;
        let id = self.newest_id;
        let walk = Walk::of_key(id, slot, hash, entry, self.record_max);
        let is_live = walk.live().is_some();
        self.pending.push(|out| walk.write_start(out));
        self.put_walk(walk);
        is_live.then_some(id)
    }

    /// Writes a part of a large value: to `run`, which makes a record later, or ahead; or starts a walk through it.
    fn write_part(&mut self, walk: &mut Walk, parts: &dyn Parts<Entry>, part: &Entry, run: Option<&mut Vec<u8>>) {
        if record::weight(part) > self.record_max {
            self.newest_id += 1;
            let child = walk.child(self.newest_id, part, self.record_max);
            self.pending.push(|out| child.write_start(out));
            return self.put_walk(child);
        }
        walk.count_part(parts.digest_of_part(part));
        match run {
            Some(run) => parts.write_part(part, run),
            None => {
                let mut one = Vec::new();
                parts.write_part(part, &mut one);
                self.pending.push(|out| record::write_fields(walk.id(), 1, &one, out));
            }
        }
    }

    /// Takes a walk out to advance or change it; [`Image::put_walk`] follows.
    fn take_walk(&mut self, id: u64) -> Option<Walk> {
        let walk = self.walks.remove(&id)?;
        self.walks_bytes -= walk.bytes();
        if let Some(place) = walk.live() {
            self.live.remove(&place.address);
        }
        Some(walk)
    }

    /// Puts a walk back, or ends it if all of its value has been written.
    fn put_walk(&mut self, walk: Walk) {
        if !walk.is_done() {
            self.walks_bytes += walk.bytes();
            if let Some(place) = walk.live() {
                self.live.insert(place.address, walk.id());
            }
            self.walks.insert(walk.id(), walk);
            return;
        }
        let (parent, digest, object) = walk.end();
        self.written.extend(object);
        if parent == 0 {
            return self.add_to_sum(digest);
        }
        let ended = self.take_walk(parent).map(|mut parent| {
            parent.child_ended(digest);
            self.put_walk(parent);
        });
        debug_assert!(ended.is_some(), "a value waits for its parts");
    }

    fn change_walk(&mut self, id: u64, change: impl FnOnce(&mut Image, &mut Walk)) {
        if let Some(mut walk) = self.take_walk(id) {
            change(self, &mut walk);
            self.put_walk(walk);
        }
    }

    /// Writes the next part of the newest walk.
    fn advance_walk(
        &mut self,
        tables: &[EntryTable],
        budget: &mut StepBudget,
        out: &mut Vec<u8>,
    ) -> Result<(), ImageLost> {
        let Some((&id, _)) = self.walks.last_key_value() else { return Ok(()) };
        let Some(mut walk) = self.take_walk(id) else { return Ok(()) };
        walk.note_sole_owner();
        if walk.has_parts() && walk.has_name() {
            self.advance_parts(&mut walk, tables, budget, out)?;
        } else {
            let room = budget.until.saturating_sub(out.len()).max(PART_MIN).min(self.record_max);
            walk.write_part(tables, room, out)?;
        }
        self.put_walk(walk);
        Ok(())
    }

    fn advance_parts(
        &mut self,
        walk: &mut Walk,
        tables: &[EntryTable],
        budget: &mut StepBudget,
        out: &mut Vec<u8>,
    ) -> Result<(), ImageLost> {
        let object = walk.object(tables).ok_or(ImageLost)?;
        let Some(parts) = object.parts() else { return Err(ImageLost) };
        let (mut record, mut count) = (Vec::new(), 0);
        while !walk.is_scanned() && out.len() + record.len() < budget.until && budget.buckets > 0 {
            budget.buckets -= 1;
            let mut bucket: SmallVec<[&Entry; 16]> = SmallVec::new();
            let next = parts.scan(walk.place(), &mut |entry| bucket.push(entry));
            let mut is_whole = true;
            for (n, entry) in bucket.iter().enumerate() {
                if !walk.is_next(parts, entry) {
                    continue;
                }
                if n > 0 && out.len() + record.len() >= budget.until {
                    // What was written of the bucket is remembered, as if it had been written ahead.
                    bucket[..n].iter().for_each(|written| walk.remember(written.key()));
                    is_whole = false;
                    break;
                }
                let before = record.len();
                self.write_part(walk, parts, entry, Some(&mut record));
                count += u64::from(record.len() > before);
            }
            if is_whole {
                walk.move_to(next);
            }
        }
        if count > 0 {
            record::write_fields(walk.id(), count, &record, out);
        }
        if walk.is_scanned() && walk.has_parts_left() {
            debug_assert!(false, "a scan meets every part that was not written ahead");
            return Err(ImageLost);
        }
        Ok(())
    }
}

/// In the order of the scan.
impl Image {
    fn slot_is_done(&mut self, tables: &[EntryTable]) {
        let done = self.ahead.remove(&(self.slot as u16));
        self.ahead_bytes -= done.iter().flatten().map(|key| ahead_bytes(key)).sum::<usize>();
        self.slot += 1;
        self.place = 0;
        // Slots without keys are passed over at once.
        while self.slot < SLOTS && tables[self.slot].is_empty() {
            self.slot += 1;
        }
    }

    /// Writes the bucket at hand, or as much of it as there is room for.
    fn write_bucket(&mut self, keyspace: &Keyspace, tables: &[EntryTable], budget: &StepBudget, out: &mut Vec<u8>) {
        let from = self.place.reverse_bits();
        let slot = self.slot as u16;
        let mut bucket: SmallVec<[&Entry; 16]> = SmallVec::new();
        let next = tables[self.slot].scan(self.place, |entry| bucket.push(entry));
        for (n, entry) in bucket.iter().enumerate() {
            let key = entry.key();
            // After shrinking, a bucket also holds what was written as part of another one.
            let is_new = from == 0 || keyspace.hash(key).reverse_bits() >= from;
            if !is_new || self.is_ahead(slot, key) {
                continue;
            }
            if n > 0 && out.len() >= budget.until {
                // What was written of the bucket is remembered, as if it had been written ahead.
                return bucket[..n].iter().for_each(|written| self.remember(slot, written.key()));
            }
            if record::weight(entry) <= self.record_max {
                record::write_entry(entry, out);
                self.add_to_sum(digest::of_entry(entry));
            } else {
                self.start_walk(Slot(slot), keyspace.hash(key), entry);
            }
        }
        self.place = next;
        if next == 0 {
            self.slot_is_done(tables);
        }
    }

    fn step(
        &mut self,
        keyspace: &Keyspace,
        tables: &[EntryTable],
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<ImageSum>, ImageLost> {
        let start = out.len();
        let mut budget = StepBudget { until: start + budget, buckets: budget / 64 + 1 };
        while out.len() < budget.until {
            if let Some(len) = self.pending.next_len() {
                if out.len() > start && out.len() + len > budget.until {
                    break;
                }
                self.pending.pop(out);
                continue;
            }
            if !self.walks.is_empty() {
                if budget.buckets == 0 {
                    break;
                }
                self.advance_walk(tables, &mut budget, out)?;
                continue;
            }
            if self.slot >= SLOTS || budget.buckets == 0 {
                break;
            }
            budget.buckets -= 1;
            self.write_bucket(keyspace, tables, &budget, out);
        }
        let is_done = self.slot >= SLOTS && self.walks.is_empty() && self.pending.chunks.is_empty();
        Ok(is_done.then_some(self.sum))
    }
}

/// As the engine drives it.
impl Image {
    /// Of the data as they are now; see [`Engine::begin_image`](crate::Engine::begin_image).
    pub(crate) fn begin(record_bytes_max: usize) -> Image {
        Image::new(record_bytes_max)
    }

    /// Writes the next part; see [`Engine::image_step`](crate::Engine::image_step).
    pub(crate) fn write_step(
        &mut self,
        keyspace: &mut Keyspace,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<ImageSum>, ImageLost> {
        self.unit_ended();
        let flushed = self.flushed.take();
        let stepped = self.step(keyspace, flushed.as_deref().unwrap_or(keyspace.tables()), budget, out);
        self.flushed = flushed;
        self.written.drain(..).for_each(|object| keyspace.give_back_object(object));
        stepped
    }

    /// Gives it up: what it owns goes back.
    pub(crate) fn give_up(self, keyspace: &mut Keyspace) {
        let owned = self.walks.into_values().filter_map(Walk::into_object);
        owned.chain(self.written).for_each(|object| keyspace.give_back_object(object));
        if let Some(tables) = self.flushed {
            keyspace.give_back_tables(tables);
        }
    }

    /// Called before an effect is performed.
    #[cold]
    pub(crate) fn before(&mut self, keyspace: &mut Keyspace, effect: &Effect<'_>) {
        if effect.is_of_all() {
            if let Some(tables) = keyspace.take_tables(self.flushed.is_none()) {
                self.flushed = Some(tables);
            }
        } else if self.flushed.is_none() {
            self.before_effect(keyspace, effect);
        }
    }

    /// What has changed since the end of the last unit is about to be rolled back, whole. The image stays one of its
    /// point.
    pub(crate) fn before_rollback(&mut self) {
        for (id, place) in std::mem::take(&mut self.moved_in_unit).into_iter().rev() {
            self.change_walk(id, |_, walk| walk.set_back(place));
        }
    }

    /// Takes back the tables that FLUSHALL gave the image: it goes on with the keyspace, which gets them back. Only in
    /// the unit of that FLUSHALL: the image has read nothing of them yet, and nothing else has changed.
    pub(crate) fn take_lent_tables(&mut self) -> Option<Box<[EntryTable]>> {
        self.flushed.take()
    }
}

#[cfg(test)]
mod tests;
