//! Effects: what a command changed, as a replica can repeat it.
//!
//! An effect is canonical: no clock, no randomness and no condition is left in it. The primary writes effects while it
//! executes, the log carries them, [`crate::Engine::apply`] repeats them. Executing and applying call the same function
//! (`Engine::perform`), so that they cannot differ.
//!
//! # Format (frozen; golden bytes in `effect_tests.rs`)
//!
//! An effect is `head, count, argument*`:
//! - `head`: varint, `op * 2 + has_database`; if the lowest bit is set, the database's number follows as a varint, else
//!   it is 0. Databases other than 0 are refused for now.
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
//!
//! Deadlines are milliseconds since the Unix epoch. Numbers are never used again; 0 is no op. Numbers up to 15 keep
//! the head in one byte; hashes begin at 32, lists at 64, sets at 96, sorted sets at 128, streams at 160.

use crate::keyspace::{ExpiryChange, Key};
use fastness_resp::Args;
use fastness_resp::shared_buf::{Mark, SharedBuf};
use fastness_types::limits::{UNIT_FLUSHES_MAX, VALUE_BYTES_MAX};
use fastness_types::{Plant, WallMs};
use std::sync::Arc;

/// Frozen op numbers.
pub mod op {
    #![allow(missing_docs, reason = "the table in the module's documentation")]
    pub const SET: u16 = 1;
    pub const SET_PXAT: u16 = 2;
    pub const SET_KEEPTTL: u16 = 3;
    pub const APPEND: u16 = 4;
    pub const SETRANGE: u16 = 5;
    pub const UNLINK: u16 = 6;
    pub const PEXPIREAT: u16 = 7;
    pub const PERSIST: u16 = 8;
    pub const FLUSHALL: u16 = 9;
    pub const RENAME: u16 = 10;
    pub const COPY: u16 = 11;
    pub const HSET: u16 = 32;
    pub const HSET_PXAT: u16 = 33;
    pub const HSET_KEEPTTL: u16 = 34;
    pub const HDEL: u16 = 35;
    pub const HPEXPIREAT: u16 = 36;
    pub const HPERSIST: u16 = 37;
}

/// Arguments of which an effect takes any number: a command's, or those of an encoded effect.
#[derive(Clone, Copy)]
pub struct Items<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Args(Args<'a>),
    Encoded { bytes: &'a [u8], count: usize },
}

impl<'a> From<Args<'a>> for Items<'a> {
    fn from(args: Args<'a>) -> Items<'a> {
        Items(Source::Args(args))
    }
}

impl<'a> Items<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Args(args) => args.len(),
            Source::Encoded { count, .. } => count,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let (args, encoded) = match self.0 {
            Source::Args(args) => (Some(args), &[][..]),
            Source::Encoded { bytes, .. } => (None, bytes),
        };
        let of_args = args.into_iter().flat_map(|args| (0..args.len()).map(move |i| args.get(i)));
        let mut decoder = Decoder::new(encoded);
        of_args.chain(std::iter::from_fn(move || decoder.argument().ok()))
    }

    /// In order, two by two.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut items = self.iter();
        std::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }
}

impl std::fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|item| item.escape_ascii().to_string())).finish()
    }
}

impl PartialEq for Items<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Items<'_> {}

