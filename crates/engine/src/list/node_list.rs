//! A large list, and how it changes.
//!
//! Nodes are filled, split and merged as those of Valkey's quicklist are, step by step, because OBJECT ENCODING shows
//! when a list that has shrunk consists of one small node: it is then packed again (`listpack`), until it exceeds the
//! limit of a node (`quicklist`).
//!
//! # Invariants
//! - A list that a key holds has an element.
//! - A packed list has one node, which is not plain. (An empty one, which no key holds, has none.)

use super::change::{ListChange, ListEnd, read_positions};
use super::limit::NodeLimit;
use super::node::ListNode;
use super::nodes::{NodePlace, NodeSequence};
use crate::codec::listpack::{FRAME_BYTES, Packable};
use crate::effect::Items;
use crate::keyspace::Object;
use fastness_resp::number;
use std::sync::Arc;

/// A list outside of its entry.
#[derive(Debug, Clone)]
pub struct NodeList {
    pub(super) nodes: NodeSequence,
    /// Whether OBJECT ENCODING reports `listpack`.
    pub(super) is_packed: bool,
    /// The limit of its nodes as of the last change: whoever changes the list sets it before.
    pub(super) limit: NodeLimit,
}

/// The limit of nodes is an option, not a part of the list.
impl PartialEq for NodeList {
    fn eq(&self, other: &NodeList) -> bool {
        self.nodes == other.nodes && self.is_packed == other.is_packed
    }
}

impl Default for NodeList {
    fn default() -> NodeList {
        NodeList { nodes: NodeSequence::default(), is_packed: true, limit: NodeLimit::default() }
    }
}

/// The nodes that a change has replaced.
#[derive(Debug)]
pub(super) struct Replaced {
    /// How many nodes are before the place.
    pub(super) at: usize,
    /// How many nodes are in the place now.
    pub(super) now: usize,
    /// Whether the list was packed.
    pub(super) was_packed: bool,
    /// The nodes that were in the place before.
    pub(super) nodes: NodeSequence,
}

impl NodeList {
    /// An empty list whose nodes have this limit.
    pub(super) fn limited(limit: NodeLimit) -> NodeList {
        NodeList { limit, ..NodeList::default() }
    }

    /// A packed list of these elements.
    pub(super) fn of_packed(elements: &[u8], count: usize) -> NodeList {
        let mut list = NodeList::default();
        if count > 0 {
            list.nodes.push_back(ListNode::packed(elements.to_vec(), count));
        }
        list
    }

    /// An empty list that [`NodeList::push_last`] fills as Valkey fills one whose length it does not know: it is never
    /// packed.
    pub(crate) fn unpacked(limit: NodeLimit) -> NodeList {
        NodeList { is_packed: false, ..NodeList::limited(limit) }
    }

    /// Adds an element at the tail of a list that is not packed.
    pub(crate) fn push_last(&mut self, text: &[u8]) {
        debug_assert!(!self.is_packed, "a packed list may be unpacked by another element");
        self.push_one(ListEnd::Tail, text);
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 0
    }

    /// The elements of a packed list in their packed form.
    pub(super) fn packed_bytes(&self) -> Option<&[u8]> {
        self.nodes.first().filter(|_| self.is_packed).map(|first| self.nodes.node(first).bytes())
    }

    /// The node at an end.
    pub(super) fn end(&self, end: ListEnd) -> Option<NodePlace> {
        match end {
            ListEnd::Head => self.nodes.first(),
            ListEnd::Tail => self.nodes.last(),
        }
    }

    /// Makes a change that does not leave the list empty.
    pub(super) fn apply(&mut self, change: &ListChange<'_>) {
        match *change {
            ListChange::Push { end, elements } => self.push(end, elements),
            ListChange::Trim { head, tail } => {
                self.trim(ListEnd::Tail, tail as usize, false);
                self.trim(ListEnd::Head, head as usize, false);
                self.note_smaller();
            }
            ListChange::Set { index, element } => self.set(index as usize, element),
            ListChange::Insert { pivot, after, element, .. } => self.insert(pivot as usize, after, element),
            ListChange::Remove { positions } => self.remove(&read_positions(positions).collect::<Vec<_>>()),
            ListChange::Rotate { from, to } => self.rotate(from, to),
            ListChange::AddNode { plain, elements } => self.add_node(plain, elements),
        }
    }

