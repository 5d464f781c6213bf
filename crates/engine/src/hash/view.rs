//! Hashes: fields with values, each with a deadline of its own if it has one.
//!
//! - [`PackedHash`]: a small hash as one run of bytes in its key's entry (OBJECT ENCODING: `listpack`).
//! - [`FieldTable`]: a large one as a table of fields behind a pointer (`hashtable`).
//!
//! A hash becomes large as it does in Valkey: with the 513th field, with the first field or value above 64 bytes, with
//! the first deadline; and never becomes small again. [`struct@Hash`] reads both alike and shows no field past its
//! deadline.

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

/// A hash as it is seen at a moment: what is past its deadline is not there.
#[derive(Debug, Clone, Copy)]
pub struct Hash<'a> {
    held: Held<'a>,
    now: WallMs,
}

/// Draws that meet fields past their deadline, in a row, before the live ones are counted off.
const DRAWS_MAX: usize = 100;

fn is_past(entry: &Entry, now: WallMs) -> bool {
    entry.deadline().is_some_and(|at| now > at)
}

impl<'a> Hash<'a> {
    /// A hash as it is seen at `now`; `None` for other types.
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

    /// What it takes, bytes: about as much as all fields and values in a reply.
    #[must_use]
    pub fn heap_bytes(self) -> usize {
        match self.held {
            Held::Packed(packed) => packed.bytes().len(),
            Held::Table(table) => table.heap_bytes(),
        }
    }

    /// Whether there is none.
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

    /// The field's deadline, if the field is there: none, or this one.
    #[must_use]
    pub fn deadline(self, field: &[u8]) -> Option<Option<WallMs>> {
        match self.held {
            Held::Packed(packed) => packed.get(field).map(|_| None),
            Held::Table(table) => self.live(table, field).map(Entry::deadline),
        }
    }

    /// Whether the field is kept and past its deadline.
    #[must_use]
    pub fn is_past(self, field: &[u8]) -> bool {
        matches!(self.held, Held::Table(table) if table.find(field).is_some_and(|entry| is_past(entry, self.now)))
    }

    /// Whether a field, here or past its deadline, has one.
    #[must_use]
    pub fn has_deadlines(self) -> bool {
        matches!(self.held, Held::Table(table) if table.first_deadline().is_some())
    }

    /// Every field with its value. The order is that of a table, or of setting while the hash is small.
    pub fn iter(self) -> impl Iterator<Item = Pair<'a>> {
        self.iter_with_deadlines().map(|(pair, _)| pair)
    }

    /// The same, with deadlines.
    pub fn iter_with_deadlines(self) -> impl Iterator<Item = (Pair<'a>, Option<WallMs>)> {
        let (packed, table) = match self.held {
            Held::Packed(packed) => (Some(packed), None),
            Held::Table(table) => (None, Some(table)),
        };
        let of_packed = packed.into_iter().flat_map(PackedHash::iter).map(|pair| (pair, None));
        let of_table = table.into_iter().flat_map(FieldTable::iter).filter(move |entry| !is_past(entry, self.now));
        of_packed.chain(of_table.map(|entry| (pair(entry), entry.deadline())))
    }

    /// Visits some fields from `cursor` on and returns the cursor to go on with, 0 at the end: all of a small hash, at
    /// least `count` of a large one if there are so many. Any number is a valid cursor.
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

    /// A random field, each as likely as the others.
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
