//! The walk through one large value: which part of it has been written, and where the rest is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastness_types::{Slot, WallMs};

use super::record::{self, RAW_TEXT, Start, TEXT};
use crate::codec::digest::Running;
use crate::keyspace::table::EntryTable;
use crate::keyspace::text::Text;
use crate::keyspace::value::{FrozenPart, FrozenValue, Parts};
use crate::keyspace::{Entry, Object, TypeNumber, ValueRef};
use crate::types::Type;

/// Approximate memory of a walk besides the bytes that it holds.
const WALK_BYTES: usize = 256;
/// Kept bytes of a text are split into pieces of this size.
const PIECE: usize = 32 * 1024;

/// The image lost a value that it had not written yet. This is a bug; the written part is useless, and the data is not
/// affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an image in progress has lost a value that was not written yet")]
pub struct ImageLost;

/// Approximate memory of a remembered key.
pub(super) fn ahead_bytes(key: &[u8]) -> usize {
    key.len() + 2 * size_of::<Box<[u8]>>()
}

/// The place of a value in the keyspace: the slot and hash of its key, and its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValuePlace {
    pub(super) slot: Slot,
    pub(super) hash: u64,
    pub(super) address: usize,
}

/// Where the value is that has not been fully written.
#[derive(Debug)]
enum WalkSource {
    /// It is in the keyspace.
    Live(ValuePlace),
    /// The image owns it, because it was removed or replaced, or is the value of a part, which never changes in place.
    /// `counts`: its memory counts as the image's.
    Owned { object: Arc<Object>, counts: bool },
    /// A copy of a value that is short or inside its entry.
    Copied(Vec<u8>),
    /// The value as it was at the point, which does not change with it.
    Frozen(Box<dyn FrozenValue>),
}

/// How much of the value has been written.
#[derive(Debug)]
enum Rest {
    Bytes {
        at: usize,
        /// The length at the point; a text may have grown since.
        len: usize,
        /// Bytes of a text that have been overwritten since, by their offsets, in pieces; none is before `at`.
        kept: BTreeMap<usize, Vec<u8>>,
        kept_bytes: usize,
        /// What the digest covers instead of the bytes.
        digested: Option<Digested>,
    },
    Parts {
        /// The cursor in the table; `None`: at the end.
        place: Option<u64>,
        /// Names of parts that were written ahead or did not exist at the point.
        ahead: BTreeSet<Box<[u8]>>,
        ahead_bytes: usize,
        /// Number of parts that neither were written nor have a walk.
        left: usize,
        /// Number of walks through parts that have not ended.
        children: usize,
        /// Sum of the digests of written parts.
        sum: u128,
    },
    /// What the frozen value has left.
    Frozen,
}

/// What a digest covers of a value whose record has another form.
#[derive(Debug)]
enum Digested {
    Int(i64),
    Packed(TypeNumber, Vec<u8>),
    /// An object that does not consist of parts.
    Object(Object),
}

/// A walk through one large value.
#[derive(Debug)]
pub(super) struct Walk {
    id: u64,
    parent: u64,
    /// How many bytes of the name have been written; the name is dropped after that.
    name_at: usize,
    name: Vec<u8>,
    deadline: Option<WallMs>,
    kind: u8,
    of: TypeNumber,
    digest: Running,
    source: WalkSource,
    rest: Rest,
}

impl Walk {
    /// A walk through a key's value, which may change in place.
    pub(super) fn of_key(id: u64, slot: Slot, hash: u64, entry: &Entry, record_max: usize) -> Walk {
        let (source, rest) = source_of(slot, hash, entry);
        let digest = Running::of_name(entry.key().len());
        let (kind, of) = (record::kind_of(entry), entry.value().of());
        let (name, deadline) = (entry.key().to_vec(), entry.deadline());
        let mut walk = Walk { id, parent: 0, name_at: 0, name, deadline, kind, of, digest, source, rest };
        walk.pass_name(record_max);
        walk
    }

