//! Calls on sorted sets: commands with typed arguments and replies.

use std::ops::RangeInclusive;

use bytes::Bytes;
use fastness_wire::v1;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;
use crate::typed::{Words, count, each, optional};

/// A member of a sorted set with its score. Two are equal if the names are, and the bits of the scores.
#[derive(Debug, Clone)]
pub struct ScoredMember {
    /// Its name.
    pub name: Bytes,
    /// Its score.
    pub score: f64,
}

impl PartialEq for ScoredMember {
    fn eq(&self, other: &ScoredMember) -> bool {
        (&self.name, self.score.to_bits()) == (&other.name, other.score.to_bits())
    }
}

impl Eq for ScoredMember {}

impl From<v1::SortedSetMember> for ScoredMember {
    fn from(member: v1::SortedSetMember) -> ScoredMember {
        ScoredMember { name: member.name, score: member.score }
    }
}

/// The place of a member in a sorted set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedMember {
    /// How many members are before it.
    pub rank: u64,
    /// Its score.
    pub score: f64,
}

/// Which members [`Client::sorted_set_add_with`] changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SortedSetOptions {
    /// Only members that do not exist.
    pub only_new: bool,
    /// Only members that exist.
    pub only_existing: bool,
    /// Of those that exist, only members whose score becomes greater.
    pub only_greater: bool,
    /// Of those that exist, only members whose score becomes less.
    pub only_less: bool,
    /// Whether changed members are counted as well, beside new ones.
    pub count_changed: bool,
}

impl SortedSetOptions {
    fn words(self) -> impl Iterator<Item = &'static str> {
        let words = [
            (self.only_new, "NX"),
            (self.only_existing, "XX"),
            (self.only_greater, "GT"),
            (self.only_less, "LT"),
            (self.count_changed, "CH"),
        ];
        words.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word)
    }
}

/// A score as a request has it.
fn score_word(score: f64) -> Result<String, ClientError> {
    if score.is_nan() { Err(ClientError::invalid("a score is a number")) } else { Ok(score.to_string()) }
}

/// A score: never as text, which could be a name.
fn score(reply: &ReplyValue) -> Option<f64> {
    match reply {
        ReplyValue::Double(score) => Some(*score),
        _ => None,
    }
}

fn member(reply: &ReplyValue) -> Option<ScoredMember> {
    match reply.as_values()? {
        [ReplyValue::Bytes(name), of_score] => Some(ScoredMember { name: name.clone(), score: score(of_score)? }),
        _ => None,
    }
}

fn ranked(reply: &ReplyValue) -> Option<RankedMember> {
    match reply.as_values()? {
        [rank, of_score] => Some(RankedMember { rank: count(rank)?, score: score(of_score)? }),
        _ => None,
    }
}

