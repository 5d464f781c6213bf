//! A byte buffer that grows at its end and shares long pieces with their other owners.

use std::ops::Range;
use std::sync::Arc;

/// A sequence of bytes: effects on their way into the log, or replies on their way to a client. Long values in it are
/// shared with the keys that hold them, instead of copied; all other bytes are owned.
#[derive(Debug, Default, Clone)]
pub struct SharedBuf {
    /// All bytes except the shared texts.
    own: Vec<u8>,
    /// The shared texts, in order.
    shared: Vec<Shared>,
    shared_bytes: usize,
}

/// A shared text, positioned before the byte `at` of the owned bytes.
#[derive(Debug, Clone)]
struct Shared {
    at: usize,
    text: Arc<Vec<u8>>,
}

/// A position between two appended pieces.
#[derive(Debug, Default, Clone, Copy)]
pub struct Mark {
    own: usize,
    shared: usize,
}

impl From<Vec<u8>> for SharedBuf {
    fn from(own: Vec<u8>) -> SharedBuf {
        SharedBuf { own, ..SharedBuf::default() }
    }
}

impl From<&[u8]> for SharedBuf {
    fn from(own: &[u8]) -> SharedBuf {
        own.to_vec().into()
    }
}

impl SharedBuf {
    /// Length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len() + self.shared_bytes
    }

    /// Whether the buffer is empty.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in order, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.shared.iter().map(|shared| (shared.at, &shared.text[..]));
        let mut from = 0;
        ends.chain([(self.own.len(), &[][..])]).flat_map(move |(to, text)| {
            let own = &self.own[from..to];
            from = to;
            [own, text]
        })
    }

    /// Copies a part of the bytes to the end of `out`.
    pub fn copy(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let mut at = 0;
        for piece in self.pieces() {
            copy_part(piece, at, &range, out);
            at += piece.len();
            if at >= range.end {
                return;
            }
        }
    }

    /// A contiguous copy of all bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.copy(0..self.len(), &mut out);
        out
    }

    /// Capacity in bytes, including everything that is shared.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.own.capacity() + self.shared_bytes
    }

    /// Whether the buffer has shared texts.
    #[inline]
    #[must_use]
    pub fn has_shared(&self) -> bool {
        !self.shared.is_empty()
    }

    /// The bytes from `at` to the end of the piece that contains them.
    #[inline]
    #[must_use]
    pub fn piece_at(&self, at: usize) -> &[u8] {
        if self.shared.is_empty() {
            return &self.own[at..];
        }
        let mut start = 0;
        for piece in self.pieces() {
            if at < start + piece.len() {
                return &piece[at - start..];
            }
            start += piece.len();
        }
        &[]
    }

    /// Appends a part of the bytes to another buffer. Shared texts that are completely within the part are shared with
    /// it.
    pub fn append_to(&self, range: Range<usize>, out: &mut SharedBuf) {
        let (mut at, mut from) = (0, 0);
        for Shared { at: to, text } in &self.shared {
            copy_part(&self.own[from..*to], at, &range, &mut out.own);
            at += to - from;
            from = *to;
            if range.start <= at && at + text.len() <= range.end {
                out.push_shared(text);
            } else {
                copy_part(text, at, &range, &mut out.own);
            }
            at += text.len();
        }
        copy_part(&self.own[from..], at, &range, &mut out.own);
    }

    /// Inserts the bytes that `write` appends before position `at` of the owned bytes (shared texts do not count).
    pub fn insert_own(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.own.len();
        write(&mut self.own);
        let inserted = self.own.len() - before;
        self.own[at..].rotate_right(inserted);
        self.shared.iter_mut().rev().take_while(|shared| shared.at >= at).for_each(|shared| shared.at += inserted);
    }

    /// Truncates the buffer to `len` bytes; the new end must not be within a shared text.
    #[inline]
    pub fn truncate_to(&mut self, len: usize) {
        while let Some(last) = self.shared.last()
            && len < last.at + self.shared_bytes
        {
            debug_assert!(len <= last.at + self.shared_bytes - last.text.len(), "a shared text is dropped as a whole");
            self.shared_bytes -= last.text.len();
            self.shared.pop();
        }
        self.own.truncate(len - self.shared_bytes);
    }

    /// The owned bytes.
    #[inline]
    #[must_use]
    pub fn own_len(&self) -> usize {
        self.own.len()
    }

    /// The vector to which owned bytes are appended.
    #[inline]
    pub fn own(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// Appends a shared text.
    pub fn push_shared(&mut self, text: &Arc<Vec<u8>>) {
        self.shared_bytes += text.len();
        self.shared.push(Shared { at: self.own.len(), text: Arc::clone(text) });
    }

    /// The position at the end.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { own: self.own.len(), shared: self.shared.len() }
    }

    /// Removes everything, and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.truncate(Mark::default());
    }

    /// Removes everything after a mark.
    #[inline]
    pub fn truncate(&mut self, mark: Mark) {
        self.own.truncate(mark.own);
        if self.shared.len() > mark.shared {
            self.shared_bytes -= self.shared.drain(mark.shared..).map(|shared| shared.text.len()).sum::<usize>();
        }
    }

    /// Moves everything after a mark into a new buffer.
    pub fn split_off(&mut self, mark: Mark) -> SharedBuf {
        let mut shared = self.shared.split_off(mark.shared);
        shared.iter_mut().for_each(|shared| shared.at -= mark.own);
        let shared_bytes = shared.iter().map(|shared| shared.text.len()).sum::<usize>();
        self.shared_bytes -= shared_bytes;
        SharedBuf { own: self.own.split_off(mark.own), shared, shared_bytes }
    }
}