    /// As [`NodeList::apply`], and returns the nodes that the change has replaced, in the order of the replacements.
    pub(super) fn apply_keeping(&mut self, change: &ListChange<'_>) -> Vec<Replaced> {
        if let ListChange::Trim { head, tail } = *change {
            let was_packed = self.is_packed;
            let ends = [(ListEnd::Tail, tail as usize), (ListEnd::Head, head as usize)];
            let mut replaced: Vec<Replaced> =
                ends.map(|(end, count)| self.trim(end, count, true)).into_iter().flatten().collect();
            replaced.iter_mut().for_each(|one| one.was_packed = was_packed);
            self.note_smaller();
            return replaced;
        }
        let (from, to) = self.touched(change);
        let (nodes, was_packed) = (self.nodes.shared(from, to), self.is_packed);
        let before = self.nodes.count();
        self.apply(change);
        let now = (to - from + self.nodes.count()).saturating_sub(before);
        vec![Replaced { at: from, now, was_packed, nodes }]
    }

    /// As [`NodeList::apply`], and returns nodes that the change has removed as a whole, because they are many.
    pub(super) fn apply_freeing(&mut self, change: &ListChange<'_>) -> Vec<Arc<Object>> {
        let ListChange::Trim { head, tail } = *change else {
            self.apply(change);
            return Vec::new();
        };
        let ends = [(ListEnd::Tail, tail as usize), (ListEnd::Head, head as usize)];
        let removed = ends.map(|(end, count)| self.trim(end, count, false));
        self.note_smaller();
        removed.into_iter().flatten().map(|removed| Arc::new(removed.into_object())).collect()
    }

    /// Undoes a replacement.
    pub(super) fn put_back(&mut self, replaced: Replaced) {
        self.nodes.replace(replaced.at, replaced.at + replaced.now, replaced.nodes);
        self.is_packed = replaced.was_packed;
    }

    /// The nodes that a change may replace, split or merge.
    fn touched(&self, change: &ListChange<'_>) -> (usize, usize) {
        let of = |index: u64| self.nodes.find(index as usize).map(|(place, _)| self.nodes.ordinal(place));
        let around = |index: u64| of(index).map(|at| (at.saturating_sub(2), at + 3));
        let touched = match *change {
            ListChange::Set { index, .. } => around(index),
            ListChange::Insert { pivot, .. } => around(pivot),
            ListChange::Remove { positions } => {
                let first = read_positions(positions).next().unwrap_or(0);
                let last = read_positions(positions).take_while(|at| *at < self.len()).last().unwrap_or(first);
                of(first as u64).zip(of(last as u64)).map(|(first, last)| (first, last + 1))
            }
            _ => Some((0, self.nodes.count())),
        };
        touched.map_or((0, 0), |(from, to)| (from, to.min(self.nodes.count())))
    }

    /// Whether a packed list stays packed when `count` texts of `bytes` bytes are added.
    fn stays_packed(&self, bytes: usize, count: usize) -> bool {
        let held = self.packed_bytes().map_or(0, <[u8]>::len);
        self.is_packed && !self.limit.is_exceeded(FRAME_BYTES + held + bytes, self.len() + count)
    }

    /// Packs a list that has shrunk to one small node.
    fn note_smaller(&mut self) {
        if self.is_packed || self.nodes.count() != 1 {
            return;
        }
        self.is_packed = self
            .nodes
            .iter()
            .next()
            .is_some_and(|node| !node.is_plain() && self.limit.is_small(node.listpack_bytes(), node.len()));
    }

    fn push(&mut self, end: ListEnd, elements: Items<'_>) {
        if self.is_packed {
            let bytes = elements.iter().map(<[u8]>::len).sum();
            self.is_packed = self.stays_packed(bytes, elements.len());
        }
        elements.iter().for_each(|text| self.push_one(end, text));
    }

    fn push_one(&mut self, end: ListEnd, text: &[u8]) {
        match self.end(end) {
            Some(at) if self.is_packed || self.nodes.node(at).admits(text.len(), self.limit) => {
                self.nodes.change(at, |node| {
                    let nth = if end == ListEnd::Head { 0 } else { node.len() };
                    node.insert(nth, text);
                })
            }
            _ => self.push_node(end, ListNode::of_text(text, self.limit)),
        }
    }

