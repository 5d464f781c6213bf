//! The interface between the keyspace and the values of data types.
//!
//! The keyspace knows strings, because they are the values of keys and of parts alike. A small value of any other type
//! is a run of bytes inside its key's entry ([`Packed`]), which only its type can read; a large one is a [`ValueBox`]
//! behind a pointer, used through the trait [`Value`]. So a data type is added without a change in the keyspace.
//!
//! `P` is the type of the parts of a value, and is always [`Entry`](super::Entry): an entry holds a value, and a large
//! value consists of entries. It is a parameter so that this module does not import the entry's, which imports this
//! one.

use super::budget::FreeBudget;
use super::deadlines::Deadlines;
use super::memory::{Account, size_class};
use super::text::Text;
use crate::codec::digest::Running;
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
    /// The value, in a form that only its type reads.
    pub bytes: &'a [u8],
}

/// A value outside its entry, as the keyspace, digests and images see it.
pub trait Value<P: Debug>: Any + Debug + Send + Sync {
    /// The number of its type.
    fn of(&self) -> TypeNumber;

    /// As OBJECT ENCODING names it.
    fn encoding(&self) -> &'static str;

    /// Bytes on the heap, with the value itself.
    fn heap_bytes(&self) -> usize;

    /// What tells changes after which somebody who waits for it may find something from others: equal before and after
    /// such another change. `None`: after every change.
    fn arrivals(&self) -> Option<u64> {
        None
    }

    /// An upper bound of the length of its record in an image, exact enough to recognise large values.
    fn weight(&self) -> usize {
        self.heap_bytes()
    }

    /// The kind of its record. Frozen.
    fn record_kind(&self) -> u8;

    /// Writes its record without the head, as the form of that kind
    /// ([`RecordForm`](crate::image::codec::RecordForm)) reads it.
    fn write_record(&self, out: &mut Vec<u8>);

    /// Adds the value to the digest of its key, after the name.
    fn digest(&self, digest: &mut Running);

    /// A copy.
    fn copied(&self) -> ValueBox<P>;

    /// Whether both have the same contents.
    fn equals(&self, other: &dyn Value<P>) -> bool;

    /// Its memory, in a form that can be freed in slices.
    fn into_remains(self: Box<Self>) -> Remains<P>;

    /// Undoes a change in place, from the record that the change left (`Undo::in_place`).
    fn restore(&mut self, record: &[u8]) {
        debug_assert!(false, "no change of {self:?} leaves {record:?}");
    }

    /// Undoes the change of one part (`Undo::parts`).
    fn restore_part(&mut self, part: OldPart<'_, P>) {
        debug_assert!(false, "{self:?} has no parts, and no {part:?}");
    }

    /// Its parts, if it consists of entries with names.
    fn parts(&self) -> Option<&dyn Parts<P>> {
        None
    }

    /// The value as it is now, if it can be kept without copying it: an image reads it in pieces while the value
    /// changes.
    fn frozen(&self) -> Option<Box<dyn FrozenValue>> {
        None
    }
}

/// Whether a value is of the same type as another, and equal to it: [`Value::equals`].
pub fn is_equal<P: Debug, V: Value<P> + PartialEq>(value: &V, other: &dyn Value<P>) -> bool {
    let other: &dyn Any = other;
    other.downcast_ref() == Some(value)
}

/// A value as it was at one moment, which an image reads.
pub trait FrozenValue: Debug + Send + Sync {
    /// Number of parts that have not been read, as [`LoadParts`](crate::image::codec::LoadParts) counts them.
    fn parts_left(&self) -> usize;

    /// Bytes that were kept for it alone when [`FrozenValue::note_kept`] was last called.
    fn bytes(&self) -> usize;

    /// Counts the bytes that are kept for it alone.
    fn note_kept(&mut self);

    /// Reads the next part, or up to `room` bytes of its start, and adds what it has read to the digest.
    fn read(&mut self, room: usize, out: &mut Vec<u8>, digest: &mut Running) -> FrozenPart;
}

/// What [`FrozenValue::read`] has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenPart {
    /// A part, or the rest of one, as [`LoadParts::load`](crate::image::codec::LoadParts::load) reads it.
    Whole,
    /// Bytes of the start of a part, as [`LoadParts::load_start`](crate::image::codec::LoadParts::load_start) takes
    /// them.
    Start,
}

/// A value that consists of parts, each an entry with a name.
pub trait Parts<P> {
    /// Number of parts, including those past their deadline.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The earliest deadline of a part. Without deadlines, this and the next three are left out.
    fn first_deadline(&self) -> Option<WallMs> {
        None
    }

    /// Whether every part is past its deadline at `now`.
    fn is_past(&self, _now: WallMs) -> bool {
        false
    }

    /// Whether a part's deadline has passed between two moments.
    fn has_expired_between(&self, _from: WallMs, _to: WallMs) -> bool {
        false
    }

