//! The replies of one connection that have not left, in their order, and what the held ones among them wait for.
//!
//! Ordering rule: a reply leaves only after every earlier one of its connection, and only if the shard says that it may.
//! A reply that may never leave (its write was undone or is in doubt) is replaced by an error in its place.

use std::collections::VecDeque;

use fastness_resp::ReplyBuf;
use fastness_shard::{Hold, Leave};

/// Bytes already sent that are kept in front before the rest is moved up.
const SENT_BYTES_KEPT: usize = 64 * 1024;
/// Capacity that an empty buffer keeps.
const EMPTY_BYTES_KEPT: usize = 16 * 1024;

/// The same for the places of held replies.
const EMPTY_MARKS_KEPT: usize = 64;

/// One held reply: `start..end` in the buffer.
#[derive(Debug, Clone, Copy)]
struct Mark {
    start: usize,
    end: usize,
    hold: Hold,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Replies {
    /// All that was written and not dropped yet; positions are counted from here.
    pub(crate) out: ReplyBuf,
    sent: usize,
    marks: VecDeque<Mark>,
}

impl Replies {
    /// Notes that what was written since `start` depends on `hold`.
    pub(crate) fn hold(&mut self, start: usize, hold: Hold) {
        let end = self.out.len();
        if end > start {
            self.marks.push_back(Mark { start, end, hold });
        }
    }

    /// Drops what was written since `start`, which was not marked.
    pub(crate) fn drop_since(&mut self, start: usize) {
        self.out.truncate(start);
    }

    /// Lets leave what may, and replaces what never may. Returns the oldest hold that still waits.
    pub(crate) fn release(&mut self, may_leave: impl Fn(Hold) -> Leave) -> Option<Hold> {
        while let Some(mark) = self.marks.front().copied() {
            match may_leave(mark.hold) {
                Leave::Now => {
                    self.marks.pop_front();
                }
                Leave::Wait => return Some(mark.hold),
                Leave::Unknown => {
                    self.marks.pop_front();
                    self.replace(mark);
                }
            }
        }
        None
    }

    fn replace(&mut self, mark: Mark) {
        let mut error = ReplyBuf::new(self.out.protocol);
        error.error(mark.hold.unknown_text());
        let (old, new) = (mark.end - mark.start, error.bytes.len());
        self.out.bytes.splice(mark.start..mark.end, error.bytes);
        for later in &mut self.marks {
            later.start = later.start + new - old;
            later.end = later.end + new - old;
        }
    }

    /// What may leave now; call [`Replies::release`] before.
    pub(crate) fn sendable(&self) -> &[u8] {
        let end = self.marks.front().map_or(self.out.len(), |mark| mark.start);
        &self.out.bytes[self.sent..end]
    }

    /// Notes that `len` bytes of [`Replies::sendable`] have left.
    pub(crate) fn sent(&mut self, len: usize) {
        self.sent += len;
        if self.sent == self.out.len() {
            self.marks.shrink_to(EMPTY_MARKS_KEPT);
            self.out.bytes.clear();
            self.out.bytes.shrink_to(EMPTY_BYTES_KEPT);
            self.sent = 0;
        } else if self.sent > SENT_BYTES_KEPT && self.sent > self.out.len() / 2 {
            self.out.bytes.drain(..self.sent);
            for mark in &mut self.marks {
                mark.start -= self.sent;
                mark.end -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// What they take, bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.out.bytes.capacity() + self.marks.capacity() * size_of::<Mark>()
    }

    /// Bytes that have not left, held ones included.
    pub(crate) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }
}