    pub(super) fn push_node(&mut self, end: ListEnd, node: ListNode) {
        match end {
            ListEnd::Head => self.nodes.push_front(node),
            ListEnd::Tail => self.nodes.push_back(node),
        }
    }

    /// Adds a node at the tail, as a restored list has it.
    pub(super) fn push_restored(&mut self, node: ListNode) {
        let fits = !node.is_plain() && self.limit.fits_packed(node.listpack_bytes(), node.len());
        self.nodes.push_back(node);
        self.is_packed = fits && self.nodes.count() == 1;
    }

    fn add_node(&mut self, plain: bool, elements: Items<'_>) {
        if plain {
            return elements.iter().for_each(|text| self.push_restored(ListNode::plain(text)));
        }
        let mut bytes = Vec::new();
        elements.iter().for_each(|text| crate::codec::listpack::push(text, &mut bytes));
        self.push_restored(ListNode::packed(bytes, elements.len()));
    }

    /// Removes `count` elements from an end; at least one is left. Returns the nodes that were replaced, if they are to
    /// be kept; else they are removed as a whole, too, and the caller frees them.
    pub(super) fn trim(&mut self, end: ListEnd, count: usize, keep: bool) -> Option<Replaced> {
        let len = self.len();
        if count == 0 || count >= len {
            return None;
        }
        let (place, offset) = self.nodes.find(if end == ListEnd::Head { count } else { len - count })?;
        let at = self.nodes.ordinal(place);
        let is_cut = offset > 0;
        let mut cut = NodeSequence::default();
        if is_cut && keep {
            self.nodes.share_into(place, &mut cut);
        }
        let (from, removed) = match end {
            ListEnd::Head => {
                let mut removed = self.nodes.replace(0, at, NodeSequence::default());
                removed.append(cut);
                (0, removed)
            }
            ListEnd::Tail => {
                let from = at + usize::from(is_cut);
                cut.append(self.nodes.replace(from, self.nodes.count(), NodeSequence::default()));
                (at, cut)
            }
        };
        if let (true, Some(place)) = (is_cut, self.end(end)) {
            self.nodes.change(place, |node| match end {
                ListEnd::Head => node.remove(0, offset),
                ListEnd::Tail => node.remove(offset, node.len()),
            });
        }
        self.nodes.release(removed.bytes());
        Some(Replaced { at: from, now: usize::from(is_cut), was_packed: self.is_packed, nodes: removed })
    }

    fn set(&mut self, index: usize, text: &[u8]) {
        let Some((place, offset)) = self.nodes.find(index) else { return };
        self.is_packed = self.stays_packed(text.len(), 1);
        let is_large = self.limit.is_large(text.len());
        match (self.nodes.node(place).is_plain(), is_large) {
            (false, false) | (true, true) => self.nodes.change(place, |node| node.replace(offset, text)),
            (true, false) => {
                let at = self.nodes.ordinal(place);
                self.insert_at(place, 0, true, text);
                if let Some(place) = self.nodes.place(at) {
                    self.nodes.remove(place);
                }
            }
            (false, true) => self.set_large(place, offset, text),
        }
        self.note_smaller();
    }

    /// Replaces an element of a node of several by one that has a node of its own.
    fn set_large(&mut self, place: NodePlace, offset: usize, text: &[u8]) {
        let at = self.nodes.ordinal(place);
        let len = self.nodes.node(place).len();
        let after = (offset + 1 < len).then(|| self.nodes.change(place, |node| node.split_off(offset + 1)));
        self.insert_node(at + 1, ListNode::plain(text));
        after.into_iter().for_each(|after| self.insert_node(at + 2, after));
        let Some(place) = self.nodes.place(at) else { return };
        if offset == 0 {
            self.nodes.remove(place);
        } else {
            self.nodes.change(place, |node| node.remove(offset, offset + 1));
            self.merge_around(at);
        }
    }

    /// Adds a node before the `nth`, or at the end.
    fn insert_node(&mut self, nth: usize, node: ListNode) {
        match self.nodes.place(nth) {
            Some(place) => self.nodes.insert(place, node),
            None => self.nodes.push_back(node),
        }
    }

    fn insert(&mut self, pivot: usize, after: bool, text: &[u8]) {
        let Some((place, offset)) = self.nodes.find(pivot) else { return };
        self.is_packed = self.stays_packed(text.len(), 1);
        if self.is_packed {
            return self.nodes.change(place, |node| node.insert(offset + usize::from(after), text));
        }
        self.insert_at(place, offset, after, text);
    }

