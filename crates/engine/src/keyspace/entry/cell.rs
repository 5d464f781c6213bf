//! A tagged pointer to an entry or to the next bucket of a chain, and prefetching of what it points to.
#![allow(unsafe_code)]

use super::Entry;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// A cell of a bucket `B`: empty, an entry, or the next bucket of the chain. It takes eight bytes: the lowest bit of
/// the pointer distinguishes a bucket from an entry, because both are aligned to two bytes at least.
#[repr(transparent)]
pub struct TaggedCell<B> {
    ptr: *mut u8,
    owns: PhantomData<(Entry, Box<B>)>,
}

// SAFETY: a cell owns what it points to alone, and both are plain data.
unsafe impl<B: Send> Send for TaggedCell<B> {}
// SAFETY: through a shared reference both are only read.
unsafe impl<B: Sync> Sync for TaggedCell<B> {}

impl<B> Default for TaggedCell<B> {
    fn default() -> TaggedCell<B> {
        TaggedCell { ptr: ptr::null_mut(), owns: PhantomData }
    }
}

impl<B> TaggedCell<B> {
    const CHAIN: usize = 1;

    /// A cell with an entry.
    #[must_use]
    pub fn of_entry(entry: Entry) -> TaggedCell<B> {
        let ptr = entry.ptr.as_ptr();
        std::mem::forget(entry);
        TaggedCell { ptr, owns: PhantomData }
    }

    /// A cell with the next bucket of the chain.
    #[must_use]
    pub fn of_chain(bucket: Box<B>) -> TaggedCell<B> {
        const { assert!(align_of::<B>() > Self::CHAIN) };
        let ptr = Box::into_raw(bucket).cast::<u8>().map_addr(|address| address | Self::CHAIN);
        TaggedCell { ptr, owns: PhantomData }
    }

    #[inline]
    fn is_chain(&self) -> bool {
        self.ptr.addr() & Self::CHAIN != 0
    }

    /// Whether it is empty.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ptr.is_null()
    }

    fn chain_ptr(&self) -> *mut B {
        self.ptr.map_addr(|address| address & !Self::CHAIN).cast()
    }

    /// The entry, if it is one.
    #[inline]
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        if self.ptr.is_null() || self.is_chain() {
            return None;
        }
        // SAFETY: a pointer that is neither null nor marked is an entry's, and `Entry` is a transparent wrapper of a
        // pointer that is not null (its marker has no size): the cell's own field, read as one, lives as long as
        // `self`.
        Some(unsafe { &*(&raw const self.ptr).cast::<Entry>() })
    }

    /// The entry, if it is one, to change or replace it.
    #[inline]
    pub fn entry_mut(&mut self) -> Option<&mut Entry> {
        if self.ptr.is_null() || self.is_chain() {
            return None;
        }
        // SAFETY: as in `entry`; whatever is stored through the reference is an entry, which keeps the cell valid.
        Some(unsafe { &mut *(&raw mut self.ptr).cast::<Entry>() })
    }

    /// The next bucket, if it is one.
    #[inline]
    #[must_use]
    pub fn chain(&self) -> Option<&B> {
        // SAFETY: a marked pointer came from `of_chain` and belongs to this cell.
        self.is_chain().then(|| unsafe { &*self.chain_ptr() })
    }

    /// The next bucket, if it is one, mutable.
    #[inline]
    pub fn chain_mut(&mut self) -> Option<&mut B> {
        // SAFETY: a marked pointer came from `of_chain` and belongs to this cell, which is borrowed mutably.
        self.is_chain().then(|| unsafe { &mut *self.chain_ptr() })
    }

    /// Removes and returns the entry, if it is one.
    pub fn take_entry(&mut self) -> Option<Entry> {
        if self.is_chain() {
            return None;
        }
        let ptr = NonNull::new(std::mem::replace(&mut self.ptr, ptr::null_mut()))?;
        Some(Entry { ptr, owns: PhantomData })
    }

    /// Removes and returns the next bucket, if it is one.
    pub fn take_chain(&mut self) -> Option<Box<B>> {
        if !self.is_chain() {
            return None;
        }
        let bucket = self.chain_ptr();
        self.ptr = ptr::null_mut();
        // SAFETY: a marked pointer came from `of_chain`; the cell has given it up.
        Some(unsafe { Box::from_raw(bucket) })
    }

    /// Prefetches the entry's first two cache lines: header, key, and most of a short value.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(self.ptr);
        prefetch(self.ptr.wrapping_add(64));
    }
}

impl<B> Drop for TaggedCell<B> {
    fn drop(&mut self) {
        drop(self.take_chain());
        drop(self.take_entry());
    }
}

/// Prefetches a cache line. This is a hint: any address is allowed, and nothing is read.
#[inline]
pub fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and has no effect but on the caches.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = place;
}
