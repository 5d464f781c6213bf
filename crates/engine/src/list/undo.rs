//! Undo records of lists that are changed in place.
//!
//! A change at an end, or of one element within its node, leaves a few bytes ([`write_record`]), which say how to
//! reverse it. Any other change leaves the nodes that it has replaced ([`Replaced`]), as an entry of the undo log with
//! a list of these nodes as its value; the nodes are moved or shared, not copied, and are freed in slices when the
//! change has committed. Both restore the division into nodes exactly, because it decides later when the list is packed
//! again.
//!
//! A record is a byte that says what was done, a byte of flags, and then:
//!
//! | done | follows |
//! |---|---|
//! | pushed | varint: number of elements |
//! | popped | varint: number of elements; their bytes in the node |
//! | set | varint: position; the old element in its packed form |
//! | inserted | varint: position of the new element |
//! | rotated | – |
//! | node added | – |

use super::change::{ListChange, ListEnd};
use super::limit::NodeLimit;
use super::node::ListNode;
use super::node_list::{NodeList, Replaced};
use crate::codec::varint;
use crate::keyspace::{Entry, NewValue, Object};

const PUSHED: u8 = 0;
const POPPED: u8 = 1;
const SET: u8 = 2;
const INSERTED: u8 = 3;
const ROTATED: u8 = 4;
const NODE_ADDED: u8 = 5;

/// The list was packed.
const WAS_PACKED: u8 = 1;
/// The change was at the tail; of a rotation: the element was there before.
const AT_TAIL: u8 = 1 << 1;
/// The elements were a whole node.
const WHOLE_NODE: u8 = 1 << 2;
/// That node was plain.
const WAS_PLAIN: u8 = 1 << 3;

/// Of a rotation: the element is at the tail now.
const TO_TAIL: u8 = 1 << 4;

/// Longest run of removed elements that is copied into a record, bytes.
const COPY_MAX: usize = 1_024;

fn end_flag(end: ListEnd) -> u8 {
    if end == ListEnd::Tail { AT_TAIL } else { 0 }
}

/// The end and the number of elements that are removed, if they are elements of one node and short.
fn popped(list: &NodeList, head: u64, tail: u64) -> Option<(ListEnd, usize)> {
    let (end, count) = match (head, tail) {
        (count, 0) => (ListEnd::Head, count),
        (0, count) => (ListEnd::Tail, count),
        _ => return None,
    };
    let node = list.nodes.node(list.end(end)?);
    let count = usize::try_from(count).ok().filter(|count| *count <= node.len())?;
    let bytes = if node.is_plain() { node.bytes() } else { slice(node, end, count) };
    (bytes.len() <= COPY_MAX).then_some((end, count))
}

fn slice(node: &ListNode, end: ListEnd, count: usize) -> &[u8] {
    match end {
        ListEnd::Head => node.slice(0, count),
        ListEnd::Tail => node.slice(node.len() - count, node.len()),
    }
}

/// Whether the change, made with this limit of nodes, is undone by a record of [`write_record`].
pub(super) fn leaves_record(list: &NodeList, change: &ListChange<'_>, limit: NodeLimit) -> bool {
    match *change {
        ListChange::Push { .. } | ListChange::Rotate { .. } | ListChange::AddNode { .. } => true,
        ListChange::Trim { head, tail } => popped(list, head, tail).is_some(),
        ListChange::Set { index, element } => list
            .nodes
            .find(index as usize)
            .is_none_or(|(place, _)| !list.nodes.node(place).is_plain() && !limit.is_large(element.len())),
        ListChange::Insert { pivot, element, .. } => list.nodes.find(pivot as usize).is_none_or(|(place, _)| {
            // A packed list that stays packed has room, too.
            list.nodes.node(place).admits(element.len(), limit)
        }),
        ListChange::Remove { .. } => false,
    }
}

