//! Calls on sets.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::BlockingClient;
use crate::error::ClientError;

impl BlockingClient {
    /// See [`crate::Client::sadd`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sadd<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.sadd(key, members))
    }

    /// See [`crate::Client::srem`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn srem<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.srem(key, members))
    }

    /// See [`crate::Client::smove`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn smove(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        member: impl AsRef<[u8]>,
    ) -> Result<bool, ClientError> {
        self.wait(self.client.smove(from, to, member))
    }

    /// See [`crate::Client::sismember`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sismember(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        self.wait(self.client.sismember(key, member))
    }

    /// See [`crate::Client::smismember`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn smismember<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<Vec<bool>, ClientError> {
        self.wait(self.client.smismember(key, members))
    }

    /// See [`crate::Client::scard`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn scard(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.wait(self.client.scard(key))
    }

    /// See [`crate::Client::smembers`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn smembers(&self, key: impl AsRef<[u8]>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.smembers(key))
    }

    /// See [`crate::Client::spop`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn spop(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.spop(key, count))
    }

    /// See [`crate::Client::srandmember`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn srandmember(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.srandmember(key, count))
    }

    /// See [`crate::Client::sinter`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sinter<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.sinter(keys))
    }

    /// See [`crate::Client::sintercard`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sintercard<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64, ClientError> {
        self.wait(self.client.sintercard(keys))
    }

    /// See [`crate::Client::sinterstore`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sinterstore<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.sinterstore(destination, keys))
    }

    /// See [`crate::Client::sunion`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sunion<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.sunion(keys))
    }

    /// See [`crate::Client::sunionstore`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sunionstore<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.sunionstore(destination, keys))
    }

    /// See [`crate::Client::sdiff`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sdiff<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.sdiff(keys))
    }

    /// See [`crate::Client::sdiffstore`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sdiffstore<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.sdiffstore(destination, keys))
    }
}
