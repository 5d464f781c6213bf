//! Fragments: a batch that is too large for one log entry is split over several entries. The payload of such an entry
//! has format version 2; version 1 is a whole batch ([`crate::batch`]). **Frozen**; the test `golden` has the bytes.
//!
//! ```text
//! version  u8      2
//! flags    u8      bit 0: the last fragment of its batch; any other bit is an error
//! seq      u64 le  number of the entry among the epoch's entries with batches, from 1, without a gap; the
//!                  sequence of a batch is that of its last fragment
//! number   u32 le  number of the fragment within its batch, from 0
//! count    u32 le  number of fragments of the batch
//! total    u64 le  bytes of the whole payload
//! bytes            the fragment's part of the payload
//! ```
//!
//! The concatenated fragments of a batch are one payload of version 1, whose sequence is that of the last fragment.
//! They are applied together once the last one has committed. Until then memory is at the entry before the first
//! fragment, and everything that waits for the batch waits for the last one. Only entries of the same epoch that carry
//! no batch may come between them. An entry of another epoch means that the rest will never arrive, and discards them.
//!
//! Fragments are written only if every member of the group can read them ([`fastness_types::FormatLevel::BOUNDS`]).

use std::ops::Range;

use bytes::Bytes;
use fastness_resp::SharedBuf;
use fastness_types::{Seq, limits};

use crate::batch::{self, BatchError, VERSION as WHOLE};

/// Format version of a fragment.
const VERSION: u8 = 2;
/// Bytes before the fragment's part of the payload.
pub(crate) const HEADER_BYTES: usize = 26;
/// Bit 0 of the flags.
const IS_LAST: u8 = 1;
/// Memory that the first fragment of a batch reserves for all of them, in multiples of its own length: as many as the
/// largest batch has. The length that it declares alone reserves nothing.
const RESERVED_FRAGMENTS_MAX: usize = limits::BATCH_BYTES_MAX.div_ceil(limits::FRAGMENT_BYTES_MAX);

/// A fragment of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Number of its entry among the epoch's entries with batches.
    pub seq: Seq,
    /// Number within its batch, from 0.
    pub number: u32,
    /// Number of fragments of the batch.
    pub count: u32,
    /// Bytes of the whole payload.
    pub total: u64,
    /// Its part of the payload.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Whether it completes the batch.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.number + 1 == self.count
    }

    /// Encodes the payload of its entry. The fragment's bytes are `self.bytes`, followed by the range `rest` of
    /// `effects`; they come from two buffers, to avoid a copy.
    #[must_use]
    pub(crate) fn encode(&self, effects: &SharedBuf, rest: Range<usize>) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.bytes.len() + rest.len());
        out.extend_from_slice(&[VERSION, if self.is_last() { IS_LAST } else { 0 }]);
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.total.to_le_bytes());
        out.extend_from_slice(self.bytes);
        effects.copy(rest, &mut out);
        Bytes::from(out)
    }

    fn decode(payload: &'a [u8]) -> Result<Fragment<'a>, BatchError> {
        let (header, bytes) = payload.split_first_chunk::<HEADER_BYTES>().ok_or(BatchError::Truncated)?;
        let flags = header[1];
        if flags & !IS_LAST != 0 {
            return Err(BatchError::Unknown("flags", flags));
        }
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let fragment = Fragment { seq: Seq(long(2)), number: short(10), count: short(14), total: long(18), bytes };
        let fits = fragment.number < fragment.count && bytes.len() as u64 <= fragment.total;
        if !fits || bytes.is_empty() || fragment.is_last() != (flags == IS_LAST) {
            return Err(BatchError::Fragment);
        }
        if fragment.total > limits::BATCH_BYTES_MAX as u64 {
            return Err(BatchError::Length);
        }
        Ok(fragment)
    }
}

