//! Encoded effects, which share long texts with memory.

use std::ops::Range;
use std::sync::Arc;

/// The bytes of [effects](crate::effect) in order. Long texts among them are those that the keys hold, not copies of them
/// ([`crate::value::text::Text`]); everything else is its own.
#[derive(Debug, Default, Clone)]
pub struct Encoded {
    /// All but the shared texts.
    own: Vec<u8>,
    /// In order.
    shared: Vec<Shared>,
    shared_bytes: usize,
}

/// A text that stands before the byte `at` of those that are its own.
#[derive(Debug, Clone)]
struct Shared {
    at: usize,
    text: Arc<Vec<u8>>,
}

/// A place between two effects.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mark {
    own: usize,
    shared: usize,
}

impl From<Vec<u8>> for Encoded {
    fn from(own: Vec<u8>) -> Encoded {
        Encoded { own, ..Encoded::default() }
    }
}

impl From<&[u8]> for Encoded {
    fn from(own: &[u8]) -> Encoded {
        own.to_vec().into()
    }
}

impl Encoded {
    /// Length, bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len() + self.shared_bytes
    }

    /// Whether there is no effect.
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

    /// Appends a part of the bytes.
    pub fn copy(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let mut at = 0;
        for piece in self.pieces() {
            let (from, to) = (range.start.max(at), range.end.min(at + piece.len()));
            if from < to {
                out.extend_from_slice(&piece[from - at..to - at]);
            }
            at += piece.len();
            if at >= range.end {
                return;
            }
        }
    }

    /// All bytes in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.copy(0..self.len(), &mut out);
        out
    }

    /// Where bytes are appended.
    #[inline]
    pub(crate) fn own(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// Appends a text that is shared.
    pub(crate) fn push_shared(&mut self, text: &Arc<Vec<u8>>) {
        self.shared_bytes += text.len();
        self.shared.push(Shared { at: self.own.len(), text: Arc::clone(text) });
    }

    /// The end.
    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        Mark { own: self.own.len(), shared: self.shared.len() }
    }

    /// Drops everything; keeps the memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.truncate(Mark::default());
    }

    /// Drops what is behind a mark.
    #[inline]
    pub(crate) fn truncate(&mut self, mark: Mark) {
        self.own.truncate(mark.own);
        if self.shared.len() > mark.shared {
            self.shared_bytes -= self.shared.drain(mark.shared..).map(|shared| shared.text.len()).sum::<usize>();
        }
    }

    /// Moves what is behind a mark into one of its own.
    pub(crate) fn split_off(&mut self, mark: Mark) -> Encoded {
        let mut shared = self.shared.split_off(mark.shared);
        shared.iter_mut().for_each(|shared| shared.at -= mark.own);
        let shared_bytes = shared.iter().map(|shared| shared.text.len()).sum::<usize>();
        self.shared_bytes -= shared_bytes;
        Encoded { own: self.own.split_off(mark.own), shared, shared_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some pieces, and which of them are shared.
    fn pieces() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
        let piece = (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..6));
        proptest::collection::vec(piece, 0..8)
    }

    fn push(encoded: &mut Encoded, pieces: &[(bool, Vec<u8>)]) {
        for (shared, bytes) in pieces {
            if *shared {
                encoded.push_shared(&Arc::new(bytes.clone()));
            } else {
                encoded.own().extend_from_slice(bytes);
            }
        }
    }

    fn joined(pieces: &[(bool, Vec<u8>)]) -> Vec<u8> {
        pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    proptest! {
        #[test]
        fn it_is_what_its_pieces_are(first in pieces(), second in pieces(), from in 0..60usize, len in 0..60usize) {
            let (mut encoded, one, two) = (Encoded::default(), joined(&first), joined(&second));
            push(&mut encoded, &first);
            let mark = encoded.mark();
            push(&mut encoded, &second);
            let whole = [&one[..], &two].concat();
            prop_assert_eq!(encoded.len(), whole.len());
            prop_assert_eq!(encoded.to_vec(), &whole[..]);
            let (mut part, from) = (vec![1], from.min(whole.len()));
            let to = (from + len).min(whole.len());
            encoded.copy(from..to, &mut part);
            prop_assert_eq!(&part[1..], &whole[from..to]);
            let mut shorter = encoded.clone();
            shorter.truncate(mark);
            prop_assert_eq!((shorter.len(), shorter.to_vec()), (one.len(), one.clone()));
            let rest = encoded.split_off(mark);
            prop_assert_eq!((encoded.len(), encoded.to_vec()), (one.len(), one));
            prop_assert_eq!((rest.len(), rest.to_vec()), (two.len(), two));
            encoded.clear();
            prop_assert!(encoded.is_empty() && encoded.to_vec().is_empty());
        }
    }
}
