//! Calls on bitmaps, which are strings, bit by bit: commands with typed arguments and replies.

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;
use crate::typed::{Words, count, flag};

/// How the bits of several bitmaps are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitJoin {
    /// Bits that are set in all of them.
    And,
    /// Bits that are set in any of them.
    Or,
    /// Bits that are set in an odd number of them.
    Xor,
}

impl BitJoin {
    fn word(self) -> &'static str {
        match self {
            BitJoin::And => "AND",
            BitJoin::Or => "OR",
            BitJoin::Xor => "XOR",
        }
    }
}

/// A position; -1: there is none.
fn position(reply: &ReplyValue) -> Option<Option<u64>> {
    match reply.as_integer()? {
        -1 => Some(None),
        _ => count(reply).map(Some),
    }
}

impl Client {
    /// Sets or clears a bit; returns whether it was set. A bitmap is as long as it must be for its last bit.
    ///
    /// # Errors
    /// See [`ClientError`]; an offset from 2^32 on is refused.
    pub async fn bit_set(&self, key: impl AsRef<[u8]>, offset: u64, is_set: bool) -> Result<bool, ClientError> {
        self.typed_write(Words::new("SETBIT").key(key).number(offset).number(u8::from(is_set)), flag).await
    }

    /// Returns whether a bit is set; those beyond the end are not.
    ///
    /// # Errors
    /// As [`Client::bit_set`].
    pub async fn bit_get(&self, key: impl AsRef<[u8]>, offset: u64) -> Result<bool, ClientError> {
        self.typed_read(Words::new("GETBIT").key(key).number(offset), flag).await
    }

    /// Returns how many bits are set.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bit_count(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.typed_read(Words::new("BITCOUNT").key(key), count).await
    }

    /// Returns how many bits are set from one byte up to and including another; those below 0 count from the end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bit_count_in(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<u64, ClientError> {
        self.typed_read(Words::new("BITCOUNT").key(key).number(start).number(stop), count).await
    }

    /// Returns the position of the first bit that is set, or that is not. A bit that is not set is found after the end,
    /// too; absent: there is none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bit_find(&self, key: impl AsRef<[u8]>, is_set: bool) -> Result<Option<u64>, ClientError> {
        self.typed_read(Words::new("BITPOS").key(key).number(u8::from(is_set)), position).await
    }

    /// Joins bitmaps, at least one, and stores the result in the place of what the destination holds; returns its
    /// length in bytes. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bit_join<K: AsRef<[u8]>>(
        &self,
        join: BitJoin,
        destination: impl AsRef<[u8]>,
        sources: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("BITOP").arg(join.word()).key(destination).keys(sources)?, count).await
    }

    /// Stores a bitmap with each bit turned over, in the place of what the destination holds; returns its length in
    /// bytes. Both keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bit_invert(
        &self,
        destination: impl AsRef<[u8]>,
        source: impl AsRef<[u8]>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("BITOP").arg("NOT").key(destination).key(source), count).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read() {
        let read = |number| position(&ReplyValue::Integer(number));
        assert_eq!((read(0), read(-1), read(-2)), (Some(Some(0)), Some(None), None));
    }
}
