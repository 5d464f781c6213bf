//! Effects: what a command changed, in a form that replicas can repeat.
//!
//! An effect is canonical: it does not depend on a clock, on randomness or on conditions. The primary stages effects
//! while it executes commands, the log carries them, [`crate::Engine::apply`] repeats them. Executing and applying call
//! the same function (`Engine::perform`), so that they cannot differ.
//!
//! The effects of a data type are in its folder ([`crate::string::effect`], [`crate::hash::effect`],
//! [`crate::list::effect`], [`crate::set::effect`], [`crate::zset::effect`], [`crate::stream::effect`]), those of any
//! key in `key.rs`. This module has the encoding, and in `registry.rs` the list of which op belongs to which type.
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
//! | 64 | LPUSH | key, element+ | adds elements at the head, one after the other |
//! | 65 | RPUSH | key, element+ | adds elements at the tail |
//! | 66 | LTRIM | key, number, number | removes elements from head and tail, and the key with its last |
//! | 67 | LSET | key, position, element | replaces an element |
//! | 68 | LINSERT BEFORE | key, position, element | adds an element before another one |
//! | 69 | LINSERT AFTER | key, position, element | adds an element after another one |
//! | 70 | LREM | key, positions | removes elements, and the key with its last |
//! | 71 | LROTATE LEFT RIGHT | key | moves the first element to the tail |
//! | 72 | LROTATE RIGHT LEFT | key | moves the last element to the head |
//! | 73 | LROTATE LEFT LEFT | key | removes the first element and adds it again |
//! | 74 | LROTATE RIGHT RIGHT | key | removes the last element and adds it again |
//! | 75 | LADD NODE | key, element+ | adds a node of elements at the tail |
//! | 76 | LADD PLAIN NODE | key, element | adds a node of one element, plain, at the tail |
//! | 77 | LINSERT BEFORE VALUE | key, position, value, element | as 68; names the value of the other element |
//! | 78 | LINSERT AFTER VALUE | key, position, value, element | as 69; names the value of the other element |
//! | 96 | SADD | key, member+ | adds members |
//! | 97 | SADD TEXTS | key, member+ | adds members; a set of integers becomes one of texts |
//! | 98 | SADD TABLE | key, member+ | adds members; a packed set becomes a table |
//! | 99 | SREM | key, member+ | removes members, and the key with its last |
//! | 100 | SREM PACK | key, member+ | as SREM; a table becomes a packed set of texts, if what is left fits one |
//! | 128 | ZADD | key, (member, score)+ | sets the scores of members |
//! | 129 | ZADD TABLE | key, (member, score)* | the same, and makes the sorted set large |
//! | 130 | ZREM | key, member+ | removes members, and the key with its last |
//! | 160 | XADD | key, id, (field, value)+ | adds an entry to the last node; a missing key is an empty stream |
//! | 161 | XADD IN NEW NODE | key, id, (field, value)+ | the same, to a node of its own |
//! | 162 | XADD NODE | key, id, number, number, bytes | adds a node of live and of removed entries |
//! | 163 | XDEL | key, ids | removes entries |
//! | 164 | XTRIM | key, number, number | removes whole nodes from the start, and entries of the node after them |
//! | 165 | XSETID | key, id, number, id | sets the last id, the number of added entries, the largest removed id |
//! | 166 | XGROUP CREATE | key, group, id, number | creates a group; a missing key is an empty stream |
//! | 167 | XGROUP SETID | key, group, id, number | sets what a group has read |
//! | 168 | XGROUP DESTROY | key, group | removes a group |
//! | 169 | XGROUP SETCONSUMER | key, group, consumer, time, time | sets the times of a consumer, which may be new |
//! | 170 | XGROUP DELCONSUMER | key, group, consumer | removes a consumer and what is pending for it |
//! | 171 | XCLAIM | key, group, consumer, deliveries | makes entries pending for a consumer |
//! | 172 | XACK | key, group, ids | ends that entries are pending |
//! | 173 | XTRIM UP TO | key, number, number, id | as 164; names the last entry that is removed |
//! | 192 | FUNCTION SET | name, code, functions | sets a library of functions |
//! | 193 | FUNCTION DELETE | name | removes a library |
//! | 194 | FUNCTION FLUSH | – | removes every library |
//!
//! Positions count from the head, from 0 on. Those of LREM are one argument: a varint for the first, and one for each
//! distance to the next. Deadlines are milliseconds since the Unix epoch. A score is the eight bytes of a 64-bit
//! floating-point number, little-endian, and not NaN. An id of a stream is two varints; `stream/change.rs` says how
//! several ids or deliveries are one argument. What a group has read, and times of consumers, are zigzag numbers.
//! Numbers are never used again; 0 is no op. Numbers up to 15 keep the head in one byte; hashes start at 32, lists at
//! 64, sets at 96, sorted sets at 128, streams at 160, libraries of
//! functions at 192.

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
