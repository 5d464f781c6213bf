//! What a key holds.
//!
//! Strings and integers live inside the key's entry ([`ValueRef::Text`], [`ValueRef::Int`]); everything else is an
//! [`Object`] behind one pointer. A further type is one module here and one variant of [`Object`]: its type name, its
//! encoding, its size, its clone and its digest are the whole interface to the rest of the engine.

pub mod number;

use crate::keyspace::memory::size_class;

/// A borrowed value.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string inside its entry.
    Text(&'a [u8]),
    /// A string that is the decimal form of a 64-bit integer.
    Int(i64),
    /// Anything else.
    Object(&'a Object),
}

/// A value outside its entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A string that grew in place (APPEND, SETRANGE): spare room behind it makes the next growth cheap.
    Text(Vec<u8>),
}

/// A data type, as TYPE names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Bytes.
    String,
}

impl Type {
    /// As TYPE answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
        }
    }

    /// The number that stands for the type in a digest. Frozen with the digest's version.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Type::String => 0,
        }
    }
}

impl Object {
    /// Which type this is.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Object::Text(_) => Type::String,
        }
    }

    /// Bytes on the heap, with the object itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let own = size_class(size_of::<Object>());
        match self {
            Object::Text(text) if text.capacity() == 0 => own,
            Object::Text(text) => own + size_class(text.capacity()),
        }
    }
}

impl ValueRef<'_> {
    /// Which type this is.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            ValueRef::Text(_) | ValueRef::Int(_) => Type::String,
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
        }
    }

    /// The text's length, without writing an integer out; `None` for other types.
    #[must_use]
    pub fn text_len(self) -> Option<usize> {
        match self {
            ValueRef::Text(text) => Some(text.len()),
            ValueRef::Int(value) => Some(itoa::Buffer::new().format(value).len()),
            ValueRef::Object(Object::Text(text)) => Some(text.len()),
        }
    }
}
