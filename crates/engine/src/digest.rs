//! One number for all data, equal on replicas that applied the same log.
//!
//! The digest is the sum, modulo 2^128, of one hash per key, so it does not depend on the order of tables. It covers
//! key, type, value, deadline, the encoding that OBJECT ENCODING reports of a string, and every field of a hash with
//! its deadline, and the libraries of functions. It does not cover access times, which differ between replicas, nor the
//! cluster's seed. It detects mistakes, not forgeries.

use crate::codec::digest::Running;
use crate::keyspace::{Entry, ValueRef};
use crate::types::Type;
use std::fmt;

/// The digest of all data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

pub(crate) fn of_entry(entry: &Entry) -> u128 {
    of_named(entry, entry.key(), true)
}

/// The digest of a value with its deadline, without the name of its key and without the encoding of a string: equal for
/// two keys that hold the same.
pub(crate) fn of_value(entry: &Entry) -> Digest {
    Digest(of_named(entry, b"", false))
}

/// `of_encoding`: whether two encodings of one string differ.
fn of_named(entry: &Entry, name: &[u8], of_encoding: bool) -> u128 {
    let value = entry.value();
    let mut digest = Running::of_name(name.len());
    digest.bytes(name);
    digest.key_is_whole(entry.deadline(), value.of().0);
    match value {
        ValueRef::Int(number) => digest.text(itoa::Buffer::new().format(number).as_bytes(), false),
        ValueRef::Text(text) => digest.text(text, of_encoding && entry.is_raw()),
        ValueRef::Long(text) => digest.text(text, of_encoding),
        ValueRef::Packed(packed) => Type::packed(packed.of).digest(packed.bytes, &mut digest),
        ValueRef::Object(object) => object.digest(&mut digest),
    }
    digest.end()
}
