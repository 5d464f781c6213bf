//! What a key holds, as far as the keyspace has to know it.
//!
//! Strings are known here, because they are the values of keys and of parts alike. A small value of any other type is a
//! run of bytes inside its key's entry ([`Packed`]), which only its type can read; a large one is an [`Object`] behind
//! a pointer, which answers the questions of [`Value`]. So a data type is added without a change in the keyspace.

use super::budget::FreeBudget;
use super::deadlines::Deadlines;
use super::entry::Entry;
use super::memory::{Account, size_class};
use super::text::Text;
use crate::codec::digest::Running;
use crate::codec::number;
use fastness_types::WallMs;
use std::any::Any;
use std::fmt::Debug;

/// The number of a data type. Frozen with the digest's version: it is a part of every digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeNumber(pub u8);

impl TypeNumber {
    /// Strings, the one type that the keyspace knows.
    pub const STRING: TypeNumber = TypeNumber(0);
    /// Types are numbered below this: the header of an entry has four bits for the type of a packed value.
    pub const END: u8 = 16;
}

/// A small value, inside its key's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed<'a> {
    /// Whose value it is.
    pub of: TypeNumber,
    /// The value, in the form that its type has chosen.
    pub bytes: &'a [u8],
}

/// A borrowed value.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string inside its entry.
    Text(&'a [u8]),
    /// A string that is the decimal form of a 64-bit integer.
    Int(i64),
    /// A string outside its entry: one that grew in place (APPEND, SETRANGE), or one longer than
    /// [`IMAGE_RECORD_BYTES_MAX`](fastness_types::limits::IMAGE_RECORD_BYTES_MAX), which moves to another key without a
    /// copy and may belong to an image as well.
    Long(&'a Text),
    /// A small value of another type.
    Packed(Packed<'a>),
    /// A large value of another type.
    Object(&'a Object),
}

impl<'a> ValueRef<'a> {
    /// The number of its type.
    #[must_use]
    pub fn of(&self) -> TypeNumber {
        match self {
            ValueRef::Text(_) | ValueRef::Int(_) | ValueRef::Long(_) => TypeNumber::STRING,
            ValueRef::Packed(packed) => packed.of,
            ValueRef::Object(object) => object.of(),
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
            ValueRef::Long(text) => Some(text),
            ValueRef::Packed(_) | ValueRef::Object(_) => None,
        }
    }

    /// The bytes of a string that is not kept as an integer: also the value of a part.
    #[must_use]
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            ValueRef::Text(text) => Some(text),
            ValueRef::Long(text) => Some(text),
            ValueRef::Int(_) | ValueRef::Packed(_) | ValueRef::Object(_) => None,
        }
    }

    /// The text's length, without writing an integer out; `None` for other types.
    #[must_use]
    pub fn text_len(self) -> Option<usize> {
        match self {
            ValueRef::Text(text) => Some(text.len()),
            ValueRef::Int(value) => Some(itoa::Buffer::new().format(value).len()),
            ValueRef::Long(text) => Some(text.len()),
            ValueRef::Packed(_) | ValueRef::Object(_) => None,
        }
    }
}

/// What a value outside its entry answers.
pub trait Value: Any + Debug + Send + Sync {
    /// The number of its type.
    fn of(&self) -> TypeNumber;

    /// As OBJECT ENCODING names it.
    fn encoding(&self) -> &'static str;

    /// Bytes on the heap, with the value itself.
    fn heap_bytes(&self) -> usize;

    /// An upper bound of the length of its record in an image; exact enough to tell large ones.
    fn weight(&self) -> usize {
        self.heap_bytes()
    }

    /// The kind of its record. Frozen.
    fn record_kind(&self) -> u8;

    /// Writes what follows the head in its record, as the form of that kind
    /// ([`RecordForm`](crate::image::codec::RecordForm)) reads it.
    fn write_record(&self, out: &mut Vec<u8>);

    /// Adds it to the digest of its key, which has been given the name.
    fn digest(&self, digest: &mut Running);

    /// Another one like it.
    fn copied(&self) -> Object;

    /// Whether both are the same data.
    fn equals(&self, other: &dyn Value) -> bool;

    /// What it leaves to be freed a little at a time.
    fn into_remains(self: Box<Self>) -> Remains;

    /// Brings back what a change in place has destroyed, from the record that the change has left
    /// (`Undo::in_place`).
    fn restore(&mut self, record: &[u8]) {
        debug_assert!(false, "no change of {self:?} leaves {record:?}");
    }

    /// The same of one part (`Undo::parts`).
    fn restore_part(&mut self, part: OldPart<'_>) {
        debug_assert!(false, "{self:?} has no parts, and no {part:?}");
    }

    /// Its parts, if it is made of entries with names.
    fn parts(&self) -> Option<&dyn Parts> {
        None
    }
}

/// A value that is made of parts, each an entry with a name of its own.
pub trait Parts {
    /// Number of parts, those past their deadline included.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The earliest deadline of a part.
    fn first_deadline(&self) -> Option<WallMs>;

    /// Whether every part is past its deadline at `now`.
    fn is_past(&self, now: WallMs) -> bool;

    /// Whether a part's deadline has passed between two moments.
    fn has_expired_between(&self, from: WallMs, to: WallMs) -> bool;

    /// The part of this name.
    fn find(&self, name: &[u8]) -> Option<&Entry>;

    /// The hash of a name, which places its part in the order of [`Parts::scan`].
    fn hash(&self, name: &[u8]) -> u64;

    /// Visits the parts of the bucket at `cursor` and returns the cursor after it; 0 at the end.
    fn scan<'p>(&'p self, cursor: u64, visit: &mut dyn FnMut(&'p Entry)) -> u64;

    /// Writes a part, as [`LoadParts::load`](crate::image::codec::LoadParts::load) reads it.
    fn write_part(&self, part: &Entry, out: &mut Vec<u8>);

    /// The digest of a part; that of the value is their sum.
    fn digest_of_part(&self, part: &Entry) -> u128;
}

/// What stood in the place of a part before it was changed.
#[derive(Debug)]
pub enum OldPart<'a> {
    /// Nothing.
    Absent(&'a [u8]),
    /// This entry.
    Held(Entry),
    /// The same entry with another deadline.
    Deadline(&'a [u8], Option<WallMs>),
}

/// What a value that nobody owns any more leaves.
pub enum Remains {
    /// Nothing that takes long to free.
    Nothing,
    /// The bytes of a text.
    Text(Vec<u8>),
    /// Entries, which take so many bytes, and the index of their deadlines.
    Parts(Box<dyn Dismantle>, usize, Option<Box<Deadlines>>),
}

/// Many entries, that can be freed a little at a time.
pub trait Dismantle: Send + Sync {
    /// Takes entries out and gives them to `each`, and frees what held them, within the budget. True if there is more.
    fn dismantle_some(
        &mut self,
        budget: &mut FreeBudget,
        account: &mut Account,
        each: &mut dyn FnMut(Entry, &mut Account),
    ) -> bool;
}

/// A value outside its entry. It is changed in place only while its entry is its one owner; see `keyspace/entry.rs`.
#[derive(Debug)]
pub struct Object(Box<dyn Value>);

impl Object {
    /// Of a value.
    #[must_use]
    pub fn new(value: impl Value) -> Object {
        Object(Box::new(value))
    }

    /// Of a text.
    #[must_use]
    pub fn text(text: Text) -> Object {
        Object::new(text)
    }

    /// The number of its type.
    #[must_use]
    pub fn of(&self) -> TypeNumber {
        self.0.of()
    }

    /// As OBJECT ENCODING names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        self.0.encoding()
    }

    /// The value, if it is a `V`.
    #[inline]
    #[must_use]
    pub fn downcast_ref<V: Value>(&self) -> Option<&V> {
        let value: &dyn Any = &*self.0;
        value.downcast_ref()
    }

    /// The value, if it is a `V`, to be changed.
    #[inline]
    pub fn downcast_mut<V: Value>(&mut self) -> Option<&mut V> {
        let value: &mut dyn Any = &mut *self.0;
        value.downcast_mut()
    }

    /// See [`Value::restore`].
    pub fn restore(&mut self, record: &[u8]) {
        self.0.restore(record);
    }

    /// See [`Value::restore_part`].
    pub fn restore_part(&mut self, part: OldPart<'_>) {
        self.0.restore_part(part);
    }

    /// See [`Value::weight`].
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.weight()
    }

    /// See [`Value::record_kind`].
    #[must_use]
    pub fn record_kind(&self) -> u8 {
        self.0.record_kind()
    }

    /// See [`Value::write_record`].
    pub fn write_record(&self, out: &mut Vec<u8>) {
        self.0.write_record(out);
    }

    /// See [`Value::digest`].
    pub fn digest(&self, digest: &mut Running) {
        self.0.digest(digest);
    }

    /// Its parts, if it is made of entries with names.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> Option<&dyn Parts> {
        self.0.parts()
    }

    /// Bytes on the heap, with the object itself and the count of its owners.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_class(2 * size_of::<usize>() + size_of::<Object>()) + self.0.heap_bytes()
    }

    /// See [`Value::into_remains`].
    #[must_use]
    pub fn into_remains(self) -> Remains {
        self.0.into_remains()
    }
}

