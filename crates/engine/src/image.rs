//! An image: all data at one point, written out a little at a time while commands go on.
//!
//! [`Engine::begin_image`] fixes the point. [`Engine::image_step`] then writes what was there, slot by slot in the order of a
//! scan. Whatever changes an entry that has not been written yet writes it first (copy before write), so the image is of the
//! one point, however long it takes. There is no fork, no second copy of the data, and no long stop: a step is as long as its
//! budget, a change costs at most the copy of what it changes
//! (of a large hash: all of it).
//!
//! What is known of an entry by its place alone: an entry is written if its slot is before the one at hand, or if its place in
//! the scan's order (the reversed bits of its hash, see [`crate::keyspace::table`]) is before the cursor. Growing and
//! shrinking change neither. Entries that were written ahead because they were about to change are remembered by key until
//! their slot is done. FLUSHALL hands the old tables to the image, which writes them from then on.
//!
//! # Format (frozen; golden bytes below)
//!
//! An image is a run of records, one per key, in no particular order:
//!
//! ```text
//! key       varint length, bytes
//! head      u8      low 5 bits: the kind of value; bit 5: a deadline follows
//! deadline  varint  ms since the Unix epoch; only with bit 5
//! value     kind 0, string: varint length, bytes
//!           kind 1, string that OBJECT ENCODING calls raw: the same
//!           kind 2, integer: varint, zigzag
//!           kind 3, small hash: varint, number of fields; of each its length and bytes, its value's length and bytes
//!           kind 4, large hash: the same; behind each value a varint, the field's deadline plus 1, or 0 for none
//! ```
//!
//! Chunks are cut between records. Varints are LEB128, as in [`crate::effect`].

use std::collections::{BTreeMap, BTreeSet};

use fastness_types::{SLOTS, Slot, WallMs};

use crate::digest::{self, Digest};
use crate::effect::{Effect, write_varint};
use crate::engine::Engine;
use crate::keyspace::table::Table;
use crate::keyspace::{Entry, ExpiryChange, Key, Keyspace, NewValue};
use crate::value::hash::{Pair, pair};
use crate::value::{Object, ValueRef};

/// Kinds of values. Frozen.
const TEXT: u8 = 0;
const RAW_TEXT: u8 = 1;
const INT: u8 = 2;
const HASH: u8 = 3;
const LARGE_HASH: u8 = 4;
/// Bits of a head.
const KIND_BITS: u8 = 0x1f;
const HAS_DEADLINE: u8 = 0x20;

/// What an image came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageSum {
    /// Keys in it.
    pub keys: u64,
    /// Of all data at its point: that of an engine that was restored from it.
    pub digest: Digest,
}

/// An image that is being written.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// The slot at hand, and the place in it; `SLOTS`: all are done.
    slot: usize,
    place: u64,
    /// By slot, from the one at hand on: keys of entries that were written ahead, or were not there.
    ahead: BTreeMap<u16, BTreeSet<Box<[u8]>>>,
    ahead_bytes: usize,
    /// Records written ahead that the next step takes.
    pending: Vec<u8>,
    /// The tables of the point, once FLUSHALL has replaced them.
    flushed: Option<Box<[Table]>>,
    sum: ImageSum,
}

impl Image {
    fn is_written(&self, key: &Key<'_>) -> bool {
        let slot = usize::from(key.slot.0);
        slot < self.slot || (slot == self.slot && key.hash.reverse_bits() < self.place.reverse_bits())
    }

    fn is_ahead(&self, slot: u16, key: &[u8]) -> bool {
        self.ahead.get(&slot).is_some_and(|keys| keys.contains(key))
    }

    /// Something is about to change this key.
    fn before_change(&mut self, keyspace: &Keyspace, key: &Key<'_>) {
        if self.flushed.is_some() || self.is_written(key) || self.is_ahead(key.slot.0, key.bytes) {
            return;
        }
        if let Some(entry) = keyspace.find(key) {
            write_entry(entry, &mut self.sum, &mut self.pending);
        }
        self.ahead_bytes += ahead_bytes(key.bytes);
        self.ahead.entry(key.slot.0).or_default().insert(key.bytes.into());
    }

    fn slot_is_done(&mut self, keyspace: &Keyspace) {
        let done = self.ahead.remove(&(self.slot as u16));
        self.ahead_bytes -= done.iter().flatten().map(|key| ahead_bytes(key)).sum::<usize>();
        self.slot += 1;
        self.place = 0;
        // Slots without keys are passed over at once.
        while self.slot < SLOTS && self.table(keyspace).is_empty() {
            self.slot += 1;
        }
    }

