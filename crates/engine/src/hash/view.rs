//! Reading of hashes in both of their forms:
//!
//! - [`PackedHash`]: a small hash as one run of bytes in its key's entry (OBJECT ENCODING: `listpack`).
//! - [`FieldTable`]: a large hash as a table of fields outside of the entry (`hashtable`).
//!
//! A hash becomes large as in Valkey: with the 513th field, with the first field or value above 64 bytes, or with the
//! first deadline. It never becomes small again. [`struct@Hash`] reads both forms and hides fields past their deadline.
//! The numbers are the defaults of [`PackedLimits`](crate::keyspace::PackedLimits).

use super::fields::{FieldTable, pair};
use super::packed::{PackedHash, Pair};
use crate::keyspace::{Entry, ValueRef};
use crate::random::Random;
use fastness_types::WallMs;

#[derive(Debug, Clone, Copy)]
enum Held<'a> {
    Packed(PackedHash<'a>),
    Table(&'a FieldTable),
}

/// A hash as it is at a moment, without fields past their deadline.
#[derive(Debug, Clone, Copy)]
pub struct Hash<'a> {
    held: Held<'a>,
    now: WallMs,
}

/// Draws of fields past their deadline before a live field is chosen by counting.
const DRAWS_MAX: usize = 100;

fn is_past(entry: &Entry, now: WallMs) -> bool {
    entry.deadline().is_some_and(|at| now > at)
}

impl<'a> Hash<'a> {
    /// The hash as it is at `now`; `None` for other types.
    #[must_use]
    pub fn of(value: ValueRef<'a>, now: WallMs) -> Option<Hash<'a>> {
        let held = match value {
            ValueRef::Packed(packed) => Held::Packed(PackedHash::of(packed)?),
            ValueRef::Object(object) => Held::Table(object.downcast_ref()?),
            ValueRef::Text(_) | ValueRef::Int(_) | ValueRef::Long(_) => return None,
        };
        Some(Hash { held, now })
    }

    /// Number of fields.
    #[must_use]
    pub fn len(self) -> usize {
        match self.held {
            Held::Packed(packed) => packed.len(),
            Held::Table(table) => table.len() - table.count_past(self.now),
        }
    }

    /// Memory of the hash, bytes: about the length of a reply with all fields and values.
    #[must_use]
    pub fn heap_bytes(self) -> usize {
        match self.held {
            Held::Packed(packed) => packed.bytes().len(),
            Held::Table(table) => table.heap_bytes(),
        }
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The field's value.
    #[must_use]
    pub fn get(self, field: &[u8]) -> Option<&'a [u8]> {
        match self.held {
            Held::Packed(packed) => packed.get(field),
            Held::Table(table) => self.live(table, field).map(|entry| pair(entry).1),
        }
    }

    fn live(self, table: &'a FieldTable, field: &[u8]) -> Option<&'a Entry> {
        table.find(field).filter(|entry| !is_past(entry, self.now))
    }

    /// The field's deadline; `None` if the field does not exist, `Some(None)` if it has no deadline.
    #[must_use]
    pub fn deadline(self, field: &[u8]) -> Option<Option<WallMs>> {
        match self.held {
            Held::Packed(packed) => packed.get(field).map(|_| None),
            Held::Table(table) => self.live(table, field).map(Entry::deadline),
        }
    }

    /// Whether the field is stored and past its deadline.
    #[must_use]
    pub fn is_past(self, field: &[u8]) -> bool {
        matches!(self.held, Held::Table(table) if table.find(field).is_some_and(|entry| is_past(entry, self.now)))
    }

    /// Whether any stored field has a deadline.
    #[must_use]
    pub fn has_deadlines(self) -> bool {
        matches!(self.held, Held::Table(table) if table.first_deadline().is_some())
    }

    /// Every field with its value, in the order of the table; in the order of insertion while the hash is small.
    pub fn iter(self) -> impl Iterator<Item = Pair<'a>> {
        self.iter_with_deadlines().map(|(pair, _)| pair)
    }

    /// Every field with its value and its deadline.
    pub fn iter_with_deadlines(self) -> impl Iterator<Item = (Pair<'a>, Option<WallMs>)> {
        let (packed, table) = match self.held {
            Held::Packed(packed) => (Some(packed), None),
            Held::Table(table) => (None, Some(table)),
        };
        let of_packed = packed.into_iter().flat_map(PackedHash::iter).map(|pair| (pair, None));
        let of_table = table.into_iter().flat_map(FieldTable::iter).filter(move |entry| !is_past(entry, self.now));
        of_packed.chain(of_table.map(|entry| (pair(entry), entry.deadline())))
    }

    /// Visits fields from `cursor` on and returns the next cursor, or 0 at the end: all fields of a small hash, and at
    /// least `count` of a large one, if there are so many. Any number is a valid cursor.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Pair<'_>)) -> u64 {
        let table = match self.held {
            Held::Packed(packed) => {
                packed.iter().for_each(visit);
                return 0;
            }
            Held::Table(table) => table,
        };
        let mut cursor = cursor;
        let mut visited = 0;
        loop {
            cursor = table.scan(cursor, |entry| {
                visited += 1;
                if !is_past(entry, self.now) {
                    visit(pair(entry));
                }
            });
            if cursor == 0 || visited >= count {
                return cursor;
            }
        }
    }

    /// A random field; all are equally likely.
    pub fn random(self, random: &mut dyn Random) -> Option<Pair<'a>> {
        let nth = match self.held {
            Held::Packed(packed) if packed.is_empty() => return None,
            Held::Packed(packed) => random.below(packed.len() as u64),
            Held::Table(table) => {
                for _ in 0..DRAWS_MAX {
                    let entry = table.random(|bound| random.below(bound))?;
                    if !is_past(entry, self.now) {
                        return Some(pair(entry));
                    }
                }
                random.below(Some(self.len() as u64).filter(|len| *len > 0)?)
            }
        };
        self.iter().nth(nth as usize)
    }
}
