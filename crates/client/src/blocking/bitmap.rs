//! The calls on bitmaps; see those of [`crate::Client`].

use super::BlockingClient;
use crate::bitmap::BitJoin;
use crate::error::ClientError;

impl BlockingClient {
    /// Sets or clears a bit. See [`crate::Client::bit_set`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bit_set(&self, key: impl AsRef<[u8]>, offset: u64, is_set: bool) -> Result<bool, ClientError> {
        self.wait(self.client.bit_set(key, offset, is_set))
    }

    /// Returns whether a bit is set. See [`crate::Client::bit_get`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bit_get(&self, key: impl AsRef<[u8]>, offset: u64) -> Result<bool, ClientError> {
        self.wait(self.client.bit_get(key, offset))
    }

    /// Returns how many bits are set. See [`crate::Client::bit_count`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bit_count(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.wait(self.client.bit_count(key))
    }

    /// Returns how many bits are set from one byte up to and including another. See [`crate::Client::bit_count_in`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bit_count_in(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<u64, ClientError> {
        self.wait(self.client.bit_count_in(key, start, stop))
    }

    /// Returns the position of the first bit that is set, or that is not. See [`crate::Client::bit_find`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bit_find(&self, key: impl AsRef<[u8]>, is_set: bool) -> Result<Option<u64>, ClientError> {
        self.wait(self.client.bit_find(key, is_set))
    }

    /// Joins bitmaps, at least one, and stores the result in the place of what the destination holds. See
    /// [`crate::Client::bit_join`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bit_join<K: AsRef<[u8]>>(
        &self,
        join: BitJoin,
        destination: impl AsRef<[u8]>,
        sources: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.bit_join(join, destination, sources))
    }

    /// Stores a bitmap with each bit turned over, in the place of what the destination holds. See
    /// [`crate::Client::bit_invert`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn bit_invert(&self, destination: impl AsRef<[u8]>, source: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.wait(self.client.bit_invert(destination, source))
    }
}
