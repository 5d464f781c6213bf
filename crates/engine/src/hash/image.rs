//! Hashes in images and digests.
//!
//! A packed hash is written as the number of fields, and for each the length and bytes of the field and of its value. A
//! large hash is the same, and after each value a number: the field's deadline plus 1, or 0 for none. The digest of a
//! hash is the sum of the digests of its fields, because their order differs between replicas.

use super::fields::{FieldTable, pair};
use super::packed::{NUMBER, PackedHash, PackedHashBuf, Pair};
use crate::codec::digest::Running;
use crate::codec::varint;
use crate::image::codec::{
    ImageError, LoadParts, Loaded, Loading, PackedForm, RecordForm, RecordReader, load_parts, write_bytes,
};
use crate::keyspace::{Entry, ExpiryChange, Object, PackedLimits};
use fastness_types::WallMs;

/// Kinds of records. Frozen.
const PACKED: u8 = 3;
pub(super) const TABLE: u8 = 4;

/// The form of packed hashes.
pub(crate) const PACKED_FORM: PackedForm = PackedForm {
    encoding: |_| "listpack",
    record_kind: PACKED,
    digest: |bytes, digest| {
        let of_fields = PackedHash::new(bytes).iter().map(|pair| of_field(pair, None));
        digest.parts(of_fields.fold(0, u128::wrapping_add));
    },
    write_record: |bytes, out| {
        let packed = PackedHash::new(bytes);
        varint::write(out, packed.len() as u64);
        packed.iter().for_each(|pair| write_pair(pair, out));
    },
};

/// The records of hashes.
pub(crate) const RECORDS: &[RecordForm] = &[
    RecordForm { kind: PACKED, load: load_packed, parts: None },
    RecordForm {
        kind: TABLE,
        load: load_table,
        parts: Some(|loading| Box::new(FieldTable::new(loading.seed, loading.inline_max))),
    },
];

/// The digest of one field.
pub(super) fn of_field((field, value): Pair<'_>, deadline: Option<WallMs>) -> u128 {
    let mut digest = Running::of_name(field.len());
    digest.bytes(field);
    digest.part_is_whole(deadline);
    digest.bytes(value);
    digest.end()
}

fn write_pair((field, value): Pair<'_>, out: &mut Vec<u8>) {
    write_bytes(field, out);
    write_bytes(value, out);
}

pub(super) fn write_field(entry: &Entry, out: &mut Vec<u8>) {
    write_pair(pair(entry), out);
    varint::write(out, entry.deadline().map_or(0, |at| at.0.saturating_add(1)));
}

fn load_packed(reader: &mut RecordReader<'_>, loading: Loading) -> Result<Loaded, ImageError> {
    let mut pairs = Vec::new();
    for _ in 0..reader.varint()? {
        pairs.push((reader.bytes()?, reader.bytes()?));
    }
    if pairs.is_empty() {
        return Ok(Loaded::Nothing);
    }
    // A value keeps its form, whatever the limits of this replica are.
    let limits = PackedLimits::MOST;
    let fits = |(field, value): &Pair<'_>| limits.takes_text(field) && limits.takes_text(value);
    if limits.takes_fields(pairs.len()) && pairs.iter().all(fits) {
        let mut packed = PackedHashBuf::default();
        pairs.iter().for_each(|(field, value)| packed.set(field, value));
        return Ok(Loaded::Packed(NUMBER, packed.packed().bytes().to_vec()));
    }
    let mut table = FieldTable::new(loading.seed, loading.inline_max);
    pairs.iter().for_each(|(field, value)| table.set(field, value, ExpiryChange::Drop, &mut None));
    Ok(Loaded::Object(Object::new(table)))
}

fn load_table(reader: &mut RecordReader<'_>, loading: Loading) -> Result<Loaded, ImageError> {
    load_parts(FieldTable::new(loading.seed, loading.inline_max), reader)
}

impl LoadParts for FieldTable {
    fn len(&self) -> usize {
        FieldTable::len(self)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    fn load(&mut self, reader: &mut RecordReader<'_>) -> Result<(), ImageError> {
        let (field, value) = (reader.bytes()?, reader.bytes()?);
        let deadline = reader.varint()?.checked_sub(1).map(WallMs);
        self.set(field, value, deadline.map_or(ExpiryChange::Drop, ExpiryChange::At), &mut None);
        Ok(())
    }

    fn add(&mut self, part: Entry) -> bool {
        self.put_back(part);
        true
    }

    fn into_object(self: Box<Self>) -> Object {
        Object::new(*self)
    }
}
