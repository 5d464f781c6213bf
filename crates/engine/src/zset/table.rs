//! A large sorted set: its members by name, and their order.
//!
//! # Invariant
//! The tree has one mark for each member, with the member's score and hash.

use super::members::{Member, ScoredMembers, member_of, score_of};
use super::score::order_of;
use super::tree::{Place, ScoreMark, ScoreTree};
use crate::keyspace::budget::FreeBudget;
use crate::keyspace::memory::{Account, size_class};
use crate::keyspace::table::EntryTable;
use crate::keyspace::undo::UndoLog;
use crate::keyspace::value::Dismantle;
use crate::keyspace::{Entry, NewValue};
use fastness_types::HashSeed;
use std::ops::Range;

/// The members of a large sorted set.
#[derive(Debug)]
pub struct MemberTable {
    members: ScoredMembers,
    tree: ScoreTree,
}

/// How far ahead of a walk in order buckets and entries are prefetched, because they are scattered over memory.
const BUCKETS_AHEAD: usize = 8;
const ENTRIES_AHEAD: usize = 4;

impl MemberTable {
    /// A sorted set without members.
    #[must_use]
    pub fn new(seed: HashSeed) -> MemberTable {
        MemberTable { members: ScoredMembers::new(seed), tree: ScoreTree::default() }
    }

    /// The members by name.
    #[must_use]
    pub fn members(&self) -> &ScoredMembers {
        &self.members
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Bytes on the heap, including the sorted set itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_class(size_of::<MemberTable>()) + self.members.bytes() + self.tree.bytes()
    }

    /// What has to be freed, and its bytes.
    #[must_use]
    pub fn into_remains(self) -> (MemberRemains, usize) {
        let bytes = self.members.bytes() + self.tree.bytes();
        (MemberRemains { tree: self.tree, table: self.members.into_table() }, bytes)
    }

    /// The rank of a member, and its score.
    #[must_use]
    pub fn rank(&self, name: &[u8]) -> Option<(usize, f64)> {
        let score = self.members.score(name)?;
        let place = Place { order: order_of(score), name };
        Some((self.tree.rank(place, &|mark| self.members.name(mark)), score))
    }

    /// The number of first members whose scores satisfy a condition, which holds for all before one for which it holds.
    /// It is given the numbers that order the scores.
    #[must_use]
    pub fn count_scores(&self, is_counted: impl Fn(u64) -> bool) -> usize {
        self.tree.count_while(|bound| is_counted(bound.order), |mark| is_counted(mark.order))
    }

    /// As [`MemberTable::count_scores`], with a condition on names: all scores should be equal.
    #[must_use]
    pub fn count_names(&self, is_counted: impl Fn(&[u8]) -> bool) -> usize {
        self.tree.count_while(|bound| is_counted(&bound.name), |mark| is_counted(self.members.name(mark)))
    }

    /// The members of these ranks, the last one first if `reverse`.
    pub fn range(&self, ranks: Range<usize>, reverse: bool) -> impl Iterator<Item = Member<'_>> {
        let mut marks = self.tree.range(ranks, reverse);
        std::iter::from_fn(move || {
            if let Some(mark) = marks.ahead(BUCKETS_AHEAD) {
                self.members.prefetch_bucket(mark);
            }
            if let Some(mark) = marks.ahead(ENTRIES_AHEAD) {
                self.members.prefetch_entry(mark);
            }
            self.members.marked(marks.next()?).map(member_of)
        })
    }

    /// Sets the score of a member. This and the other changes leave undo records in `undo_log`; the caller adds the
    /// key of the sorted set.
    pub fn set(&mut self, name: &[u8], score: f64, undo_log: &mut UndoLog) {
        let old = self.members.score(name);
        if old.is_some_and(|old| old.to_bits() == score.to_bits()) {
            return;
        }
        self.move_mark(name, old, Some(score), |members| members.set(name, score, undo_log));
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &[u8], undo_log: &mut UndoLog) {
        if let Some(old) = self.members.score(name) {
            self.move_mark(name, Some(old), None, |members| members.remove(name, undo_log));
        }
    }

    /// Sets the entry of a member, in the place of the present one, without an undo record.
    pub fn put_back(&mut self, entry: Entry) {
        let (name, score) = member_of(&entry);
        let (name, old) = (name.to_vec(), self.members.score(name));
        self.move_mark(&name, old, Some(score), |members| members.put_back(entry));
    }

    /// Sets an entry whose value may be stored in another way than members of a sorted set have it.
    pub fn add(&mut self, part: &Entry) {
        let (name, score) = member_of(part);
        self.put_back(Entry::new(name, NewValue::Text(&super::score::bytes_of(score)), None, 0));
    }

    /// Makes a change of one member, and moves its mark: names are found by scores, so the old mark is removed before
    /// the change, and the new one is added after it.
    fn move_mark(&mut self, name: &[u8], old: Option<f64>, new: Option<f64>, change: impl FnOnce(&mut ScoredMembers)) {
        let hash = self.members.hash(name);
        let [old, new] = [old, new].map(|score| score.map(order_of));
        if old == new {
            return change(&mut self.members);
        }
        if let Some(order) = old {
            let members = &self.members;
            self.tree.remove(ScoreMark { order, hash }, name, &|mark| members.name(mark));
        }
        change(&mut self.members);
        if let Some(order) = new {
            let members = &self.members;
            self.tree.insert(ScoreMark { order, hash }, name, &|mark| members.name(mark));
        }
    }
}

impl Clone for MemberTable {
    fn clone(&self) -> MemberTable {
        let mut copy = MemberTable::new(self.members.seed());
        self.range(0..self.len(), false).for_each(|(name, score)| copy.set(name, score, &mut None));
        copy
    }
}

impl PartialEq for MemberTable {
    fn eq(&self, other: &MemberTable) -> bool {
        let is_equal = |entry: &Entry| {
            let other = other.members.score(entry.key());
            other.is_some_and(|score| score.to_bits() == score_of(entry).to_bits())
        };
        self.len() == other.len() && self.members.iter().all(is_equal)
    }
}

/// The memory of a large sorted set that is no longer read.
pub struct MemberRemains {
    tree: ScoreTree,
    table: EntryTable,
}

impl Dismantle<Entry> for MemberRemains {
    fn dismantle_some(
        &mut self,
        budget: &mut FreeBudget,
        account: &mut Account,
        each: &mut dyn FnMut(Entry, &mut Account),
    ) -> bool {
        while self.tree.bytes() > 0 {
            if budget.is_spent() {
                return true;
            }
            let freed = self.tree.drop_last();
            account.sub(freed);
            budget.spend(freed);
        }
        self.table.dismantle_some(budget, account, each)
    }
}
