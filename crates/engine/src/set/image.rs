//! Sets in images and digests.
//!
//! A packed set is written as a byte that says its form, and the number of its members. Integers follow in ascending
//! order: the first as a zigzag varint, each further one as its difference from the one before. Texts follow with their
//! lengths. A large set is the number of its members, and of each its length and bytes. The digest of a set is the sum
//! of the digests of its members, because their order differs between replicas.

use super::member::SetMember;
use super::packed::{NUMBER, PackedSet, SetForm, of_integers, of_texts};
use super::table::SetTable;
use crate::codec::digest::Running;
use crate::codec::varint;
use crate::image::codec::{
    ImageError, LoadParts, Loaded, Loading, PackedForm, RecordForm, RecordReader, load_parts, write_bytes,
};
use crate::keyspace::{Entry, Object, PackedLimits};
use smallvec::SmallVec;

/// Kinds of records. Frozen.
const PACKED: u8 = 8;
pub(super) const TABLE: u8 = 9;

/// The first byte of a packed set's record. Frozen.
mod packed_as {
    pub(super) const INTEGERS: u8 = 0;
    pub(super) const TEXTS: u8 = 1;
}

/// The form of packed sets.
pub(crate) const PACKED_FORM: PackedForm = PackedForm {
    encoding: |bytes| match PackedSet::new(bytes).form() {
        SetForm::Ints => "intset",
        _ => "listpack",
    },
    record_kind: PACKED,
    digest: |bytes, digest| {
        let mut buffer = itoa::Buffer::new();
        let of_members = PackedSet::new(bytes).iter().map(|member| of_member(member.text(&mut buffer)));
        digest.parts(of_members.fold(0, u128::wrapping_add));
    },
    write_record: |bytes, out| {
        let packed = PackedSet::new(bytes);
        let head = if packed.form() == SetForm::Ints { packed_as::INTEGERS } else { packed_as::TEXTS };
        out.push(head);
        varint::write(out, packed.len() as u64);
        let mut before = None;
        for member in packed.iter() {
            match member {
                SetMember::Int(number) => {
                    let from = before.replace(number);
                    varint::write(out, from.map_or(varint::zigzag(number), |from: i64| number.abs_diff(from)));
                }
                SetMember::Text(text) => write_bytes(text, out),
            }
        }
    },
};

/// The records of sets.
pub(crate) const RECORDS: &[RecordForm] = &[
    RecordForm { kind: PACKED, load: load_packed, parts: None },
    RecordForm { kind: TABLE, load: load_table, parts: Some(|loading| Box::new(SetTable::new(loading.seed))) },
];

/// The digest of one member.
pub(super) fn of_member(member: &[u8]) -> u128 {
    let mut digest = Running::of_name(member.len());
    digest.bytes(member);
    digest.part_is_whole(None);
    digest.end()
}

fn load_packed(reader: &mut RecordReader<'_>, loading: Loading) -> Result<Loaded, ImageError> {
    match reader.byte()? {
        packed_as::INTEGERS => load_integers(reader),
        packed_as::TEXTS => load_texts(reader, loading),
        unknown => Err(ImageError::Unknown(unknown)),
    }
}

fn load_integers(reader: &mut RecordReader<'_>) -> Result<Loaded, ImageError> {
    let count = reader.varint()?;
    if count > PackedLimits::PARTS_MAX {
        return Err(ImageError::Number);
    }
    let mut integers: Vec<i64> = Vec::new();
    for _ in 0..count {
        let number = reader.varint()?;
        let next = match integers.last() {
            None => Some(varint::unzigzag(number)),
            Some(last) => last.checked_add_unsigned(number).filter(|next| next != last),
        };
        integers.push(next.ok_or(ImageError::Number)?);
    }
    Ok(if integers.is_empty() { Loaded::Nothing } else { Loaded::Packed(NUMBER, of_integers(&integers)) })
}

/// Texts that do not fit a packed set, as a version with other limits may have written, become a table.
fn load_texts(reader: &mut RecordReader<'_>, loading: Loading) -> Result<Loaded, ImageError> {
    let mut texts: Vec<&[u8]> = Vec::new();
    for _ in 0..reader.varint()? {
        texts.push(reader.bytes()?);
    }
    if texts.is_empty() {
        return Ok(Loaded::Nothing);
    }
    // A value keeps its form, whatever the limits of this replica are.
    let form = SetForm::of_members(SetForm::Texts, texts.iter().map(|text| SetMember::Text(text)), PackedLimits::MOST);
    if form == SetForm::Texts && are_distinct(&texts) {
        return Ok(Loaded::Packed(NUMBER, of_texts(&texts)));
    }
    let mut table = SetTable::new(loading.seed);
    texts.iter().for_each(|text| _ = table.add(text, &mut None));
    Ok(Loaded::Object(Object::new(table)))
}

fn are_distinct(texts: &[&[u8]]) -> bool {
    let mut sorted: SmallVec<[&[u8]; 128]> = texts.into();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

fn load_table(reader: &mut RecordReader<'_>, loading: Loading) -> Result<Loaded, ImageError> {
    load_parts(SetTable::new(loading.seed), reader)
}

impl LoadParts for SetTable {
    fn len(&self) -> usize {
        SetTable::len(self)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    fn load(&mut self, reader: &mut RecordReader<'_>) -> Result<(), ImageError> {
        self.add(reader.bytes()?, &mut None);
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
