//! The calls on HyperLogLogs; see those of [`crate::Client`].

use super::BlockingClient;
use crate::error::ClientError;

impl BlockingClient {
    /// Gives elements to a HyperLogLog, and makes it if it is missing. See [`crate::Client::hyperloglog_add`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hyperloglog_add<E: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<bool, ClientError> {
        self.wait(self.client.hyperloglog_add(key, elements))
    }

    /// Estimates how many different elements all of several HyperLogLogs, at least one, were given together, with a
    /// standard error of 0.81 %. The keys have one slot. See [`crate::Client::hyperloglog_count`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hyperloglog_count<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64, ClientError> {
        self.wait(self.client.hyperloglog_count(keys))
    }

    /// Gives a HyperLogLog everything that others, at least one, were given. See [`crate::Client::hyperloglog_merge`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hyperloglog_merge<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        sources: impl IntoIterator<Item = K>,
    ) -> Result<(), ClientError> {
        self.wait(self.client.hyperloglog_merge(destination, sources))
    }
}
