//! The unsent replies of one connection, in their order, and what the pending ones among them depend on.
//!
//! Ordering rule: a reply is sent only after every earlier reply of its connection, and only once the shard releases
//! it. A reply that can never be released (its write was undone or is in doubt) is replaced by an error in its place.
//!
//! Replies are kept in blocks, whose long texts are shared with the keyspace. A block that has grown to `BLOCK_BYTES`
//! is closed, so that a client which reads nothing for a while causes no copy of everything that waits for it. A reply
//! never spans two blocks. Positions count from the first byte that was ever written to the connection, and move only
//! when replies are replaced.

use std::collections::VecDeque;

use fastness_resp::{Protocol, ReplyBuf, SharedBuf};
use fastness_shard::PendingReply;

/// A block that is as long takes no further reply, bytes.
const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes already sent that are kept in front before the rest of the newest block is moved up.
const SENT_BYTES_KEPT: usize = 64 * 1024;
/// Capacity that an empty buffer keeps.
const EMPTY_BYTES_KEPT: usize = 16 * 1024;

/// The same for the places of held replies.
const EMPTY_MARKS_KEPT: usize = 64;

/// What becomes of a held reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It leaves.
    Leaves,
    /// It is not known yet.
    Waits,
    /// It never leaves: an error with this text does, in its place.
    Lost(&'static str),
}

/// One held reply: from `start` to `end`.
#[derive(Debug, Clone, Copy)]
struct Mark<H> {
    start: u64,
    end: u64,
    hold: H,
}

/// See the module.
pub struct Replies<H = PendingReply> {
    /// The newest block, which is being written.
    pub out: ReplyBuf,
    /// Closed blocks, oldest first.
    closed: VecDeque<SharedBuf>,
    /// Their lengths together.
    closed_bytes: usize,
    /// Their capacities together.
    closed_capacity: usize,
    /// Of the oldest block so many bytes have left.
    sent: usize,
    /// Where the oldest block starts.
    base: u64,
    /// Held replies, oldest first; none has left.
    marks: VecDeque<Mark<H>>,
}

impl<H> Default for Replies<H> {
    fn default() -> Self {
        Replies {
            out: ReplyBuf::default(),
            closed: VecDeque::new(),
            closed_bytes: 0,
            closed_capacity: 0,
            sent: 0,
            base: 0,
            marks: VecDeque::new(),
        }
    }
}

impl<H: Copy> Replies<H> {
    /// Notes that what was written since `start`, a length of the newest block, depends on `hold`.
    pub fn hold(&mut self, start: usize, hold: H) {
        let end = self.out.len();
        if end > start {
            let block = self.base + self.closed_bytes as u64;
            self.marks.push_back(Mark { start: block + start as u64, end: block + end as u64, hold });
        }
    }

    /// Drops what was written since `start`, which was not marked.
    pub fn drop_since(&mut self, start: usize) {
        self.out.truncate(start);
    }

    /// Closes the newest block if it is long enough. Not while a reply is being written.
    pub fn close_block(&mut self) {
        if self.out.len() >= BLOCK_BYTES {
            let block = std::mem::take(self.out.buf_mut());
            self.closed_bytes += block.len();
            self.closed_capacity += block.capacity();
            self.closed.push_back(block);
        }
    }

    /// Lets leave what may, and replaces what never may. Returns the oldest hold that still waits.
    pub fn release(&mut self, fate: impl Fn(H) -> Fate) -> Option<H> {
        let mut lost = Vec::new();
        let mut waits = None;
        while let Some(mark) = self.marks.front().copied() {
            match fate(mark.hold) {
                Fate::Leaves => {}
                Fate::Lost(text) => lost.push((mark.start, mark.end, text)),
                Fate::Waits => {
                    waits = Some(mark.hold);
                    break;
                }
            }
            self.marks.pop_front();
        }
        if !lost.is_empty() {
            self.replace(&lost);
        }
        waits
    }

    /// Puts errors in the place of these replies (start, end, text). Each block is written anew once, however many it
    /// holds.
    #[cold]
    fn replace(&mut self, lost: &[(u64, u64, &'static str)]) {
        let before = self.closed_bytes + self.out.len();
        let mut lost = lost.iter().peekable();
        let mut start = self.base;
        for block in self.closed.iter_mut().chain([self.out.buf_mut()]) {
            let end = start + block.len() as u64;
            if lost.peek().is_some_and(|(at, ..)| *at < end) {
                let mut written = ReplyBuf::new(Protocol::default());
                let mut copied = 0;
                while let Some((from, to, text)) = lost.next_if(|(at, ..)| *at < end) {
                    block.append_to(copied..(from - start) as usize, written.buf_mut());
                    written.error(text);
                    copied = (to - start) as usize;
                }
                block.append_to(copied..block.len(), written.buf_mut());
                *block = std::mem::take(written.buf_mut());
            }
            start = end;
        }
        self.closed_bytes = self.closed.iter().map(SharedBuf::len).sum();
        self.closed_capacity = self.closed.iter().map(SharedBuf::capacity).sum();
        let after = self.closed_bytes + self.out.len();
        for later in &mut self.marks {
            later.start = later.start + after as u64 - before as u64;
            later.end = later.end + after as u64 - before as u64;
        }
    }

    /// What may leave now of the oldest block, in one piece; call [`Replies::release`] before.
    pub fn sendable(&self) -> &[u8] {
        let block = self.closed.front().unwrap_or(self.out.buf());
        let end = self.sendable_end().min(self.base + block.len() as u64);
        let piece = block.piece_at(self.sent);
        &piece[..piece.len().min((end - self.base) as usize - self.sent)]
    }

    /// How much may leave now, bytes.
    pub fn sendable_bytes(&self) -> usize {
        (self.sendable_end() - self.base) as usize - self.sent
    }

    fn sendable_end(&self) -> u64 {
        let end = self.base + (self.closed_bytes + self.out.len()) as u64;
        self.marks.front().map_or(end, |mark| mark.start)
    }

    /// Notes that `len` bytes of [`Replies::sendable`] have left.
    pub fn sent(&mut self, len: usize) {
        self.sent += len;
        if let Some(block) = self.closed.front() {
            if self.sent == block.len() {
                self.base += self.sent as u64;
                self.closed_bytes -= self.sent;
                self.closed_capacity -= block.capacity();
                self.sent = 0;
                self.closed.pop_front();
            }
        } else if self.sent == self.out.len() {
            self.marks.shrink_to(EMPTY_MARKS_KEPT);
            self.out.buf_mut().clear();
            self.out.buf_mut().own().shrink_to(EMPTY_BYTES_KEPT);
            self.base += self.sent as u64;
            self.sent = 0;
        } else if self.sent > SENT_BYTES_KEPT && self.sent > self.out.len() / 2 && !self.out.buf().has_shared() {
            self.out.buf_mut().own().drain(..self.sent);
            self.base += self.sent as u64;
            self.sent = 0;
        }
    }

    /// What they take, bytes.
    pub fn heap_bytes(&self) -> usize {
        self.out.buf().capacity() + self.closed_capacity + self.marks.capacity() * size_of::<Mark<H>>()
    }

    /// Bytes that have not left, held ones included.
    pub fn unsent(&self) -> usize {
        self.closed_bytes + self.out.len() - self.sent
    }
}

#[cfg(test)]
mod tests;
