//! The calls on streams; see those of [`crate::Client`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::BlockingClient;
use crate::error::ClientError;
use crate::stream::{
    StreamAddOptions, StreamClaimed, StreamEntry, StreamId, StreamPending, StreamTakeOver, StreamTrim,
};

impl BlockingClient {
    /// Adds an entry with these fields, at least one, to a stream, and makes it if it is missing. See
    /// [`crate::Client::stream_add`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_add<F: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Result<StreamId, ClientError> {
        self.wait(self.client.stream_add(key, fields))
    }

    /// Adds an entry with options. See [`crate::Client::stream_add_with`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_add_with<F: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        options: StreamAddOptions,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Result<Option<StreamId>, ClientError> {
        self.wait(self.client.stream_add_with(key, options, fields))
    }

    /// Returns the number of entries of a stream. See [`crate::Client::stream_len`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.wait(self.client.stream_len(key))
    }

    /// Returns up to `most` entries from one id up to and including another, the oldest first. See
    /// [`crate::Client::stream_range`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_range(
        &self,
        key: impl AsRef<[u8]>,
        ids: RangeInclusive<StreamId>,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        self.wait(self.client.stream_range(key, ids, most))
    }

    /// Returns entries, the newest first. See [`crate::Client::stream_range_from_newest`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_range_from_newest(
        &self,
        key: impl AsRef<[u8]>,
        ids: RangeInclusive<StreamId>,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        self.wait(self.client.stream_range_from_newest(key, ids, most))
    }

    /// Returns up to `most` entries after this id, the oldest first. See [`crate::Client::stream_read_after`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_read_after(
        &self,
        key: impl AsRef<[u8]>,
        after: StreamId,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        self.wait(self.client.stream_read_after(key, after, most))
    }

    /// Removes entries, at least one. See [`crate::Client::stream_remove`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_remove(
        &self,
        key: impl AsRef<[u8]>,
        ids: impl IntoIterator<Item = StreamId>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.stream_remove(key, ids))
    }

    /// Removes the oldest entries. See [`crate::Client::stream_trim`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_trim(&self, key: impl AsRef<[u8]>, trim: StreamTrim) -> Result<u64, ClientError> {
        self.wait(self.client.stream_trim(key, trim))
    }

    /// Makes a consumer group, and the stream if it is missing. See [`crate::Client::stream_group_create`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_group_create(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        after: Option<StreamId>,
    ) -> Result<(), ClientError> {
        self.wait(self.client.stream_group_create(key, group, after))
    }

    /// Removes a consumer group with all that is pending. See [`crate::Client::stream_group_remove`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_group_remove(&self, key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        self.wait(self.client.stream_group_remove(key, group))
    }

    /// Delivers up to `most` entries to a consumer that no consumer of the group has been given. See
    /// [`crate::Client::stream_group_read`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_group_read(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        self.wait(self.client.stream_group_read(key, group, consumer, most))
    }

    /// Delivers up to `most` entries after this id again that are pending for this consumer. See
    /// [`crate::Client::stream_group_history`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_group_history(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        after: StreamId,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        self.wait(self.client.stream_group_history(key, group, consumer, after, most))
    }

    /// Acknowledges entries, at least one. See [`crate::Client::stream_group_acknowledge`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_group_acknowledge(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        ids: impl IntoIterator<Item = StreamId>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.stream_group_acknowledge(key, group, ids))
    }

    /// Returns up to `most` pending entries of a group, by their ids, that were delivered at least so long ago. See
    /// [`crate::Client::stream_group_pending`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_group_pending(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        min_idle: Duration,
        ids: RangeInclusive<StreamId>,
        most: u32,
    ) -> Result<Vec<StreamPending>, ClientError> {
        self.wait(self.client.stream_group_pending(key, group, min_idle, ids, most))
    }

    /// Delivers entries to a consumer that are pending for any one. See [`crate::Client::stream_group_take_over`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream_group_take_over(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        which: StreamTakeOver,
    ) -> Result<StreamClaimed, ClientError> {
        self.wait(self.client.stream_group_take_over(key, group, consumer, which))
    }
}
