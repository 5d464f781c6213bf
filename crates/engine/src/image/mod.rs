//! An image: all data at one point in time, written in small steps while commands continue.
//!
//! [`Engine::begin_image`](crate::Engine::begin_image) fixes the point, and
//! [`Engine::image_step`](crate::Engine::image_step) writes the data as of the point, slot by slot in the order of a
//! scan. An effect that is about to change an entry that has not been written yet writes it first (copy before write),
//! so the image shows one point, however long it takes. This needs no fork, no second copy of the data and no long
//! pause: a step writes at most its budget and one record, and an effect costs at most the copy of one record and of
//! the parts that it names.
//!
//! Whether an entry has been written follows from its position: its slot is before the current one, or its position in
//! the scan's order (the reversed bits of its hash, see [`crate::keyspace::table`]) is before the cursor. Growing and
//! shrinking tables change neither. Entries that were written ahead, because they were about to change, are remembered
//! by key until their slot is finished. FLUSHALL lends the old tables to the image, which continues with them.
//!
//! # Large values
//! An entry whose record would be longer than the image's bound is not written at once but by a `Walk`, which has a
//! cursor inside the value and writes one part a step. A walk starts when the scan reaches the entry, or before the
//! entry changes; walks in progress are finished before the scan continues. During a walk, the cost of a change to its
//! value is bounded by the size of the effect:
//!
//! - Parts (fields of a hash) that are about to change are written first, as keys are.
//! - If a text is overwritten in place, the image keeps the old bytes until it has written them. Appended bytes are not
//!   a part of the image.
//! - A value that is removed or replaced (SET, UNLINK, the target of RENAME) is not copied: the image becomes one of
//!   its owners, as undo records are, and gives it back when it has been written.
//! - A list is read from a copy of its structure that shares the nodes; whoever changes a shared node copies it.
//! - RENAME moves the value, and the walk follows it. Walks find values by slot, hash and address, not by name.
//!
//! Below [`FormatLevel::BOUNDS`](fastness_types::FormatLevel) there are no walks: each entry is one record, however
//! large.
//!
//! # Rollback
//! The current unit may be rolled back while the image is in progress
//! ([`Engine::roll_back`](crate::Engine::roll_back)). Records that were written ahead show the point and stay valid;
//! the places of values that the unit moved or removed are reset.

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
use crate::keyspace::libraries::{Libraries, Library};
use crate::keyspace::table::EntryTable;
use crate::keyspace::value::Parts;
use crate::keyspace::{Entry, Key, Keyspace, Object};

pub use codec::ImageError;
pub(crate) use load::Loader;
pub use walk::ImageLost;
use walk::{ValuePlace, Walk, ahead_bytes};

/// The sum of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageSum {
    /// Number of keys.
    pub keys: u64,
    /// Digest of all data at its point, which an engine restored from it has.
    pub digest: Digest,
}

/// Records that were written ahead are returned in chunks of this size, bytes, plus one record.
const PENDING_CHUNK: usize = 32 * 1024;
/// Least part of a value that gets a record, bytes: a step may exceed its budget by as much.
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

/// The budget of a step.
#[derive(Debug, Clone, Copy)]
struct StepBudget {
    /// The step ends once its output has this length, bytes.
    until: usize,
    /// Buckets that it may still visit: empty ones take time too.
    buckets: usize,
}

/// An image in progress.
#[derive(Debug)]
pub(crate) struct Image {
    /// Records longer than this, bytes, are written in parts.
    record_max: usize,
    /// The current slot, and the cursor in it; `SLOTS`: all are finished.
    slot: usize,
    place: u64,
    /// By slot, from the current one on: keys of entries that were written ahead or did not exist at the point.
    ahead: BTreeMap<u16, BTreeSet<Box<[u8]>>>,
    ahead_bytes: usize,
    pending: Pending,
    /// The libraries of functions at the point that have not been written.
    libraries: VecDeque<(Box<[u8]>, Library)>,
    /// Walks through large values, by their ids. The newest advances first, so that a part is finished before its value
    /// continues.
    walks: BTreeMap<u64, Walk>,
    walks_bytes: usize,
    newest_id: u64,
    /// Walks through values in the keyspace, by the address of the value.
    live: BTreeMap<usize, u64>,
    /// The places that values had before the current unit moved or removed them, by the ids of their walks.
    moved_in_unit: Vec<(u64, ValuePlace)>,
    /// The tables of the point, after a FLUSHALL has lent them.
    flushed: Option<Box<[EntryTable]>>,
    /// Values that the image owns and has written.
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
            libraries: VecDeque::new(),
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

