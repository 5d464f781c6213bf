//! Calls on HyperLogLogs, which estimate how many different elements they were given: commands with typed arguments and
//! replies.

use crate::client::Client;
use crate::error::ClientError;
use crate::typed::{Words, count, done, flag};

impl Client {
    /// Gives elements to a HyperLogLog, and makes it if it is missing; returns whether its estimate may have changed.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hyperloglog_add<E: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<bool, ClientError> {
        self.typed_write(Words::new("PFADD").key(key).args(elements), flag).await
    }

    /// Estimates how many different elements all of several HyperLogLogs, at least one, were given together, with a
    /// standard error of 0.81 %. The keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hyperloglog_count<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.typed_read(Words::new("PFCOUNT").keys(keys)?, count).await
    }

    /// Gives a HyperLogLog everything that others, at least one, were given. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hyperloglog_merge<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        sources: impl IntoIterator<Item = K>,
    ) -> Result<(), ClientError> {
        self.typed_write(Words::new("PFMERGE").key(destination).keys(sources)?, done).await
    }
}
