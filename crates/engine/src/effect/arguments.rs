//! The arguments of one effect.

use super::items::Items;
use super::reader::{DecodeError, EffectReader};
use crate::keyspace::Key;

/// The arguments of one effect, in order. Their number has been checked.
pub struct Arguments<'d, 'a, F> {
    pub(super) reader: &'d mut EffectReader<'a>,
    pub(super) key_of: F,
}

impl<'a, F: Fn(&'a [u8]) -> Key<'a>> Arguments<'_, 'a, F> {
    /// The next one, which is a key.
    ///
    /// # Errors
    /// There is none, or it is none such.
    pub fn key(&mut self) -> Result<Key<'a>, DecodeError> {
        self.reader.argument().map(&self.key_of)
    }

    /// The next one.
    ///
    /// # Errors
    /// There is none, or it is none such.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.reader.argument()
    }

    /// The next one, which is a number.
    ///
    /// # Errors
    /// There is none, or it is none such.
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        self.reader.number()
    }

    /// The next `count`.
    ///
    /// # Errors
    /// There is none, or it is none such.
    pub fn items(&mut self, count: u64) -> Result<Items<'a>, DecodeError> {
        let whole = self.reader.rest;
        for _ in 0..count {
            self.reader.argument()?;
        }
        let bytes = &whole[..whole.len() - self.reader.rest.len()];
        Ok(Items::encoded(bytes, usize::try_from(count).map_err(|_| DecodeError::Number)?))
    }
}
