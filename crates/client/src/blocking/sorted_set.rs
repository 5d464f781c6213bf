//! The calls on sorted sets; see those of [`crate::Client`].

use std::ops::RangeInclusive;

use super::BlockingClient;
use crate::error::ClientError;
use crate::sorted_set::{RankedMember, ScoredMember, SortedSetOptions};

impl BlockingClient {
    /// Adds members to a sorted set; returns how many are new. See [`crate::Client::sorted_set_add`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_add<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = (N, f64)>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.sorted_set_add(key, members))
    }

    /// Adds members to a sorted set under conditions; see [`crate::Client::sorted_set_add_with`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_add_with<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        options: SortedSetOptions,
        members: impl IntoIterator<Item = (N, f64)>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.sorted_set_add_with(key, options, members))
    }

    /// Adds a number to the score of a member; see [`crate::Client::sorted_set_increment`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_increment(
        &self,
        key: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
        by: f64,
    ) -> Result<f64, ClientError> {
        self.wait(self.client.sorted_set_increment(key, name, by))
    }

    /// Removes members of a sorted set; returns how many there were. See [`crate::Client::sorted_set_remove`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_remove<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        names: impl IntoIterator<Item = N>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.sorted_set_remove(key, names))
    }

    /// Removes and returns members with the lowest scores; see [`crate::Client::sorted_set_pop_min`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_pop_min(&self, key: impl AsRef<[u8]>, most: u32) -> Result<Vec<ScoredMember>, ClientError> {
        self.wait(self.client.sorted_set_pop_min(key, most))
    }

    /// Removes and returns members with the highest scores; see [`crate::Client::sorted_set_pop_max`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_pop_max(&self, key: impl AsRef<[u8]>, most: u32) -> Result<Vec<ScoredMember>, ClientError> {
        self.wait(self.client.sorted_set_pop_max(key, most))
    }

    /// The number of members of a sorted set; see [`crate::Client::sorted_set_len`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.wait(self.client.sorted_set_len(key))
    }

    /// The score of a member; see [`crate::Client::sorted_set_score`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_score(&self, key: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Result<Option<f64>, ClientError> {
        self.wait(self.client.sorted_set_score(key, name))
    }

    /// The place of a member from the lowest score; see [`crate::Client::sorted_set_rank`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_rank(
        &self,
        key: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
    ) -> Result<Option<RankedMember>, ClientError> {
        self.wait(self.client.sorted_set_rank(key, name))
    }

    /// The place of a member from the highest score; see [`crate::Client::sorted_set_rank_from_highest`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_rank_from_highest(
        &self,
        key: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
    ) -> Result<Option<RankedMember>, ClientError> {
        self.wait(self.client.sorted_set_rank_from_highest(key, name))
    }

    /// The members of a range of ranks; see [`crate::Client::sorted_set_range`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_range(
        &self,
        key: impl AsRef<[u8]>,
        start: i64,
        stop: i64,
    ) -> Result<Vec<ScoredMember>, ClientError> {
        self.wait(self.client.sorted_set_range(key, start, stop))
    }

    /// The members of a range of scores; see [`crate::Client::sorted_set_range_by_score`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sorted_set_range_by_score(
        &self,
        key: impl AsRef<[u8]>,
        scores: RangeInclusive<f64>,
        most: u32,
    ) -> Result<Vec<ScoredMember>, ClientError> {
        self.wait(self.client.sorted_set_range_by_score(key, scores, most))
    }
}
