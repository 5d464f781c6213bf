//! One key with its value, in one allocation.
//!
//! ```text
//! 0    u32   kind (8 bits: value 2, deadline 1, raw 1, type of a packed value 4) and what is recorded of accesses (24
//!            bits, which `super::access` makes and reads)
//! 4    u32   length of the key
//! 8    u32   length of the value          only of a text or a packed value
//! ..   u64   deadline, ms                 only with KIND_DEADLINE; NO_DEADLINE: none, the space stays
//! ..   u64   integer, or pointer          only of an integer or an object
//! ..         the key's bytes
//! ..         the value's bytes            only of a text or a packed value
//! ```
//!
//! Numbers are in native byte order and unaligned. The allocation's size is the [`size_class`] of the bytes in use, so
//! it follows from the header, and a new value of the same class is written in place.
//!
//! # Why `unsafe`
//! A key costs one allocation and a header of 8 to 20 bytes instead of the 48 and more of owned strings in a struct,
//! and one cache line is touched to compare it. Safe Rust has no type whose size follows from its header. This module
//! and those below it ([`cell`]: a tagged pointer; [`copies`]: copies for undo records) hold all of the engine's unsafe
//! code.
//!
//! # Invariants
//! - An [`Entry`] owns its allocation alone: `ptr` came from `alloc(layout(size))`, where `size` is what
//!   [`Entry::size`] computes from the header, and is freed once, by `drop`. Code that changes the header's kind or
//!   lengths keeps the size class.
//! - All bytes up to `Entry::used` are initialised.
//! - The pointer field of an object came from `Arc::into_raw`, and the entry owns one reference. There are no weak
//!   ones. Another owner is an image in progress (`crate::image`), or an entry that replaced this one; an object is
//!   changed only while it has one owner.
//! - Allocations are aligned to 8, so the lowest bit of a pointer to one is 0, which
//!   [`TaggedCell`](cell::TaggedCell) uses.
#![allow(unsafe_code)]

pub mod cell;
pub mod copies;

use super::memory::size_class;
use super::text::Text;
use super::value::{Packed, Parts, TypeNumber, ValueBox};
use fastness_resp::number;
use fastness_types::WallMs;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

const KIND_VALUE: u8 = 0b11;
const KIND_TEXT: u8 = 0;
const KIND_INT: u8 = 1;
const KIND_OBJECT: u8 = 2;
const KIND_PACKED: u8 = 3;
const KIND_DEADLINE: u8 = 1 << 2;
const KIND_RAW: u8 = 1 << 3;
/// Position of the type of a packed value in the kind.
const KIND_TYPE_SHIFT: u8 = 4;

const _: () = assert!(TypeNumber::END - 1 <= u8::MAX >> KIND_TYPE_SHIFT);

/// Fills the space of the deadline when there is none.
const NO_DEADLINE: u64 = u64::MAX;
const ALIGN: usize = 8;
const ACCESS_MASK: u32 = 0x00ff_ffff;

/// A value outside its entry. It is changed in place only while its entry is its one owner.
pub type Object = ValueBox<Entry>;

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

    /// The text of a string, which is written into `buffer` if it is an integer; `None` for other types.
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

    /// The bytes of a string that is not kept as an integer, as the value of a part never is.
    #[must_use]
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            ValueRef::Text(text) => Some(text),
            ValueRef::Long(text) => Some(text),
            ValueRef::Int(_) | ValueRef::Packed(_) | ValueRef::Object(_) => None,
        }
    }

    /// The length of a string's text; `None` for other types.
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

