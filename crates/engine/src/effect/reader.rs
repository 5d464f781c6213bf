//! Decoding of effects.

use crate::codec::varint::{self, VarintError};

/// The bytes are not effects of this version. Fatal to the replica: the log's checksums were right, so they are of a
/// newer format, or this is a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside an effect.
    #[error("effects end inside an effect")]
    Truncated,
    /// A varint does not fit into 64 bits.
    #[error("a number in the effects is out of range")]
    Number,
    /// The op is unknown.
    #[error("unknown effect {0}: written by a newer version?")]
    UnknownOp(u64),
    /// The op does not take this number of arguments.
    #[error("effect {op} with {count} arguments")]
    Arguments {
        /// The op's number.
        op: u64,
        /// The number of arguments.
        count: u64,
    },
    /// A database other than 0.
    #[error("effect on database {0}: only database 0 is known")]
    Database(u64),
}

/// The rest of encoded effects.
#[derive(Debug, Clone)]
pub(super) struct EffectReader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> EffectReader<'a> {
    pub(super) fn argument(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
        let (argument, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(argument)
    }

    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut inner = EffectReader { rest: self.argument()? };
        let number = inner.varint()?;
        if inner.rest.is_empty() { Ok(number) } else { Err(DecodeError::Number) }
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        varint::read(&mut self.rest).map_err(|error| match error {
            VarintError::Truncated => DecodeError::Truncated,
            VarintError::Range => DecodeError::Number,
        })
    }
}
