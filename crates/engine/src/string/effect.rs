//! Effects of strings.

use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Impact, TypeEffect};
use crate::keyspace::{ExpiryChange, Key, Keyspace};
use fastness_types::WallMs;
use fastness_types::limits::VALUE_BYTES_MAX;
use std::sync::Arc;

/// Frozen op numbers.
mod op {
    pub(super) const SET: u16 = 1;
    pub(super) const SET_PXAT: u16 = 2;
    pub(super) const SET_KEEPTTL: u16 = 3;
    pub(super) const APPEND: u16 = 4;
    pub(super) const SETRANGE: u16 = 5;
}

/// See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's documentation")]
pub enum StringEffect<'a> {
    Set { key: Key<'a>, value: &'a [u8], expiry: ExpiryChange },
    Append { key: Key<'a>, bytes: &'a [u8] },
    SetRange { key: Key<'a>, offset: u64, bytes: &'a [u8] },
}

impl<'a> StringEffect<'a> {
    #[inline]
    fn key(&self) -> Key<'a> {
        match *self {
            StringEffect::Set { key, .. } | StringEffect::Append { key, .. } | StringEffect::SetRange { key, .. } => {
                key
            }
        }
    }

    fn bytes(&self) -> &'a [u8] {
        match *self {
            StringEffect::Set { value: bytes, .. }
            | StringEffect::Append { bytes, .. }
            | StringEffect::SetRange { bytes, .. } => bytes,
        }
    }
}

/// Adds a [`StringEffect::Set`] whose value is shared with memory.
pub(super) fn push_shared(key: Key<'_>, value: &Arc<Vec<u8>>, expiry: ExpiryChange, to: &mut Encoder) {
    set(key, expiry, to, |to| to.shared_arg(value));
}

#[inline]
fn set(key: Key<'_>, expiry: ExpiryChange, to: &mut Encoder, value: impl FnOnce(&mut Encoder) -> &mut Encoder) {
    match expiry {
        ExpiryChange::Drop => value(to.keyed(op::SET, 2, key)),
        ExpiryChange::Keep => value(to.keyed(op::SET_KEEPTTL, 2, key)),
        ExpiryChange::At(at) => value(to.keyed(op::SET_PXAT, 3, key)).number_arg(at.0),
    };
}

impl<'a> TypeEffect<'a> for StringEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::SET | op::SET_KEEPTTL | op::APPEND => count == 2,
            op::SET_PXAT | op::SETRANGE => count == 3,
            _ => return None,
        })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        _: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        let key = arguments.key()?;
        Ok(match op {
            op::SET => StringEffect::Set { key, value: arguments.bytes()?, expiry: ExpiryChange::Drop },
            op::SET_KEEPTTL => StringEffect::Set { key, value: arguments.bytes()?, expiry: ExpiryChange::Keep },
            op::SET_PXAT => {
                let value = arguments.bytes()?;
                StringEffect::Set { key, value, expiry: ExpiryChange::At(WallMs(arguments.number()?)) }
            }
            op::APPEND => StringEffect::Append { key, bytes: arguments.bytes()? },
            op::SETRANGE => {
                let (offset, bytes) = (arguments.number()?, arguments.bytes()?);
                if offset.saturating_add(bytes.len() as u64) > VALUE_BYTES_MAX as u64 {
                    return Err(DecodeError::Number);
                }
                StringEffect::SetRange { key, offset, bytes }
            }
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        })
    }

    #[inline]
    fn encode(&self, to: &mut Encoder) {
        match *self {
            StringEffect::Set { key, value, expiry } => set(key, expiry, to, |to| to.bytes_arg(value)),
            StringEffect::Append { key, bytes } => _ = to.keyed(op::APPEND, 2, key).bytes_arg(bytes),
            StringEffect::SetRange { key, offset, bytes } => {
                to.keyed(op::SETRANGE, 3, key).number_arg(offset).bytes_arg(bytes);
            }
        }
    }

    #[inline]
    fn arguments_max(&self) -> usize {
        self.key().bytes.len() + self.bytes().len()
    }

    #[inline]
    fn keys(&self) -> EffectKeys<'a> {
        EffectKeys::One(self.key())
    }

    #[inline]
    fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
        match *self {
            StringEffect::Set { key, value, expiry } => keyspace.set(&key, value, expiry, now),
            StringEffect::Append { key, bytes } => keyspace.append(&key, bytes, now),
            StringEffect::SetRange { key, offset, bytes } => keyspace.set_range(&key, offset, bytes, now),
        }
    }

    fn impact(&self) -> Impact<'a> {
        match *self {
            StringEffect::Set { .. } => Impact::Replaces,
            StringEffect::Append { .. } => Impact::Extends,
            StringEffect::SetRange { offset, bytes, .. } => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                Impact::Overwrites { from, to: from.saturating_add(bytes.len()) }
            }
        }
    }
}
