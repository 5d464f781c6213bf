//! Reading of sets in all of their forms:
//!
//! - [`PackedSet`]: a small set as one run of bytes in its key's entry (OBJECT ENCODING: `intset` or `listpack`).
//! - [`SetTable`]: a large set as a table of members outside of the entry (`hashtable`).
//!
//! Sets change their form as in Valkey. A set of integers becomes one of texts with the first member that is not an
//! integer, if it has fewer than 128; else it becomes a table, as it does with the 513th integer. A set of texts
//! becomes a table with the 129th member, or the first above 64 bytes. It never returns to a more compact form, unless
//! SPOP removes most of it. [`enum@Set`] reads every form. The numbers are the defaults of
//! [`PackedLimits`](crate::keyspace::PackedLimits).

use super::member::SetMember;
use super::packed::{PackedSet, SetForm};
use super::table::SetTable;
use crate::keyspace::{Entry, ValueRef};
use crate::random::Random;

/// A set.
#[derive(Debug, Clone, Copy)]
pub enum Set<'a> {
    /// A small one.
    Packed(PackedSet<'a>),
    /// A large one.
    Table(&'a SetTable),
}

fn member(entry: &Entry) -> SetMember<'_> {
    SetMember::Text(entry.key())
}

impl<'a> Set<'a> {
    /// The value of a key, if it is a set.
    #[must_use]
    pub fn of(value: ValueRef<'a>) -> Option<Set<'a>> {
        match value {
            ValueRef::Packed(packed) => PackedSet::of(packed).map(Set::Packed),
            ValueRef::Object(object) => object.downcast_ref().map(Set::Table),
            ValueRef::Text(_) | ValueRef::Int(_) | ValueRef::Long(_) => None,
        }
    }

    /// Its form.
    #[must_use]
    pub fn form(self) -> SetForm {
        match self {
            Set::Packed(packed) => packed.form(),
            Set::Table(_) => SetForm::Table,
        }
    }

    /// Number of members.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Set::Packed(packed) => packed.len(),
            Set::Table(table) => table.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Memory of the set, bytes: about the length of a reply with all members.
    #[must_use]
    pub fn heap_bytes(self) -> usize {
        match self {
            Set::Packed(packed) => packed.bytes().len(),
            Set::Table(table) => table.heap_bytes(),
        }
    }

    /// Whether it has this member.
    #[must_use]
    pub fn has(self, member: SetMember<'_>) -> bool {
        match self {
            Set::Packed(packed) => packed.has(member),
            Set::Table(table) => table.find(member.text(&mut itoa::Buffer::new())).is_some(),
        }
    }

    /// Every member: in the order of the table, or of the packed form.
    pub fn iter(self) -> impl Iterator<Item = SetMember<'a>> {
        let (packed, table) = match self {
            Set::Packed(packed) => (Some(packed), None),
            Set::Table(table) => (None, Some(table)),
        };
        let of_packed = packed.into_iter().flat_map(PackedSet::iter);
        of_packed.chain(table.into_iter().flat_map(SetTable::iter).map(member))
    }

    /// Visits members from `cursor` on and returns the next cursor, or 0 at the end: all members of a small set, and at
    /// least `count` of a large one, if there are so many. Any number is a valid cursor.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(SetMember<'_>)) -> u64 {
        let table = match self {
            Set::Packed(packed) => {
                packed.iter().for_each(visit);
                return 0;
            }
            Set::Table(table) => table,
        };
        let mut cursor = cursor;
        let mut visited = 0;
        loop {
            cursor = table.scan(cursor, |entry| {
                visited += 1;
                visit(member(entry));
            });
            if cursor == 0 || visited >= count {
                return cursor;
            }
        }
    }

    /// A random member; all are equally likely.
    pub fn random(self, random: &mut dyn Random) -> Option<SetMember<'a>> {
        match self {
            Set::Packed(packed) if packed.is_empty() => None,
            Set::Packed(packed) => packed.nth(random.below(packed.len() as u64) as usize),
            Set::Table(table) => table.random(|bound| random.below(bound)).map(member),
        }
    }
}
