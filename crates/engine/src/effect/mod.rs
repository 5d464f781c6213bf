//! Effects: what a command changed, in a form that replicas can repeat.
//!
//! An effect is canonical: it does not depend on a clock, on randomness or on conditions. The primary stages effects
//! while it executes commands, the log carries them, [`crate::Engine::apply`] repeats them. Executing and applying call
//! the same function (`Engine::perform`), so that they cannot differ.
//!
//! The effects of a data type are in its folder ([`crate::string::effect`], [`crate::hash::effect`],
//! [`crate::zset::effect`]), those of any key
//! in `key.rs`. This module has the encoding, and in `registry.rs` the list of which op belongs to which type.
//!
//! # Format (frozen; golden bytes in `tests.rs`)
//!
//! An effect is `head, count, argument*`:
//! - `head`: varint, `op * 2 + has_database`; if the lowest bit is set, the database's number follows as a varint, else
//!   it is 0. Databases other than 0 are refused.
//! - `count`: varint, the number of arguments.
//! - `argument`: varint length, then that many bytes. A number is an argument that holds one varint.
//!
//! Varints are LEB128: seven bits a byte, the lowest first, the high bit set on all but the last byte.
//!
//! | op | name | arguments | does |
//! |---|---|---|---|
//! | 1 | SET | key, value | sets, drops the deadline |
//! | 2 | SET PXAT | key, value, deadline | sets value and deadline |
//! | 3 | SET KEEPTTL | key, value | sets, keeps the deadline |
//! | 4 | APPEND | key, bytes | appends; a missing key is empty |
//! | 5 | SETRANGE | key, offset, bytes | overwrites, padded with zero bytes |
//! | 6 | UNLINK | key | removes |
//! | 7 | PEXPIREAT | key, deadline | sets the deadline |
//! | 8 | PERSIST | key | drops the deadline |
//! | 9 | FLUSHALL | – | removes every key |
//! | 10 | RENAME | from, to | moves value and deadline, replaces |
//! | 11 | COPY | from, to | copies value and deadline, replaces |
//! | 32 | HSET | key, (field, value)+ | sets fields, drops their deadlines |
//! | 33 | HSET PXAT | key, deadline, (field, value)+ | sets fields and their deadline |
//! | 34 | HSET KEEPTTL | key, (field, value)+ | sets fields, keeps their deadlines |
//! | 35 | HDEL | key, field+ | removes fields, and the key with its last |
//! | 36 | HPEXPIREAT | key, deadline, field+ | sets the deadline of fields |
//! | 37 | HPERSIST | key, field+ | drops the deadlines of fields |
//! | 128 | ZADD | key, (member, score)+ | sets the scores of members |
//! | 129 | ZADD TABLE | key, (member, score)* | the same, and makes the sorted set large |
//! | 130 | ZREM | key, member+ | removes members, and the key with its last |
//!
//! Deadlines are milliseconds since the Unix epoch. A score is the eight bytes of a 64-bit floating-point number,
//! little-endian, and not NaN. Numbers are never used again; 0 is no op. Numbers up to 15 keep
//! the head in one byte; hashes start at 32, lists at 64, sets at 96, sorted sets at 128, streams at 160.

mod arguments;
mod buf;
mod encoder;
mod items;
mod key;
mod kind;
mod reader;
mod registry;

pub use arguments::Arguments;
pub use buf::EffectBuf;
pub use encoder::Encoder;
pub use items::Items;
pub use key::KeyEffect;
pub(crate) use kind::items_max;
pub use kind::{EffectKeys, Expired, Impact, TypeEffect};
pub use reader::DecodeError;
pub use registry::{Decoder, Effect};

#[cfg(test)]
mod tests;
