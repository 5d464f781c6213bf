//! What an effect is, whatever its type: its keys, and what those who look on must know of it.

use super::arguments::Arguments;
use super::encoder::Encoder;
use super::items::Items;
use super::reader::DecodeError;
use crate::keyspace::{Key, Keyspace};
use fastness_types::WallMs;

/// Most bytes of an effect beside those of its arguments: the op, the number of arguments, the lengths of up to three
/// of them, numbers.
pub(super) const EFFECT_HEAD_MAX: usize = 64;
/// Most bytes of an argument's length.
const LENGTH_MAX: usize = 10;

/// The keys of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectKeys<'a> {
    /// None is named: it removes every key.
    None,
    /// One key, which is changed.
    One(Key<'a>),
    /// Two keys, both of which are changed.
    Both(Key<'a>, Key<'a>),
    /// The first is read, the second is changed.
    From(Key<'a>, Key<'a>),
}

impl<'a> EffectKeys<'a> {
    /// The first one: that whose value the effect is about.
    #[inline]
    #[must_use]
    pub fn first(&self) -> Option<Key<'a>> {
        match *self {
            EffectKeys::None => None,
            EffectKeys::One(key) | EffectKeys::Both(key, _) | EffectKeys::From(key, _) => Some(key),
        }
    }

    /// Those that are changed.
    pub fn changed(&self) -> impl Iterator<Item = Key<'a>> + use<'a> {
        let (first, second) = match *self {
            EffectKeys::None => (None, None),
            EffectKeys::One(key) | EffectKeys::From(_, key) => (Some(key), None),
            EffectKeys::Both(first, second) => (Some(first), Some(second)),
        };
        first.into_iter().chain(second)
    }
}

/// What an effect is about to do to the value of its first key, as far as an image in progress must know.
#[derive(Debug, Clone, Copy)]
pub enum Impact<'a> {
    /// It leaves the keyspace, or another takes its place.
    Replaces,
    /// It stays as it is, or grows at its end; its deadline may change.
    Extends,
    /// Bytes of a string are overwritten in place.
    Overwrites {
        /// The first.
        from: usize,
        /// The one after the last.
        to: usize,
    },
    /// These parts of it change: every `step`-th of `named`.
    ChangesParts {
        /// Names, and what stands between them.
        named: Items<'a>,
        /// From one name to the next.
        step: usize,
    },
    /// It becomes that of another key.
    MovesTo(Key<'a>),
    /// A copy of it becomes the value of another key.
    CopiesTo(Key<'a>),
    /// Every value leaves the keyspace.
    Flushes,
}

/// What an effect removes that has expired already, so that its removal is no change for who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The key.
    Key,
    /// Parts of the value, the last of them at `latest`.
    Parts {
        /// The latest of their deadlines.
        latest: WallMs,
    },
}

/// What the effects of one data type are asked.
pub trait TypeEffect<'a>: Sized {
    /// Whether an op takes so many arguments; `None` for an op that is not one of these.
    fn takes(op: u16, count: u64) -> Option<bool>;

    /// Reads the arguments of an op that takes so many.
    ///
    /// # Errors
    /// Bytes that [`TypeEffect::encode`] of this version does not write.
    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        count: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError>;

    /// Writes what [`TypeEffect::decode`] reads.
    fn encode(&self, to: &mut Encoder);

    /// An upper bound of the bytes that its arguments take; numbers and three lengths are counted beside it.
    fn arguments_max(&self) -> usize;

    /// Its keys.
    fn keys(&self) -> EffectKeys<'a>;

    /// Changes the data.
    fn perform(&self, keyspace: &mut Keyspace, now: WallMs);

    /// See [`Impact`].
    fn impact(&self) -> Impact<'a>;

    /// See [`Expired`]; `None` if it changes anything else.
    fn removes_expired(&self, keyspace: &Keyspace, now: WallMs) -> Option<Expired>;

    /// Whether it removes every key.
    #[inline]
    fn is_of_all(&self) -> bool {
        matches!(self.keys(), EffectKeys::None)
    }

    /// An upper bound of its encoded length.
    #[inline]
    fn bytes_max(&self) -> usize {
        EFFECT_HEAD_MAX + self.arguments_max()
    }
}

/// An upper bound of the bytes that these take as arguments.
pub(crate) fn items_max(items: &Items<'_>) -> usize {
    items.iter().map(|item| item.len() + LENGTH_MAX).sum()
}