    /// Bytes that the image holds in addition to the data.
    pub(crate) fn bytes(&self) -> usize {
        self.ahead_bytes + self.pending.bytes + self.walks_bytes
    }

    fn add_to_sum(&mut self, digest: u128) {
        self.sum.keys += 1;
        self.sum.digest = Digest(self.sum.digest.0.wrapping_add(digest));
    }

    /// The current unit has ended and cannot be rolled back any more.
    pub(crate) fn unit_ended(&mut self) {
        self.moved_in_unit.clear();
    }
}

/// Copying before changes.
impl Image {
    /// Called before this key changes. Writes its entry, or starts a walk, if that has not been done. Returns the id of
    /// the walk through the key's value, if there is one.
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

    /// Called before the value of this key is removed or replaced.
    fn before_replacing(&mut self, keyspace: &Keyspace, key: &Key<'_>) {
        let Some(id) = self.meet(keyspace, key) else { return };
        let Some(object) = keyspace.find(key).and_then(Entry::share_object) else { return };
        self.change_walk(id, |image, walk| image.moved_in_unit.extend(walk.own(object).map(|place| (id, place))));
    }

    /// Called before the value of `from` moves to `to`, which is another key.
    fn before_renaming(&mut self, keyspace: &Keyspace, from: &Key<'_>, to: &Key<'_>) {
        self.before_replacing(keyspace, to);
        let Some(id) = self.meet(keyspace, from) else { return };
        let moved = |image: &mut Image, walk: &mut Walk| {
            image.moved_in_unit.extend(walk.follow(to.slot, to.hash).map(|place| (id, place)));
        };
        self.change_walk(id, moved);
    }

    /// Called before the bytes from `from` to `to` of a string are overwritten.
    fn before_overwriting(&mut self, keyspace: &Keyspace, key: &Key<'_>, from: usize, to: usize) {
        let Some(id) = self.meet(keyspace, key) else { return };
        let Some(text) = keyspace.find(key).and_then(Entry::long_text) else { return };
        self.change_walk(id, |_, walk| walk.keep(text, from, to));
    }

    /// Called before these parts of the key's value change.
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
        let exists = |key: &Key<'_>| keyspace.find(key).is_some();
        match effect.impact() {
            Impact::MovesTo(to) if key.bytes != to.bytes && exists(&key) => {
                self.before_renaming(keyspace, &key, &to);
            }
            // The source of a copy does not change.
            Impact::CopiesTo(to) if key.bytes != to.bytes && exists(&key) => self.before_replacing(keyspace, &to),
            Impact::MovesTo(_) | Impact::CopiesTo(_) | Impact::Flushes => {}
            Impact::Replaces => self.before_replacing(keyspace, &key),
            // The walk knows the length at the point.
            Impact::Extends => _ = self.meet(keyspace, &key),
            Impact::Overwrites { from, to } => self.before_overwriting(keyspace, &key, from, to),
            Impact::ChangesParts { named, step } => self.before_parts(keyspace, &key, named.iter().step_by(step)),
        }
    }
}

/// Walks.
impl Image {
    /// Starts the walk through a key's value. Returns its id, or `None` if it walks through a copy, which changes do
    /// not affect.
    fn start_walk(&mut self, slot: Slot, hash: u64, entry: &Entry) -> Option<u64> {
        self.newest_id += 1;
        let id = self.newest_id;
        let walk = Walk::of_key(id, slot, hash, entry, self.record_max);
        let is_live = walk.live().is_some();
        self.pending.push(|out| walk.write_start(out));
        self.put_walk(walk);
        is_live.then_some(id)
    }

