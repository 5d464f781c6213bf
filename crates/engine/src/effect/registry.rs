//! All effects, and which op belongs to which type.

use super::arguments::Arguments;
use super::encoder::Encoder;
use super::key::KeyEffect;
use super::kind::{EffectKeys, Expired, Impact, TypeEffect};
use super::reader::{DecodeError, EffectReader};
use crate::functions::effect::FunctionEffect;
use crate::hash::effect::HashEffect;
use crate::keyspace::{Key, Keyspace};
use crate::list::effect::ListEffect;
use crate::set::effect::SetEffect;
#[cfg(any(test, feature = "test-type"))]
use crate::stack::StackEffect;
use crate::stream::effect::StreamEffect;
use crate::string::effect::StringEffect;
use crate::zset::effect::ZsetEffect;
use fastness_types::{FormatLevel, WallMs};

/// Joins the effects of all data types: one line for each type, with its ops.
macro_rules! effects {
    ($($(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])* $type:ident($effect:ident) = $ops:pat,)*) => {
        /// One change of the data. See the table of [`crate::effect`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Effect<'a> {
            $($(#[doc = $doc])* $(#[cfg($cfg)])* $type($effect<'a>),)*
        }

        $($(#[cfg($cfg)])* impl<'a> From<$effect<'a>> for Effect<'a> {
            #[inline]
            fn from(effect: $effect<'a>) -> Effect<'a> {
                Effect::$type(effect)
            }
        })*

        impl<'a> TypeEffect<'a> for Effect<'a> {
            fn takes(op: u16, count: u64) -> Option<bool> {
                match op {
                    $($(#[cfg($cfg)])* $ops => $effect::takes(op, count),)*
                    _ => None,
                }
            }

            fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
                op: u16,
                count: u64,
                arguments: &mut Arguments<'_, 'a, F>,
            ) -> Result<Self, DecodeError> {
                match op {
                    $($(#[cfg($cfg)])* $ops => $effect::decode(op, count, arguments).map(Effect::$type),)*
                    _ => Err(DecodeError::UnknownOp(u64::from(op))),
                }
            }

            #[inline]
            fn encode(&self, to: &mut Encoder) {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.encode(to),)*
                }
            }

            #[inline]
            fn arguments_max(&self) -> usize {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.arguments_max(),)*
                }
            }

            #[inline]
            fn level(&self) -> FormatLevel {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.level(),)*
                }
            }

            #[inline]
            fn keys(&self) -> EffectKeys<'a> {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.keys(),)*
                }
            }

            #[inline]
            fn is_of_all(&self) -> bool {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.is_of_all(),)*
                }
            }

            #[inline]
            fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.perform(keyspace, now),)*
                }
            }

            fn impact(&self) -> Impact<'a> {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.impact(),)*
                }
            }

            fn removes_expired(&self, keyspace: &Keyspace, now: WallMs) -> Option<Expired> {
                match self {
                    $($(#[cfg($cfg)])* Effect::$type(effect) => effect.removes_expired(keyspace, now),)*
                }
            }
        }
    };
}

effects! {
    /// Effects of strings.
    String(StringEffect) = 1..=5,
    /// Effects of keys of any type.
    Key(KeyEffect) = 6..=31,
    /// Effects of hashes.
    Hash(HashEffect) = 32..=63,
    /// Effects of sets.
    Set(SetEffect) = 96..=127,
    /// Effects of lists.
    List(ListEffect) = 64..=95,
    /// Effects of sorted sets.
    Zset(ZsetEffect) = 128..=159,
    /// Effects of streams.
    Stream(StreamEffect) = 160..=191,
    /// Effects of libraries of functions.
    Function(FunctionEffect) = 192..=207,
    /// Effects of the type that tests add.
    #[cfg(any(test, feature = "test-type"))]
    Stack(StackEffect) = 1000..=1001,
}

/// Reads effects in order.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    reader: EffectReader<'a>,
}

impl<'a> Decoder<'a> {
    /// Reads the bytes of an [`EffectBuf`](super::EffectBuf).
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { reader: EffectReader { rest: bytes } }
    }

    /// The next effect; `None` at the end. `key_of` computes the slot and hash of a key.
    ///
    /// # Errors
    /// Bytes that no [`EffectBuf`](super::EffectBuf) of this version wrote.
    pub fn next(&mut self, key_of: impl Fn(&'a [u8]) -> Key<'a>) -> Result<Option<Effect<'a>>, DecodeError> {
        let reader = &mut self.reader;
        if reader.rest.is_empty() {
            return Ok(None);
        }
        let head = reader.varint()?;
        if head & 1 == 1 {
            return Err(DecodeError::Database(reader.varint()?));
        }
        let number = head >> 1;
        let count = reader.varint()?;
        let op = u16::try_from(number).map_err(|_| DecodeError::UnknownOp(number))?;
        if !Effect::takes(op, count).ok_or(DecodeError::UnknownOp(number))? {
            return Err(DecodeError::Arguments { op: number, count });
        }
        Effect::decode(op, count, &mut Arguments { reader, key_of }).map(Some)
    }
}
