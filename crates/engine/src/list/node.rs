//! A node of a large list: elements one after the other, in the form of a listpack without its frame
//! (`crate::codec::listpack`). An element that is longer than a node may be has a node of its own, which is the plain
//! text.
//!
//! # Invariants
//! - A node in a list has an element. A plain node has one.
//! - `len` is the number of elements in `bytes`, and the capacity of `bytes` is its length's size class, as far as the
//!   allocator allows, so that memory follows from the contents.

use super::limit::NodeLimit;
use crate::codec::listpack::{self, FRAME_BYTES, Packable};
use crate::keyspace::memory::size_class;
use std::ops::Range;

/// What a node takes beside its bytes: itself with the counts of its owners, and a pointer to it.
const NODE_BYTES: usize = size_class(2 * size_of::<usize>() + size_of::<ListNode>()) + 2 * size_of::<usize>();

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListNode {
    bytes: Vec<u8>,
    len: usize,
    is_plain: bool,
}

impl ListNode {
    /// A node of elements in their packed form.
    pub(super) fn packed(bytes: Vec<u8>, len: usize) -> ListNode {
        let mut node = ListNode { bytes, len, is_plain: false };
        node.fit();
        node
    }

    /// A node of one element, which may be too long for others.
    pub(super) fn plain(text: &[u8]) -> ListNode {
        ListNode { bytes: text.to_vec(), len: 1, is_plain: true }
    }

    /// A node of one element, plain if the element is large.
    pub(super) fn of_text(text: &[u8], limit: NodeLimit) -> ListNode {
        if limit.is_large(text.len()) {
            return ListNode::plain(text);
        }
        let mut node = ListNode::default();
        node.insert(0, text);
        node
    }

    /// The elements, packed; or the text of the one element.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Bytes of the elements as a listpack.
    pub(super) fn listpack_bytes(&self) -> usize {
        self.bytes.len() + if self.is_plain { 0 } else { FRAME_BYTES }
    }

    /// Memory, bytes.
    pub(super) fn cost(&self) -> usize {
        NODE_BYTES + size_class(self.bytes.len())
    }

    /// Whether a text of so many bytes may be added.
    pub(super) fn admits(&self, text: usize, limit: NodeLimit) -> bool {
        !self.is_plain && !limit.is_large(text) && !limit.is_exceeded_with(self.listpack_bytes(), self.len, text)
    }

    /// Whether both may become one.
    pub(super) fn may_merge(&self, other: &ListNode, limit: NodeLimit) -> bool {
        let bytes = self.listpack_bytes() + other.bytes.len();
        !self.is_plain && !other.is_plain && !limit.is_exceeded(bytes, self.len + other.len)
    }

    /// Makes the capacity follow from the length.
    fn fit(&mut self) {
        let wanted = size_class(self.bytes.len());
        if self.bytes.capacity() > wanted {
            self.bytes.shrink_to(wanted);
        }
    }

    /// Replaces bytes.
    fn splice(&mut self, range: Range<usize>, new: &[u8]) {
        let len = self.bytes.len() - range.len() + new.len();
        if len > self.bytes.capacity() {
            self.bytes.reserve_exact(size_class(len) - self.bytes.len());
        }
        if range.len() == new.len() {
            self.bytes[range].copy_from_slice(new);
        } else if range.start == self.bytes.len() {
            self.bytes.extend_from_slice(new);
        } else {
            self.bytes.splice(range, new.iter().copied());
        }
        self.fit();
    }

    /// The offset of an element, or of the end.
    fn offset(&self, nth: usize) -> usize {
        if nth >= self.len {
            return self.bytes.len();
        }
        if nth < self.len / 2 {
            let mut at = 0;
            for _ in 0..nth {
                at += listpack::first(&self.bytes[at..]).map_or(0, |(_, len)| len);
            }
            return at;
        }
        let mut end = self.bytes.len();
        for _ in nth..self.len {
            end -= listpack::last(&self.bytes[..end]).map_or(0, |(_, len)| len);
        }
        end
    }

    /// The bytes of some elements.
    fn range(&self, from: usize, to: usize) -> Range<usize> {
        if self.is_plain {
            return if from < to { 0..self.bytes.len() } else { 0..0 };
        }
        let start = self.offset(from);
        let end = match to - from {
            1 => start + listpack::first(&self.bytes[start..]).map_or(0, |(_, len)| len),
            _ => self.offset(to),
        };
        start..end
    }

    /// The packed bytes of the elements `from..to`.
    pub(super) fn slice(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[self.range(from, to)]
    }

