//! The keys of one hash slot: linear hashing.
//!
//! A table of `n` buckets with `2^L <= n < 2^(L+1)` addresses a key by the low `L + 1` bits of its hash, or by the low
//! `L` if that bucket does not exist yet. It grows by one bucket: bucket `n - 2^L` is split in two by its keys' next
//! bit, and nothing else moves. It shrinks by merging its last bucket into the one that it was split from. So one
//! insert or removal moves the entries of one bucket, however large the table is.
//!
//! Buckets are stored so that growing never copies much either. The first `UNIT` buckets are one small vector; most
//! slots never need more. Further buckets are in blocks whose number and size both grow with the square root of the
//! table (the "resizable array" of Brodnik, Carlsson, Demaine, Munro, Sedgewick 1999): a slot with 100 million keys has
//! a directory of a few thousand pointers and blocks of a few thousand buckets.
//!
//! # Scanning
//! A cursor is a position in the order of the hash's **reversed** bits. A bucket covers one interval of that order,
//! whatever the table's size: splitting it halves the interval, merging joins two. A scan visits the bucket at its
//! cursor and continues after that bucket's interval. So every entry that exists during a whole scan is visited,
//! although the table grows and shrinks; after shrinking, some entries are visited twice.
//!
//! # Limits
//! The load differs by a factor of two between buckets that were split and those that were not; the fuller ones chain.

use super::bucket::{BUCKET_BYTES, Bucket};
use super::budget::FreeBudget;
use super::entry::Entry;
use super::memory::Account;
use super::value::Dismantle;

/// Buckets of the first vector, and the unit of the blocks.
const UNIT: usize = 16;
/// Entries per bucket, on average, above which the table grows.
const LOAD_MAX: usize = 4;
/// Entries per bucket, on average, below which the table shrinks.
const LOAD_MIN: usize = 2;

/// The keys of one slot. One cache line.
#[derive(Default)]
pub struct EntryTable {
    first: Vec<Bucket>,
    blocks: Vec<Box<[Bucket]>>,
    buckets: usize,
    len: usize,
}

/// The block of the `unit`-th unit after the first vector, and the unit's index in it: superblock `k` has `2^(k/2)`
/// blocks of `2^((k+1)/2)` units (both rounded down), so blocks double in size and in number alternately.
fn place_of_unit(unit: usize) -> (usize, usize) {
    let r = unit + 1;
    let k = r.ilog2();
    let in_block_bits = k.div_ceil(2);
    let block_bits = k / 2;
    let in_superblock = r - (1 << k);
    let before = if k.is_multiple_of(2) { 2 * ((1 << block_bits) - 1) } else { 3 * (1 << block_bits) - 2 };
    (before + (in_superblock >> in_block_bits), in_superblock & ((1 << in_block_bits) - 1))
}

/// Units of the block with this index.
fn units_of_block(block: usize) -> usize {
    // The first block of superblock k has index 2 * (2^(k/2) - 1) or 3 * 2^((k-1)/2) - 2.
    let mut k = 0u32;
    loop {
        let next = k + 1;
        let before = if next.is_multiple_of(2) { 2 * ((1 << (next / 2)) - 1) } else { 3 * (1 << (next / 2)) - 2 };
        if block < before {
            return 1 << k.div_ceil(2);
        }
        k = next;
    }
}

/// The tag of a hash: its bits 42 to 49, because the index of deadlines stores only the low 50. Never 0.
#[inline]
fn tag_of(hash: u64) -> u8 {
    ((hash >> 42) as u8).max(1)
}

impl EntryTable {
    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of buckets without chained ones.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// How many low bits of `hash` address its bucket. There is at least one bucket.
    #[inline]
    fn bits_of(&self, hash: u64) -> u32 {
        let level = self.buckets.ilog2();
        let low = hash & ((1u64 << level) - 1);
        let is_split = low + (1 << level) < self.buckets as u64;
        if is_split { level + 1 } else { level }
    }

    #[inline]
    fn bucket_index(&self, hash: u64) -> usize {
        let level = self.buckets.ilog2();
        let wide = (hash & ((2u64 << level) - 1)) as usize;
        if wide < self.buckets { wide } else { wide - (1 << level) }
    }

    #[inline]
    fn bucket(&self, index: usize) -> &Bucket {
        if index < UNIT {
            return &self.first[index];
        }
        let (block, unit) = place_of_unit(index / UNIT - 1);
        &self.blocks[block][unit * UNIT + index % UNIT]
    }