    /// A walk through a part of this value; the part counts as written from now on.
    pub(super) fn child(&mut self, id: u64, entry: &Entry, record_max: usize) -> Walk {
        if let Rest::Parts { left, children, .. } = &mut self.rest {
            *left -= 1;
            *children += 1;
        }
        let (name, value) = (entry.key(), entry.value().bytes().unwrap_or_default());
        let copied = || WalkSource::Copied(value.to_vec());
        let source = entry.share_object().map_or_else(copied, |object| WalkSource::Owned { object, counts: false });
        let (name, deadline) = (name.to_vec(), entry.deadline());
        let rest = Rest::bytes(value.len());
        let digest = Running::of_name(name.len());
        let (parent, of) = (self.id, TypeNumber::STRING);
        let mut walk = Walk { id, parent, name_at: 0, name, deadline, kind: TEXT, of, digest, source, rest };
        walk.pass_name(record_max);
        walk
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Writes the record that starts the value, with the bytes of the name that count as written.
    pub(super) fn write_start(&self, out: &mut Vec<u8>) {
        let total = match &self.rest {
            Rest::Bytes { len, .. } => *len,
            Rest::Parts { left, .. } => *left,
            Rest::Frozen => self.frozen_left(),
        };
        let start = Start {
            id: self.id,
            parent: self.parent,
            name: &self.name[..self.name_at],
            name_len: self.name.len(),
            deadline: self.deadline,
            kind: self.kind,
            total: total as u64,
        };
        record::write_start(&start, out);
    }

    /// Counts the next bytes of the name, at most `room`, as written.
    fn pass_name(&mut self, room: usize) {
        let to = self.name.len().min(self.name_at + room);
        self.digest.bytes(&self.name[self.name_at..to]);
        self.name_at = to;
        if !self.has_name() {
            return;
        }
        if self.parent != 0 {
            return self.digest.part_is_whole(self.deadline);
        }
        self.digest.key_is_whole(self.deadline, self.of.0);
        if self.of == TypeNumber::STRING {
            self.digest.text_follows(self.kind == RAW_TEXT);
        }
    }

    /// Whether the whole name has been written.
    pub(super) fn has_name(&self) -> bool {
        self.name_at == self.name.len()
    }

    pub(super) fn has_parts(&self) -> bool {
        matches!(self.rest, Rest::Parts { .. })
    }

    /// Whether everything has been written, including parts that have walks.
    pub(super) fn is_done(&self) -> bool {
        self.has_name()
            && match &self.rest {
                Rest::Bytes { at, len, .. } => at == len,
                Rest::Parts { left, children, .. } => (*left, *children) == (0, 0),
                Rest::Frozen => self.frozen_left() == 0,
            }
    }

    /// Number of parts that the frozen value has left.
    fn frozen_left(&self) -> usize {
        match &self.source {
            WalkSource::Frozen(frozen) => frozen.parts_left(),
            WalkSource::Live(_) | WalkSource::Owned { .. } | WalkSource::Copied(_) => 0,
        }
    }

    /// Ends the walk: returns the parent's id, the digest, and the value if the image owns it.
    pub(super) fn end(mut self) -> (u64, u128, Option<Arc<Object>>) {
        match &self.rest {
            Rest::Parts { sum, .. } => self.digest.parts(*sum),
            Rest::Bytes { digested: Some(Digested::Int(number)), .. } => {
                self.digest.bytes(itoa::Buffer::new().format(*number).as_bytes());
            }
            Rest::Bytes { digested: Some(Digested::Packed(of, bytes)), .. } => {
                Type::packed(*of).digest(bytes, &mut self.digest);
            }
            Rest::Bytes { digested: Some(Digested::Object(object)), .. } => object.digest(&mut self.digest),
            Rest::Bytes { .. } | Rest::Frozen => {}
        }
        let object = match self.source {
            WalkSource::Owned { object, .. } => Some(object),
            WalkSource::Live(_) | WalkSource::Copied(_) | WalkSource::Frozen(_) => None,
        };
        (self.parent, self.digest.end(), object)
    }

    pub(super) fn into_object(self) -> Option<Arc<Object>> {
        match self.source {
            WalkSource::Owned { object, .. } => Some(object),
            WalkSource::Live(_) | WalkSource::Copied(_) | WalkSource::Frozen(_) => None,
        }
    }

    /// Bytes that the walk holds in addition to the data.
    pub(super) fn bytes(&self) -> usize {
        let source = match &self.source {
            WalkSource::Owned { object, counts: true } => object.heap_bytes(),
            WalkSource::Owned { .. } | WalkSource::Live(_) => 0,
            WalkSource::Copied(bytes) => bytes.capacity(),
            WalkSource::Frozen(frozen) => frozen.bytes(),
        };
        let rest = match &self.rest {
            Rest::Bytes { kept_bytes, .. } => *kept_bytes,
            Rest::Parts { ahead_bytes, .. } => *ahead_bytes,
            Rest::Frozen => 0,
        };
        WALK_BYTES + self.name.capacity() + source + rest
    }
}

/// The place of the value.
impl Walk {
    /// The value's place, if the walk still needs a value that is in the keyspace. A walk without parts left to write
    /// does not: the key may have been removed with its last part.
    pub(super) fn live(&self) -> Option<ValuePlace> {
        match self.source {
            WalkSource::Live(place) if !self.has_parts() || self.has_parts_left() => Some(place),
            WalkSource::Live(_) | WalkSource::Owned { .. } | WalkSource::Copied(_) | WalkSource::Frozen(_) => None,
        }
    }

