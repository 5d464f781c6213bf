//! Copies of entries, one after the other in one buffer: what undo records keep of short values.
#![allow(unsafe_code)]

use super::{Entry, KIND_OBJECT, KIND_VALUE, layout};
use crate::keyspace::memory::size_class;
use std::alloc::{alloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// A stack of copies of entries without an object.
///
/// A copy is the bytes of an entry that are in use, followed by their number as a u32. Nothing else is ever written
/// into `bytes`.
#[derive(Default)]
pub struct Copies {
    bytes: Vec<u8>,
}

impl Copies {
    const FOOT: usize = size_of::<u32>();

    /// Adds a copy; returns false if the entry has an object or takes more than `max` bytes.
    #[inline]
    pub fn push(&mut self, entry: &Entry, max: usize) -> bool {
        let used = entry.used();
        if used > max || entry.kind() & KIND_VALUE == KIND_OBJECT {
            return false;
        }
        self.bytes.reserve(used + Self::FOOT);
        // SAFETY: all bytes up to `used` are initialised and live as long as `entry` is borrowed.
        self.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(entry.ptr.as_ptr(), used) });
        self.bytes.extend_from_slice(&(used as u32).to_le_bytes());
        true
    }

    /// Where the copy that ends at `end` starts and ends, without its foot.
    fn place(&self, end: usize) -> Option<(usize, usize)> {
        let foot_at = end.checked_sub(Self::FOOT)?;
        let foot = self.bytes[foot_at..end].try_into().expect("a foot has four bytes");
        Some((foot_at - u32::from_le_bytes(foot) as usize, foot_at))
    }

    /// Removes the newest copy and returns it as an entry.
    pub fn pop(&mut self) -> Option<Entry> {
        let (from, to) = self.place(self.bytes.len())?;
        let layout = layout(size_class(to - from));
        // SAFETY: the layout's size is at least 16.
        let raw = unsafe { alloc(layout) };
        let Some(ptr) = NonNull::new(raw) else { handle_alloc_error(layout) };
        // SAFETY: the bytes are those of an entry that used as many, so that the allocation has the size that follows
        // from its header; they hold no pointer, since the entry had no object.
        unsafe { ptr::copy_nonoverlapping(self.bytes[from..to].as_ptr(), raw, to - from) };
        self.bytes.truncate(from);
        Some(Entry { ptr, owns: PhantomData })
    }

    /// Moves the newest `count` copies to the end of `into`.
    pub fn split_last(&mut self, count: usize, into: &mut Copies) {
        let mut from = self.bytes.len();
        for _ in 0..count {
            from = self.place(from).map_or(0, |(from, _)| from);
        }
        into.bytes.extend(self.bytes.drain(from..));
    }

    /// Bytes in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The capacity, bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Removes all copies; keeps the capacity.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}
