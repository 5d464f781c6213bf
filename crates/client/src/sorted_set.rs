//! Calls on sorted sets: commands with typed arguments and replies.

use std::ops::RangeInclusive;

use bytes::Bytes;
use fastness_wire::v1;
use tonic::Code;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;

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
    fn words(self) -> impl Iterator<Item = Bytes> {
        let words = [
            (self.only_new, "NX"),
            (self.only_existing, "XX"),
            (self.only_greater, "GT"),
            (self.only_less, "LT"),
            (self.count_changed, "CH"),
        ];
        words.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| Bytes::from_static(word.as_bytes()))
    }
}

fn word(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

fn number(number: impl ToString) -> Bytes {
    Bytes::from(number.to_string())
}

/// A score as a request has it.
fn score_word(score: f64) -> Result<Bytes, ClientError> {
    if score.is_nan() { Err(ClientError::invalid("a score is a number")) } else { Ok(number(score)) }
}

fn words_of(name: &'static str, key: impl AsRef<[u8]>) -> Vec<Bytes> {
    vec![Bytes::from_static(name.as_bytes()), word(key)]
}

/// A reply of another kind than the command has: of a write, which has happened.
fn unexpected_write(reply: &ReplyValue) -> ClientError {
    ClientError::OutcomeUnknown { message: format!("a reply of an unexpected kind: {reply:?}") }
}

/// The same of a read.
fn unexpected_read(reply: &ReplyValue) -> ClientError {
    let message = format!("a reply of an unexpected kind: {reply:?}");
    ClientError::Refused { code: Code::Internal, reason: String::new(), message, metadata: Default::default() }
}

fn count(reply: &ReplyValue) -> Option<u64> {
    u64::try_from(reply.as_integer()?).ok()
}

fn score(reply: &ReplyValue) -> Option<f64> {
    match reply {
        ReplyValue::Double(score) => Some(*score),
        _ => None,
    }
}

fn score_if_any(reply: &ReplyValue) -> Option<Option<f64>> {
    if *reply == ReplyValue::Null { Some(None) } else { score(reply).map(Some) }
}

fn member(reply: &ReplyValue) -> Option<ScoredMember> {
    match reply.as_values()? {
        [ReplyValue::Bytes(name), of_score] => Some(ScoredMember { name: name.clone(), score: score(of_score)? }),
        _ => None,
    }
}

fn members(reply: &ReplyValue) -> Option<Vec<ScoredMember>> {
    reply.as_values()?.iter().map(member).collect()
}

fn ranked(reply: &ReplyValue) -> Option<Option<RankedMember>> {
    if *reply == ReplyValue::Null {
        return Some(None);
    }
    match reply.as_values()? {
        [rank, of_score] => Some(Some(RankedMember { rank: count(rank)?, score: score(of_score)? })),
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
        let mut args = words_of("ZADD", key);
        args.extend(options.words());
        let before = args.len();
        for (name, score) in members {
            args.extend([score_word(score)?, word(name)]);
        }
        if args.len() == before {
            return Err(ClientError::invalid("at least one member is needed"));
        }
        let reply = self.execute(args).await?;
        count(&reply).ok_or_else(|| unexpected_write(&reply))
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
        let mut args = words_of("ZINCRBY", key);
        args.extend([score_word(by)?, word(name)]);
        let reply = self.execute(args).await?;
        score(&reply).ok_or_else(|| unexpected_write(&reply))
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
        let mut args = words_of("ZREM", key);
        args.extend(names.into_iter().map(word));
        if args.len() == 2 {
            return Err(ClientError::invalid("at least one member is needed"));
        }
        let reply = self.execute(args).await?;
        count(&reply).ok_or_else(|| unexpected_write(&reply))
    }

    /// Removes and returns up to `most` members with the lowest scores.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_pop_min(&self, key: impl AsRef<[u8]>, most: u32) -> Result<Vec<ScoredMember>, ClientError> {
        self.sorted_set_pop("ZPOPMIN", key.as_ref(), most).await
    }

    /// Removes and returns up to `most` members with the highest scores, the highest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_pop_max(&self, key: impl AsRef<[u8]>, most: u32) -> Result<Vec<ScoredMember>, ClientError> {
        self.sorted_set_pop("ZPOPMAX", key.as_ref(), most).await
    }

    async fn sorted_set_pop(
        &self,
        name: &'static str,
        key: &[u8],
        most: u32,
    ) -> Result<Vec<ScoredMember>, ClientError> {
        let mut args = words_of(name, key);
        args.push(number(most));
        let reply = self.execute(args).await?;
        members(&reply).ok_or_else(|| unexpected_write(&reply))
    }

    /// Returns the number of members of a sorted set; 0 if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        let reply = self.execute_read(words_of("ZCARD", key)).await?;
        count(&reply).ok_or_else(|| unexpected_read(&reply))
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
        let mut args = words_of("ZSCORE", key);
        args.push(word(name));
        let reply = self.execute_read(args).await?;
        score_if_any(&reply).ok_or_else(|| unexpected_read(&reply))
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
        self.sorted_set_place("ZRANK", key.as_ref(), name.as_ref()).await
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
        self.sorted_set_place("ZREVRANK", key.as_ref(), name.as_ref()).await
    }

    async fn sorted_set_place(
        &self,
        call: &'static str,
        key: &[u8],
        name: &[u8],
    ) -> Result<Option<RankedMember>, ClientError> {
        let mut args = words_of(call, key);
        args.extend([word(name), Bytes::from_static(b"WITHSCORE")]);
        let reply = self.execute_read(args).await?;
        ranked(&reply).ok_or_else(|| unexpected_read(&reply))
    }

    /// Returns the members from one rank to another, both included; negative ones count from the end. `0..=-1` is all
    /// of them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sorted_set_range(
        &self,
        key: impl AsRef<[u8]>,
        ranks: RangeInclusive<i64>,
    ) -> Result<Vec<ScoredMember>, ClientError> {
        let mut args = words_of("ZRANGE", key);
        args.extend([number(ranks.start()), number(ranks.end()), Bytes::from_static(b"WITHSCORES")]);
        let reply = self.execute_read(args).await?;
        members(&reply).ok_or_else(|| unexpected_read(&reply))
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
        let mut args = words_of("ZRANGE", key);
        args.extend([score_word(*scores.start())?, score_word(*scores.end())?]);
        args.extend(["BYSCORE", "LIMIT", "0"].map(|word| Bytes::from_static(word.as_bytes())));
        args.extend([number(most), Bytes::from_static(b"WITHSCORES")]);
        let reply = self.execute_read(args).await?;
        members(&reply).ok_or_else(|| unexpected_read(&reply))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn replies_are_read() {
        let one = ReplyValue::Array(vec![ReplyValue::Bytes("a".into()), ReplyValue::Double(1.5)]);
        let all = members(&ReplyValue::Array(vec![one.clone()])).unwrap();
        assert_eq!(all, [ScoredMember { name: "a".into(), score: 1.5 }]);
        assert_eq!(members(&one), None, "a flat array is not one of members");
        assert_eq!((score_if_any(&ReplyValue::Null), score_if_any(&ReplyValue::Integer(1))), (Some(None), None));
        let place = ReplyValue::Array(vec![ReplyValue::Integer(3), ReplyValue::Double(-0.5)]);
        assert_eq!(ranked(&place), Some(Some(RankedMember { rank: 3, score: -0.5 })));
        assert_eq!((ranked(&ReplyValue::Null), ranked(&one)), (Some(None), None));
        assert!(unexpected_write(&one).may_have_happened() && !unexpected_read(&one).may_have_happened());
    }

    #[test]
    fn scores_are_written_so_that_they_read_back() {
        for score in [0.1, -0.0, 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE] {
            let text = score_word(score).unwrap();
            let read: f64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            assert_eq!(read.to_bits(), score.to_bits());
        }
        assert!(matches!(score_word(f64::NAN), Err(ClientError::Invalid { .. })));
    }
}