/// Appends the part of a piece, which starts at `at`, that is within the range.
fn copy_part(piece: &[u8], at: usize, range: &Range<usize>, out: &mut Vec<u8>) {
    let (from, to) = (range.start.max(at), range.end.min(at + piece.len()));
    if from < to {
        out.extend_from_slice(&piece[from - at..to - at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some pieces, each with whether it is shared.
    fn pieces() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
        let piece = (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..6));
        proptest::collection::vec(piece, 0..8)
    }

    fn push(buf: &mut SharedBuf, pieces: &[(bool, Vec<u8>)]) {
        for (shared, bytes) in pieces {
            if *shared {
                buf.push_shared(&Arc::new(bytes.clone()));
            } else {
                buf.own().extend_from_slice(bytes);
            }
        }
    }

    fn joined(pieces: &[(bool, Vec<u8>)]) -> Vec<u8> {
        pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    proptest! {
        #[test]
        fn it_equals_the_concatenation_of_its_pieces(first in pieces(), second in pieces(), from in 0..60usize, len in 0..60usize) {
            let (mut buf, one, two) = (SharedBuf::default(), joined(&first), joined(&second));
            push(&mut buf, &first);
            let mark = buf.mark();
            push(&mut buf, &second);
            let whole = [&one[..], &two].concat();
            prop_assert_eq!(buf.len(), whole.len());
            prop_assert_eq!(buf.to_vec(), &whole[..]);
            let (mut part, from) = (vec![1], from.min(whole.len()));
            let to = (from + len).min(whole.len());
            buf.copy(from..to, &mut part);
            prop_assert_eq!(&part[1..], &whole[from..to]);
            let (mut appended, mut pieces) = (SharedBuf::default(), Vec::new());
            push(&mut appended, &[(true, b"before".to_vec())]);
            buf.append_to(from..to, &mut appended);
            prop_assert_eq!(appended.len(), 6 + to - from);
            prop_assert_eq!(&appended.to_vec()[6..], &whole[from..to]);
            let mut at = 0;
            while at < buf.len() {
                pieces.extend_from_slice(buf.piece_at(at));
                at = pieces.len();
            }
            prop_assert_eq!((&pieces, buf.piece_at(at)), (&whole, &[][..]));
            let mut inserted = SharedBuf::default();
            push(&mut inserted, &first);
            inserted.own().push(b'$');
            let place = inserted.own_len();
            push(&mut inserted, &second);
            inserted.insert_own(place, |own| own.extend_from_slice(b"head"));
            prop_assert_eq!(inserted.to_vec(), [&one[..], b"$head", &two].concat());
            let mut shorter = buf.clone();
            shorter.truncate_to(one.len());
            prop_assert_eq!((shorter.len(), shorter.to_vec()), (one.len(), one.clone()));
            let mut shorter = buf.clone();
            shorter.truncate(mark);
            prop_assert_eq!((shorter.len(), shorter.to_vec()), (one.len(), one.clone()));
            let rest = buf.split_off(mark);
            prop_assert_eq!((buf.len(), buf.to_vec()), (one.len(), one));
            prop_assert_eq!((rest.len(), rest.to_vec()), (two.len(), two));
            buf.clear();
            prop_assert!(buf.is_empty() && buf.to_vec().is_empty());
        }
    }
}
