//! Calls on lists.

use bytes::Bytes;

use super::BlockingClient;
use crate::error::ClientError;
use crate::list::ListSide;

impl BlockingClient {
    /// Adds elements at an end of a list, and returns its length. See [`crate::Client::list_push`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_push<E: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        side: ListSide,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.list_push(key, side, elements))
    }

    /// Removes and returns the element at an end of a list. See [`crate::Client::list_pop`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_pop(&self, key: impl AsRef<[u8]>, side: ListSide) -> Result<Option<Bytes>, ClientError> {
        self.wait(self.client.list_pop(key, side))
    }

    /// Removes and returns elements at an end of a list. See [`crate::Client::list_pop_many`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_pop_many(&self, key: impl AsRef<[u8]>, side: ListSide, count: u64) -> Result<Vec<Bytes>, ClientError> {
        self.wait(self.client.list_pop_many(key, side, count))
    }

    /// Moves an element from an end of a list to an end of another one. See [`crate::Client::list_move`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_move(
        &self,
        source: impl AsRef<[u8]>,
        from: ListSide,
        destination: impl AsRef<[u8]>,
        to: ListSide,
    ) -> Result<Option<Bytes>, ClientError> {
        self.wait(self.client.list_move(source, from, destination, to))
    }

    /// The number of elements of a list. See [`crate::Client::list_len`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.wait(self.client.list_len(key))
    }

    /// The elements of a list in a range of positions. See [`crate::Client::list_range`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_range(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<Vec<Bytes>, ClientError> {
        self.wait(self.client.list_range(key, start, stop))
    }

    /// The element at a position of a list. See [`crate::Client::list_get`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_get(&self, key: impl AsRef<[u8]>, position: i64) -> Result<Option<Bytes>, ClientError> {
        self.wait(self.client.list_get(key, position))
    }

    /// Replaces the element at a position of a list. See [`crate::Client::list_set`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_set(&self, key: impl AsRef<[u8]>, position: i64, element: impl AsRef<[u8]>) -> Result<(), ClientError> {
        self.wait(self.client.list_set(key, position, element))
    }

    /// Adds an element beside the first one that is equal to `pivot`. See [`crate::Client::list_insert`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_insert(
        &self,
        key: impl AsRef<[u8]>,
        side: ListSide,
        pivot: impl AsRef<[u8]>,
        element: impl AsRef<[u8]>,
    ) -> Result<bool, ClientError> {
        self.wait(self.client.list_insert(key, side, pivot, element))
    }

    /// Removes elements that are equal to this one. See [`crate::Client::list_remove`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_remove(
        &self,
        key: impl AsRef<[u8]>,
        count: i64,
        element: impl AsRef<[u8]>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.list_remove(key, count, element))
    }

    /// Removes the elements of a list outside of a range. See [`crate::Client::list_trim`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_trim(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<(), ClientError> {
        self.wait(self.client.list_trim(key, start, stop))
    }

    /// The position of the first element that is equal to this one. See [`crate::Client::list_find`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn list_find(&self, key: impl AsRef<[u8]>, element: impl AsRef<[u8]>) -> Result<Option<u64>, ClientError> {
        self.wait(self.client.list_find(key, element))
    }
}
