//! Calls on streams and their consumer groups: commands with typed arguments and replies.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;
use crate::typed::{Words, bytes, count, done, each, flag, optional};

/// The id of an entry of a stream. Each entry has a greater one than those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Milliseconds since 1970, unless the id was chosen by whoever added the entry.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub sequence: u64,
}

impl StreamId {
    /// Before every entry.
    pub const MIN: StreamId = StreamId { ms: 0, sequence: 0 };
    /// After every entry.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, sequence: u64::MAX };
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

/// A text is not the id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an entry of a stream: two numbers with '-' between them")]
pub struct InvalidStreamId;

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    fn from_str(text: &str) -> Result<StreamId, InvalidStreamId> {
        let (ms, sequence) = text.split_once('-').ok_or(InvalidStreamId)?;
        let number = |digits: &str| digits.parse().map_err(|_| InvalidStreamId);
        Ok(StreamId { ms: number(ms)?, sequence: number(sequence)? })
    }
}

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Its fields with their values, in the order in which they were added. None: the entry was removed after it had
    /// been delivered ([`Client::stream_group_history`]).
    pub fields: Vec<(Bytes, Bytes)>,
}

/// Which of the oldest entries of a stream are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamTrim {
    /// All but so many.
    Len(u64),
    /// As [`StreamTrim::Len`], but some more may stay, which costs less.
    AboutLen(u64),
    /// All before this one.
    Before(StreamId),
    /// As [`StreamTrim::Before`], but some may stay, which costs less.
    AboutBefore(StreamId),
}

impl StreamTrim {
    fn words(self, words: Words) -> Words {
        match self {
            StreamTrim::Len(len) => words.arg("MAXLEN").arg("=").number(len),
            StreamTrim::AboutLen(len) => words.arg("MAXLEN").arg("~").number(len),
            StreamTrim::Before(id) => words.arg("MINID").arg("=").number(id),
            StreamTrim::AboutBefore(id) => words.arg("MINID").arg("~").number(id),
        }
    }
}

/// How an entry is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamAddOptions {
    /// Its id, which must be greater than those of all entries; absent: the server chooses it by its clock.
    pub id: Option<StreamId>,
    /// Which entries are removed with it.
    pub trim: Option<StreamTrim>,
    /// Only if there is such a stream.
    pub only_existing: bool,
}

/// An entry that was delivered to a consumer and not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPending {
    /// Its id.
    pub id: StreamId,
    /// The consumer.
    pub consumer: Bytes,
    /// How long ago it was delivered for the last time.
    pub idle: Duration,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Which pending entries a consumer takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTakeOver {
    /// Those that were delivered at least so long ago.
    pub min_idle: Duration,
    /// Those from this id on.
    pub from: StreamId,
    /// So many at most.
    pub most: u32,
}

/// What a consumer has taken over from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamClaimed {
    /// Where to go on; [`StreamId::MIN`]: all pending entries were looked at.
    pub next: StreamId,
    /// The entries.
    pub entries: Vec<StreamEntry>,
    /// Entries that are not in the stream any more; they are not pending any more either.
    pub removed: Vec<StreamId>,
}

fn id(reply: &ReplyValue) -> Option<StreamId> {
    std::str::from_utf8(reply.as_bytes()?).ok()?.parse().ok()
}

fn fields(reply: &ReplyValue) -> Option<Vec<(Bytes, Bytes)>> {
    if *reply == ReplyValue::Null {
        return Some(Vec::new());
    }
    let words = reply.as_values()?;
    let pairs = words.chunks(2).map(|pair| match pair {
        [field, value] => Some((bytes(field)?, bytes(value)?)),
        _ => None,
    });
    pairs.collect()
}

fn entry(reply: &ReplyValue) -> Option<StreamEntry> {
    match reply.as_values()? {
        [of_id, of_fields] => Some(StreamEntry { id: id(of_id)?, fields: fields(of_fields)? }),
        _ => None,
    }
}

/// The entries of the only stream of a reply; none if it is absent.
fn of_one_stream(reply: &ReplyValue) -> Option<Vec<StreamEntry>> {
    match reply {
        ReplyValue::Null => Some(Vec::new()),
        ReplyValue::Map(streams) => match &streams[..] {
            [(_, entries)] => each(entry)(entries),
            _ => None,
        },
        _ => None,
    }
}

fn pending(reply: &ReplyValue) -> Option<StreamPending> {
    match reply.as_values()? {
        [of_id, consumer, idle, deliveries] => Some(StreamPending {
            id: id(of_id)?,
            consumer: bytes(consumer)?,
            idle: Duration::from_millis(count(idle)?),
            deliveries: count(deliveries)?,
        }),
        _ => None,
    }
}

