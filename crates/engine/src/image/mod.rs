//! An image: all data at one point, written out a little at a time while commands go on.
//!
//! [`Engine::begin_image`] fixes the point. [`Engine::image_step`] then writes what was there, slot by slot in the order of a
//! scan. Whatever changes an entry that has not been written yet writes it first (copy before write), so the image is of the
//! one point, however long it takes. There is no fork, no second copy of the data, and no long stop: a step writes its budget and
//! one record at most, and a change costs at most the copy of one record and of what the change itself names.
//!
//! What is known of an entry by its place alone: an entry is written if its slot is before the one at hand, or if its place in
//! the scan's order (the reversed bits of its hash, see [`crate::keyspace::table`]) is before the cursor. Growing and
//! shrinking change neither. Entries that were written ahead because they were about to change are remembered by key until
//! their slot is done. FLUSHALL hands the old tables to the image, which writes them from then on.
//!
//! # Large values
//! An entry whose record would be longer than the image's bound is not written at once, but by a walk (`Walk`) of its own, which has
//! a cursor inside the value and writes a part a step. A walk starts at the entry's turn, or before the entry changes; walks in
//! progress are finished before the next entry's turn. While one is in progress, what happens to its value is bounded by
//! the effect:
//!
//! - Fields of a hash that are about to change are written first, as keys are.
//! - Of a text that is overwritten in place, the bytes at that place are kept until their turn. What is appended is not the image's.
//! - A value that leaves its key for good (SET, UNLINK, the target of RENAME) is not copied: the image becomes an owner of it, beside
//!   undo records, and gives it back when it has been written.
//! - RENAME moves the value; the walk follows it. Walks find values by slot, hash and address, not by name.
//!
//! Below [`FormatLevel::BOUNDS`](fastness_types::FormatLevel) there are no walks: each entry is one record, however large.
//!
//! # Rollback
//! Changes of the newest unit may be taken back while the image is in progress ([`Engine::roll_back`]): what was written ahead is of
//! the point and stays right; places of values that this unit has moved or removed are set back.

mod load;
mod record;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fastness_types::{SLOTS, Slot};
use smallvec::SmallVec;

use crate::digest::{self, Digest};
use crate::effect::Effect;
use crate::engine::Engine;
use crate::keyspace::table::Table;
use crate::keyspace::{Entry, Key, Keyspace};
use crate::value::Object;

pub(crate) use load::Loader;
pub use record::ImageError;
use walk::{Place, Walk};

/// What an image came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageSum {
    /// Keys in it.
    pub keys: u64,
    /// Of all data at its point: that of an engine that was restored from it.
    pub digest: Digest,
}

/// The image lost a value that it had not written: a fault of this program. What was written is of no use; data are not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an image in progress has lost a value that was not written yet")]
pub struct ImageLost;

/// Records that were written ahead are handed out in chunks of this size, bytes, and one record.
const PENDING_CHUNK: usize = 32 * 1024;
/// Least part of a value that is worth a record, bytes: what a step may write over its budget beside whole records.
const PART_MIN: usize = 512;
/// What a walk takes besides the bytes it holds, about.
const WALK_BYTES: usize = 256;

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
struct Budget {
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
    /// Large values that are being written, by their ids. The newest is written first, so that a hash never has more than one field
    /// at its turn.
    walks: BTreeMap<u64, Walk>,
    walks_bytes: usize,
    newest_id: u64,
    /// Walks of values that are in the keyspace, by the address of the value.
    live: BTreeMap<usize, u64>,
    /// Where walks had their values before the unit at hand moved or removed these.
    moved_in_unit: Vec<(u64, Place)>,
    /// The tables of the point, once FLUSHALL has replaced them.
    flushed: Option<Box<[Table]>>,
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

    fn bytes(&self) -> usize {
        self.ahead_bytes + self.pending.bytes + self.walks_bytes
    }

    fn add_to_sum(&mut self, digest: u128) {
        self.sum.keys += 1;
        self.sum.digest = Digest(self.sum.digest.0.wrapping_add(digest));
    }

    /// The unit at hand has ended: it is not rolled back any more.
    fn unit_ended(&mut self) {
        self.moved_in_unit.clear();
    }
}

