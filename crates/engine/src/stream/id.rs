//! Ids of stream entries: a time in milliseconds, and a sequence number within it.

use crate::codec::varint;
use crate::error::CommandError;
use fastness_resp::ReplyBuf;
use std::fmt;

const INVALID: CommandError = CommandError::Fixed("ERR Invalid stream ID specified as stream command argument");
/// Longest text of an id, bytes: Valkey parses it in a buffer of this size.
const TEXT_MAX: usize = 127;

/// The id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId {
    /// Milliseconds, usually since the Unix epoch.
    pub ms: u64,
    /// The number within the millisecond.
    pub seq: u64,
}

/// The id of XADD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedId {
    /// `*`: any that is larger than all before.
    Any,
    /// `ms-*`: any of this millisecond.
    Within(u64),
    /// This one.
    Exactly(StreamId),
}

impl StreamId {
    /// The smallest id.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The largest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The id of these numbers.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The next larger id; `None` after the largest.
    #[must_use]
    pub fn next(self) -> Option<StreamId> {
        match (self.ms.checked_add(1), self.seq.checked_add(1)) {
            (_, Some(seq)) => Some(StreamId { ms: self.ms, seq }),
            (Some(ms), None) => Some(StreamId { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The next smaller id; `None` before the smallest.
    #[must_use]
    pub fn previous(self) -> Option<StreamId> {
        match (self.ms.checked_sub(1), self.seq.checked_sub(1)) {
            (_, Some(seq)) => Some(StreamId { ms: self.ms, seq }),
            (Some(ms), None) => Some(StreamId { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// The bytes that DUMP's payloads have: both numbers, big-endian.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of [`StreamId::to_bytes`].
    pub(super) fn of_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// Appends both numbers as varints.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        varint::write(out, self.ms);
        varint::write(out, self.seq);
    }

    /// Reads what [`StreamId::write`] wrote, and moves `bytes` past it.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<StreamId> {
        Some(StreamId { ms: varint::read(bytes).ok()?, seq: varint::read(bytes).ok()? })
    }

    /// Reads an id; without a sequence number it has `seq`. `-` and `+` are no ids.
    pub(super) fn parse(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
        let text = c_text(text);
        if text == b"-" || text == b"+" { Err(INVALID) } else { StreamId::parse_bound(text, seq) }
    }

    /// As [`StreamId::parse`]; `-` and `+` are the smallest and the largest id.
    pub(super) fn parse_bound(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
        match c_text(text) {
            _ if text.len() > TEXT_MAX => Err(INVALID),
            b"-" => Ok(StreamId::MIN),
            b"+" => Ok(StreamId::MAX),
            text => {
                let (ms, given) = split(text);
                let ms = unsigned(ms).ok_or(INVALID)?;
                let seq = given.map_or(Some(seq), unsigned).ok_or(INVALID)?;
                Ok(StreamId { ms, seq })
            }
        }
    }

    /// Reads the first id of a range; `(` excludes it.
    pub(super) fn parse_start(text: &[u8]) -> Result<StreamId, CommandError> {
        const TEXT: CommandError = CommandError::Fixed("ERR invalid start ID for the interval");
        match text {
            [b'(', id @ ..] if !id.is_empty() => StreamId::parse(id, 0)?.next().ok_or(TEXT),
            _ => StreamId::parse_bound(text, 0),
        }
    }

    /// Reads the last id of a range; `(` excludes it.
    pub(super) fn parse_end(text: &[u8]) -> Result<StreamId, CommandError> {
        const TEXT: CommandError = CommandError::Fixed("ERR invalid end ID for the interval");
        match text {
            [b'(', id @ ..] if !id.is_empty() => StreamId::parse(id, u64::MAX)?.previous().ok_or(TEXT),
            _ => StreamId::parse_bound(text, u64::MAX),
        }
    }

    /// Replies with the id.
    pub(super) fn reply(self, reply: &mut ReplyBuf) {
        reply.bulk(self.to_string());
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl WantedId {
    /// Reads the id of XADD.
    pub(super) fn parse(text: &[u8]) -> Result<WantedId, CommandError> {
        let text_end = c_text(text);
        if text_end == b"*" {
            return Ok(WantedId::Any);
        }
        match split(text_end) {
            (ms, Some(b"*")) if text.len() <= TEXT_MAX => unsigned(ms).map(WantedId::Within).ok_or(INVALID),
            _ => StreamId::parse(text, 0).map(WantedId::Exactly),
        }
    }
}

/// An argument as a C string: up to the first zero byte, as Valkey reads ids.
pub(super) fn c_text(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    &text[..end]
}

/// The texts before and after the first `-`.
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// A 64-bit number without a sign, with what `strtoull` accepts beside digits: blanks, a sign and zeros before them.
fn unsigned(text: &[u8]) -> Option<u64> {
    if fastness_resp::number::parse_int(text).is_some_and(|number| number < 0) {
        return None;
    }
    let digits = text.trim_ascii_start();
    let (is_negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_in_valkey() {
        let id = |text: &str| StreamId::parse(text.as_bytes(), 7).ok();
        assert_eq!(id("5-1"), Some(StreamId::new(5, 1)));
        assert_eq!(id("5"), Some(StreamId::new(5, 7)));
        assert_eq!(id("18446744073709551615-0"), Some(StreamId::new(u64::MAX, 0)));
        assert_eq!(id("005-+1"), Some(StreamId::new(5, 1)));
        for text in ["", "-", "+", "5-", "-5", "5-1-1", "a", "5-a", "5-*", "18446744073709551616", "5--1", "$"] {
            assert_eq!(id(text), None, "{text}");
        }
        assert_eq!(StreamId::parse(&[b'1'; 128], 0).ok(), None);
        assert_eq!(WantedId::parse(b"5-*"), Ok(WantedId::Within(5)));
        assert_eq!(WantedId::parse(b"*"), Ok(WantedId::Any));
        assert_eq!(WantedId::parse(b"5"), Ok(WantedId::Exactly(StreamId::new(5, 0))));
        assert!(WantedId::parse(b"x-*").is_err());
    }

    #[test]
    fn neighbours_and_bytes() {
        let last_of_5 = StreamId::new(5, u64::MAX);
        assert_eq!(last_of_5.next(), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::new(6, 0).previous(), Some(last_of_5));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
        assert_eq!(StreamId::of_bytes(last_of_5.to_bytes()), last_of_5);
        let mut bytes = Vec::new();
        last_of_5.write(&mut bytes);
        assert_eq!(StreamId::read(&mut &bytes[..]), Some(last_of_5));
        assert_eq!(StreamId::parse_start(b"(5-1").ok(), Some(StreamId::new(5, 2)));
        assert_eq!(StreamId::parse_end(b"(5-0").ok(), Some(StreamId::new(4, u64::MAX)));
        assert!(StreamId::parse_end(b"(0-0").is_err() && StreamId::parse_start(b"(-").is_err());
    }
}
