//! Calls on sets: commands with typed arguments and replies.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::typed::{Words, count, distinct, each, flag};

impl Client {
    /// Adds members to a set, at least one; returns how many of them are new.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_add<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("SADD").key(key).some(members)?, count).await
    }

    /// Removes members of a set, at least one; returns how many there were. A set without members ceases to exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_remove<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("SREM").key(key).some(members)?, count).await
    }

    /// Moves a member from one set to another; returns whether the first had it. Both keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_move(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        member: impl AsRef<[u8]>,
    ) -> Result<bool, ClientError> {
        self.typed_write(Words::new("SMOVE").key(from).key(to).arg(member), flag).await
    }

    /// Returns whether a set has a member.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_contains(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        self.typed_read(Words::new("SISMEMBER").key(key).arg(member), flag).await
    }

    /// Returns of each of several members, at least one, whether a set has it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_contains_each<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<Vec<bool>, ClientError> {
        self.typed_read(Words::new("SMISMEMBER").key(key).some(members)?, each(flag)).await
    }

    /// Returns the number of members of a set; 0 if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.typed_read(Words::new("SCARD").key(key), count).await
    }

    /// Returns all members of a set; none if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_members(&self, key: impl AsRef<[u8]>) -> Result<BTreeSet<Bytes>, ClientError> {
        self.typed_read(Words::new("SMEMBERS").key(key), distinct).await
    }

    /// Removes and returns up to `count` random members of a set.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_pop(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        self.typed_write(Words::new("SPOP").key(key).number(count), distinct).await
    }

    /// Returns up to `count` different random members of a set.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_random(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        self.typed_read(Words::new("SRANDMEMBER").key(key).number(count), distinct).await
    }

    /// Returns the members that all of several sets have. The keys, at least one, have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_inter<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BTreeSet<Bytes>, ClientError> {
        self.typed_read(Words::new("SINTER").keys(keys)?, distinct).await
    }

    /// Returns how many members all of several sets have. The keys, at least one, have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_inter_len<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64, ClientError> {
        let keys: Vec<K> = keys.into_iter().collect();
        self.typed_read(Words::new("SINTERCARD").number(keys.len()).keys(keys)?, count).await
    }

    /// Stores the members that all of several sets have, in the place of what the destination holds; returns their
    /// number. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_inter_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("SINTERSTORE").key(destination).keys(keys)?, count).await
    }

    /// Returns the members that any of several sets has. The keys, at least one, have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_union<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BTreeSet<Bytes>, ClientError> {
        self.typed_read(Words::new("SUNION").keys(keys)?, distinct).await
    }

    /// Stores the members that any of several sets has, in the place of what the destination holds; returns their
    /// number. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_union_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("SUNIONSTORE").key(destination).keys(keys)?, count).await
    }

    /// Returns the members of the first of several sets that none of the others has. The keys, at least one, have one
    /// slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_diff<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BTreeSet<Bytes>, ClientError> {
        self.typed_read(Words::new("SDIFF").keys(keys)?, distinct).await
    }

    /// Stores the members of the first of several sets that none of the others has, in the place of what the
    /// destination holds; returns their number. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_diff_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("SDIFFSTORE").key(destination).keys(keys)?, count).await
    }
}
