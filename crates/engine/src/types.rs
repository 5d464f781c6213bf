//! The registry of data types for keyspace, digest, expiry and images: one entry for each type.

use crate::effect::{Effect, Items};
use crate::hash::effect::HashEffect;
use crate::hash::{image, packed};
use crate::image::codec::{PackedForm, RecordForm};
use crate::keyspace::{Entry, Key, TypeNumber, ValueRef};
use crate::list::{image as list_image, packed as list_packed};
use crate::set::{image as set_image, packed as set_packed};
use crate::stream::{image as stream_image, value as stream_value};
use crate::zset::{image as zset_image, packed as zset_packed};

/// A data type.
#[derive(Debug)]
pub struct Type {
    /// Its number in digests and in the headers of entries. Frozen.
    pub number: TypeNumber,
    /// Its name, as TYPE replies.
    pub name: &'static str,
    /// The form of its packed values, if it has any.
    pub(crate) packed: Option<&'static PackedForm>,
    /// The records of its values in an image. (Strings have records that every type's texts use: `image/record.rs`.)
    pub(crate) records: &'static [RecordForm],
    /// The effect that removes these parts of a key's value, and the key with its last part; `None`: its values have no
    /// parts with deadlines.
    pub(crate) remove_parts: Option<RemoveParts>,
}

/// See [`Type::remove_parts`].
pub(crate) type RemoveParts = for<'e> fn(Key<'e>, Items<'e>) -> Effect<'e>;

/// All types, by their numbers.
const TYPES: &[Type] = &[
    Type { number: TypeNumber::STRING, name: "string", packed: None, records: &[], remove_parts: None },
    Type {
        number: packed::NUMBER,
        name: "hash",
        packed: Some(&image::PACKED_FORM),
        records: image::RECORDS,
        remove_parts: Some(|key, fields| HashEffect::Remove { key, fields }.into()),
    },
    Type {
        number: set_packed::NUMBER,
        name: "set",
        packed: Some(&set_image::PACKED_FORM),
        records: set_image::RECORDS,
        remove_parts: None,
    },
    Type {
        number: list_packed::NUMBER,
        name: "list",
        packed: Some(&list_image::PACKED_FORM),
        records: list_image::RECORDS,
        remove_parts: None,
    },
    Type {
        number: zset_packed::NUMBER,
        name: "zset",
        packed: Some(&zset_image::PACKED_FORM),
        records: zset_image::RECORDS,
        remove_parts: None,
    },
    Type {
        number: stream_value::NUMBER,
        name: "stream",
        packed: None,
        records: stream_image::RECORDS,
        remove_parts: None,
    },
    #[cfg(any(test, feature = "test-type"))]
    crate::stack::TYPE,
];

impl Type {
    /// The type of this number.
    ///
    /// # Panics
    /// If no type has it: every value is made by a type that is listed.
    #[inline]
    fn numbered(number: TypeNumber) -> &'static Type {
        TYPES.iter().find(|known| known.number == number).expect("every value is of a type that is listed")
    }

    /// The type of a value.
    #[must_use]
    pub fn of(value: ValueRef<'_>) -> &'static Type {
        Type::numbered(value.of())
    }

    /// The form of a type's packed values.
    ///
    /// # Panics
    /// If the type has no packed values.
    #[inline]
    pub(crate) fn packed(of: TypeNumber) -> &'static PackedForm {
        Type::numbered(of).packed.expect("packed values are of a type that has them")
    }
}

/// The form of records of this kind, if it belongs to a type.
pub(crate) fn record_form(kind: u8) -> Option<&'static RecordForm> {
    TYPES.iter().flat_map(|one| one.records).find(|form| form.kind == kind)
}

/// The encoding that OBJECT ENCODING reports.
#[must_use]
pub fn encoding(entry: &Entry) -> &'static str {
    match entry.value() {
        ValueRef::Int(_) => "int",
        ValueRef::Text(_) if entry.is_raw() => "raw",
        ValueRef::Text(_) => "embstr",
        ValueRef::Long(_) => "raw",
        ValueRef::Packed(packed) => (Type::packed(packed.of).encoding)(packed.bytes),
        ValueRef::Object(object) => object.encoding(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_of_one_type() {
        let mut kinds = Vec::new();
        for (at, one) in TYPES.iter().enumerate() {
            assert!(one.number.0 < TypeNumber::END, "{}", one.name);
            assert!(
                TYPES[..at].iter().all(|other| other.number < one.number && other.name != one.name),
                "{}",
                one.name
            );
            kinds.extend(one.records.iter().map(|form| form.kind));
        }
        let count = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        // Kinds 0 to 2, 5 to 7 and 15 belong to no type.
        assert!(
            kinds.len() == count && kinds.iter().all(|kind| !matches!(kind, 0..=2 | 5..=7 | 15) && *kind < 32),
            "{kinds:?}"
        );
    }
}