/// The part of a batch that one entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A whole batch: a payload of version 1.
    Whole(&'a [u8]),
    /// A fragment.
    Fragment(Fragment<'a>),
}

impl<'a> Part<'a> {
    /// Decodes a payload of either version. A whole batch is not validated.
    ///
    /// # Errors
    /// The fragment is malformed, or the version is unknown.
    pub fn of(payload: &'a [u8]) -> Result<Part<'a>, BatchError> {
        match payload.first() {
            None => Err(BatchError::Truncated),
            Some(&WHOLE) => Ok(Part::Whole(payload)),
            Some(&VERSION) => Fragment::decode(payload).map(Part::Fragment),
            Some(&version) => Err(BatchError::Version(version)),
        }
    }

    /// Its sequence, and whether it completes the batch.
    pub(crate) fn place(&self) -> Result<(Seq, bool), BatchError> {
        match self {
            Part::Whole(payload) => Ok((batch::peek_header(payload)?.seq, true)),
            Part::Fragment(fragment) => Ok((fragment.seq, fragment.is_last())),
        }
    }
}

/// The fragments collected so far of a batch that is not complete. At most one batch,
/// [`limits::BATCH_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Fragments {
    payload: Vec<u8>,
    count: u32,
    total: u64,
    /// Number of fragments collected so far.
    taken: u32,
}

impl Fragments {
    /// Whether no fragments are collected: the log is not within a batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Memory that they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.capacity()
    }

    /// Discards them, because the rest will never arrive.
    pub fn clear(&mut self) {
        *self = Fragments::default();
    }

    /// Adds the part of the next entry; returns the payload once the batch is complete.
    ///
    /// # Errors
    /// The part does not follow the preceding fragment.
    pub fn push<'a>(&mut self, part: Part<'a>) -> Result<Option<std::borrow::Cow<'a, [u8]>>, BatchError> {
        let fragment = match part {
            Part::Whole(payload) if self.is_empty() => return Ok(Some(payload.into())),
            Part::Whole(_) => return Err(BatchError::Fragment),
            Part::Fragment(fragment) => fragment,
        };
        if self.is_empty() {
            (self.count, self.total) = (fragment.count, fragment.total);
            let total = usize::try_from(fragment.total).map_err(|_| BatchError::Length)?;
            self.payload.reserve_exact(total.min(fragment.bytes.len().saturating_mul(RESERVED_FRAGMENTS_MAX)));
        }
        let length = self.payload.len() as u64 + fragment.bytes.len() as u64;
        let follows = (fragment.number, fragment.count, fragment.total) == (self.taken, self.count, self.total);
        if !follows || length > self.total || (fragment.is_last() != (length == self.total)) {
            return Err(BatchError::Fragment);
        }
        self.payload.extend_from_slice(fragment.bytes);
        self.taken += 1;
        if !fragment.is_last() {
            return Ok(None);
        }
        let whole = std::mem::take(self).payload;
        if batch::peek_header(&whole)?.seq != fragment.seq {
            return Err(BatchError::Fragment);
        }
        Ok(Some(whole.into()))
    }
}

/// A payload that is proposed in fragments. Its head and its effects stay in separate buffers, to avoid a copy.
#[derive(Debug)]
pub(crate) struct Cut {
    head: Vec<u8>,
    effects: SharedBuf,
    fragment_bytes: usize,
    /// Sequence of the first fragment.
    first: Seq,
    count: u32,
    /// The next fragment to propose.
    next: u32,
}

/// Number of fragments of a payload of this size.
pub(crate) fn count_of(payload_bytes: usize, fragment_bytes: usize) -> u32 {
    u32::try_from(payload_bytes.div_ceil(fragment_bytes)).expect("a batch is bounded")
}

impl Cut {
    /// Cuts the payload that consists of `head` and `effects`; `first` is the sequence of its first fragment.
    pub(crate) fn new(head: Vec<u8>, effects: SharedBuf, fragment_bytes: usize, first: Seq) -> Cut {
        let count = count_of(head.len() + effects.len(), fragment_bytes);
        Cut { head, effects, fragment_bytes, first, count, next: 0 }
    }

    /// Bytes of the whole payload.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.effects.len()
    }

    /// Sequence of the last fragment, which is the sequence of the batch.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.first.0 + u64::from(self.count) - 1)
    }

    /// The payload of the next entry, with its sequence; `None` after the last.
    pub(crate) fn next(&mut self) -> Option<(Seq, Bytes)> {
        if self.next == self.count {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let from = number as usize * self.fragment_bytes;
        let to = (from + self.fragment_bytes).min(self.len());
        let head_len = self.head.len();
        let of_head = &self.head[from.min(head_len)..to.min(head_len)];
        let of_effects = from.max(head_len) - head_len..to.max(head_len) - head_len;
        let seq = Seq(self.first.0 + u64::from(number));
        let fragment = Fragment { seq, number, count: self.count, total: self.len() as u64, bytes: of_head };
        Some((seq, fragment.encode(&self.effects, of_effects)))
    }

    /// Whether the next one is the last.
    pub(crate) fn ends(&self) -> bool {
        self.next + 1 >= self.count
    }
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