fn claimed(reply: &ReplyValue) -> Option<StreamClaimed> {
    match reply.as_values()? {
        [next, entries, removed] => {
            Some(StreamClaimed { next: id(next)?, entries: each(entry)(entries)?, removed: each(id)(removed)? })
        }
        _ => None,
    }
}

impl Client {
    /// Adds an entry with these fields, at least one, to a stream, and makes it if it is missing; returns the entry's
    /// id, which the server chooses by its clock.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_add<F: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Result<StreamId, ClientError> {
        self.typed_write(adding(Words::new("XADD").key(key).arg("*"), fields)?, id).await
    }

    /// As [`Client::stream_add`], with options. Absent: there is no such stream, and none was to be made.
    ///
    /// # Errors
    /// See [`ClientError`]; an id that is not greater than those of all entries is refused.
    pub async fn stream_add_with<F: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        options: StreamAddOptions,
        fields: impl IntoIterator<Item = (F, V)>,
    ) -> Result<Option<StreamId>, ClientError> {
        let mut words = Words::new("XADD").key(key);
        if options.only_existing {
            words = words.arg("NOMKSTREAM");
        }
        if let Some(trim) = options.trim {
            words = trim.words(words);
        }
        words = match options.id {
            Some(id) => words.number(id),
            None => words.arg("*"),
        };
        self.typed_write(adding(words, fields)?, optional(id)).await
    }

    /// Returns the number of entries of a stream; 0 if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.typed_read(Words::new("XLEN").key(key), count).await
    }

    /// Returns up to `most` entries from one id up to and including another, the oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_range(
        &self,
        key: impl AsRef<[u8]>,
        ids: RangeInclusive<StreamId>,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        let words = Words::new("XRANGE").key(key).number(ids.start()).number(ids.end()).arg("COUNT").number(most);
        self.typed_read(words, each(entry)).await
    }

    /// As [`Client::stream_range`], the newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_range_from_newest(
        &self,
        key: impl AsRef<[u8]>,
        ids: RangeInclusive<StreamId>,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        let words = Words::new("XREVRANGE").key(key).number(ids.end()).number(ids.start()).arg("COUNT").number(most);
        self.typed_read(words, each(entry)).await
    }

    /// Returns up to `most` entries after this id, the oldest first. [`StreamId::MIN`]: from the first one on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_read_after(
        &self,
        key: impl AsRef<[u8]>,
        after: StreamId,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        let words = Words::new("XREAD").arg("COUNT").number(most).arg("STREAMS").key(key).number(after);
        self.typed_read(words, of_one_stream).await
    }

    /// Removes entries, at least one; returns how many there were. A stream without entries stays.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_remove(
        &self,
        key: impl AsRef<[u8]>,
        ids: impl IntoIterator<Item = StreamId>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("XDEL").key(key).some(texts(ids))?, count).await
    }

    /// Removes the oldest entries; returns how many.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_trim(&self, key: impl AsRef<[u8]>, trim: StreamTrim) -> Result<u64, ClientError> {
        self.typed_write(trim.words(Words::new("XTRIM").key(key)), count).await
    }

    /// Makes a consumer group, and the stream if it is missing. The group delivers the entries after this id; absent:
    /// those that are added from now on.
    ///
    /// # Errors
    /// See [`ClientError`]; refused with the reason `BUSYGROUP` if there is such a group.
    pub async fn stream_group_create(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        after: Option<StreamId>,
    ) -> Result<(), ClientError> {
        let words = Words::new("XGROUP").arg("CREATE").key(key).arg(group);
        let words = match after {
            Some(id) => words.number(id),
            None => words.arg("$"),
        };
        self.typed_write(words.arg("MKSTREAM"), done).await
    }

    /// Removes a consumer group with all that is pending; returns whether there was one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_group_remove(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
    ) -> Result<bool, ClientError> {
        self.typed_write(Words::new("XGROUP").arg("DESTROY").key(key).arg(group), flag).await
    }

    /// Delivers up to `most` entries to a consumer that no consumer of the group has been given. They are pending until
    /// they are acknowledged.
    ///
    /// # Errors
    /// See [`ClientError`]; refused with the reason `NOGROUP` if there is no such group.
    pub async fn stream_group_read(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        let words = Words::new("XREADGROUP").arg("GROUP").arg(group).arg(consumer).arg("COUNT").number(most);
        self.typed_write(words.arg("STREAMS").key(key).arg(">"), of_one_stream).await
    }

    /// Delivers up to `most` entries after this id again that are pending for this consumer.
    ///
    /// # Errors
    /// As [`Client::stream_group_read`].
    pub async fn stream_group_history(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        after: StreamId,
        most: u32,
    ) -> Result<Vec<StreamEntry>, ClientError> {
        let words = Words::new("XREADGROUP").arg("GROUP").arg(group).arg(consumer).arg("COUNT").number(most);
        self.typed_write(words.arg("STREAMS").key(key).number(after), of_one_stream).await
    }

    /// Acknowledges entries, at least one; returns how many were pending.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_group_acknowledge(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        ids: impl IntoIterator<Item = StreamId>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("XACK").key(key).arg(group).some(texts(ids))?, count).await
    }

    /// Returns up to `most` pending entries of a group, by their ids, that were delivered at least so long ago.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_group_pending(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        min_idle: Duration,
        ids: RangeInclusive<StreamId>,
        most: u32,
    ) -> Result<Vec<StreamPending>, ClientError> {
        let words = Words::new("XPENDING").key(key).arg(group).arg("IDLE").number(min_idle.as_millis());
        self.typed_read(words.number(ids.start()).number(ids.end()).number(most), each(pending)).await
    }

    /// Delivers entries to a consumer that are pending for any one: a consumer takes over from those that are gone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream_group_take_over(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        which: StreamTakeOver,
    ) -> Result<StreamClaimed, ClientError> {
        let words = Words::new("XAUTOCLAIM").key(key).arg(group).arg(consumer).number(which.min_idle.as_millis());
        self.typed_write(words.number(which.from).arg("COUNT").number(which.most), claimed).await
    }
}

