//! Seven entries on one cache line.
//!
//! Each cell has a one-byte tag from its key's hash, so a look-up compares only keys whose tag matches: those of one in
//! 255 other entries. The last cell of a full bucket becomes a pointer to a further bucket (a chain), which is rare at
//! the table's load.
//!
//! # Invariants
//! - A tag is 0 exactly if its cell holds no entry.
//! - Only the last cell can hold a chain, and a chained bucket is never empty.

use super::entry::Entry;
use super::entry::cell::TaggedCell;
use super::memory::Account;

/// A cell of a bucket.
pub type Cell = TaggedCell<Bucket>;

/// Entries of one bucket.
pub const CELLS: usize = 7;
const LAST: usize = CELLS - 1;

/// Bytes of one bucket.
pub const BUCKET_BYTES: usize = size_of::<Bucket>();

/// Seven cells with their tags; the eighth tag is always 0.
#[derive(Default)]
#[repr(C, align(64))]
pub struct Bucket {
    tags: [u8; 8],
    cells: [Cell; CELLS],
}

const _: () = assert!(BUCKET_BYTES == 64);

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The cells whose tag may be `tag`, as high bits of the bytes: none is missed, and rarely there is one too many (a
/// byte above a true hit).
#[inline]
fn candidates(tags: [u8; 8], tag: u8) -> u64 {
    let differing = u64::from_le_bytes(tags) ^ (ONES * u64::from(tag));
    differing.wrapping_sub(ONES) & !differing & HIGHS
}

impl Bucket {
    /// The entry with this tag for which `is_it` holds, in this bucket or its chain.
    #[inline]
    pub fn find(&self, tag: u8, mut is_it: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        let mut bucket = self;
        loop {
            if let Some(place) = bucket.place(tag, &mut is_it) {
                return bucket.cells[place].entry();
            }
            bucket = bucket.cells[LAST].chain()?;
        }
    }

    /// As [`Bucket::find`], mutable.
    #[inline]
    pub fn find_mut(&mut self, tag: u8, mut is_it: impl FnMut(&Entry) -> bool) -> Option<&mut Entry> {
        let mut bucket = self;
        loop {
            if let Some(place) = bucket.place(tag, &mut is_it) {
                return bucket.cells[place].entry_mut();
            }
            bucket = bucket.cells[LAST].chain_mut()?;
        }
    }

    #[inline]
    fn place(&self, tag: u8, is_it: &mut impl FnMut(&Entry) -> bool) -> Option<usize> {
        let mut hits = candidates(self.tags, tag);
        while hits != 0 {
            let place = (hits.trailing_zeros() / 8) as usize;
            if place < CELLS && self.cells[place].entry().is_some_and(&mut *is_it) {
                return Some(place);
            }
            hits &= hits - 1;
        }
        None
    }

    /// Puts an entry into the first empty cell of the chain, which grows if all are full.
    pub fn push(&mut self, tag: u8, entry: Entry, account: &mut Account) {
        debug_assert!(tag != 0);
        let mut bucket = self;
        while bucket.cells[LAST].chain().is_some() {
            if let Some(place) = bucket.empty_place() {
                return bucket.put(place, tag, entry);
            }
            bucket = bucket.cells[LAST].chain_mut().expect("the loop condition found a chain");
        }
        if let Some(place) = bucket.empty_place() {
            return bucket.put(place, tag, entry);
        }
        let mut next = Box::<Bucket>::default();
        account.add(BUCKET_BYTES);
        let (moved_tag, moved) = bucket.take(LAST).expect("a bucket without an empty cell is full");
        account.moved += 1;
        next.put(0, moved_tag, moved);
        next.put(1, tag, entry);
        bucket.cells[LAST] = Cell::of_chain(next);
    }

    fn empty_place(&self) -> Option<usize> {
        self.cells.iter().position(Cell::is_empty)
    }

    fn put(&mut self, place: usize, tag: u8, entry: Entry) {
        self.tags[place] = tag;
        self.cells[place] = Cell::of_entry(entry);
    }

    fn take(&mut self, place: usize) -> Option<(u8, Entry)> {
        let entry = self.cells[place].take_entry()?;
        Some((std::mem::take(&mut self.tags[place]), entry))
    }

    /// Removes and returns the entry with this tag for which `is_it` holds; an entry from the end of the chain fills
    /// the gap.
    pub fn remove(&mut self, tag: u8, mut is_it: impl FnMut(&Entry) -> bool, account: &mut Account) -> Option<Entry> {
        self.remove_by(tag, &mut is_it, account)
    }

    fn remove_by<F: FnMut(&Entry) -> bool>(&mut self, tag: u8, is_it: &mut F, account: &mut Account) -> Option<Entry> {
        if let Some(place) = self.place(tag, is_it) {
            let (_, entry) = self.take(place)?;
            if let Some((tag, filler)) = self.take_from_chain(account) {
                account.moved += 1;
                self.put(place, tag, filler);
            }
            return Some(entry);
        }
        let next = self.cells[LAST].chain_mut()?;
        let entry = next.remove_by(tag, is_it, account)?;
        if next.is_empty() {
            drop(self.cells[LAST].take_chain());
            account.sub(BUCKET_BYTES);
        }
        Some(entry)
    }

    /// Removes and returns an entry of the last bucket of the chain, and frees that bucket if it is empty then.
    fn take_from_chain(&mut self, account: &mut Account) -> Option<(u8, Entry)> {
        let next = self.cells[LAST].chain_mut()?;
        if let Some(taken) = next.take_from_chain(account) {
            return Some(taken);
        }
        let place = (0..CELLS).rev().find(|&place| next.cells[place].entry().is_some())?;
        let taken = next.take(place);
        if next.is_empty() {
            drop(self.cells[LAST].take_chain());
            account.sub(BUCKET_BYTES);
        }
        taken
    }

    /// Whether the bucket and its chain have no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.iter().all(Cell::is_empty)
    }

    /// Number of entries, chain included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Every entry, chain included, in the order of the cells.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let chain = std::iter::successors(Some(self), |bucket| bucket.cells[LAST].chain());
        chain.flat_map(|bucket| bucket.cells.iter().filter_map(Cell::entry))
    }

    /// Removes every entry, with its tag, and frees the chain.
    pub fn drain(&mut self, account: &mut Account, mut each: impl FnMut(u8, Entry, &mut Account)) {
        let mut next = self.drain_one(account, &mut each);
        while let Some(mut bucket) = next {
            account.sub(BUCKET_BYTES);
            next = bucket.drain_one(account, &mut each);
        }
    }

    fn drain_one(
        &mut self,
        account: &mut Account,
        each: &mut impl FnMut(u8, Entry, &mut Account),
    ) -> Option<Box<Bucket>> {
        for place in 0..CELLS {
            if let Some((tag, entry)) = self.take(place) {
                each(tag, entry, account);
            }
        }
        self.cells[LAST].take_chain()
    }

    /// Prefetches all entries.
    #[inline]
    pub fn prefetch_all(&self) {
        self.cells.iter().for_each(Cell::prefetch);
    }

    /// Prefetches the entries whose tag matches.
    #[inline]
    pub fn prefetch_entries(&self, tag: u8) {
        let mut hits = candidates(self.tags, tag);
        while hits != 0 {
            let place = (hits.trailing_zeros() / 8) as usize;
            if place < CELLS {
                self.cells[place].prefetch();
            }
            hits &= hits - 1;
        }
    }
}