    /// An element.
    pub(super) fn get(&self, nth: usize) -> Option<Packable<'_>> {
        if nth >= self.len {
            None
        } else if self.is_plain {
            Some(Packable::Text(&self.bytes))
        } else {
            listpack::first(&self.bytes[self.offset(nth)..]).map(|(element, _)| element)
        }
    }

    /// Adds an element before the `nth`, or at the end. The node is not plain.
    pub(super) fn insert(&mut self, nth: usize, text: &[u8]) {
        let mut element = Vec::new();
        listpack::push(text, &mut element);
        self.insert_packed(nth, &element, 1);
    }

    /// Adds packed elements before the `nth`, or at the end. The node is not plain.
    pub(super) fn insert_packed(&mut self, nth: usize, elements: &[u8], count: usize) {
        let at = self.offset(nth);
        self.splice(at..at, elements);
        self.len += count;
    }

    /// Removes the elements `from..to`.
    pub(super) fn remove(&mut self, from: usize, to: usize) {
        let range = self.range(from, to);
        self.splice(range, &[]);
        self.len -= to - from;
    }

    /// Removes the elements at these positions, which rise; not all elements. The node is not plain.
    pub(super) fn remove_all(&mut self, positions: impl Iterator<Item = usize>) {
        let mut kept = Vec::with_capacity(self.bytes.len());
        let mut positions = positions.peekable();
        let (mut rest, mut nth, mut len) = (&self.bytes[..], 0, 0);
        while let Some((_, bytes)) = listpack::first(rest) {
            if positions.next_if_eq(&nth).is_none() {
                kept.extend_from_slice(&rest[..bytes]);
                len += 1;
            }
            rest = &rest[bytes..];
            nth += 1;
        }
        (self.bytes, self.len) = (kept, len);
        self.fit();
    }

    /// Every element.
    pub(super) fn iter(&self) -> impl Iterator<Item = Packable<'_>> {
        let (plain, packed) = if self.is_plain { (Some(&self.bytes[..]), &[][..]) } else { (None, &self.bytes[..]) };
        plain.map(Packable::Text).into_iter().chain(listpack::elements(packed))
    }

    /// Every element, last first.
    pub(super) fn iter_back(&self) -> impl Iterator<Item = Packable<'_>> {
        let (plain, packed) = if self.is_plain { (Some(&self.bytes[..]), &[][..]) } else { (None, &self.bytes[..]) };
        plain.map(Packable::Text).into_iter().chain(listpack::elements_back(packed))
    }

    /// Replaces an element; a plain node stays plain.
    pub(super) fn replace(&mut self, nth: usize, text: &[u8]) {
        if self.is_plain {
            return self.splice(0..self.bytes.len(), text);
        }
        let mut element = Vec::new();
        listpack::push(text, &mut element);
        self.replace_packed(nth, &element);
    }

    /// Replaces an element by one in its packed form. The node is not plain.
    pub(super) fn replace_packed(&mut self, nth: usize, element: &[u8]) {
        let range = self.range(nth, nth + 1);
        self.splice(range, element);
    }

    /// Keeps the first `nth` elements and returns the others.
    pub(super) fn split_off(&mut self, nth: usize) -> ListNode {
        let (at, len) = (self.offset(nth), self.len);
        let rest = ListNode::packed(self.bytes[at..].to_vec(), len - nth);
        self.remove(nth, len);
        rest
    }

    /// Adds the elements of another node, which is not plain either.
    pub(super) fn append(&mut self, other: &ListNode) {
        self.insert_packed(self.len, &other.bytes, other.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(texts: &[&str]) -> ListNode {
        let mut node = ListNode::default();
        texts.iter().for_each(|text| node.insert(node.len(), text.as_bytes()));
        node
    }

    #[test]
    fn elements_are_added_replaced_and_removed_anywhere() {
        let mut five = node(&["a", "17", "ccc", "-5000", ""]);
        let texts: Vec<Vec<u8>> = (0..5).map(|nth| five.get(nth).unwrap().to_vec()).collect();
        assert_eq!(texts, [&b"a"[..], b"17", b"ccc", b"-5000", b""]);
        assert_eq!(five.get(5), None);
        five.insert(2, b"new");
        five.replace(0, b"123456");
        assert_eq!(five, node(&["123456", "17", "new", "ccc", "-5000", ""]));
        five.remove(1, 3);
        assert_eq!(five, node(&["123456", "ccc", "-5000", ""]));
        let rest = five.split_off(1);
        assert_eq!((&five, &rest), (&node(&["123456"]), &node(&["ccc", "-5000", ""])));
        five.append(&rest);
        assert_eq!(five, node(&["123456", "ccc", "-5000", ""]));
        assert_eq!(five.slice(1, 3), node(&["ccc", "-5000"]).bytes());
        five.remove(0, 4);
        assert_eq!(five, ListNode::default());
    }

    #[test]
    fn a_large_element_is_alone() {
        let text = "x".repeat(8_193);
        let limit = NodeLimit::default();
        let mut node = ListNode::of_text(text.as_bytes(), limit);
        assert!(node.is_plain() && !node.admits(1, limit) && !node.may_merge(&ListNode::of_text(b"a", limit), limit));
        node.replace(0, b"short");
        assert_eq!((node.get(0), node.len()), (Some(Packable::Text(b"short")), 1));
        assert!(!ListNode::of_text(&text.as_bytes()[1..], limit).is_plain());
    }

    #[test]
    fn memory_follows_from_the_length() {
        let mut node = ListNode::default();
        for n in 0..900 {
            node.insert(n / 2, b"element");
            assert!(node.bytes.capacity() >= node.bytes.len() && node.bytes.capacity() <= size_class(node.bytes.len()));
        }
        while node.len() > 0 {
            node.remove(node.len() / 3, node.len() / 3 + 1);
            assert!(node.bytes.capacity() <= size_class(node.bytes.len()));
        }
    }
}
