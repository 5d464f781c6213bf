//! What a key holds.
//!
//! Strings, integers and small hashes live inside the key's entry ([`ValueRef::Text`], [`ValueRef::Int`],
//! [`ValueRef::Flat`]); everything else is an
//! [`Object`] behind one pointer. A further type is one module here and one variant of [`Object`]: its type name, its
//! encoding, its size, its clone and its digest are the whole interface to the rest of the engine.

pub mod hash;
pub mod number;
pub mod text;

use crate::keyspace::memory::size_class;
use fastness_types::WallMs;
use hash::{FieldTable, Flat, Hash};
use text::Text;

/// A borrowed value.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string inside its entry.
    Text(&'a [u8]),
    /// A string that is the decimal form of a 64-bit integer.
    Int(i64),
    /// A small hash inside its entry.
    Flat(Flat<'a>),
    /// Anything else.
    Object(&'a Object),
}

/// A value outside its entry. It is changed in place only while its entry is its one owner; see `keyspace/entry.rs`.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A string that grew in place (APPEND, SETRANGE): spare room behind it makes the next growth cheap. Or one longer than
    /// [`IMAGE_RECORD_BYTES_MAX`](fastness_types::limits::IMAGE_RECORD_BYTES_MAX), which moves to another key without a copy and may belong to an image as well.
    Text(Text),
    /// A large hash.
    Hash(Box<FieldTable>),
}

/// A data type, as TYPE names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Bytes.
    String,
    /// Fields with values.
    Hash,
}

impl Type {
    /// As TYPE answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Hash => "hash",
        }
    }

    /// The number that stands for the type in a digest. Frozen with the digest's version.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Type::String => 0,
            Type::Hash => 1,
        }
    }
}

impl Object {
    /// Which type this is.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Object::Text(_) => Type::String,
            Object::Hash(_) => Type::Hash,
        }
    }

    /// Bytes on the heap, with the object itself and the count of its owners.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let own = size_class(2 * size_of::<usize>() + size_of::<Object>());
        match self {
            Object::Text(text) if text.capacity() == 0 => own,
            Object::Text(text) => own + size_class(text.capacity()),
            Object::Hash(fields) => own + fields.heap_bytes(),
        }
    }
}

impl ValueRef<'_> {
    /// Which type this is.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            ValueRef::Text(_) | ValueRef::Int(_) => Type::String,
            ValueRef::Flat(_) => Type::Hash,
            ValueRef::Object(object) => object.kind(),
        }
    }

    /// The text of a string, written into `buffer` if it is an integer; `None` for other types.
    #[must_use]
    pub fn text<'b>(self, buffer: &'b mut itoa::Buffer) -> Option<&'b [u8]>
    where
        Self: 'b,
    {
        match self {
            ValueRef::Text(text) => Some(text),
            ValueRef::Int(value) => Some(number::int_text(value, buffer)),
            ValueRef::Object(Object::Text(text)) => Some(text),
            ValueRef::Flat(_) | ValueRef::Object(Object::Hash(_)) => None,
        }
    }

    /// The text's length, without writing an integer out; `None` for other types.
    #[must_use]
    pub fn text_len(self) -> Option<usize> {
        match self {
            ValueRef::Text(text) => Some(text.len()),
            ValueRef::Int(value) => Some(itoa::Buffer::new().format(value).len()),
            ValueRef::Object(Object::Text(text)) => Some(text.len()),
            ValueRef::Flat(_) | ValueRef::Object(Object::Hash(_)) => None,
        }
    }
}

impl<'a> ValueRef<'a> {
    /// A hash as it is seen at `now`; `None` for other types.
    #[must_use]
    pub fn hash(self, now: WallMs) -> Option<Hash<'a>> {
        match self {
            ValueRef::Flat(flat) => Some(Hash::of_flat(flat, now)),
            ValueRef::Object(Object::Hash(fields)) => Some(Hash::of_table(fields, now)),
            _ => None,
        }
    }
}
