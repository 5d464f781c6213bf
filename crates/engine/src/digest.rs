//! One number for all data: replicas that applied the same log have the same.
//!
//! The digest is the sum, modulo 2^128, of one hash per key, so it depends on no order of tables. It covers key, type,
//! value, what OBJECT ENCODING says of a string and the deadline, of a hash every field with its deadline; it covers no
//! time of access, which is each replica's own, and no cluster's seed. It is made to find mistakes, not forgeries.

use crate::codec::digest::Running;
use crate::keyspace::{Entry, ValueRef};
use crate::types::Type;
use std::fmt;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

pub(crate) fn of_entry(entry: &Entry) -> u128 {
    let value = entry.value();
    let mut digest = Running::of_name(entry.key().len());
    digest.bytes(entry.key());
    digest.key_is_whole(entry.deadline(), value.of().0);
    match value {
        ValueRef::Int(number) => digest.text(itoa::Buffer::new().format(number).as_bytes(), false),
        ValueRef::Text(text) => digest.text(text, entry.is_raw()),
        ValueRef::Long(text) => digest.text(text, true),
        ValueRef::Packed(packed) => Type::packed(packed.of).digest(packed.bytes, &mut digest),
        ValueRef::Object(object) => object.digest(&mut digest),
    }
    digest.end()
}