    /// Makes the image an owner of the value, which is about to be removed or replaced. Returns the value's place.
    pub(super) fn own(&mut self, object: Arc<Object>) -> Option<ValuePlace> {
        let place = self.live()?;
        self.source = WalkSource::Owned { object, counts: true };
        Some(place)
    }

    /// Follows the value, which is about to move to a key in this place. Returns the old place.
    pub(super) fn follow(&mut self, slot: Slot, hash: u64) -> Option<ValuePlace> {
        let place = self.live()?;
        self.source = WalkSource::Live(ValuePlace { slot, hash, address: place.address });
        Some(place)
    }

    /// Resets the place of the value, after a move was rolled back.
    pub(super) fn set_back(&mut self, place: ValuePlace) {
        self.source = WalkSource::Live(place);
    }

    /// Counts the memory of an owned value as the image's, once it has no other owner.
    pub(super) fn note_sole_owner(&mut self) {
        if let WalkSource::Owned { object, counts } = &mut self.source {
            *counts |= Arc::strong_count(object) == 1;
        }
    }

    /// Counts the memory that is kept for a frozen value alone.
    pub(super) fn note_kept(&mut self) {
        if let WalkSource::Frozen(frozen) = &mut self.source {
            frozen.note_kept();
        }
    }

    /// The value, if it is an object. `tables` are the tables of the point.
    pub(super) fn object<'t>(&self, tables: &'t [EntryTable]) -> Option<Found<'t>> {
        match &self.source {
            WalkSource::Owned { object, .. } => Some(Found::Owned(object.clone())),
            WalkSource::Live(place) => {
                let is_it = |entry: &Entry| entry.object_address() == Some(place.address);
                let found = tables[usize::from(place.slot.0)].find_by(place.hash, is_it).and_then(Entry::object);
                debug_assert!(found.is_some(), "a walk knows where its value is");
                found.map(Found::Live)
            }
            WalkSource::Copied(_) | WalkSource::Frozen(_) => None,
        }
    }
}

/// A value that a walk reads, borrowed from the keyspace or owned.
pub(super) enum Found<'t> {
    Live(&'t Object),
    Owned(Arc<Object>),
}

