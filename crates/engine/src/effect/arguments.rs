//! The arguments of one effect.

use super::items::Items;
use super::reader::{DecodeError, EffectReader};
use crate::keyspace::Key;

/// Reads the arguments of one effect, in order. Their number has been checked.
pub struct Arguments<'d, 'a, F> {
    pub(super) reader: &'d mut EffectReader<'a>,
    pub(super) key_of: F,
}

impl<'a, F: Fn(&'a [u8]) -> Key<'a>> Arguments<'_, 'a, F> {
    /// The next argument, a key.
    ///
    /// # Errors
    /// The bytes end within it.
    pub fn key(&mut self) -> Result<Key<'a>, DecodeError> {
        self.reader.argument().map(&self.key_of)
    }

    /// The next argument.
    ///
    /// # Errors
    /// The bytes end within it.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.reader.argument()
    }

    /// The next argument, a number.
    ///
    /// # Errors
    /// The bytes end within it, or it is not a number.
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        self.reader.number()
    }

    /// The next `count` arguments.
    ///
    /// # Errors
    /// The bytes end within them.
    pub fn items(&mut self, count: u64) -> Result<Items<'a>, DecodeError> {
        let whole = self.reader.rest;
        for _ in 0..count {
            self.reader.argument()?;
        }
        let bytes = &whole[..whole.len() - self.reader.rest.len()];
        Ok(Items::encoded(bytes, usize::try_from(count).map_err(|_| DecodeError::Number)?))
    }
}