/// One change of the data. See the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's documentation")]
pub enum Effect<'a> {
    Set { key: Key<'a>, value: &'a [u8], expiry: ExpiryChange },
    Append { key: Key<'a>, bytes: &'a [u8] },
    SetRange { key: Key<'a>, offset: u64, bytes: &'a [u8] },
    Unlink { key: Key<'a> },
    ExpireAt { key: Key<'a>, at: WallMs },
    Persist { key: Key<'a> },
    FlushAll,
    Rename { from: Key<'a>, to: Key<'a> },
    Copy { from: Key<'a>, to: Key<'a> },
    SetFields { key: Key<'a>, pairs: Items<'a>, expiry: ExpiryChange },
    RemoveFields { key: Key<'a>, fields: Items<'a> },
    ExpireFieldsAt { key: Key<'a>, at: WallMs, fields: Items<'a> },
    PersistFields { key: Key<'a>, fields: Items<'a> },
}

impl<'a> Effect<'a> {
    /// The first key that it touches.
    #[must_use]
    pub fn key(&self) -> Option<&Key<'a>> {
        match self {
            Effect::Set { key, .. }
            | Effect::Append { key, .. }
            | Effect::SetRange { key, .. }
            | Effect::Unlink { key }
            | Effect::ExpireAt { key, .. }
            | Effect::Persist { key }
            | Effect::Rename { from: key, .. }
            | Effect::Copy { from: key, .. }
            | Effect::SetFields { key, .. }
            | Effect::RemoveFields { key, .. }
            | Effect::ExpireFieldsAt { key, .. }
            | Effect::PersistFields { key, .. } => Some(key),
            Effect::FlushAll => None,
        }
    }
}

/// Most bytes of an effect beside those of its arguments: the op, the number of arguments, the lengths of up to three of them,
/// numbers.
const EFFECT_HEAD_MAX: usize = 64;
/// Most bytes of an argument's length.
const LENGTH_MAX: usize = 10;

impl Effect<'_> {
    /// An upper bound of its encoded length.
    #[inline]
    fn bytes_max(&self) -> usize {
        let items = |items: &Items<'_>| items.iter().map(|item| item.len() + LENGTH_MAX).sum::<usize>();
        let arguments = match self {
            Effect::Set { key, value, .. } => key.bytes.len() + value.len(),
            Effect::Append { key, bytes } | Effect::SetRange { key, bytes, .. } => key.bytes.len() + bytes.len(),
            Effect::Unlink { key } | Effect::ExpireAt { key, .. } | Effect::Persist { key } => key.bytes.len(),
            Effect::FlushAll => 0,
            Effect::Rename { from, to } | Effect::Copy { from, to } => from.bytes.len() + to.bytes.len(),
            Effect::SetFields { key, pairs, .. } => key.bytes.len() + items(pairs),
            Effect::RemoveFields { key, fields }
            | Effect::ExpireFieldsAt { key, fields, .. }
            | Effect::PersistFields { key, fields } => key.bytes.len() + items(fields),
        };
        arguments + EFFECT_HEAD_MAX
    }
}

/// Effects that were staged, in order, with what they touched.
///
/// The owner clears it between batches, and says where a unit begins and how long its effects may be
/// ([`crate::Engine::begin_unit`]). Before an effect is added and performed it is compared with that bound: one that would pass it
/// is not, nor is any after it, and the unit is then taken back whole. Until a unit has begun there is no bound.
#[derive(Debug, Default)]
pub struct EffectBuf {
    encoded: SharedBuf,
    count: usize,
    touched: Vec<u64>,
    touches_all: bool,
    unit: Unit,
}

/// The unit that is being staged.
#[derive(Debug)]
struct Unit {
    /// What the buffer held when it began.
    encoded: Mark,
    count: usize,
    touched: usize,
    touched_all: bool,
    /// The length that the buffer may reach with it.
    bytes_end: usize,
    /// How often it has removed every key.
    flushes: usize,
    overflowed: bool,
}

impl Default for Unit {
    fn default() -> Unit {
        Unit {
            encoded: Mark::default(),
            count: 0,
            touched: 0,
            touched_all: false,
            bytes_end: usize::MAX,
            flushes: 0,
            overflowed: false,
        }
    }
}

impl EffectBuf {
    /// Empty.
    #[must_use]
    pub fn new() -> EffectBuf {
        EffectBuf::default()
    }

    /// The encoded effects.
    #[must_use]
    pub fn encoded(&self) -> &SharedBuf {
        &self.encoded
    }

