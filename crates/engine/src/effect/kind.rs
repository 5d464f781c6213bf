//! The interface of effects, whatever their data type: their keys, and what watches and images must know of them.

use super::arguments::Arguments;
use super::encoder::Encoder;
use super::items::Items;
use super::reader::DecodeError;
use crate::keyspace::{Key, Keyspace};
use fastness_types::{FormatLevel, WallMs};

/// Upper bound, in bytes, on an effect without the bytes of its arguments: the op, the number of arguments, the lengths
/// of up to three of them, and numbers.
pub(super) const EFFECT_HEAD_MAX: usize = 64;
/// Upper bound, in bytes, on the encoded length of an argument.
const LENGTH_MAX: usize = 10;

/// The keys of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectKeys<'a> {
    /// No key is named: the effect removes every key, or changes libraries of functions.
    None,
    /// One key, which is changed.
    One(Key<'a>),
    /// Two keys, both of which are changed.
    Both(Key<'a>, Key<'a>),
    /// The first is read, the second is changed.
    From(Key<'a>, Key<'a>),
}

impl<'a> EffectKeys<'a> {
    /// The first key, whose value the effect concerns.
    #[inline]
    #[must_use]
    pub fn first(&self) -> Option<Key<'a>> {
        match *self {
            EffectKeys::None => None,
            EffectKeys::One(key) | EffectKeys::Both(key, _) | EffectKeys::From(key, _) => Some(key),
        }
    }

    /// The keys that are changed.
    pub fn changed(&self) -> impl Iterator<Item = Key<'a>> + use<'a> {
        let (first, second) = match *self {
            EffectKeys::None => (None, None),
            EffectKeys::One(key) | EffectKeys::From(_, key) => (Some(key), None),
            EffectKeys::Both(first, second) => (Some(first), Some(second)),
        };
        first.into_iter().chain(second)
    }
}

/// How an effect is about to change the value of its first key, as far as it matters to an image in progress.
#[derive(Debug, Clone, Copy)]
pub enum Impact<'a> {
    /// The value is removed or replaced.
    Replaces,
    /// The value stays, or grows at its end; its deadline may change.
    Extends,
    /// Bytes of a string are overwritten in place.
    Overwrites {
        /// The first.
        from: usize,
        /// The one after the last.
        to: usize,
    },
    /// Parts of the value change: every `step`-th of `named`.
    ChangesParts {
        /// Names of parts, with other arguments between them.
        named: Items<'a>,
        /// The distance from one name to the next.
        step: usize,
    },
    /// The value moves to another key.
    MovesTo(Key<'a>),
    /// The value is copied to another key.
    CopiesTo(Key<'a>),
    /// Every value is removed.
    Flushes,
}

/// Expired data that an effect removes: a watching client does not count its removal as a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The key.
    Key,
    /// Parts of the value.
    Parts {
        /// The latest of their deadlines.
        latest: WallMs,
    },
}

/// The effects of one data type.
pub trait TypeEffect<'a>: Sized {
    /// Whether an op takes `count` arguments; `None` for an op of another type.
    fn takes(op: u16, count: u64) -> Option<bool>;

    /// Decodes the arguments of an op, whose number has been checked.
    ///
    /// # Errors
    /// Bytes that [`TypeEffect::encode`] of this version does not write.
    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        count: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError>;

    /// Encodes the effect as [`TypeEffect::decode`] reads it.
    fn encode(&self, to: &mut Encoder);

    /// Upper bound, in bytes, on its arguments, without numbers and without three lengths.
    fn arguments_max(&self) -> usize;

    /// The keys that it names.
    fn keys(&self) -> EffectKeys<'a>;

    /// Changes the data.
    fn perform(&self, keyspace: &mut Keyspace, now: WallMs);

    /// See [`Impact`].
    fn impact(&self) -> Impact<'a>;

    /// See [`Expired`]; `None` if it changes anything that has not expired.
    #[inline]
    fn removes_expired(&self, _keyspace: &Keyspace, _now: WallMs) -> Option<Expired> {
        None
    }

    /// The format level from which on logs may contain it.
    #[inline]
    fn level(&self) -> FormatLevel {
        FormatLevel::BASE
    }

    /// Whether it removes every key.
    #[inline]
    fn is_of_all(&self) -> bool {
        matches!(self.keys(), EffectKeys::None)
    }

    /// Upper bound, in bytes, on the encoded effect.
    #[inline]
    fn bytes_max(&self) -> usize {
        EFFECT_HEAD_MAX + self.arguments_max()
    }
}

/// Upper bound, in bytes, on these arguments.
pub(crate) fn items_max(items: &Items<'_>) -> usize {
    items.iter().map(|item| item.len() + LENGTH_MAX).sum()
}
