//! One number for all data: replicas that applied the same log have the same.
//!
//! The digest is the sum, modulo 2^128, of one hash per key, so it depends on no order of tables. It covers key, type,
//! value, what OBJECT ENCODING says of a string and the deadline, of a hash every field with its deadline; it covers no
//! time of access, which is each replica's own, and no cluster's seed. It is made to find mistakes, not forgeries.

use crate::engine::Engine;
use crate::keyspace::Entry;
use crate::value::hash::{Pair, pair};
use crate::value::{Object, Type, ValueRef};
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
    let mut digest = Running::of_name(entry.key().len());
    digest.bytes(entry.key());
    digest.key_is_whole(entry.deadline(), entry.value().kind());
    match entry.value() {
        ValueRef::Int(number) => digest.text(itoa::Buffer::new().format(number).as_bytes(), false),
        ValueRef::Text(text) => digest.text(text, entry.is_raw()),
        ValueRef::Object(Object::Text(text)) => digest.text(text, true),
        ValueRef::Flat(flat) => digest.fields(flat.iter().fold(0, |sum, pair| sum.wrapping_add(of_field(pair, None)))),
        ValueRef::Object(Object::Hash(fields)) => {
            let of_field = |entry: &Entry| of_field(pair(entry), entry.deadline());
            digest.fields(fields.iter().map(of_field).fold(0, u128::wrapping_add));
        }
    }
    digest.end()
}

/// A field's part of the digest of its hash, which is a sum again: the fields of equal hashes may stand in different orders.
pub(crate) fn of_field((field, value): Pair<'_>, deadline: Option<WallMs>) -> u128 {
    let mut digest = Running::of_name(field.len());
    digest.bytes(field);
    digest.field_is_whole(deadline);
    digest.bytes(value);
    digest.end()
}

/// The digest of one key or field, from as many pieces as its name and its text come in.
#[derive(Debug)]
pub(crate) struct Running(SipHasher13);

impl Running {
    /// Its name has so many bytes, and follows.
    pub(crate) fn of_name(len: usize) -> Running {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(len as u64);
        Running(hasher)
    }

    /// The next bytes of its name, or of its text.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The whole name of a key has been given.
    pub(crate) fn key_is_whole(&mut self, deadline: Option<WallMs>, kind: Type) {
        // No deadline and deadline 0 are told apart by the length of what is written.
        if let Some(at) = deadline {
            self.0.write_u8(1);
            self.0.write_u64(at.0);
        } else {
            self.0.write_u8(0);
        }
        self.0.write_u8(kind.number());
    }

    /// The whole name of a field has been given.
    pub(crate) fn field_is_whole(&mut self, deadline: Option<WallMs>) {
        self.0.write_u64(deadline.map_or(0, |at| at.0));
        self.0.write_u8(u8::from(deadline.is_some()));
    }

    /// A string's text follows.
    pub(crate) fn text_follows(&mut self, raw: bool) {
        self.0.write_u8(u8::from(raw));
    }

    fn text(&mut self, text: &[u8], raw: bool) {
        self.text_follows(raw);
        self.bytes(text);
    }

    /// The sum of a hash's fields.
    pub(crate) fn fields(&mut self, sum: u128) {
        self.0.write(&sum.to_le_bytes());
    }

    pub(crate) fn end(self) -> u128 {
        self.0.finish128().as_u128()
    }
}
