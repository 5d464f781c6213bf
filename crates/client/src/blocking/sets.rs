//! Calls on sets.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::BlockingClient;
use crate::error::ClientError;

impl BlockingClient {
    /// See [`crate::Client::set_add`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_add<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.set_add(key, members))
    }

    /// See [`crate::Client::set_remove`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_remove<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.set_remove(key, members))
    }

    /// See [`crate::Client::set_move`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_move(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        member: impl AsRef<[u8]>,
    ) -> Result<bool, ClientError> {
        self.wait(self.client.set_move(from, to, member))
    }

    /// See [`crate::Client::set_contains`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_contains(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        self.wait(self.client.set_contains(key, member))
    }

    /// See [`crate::Client::set_contains_each`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_contains_each<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<Vec<bool>, ClientError> {
        self.wait(self.client.set_contains_each(key, members))
    }

    /// See [`crate::Client::set_len`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.wait(self.client.set_len(key))
    }

    /// See [`crate::Client::set_members`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_members(&self, key: impl AsRef<[u8]>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.set_members(key))
    }

    /// See [`crate::Client::set_pop`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_pop(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.set_pop(key, count))
    }

    /// See [`crate::Client::set_random`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_random(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.set_random(key, count))
    }

    /// See [`crate::Client::set_inter`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_inter<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.set_inter(keys))
    }

    /// See [`crate::Client::set_inter_len`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_inter_len<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64, ClientError> {
        self.wait(self.client.set_inter_len(keys))
    }

    /// See [`crate::Client::set_inter_store`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_inter_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.set_inter_store(destination, keys))
    }

    /// See [`crate::Client::set_union`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_union<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.set_union(keys))
    }

    /// See [`crate::Client::set_union_store`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_union_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.set_union_store(destination, keys))
    }

    /// See [`crate::Client::set_diff`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_diff<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.wait(self.client.set_diff(keys))
    }

    /// See [`crate::Client::set_diff_store`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_diff_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.set_diff_store(destination, keys))
    }
}