/// Writes the record of a change that is about to be made.
pub(super) fn write_record(list: &NodeList, change: &ListChange<'_>, out: &mut Vec<u8>) {
    let packed = if list.is_packed { WAS_PACKED } else { 0 };
    match *change {
        ListChange::Push { end, elements } => {
            out.extend_from_slice(&[PUSHED, packed | end_flag(end)]);
            varint::write(out, elements.len() as u64);
        }
        ListChange::Trim { head, tail } => {
            let Some((end, count)) = popped(list, head, tail) else { return };
            let Some(node) = list.end(end).map(|place| list.nodes.node(place)) else { return };
            let whole = if count == node.len() { WHOLE_NODE } else { 0 };
            let plain = if node.is_plain() { WAS_PLAIN } else { 0 };
            out.extend_from_slice(&[POPPED, packed | end_flag(end) | whole | plain]);
            varint::write(out, count as u64);
            out.extend_from_slice(slice(node, end, count));
        }
        ListChange::Set { index, .. } => {
            let Some((place, offset)) = list.nodes.find(index as usize) else { return };
            out.extend_from_slice(&[SET, packed]);
            varint::write(out, index);
            out.extend_from_slice(list.nodes.node(place).slice(offset, offset + 1));
        }
        ListChange::Insert { pivot, after, .. } => {
            out.extend_from_slice(&[INSERTED, packed]);
            varint::write(out, pivot.saturating_add(u64::from(after)));
        }
        ListChange::Rotate { from, to } => {
            let Some(node) = list.end(from).map(|place| list.nodes.node(place)) else { return };
            let whole = if node.len() == 1 { WHOLE_NODE } else { 0 };
            let plain = if node.is_plain() { WAS_PLAIN } else { 0 };
            let to = if to == ListEnd::Tail { TO_TAIL } else { 0 };
            out.extend_from_slice(&[ROTATED, packed | end_flag(from) | to | whole | plain]);
        }
        ListChange::AddNode { .. } => out.extend_from_slice(&[NODE_ADDED, packed]),
        ListChange::Remove { .. } => debug_assert!(false, "{change:?} leaves nodes"),
    }
}

impl NodeList {
    /// Undoes a change from its record.
    pub(super) fn undo(&mut self, record: &[u8]) {
        // A change of an element that does not exist leaves no record.
        let [done, flags, rest @ ..] = record else { return };
        let end = if flags & AT_TAIL == 0 { ListEnd::Head } else { ListEnd::Tail };
        let mut rest = rest;
        match *done {
            PUSHED => {
                let count = varint::read(&mut rest).unwrap_or(0);
                self.trim(end, count as usize, false);
            }
            POPPED => {
                let count = varint::read(&mut rest).unwrap_or(0) as usize;
                self.put_back_at_end(end, *flags, rest, count);
            }
            SET => {
                let index = varint::read(&mut rest).unwrap_or(0);
                if let Some((place, offset)) = self.nodes.find(index as usize) {
                    self.nodes.change(place, |node| node.replace_packed(offset, rest));
                }
            }
            INSERTED => {
                let index = varint::read(&mut rest).unwrap_or(0);
                if let Some((place, offset)) = self.nodes.find(index as usize) {
                    self.nodes.change(place, |node| node.remove(offset, offset + 1));
                }
            }
            ROTATED if self.len() > 1 => {
                let to = if flags & TO_TAIL == 0 { ListEnd::Head } else { ListEnd::Tail };
                let text = self.pop(to).unwrap_or_default();
                let mut packed = text.clone();
                if flags & WAS_PLAIN == 0 {
                    packed.clear();
                    crate::codec::listpack::push(&text, &mut packed);
                }
                self.put_back_at_end(end, *flags, &packed, 1);
            }
            NODE_ADDED => _ = self.nodes.last().map(|last| self.nodes.remove(last)),
            _ => {}
        }
        self.is_packed = flags & WAS_PACKED != 0;
    }

    /// Puts `count` elements back at an end.
    fn put_back_at_end(&mut self, end: ListEnd, flags: u8, bytes: &[u8], count: usize) {
        match self.end(end) {
            Some(place) if flags & WHOLE_NODE == 0 => self.nodes.change(place, |node| {
                let nth = if end == ListEnd::Head { 0 } else { node.len() };
                node.insert_packed(nth, bytes, count);
            }),
            _ if flags & WAS_PLAIN == 0 => self.push_node(end, ListNode::packed(bytes.to_vec(), count)),
            _ => self.push_node(end, ListNode::plain(bytes)),
        }
    }
}

impl Replaced {
    /// The entry of the undo log.
    pub(super) fn into_entry(self) -> Entry {
        let mut name = vec![u8::from(self.was_packed)];
        varint::write(&mut name, self.at as u64);
        varint::write(&mut name, self.now as u64);
        Entry::new(&name, NewValue::of(self.into_object()), None, 0)
    }

    /// The replaced nodes, to be freed.
    pub(super) fn into_object(self) -> Object {
        Object::new(NodeList { nodes: self.nodes, is_packed: false, ..NodeList::default() })
    }

    /// Reads what [`Replaced::into_entry`] made.
    pub(super) fn of_entry(mut entry: Entry) -> Option<Replaced> {
        let (was_packed, mut rest) = entry.key().split_first()?;
        let was_packed = *was_packed != 0;
        let at = varint::read(&mut rest).ok()? as usize;
        let now = varint::read(&mut rest).ok()? as usize;
        let nodes = entry.object_mut()?.downcast_mut::<NodeList>().map(|list| std::mem::take(&mut list.nodes))?;
        Some(Replaced { at, now, was_packed, nodes })
    }
}