    fn table<'t>(&'t self, keyspace: &'t Keyspace) -> &'t Table {
        match &self.flushed {
            Some(tables) => &tables[self.slot],
            None => keyspace.table(Slot(self.slot as u16)),
        }
    }

    /// Writes the bucket at hand.
    fn write_bucket(&mut self, keyspace: &Keyspace, out: &mut Vec<u8>) {
        let (from, mut sum) = (self.place.reverse_bits(), self.sum);
        let ahead = self.ahead.get(&(self.slot as u16));
        let next = self.table(keyspace).scan(self.place, |entry| {
            let key = entry.key();
            // After shrinking, a bucket also holds what was written as part of another one.
            let is_new = from == 0 || keyspace.hash(key).reverse_bits() >= from;
            if is_new && ahead.is_none_or(|keys| !keys.contains(key)) {
                write_entry(entry, &mut sum, out);
            }
        });
        self.sum = sum;
        self.place = next;
        if next == 0 {
            self.slot_is_done(keyspace);
        }
    }
}

impl Engine {
    /// Begins an image of the data as it is now. One that was begun before is given up.
    pub fn begin_image(&mut self) {
        self.drop_image();
        self.image = Some(Box::default());
    }

    /// Appends about `budget` bytes of the image to `out` (one record may be longer). Gives the sum once all is written; the image
    /// is then over.
    ///
    /// # Panics
    /// If no image was begun.
    pub fn image_step(&mut self, budget: usize, out: &mut Vec<u8>) -> Option<ImageSum> {
        let image = self.image.as_mut().expect("an image was begun");
        let start = out.len();
        if out.is_empty() {
            std::mem::swap(&mut image.pending, out);
        } else {
            out.append(&mut image.pending);
        }
        // A bucket without entries takes time as well.
        let mut buckets = budget / 64 + 1;
        while image.slot < SLOTS && out.len() - start < budget && buckets > 0 {
            image.write_bucket(&self.keyspace, out);
            buckets -= 1;
        }
        if image.slot < SLOTS {
            return None;
        }
        let sum = image.sum;
        self.drop_image();
        Some(sum)
    }

    /// Whether an image is being written.
    #[must_use]
    pub fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Gives an image up.
    pub fn drop_image(&mut self) {
        if let Some(tables) = self.image.take().and_then(|image| image.flushed) {
            self.keyspace.give_back_tables(tables);
        }
    }

    /// Takes back the tables that FLUSHALL gave the image: it goes on with the keyspace, which gets them back. Only in the unit of that
    /// FLUSHALL: the image has read nothing of them yet, and nothing else has changed.
    pub(crate) fn take_lent_tables(&mut self) -> Option<Box<[Table]>> {
        self.image.as_mut()?.flushed.take()
    }

    /// Bytes that an image in progress holds besides the data.
    pub(crate) fn image_bytes(&self) -> u64 {
        self.image.as_ref().map_or(0, |image| (image.ahead_bytes + image.pending.capacity()) as u64)
    }

    /// Called before an effect is performed.
    #[cold]
    pub(crate) fn before_change(&mut self, effect: &Effect<'_>) {
        let Some(image) = &mut self.image else { return };
        match effect {
            Effect::FlushAll => {
                if let Some(tables) = self.keyspace.take_tables(image.flushed.is_none()) {
                    image.flushed = Some(tables);
                }
            }
            Effect::Rename { from, to } => {
                image.before_change(&self.keyspace, from);
                image.before_change(&self.keyspace, to);
            }
            // What is copied from stays as it is.
            Effect::Copy { to, .. } => image.before_change(&self.keyspace, to),
            other => {
                if let Some(key) = other.key() {
                    image.before_change(&self.keyspace, key);
                }
            }
        }
    }

