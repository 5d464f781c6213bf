//! A long string, which others may read while a key holds it.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// The bytes of a long string: owned by one key, or shared with their readers: effects that are being written to the
/// log, replies, and a key that they were copied to. Shared bytes are never changed: a writer copies them first.
///
/// So a value is copied once, when it arrives, and not once more for every reader. First touching a page of memory
/// costs a hundred times as much as touching it again on machines whose hypervisor provides memory on demand.
#[derive(Debug, Clone)]
pub struct Text(Body);

/// A number in an undo record, bytes.
const NUMBER: usize = size_of::<u64>();

#[derive(Debug, Clone)]
enum Body {
    Own(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

impl Text {
    /// Bytes without other readers.
    #[must_use]
    pub fn own(bytes: Vec<u8>) -> Text {
        Text(Body::Own(bytes))
    }

    /// Bytes that others may read too.
    #[must_use]
    pub fn shared(bytes: Arc<Vec<u8>>) -> Text {
        Text(Body::Shared(bytes))
    }

    /// The capacity, bytes. The reference count of shared bytes is too small to count.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.0 {
            Body::Own(bytes) => bytes.capacity(),
            Body::Shared(bytes) => bytes.capacity(),
        }
    }

    /// The bytes, to change them: those of a copy, if others read them.
    pub fn to_mut(&mut self) -> &mut Vec<u8> {
        match &mut self.0 {
            Body::Own(bytes) => bytes,
            Body::Shared(bytes) => Arc::make_mut(bytes),
        }
    }

    /// Restores the text from the record that [`Text::write_undo`] wrote.
    pub(super) fn undo(&mut self, record: &[u8]) {
        let Some((overwritten, numbers)) = record.split_at_checked(record.len().saturating_sub(3 * NUMBER)) else {
            return;
        };
        let number = |at: usize| {
            let bytes = numbers[at * NUMBER..][..NUMBER].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes) as usize
        };
        let [from, len, capacity] = [0, 1, 2].map(number);
        let text = self.to_mut();
        text[from..from + overwritten.len()].copy_from_slice(overwritten);
        text.truncate(len);
        text.shrink_to(capacity);
    }

    /// Writes the record that [`Text::undo`] reads after the bytes in `range` have been overwritten and the text has
    /// grown: these bytes, their offset, the length and the capacity.
    pub(crate) fn write_undo(&self, range: Range<usize>, record: &mut Vec<u8>) {
        let (from, to) = (range.start.min(self.len()), range.end.min(self.len()));
        record.extend_from_slice(&self[from..to]);
        for number in [from, self.len(), self.capacity()] {
            record.extend_from_slice(&(number as u64).to_le_bytes());
        }
    }

    /// The shared bytes; `None` if one key owns them, as it does those of a text that has grown step by step.
    #[must_use]
    pub fn share(&self) -> Option<&Arc<Vec<u8>>> {
        match &self.0 {
            Body::Own(_) => None,
            Body::Shared(bytes) => Some(bytes),
        }
    }

    /// The bytes, unless others read them.
    #[must_use]
    pub fn into_inner(self) -> Option<Vec<u8>> {
        match self.0 {
            Body::Own(bytes) => Some(bytes),
            Body::Shared(bytes) => Arc::into_inner(bytes),
        }
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Body::Own(bytes) => bytes,
            Body::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_texts_do_not_change() {
        let bytes = Arc::new(b"abc".to_vec());
        let mut text = Text::shared(Arc::clone(&bytes));
        text.to_mut().push(b'd');
        assert_eq!((&bytes[..], &*text), (&b"abc"[..], &b"abcd"[..]));
        // Its own from here on.
        let address = text.as_ptr();
        text.to_mut()[0] = b'x';
        assert_eq!((text.as_ptr(), &*text), (address, &b"xbcd"[..]));
    }

    #[test]
    fn unshared_texts_are_not_copied() {
        let bytes = Arc::new(vec![7; 100]);
        let address = bytes.as_ptr();
        let mut text = Text::shared(bytes);
        assert_eq!(text.to_mut().as_ptr(), address);
        assert_eq!(text.into_inner().map(|bytes| bytes.as_ptr()), Some(address));
    }

    #[test]
    fn the_last_reader_frees_it() {
        let bytes = Arc::new(vec![7; 100]);
        assert_eq!(Text::shared(Arc::clone(&bytes)).into_inner(), None);
        assert_eq!(Text::shared(bytes).into_inner(), Some(vec![7; 100]));
    }
}