    /// Writes a part of a large value, either to `run`, which becomes a record later, or ahead; or starts a walk
    /// through the part.
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

    /// Removes a walk to advance or change it; [`Image::put_walk`] puts it back.
    fn take_walk(&mut self, id: u64) -> Option<Walk> {
        let walk = self.walks.remove(&id)?;
        self.walks_bytes -= walk.bytes();
        if let Some(place) = walk.live() {
            self.live.remove(&place.address);
        }
        Some(walk)
    }

    /// Puts a walk back, or ends it if its value has been written.
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

    /// Counts what is kept for frozen values alone, which grows as their lists change.
    fn note_kept(&mut self) {
        self.walks.values_mut().for_each(Walk::note_kept);
        self.walks_bytes = self.walks.values().map(Walk::bytes).sum();
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
                    // The entries of the bucket that were written are remembered, as if written ahead.
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
            debug_assert!(false, "a scan visits every part that was not written ahead");
            return Err(ImageLost);
        }
        Ok(())
    }
}

/// Writing in the order of the scan.
impl Image {
    fn slot_is_done(&mut self, tables: &[EntryTable]) {
        let done = self.ahead.remove(&(self.slot as u16));
        self.ahead_bytes -= done.iter().flatten().map(|key| ahead_bytes(key)).sum::<usize>();
        self.slot += 1;
        self.place = 0;
        // Empty slots are skipped at once.
        while self.slot < SLOTS && tables[self.slot].is_empty() {
            self.slot += 1;
        }
    }

    /// Writes the current bucket, or the part of it that the budget allows.
    fn write_bucket(&mut self, keyspace: &Keyspace, tables: &[EntryTable], budget: &StepBudget, out: &mut Vec<u8>) {
        let from = self.place.reverse_bits();
        let slot = self.slot as u16;
        let mut bucket: SmallVec<[&Entry; 16]> = SmallVec::new();
        let next = tables[self.slot].scan(self.place, |entry| bucket.push(entry));
        for (n, entry) in bucket.iter().enumerate() {
            let key = entry.key();
            // After shrinking, a bucket also has entries that were written as part of another one.
            let is_new = from == 0 || keyspace.hash(key).reverse_bits() >= from;
            if !is_new || self.is_ahead(slot, key) {
                continue;
            }
            if n > 0 && out.len() >= budget.until {
                // The entries of the bucket that were written are remembered, as if written ahead.
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
        self.note_kept();
        let start = out.len();
        let mut budget = StepBudget { until: start + budget, buckets: budget / 64 + 1 };
        while out.len() < budget.until {
            if let Some((name, library)) = self.libraries.pop_front() {
                record::write_library(&name, &library, out);
                continue;
            }
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
        let is_done =
            self.slot >= SLOTS && self.walks.is_empty() && self.pending.chunks.is_empty() && self.libraries.is_empty();
        Ok(is_done.then_some(self.sum))
    }
}

/// Operations of the engine.
impl Image {
    /// Starts an image of the present data; see [`Engine::begin_image`](crate::Engine::begin_image).
    pub(crate) fn begin(record_bytes_max: usize, libraries: &Libraries) -> Image {
        let mut image = Image::new(record_bytes_max);
        for (name, library) in libraries.iter() {
            image.libraries.push_back((name.into(), library.clone()));
        }
        image.sum.digest = Digest(libraries.digest());
        image
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

    /// Gives the image up and returns what it owns.
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

    /// Called before the current unit is rolled back. The image stays valid for its point.
    pub(crate) fn before_rollback(&mut self) {
        for (id, place) in std::mem::take(&mut self.moved_in_unit).into_iter().rev() {
            self.change_walk(id, |_, walk| walk.set_back(place));
        }
    }

    /// Returns the tables that a FLUSHALL of the current unit lent to the image, which continues with the keyspace. The
    /// image has not read them yet, because it makes no step within a unit.
    pub(crate) fn take_lent_tables(&mut self) -> Option<Box<[EntryTable]>> {
        self.flushed.take()
    }
}

#[cfg(test)]
mod tests;