impl std::ops::Deref for Found<'_> {
    type Target = Object;

    fn deref(&self) -> &Object {
        match self {
            Found::Live(object) => object,
            Found::Owned(object) => object,
        }
    }
}

impl Rest {
    fn bytes(len: usize) -> Rest {
        Rest::Bytes { at: 0, len, kept: BTreeMap::new(), kept_bytes: 0, digested: None }
    }

    /// For the bytes of [`body`].
    fn written(len: usize, digested: Digested) -> Rest {
        Rest::Bytes { at: 0, len, kept: BTreeMap::new(), kept_bytes: 0, digested: Some(digested) }
    }
}

/// Where the value of a key is, and what of it is to be written.
fn source_of(slot: Slot, hash: u64, entry: &Entry) -> (WalkSource, Rest) {
    if let Some(frozen) = entry.object().and_then(Object::frozen) {
        return (WalkSource::Frozen(frozen), Rest::Frozen);
    }
    let live = || match entry.object_address() {
        Some(address) => WalkSource::Live(ValuePlace { slot, hash, address }),
        None => WalkSource::Copied(Vec::new()),
    };
    match entry.value() {
        ValueRef::Long(text) => (live(), Rest::bytes(text.len())),
        ValueRef::Object(object) if object.parts().is_none() => {
            let body = body(entry);
            let rest = Rest::written(body.len(), Digested::Object(object.clone()));
            (WalkSource::Copied(body), rest)
        }
        ValueRef::Object(object) => {
            let rest = Rest::Parts {
                place: Some(0),
                ahead: BTreeSet::new(),
                ahead_bytes: 0,
                left: object.parts().map_or(0, |parts| parts.len()),
                children: 0,
                sum: 0,
            };
            (live(), rest)
        }
        ValueRef::Text(text) => (WalkSource::Copied(text.to_vec()), Rest::bytes(text.len())),
        ValueRef::Int(number) => {
            let body = body(entry);
            let rest = Rest::written(body.len(), Digested::Int(number));
            (WalkSource::Copied(body), rest)
        }
        ValueRef::Packed(packed) => {
            let body = body(entry);
            let rest = Rest::written(body.len(), Digested::Packed(packed.of, packed.bytes.to_vec()));
            (WalkSource::Copied(body), rest)
        }
    }
}

/// The record of an entry without the head.
fn body(entry: &Entry) -> Vec<u8> {
    let mut body = Vec::new();
    record::write_value(entry, &mut body);
    body
}