    /// Takes over the records of one chunk, into an engine that does not have their keys. `stamp`: the time of the image's
    /// point, from which the times of access run.
    ///
    /// # Errors
    /// Bytes that are no records of this version; what stood before them is there.
    pub fn load_image(&mut self, stamp: WallMs, chunk: &[u8]) -> Result<(), ImageError> {
        self.advance_stamp(stamp);
        let mut reader = Reader(chunk);
        while !reader.0.is_empty() {
            let key = reader.bytes()?;
            let head = reader.byte()?;
            if head & !(KIND_BITS | HAS_DEADLINE) != 0 {
                return Err(ImageError::Unknown(head));
            }
            let expiry = match head & HAS_DEADLINE {
                0 => ExpiryChange::Drop,
                _ => ExpiryChange::At(WallMs(reader.varint()?)),
            };
            let kind = head & KIND_BITS;
            if kind == HASH || kind == LARGE_HASH {
                self.load_hash(key, kind, expiry, stamp, &mut reader)?;
                continue;
            }
            let value = match kind {
                TEXT => NewValue::Text(reader.bytes()?),
                RAW_TEXT => NewValue::RawText(reader.bytes()?),
                INT => NewValue::Int(unzigzag(reader.varint()?)),
                _ => return Err(ImageError::Unknown(head)),
            };
            let key = self.keyspace.key(key);
            self.keyspace.put(&key, value, expiry, stamp);
        }
        Ok(())
    }
}

impl Engine {
    fn load_hash<'a>(
        &mut self,
        key: &[u8],
        kind: u8,
        expiry: ExpiryChange,
        stamp: WallMs,
        reader: &mut Reader<'a>,
    ) -> Result<(), ImageError> {
        let key = self.keyspace.key(key);
        let mut fields: Vec<(Pair<'a>, Option<WallMs>)> = Vec::new();
        for _ in 0..reader.varint()? {
            let pair = (reader.bytes()?, reader.bytes()?);
            let deadline = if kind == LARGE_HASH { reader.varint()?.checked_sub(1).map(WallMs) } else { None };
            fields.push((pair, deadline));
        }
        if kind == LARGE_HASH {
            self.keyspace.put_fields(&key, fields.into_iter(), stamp);
        } else {
            self.keyspace.set_fields(&key, fields.iter().map(|(pair, _)| *pair), ExpiryChange::Drop, stamp);
        }
        self.keyspace.set_expiry(&key, expiry.after(None));
        Ok(())
    }
}

/// What a key that is remembered takes, about.
fn ahead_bytes(key: &[u8]) -> usize {
    key.len() + 2 * size_of::<Box<[u8]>>()
}

/// Bytes that are not records of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// They end inside a record.
    #[error("the image ends inside a record")]
    Truncated,
    /// A varint does not fit into 64 bits.
    #[error("a number in the image is out of range")]
    Number,
    /// A kind of value, or a bit, that this version does not know.
    #[error("unknown head {0:#04x} in the image: written by a newer version?")]
    Unknown(u8),
}

fn write_entry(entry: &Entry, sum: &mut ImageSum, out: &mut Vec<u8>) {
    sum.keys += 1;
    sum.digest = Digest(sum.digest.0.wrapping_add(digest::of_entry(entry)));
    write_bytes(entry.key(), out);
    let kind = match entry.value() {
        ValueRef::Int(_) => INT,
        ValueRef::Text(_) if entry.is_raw() => RAW_TEXT,
        ValueRef::Text(_) => TEXT,
        ValueRef::Object(Object::Text(_)) => RAW_TEXT,
        ValueRef::Flat(_) => HASH,
        ValueRef::Object(Object::Hash(_)) => LARGE_HASH,
    };
    let deadline = entry.deadline();
    out.push(kind | if deadline.is_some() { HAS_DEADLINE } else { 0 });
    if let Some(at) = deadline {
        write_varint(out, at.0);
    }
    match entry.value() {
        ValueRef::Int(number) => write_varint(out, zigzag(number)),
        ValueRef::Text(text) => write_bytes(text, out),
        ValueRef::Object(Object::Text(text)) => write_bytes(text, out),
        ValueRef::Flat(flat) => {
            write_varint(out, flat.len() as u64);
            flat.iter().for_each(|pair| write_pair(pair, out));
        }
        ValueRef::Object(Object::Hash(fields)) => {
            write_varint(out, fields.len() as u64);
            for entry in fields.iter() {
                write_pair(pair(entry), out);
                write_varint(out, entry.deadline().map_or(0, |at| at.0.saturating_add(1)));
            }
        }
    }
}

fn write_pair((field, value): Pair<'_>, out: &mut Vec<u8>) {
    write_bytes(field, out);
    write_bytes(value, out);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn zigzag(number: i64) -> u64 {
    (number << 1) as u64 ^ (number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, ImageError> {
        let (first, rest) = self.0.split_first().ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    fn bytes(&mut self) -> Result<&'a [u8], ImageError> {
        let len = usize::try_from(self.varint()?).map_err(|_| ImageError::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64, ImageError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ImageError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ImageError::Number)
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
