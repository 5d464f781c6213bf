//! Reading of lists in both of their forms: in the key's entry, and as nodes outside of it ([`NodeList`]).

use super::node::ListNode;
use super::node_list::NodeList;
use super::packed::NUMBER;
use crate::codec::listpack::{self, Packable};
use crate::keyspace::ValueRef;
use fastness_resp::{ReplyBuf, number};

#[derive(Debug, Clone, Copy)]
enum ListForm<'a> {
    Packed(&'a [u8]),
    Nodes(&'a NodeList),
}

/// A list, for reading.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    form: ListForm<'a>,
    len: usize,
}

/// A text to be compared with elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedElement<'a> {
    text: &'a [u8],
    number: Option<i64>,
}

impl<'a> WantedElement<'a> {
    pub(super) fn new(text: &'a [u8]) -> WantedElement<'a> {
        WantedElement { text, number: number::parse_int(text) }
    }

    pub(super) fn is(self, element: Packable<'_>) -> bool {
        match element {
            Packable::Int(number) => self.number == Some(number),
            Packable::Text(text) => self.text == text,
        }
    }
}

/// Replies with an element.
pub(super) fn reply_element(element: Packable<'_>, reply: &mut ReplyBuf) {
    reply.bulk(element.text(&mut itoa::Buffer::new()));
}

impl<'a> List<'a> {
    /// The list; `None` for other types.
    #[must_use]
    pub fn of(value: ValueRef<'a>) -> Option<List<'a>> {
        match value {
            ValueRef::Packed(packed) if packed.of == NUMBER => {
                let len = listpack::elements(packed.bytes).count();
                Some(List { form: ListForm::Packed(packed.bytes), len })
            }
            ValueRef::Object(object) => {
                let list: &NodeList = object.downcast_ref()?;
                Some(List { form: ListForm::Nodes(list), len: list.len() })
            }
            ValueRef::Packed(_) | ValueRef::Text(_) | ValueRef::Int(_) | ValueRef::Long(_) => None,
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Memory of the list, bytes: about the length of a reply with all elements.
    #[must_use]
    pub fn heap_bytes(self) -> usize {
        match self.form {
            ListForm::Packed(bytes) => bytes.len(),
            ListForm::Nodes(list) => list.nodes.bytes(),
        }
    }

    /// The nodes, if it has any.
    pub(super) fn nodes(self) -> Option<&'a NodeList> {
        match self.form {
            ListForm::Packed(_) => None,
            ListForm::Nodes(list) => Some(list),
        }
    }

    /// Of a list that is not packed: how many nodes it has, and the bytes of all of them as listpacks.
    pub(crate) fn quicklist(self) -> Option<(usize, usize)> {
        let list = self.nodes().filter(|list| !list.is_packed)?;
        Some((list.nodes.count(), list.nodes.iter().map(ListNode::listpack_bytes).sum()))
    }

    /// The elements in their packed form, if it is in its entry.
    pub(super) fn packed(self) -> Option<&'a [u8]> {
        match self.form {
            ListForm::Packed(bytes) => Some(bytes),
            ListForm::Nodes(_) => None,
        }
    }

    /// The place that a position means which may count from the tail (-1: the last element), if it exists.
    pub(super) fn index(self, position: i64) -> Option<usize> {
        let index = if position < 0 { position.checked_add(i64::try_from(self.len).ok()?)? } else { position };
        usize::try_from(index).ok().filter(|index| *index < self.len)
    }

    /// The first element and the one after the last of a range, as commands name it: negative positions count from the
    /// tail, and what is outside of the list is left out. `None`: the range has no element.
    pub(super) fn range(self, start: i64, end: i64) -> Option<(usize, usize)> {
        let len = i64::try_from(self.len).unwrap_or(i64::MAX);
        let from_tail = |position: i64| if position < 0 { position.saturating_add(len) } else { position };
        let (start, end) = (from_tail(start).max(0), from_tail(end).min(len - 1));
        (start <= end).then(|| (start as usize, end as usize + 1))
    }

    /// An element.
    pub(super) fn get(self, index: usize) -> Option<Packable<'a>> {
        match self.form {
            ListForm::Packed(_) if index > self.len / 2 => self.iter_back(index).next(),
            ListForm::Packed(bytes) => listpack::elements(bytes).nth(index),
            ListForm::Nodes(list) => {
                let (place, offset) = list.nodes.find(index)?;
                list.nodes.node(place).get(offset)
            }
        }
    }

    /// The elements from one on.
    pub(crate) fn iter_from(self, index: usize) -> Box<dyn Iterator<Item = Packable<'a>> + 'a> {
        match self.form {
            ListForm::Packed(bytes) => Box::new(listpack::elements(bytes).skip(index)),
            ListForm::Nodes(list) => match list.nodes.find(index) {
                Some((place, offset)) => {
                    Box::new(list.nodes.iter_from(place).flat_map(|node| node.iter()).skip(offset))
                }
                None => Box::new(std::iter::empty()),
            },
        }
    }

    /// The elements up to and including one, last first.
    pub(crate) fn iter_back(self, index: usize) -> Box<dyn Iterator<Item = Packable<'a>> + 'a> {
        match self.form {
            ListForm::Packed(bytes) => {
                Box::new(listpack::elements_back(bytes).skip(self.len.saturating_sub(index + 1)))
            }
            ListForm::Nodes(list) => match list.nodes.find(index) {
                Some((place, offset)) => {
                    let after = list.nodes.node(place).len() - 1 - offset;
                    Box::new(list.nodes.iter_back_from(place).flat_map(|node| node.iter_back()).skip(after))
                }
                None => Box::new(std::iter::empty()),
            },
        }
    }

    /// The text of every element, in order.
    pub fn texts(self) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.iter_from(0).map(Packable::to_vec)
    }
}
