//! The format of an image's records, and their encoding.
//!
//! # Format (frozen; golden bytes in `tests.rs`)
//!
//! An image is a run of records, in no particular order of the keys:
//!
//! ```text
//! key       varint length, bytes
//! head      u8      low 5 bits: the kind of record; bit 5: a deadline follows
//! deadline  varint  ms since the Unix epoch; only with bit 5
//! value     kind 0, string: varint length, bytes
//!           kind 1, string that OBJECT ENCODING calls raw: the same
//!           kind 2, integer: varint, zigzag
//!           kind 3, small hash: varint, number of fields; of each its length and bytes, its value's length and bytes
//!           kind 4, large hash: the same; after each value a varint, the field's deadline plus 1, or 0 for none
//!           kinds 8 and 9, small and large set: see `set/image.rs`
//!           kind 10, small list: varint length, the elements of its listpack
//!           kind 11, large list: varint, number of nodes; of each a byte (1: the node is the text of one element; 2:
//!               the list is packed) and the length and bytes of its elements, packed as in kind 10
//!           kinds 12 and 13, small and large sorted set: see `zset/image.rs`
//!           kind 14, stream: see `stream/image.rs`
//!           kind 15, library of functions: the key is its name; varint length, its code;
//!               varint length, its functions (`functions/spec.rs`)
//! ```
//!
//! Each of these records has one key. A key whose record would be longer than the image's bound is written as several
//! records, which may be interleaved with others. They name the value by an id, which counts from 1 in each image:
//!
//! ```text
//! value     kind 5, start; the record's key holds the first bytes of the name:
//!               varint id; varint parent: 0, or the id of the large hash of which this value is a field's
//!               varint length of the whole name; u8 kind of the value
//!               varint total: the number of fields of a large hash, of nodes of a large list, of parts of a stream,
//!               else of the value's bytes
//!           kind 6, part; the record's key is empty:
//!               varint id; varint length, bytes: they continue the name until that is whole, then the value; of a
//!               large list, they are the start of the bytes of its next node
//!           kind 7, fields of a large hash, or nodes of a large list; the record's key is empty:
//!               varint id; varint number of fields or nodes; each as in a large hash or list
//! ```
//!
//! The bytes of a string are its text; those of an integer or a small hash are its one record without the head. A value
//! is complete once its name and its total have been reached. A field that is too long for a record has a start of its
//! own. Kinds 5 to 7 are written only if every node of the shard can read them
//! ([`FormatLevel::BOUNDS`](fastness_types::FormatLevel)).
//!
//! Varints are LEB128 (`crate::codec::varint`).

use fastness_types::WallMs;

use super::codec::write_bytes;
use crate::codec::varint;
use crate::keyspace::libraries::Library;
use crate::keyspace::{Entry, ValueRef};
use crate::types::Type;

/// Kinds of records. Frozen. The kinds of other types are in their folders.
pub(super) const TEXT: u8 = 0;
pub(super) const RAW_TEXT: u8 = 1;
pub(super) const INT: u8 = 2;
pub(super) const START: u8 = 5;
pub(super) const PART: u8 = 6;
pub(super) const FIELDS: u8 = 7;
pub(super) const LIBRARY: u8 = 15;
/// The bits of a head.
pub(super) const KIND_BITS: u8 = 0x1f;
pub(super) const HAS_DEADLINE: u8 = 0x20;

/// The start of a value that is written in parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) id: u64,
    /// 0: the value belongs to a key.
    pub(super) parent: u64,
    /// The first bytes of the name.
    pub(super) name: &'a [u8],
    pub(super) name_len: usize,
    pub(super) deadline: Option<WallMs>,
    pub(super) kind: u8,
    pub(super) total: u64,
}

/// An upper bound, in bytes, on an entry's record without the lengths between its parts, exact enough to recognise
/// large ones.
pub(super) fn weight(entry: &Entry) -> usize {
    let value = match entry.value() {
        ValueRef::Int(_) => size_of::<i64>(),
        ValueRef::Text(text) => text.len(),
        ValueRef::Packed(packed) => packed.bytes.len(),
        ValueRef::Long(text) => text.len(),
        ValueRef::Object(object) => object.weight(),
    };
    entry.key().len() + value
}

pub(super) fn kind_of(entry: &Entry) -> u8 {
    match entry.value() {
        ValueRef::Int(_) => INT,
        ValueRef::Text(_) if entry.is_raw() => RAW_TEXT,
        ValueRef::Text(_) => TEXT,
        ValueRef::Long(_) => RAW_TEXT,
        ValueRef::Packed(packed) => Type::packed(packed.of).record_kind(),
        ValueRef::Object(object) => object.record_kind(),
    }
}

/// Writes an entry as one record.
pub(super) fn write_entry(entry: &Entry, out: &mut Vec<u8>) {
    write_bytes(entry.key(), out);
    write_head(kind_of(entry), entry.deadline(), out);
    write_value(entry, out);
}

/// Writes the record of an entry without the head.
pub(super) fn write_value(entry: &Entry, out: &mut Vec<u8>) {
    match entry.value() {
        ValueRef::Int(number) => varint::write(out, varint::zigzag(number)),
        ValueRef::Text(text) => write_bytes(text, out),
        ValueRef::Long(text) => write_bytes(text, out),
        ValueRef::Packed(packed) => Type::packed(packed.of).write_record(packed.bytes, out),
        ValueRef::Object(object) => object.write_record(out),
    }
}

/// Writes a library of functions as one record, however long its code is.
pub(super) fn write_library(name: &[u8], library: &Library, out: &mut Vec<u8>) {
    write_bytes(name, out);
    write_head(LIBRARY, None, out);
    write_bytes(&library.code, out);
    write_bytes(&library.functions, out);
}

fn write_head(kind: u8, deadline: Option<WallMs>, out: &mut Vec<u8>) {
    out.push(kind | if deadline.is_some() { HAS_DEADLINE } else { 0 });
    if let Some(at) = deadline {
        varint::write(out, at.0);
    }
}

pub(super) fn write_start(start: &Start<'_>, out: &mut Vec<u8>) {
    write_bytes(start.name, out);
    write_head(START, start.deadline, out);
    varint::write(out, start.id);
    varint::write(out, start.parent);
    varint::write(out, start.name_len as u64);
    out.push(start.kind);
    varint::write(out, start.total);
}

pub(super) fn write_part(id: u64, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, PART]);
    varint::write(out, id);
    write_bytes(bytes, out);
}

/// Writes a record of `count` parts; `fields` has them as
/// [`Parts::write_part`](crate::keyspace::value::Parts::write_part) wrote them.
pub(super) fn write_fields(id: u64, count: u64, fields: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, FIELDS]);
    varint::write(out, id);
    varint::write(out, count);
    out.extend_from_slice(fields);
}
