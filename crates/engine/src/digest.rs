//! One number for all data: replicas that applied the same log have the same.
//!
//! The digest is the sum, modulo 2^128, of one hash per key, so it depends on no order of tables. It covers key, type,
//! value, what OBJECT ENCODING says of a string and the deadline, of a hash every field with its deadline; it covers no
//! time of access, which is each replica's own, and no cluster's seed. It is made to find mistakes, not forgeries.

use crate::engine::Engine;
use crate::keyspace::Entry;
use crate::value::hash::{Pair, pair};
use crate::value::{Object, ValueRef};
use fastness_types::WallMs;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Engine {
    /// The digest of all data, computed by reading every key: for tests and checks, not for every batch.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.keyspace.iter().fold(0u128, |sum, entry| sum.wrapping_add(of_entry(entry))))
    }
}

pub(crate) fn of_entry(entry: &Entry) -> u128 {
    let mut hasher = SipHasher13::new();
    let key = entry.key();
    hasher.write_u64(key.len() as u64);
    hasher.write(key);
    // No deadline and deadline 0 are told apart by the length of what is written.
    if let Some(at) = entry.deadline() {
        hasher.write_u8(1);
        hasher.write_u64(at.0);
    } else {
        hasher.write_u8(0);
    }
    hasher.write_u8(entry.value().kind().number());
    match entry.value() {
        ValueRef::Int(number) => of_text(&mut hasher, itoa::Buffer::new().format(number).as_bytes(), false),
        ValueRef::Text(text) => of_text(&mut hasher, text, entry.is_raw()),
        ValueRef::Object(Object::Text(text)) => of_text(&mut hasher, text, true),
        ValueRef::Flat(flat) => of_fields(&mut hasher, flat.iter().map(|pair| (pair, None))),
        ValueRef::Object(Object::Hash(fields)) => {
            of_fields(&mut hasher, fields.iter().map(|entry| (pair(entry), entry.deadline())));
        }
    }
    hasher.finish128().as_u128()
}

/// A sum again, since the fields of equal hashes may stand in different orders.
fn of_fields<'a>(hasher: &mut SipHasher13, fields: impl Iterator<Item = (Pair<'a>, Option<WallMs>)>) {
    let of_field = |((field, value), deadline): (Pair<'_>, Option<WallMs>)| {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(field.len() as u64);
        hasher.write(field);
        hasher.write_u64(deadline.map_or(0, |at| at.0));
        hasher.write_u8(u8::from(deadline.is_some()));
        hasher.write(value);
        hasher.finish128().as_u128()
    };
    let sum = fields.map(of_field).fold(0u128, u128::wrapping_add);
    hasher.write(&sum.to_le_bytes());
}

fn of_text(hasher: &mut SipHasher13, text: &[u8], raw: bool) {
    hasher.write_u8(u8::from(raw));
    hasher.write(text);
}