/// A value for an entry.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// Bytes that are not the decimal form of an integer.
    Text(&'a [u8]),
    /// Bytes that OBJECT ENCODING reports as `raw`: they are long, or were changed in place (and may then be a number).
    RawText(&'a [u8]),
    /// A 64-bit integer.
    Int(i64),
    /// A small value of another type than a string.
    Packed(Packed<'a>),
    /// Anything else.
    Object(Arc<Object>),
}

impl NewValue<'_> {
    /// An object without other owners.
    #[must_use]
    pub fn of(object: Object) -> NewValue<'static> {
        NewValue::Object(Arc::new(object))
    }

    /// Bytes that OBJECT ENCODING reports as `raw`, outside their entry if they are longer than `inline_max`.
    #[must_use]
    pub fn raw_text(text: &[u8], inline_max: u32) -> NewValue<'_> {
        if text.len() > inline_max as usize {
            NewValue::long(Text::shared(Arc::new(text.to_vec())))
        } else {
            NewValue::RawText(text)
        }
    }

    /// A text outside its entry.
    #[must_use]
    pub fn long(text: Text) -> NewValue<'static> {
        NewValue::of(Object::text(text))
    }

    fn kind(&self) -> u8 {
        match self {
            NewValue::Text(_) => KIND_TEXT,
            NewValue::RawText(_) => KIND_TEXT | KIND_RAW,
            NewValue::Int(_) => KIND_INT,
            NewValue::Packed(packed) => {
                debug_assert!(packed.of.0 < TypeNumber::END);
                KIND_PACKED | packed.of.0 << KIND_TYPE_SHIFT
            }
            NewValue::Object(_) => KIND_OBJECT,
        }
    }

    fn text_len(&self) -> usize {
        match self {
            NewValue::Text(text) | NewValue::RawText(text) => text.len(),
            NewValue::Packed(packed) => packed.bytes.len(),
            NewValue::Int(_) | NewValue::Object(_) => 0,
        }
    }
}

/// One key with its value.
#[repr(transparent)]
pub struct Entry {
    ptr: NonNull<u8>,
    owns: PhantomData<Arc<Object>>,
}

// SAFETY: an entry owns its allocation alone and its object by a reference that is counted atomically; both are plain
// data.
unsafe impl Send for Entry {}
// SAFETY: through a shared reference both are only read.
unsafe impl Sync for Entry {}

/// The offsets of the fields of an entry, which follow from its kind and lengths.
#[derive(Clone, Copy)]
struct Shape {
    deadline: usize,
    word: usize,
    key: usize,
    value: usize,
    used: usize,
}

/// Whether the value's bytes follow the key.
#[inline]
fn is_inline(kind: u8) -> bool {
    matches!(kind & KIND_VALUE, KIND_TEXT | KIND_PACKED)
}

impl Shape {
    #[inline]
    fn new(kind: u8, key_len: usize, text_len: usize) -> Shape {
        let is_inline = is_inline(kind);
        let deadline = if is_inline { 12 } else { 8 };
        let word = deadline + if kind & KIND_DEADLINE != 0 { 8 } else { 0 };
        let key = word + if is_inline { 0 } else { 8 };
        let value = key + key_len;
        Shape { deadline, word, key, value, used: value + if is_inline { text_len } else { 0 } }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("keys and values are at most 512 MB each")
}

impl Entry {
    /// A new entry. `access` is what it records of its accesses (24 bits).
    ///
    /// # Panics
    /// If key or text are 4 GiB or longer; requests are bounded far below.
    #[must_use]
    pub fn new(key: &[u8], value: NewValue<'_>, deadline: Option<WallMs>, access: u32) -> Entry {
        let key_len = u32::try_from(key.len()).expect("keys are at most 512 MB");
        let kind = value.kind() | if deadline.is_some() { KIND_DEADLINE } else { 0 };
        let shape = Shape::new(kind, key.len(), value.text_len());
        let layout = layout(size_class(shape.used));
        // SAFETY: the layout's size is at least 16.
        let raw = unsafe { alloc(layout) };
        let Some(ptr) = NonNull::new(raw) else { handle_alloc_error(layout) };
        let mut entry = Entry { ptr, owns: PhantomData };
        // SAFETY: `shape` was made from the same kind and lengths as the layout, so all writes are inside the
        // allocation; together they initialise all of it up to `used`.
        unsafe {
            entry.write_u32(0, u32::from(kind) | (access & ACCESS_MASK) << 8);
            entry.write_u32(4, key_len);
            if let Some(at) = deadline {
                entry.write_u64(shape.deadline, at.0);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), raw.add(shape.key), key.len());
            entry.write_value(shape, value);
        }
        entry
    }