impl Client {
    /// Adds members to a sorted set, at least one, or gives them these scores; returns how many are new.
    ///
    /// # Errors
    /// See [`ClientError`]. A score that is not a number is invalid.
    pub async fn sorted_set_add<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = (N, f64)>,
    ) -> Result<u64, ClientError> {
        self.sorted_set_add_with(key, SortedSetOptions::default(), members).await
    }

    /// As [`Client::sorted_set_add`], under conditions.
    ///
    /// # Errors
    /// See [`ClientError`]. A score that is not a number is invalid; conditions that exclude each other are refused.
    pub async fn sorted_set_add_with<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        options: SortedSetOptions,
        members: impl IntoIterator<Item = (N, f64)>,
    ) -> Result<u64, ClientError> {
        let mut pairs: Vec<Bytes> = Vec::new();
        for (name, score) in members {
            pairs.extend([Bytes::from(score_word(score)?), Bytes::copy_from_slice(name.as_ref())]);
        }
        self.typed_write(Words::new("ZADD").key(key).args(options.words()).some(pairs)?, count).await
    }

    /// Adds a number to the score of a member; a missing member counts as 0. Returns the new score.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_increment(
        &self,
        key: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
        by: f64,
    ) -> Result<f64, ClientError> {
        self.typed_write(Words::new("ZINCRBY").key(key).arg(score_word(by)?).arg(name), score).await
    }

    /// Removes members of a sorted set, at least one; returns how many there were. A sorted set without members ceases
    /// to exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_remove<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        names: impl IntoIterator<Item = N>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("ZREM").key(key).some(names)?, count).await
    }

    /// Removes and returns up to `most` members with the lowest scores.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_pop_min(&self, key: impl AsRef<[u8]>, most: u32) -> Result<Vec<ScoredMember>, ClientError> {
        self.typed_write(Words::new("ZPOPMIN").key(key).number(most), each(member)).await
    }

    /// Removes and returns up to `most` members with the highest scores, the highest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_pop_max(&self, key: impl AsRef<[u8]>, most: u32) -> Result<Vec<ScoredMember>, ClientError> {
        self.typed_write(Words::new("ZPOPMAX").key(key).number(most), each(member)).await
    }

    /// Returns the number of members of a sorted set; 0 if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.typed_read(Words::new("ZCARD").key(key), count).await
    }

    /// Returns the score of a member; absent if there is no such key or member.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_score(
        &self,
        key: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
    ) -> Result<Option<f64>, ClientError> {
        self.typed_read(Words::new("ZSCORE").key(key).arg(name), optional(score)).await
    }

    /// Returns the place of a member, counted from the lowest score; absent if there is no such key or member.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_rank(
        &self,
        key: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
    ) -> Result<Option<RankedMember>, ClientError> {
        let words = Words::new("ZRANK").key(key).arg(name).arg("WITHSCORE");
        self.typed_read(words, optional(ranked)).await
    }

    /// Returns the place of a member, counted from the highest score; absent if there is no such key or member.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_rank_from_highest(
        &self,
        key: impl AsRef<[u8]>,
        name: impl AsRef<[u8]>,
    ) -> Result<Option<RankedMember>, ClientError> {
        let words = Words::new("ZREVRANK").key(key).arg(name).arg("WITHSCORE");
        self.typed_read(words, optional(ranked)).await
    }

    /// Returns the members from one rank up to and including another; ranks below 0 count from the end: 0 to -1 is all
    /// of them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_range(
        &self,
        key: impl AsRef<[u8]>,
        start: i64,
        stop: i64,
    ) -> Result<Vec<ScoredMember>, ClientError> {
        let words = Words::new("ZRANGE").key(key).number(start).number(stop).arg("WITHSCORES");
        self.typed_read(words, each(member)).await
    }

    /// Returns up to `most` of the members with scores in a range, the lowest first. Infinite limits are no limits.
    ///
    /// # Errors
    /// See [`ClientError`]. A limit that is not a number is invalid.
    pub async fn sorted_set_range_by_score(
        &self,
        key: impl AsRef<[u8]>,
        scores: RangeInclusive<f64>,
        most: u32,
    ) -> Result<Vec<ScoredMember>, ClientError> {
        let words = Words::new("ZRANGE").key(key).arg(score_word(*scores.start())?).arg(score_word(*scores.end())?);
        let words = words.args(["BYSCORE", "LIMIT", "0"]).number(most).arg("WITHSCORES");
        self.typed_read(words, each(member)).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn replies_are_read() {
        let one = ReplyValue::Array(vec![ReplyValue::Bytes("a".into()), ReplyValue::Double(1.5)]);
        let all = each(member)(&ReplyValue::Array(vec![one.clone()])).unwrap();
        assert_eq!(all, [ScoredMember { name: "a".into(), score: 1.5 }]);
        assert_eq!(each(member)(&one), None, "a flat array is not one of members");
        let place = ReplyValue::Array(vec![ReplyValue::Integer(3), ReplyValue::Double(-0.5)]);
        assert_eq!(ranked(&place), Some(RankedMember { rank: 3, score: -0.5 }));
        assert_eq!((ranked(&one), score(&ReplyValue::Bytes("1".into()))), (None, None));
    }

    #[test]
    fn scores_are_written_so_that_they_read_back() {
        for score in [0.1, -0.0, 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE] {
            let text = score_word(score).unwrap();
            let read: f64 = text.parse().unwrap();
            assert_eq!(read.to_bits(), score.to_bits());
        }
        assert!(matches!(score_word(f64::NAN), Err(ClientError::Invalid { .. })));
    }
}