impl Clone for Object {
    fn clone(&self) -> Object {
        self.0.copied()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Object) -> bool {
        self.0.equals(&*other.0)
    }
}

/// A long string is kept as an object, and is [`ValueRef::Long`] for everybody else: nobody asks it for records and
/// digest.
impl Value for Text {
    fn of(&self) -> TypeNumber {
        TypeNumber::STRING
    }

    fn encoding(&self) -> &'static str {
        "raw"
    }

    fn heap_bytes(&self) -> usize {
        let bytes = if self.capacity() == 0 { 0 } else { size_class(self.capacity()) };
        size_class(size_of::<Text>()) + bytes
    }

    fn record_kind(&self) -> u8 {
        debug_assert!(false, "strings have records of their own");
        0
    }

    fn write_record(&self, _: &mut Vec<u8>) {
        debug_assert!(false, "strings have records of their own");
    }

    fn digest(&self, digest: &mut Running) {
        digest.text(self, true);
    }

    fn copied(&self) -> Object {
        Object::text(self.clone())
    }

    fn equals(&self, other: &dyn Value) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<Text>().is_some_and(|other| self == other)
    }

    fn into_remains(self: Box<Self>) -> Remains {
        // What somebody still reads is freed by its last reader.
        self.into_inner().map_or(Remains::Nothing, Remains::Text)
    }

    fn restore(&mut self, record: &[u8]) {
        self.undo(record);
    }
}