    /// Writes the value's own fields.
    ///
    /// # Safety
    /// `shape` is made from the header's kind and key length and from `value`, and fits into the allocation; no
    /// object is owned through the header yet.
    unsafe fn write_value(&mut self, shape: Shape, value: NewValue<'_>) {
        // SAFETY: the caller's promise.
        unsafe {
            match value {
                NewValue::Text(text) | NewValue::RawText(text) => self.write_inline(shape, text),
                NewValue::Packed(packed) => self.write_inline(shape, packed.bytes),
                NewValue::Int(number) => self.write_u64(shape.word, number as u64),
                NewValue::Object(object) => {
                    let object = Arc::into_raw(object).cast_mut();
                    self.ptr.as_ptr().add(shape.word).cast::<*mut Object>().write_unaligned(object);
                }
            }
        }
    }

    /// # Safety
    /// As for [`Entry::write_value`], of a value that follows the key.
    unsafe fn write_inline(&mut self, shape: Shape, bytes: &[u8]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.write_u32(8, u32::try_from(bytes.len()).expect("values are at most 512 MB"));
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.ptr.as_ptr().add(shape.value), bytes.len());
        }
    }

    /// # Safety
    /// `offset + 4` bytes are initialised.
    #[inline]
    unsafe fn read_u32(&self, offset: usize) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { self.ptr.as_ptr().add(offset).cast::<u32>().read_unaligned() }
    }

    /// # Safety
    /// `offset + 8` bytes are initialised.
    #[inline]
    unsafe fn read_u64(&self, offset: usize) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.ptr.as_ptr().add(offset).cast::<u64>().read_unaligned() }
    }

    /// # Safety
    /// `offset + 4` bytes are inside the allocation.
    #[inline]
    unsafe fn write_u32(&mut self, offset: usize, value: u32) {
        // SAFETY: the caller's promise.
        unsafe { self.ptr.as_ptr().add(offset).cast::<u32>().write_unaligned(value) }
    }

    /// # Safety
    /// `offset + 8` bytes are inside the allocation.
    #[inline]
    unsafe fn write_u64(&mut self, offset: usize, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.ptr.as_ptr().add(offset).cast::<u64>().write_unaligned(value) }
    }

    #[inline]
    fn kind(&self) -> u8 {
        // SAFETY: every entry has its first 8 bytes initialised.
        unsafe { self.read_u32(0) as u8 }
    }

    #[inline]
    fn key_len(&self) -> usize {
        // SAFETY: every entry has its first 8 bytes initialised.
        unsafe { self.read_u32(4) as usize }
    }

    #[inline]
    fn shape(&self) -> Shape {
        let kind = self.kind();
        // SAFETY: an entry whose value follows the key has its first 12 bytes initialised.
        let text_len = if is_inline(kind) { unsafe { self.read_u32(8) as usize } } else { 0 };
        Shape::new(kind, self.key_len(), text_len)
    }

    /// Bytes of the allocation that are in use.
    fn used(&self) -> usize {
        self.shape().used
    }

    /// Bytes of the allocation.
    #[must_use]
    pub fn size(&self) -> usize {
        size_class(self.used())
    }

    /// Bytes of the allocation and of what it points to.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.size() + self.object().map_or(0, Object::heap_bytes)
    }

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let kind = self.kind();
        let len = self.key_len();
        let offset = Shape::new(kind, len, 0).key;
        // SAFETY: the key's bytes are at that offset, initialised, and live as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().add(offset), len) }
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> ValueRef<'_> {
        let shape = self.shape();
        // SAFETY: the header's kind says which value is stored.
        unsafe {
            match self.kind() & KIND_VALUE {
                KIND_TEXT => ValueRef::Text(self.inline(shape)),
                KIND_PACKED => {
                    let of = TypeNumber(self.kind() >> KIND_TYPE_SHIFT);
                    ValueRef::Packed(Packed { of, bytes: self.inline(shape) })
                }
                KIND_INT => ValueRef::Int(self.read_u64(shape.word) as i64),
                _ => {
                    let object = &*self.object_ptr(shape);
                    object.downcast_ref().map_or(ValueRef::Object(object), ValueRef::Long)
                }
            }
        }
    }

    /// # Safety
    /// The value follows the key.
    #[inline]
    unsafe fn inline(&self, shape: Shape) -> &[u8] {
        // SAFETY: the caller's promise; the bytes live as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().add(shape.value), shape.used - shape.value) }
    }

    /// # Safety
    /// The entry holds an object.
    #[inline]
    unsafe fn object_ptr(&self, shape: Shape) -> *mut Object {
        // SAFETY: the caller's promise.
        unsafe { self.ptr.as_ptr().add(shape.word).cast::<*mut Object>().read_unaligned() }
    }

    /// The object, if the value is one.
    #[inline]
    #[must_use]
    pub fn object(&self) -> Option<&Object> {
        if self.kind() & KIND_VALUE != KIND_OBJECT {
            return None;
        }
        // SAFETY: the kind says that there is an object, which this entry owns and which lives as long as it is
        // borrowed.
        Some(unsafe { &*self.object_ptr(self.shape()) })
    }

    /// The text outside the entry, if the value is one.
    #[must_use]
    pub fn long_text(&self) -> Option<&Text> {
        self.object()?.downcast_ref()
    }

    /// The parts of the value, if it consists of entries.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> Option<&dyn Parts<Entry>> {
        self.object()?.parts()
    }

    /// The object, to change it. The caller accounts for its change of size.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        if self.kind() & KIND_VALUE != KIND_OBJECT {
            return None;
        }
        if !self.owns_object_alone() {
            debug_assert!(false, "an object that is changed in place has one owner");
            let object = self.take_object()?;
            self.put_object(Arc::new(Object::clone(&object)));
        }
        // SAFETY: the kind says that there is an object. This entry, which is borrowed mutably, is its only owner, as
        // was checked above, and no other can have appeared in between, because there are no weak references.
        Some(unsafe { &mut *self.object_ptr(self.shape()) })
    }

    /// The object with one more owner, if the value is one.
    #[must_use]
    pub fn share_object(&self) -> Option<Arc<Object>> {
        if self.kind() & KIND_VALUE != KIND_OBJECT {
            return None;
        }
        // SAFETY: the pointer came from `Arc::into_raw`; the entry's own reference is not dropped here.
        let object = unsafe { ManuallyDrop::new(Arc::from_raw(self.object_ptr(self.shape()))) };
        Some(Arc::clone(&object))
    }

    fn owns_object_alone(&self) -> bool {
        // SAFETY: called of an entry with an object. As in `share_object`.
        let object = unsafe { ManuallyDrop::new(Arc::from_raw(self.object_ptr(self.shape()))) };
        Arc::strong_count(&object) == 1
    }

    /// The address of the object, if the value is one: identifies the object as long as it lives, whatever its key.
    #[inline]
    #[must_use]
    pub fn object_address(&self) -> Option<usize> {
        self.object().map(|object| std::ptr::from_ref(object).addr())
    }

    /// Whether OBJECT ENCODING reports the text as `raw`.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.kind() & KIND_RAW != 0
    }

    /// When the key expires.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Option<WallMs> {
        let kind = self.kind();
        if kind & KIND_DEADLINE == 0 {
            return None;
        }
        let offset = Shape::new(kind, 0, 0).deadline;
        // SAFETY: the kind says that there is space for the deadline, which is always initialised.
        let at = unsafe { self.read_u64(offset) };
        (at != NO_DEADLINE).then_some(WallMs(at))
    }

    /// Sets or removes the deadline in place; returns false if there is no space for it and a new entry is needed.
    pub fn set_deadline(&mut self, deadline: Option<WallMs>) -> bool {
        let kind = self.kind();
        if kind & KIND_DEADLINE == 0 {
            return deadline.is_none();
        }
        let offset = Shape::new(kind, 0, 0).deadline;
        // SAFETY: the kind says that there is space for the deadline.
        unsafe { self.write_u64(offset, deadline.map_or(NO_DEADLINE, |at| at.0)) };
        true
    }

    /// Writes value and deadline in place if they need an allocation of the same size, else returns the value.
    pub fn overwrite<'v>(&mut self, value: NewValue<'v>, deadline: Option<WallMs>) -> Result<(), NewValue<'v>> {
        let old_kind = self.kind();
        let key_len = self.key_len();
        let old = self.shape();
        // Space for a deadline stays if there was some, so that the next SET EX needs no other size.
        let space = (old_kind & KIND_DEADLINE) | if deadline.is_some() { KIND_DEADLINE } else { 0 };
        let kind = value.kind() | space;
        let new = Shape::new(kind, key_len, value.text_len());
        if size_class(new.used) != size_class(old.used) {
            return Err(value);
        }
        if old_kind & KIND_VALUE == KIND_OBJECT {
            // SAFETY: the reference is this entry's; the header is rewritten below before anything reads it.
            drop(unsafe { Arc::from_raw(self.object_ptr(old)) });
        }
        // SAFETY: both shapes fit into the allocation, which keeps its size. The key is moved before anything is
        // written over it, and everything up to `new.used` is written.
        unsafe {
            let raw = self.ptr.as_ptr();
            ptr::copy(raw.add(old.key), raw.add(new.key), key_len);
            let access = self.read_u32(0) & !0xff;
            self.write_u32(0, access | u32::from(kind));
            if space != 0 {
                self.write_u64(new.deadline, deadline.map_or(NO_DEADLINE, |at| at.0));
            }
            self.write_value(new, value);
        }
        Ok(())
    }

    /// Bytes of a value inside the entry, which [`Entry::shorten_text`] can free; 0 of anything else.
    #[must_use]
    pub fn inline_len(&self) -> usize {
        if !is_inline(self.kind()) {
            return 0;
        }
        let shape = self.shape();
        shape.used - shape.value
    }

    /// Frees up to `bytes` from the end of a text inside an entry that is no longer read.
    pub fn shorten_text(&mut self, bytes: usize) {
        if !is_inline(self.kind()) {
            return;
        }
        let (old, key_len) = (self.shape(), self.key_len());
        let left = (old.used - old.value).saturating_sub(bytes);
        let new = Shape::new(self.kind(), key_len, left);
        let (old_size, new_size) = (size_class(old.used), size_class(new.used));
        // SAFETY: the allocation has the size of its shape. The new size is not 0 and covers everything up to
        // `new.used`: the header with the shorter length, the key and the rest of the value.
        unsafe {
            self.write_u32(8, left as u32);
            if new_size != old_size {
                let raw = realloc(self.ptr.as_ptr(), layout(old_size), new_size);
                let Some(ptr) = NonNull::new(raw) else { handle_alloc_error(layout(new_size)) };
                self.ptr = ptr;
            }
        }
    }

    /// Removes and returns the object, and leaves the integer 0, which has the same size.
    pub fn take_object(&mut self) -> Option<Arc<Object>> {
        let kind = self.kind();
        if kind & KIND_VALUE != KIND_OBJECT {
            return None;
        }
        let shape = self.shape();
        // SAFETY: the reference is this entry's; the header says integer from here on, so it is not dropped again,
        // and an integer has the same shape.
        unsafe {
            let object = Arc::from_raw(self.object_ptr(shape));
            let head = self.read_u32(0) & !u32::from(KIND_VALUE) | u32::from(KIND_INT);
            self.write_u32(0, head);
            self.write_u64(shape.word, 0);
            Some(object)
        }
    }

    /// Puts an object back that [`Entry::take_object`] removed from this entry.
    pub fn put_object(&mut self, object: Arc<Object>) {
        let kind = self.kind();
        if kind & KIND_VALUE != KIND_INT {
            debug_assert!(false, "no object was removed from this entry");
            return;
        }
        let shape = self.shape();
        // SAFETY: the integer that is stored here owns nothing, and an object has the same shape.
        unsafe {
            let head = self.read_u32(0) & !u32::from(KIND_VALUE) | u32::from(KIND_OBJECT);
            self.write_u32(0, head);
            self.write_value(shape, NewValue::Object(object));
        }
    }

    /// What it records of its accesses: 24 bits.
    #[must_use]
    pub fn access(&self) -> u32 {
        // SAFETY: every entry has its first 8 bytes initialised.
        unsafe { self.read_u32(0) >> 8 }
    }

    /// Sets what it records of its accesses.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let head = (access & ACCESS_MASK) << 8 | u32::from(self.kind());
        // SAFETY: every entry has its first 8 bytes.
        unsafe { self.write_u32(0, head) };
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let shape = self.shape();
        // SAFETY: the object, if any, and the allocation are owned by this entry and not used after this; the size is
        // the one that it was allocated with.
        unsafe {
            if self.kind() & KIND_VALUE == KIND_OBJECT {
                drop(Arc::from_raw(self.object_ptr(shape)));
            }
            dealloc(self.ptr.as_ptr(), layout(size_class(shape.used)));
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key().escape_ascii().to_string())
            .field("value", &self.value())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
