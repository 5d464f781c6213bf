//! The keyspace: every key of one replica, one table per hash slot.
//!
//! - [`access`]: what entries record of their accesses; `sample`: keys at random, among which eviction chooses.
//! - [`entry`]: one key with its value in one allocation. The only folder of the engine with `unsafe` code.
//! - [`bucket`]: seven entries on one cache line, found by one-byte tags.
//! - [`table`]: the buckets of one slot, growing and shrinking by one bucket at a time (linear hashing).
//! - [`key`]: a key with its slot and hash.
//! - [`deadlines`]: the keys with a deadline, earliest first.
//! - [`expiry`]: when a key expires.
//! - [`value`]: the interface between the keyspace and the values of data types; [`text`]: long strings.
//! - [`libraries`]: the libraries of functions.
//! - [`packed_limits`]: up to which size hashes, sets and sorted sets are packed.
//! - `change`: changes of values in place.
//! - [`undo`]: records of what changes destroy; `undoing`: how they are kept, dropped and used.
//! - [`retired`]: large values that are freed in slices.
//! - [`slots`]: all slots together, with the index of deadlines and the account of memory.
//!
//! Nothing here knows commands, effects or clocks. What an operation does depends on its arguments and the data
//! alone, so that two replicas that apply the same log hold the same data; only the place of an entry in memory
//! differs.

pub mod access;
pub mod bucket;
pub mod budget;
mod change;
pub mod deadlines;
pub mod entry;
pub mod expiry;
mod flushed;
pub mod key;
pub mod libraries;
pub mod memory;
pub mod packed_limits;
pub mod retired;
mod sample;
pub mod slots;
pub mod table;
pub mod text;
pub mod undo;
mod undoing;
pub mod value;

#[cfg(test)]
mod retired_tests;
#[cfg(test)]
mod slots_tests;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod undo_tests;

pub use access::{AccessClock, AccessMode};
pub use entry::{Entry, NewValue, Object, ValueRef};
pub use key::{ExpiryChange, Key};
pub use packed_limits::PackedLimits;
pub use slots::Keyspace;
pub use value::{Packed, TypeNumber};