    /// Length of the encoded effects, bytes: unchanged by a command that wrote nothing.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.encoded.len()
    }

    /// Whether there is no effect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Number of effects.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// [`crate::Engine::hash_key`] of every key that an effect touched, in order, with repetitions.
    #[must_use]
    pub fn touched(&self) -> &[u64] {
        &self.touched
    }

    /// Whether an effect touched the whole keyspace.
    #[must_use]
    pub fn touches_all(&self) -> bool {
        self.touches_all
    }

    /// Forgets what was touched and keeps the effects: after a command's keys were marked.
    pub fn clear_touched(&mut self) {
        self.touched.clear();
        self.touches_all = false;
    }

    /// Empties it; keeps its memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.count = 0;
        self.clear_touched();
        self.unit = Unit::default();
    }

    /// What is added from here on is one unit, whose effects may be `bytes_max` long.
    #[inline]
    pub(crate) fn begin_unit(&mut self, bytes_max: usize) {
        self.unit = Unit {
            encoded: self.encoded.mark(),
            count: self.count,
            touched: self.touched.len(),
            touched_all: self.touches_all,
            bytes_end: self.len().saturating_add(bytes_max),
            flushes: 0,
            overflowed: false,
        };
    }

    /// Whether an effect of the unit did not fit: it has to be taken back, see [`crate::Engine::roll_back`].
    #[inline]
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.unit.overflowed
    }

    /// Whether the unit may be longer by this effect. Once one does not fit, none does.
    #[inline]
    pub(crate) fn admits(&mut self, effect: &Effect<'_>) -> bool {
        let end = self.len().saturating_add(effect.bytes_max());
        self.unit.overflowed |= end > self.unit.bytes_end && !Plant::UnitUnbounded.is_on();
        if matches!(effect, Effect::FlushAll) {
            self.unit.flushes += 1;
            self.unit.overflowed |= self.unit.bytes_end < usize::MAX && self.unit.flushes > UNIT_FLUSHES_MAX;
        }
        !self.unit.overflowed
    }

    /// Removes what the unit has added.
    pub(crate) fn truncate_unit(&mut self) {
        let Unit { encoded, count, touched, touched_all, .. } = self.unit;
        self.encoded.truncate(encoded);
        self.count = count;
        self.touched.truncate(touched);
        self.touches_all = touched_all;
        self.unit = Unit::default();
    }

    /// Moves what the unit has added into a buffer of its own. What was touched must be the unit's alone.
    #[must_use]
    pub fn split_unit(&mut self) -> EffectBuf {
        debug_assert!(self.unit.touched == 0 && !self.unit.touched_all, "what earlier units touched is forgotten");
        let unit = EffectBuf {
            encoded: self.encoded.split_off(self.unit.encoded),
            count: self.count - self.unit.count,
            touched: std::mem::take(&mut self.touched),
            touches_all: std::mem::take(&mut self.touches_all),
            unit: Unit::default(),
        };
        self.count = self.unit.count;
        self.unit = Unit::default();
        unit
    }

    /// Takes the encoded effects out and empties it.
    #[must_use]
    pub fn take(&mut self) -> SharedBuf {
        let encoded = std::mem::take(&mut self.encoded);
        self.clear();
        encoded
    }

    /// Adds one effect.
    pub fn push(&mut self, effect: &Effect<'_>) {
        self.count += 1;
        match *effect {
            Effect::Set { key, value, expiry } => self.set(key, expiry, |buf| buf.bytes_arg(value)),
            Effect::Append { key, bytes } => self.keyed(op::APPEND, 2, key).bytes_arg(bytes),
            Effect::SetRange { key, offset, bytes } => {
                self.keyed(op::SETRANGE, 3, key).number_arg(offset).bytes_arg(bytes)
            }
            Effect::Unlink { key } => self.keyed(op::UNLINK, 1, key),
            Effect::ExpireAt { key, at } => self.keyed(op::PEXPIREAT, 2, key).number_arg(at.0),
            Effect::Persist { key } => self.keyed(op::PERSIST, 1, key),
            Effect::FlushAll => {
                self.touches_all = true;
                self.head(op::FLUSHALL, 0)
            }
            Effect::Rename { from, to } => self.keyed(op::RENAME, 2, from).key_arg(to),
            Effect::Copy { from, to } => self.keyed(op::COPY, 2, from).key_arg(to),
            Effect::SetFields { key, pairs, expiry } => match expiry {
                ExpiryChange::Drop => self.keyed(op::HSET, 1 + pairs.len() as u64, key),
                ExpiryChange::Keep => self.keyed(op::HSET_KEEPTTL, 1 + pairs.len() as u64, key),
                ExpiryChange::At(at) => self.keyed(op::HSET_PXAT, 2 + pairs.len() as u64, key).number_arg(at.0),
            }
            .items(pairs),
            Effect::RemoveFields { key, fields } => self.keyed(op::HDEL, 1 + fields.len() as u64, key).items(fields),
            Effect::ExpireFieldsAt { key, at, fields } => {
                self.keyed(op::HPEXPIREAT, 2 + fields.len() as u64, key).number_arg(at.0).items(fields)
            }
            Effect::PersistFields { key, fields } => {
                self.keyed(op::HPERSIST, 1 + fields.len() as u64, key).items(fields)
            }
        };
    }

    /// Adds an [`Effect::Set`] whose value is shared with memory.
    pub(crate) fn push_set(&mut self, key: Key<'_>, value: &Arc<Vec<u8>>, expiry: ExpiryChange) {
        self.count += 1;
        self.set(key, expiry, |buf| buf.shared_arg(value));
    }

    #[inline]
    fn set(&mut self, key: Key<'_>, expiry: ExpiryChange, value: impl FnOnce(&mut Self) -> &mut Self) -> &mut Self {
        match expiry {
            ExpiryChange::Drop => value(self.keyed(op::SET, 2, key)),
            ExpiryChange::Keep => value(self.keyed(op::SET_KEEPTTL, 2, key)),
            ExpiryChange::At(at) => value(self.keyed(op::SET_PXAT, 3, key)).number_arg(at.0),
        }
    }

    fn head(&mut self, op: u16, count: u64) -> &mut Self {
        write_varint(self.encoded.own(), u64::from(op) << 1);
        write_varint(self.encoded.own(), count);
        self
    }

    fn keyed(&mut self, op: u16, count: u64, key: Key<'_>) -> &mut Self {
        self.head(op, count).key_arg(key)
    }

    fn key_arg(&mut self, key: Key<'_>) -> &mut Self {
        self.touched.push(key.hash);
        self.bytes_arg(key.bytes)
    }

    fn bytes_arg(&mut self, bytes: &[u8]) -> &mut Self {
        let own = self.encoded.own();
        write_varint(own, bytes.len() as u64);
        own.extend_from_slice(bytes);
        self
    }

    fn shared_arg(&mut self, text: &Arc<Vec<u8>>) -> &mut Self {
        write_varint(self.encoded.own(), text.len() as u64);
        self.encoded.push_shared(text);
        self
    }

    fn items(&mut self, items: Items<'_>) -> &mut Self {
        items.iter().for_each(|item| _ = self.bytes_arg(item));
        self
    }

    fn number_arg(&mut self, number: u64) -> &mut Self {
        write_varint(self.encoded.own(), varint_len(number));
        write_varint(self.encoded.own(), number);
        self
    }
}