fn adding<F: AsRef<[u8]>, V: AsRef<[u8]>>(
    words: Words,
    fields: impl IntoIterator<Item = (F, V)>,
) -> Result<Words, ClientError> {
    words.some(
        fields.into_iter().flat_map(|(field, value)| {
            [Bytes::copy_from_slice(field.as_ref()), Bytes::copy_from_slice(value.as_ref())]
        }),
    )
}

fn texts(ids: impl IntoIterator<Item = StreamId>) -> impl Iterator<Item = String> {
    ids.into_iter().map(|id| id.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn text(text: &'static str) -> ReplyValue {
        ReplyValue::Bytes(text.into())
    }

    fn one() -> ReplyValue {
        ReplyValue::Array(vec![text("5-1"), ReplyValue::Array(vec![text("f"), text("v")])])
    }

    fn read() -> StreamEntry {
        StreamEntry { id: StreamId { ms: 5, sequence: 1 }, fields: vec![("f".into(), "v".into())] }
    }

    #[test]
    fn ids_are_texts_in_their_order() {
        for id in [StreamId::MIN, StreamId::MAX, StreamId { ms: 5, sequence: 1 }] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in ["", "5", "-1", "5-", "5-x", "18446744073709551616-0"] {
            assert_eq!(wrong.parse::<StreamId>(), Err(InvalidStreamId), "{wrong}");
        }
        assert!(StreamId { ms: 9, sequence: 5 } < StreamId { ms: 10, sequence: 0 });
    }

    #[test]
    fn replies_are_read() {
        assert_eq!(entry(&one()), Some(read()));
        let removed = ReplyValue::Array(vec![text("5-1"), ReplyValue::Null]);
        assert_eq!(entry(&removed), Some(StreamEntry { fields: Vec::new(), ..read() }));
        let odd = ReplyValue::Array(vec![text("5-1"), ReplyValue::Array(vec![text("f")])]);
        assert_eq!((entry(&odd), entry(&text("5-1"))), (None, None));
        let streams = ReplyValue::Map(vec![(text("s"), ReplyValue::Array(vec![one()]))]);
        assert_eq!(of_one_stream(&streams).unwrap(), [read()]);
        assert_eq!(of_one_stream(&ReplyValue::Null).unwrap(), []);
        assert_eq!(of_one_stream(&one()), None);
        let of = vec![text("5-1"), text("c"), ReplyValue::Integer(1500), ReplyValue::Integer(2)];
        let expected =
            StreamPending { id: read().id, consumer: "c".into(), idle: Duration::from_millis(1500), deliveries: 2 };
        assert_eq!(pending(&ReplyValue::Array(of)), Some(expected));
        let ids = ReplyValue::Array(vec![text("6-0")]);
        let taken = ReplyValue::Array(vec![text("0-0"), ReplyValue::Array(vec![one()]), ids]);
        let removed = vec![StreamId { ms: 6, sequence: 0 }];
        let expected = StreamClaimed { next: StreamId::MIN, entries: vec![read()], removed };
        assert_eq!(claimed(&taken), Some(expected));
    }
}