    #[inline]
    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        if index < UNIT {
            return &mut self.first[index];
        }
        let (block, unit) = place_of_unit(index / UNIT - 1);
        &mut self.blocks[block][unit * UNIT + index % UNIT]
    }

    /// The entry of this key.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.find_by(hash, |entry| entry.key() == key)
    }

    /// The entry with this hash's tag and bucket for which `is_it` holds.
    #[inline]
    pub fn find_by(&self, hash: u64, is_it: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        if self.len == 0 {
            return None;
        }
        self.bucket(self.bucket_index(hash)).find(tag_of(hash), is_it)
    }

    /// The entry of this key, mutable.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        if self.len == 0 {
            return None;
        }
        let index = self.bucket_index(hash);
        self.bucket_mut(index).find_mut(tag_of(hash), |entry| entry.key() == key)
    }

    /// Adds an entry whose key does not exist yet. `hash_of` returns the hash of any entry's key.
    pub fn insert(&mut self, hash: u64, entry: Entry, account: &mut Account, hash_of: impl Fn(&[u8]) -> u64) {
        debug_assert!(self.find(hash, entry.key()).is_none(), "inserted twice");
        if self.len >= self.buckets * LOAD_MAX {
            self.grow(account, hash_of);
        }
        account.add(entry.heap_bytes());
        self.len += 1;
        let index = self.bucket_index(hash);
        self.bucket_mut(index).push(tag_of(hash), entry, account);
    }

    /// Removes and returns the entry of this key.
    pub fn remove(&mut self, hash: u64, key: &[u8], account: &mut Account) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        let index = self.bucket_index(hash);
        let entry = self.bucket_mut(index).remove(tag_of(hash), |entry| entry.key() == key, account)?;
        self.len -= 1;
        account.sub(entry.heap_bytes());
        let last_needed = self.buckets == 1 && self.len > 0;
        if self.len < self.buckets * LOAD_MIN && !last_needed {
            self.shrink(account);
        }
        Some(entry)
    }

    fn grow(&mut self, account: &mut Account, hash_of: impl Fn(&[u8]) -> u64) {
        let new = self.buckets;
        self.make_storage(new, account);
        self.buckets += 1;
        if new == 0 {
            return;
        }
        let level = new.ilog2();
        let source = new - (1 << level);
        let mut old = std::mem::take(self.bucket_mut(source));
        old.drain(account, |tag, entry, account| {
            account.moved += 1;
            let moves = hash_of(entry.key()) >> level & 1 == 1;
            self.bucket_mut(if moves { new } else { source }).push(tag, entry, account);
        });
    }

    /// Creates the storage of bucket `index`, the first one that does not exist yet.
    fn make_storage(&mut self, index: usize, account: &mut Account) {
        if index < UNIT {
            if self.first.capacity() == index {
                let before = self.first.capacity();
                self.first.reserve_exact(if index < UNIT / 2 { 1 } else { 2 });
                account.add((self.first.capacity() - before) * BUCKET_BYTES);
            }
            self.first.push(Bucket::default());
            return;
        }
        let (block, place) = place_of_unit(index / UNIT - 1);
        if block == self.blocks.len() {
            debug_assert_eq!(place + index % UNIT, 0);
            let before = self.blocks.capacity();
            let block: Box<[Bucket]> = (0..units_of_block(block) * UNIT).map(|_| Bucket::default()).collect();
            account.add(size_of_val(&*block));
            self.blocks.push(block);
            account.add((self.blocks.capacity() - before) * size_of::<Box<[Bucket]>>());
        }
    }

    fn shrink(&mut self, account: &mut Account) {
        let last = self.buckets - 1;
        let mut old = std::mem::take(self.bucket_mut(last));
        if last > 0 {
            let target = last - (1 << last.ilog2());
            old.drain(account, |tag, entry, account| {
                account.moved += 1;
                self.bucket_mut(target).push(tag, entry, account);
            });
        }
        debug_assert!(old.is_empty());
        self.buckets = last;
        self.give_back(last, account);
    }

    /// Frees the storage of bucket `index`, the last one, if that frees memory.
    fn give_back(&mut self, index: usize, account: &mut Account) {
        if index < UNIT {
            self.first.pop();
            let before = self.first.capacity();
            if before - self.first.len() > UNIT / 4 || self.first.is_empty() {
                self.first.shrink_to_fit();
                account.sub((before - self.first.capacity()) * BUCKET_BYTES);
            }
            return;
        }
        let (block, place) = place_of_unit(index / UNIT - 1);
        if place + index % UNIT == 0 {
            let freed = self.blocks.pop().expect("the last bucket was in the last block");
            debug_assert_eq!(self.blocks.len(), block);
            account.sub(size_of_val(&*freed));
            let before = self.blocks.capacity();
            if before > 4 * self.blocks.len() {
                self.blocks.shrink_to(2 * self.blocks.len());
                account.sub((before - self.blocks.capacity()) * size_of::<Box<[Bucket]>>());
            }
        }
    }

    /// Visits the entries of the bucket at `cursor` and returns the next cursor; 0 starts a scan, and is returned at
    /// its end.
    pub fn scan<'t>(&'t self, cursor: u64, mut visit: impl FnMut(&'t Entry)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        self.bucket(self.bucket_index(cursor)).iter().for_each(&mut visit);
        next_cursor(cursor, self.bits_of(cursor))
    }

    /// Every entry, in the order of a scan.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let mut next = (self.len > 0).then_some(0u64);
        let buckets = std::iter::from_fn(move || {
            let cursor = next?;
            let after = next_cursor(cursor, self.bits_of(cursor));
            next = (after != 0).then_some(after);
            // Entries are scattered over memory: the next bucket's are prefetched while those of this one are read.
            self.bucket(self.bucket_index(after)).prefetch_all();
            Some(self.bucket(self.bucket_index(cursor)))
        });
        buckets.flat_map(Bucket::iter)
    }

    /// A uniformly random entry. `below(n)` is uniform below `n`.
    pub fn random(&self, mut below: impl FnMut(u64) -> u64) -> Option<&Entry> {
        /// A bucket is kept with probability `len / LONGEST`, so that each entry is equally likely.
        const LONGEST: u64 = 32;
        const TRIES: usize = 1_000;
        if self.len == 0 {
            return None;
        }
        for _ in 0..TRIES {
            let bucket = self.bucket(below(self.buckets as u64) as usize);
            let nth = below(LONGEST) as usize;
            if let Some(entry) = bucket.iter().nth(nth) {
                return Some(entry);
            }
        }
        self.iter().next()
    }

    /// Removes entries from a table that is no longer read, bucket by bucket until the budget is spent, and passes them
    /// to `free`.
    pub(super) fn dismantle(
        &mut self,
        budget: &mut FreeBudget,
        account: &mut Account,
        mut free: impl FnMut(Entry, &mut Account),
    ) {
        while self.buckets > 0 && !budget.is_spent() {
            let last = self.buckets - 1;
            let mut old = std::mem::take(self.bucket_mut(last));
            if let Some(next) = last.checked_sub(1) {
                self.bucket(next).prefetch_all();
            }
            old.drain(account, |_, entry, account| {
                account.sub(entry.heap_bytes());
                budget.spend(entry.size());
                self.len -= 1;
                free(entry, account);
            });
            self.buckets = last;
            self.give_back(last, account);
            budget.spend(BUCKET_BYTES);
        }
        if self.buckets == 0 {
            account.sub(self.blocks.capacity() * size_of::<Box<[Bucket]>>());
            self.blocks = Vec::new();
        }
    }

    /// Prefetches the key's bucket.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if self.len > 0 {
            super::entry::cell::prefetch(self.bucket(self.bucket_index(hash)));
        }
    }

    /// Prefetches the key's entry; its bucket should have been prefetched before.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        if self.len > 0 {
            self.bucket(self.bucket_index(hash)).prefetch_entries(tag_of(hash));
        }
    }
}

impl Dismantle<Entry> for EntryTable {
    fn dismantle_some(
        &mut self,
        budget: &mut FreeBudget,
        account: &mut Account,
        each: &mut dyn FnMut(Entry, &mut Account),
    ) -> bool {
        self.dismantle(budget, account, each);
        self.buckets > 0
    }
}

/// The cursor after the bucket that the `bits` low bits of `cursor` address: the reversed number of these bits, plus
/// one.
fn next_cursor(cursor: u64, bits: u32) -> u64 {
    let unused = u64::MAX.checked_shl(bits).unwrap_or(0);
    (cursor | unused).reverse_bits().wrapping_add(1).reverse_bits()
}

impl std::fmt::Debug for EntryTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryTable").field("len", &self.len).field("buckets", &self.buckets).finish_non_exhaustive()
    }
}