    /// The names of the parts that are past their deadline at `now`, earliest first.
    fn past(&self, _now: WallMs) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        Box::new(std::iter::empty())
    }

    /// The part of this name.
    fn find(&self, name: &[u8]) -> Option<&P>;

    /// The hash of a name, which places its part in the order of [`Parts::scan`].
    fn hash(&self, name: &[u8]) -> u64;

    /// Visits the parts of the bucket at `cursor` and returns the cursor after it; 0 at the end.
    fn scan<'p>(&'p self, cursor: u64, visit: &mut dyn FnMut(&'p P)) -> u64;

    /// Writes a part in the form that [`LoadParts::load`](crate::image::codec::LoadParts::load) reads.
    fn write_part(&self, part: &P, out: &mut Vec<u8>);

    /// The digest of a part; the digest of the value is the sum of these.
    fn digest_of_part(&self, part: &P) -> u128;
}

/// A part before it was changed, for undoing.
#[derive(Debug)]
pub enum OldPart<'a, P> {
    /// It did not exist.
    Absent(&'a [u8]),
    /// It was this entry.
    Held(P),
    /// It was the same entry with this deadline.
    Deadline(&'a [u8], Option<WallMs>),
}

/// The memory of a value without owners.
pub enum Remains<P> {
    /// Freed already, because it was small or has other readers.
    Nothing,
    /// The bytes of a text.
    Text(Vec<u8>),
    /// Entries, the number of bytes that they take, and the index of their deadlines.
    Parts(Box<dyn Dismantle<P>>, usize, Option<Box<Deadlines>>),
}

/// Many entries, which can be freed in slices.
pub trait Dismantle<P>: Send + Sync {
    /// Removes entries, passes them to `each` and frees their table, within the budget. Returns whether there is more.
    fn dismantle_some(
        &mut self,
        budget: &mut FreeBudget,
        account: &mut Account,
        each: &mut dyn FnMut(P, &mut Account),
    ) -> bool;
}

/// A value outside its entry.
#[derive(Debug)]
pub struct ValueBox<P>(Box<dyn Value<P>>);

impl<P: Debug + 'static> ValueBox<P> {
    /// Boxes a value.
    #[must_use]
    pub fn new(value: impl Value<P>) -> ValueBox<P> {
        ValueBox(Box::new(value))
    }

    /// Boxes a text.
    #[must_use]
    pub fn text(text: Text) -> ValueBox<P> {
        ValueBox::new(text)
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

    /// See [`Value::arrivals`].
    #[must_use]
    pub fn arrivals(&self) -> Option<u64> {
        self.0.arrivals()
    }

    /// The value, if it is a `V`.
    #[inline]
    #[must_use]
    pub fn downcast_ref<V: Value<P>>(&self) -> Option<&V> {
        let value: &dyn Any = &*self.0;
        value.downcast_ref()
    }

    /// The value, if it is a `V`, to be changed.
    #[inline]
    pub fn downcast_mut<V: Value<P>>(&mut self) -> Option<&mut V> {
        let value: &mut dyn Any = &mut *self.0;
        value.downcast_mut()
    }

    /// See [`Value::restore`].
    pub fn restore(&mut self, record: &[u8]) {
        self.0.restore(record);
    }

    /// See [`Value::restore_part`].
    pub fn restore_part(&mut self, part: OldPart<'_, P>) {
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

    /// Its parts, if it consists of entries with names.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> Option<&dyn Parts<P>> {
        self.0.parts()
    }

    /// See [`Value::frozen`].
    #[must_use]
    pub fn frozen(&self) -> Option<Box<dyn FrozenValue>> {
        self.0.frozen()
    }

    /// Bytes on the heap, with the object itself and the count of its owners.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_class(2 * size_of::<usize>() + size_of::<ValueBox<P>>()) + self.0.heap_bytes()
    }

    /// See [`Value::into_remains`].
    #[must_use]
    pub fn into_remains(self) -> Remains<P> {
        self.0.into_remains()
    }
}

impl<P: Debug + 'static> Clone for ValueBox<P> {
    fn clone(&self) -> ValueBox<P> {
        self.0.copied()
    }
}

impl<P: Debug + 'static> PartialEq for ValueBox<P> {
    fn eq(&self, other: &ValueBox<P>) -> bool {
        self.0.equals(&*other.0)
    }
}

/// A long string is kept as an object, and is `ValueRef::Long` for everybody else: its record and its digest are
/// written elsewhere.
impl<P: Debug + 'static> Value<P> for Text {
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

    fn copied(&self) -> ValueBox<P> {
        ValueBox::text(self.clone())
    }

    fn equals(&self, other: &dyn Value<P>) -> bool {
        is_equal(self, other)
    }

    fn into_remains(self: Box<Self>) -> Remains<P> {
        // Shared bytes are freed by their last reader.
        self.into_inner().map_or(Remains::Nothing, Remains::Text)
    }

    fn restore(&mut self, record: &[u8]) {
        self.undo(record);
    }
}