/// Bytes that are not effects of this version. Fatal to the replica: the log has been checked already, so this is a
/// newer format or a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside an effect.
    #[error("effects end inside an effect")]
    Truncated,
    /// A varint does not fit into 64 bits.
    #[error("a number in the effects is out of range")]
    Number,
    /// No such op.
    #[error("unknown effect {0}: written by a newer version?")]
    UnknownOp(u64),
    /// An op with another number of arguments than it takes.
    #[error("effect {op} with {count} arguments")]
    Arguments {
        /// The op's number.
        op: u64,
        /// How many arguments it came with.
        count: u64,
    },
    /// A database other than 0.
    #[error("effect on database {0}: only database 0 is known")]
    Database(u64),
}

/// Reads effects in order.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Of the bytes of an [`EffectBuf`].
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    /// The next effect; `None` at the end. `key_of` gives a key its slot and hash.
    ///
    /// # Errors
    /// Bytes that no [`EffectBuf`] of this version wrote.
    pub fn next(&mut self, key_of: impl Fn(&'a [u8]) -> Key<'a>) -> Result<Option<Effect<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let head = self.varint()?;
        if head & 1 == 1 {
            return Err(DecodeError::Database(self.varint()?));
        }
        let number = head >> 1;
        let count = self.varint()?;
        let op = u16::try_from(number).map_err(|_| DecodeError::UnknownOp(number))?;
        if !takes(op, count).ok_or(DecodeError::UnknownOp(number))? {
            return Err(DecodeError::Arguments { op: number, count });
        }
        self.body(op, count, key_of).map(Some)
    }

    fn body(&mut self, op: u16, count: u64, key_of: impl Fn(&'a [u8]) -> Key<'a>) -> Result<Effect<'a>, DecodeError> {
        if op == op::FLUSHALL {
            return Ok(Effect::FlushAll);
        }
        let key = key_of(self.argument()?);
        Ok(match op {
            op::SET => Effect::Set { key, value: self.argument()?, expiry: ExpiryChange::Drop },
            op::SET_KEEPTTL => Effect::Set { key, value: self.argument()?, expiry: ExpiryChange::Keep },
            op::SET_PXAT => {
                Effect::Set { key, value: self.argument()?, expiry: ExpiryChange::At(WallMs(self.number()?)) }
            }
            op::APPEND => Effect::Append { key, bytes: self.argument()? },
            op::SETRANGE => {
                let (offset, bytes) = (self.number()?, self.argument()?);
                if offset.saturating_add(bytes.len() as u64) > VALUE_BYTES_MAX as u64 {
                    return Err(DecodeError::Number);
                }
                Effect::SetRange { key, offset, bytes }
            }
            op::UNLINK => Effect::Unlink { key },
            op::PEXPIREAT => Effect::ExpireAt { key, at: WallMs(self.number()?) },
            op::PERSIST => Effect::Persist { key },
            op::RENAME => Effect::Rename { from: key, to: key_of(self.argument()?) },
            op::COPY => Effect::Copy { from: key, to: key_of(self.argument()?) },
            op::HSET => Effect::SetFields { key, pairs: self.items(count - 1)?, expiry: ExpiryChange::Drop },
            op::HSET_KEEPTTL => Effect::SetFields { key, pairs: self.items(count - 1)?, expiry: ExpiryChange::Keep },
            op::HSET_PXAT => {
                let expiry = ExpiryChange::At(WallMs(self.number()?));
                Effect::SetFields { key, pairs: self.items(count - 2)?, expiry }
            }
            op::HDEL => Effect::RemoveFields { key, fields: self.items(count - 1)? },
            op::HPEXPIREAT => {
                let at = WallMs(self.number()?);
                Effect::ExpireFieldsAt { key, at, fields: self.items(count - 2)? }
            }
            op::HPERSIST => Effect::PersistFields { key, fields: self.items(count - 1)? },
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        })
    }

    fn argument(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
        let (argument, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(argument)
    }

    /// The next `count` arguments, which are there.
    fn items(&mut self, count: u64) -> Result<Items<'a>, DecodeError> {
        let whole = self.rest;
        for _ in 0..count {
            self.argument()?;
        }
        let bytes = &whole[..whole.len() - self.rest.len()];
        Ok(Items(Source::Encoded { bytes, count: usize::try_from(count).map_err(|_| DecodeError::Number)? }))
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut inner = Decoder { rest: self.argument()? };
        let number = inner.varint()?;
        if inner.rest.is_empty() { Ok(number) } else { Err(DecodeError::Number) }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * i as u32;
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err(DecodeError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(DecodeError::Truncated)
    }
}

/// Whether an op takes so many arguments; `None` for an op that is none.
fn takes(op: u16, count: u64) -> Option<bool> {
    Some(match op {
        op::FLUSHALL => count == 0,
        op::UNLINK | op::PERSIST => count == 1,
        op::SET | op::SET_KEEPTTL | op::APPEND | op::PEXPIREAT | op::RENAME | op::COPY => count == 2,
        op::SET_PXAT | op::SETRANGE => count == 3,
        op::HSET | op::HSET_KEEPTTL => count >= 3 && count % 2 == 1,
        op::HSET_PXAT => count >= 4 && count.is_multiple_of(2),
        op::HDEL | op::HPERSIST => count >= 2,
        op::HPEXPIREAT => count >= 3,
        _ => return None,
    })
}

pub(crate) fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: u64) -> u64 {
    u64::from((64 - value.leading_zeros()).max(1).div_ceil(7))
}

#[cfg(test)]
#[path = "effect_tests.rs"]
mod tests;