/// Writing names and texts.
impl Walk {
    /// Writes the next part of the name or the text, of `room` bytes at most.
    pub(super) fn write_part(
        &mut self,
        tables: &[EntryTable],
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ImageLost> {
        if !self.has_name() {
            let from = self.name_at;
            self.pass_name(room);
            record::write_part(self.id, &self.name[from..self.name_at], out);
            if self.has_name() {
                (self.name, self.name_at) = (Vec::new(), 0);
            }
            return Ok(());
        }
        if let WalkSource::Frozen(frozen) = &mut self.source {
            let mut part = Vec::new();
            match frozen.read(room, &mut part, &mut self.digest) {
                FrozenPart::Whole => record::write_fields(self.id, 1, &part, out),
                FrozenPart::Start => record::write_part(self.id, &part, out),
            }
            return Ok(());
        }
        let object = self.object(tables);
        let text: &[u8] = match (object.as_deref(), &self.source) {
            (Some(object), _) => object.downcast_ref::<Text>().ok_or(ImageLost)?,
            (None, WalkSource::Copied(text)) => text,
            _ => return Err(ImageLost),
        };
        let Rest::Bytes { at, len, kept, kept_bytes, digested } = &mut self.rest else { return Err(ImageLost) };
        let room = room.min(*len - *at);
        let part;
        let bytes = match kept.first_entry() {
            Some(first) if *first.key() == *at => {
                part = first.remove();
                let bytes = part.get(..room).unwrap_or(&part);
                *kept_bytes -= bytes.len();
                if bytes.len() < part.len() {
                    kept.insert(*at + bytes.len(), part[bytes.len()..].to_vec());
                }
                bytes
            }
            first => {
                let to = first.map_or(*len, |first| *first.key()).min(*at + room);
                text.get(*at..to).ok_or(ImageLost)?
            }
        };
        record::write_part(self.id, bytes, out);
        if digested.is_none() {
            self.digest.bytes(bytes);
        }
        *at += bytes.len();
        Ok(())
    }

    /// Keeps the bytes of `text` between `from` and `to` that have neither been written nor kept.
    pub(super) fn keep(&mut self, text: &[u8], from: usize, to: usize) {
        let Rest::Bytes { at, len, kept, kept_bytes, .. } = &mut self.rest else { return };
        let (mut from, to) = (from.max(*at), to.min(*len));
        while from < to {
            let before = kept.range(..=from).next_back().map(|(start, bytes)| start + bytes.len());
            if let Some(end) = before.filter(|end| *end > from) {
                from = end;
                continue;
            }
            let end = kept.range(from..).next().map_or(to, |(start, _)| to.min(*start));
            *kept_bytes += end - from;
            for piece in text[from..end].chunks(PIECE) {
                kept.insert(from, piece.to_vec());
                from += piece.len();
            }
        }
    }
}

/// Writing parts.
impl Walk {
    /// Called before a part changes: returns its entry, if it exists and has to be written first.
    pub(super) fn meet_part<'t>(&mut self, parts: &'t dyn Parts<Entry>, name: &[u8]) -> Option<&'t Entry> {
        let hash = parts.hash(name);
        let Rest::Parts { place, ahead, .. } = &self.rest else { return None };
        let is_written = place.is_none_or(|place| hash.reverse_bits() < place.reverse_bits());
        if is_written || ahead.contains(name) {
            return None;
        }
        self.remember(name);
        parts.find(name)
    }

    pub(super) fn remember(&mut self, name: &[u8]) {
        if let Rest::Parts { ahead, ahead_bytes: bytes, .. } = &mut self.rest
            && ahead.insert(name.into())
        {
            *bytes += ahead_bytes(name);
        }
    }

    /// Whether an entry of the current bucket has to be written: after shrinking, a bucket also has entries that were
    /// written as part of another one.
    pub(super) fn is_next(&self, parts: &dyn Parts<Entry>, entry: &Entry) -> bool {
        let Rest::Parts { place, ahead, .. } = &self.rest else { return false };
        let from = place.unwrap_or(0).reverse_bits();
        (from == 0 || parts.hash(entry.key()).reverse_bits() >= from) && !ahead.contains(entry.key())
    }

    pub(super) fn place(&self) -> u64 {
        match self.rest {
            Rest::Parts { place, .. } => place.unwrap_or(0),
            Rest::Bytes { .. } | Rest::Frozen => 0,
        }
    }

    /// Moves the cursor after a bucket was written; 0: the scan has finished.
    pub(super) fn move_to(&mut self, next: u64) {
        if let Rest::Parts { place, .. } = &mut self.rest {
            *place = (next != 0).then_some(next);
        }
    }

    pub(super) fn is_scanned(&self) -> bool {
        matches!(self.rest, Rest::Parts { place: None, .. })
    }

    pub(super) fn has_parts_left(&self) -> bool {
        matches!(self.rest, Rest::Parts { left, .. } if left > 0)
    }

    /// Counts a part with this digest as written.
    pub(super) fn count_part(&mut self, digest: u128) {
        if let Rest::Parts { left, sum, .. } = &mut self.rest {
            *left -= 1;
            *sum = sum.wrapping_add(digest);
        }
    }

    /// Counts a part with a walk of its own as written.
    pub(super) fn child_ended(&mut self, digest: u128) {
        if let Rest::Parts { children, sum, .. } = &mut self.rest {
            *children -= 1;
            *sum = sum.wrapping_add(digest);
        }
    }
}
