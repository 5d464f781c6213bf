//! Effects of keys of any type.

use super::arguments::Arguments;
use super::encoder::Encoder;
use super::kind::{EffectKeys, Expired, Impact, TypeEffect};
use super::reader::DecodeError;
use crate::keyspace::{Key, Keyspace};
use fastness_types::WallMs;

/// Frozen op numbers.
mod op {
    pub(super) const UNLINK: u16 = 6;
    pub(super) const PEXPIREAT: u16 = 7;
    pub(super) const PERSIST: u16 = 8;
    pub(super) const FLUSHALL: u16 = 9;
    pub(super) const RENAME: u16 = 10;
    pub(super) const COPY: u16 = 11;
}

/// See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's documentation")]
pub enum KeyEffect<'a> {
    Unlink { key: Key<'a> },
    ExpireAt { key: Key<'a>, at: WallMs },
    Persist { key: Key<'a> },
    FlushAll,
    Rename { from: Key<'a>, to: Key<'a> },
    Copy { from: Key<'a>, to: Key<'a> },
}

impl<'a> TypeEffect<'a> for KeyEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::FLUSHALL => count == 0,
            op::UNLINK | op::PERSIST => count == 1,
            op::PEXPIREAT | op::RENAME | op::COPY => count == 2,
            _ => return None,
        })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        _: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        if op == op::FLUSHALL {
            return Ok(KeyEffect::FlushAll);
        }
        let key = arguments.key()?;
        Ok(match op {
            op::UNLINK => KeyEffect::Unlink { key },
            op::PEXPIREAT => KeyEffect::ExpireAt { key, at: WallMs(arguments.number()?) },
            op::PERSIST => KeyEffect::Persist { key },
            op::RENAME => KeyEffect::Rename { from: key, to: arguments.key()? },
            op::COPY => KeyEffect::Copy { from: key, to: arguments.key()? },
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        })
    }

    fn encode(&self, to: &mut Encoder) {
        match *self {
            KeyEffect::Unlink { key } => to.keyed(op::UNLINK, 1, key),
            KeyEffect::ExpireAt { key, at } => to.keyed(op::PEXPIREAT, 2, key).number_arg(at.0),
            KeyEffect::Persist { key } => to.keyed(op::PERSIST, 1, key),
            KeyEffect::FlushAll => to.head(op::FLUSHALL, 0),
            KeyEffect::Rename { from, to: other } => to.keyed(op::RENAME, 2, from).key_arg(other),
            KeyEffect::Copy { from, to: other } => to.keyed(op::COPY, 2, from).key_arg(other),
        };
    }

    fn arguments_max(&self) -> usize {
        match self {
            KeyEffect::Unlink { key } | KeyEffect::ExpireAt { key, .. } | KeyEffect::Persist { key } => key.bytes.len(),
            KeyEffect::FlushAll => 0,
            KeyEffect::Rename { from, to } | KeyEffect::Copy { from, to } => from.bytes.len() + to.bytes.len(),
        }
    }

    #[inline]
    fn keys(&self) -> EffectKeys<'a> {
        match *self {
            KeyEffect::Unlink { key } | KeyEffect::ExpireAt { key, .. } | KeyEffect::Persist { key } => {
                EffectKeys::One(key)
            }
            KeyEffect::FlushAll => EffectKeys::None,
            KeyEffect::Rename { from, to } => EffectKeys::Both(from, to),
            KeyEffect::Copy { from, to } => EffectKeys::From(from, to),
        }
    }

    fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
        match self {
            KeyEffect::Unlink { key } => keyspace.unlink(key),
            KeyEffect::ExpireAt { key, at } => keyspace.set_expiry(key, Some(*at)),
            KeyEffect::Persist { key } => keyspace.set_expiry(key, None),
            KeyEffect::FlushAll => keyspace.clear(),
            KeyEffect::Rename { from, to } => keyspace.rename(from, to),
            KeyEffect::Copy { from, to } => keyspace.copy(from, to, now),
        }
    }

    fn impact(&self) -> Impact<'a> {
        match *self {
            KeyEffect::Unlink { .. } => Impact::Replaces,
            KeyEffect::ExpireAt { .. } | KeyEffect::Persist { .. } => Impact::Extends,
            KeyEffect::FlushAll => Impact::Flushes,
            KeyEffect::Rename { to, .. } => Impact::MovesTo(to),
            KeyEffect::Copy { to, .. } => Impact::CopiesTo(to),
        }
    }

    fn removes_expired(&self, keyspace: &Keyspace, now: WallMs) -> Option<Expired> {
        let KeyEffect::Unlink { key } = self else { return None };
        keyspace.find(key).is_some_and(|entry| entry.is_expired(now)).then_some(Expired::Key)
    }
}
