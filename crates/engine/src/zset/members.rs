//! The members of a large sorted set by their names: a table of the kind that a slot's keys are in, which grows and
//! shrinks by one bucket at a time. A member with its score is one allocation, an [`Entry`].
//!
//! # Invariant
//! The value of each entry is the bytes of its score ([`super::score::bytes_of`]); `account` is the memory of the table
//! and its entries.

use super::score::{bytes_of, from_bytes, order_of};
use super::tree::ScoreMark;
use crate::keyspace::key::seeded_hash;
use crate::keyspace::memory::Account;
use crate::keyspace::table::EntryTable;
use crate::keyspace::undo::{UndoLog, overwrite};
use crate::keyspace::{Entry, NewValue};
use fastness_types::HashSeed;

/// ScoredMembers and their scores, in no order.
#[derive(Debug)]
pub struct ScoredMembers {
    table: EntryTable,
    account: Account,
    /// The cluster's hash seed, because clients choose members as they choose keys.
    seed: HashSeed,
}

/// A member and its score.
pub type Member<'a> = (&'a [u8], f64);

/// The score of an entry.
#[must_use]
pub fn score_of(entry: &Entry) -> f64 {
    let score = entry.value().bytes().and_then(from_bytes);
    debug_assert!(score.is_some(), "the value of a member is its score");
    score.unwrap_or(0.0)
}

/// The member of an entry.
#[must_use]
pub fn member_of(entry: &Entry) -> Member<'_> {
    (entry.key(), score_of(entry))
}

impl ScoredMembers {
    /// None.
    #[must_use]
    pub fn new(seed: HashSeed) -> ScoredMembers {
        ScoredMembers { table: EntryTable::default(), account: Account::default(), seed }
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of the table and its entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.account.bytes as usize
    }

    /// The seed of the hashes.
    #[must_use]
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// The table, to be freed.
    #[must_use]
    pub fn into_table(self) -> EntryTable {
        self.table
    }

    /// The hash of a name, which determines its place in the table.
    #[must_use]
    pub fn hash(&self, name: &[u8]) -> u64 {
        seeded_hash(self.seed, name)
    }

    /// The entry of a member.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.table.find(self.hash(name), name)
    }

    /// The score of a member.
    #[must_use]
    pub fn score(&self, name: &[u8]) -> Option<f64> {
        self.find(name).map(score_of)
    }

    /// The entry that a mark stands for.
    #[must_use]
    pub fn marked(&self, mark: ScoreMark) -> Option<&Entry> {
        let has_score = |entry: &Entry| order_of(score_of(entry)) == mark.order;
        let mut candidates = 0;
        self.table.find_by(mark.hash, |entry| {
            candidates += usize::from(has_score(entry));
            false
        });
        // Bucket, tag and score nearly always leave one entry, whose name then need not be hashed.
        self.table.find_by(mark.hash, |entry| {
            has_score(entry) && (candidates == 1 || seeded_hash(self.seed, entry.key()) == mark.hash)
        })
    }

    /// The name of a mark.
    #[must_use]
    pub fn name(&self, mark: ScoreMark) -> &[u8] {
        let found = self.marked(mark);
        debug_assert!(found.is_some(), "every mark stands for a member");
        found.map_or(b"", Entry::key)
    }

    /// Prefetches the bucket of a mark.
    pub fn prefetch_bucket(&self, mark: ScoreMark) {
        self.table.prefetch_bucket(mark.hash);
    }

    /// Prefetches the entry of a mark, whose bucket should have been prefetched before.
    pub fn prefetch_entry(&self, mark: ScoreMark) {
        self.table.prefetch_entry(mark.hash);
    }

    /// Every entry, in the order of a scan.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// Visits the members of the bucket at `cursor` and returns the next cursor; 0 at the end.
    pub fn scan<'t>(&'t self, cursor: u64, visit: impl FnMut(&'t Entry)) -> u64 {
        self.table.scan(cursor, visit)
    }

    /// A uniformly random entry.
    pub fn random(&self, below: impl FnMut(u64) -> u64) -> Option<&Entry> {
        self.table.random(below)
    }

    /// Sets the score of a member. This and the other changes leave undo records in `undo_log`.
    pub fn set(&mut self, name: &[u8], score: f64, undo_log: &mut UndoLog) {
        let seed = self.seed;
        let hash_of = |name: &[u8]| seeded_hash(seed, name);
        let hash = hash_of(name);
        let bytes = bytes_of(score);
        let Some(entry) = self.table.find_mut(hash, name) else {
            if let Some(undo) = undo_log {
                undo.absent(name);
            }
            let entry = Entry::new(name, NewValue::Text(&bytes), None, 0);
            return self.table.insert(hash, entry, &mut self.account, hash_of);
        };
        let before = entry.heap_bytes();
        overwrite(undo_log, entry, NewValue::Text(&bytes), None, 0);
        let after = entry.heap_bytes();
        self.account.add(after);
        self.account.sub(before);
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &[u8], undo_log: &mut UndoLog) {
        let hash = self.hash(name);
        if let Some(entry) = self.table.remove(hash, name, &mut self.account)
            && let Some(undo) = undo_log
        {
            undo.moved(entry);
        }
    }

    /// Sets the entry of a member, in the place of the present one, without an undo record.
    pub fn put_back(&mut self, entry: Entry) {
        let seed = self.seed;
        let hash_of = |name: &[u8]| seeded_hash(seed, name);
        let hash = hash_of(entry.key());
        let Some(held) = self.table.find_mut(hash, entry.key()) else {
            return self.table.insert(hash, entry, &mut self.account, hash_of);
        };
        self.account.add(entry.heap_bytes());
        let replaced = std::mem::replace(held, entry);
        self.account.sub(replaced.heap_bytes());
    }
}
