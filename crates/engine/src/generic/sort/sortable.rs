//! The values that can be sorted.

use crate::codec::listpack::Packable;
use crate::keyspace::ValueRef;
use crate::list::List;
use crate::set::{Set, SetMember};
use crate::zset::SortedSet;
use std::ops::Range;

/// Elements, one after the other.
pub(super) type SortedElements<'e> = Box<dyn Iterator<Item = Packable<'e>> + 'e>;

/// A value that can be sorted, or a missing one, which has no elements.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sortable<'e> {
    Missing,
    List(List<'e>),
    Set(Set<'e>),
    SortedSet(SortedSet<'e>),
}

impl<'e> Sortable<'e> {
    /// The value of a key; `None`: it is of another type.
    pub(super) fn of(value: ValueRef<'e>) -> Option<Sortable<'e>> {
        let list = || List::of(value).map(Sortable::List);
        let set = || Set::of(value).map(Sortable::Set);
        list().or_else(set).or_else(|| SortedSet::of(value).map(Sortable::SortedSet))
    }

    /// Number of elements.
    pub(super) fn len(self) -> usize {
        match self {
            Sortable::Missing => 0,
            Sortable::List(list) => list.len(),
            Sortable::Set(set) => set.len(),
            Sortable::SortedSet(set) => set.len(),
        }
    }

    /// The elements at these places in the value's own order, which exist; counted from the end if `reverse`. A set has
    /// one order only.
    pub(super) fn range(self, range: Range<usize>, reverse: bool) -> SortedElements<'e> {
        let (len, count) = (self.len(), range.len());
        if count == 0 {
            return Box::new(std::iter::empty());
        }
        match self {
            Sortable::Missing => Box::new(std::iter::empty()),
            Sortable::List(list) if reverse => Box::new(list.iter_back(len - 1 - range.start).take(count)),
            Sortable::List(list) => Box::new(list.iter_from(range.start).take(count)),
            Sortable::Set(set) => Box::new(set.iter().skip(range.start).take(count).map(of_member)),
            Sortable::SortedSet(set) => {
                let ranks = if reverse { len - range.end..len - range.start } else { range };
                Box::new(set.range(ranks, reverse).map(|(name, _)| Packable::Text(name)))
            }
        }
    }
}

fn of_member(member: SetMember<'_>) -> Packable<'_> {
    match member {
        SetMember::Int(number) => Packable::Int(number),
        SetMember::Text(text) => Packable::Text(text),
    }
}
