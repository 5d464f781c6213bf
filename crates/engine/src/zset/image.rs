//! Sorted sets in images and digests.
//!
//! A sorted set is written as the number of members, and for each the length and bytes of its name, and its score in
//! the packed form (`score.rs`). The digest of a sorted set is the sum of the digests of its members, so that an image
//! can write a large one in the order of its table.

use super::members::Member;
use super::packed::{NUMBER, PackedZset, PackedZsetBuf};
use super::score::{SCORE_BYTES, bytes_of, from_bytes, packed_len, unpacked, write_packed};
use super::table::MemberTable;
use crate::codec::digest::Running;
use crate::codec::varint;
use crate::image::codec::{
    ImageError, LoadParts, Loaded, Loading, PackedForm, RecordForm, RecordReader, load_parts, write_bytes,
};
use crate::keyspace::{Entry, Object, PackedLimits};

/// Kinds of records. Frozen.
const PACKED: u8 = 12;
pub(super) const TABLE: u8 = 13;

/// The form of packed sorted sets.
pub(crate) const PACKED_FORM: PackedForm = PackedForm {
    encoding: |_| "listpack",
    record_kind: PACKED,
    digest: |bytes, digest| digest.parts(PackedZset::new(bytes).iter().map(of_member).fold(0, u128::wrapping_add)),
    write_record: |bytes, out| {
        let packed = PackedZset::new(bytes);
        varint::write(out, packed.len() as u64);
        packed.iter().for_each(|member| write_member(member, out));
    },
};

/// The records of sorted sets.
pub(crate) const RECORDS: &[RecordForm] = &[
    RecordForm { kind: PACKED, load: load_packed, parts: None },
    RecordForm { kind: TABLE, load: load_table, parts: Some(|loading| Box::new(MemberTable::new(loading.seed))) },
];

/// The digest of one member.
pub(super) fn of_member((name, score): Member<'_>) -> u128 {
    let mut digest = Running::of_name(name.len());
    digest.bytes(name);
    digest.part_is_whole(None);
    // A table may have -0 where a packed sorted set has 0, and which of them a replica has depends on its limits.
    digest.bytes(&bytes_of(score + 0.0));
    digest.end()
}

pub(super) fn write_member((name, score): Member<'_>, out: &mut Vec<u8>) {
    write_bytes(name, out);
    write_packed(score, out);
}

fn read_member<'a>(reader: &mut RecordReader<'a>) -> Result<Member<'a>, ImageError> {
    let name = reader.bytes()?;
    let head = reader.byte()?;
    let len = packed_len(head).ok_or(ImageError::Unknown(head))?;
    let mut bytes = [0; SCORE_BYTES];
    for byte in &mut bytes[..len] {
        *byte = reader.byte()?;
    }
    let score = unpacked(head, &bytes[..len]);
    if score.is_nan() { Err(ImageError::Number) } else { Ok((name, score)) }
}

fn load_packed(reader: &mut RecordReader<'_>, loading: Loading) -> Result<Loaded, ImageError> {
    let mut members = Vec::new();
    for _ in 0..reader.varint()? {
        members.push(read_member(reader)?);
    }
    if members.is_empty() {
        return Ok(Loaded::Nothing);
    }
    // A value keeps its form, whatever the limits of this replica are.
    let limits = PackedLimits::MOST;
    if limits.takes_members(members.len()) && members.iter().all(|(name, _)| limits.takes_name(name)) {
        let mut packed = PackedZsetBuf::default();
        members.iter().for_each(|(name, score)| packed.set(name, *score));
        return Ok(Loaded::Packed(NUMBER, packed.packed().bytes().to_vec()));
    }
    let mut table = MemberTable::new(loading.seed);
    members.iter().for_each(|(name, score)| table.set(name, *score, &mut None));
    Ok(Loaded::Object(Object::new(table)))
}

fn load_table(reader: &mut RecordReader<'_>, loading: Loading) -> Result<Loaded, ImageError> {
    load_parts(MemberTable::new(loading.seed), reader)
}

impl LoadParts for MemberTable {
    fn len(&self) -> usize {
        MemberTable::len(self)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.members().find(name).is_some()
    }

    fn load(&mut self, reader: &mut RecordReader<'_>) -> Result<(), ImageError> {
        let (name, score) = read_member(reader)?;
        self.set(name, score, &mut None);
        Ok(())
    }

    fn add(&mut self, part: Entry) -> bool {
        let is_score = part.value().bytes().and_then(from_bytes).is_some();
        if is_score {
            MemberTable::add(self, &part);
        }
        is_score
    }

    fn into_object(self: Box<Self>) -> Object {
        Object::new(*self)
    }
}