/// Before changes.
impl Image {
    /// Something is about to change this key. Writes its entry first, if that has not been written, or starts a walk. Returns the walk
    /// through the value that the key holds, if there is one.
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
        let Some(Object::Text(text)) = keyspace.find(key).and_then(Entry::object) else { return };
        self.change_walk(id, |_, walk| walk.keep(text, from, to));
    }

    /// These fields are about to change.
    fn before_fields<'f>(&mut self, keyspace: &Keyspace, key: &Key<'_>, changing: impl Iterator<Item = &'f [u8]>) {
        let Some(id) = self.meet(keyspace, key) else { return };
        let Some(fields) = keyspace.find(key).and_then(Entry::fields) else { return };
        let Some(mut walk) = self.take_walk(id) else { return };
        for field in changing {
            if let Some(entry) = walk.meet_field(fields, field) {
                self.write_field(&mut walk, entry, None);
            }
        }
        self.put_walk(walk);
    }

    fn before_effect(&mut self, keyspace: &Keyspace, effect: &Effect<'_>) {
        let is_there = |key: &Key<'_>| keyspace.find(key).is_some();
        match effect {
            Effect::FlushAll => {}
            Effect::Rename { from, to } => {
                if from.bytes != to.bytes && is_there(from) {
                    self.before_renaming(keyspace, from, to);
                }
            }
            // What is copied from stays as it is.
            Effect::Copy { from, to } => {
                if from.bytes != to.bytes && is_there(from) {
                    self.before_replacing(keyspace, to);
                }
            }
            Effect::Set { key, .. } | Effect::Unlink { key } => self.before_replacing(keyspace, key),
            Effect::ExpireAt { key, .. } | Effect::Persist { key } => _ = self.meet(keyspace, key),
            // The length at the point is known to the walk.
            Effect::Append { key, .. } => _ = self.meet(keyspace, key),
            Effect::SetRange { key, offset, bytes } => {
                let from = usize::try_from(*offset).unwrap_or(usize::MAX);
                self.before_overwriting(keyspace, key, from, from.saturating_add(bytes.len()));
            }
            Effect::SetFields { key, pairs, .. } => {
                self.before_fields(keyspace, key, pairs.pairs().map(|(field, _)| field));
            }
            Effect::RemoveFields { key, fields }
            | Effect::ExpireFieldsAt { key, fields, .. }
            | Effect::PersistFields { key, fields } => self.before_fields(keyspace, key, fields.iter()),
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

    /// Writes a field of a large hash: to `fields`, which makes a record later, or ahead; or starts a walk through it.
    fn write_field(&mut self, walk: &mut Walk, entry: &Entry, fields: Option<&mut Vec<u8>>) {
        if record::weight(entry) > self.record_max {
            self.newest_id += 1;
            let child = walk.child(self.newest_id, entry, self.record_max);
            self.pending.push(|out| child.write_start(out));
            return self.put_walk(child);
        }
        walk.count_field(entry);
        match fields {
            Some(fields) => record::write_field(entry, fields),
            None => {
                let mut field = Vec::new();
                record::write_field(entry, &mut field);
                self.pending.push(|out| record::write_fields(walk.id(), 1, &field, out));
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
        debug_assert!(ended.is_some(), "a hash waits for its fields");
    }

    fn change_walk(&mut self, id: u64, change: impl FnOnce(&mut Image, &mut Walk)) {
        if let Some(mut walk) = self.take_walk(id) {
            change(self, &mut walk);
            self.put_walk(walk);
        }
    }

    /// Writes the next part of the newest walk.
    fn advance_walk(&mut self, tables: &[Table], budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), ImageLost> {
        let Some((&id, _)) = self.walks.last_key_value() else { return Ok(()) };
        let Some(mut walk) = self.take_walk(id) else { return Ok(()) };
        walk.note_sole_owner();
        if walk.is_hash() && walk.has_name() {
            self.advance_hash(&mut walk, tables, budget, out)?;
        } else {
            let room = budget.until.saturating_sub(out.len()).max(PART_MIN).min(self.record_max);
            walk.write_part(tables, room, out)?;
        }
        self.put_walk(walk);
        Ok(())
    }

    fn advance_hash(
        &mut self,
        walk: &mut Walk,
        tables: &[Table],
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<(), ImageLost> {
        let object = walk.object(tables).ok_or(ImageLost)?;
        let Object::Hash(fields) = &*object else { return Err(ImageLost) };
        let (mut record, mut count) = (Vec::new(), 0);
        while !walk.is_scanned() && out.len() + record.len() < budget.until && budget.buckets > 0 {
            budget.buckets -= 1;
            let mut bucket: SmallVec<[&Entry; 16]> = SmallVec::new();
            let next = fields.scan(walk.place(), |entry| bucket.push(entry));
            let mut is_whole = true;
            for (n, entry) in bucket.iter().enumerate() {
                if !walk.is_next(fields, entry) {
                    continue;
                }
                if n > 0 && out.len() + record.len() >= budget.until {
                    // What was written of the bucket is remembered, as if it had been written ahead.
                    bucket[..n].iter().for_each(|written| walk.remember(written.key()));
                    is_whole = false;
                    break;
                }
                let before = record.len();
                self.write_field(walk, entry, Some(&mut record));
                count += u64::from(record.len() > before);
            }
            if is_whole {
                walk.move_to(next);
            }
        }
        if count > 0 {
            record::write_fields(walk.id(), count, &record, out);
        }
        if walk.is_scanned() && walk.has_fields_left() {
            debug_assert!(false, "a scan meets every field that was not written ahead");
            return Err(ImageLost);
        }
        Ok(())
    }
}

/// In the order of the scan.
impl Image {
    fn slot_is_done(&mut self, tables: &[Table]) {
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
    fn write_bucket(&mut self, keyspace: &Keyspace, tables: &[Table], budget: &Budget, out: &mut Vec<u8>) {
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
        tables: &[Table],
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<ImageSum>, ImageLost> {
        let start = out.len();
        let mut budget = Budget { until: start + budget, buckets: budget / 64 + 1 };
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

impl Engine {
    /// Begins an image of the data as it is now. One that was begun before is given up. A record that would be longer than
    /// `record_bytes_max` is written in parts; `usize::MAX`: none is, as before [`FormatLevel::BOUNDS`](fastness_types::FormatLevel).
    pub fn begin_image(&mut self, record_bytes_max: usize) {
        self.drop_image();
        self.image = Some(Box::new(Image::new(record_bytes_max)));
    }

    /// Appends about `budget` bytes of the image to `out`; at most one record more. Gives the sum once all is written; the image is
    /// then over.
    ///
    /// # Errors
    /// The image cannot be finished, and is given up.
    ///
    /// # Panics
    /// If no image was begun.
    pub fn image_step(&mut self, budget: usize, out: &mut Vec<u8>) -> Result<Option<ImageSum>, ImageLost> {
        let image = self.image.as_mut().expect("an image was begun");
        image.unit_ended();
        let flushed = image.flushed.take();
        let tables = flushed.as_deref().unwrap_or(self.keyspace.tables());
        let stepped = image.step(&self.keyspace, tables, budget, out);
        image.flushed = flushed;
        image.written.drain(..).for_each(|object| self.keyspace.give_back_object(object));
        if !matches!(stepped, Ok(None)) {
            self.drop_image();
        }
        stepped
    }

    /// Whether an image is being written.
    #[must_use]
    pub fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Gives an image up.
    pub fn drop_image(&mut self) {
        let Some(image) = self.image.take() else { return };
        let owned = image.walks.into_values().filter_map(Walk::into_object);
        owned.chain(image.written).for_each(|object| self.keyspace.give_back_object(object));
        if let Some(tables) = image.flushed {
            self.keyspace.give_back_tables(tables);
        }
    }

    /// Bytes that an image in progress holds besides the data.
    pub(crate) fn image_bytes(&self) -> u64 {
        self.image.as_ref().map_or(0, |image| image.bytes() as u64)
    }

    /// Called before an effect is performed.
    #[cold]
    pub(crate) fn before_change(&mut self, effect: &Effect<'_>) {
        let Some(image) = &mut self.image else { return };
        if let Effect::FlushAll = effect {
            if let Some(tables) = self.keyspace.take_tables(image.flushed.is_none()) {
                image.flushed = Some(tables);
            }
        } else if image.flushed.is_none() {
            image.before_effect(&self.keyspace, effect);
        }
    }

    /// The unit at hand has ended and stays.
    pub(crate) fn image_unit_ended(&mut self) {
        if let Some(image) = &mut self.image {
            image.unit_ended();
        }
    }

    /// What has changed since the end of the last unit is about to be taken back, whole. The image stays one of its point.
    pub(crate) fn image_before_rollback(&mut self) {
        let Some(image) = &mut self.image else { return };
        for (id, place) in std::mem::take(&mut image.moved_in_unit).into_iter().rev() {
            image.change_walk(id, |_, walk| walk.set_back(place));
        }
    }

    /// Takes back the tables that FLUSHALL gave the image: it goes on with the keyspace, which gets them back. Only in the unit of that
    /// FLUSHALL: the image has read nothing of them yet, and nothing else has changed.
    pub(crate) fn take_lent_tables(&mut self) -> Option<Box<[Table]>> {
        self.image.as_mut()?.flushed.take()
    }
}

/// What a key that is remembered takes, about.
fn ahead_bytes(key: &[u8]) -> usize {
    key.len() + 2 * size_of::<Box<[u8]>>()
}

#[cfg(test)]
mod tests;