    /// Adds an element beside that at `offset` in a node of a list that is not packed.
    fn insert_at(&mut self, place: NodePlace, offset: usize, after: bool, text: &[u8]) {
        let node = self.nodes.node(place);
        let nth = offset + usize::from(after);
        let is_at_end = if after { nth == node.len() } else { nth == 0 };
        if node.admits(text.len(), self.limit) {
            return self.nodes.change(place, |node| node.insert(nth, text));
        }
        if is_at_end {
            let beside = if after { self.nodes.next(place) } else { self.nodes.previous(place) };
            return match beside.filter(|beside| self.nodes.node(*beside).admits(text.len(), self.limit)) {
                Some(beside) if after => self.nodes.change(beside, |node| node.insert(0, text)),
                Some(beside) => self.nodes.change(beside, |node| node.insert(node.len(), text)),
                None if after => self.nodes.insert_after(place, ListNode::of_text(text, self.limit)),
                None => self.nodes.insert(place, ListNode::of_text(text, self.limit)),
            };
        }
        // The node is full, or the element gets a node of its own.
        let at = self.nodes.ordinal(place);
        let rest = self.nodes.change(place, |node| node.split_off(nth));
        self.insert_node(at + 1, rest);
        if self.limit.is_large(text.len()) {
            return self.insert_node(at + 1, ListNode::plain(text));
        }
        let Some(new) = self.nodes.place(if after { at + 1 } else { at }) else { return };
        self.nodes.change(new, |node| node.insert(if after { 0 } else { node.len() }, text));
        self.merge_around(if after { at } else { at + 1 });
    }

    /// Merges the `nth` node and those beside it, in Valkey's order: first those on either side with each other, then
    /// the node with both.
    fn merge_around(&mut self, nth: usize) {
        let mut center = nth;
        if center >= 2 && self.merge(center - 2) {
            center -= 1;
        }
        self.merge(center + 1);
        if center >= 1 && self.merge(center - 1) {
            center -= 1;
        }
        self.merge(center);
    }

    /// Merges the `nth` node with the one after it, if both fit into one; returns whether they do.
    fn merge(&mut self, nth: usize) -> bool {
        let Some(place) = self.nodes.place(nth) else { return false };
        let Some(next) = self.nodes.next(place) else { return false };
        if !self.nodes.node(place).may_merge(self.nodes.node(next), self.limit) {
            return false;
        }
        let merged = self.nodes.remove(next);
        self.nodes.change(place, |node| node.append(&merged));
        true
    }

    /// Removes the elements at these positions, which rise; not all elements.
    fn remove(&mut self, positions: &[usize]) {
        let mut left = &positions[..positions.partition_point(|at| *at < self.len())];
        while let Some(last) = left.last()
            && let Some((place, offset)) = self.nodes.find(*last)
        {
            let start = last - offset;
            let from = left.partition_point(|at| *at < start);
            let of_node = &left[from..];
            if of_node.len() == self.nodes.node(place).len() {
                self.nodes.remove(place);
            } else {
                self.nodes.change(place, |node| node.remove_all(of_node.iter().map(|at| at - start)));
            }
            left = &left[..from];
        }
        self.note_smaller();
    }

    /// Removes the element at an end, and its node with its last element, and returns its text.
    pub(super) fn pop(&mut self, end: ListEnd) -> Option<Vec<u8>> {
        let place = self.end(end)?;
        let node = self.nodes.node(place);
        let nth = if end == ListEnd::Head { 0 } else { node.len() - 1 };
        let text = node.get(nth).map(Packable::to_vec);
        if node.len() == 1 {
            self.nodes.remove(place);
        } else {
            self.nodes.change(place, |node| node.remove(nth, nth + 1));
        }
        text
    }

    fn rotate(&mut self, from: ListEnd, to: ListEnd) {
        if self.len() < 2 {
            return;
        }
        if let Some(text) = self.pop(from) {
            // In Valkey an integer that is moved adds nothing to what is compared with the limit.
            let bytes = if number::parse_int(&text).is_some() { 0 } else { text.len() };
            self.is_packed = self.stays_packed(bytes, 1);
            self.push_one(to, &text);
        }
        self.note_smaller();
    }
}
