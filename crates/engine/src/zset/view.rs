//! Reading of sorted sets in both of their forms:
//!
//! - [`PackedZset`]: a small sorted set as one run of bytes in its key's entry (OBJECT ENCODING: `listpack`).
//! - [`MemberTable`]: a large sorted set outside of the entry (`skiplist`, as Valkey's is called).
//!
//! A sorted set becomes large as in Valkey: with the 129th member, with the first member above 64 bytes, or by a ZADD
//! that names so many or so long members, whether they are added or not. It never becomes small again. The numbers are
//! the defaults of [`PackedLimits`](crate::keyspace::PackedLimits).

use super::members::{Member, member_of};
use super::packed::PackedZset;
use super::range::{NameRange, ScoreRange};
use super::score::order_of;
use super::table::MemberTable;
use crate::keyspace::ValueRef;
use crate::random::Random;
use std::ops::Range;

/// A sorted set.
#[derive(Debug, Clone, Copy)]
pub enum SortedSet<'a> {
    /// A small one.
    Packed(PackedZset<'a>),
    /// A large one.
    Table(&'a MemberTable),
}

impl<'a> SortedSet<'a> {
    /// The sorted set; `None` for other types.
    #[must_use]
    pub fn of(value: ValueRef<'a>) -> Option<SortedSet<'a>> {
        match value {
            ValueRef::Packed(packed) => PackedZset::of(packed).map(SortedSet::Packed),
            ValueRef::Object(object) => object.downcast_ref().map(SortedSet::Table),
            ValueRef::Text(_) | ValueRef::Int(_) | ValueRef::Long(_) => None,
        }
    }

    /// Number of members.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            SortedSet::Packed(packed) => packed.len(),
            SortedSet::Table(table) => table.len(),
        }
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it is small.
    #[must_use]
    pub fn is_packed(self) -> bool {
        matches!(self, SortedSet::Packed(_))
    }

    /// Memory of the sorted set, bytes: about the length of a reply with all members and scores.
    #[must_use]
    pub fn heap_bytes(self) -> usize {
        match self {
            SortedSet::Packed(packed) => packed.bytes().len(),
            SortedSet::Table(table) => table.heap_bytes(),
        }
    }

    /// The score of a member.
    #[must_use]
    pub fn score(self, name: &[u8]) -> Option<f64> {
        match self {
            SortedSet::Packed(packed) => packed.score(name),
            SortedSet::Table(table) => table.members().score(name),
        }
    }

    /// The rank of a member, and its score.
    #[must_use]
    pub fn rank(self, name: &[u8]) -> Option<(usize, f64)> {
        match self {
            SortedSet::Packed(packed) => packed.rank(name),
            SortedSet::Table(table) => table.rank(name),
        }
    }

    /// The members of these ranks, the last one first if `reverse`.
    pub fn range(self, ranks: Range<usize>, reverse: bool) -> impl Iterator<Item = Member<'a>> {
        let (packed, table) = match self {
            SortedSet::Packed(packed) => (Some(packed), None),
            SortedSet::Table(table) => (None, Some(table)),
        };
        let of_packed = packed.into_iter().flat_map({
            let ranks = ranks.clone();
            move |packed| {
                let mut members: Vec<Member<'a>> = packed.iter().skip(ranks.start).take(ranks.len()).collect();
                if reverse {
                    members.reverse();
                }
                members
            }
        });
        of_packed.chain(table.into_iter().flat_map(move |table| table.range(ranks.clone(), reverse)))
    }

    /// Every member, in order.
    pub fn iter(self) -> impl Iterator<Item = Member<'a>> {
        self.range(0..self.len(), false)
    }

    /// Every member, in any order.
    pub fn unordered(self) -> impl Iterator<Item = Member<'a>> {
        let (packed, table) = match self {
            SortedSet::Packed(packed) => (Some(packed), None),
            SortedSet::Table(table) => (None, Some(table)),
        };
        let of_packed = packed.into_iter().flat_map(PackedZset::iter);
        of_packed.chain(table.into_iter().flat_map(|table| table.members().iter().map(member_of)))
    }

    /// The ranks of the members with scores in a range.
    #[must_use]
    pub fn with_scores(self, range: &ScoreRange) -> Range<usize> {
        let count = |is_counted: &dyn Fn(u64) -> bool| match self {
            SortedSet::Packed(packed) => packed.iter().take_while(|(_, score)| is_counted(order_of(*score))).count(),
            SortedSet::Table(table) => table.count_scores(is_counted),
        };
        let start = count(&|order| range.is_below(order));
        start..count(&|order| !range.is_above(order)).max(start)
    }

    /// The ranks of the members with names in a range, if all scores are equal. If not, Valkey's reply depends on where
    /// it starts to search (`reverse`: at the end): for a small sorted set it is the same here, for a large one it is
    /// not specified.
    #[must_use]
    pub fn with_names(self, range: &NameRange<'_>, reverse: bool) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let packed = match self {
            SortedSet::Packed(packed) => packed,
            SortedSet::Table(table) => {
                let start = table.count_names(|name| range.is_below(name));
                return start..table.count_names(|name| !range.is_above(name)).max(start);
            }
        };
        let names: Vec<&[u8]> = packed.iter().map(|(name, _)| name).collect();
        let (Some(first), Some(last)) = (names.first(), names.last()) else { return 0..0 };
        if range.is_above(first) || range.is_below(last) {
            return 0..0;
        }
        if reverse {
            let end = names.iter().rposition(|name| !range.is_above(name)).map_or(0, |last| last + 1);
            let len = names[..end].iter().rev().take_while(|name| !range.is_below(name)).count();
            return end - len..end;
        }
        let start = names.iter().position(|name| !range.is_below(name)).unwrap_or(names.len());
        let len = names[start..].iter().take_while(|name| !range.is_above(name)).count();
        start..start + len
    }

    /// Visits members from `cursor` on and returns the next cursor, or 0 at the end: all members of a small sorted set,
    /// and at least `count` of a large one, if there are so many. Any number is a valid cursor.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Member<'_>)) -> u64 {
        let table = match self {
            SortedSet::Packed(packed) => {
                packed.iter().for_each(visit);
                return 0;
            }
            SortedSet::Table(table) => table,
        };
        let mut cursor = cursor;
        let mut visited = 0;
        loop {
            cursor = table.members().scan(cursor, |entry| {
                visited += 1;
                visit(member_of(entry));
            });
            if cursor == 0 || visited >= count {
                return cursor;
            }
        }
    }

    /// A random member; all are equally likely.
    pub fn random(self, random: &mut dyn Random) -> Option<Member<'a>> {
        match self {
            SortedSet::Packed(packed) if packed.is_empty() => None,
            SortedSet::Packed(packed) => packed.iter().nth(random.below(packed.len() as u64) as usize),
            SortedSet::Table(table) => table.members().random(|bound| random.below(bound)).map(member_of),
        }
    }
}
