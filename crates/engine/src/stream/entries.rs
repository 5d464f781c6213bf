//! A stream: its entries in nodes, its counters, and its consumer groups.
//!
//! # Invariants
//! - `len` is the number of live entries, `node_bytes` the memory of the nodes, `group_bytes` that of the groups.
//! - Nodes and blocks of the maps may have other owners (`IdMap`): images, and records of the undo log. Whoever
//!   changes a shared one makes a copy of it first.

use super::groups::ConsumerGroup;
use super::id::StreamId;
use super::id_map::IdMap;
use super::node::{NodeEntry, StreamNode};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory of a node's place in the map, bytes.
const NODE_PLACE_BYTES: usize = size_of::<(StreamId, Arc<StreamNode>)>();

/// A stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    nodes: IdMap<Arc<StreamNode>>,
    len: u64,
    /// The largest id that an entry had, or that XSETID has set.
    pub(super) last: StreamId,
    /// The largest id that XDEL has removed.
    pub(super) max_deleted: StreamId,
    /// How many entries were ever added.
    pub(super) added: u64,
    groups: BTreeMap<Box<[u8]>, ConsumerGroup>,
    node_bytes: usize,
    group_bytes: usize,
    /// Memory of shared nodes that this stream or one of its clones has ceased to own since the start, bytes: only
    /// grows.
    released: Arc<AtomicUsize>,
}

/// The memory of a node with its place.
fn cost(node: &StreamNode) -> usize {
    NODE_PLACE_BYTES + node.cost()
}

impl Stream {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory of entries and groups, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.node_bytes + self.group_bytes
    }

    /// See the field.
    pub(super) fn released(&self) -> usize {
        self.released.load(Ordering::Relaxed)
    }

    /// Notes that shared nodes are no longer owned.
    pub(super) fn release(&self, bytes: usize) {
        self.released.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A copy that shares nothing.
    pub(super) fn copied(&self) -> Stream {
        Stream {
            nodes: self.nodes.copied(|node| Arc::new(StreamNode::clone(node))),
            groups: self.groups.iter().map(|(name, group)| (name.clone(), group.copied())).collect(),
            released: Arc::default(),
            ..*self
        }
    }
}

/// Reading.
impl Stream {
    pub(super) fn nodes(&self) -> impl DoubleEndedIterator<Item = (StreamId, &StreamNode)> {
        self.nodes.iter().map(|(id, node)| (id, &**node))
    }

    /// The first node from this id on.
    pub(super) fn node_from(&self, id: StreamId) -> Option<(StreamId, &StreamNode)> {
        self.nodes.iter_from(id).next().map(|(id, node)| (id, &**node))
    }

    pub(super) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn last_node(&self) -> Option<(StreamId, &StreamNode)> {
        self.nodes.last().map(|(id, node)| (id, &**node))
    }

    /// The entries of these ids, in order.
    pub(super) fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = NodeEntry<'_>> {
        let first = self.nodes.floor(start).map_or(start, |(id, _)| id);
        let entries = self.nodes.iter_from(first).flat_map(|(id, node)| node.all(id));
        let live = entries.filter(move |entry| !entry.is_deleted && entry.id >= start);
        live.take_while(move |entry| entry.id <= end)
    }

    /// As [`Stream::range`], last first.
    pub(super) fn range_back(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = NodeEntry<'_>> {
        let entries = self.nodes.iter_back_from(end).flat_map(|(id, node)| node.all_back(id));
        let live = entries.filter(move |entry| !entry.is_deleted && entry.id <= end);
        live.take_while(move |entry| entry.id >= start)
    }

    /// The entry of this id.
    pub(super) fn get(&self, id: StreamId) -> Option<NodeEntry<'_>> {
        let (node, entries) = self.nodes.floor(id)?;
        entries.find(node, id)
    }

    /// The id of the first entry; 0-0 if there is none.
    pub(super) fn first_id(&self) -> StreamId {
        self.range(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// The id of the last entry; 0-0 if there is none.
    pub(super) fn last_entry_id(&self) -> StreamId {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// Whether an entry, or a node, of this id may follow: whether it is larger than all ids of nodes and live entries.
    pub(super) fn may_add(&self, id: StreamId) -> bool {
        self.last_node().is_none_or(|(last, _)| last < id) && (self.len == 0 || self.last_entry_id() < id)
    }

    /// Whether an entry from this id on may have been removed by XDEL.
    pub(super) fn has_removed_after(&self, id: StreamId) -> bool {
        self.len > 0 && self.max_deleted != StreamId::MIN && id <= self.max_deleted
    }

    /// How many entries were added up to this id, if that is certain. `first`: the first entry's id.
    pub(super) fn read_up_to(&self, id: StreamId, first: StreamId) -> Option<u64> {
        if self.added == 0 || (self.len == 0 && id <= self.last) || id == self.last {
            return Some(self.added);
        }
        let has_gaps = self.max_deleted != StreamId::MIN && self.max_deleted >= first;
        let is_before_removed = id != StreamId::MIN && id < self.max_deleted;
        if id > self.last || has_gaps || is_before_removed {
            return None;
        }
        let before = self.added.wrapping_sub(self.len);
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// How many entries a group has not read, if that is certain.
    pub(super) fn lag(&self, group: &ConsumerGroup) -> Option<i64> {
        let first = self.first_id();
        let added = self.added as i64;
        if self.added == 0 {
            Some(0)
        } else if group.read != -1 && !self.has_removed_after(group.last) {
            Some(added.wrapping_sub(group.read))
        } else {
            self.read_up_to(group.last, first).map(|read| added.wrapping_sub(read as i64))
        }
    }

    pub(super) fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &ConsumerGroup)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// The first group after this name.
    pub(super) fn group_after(&self, name: Option<&[u8]>) -> Option<(&[u8], &ConsumerGroup)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.groups.range::<[u8], _>((from, Bound::Unbounded)).next().map(|(name, group)| (&**name, group))
    }

    pub(super) fn group(&self, name: &[u8]) -> Option<&ConsumerGroup> {
        self.groups.get(name)
    }
}

/// Changing.
impl Stream {
    /// Adds a node, or puts back one that was removed.
    pub(super) fn insert_node(&mut self, id: StreamId, node: Arc<StreamNode>) {
        self.len += node.live();
        self.node_bytes += cost(&node);
        if let Some(old) = self.nodes.insert(id, node) {
            self.len -= old.live();
            self.node_bytes -= cost(&old);
        }
    }

    pub(super) fn remove_node(&mut self, id: StreamId) -> Option<Arc<StreamNode>> {
        let node = self.nodes.remove(id)?;
        self.note_removed(&node);
        Some(node)
    }

    pub(super) fn pop_last_node(&mut self) -> bool {
        let Some((_, node)) = self.nodes.pop_last() else { return false };
        self.note_removed(&node);
        true
    }

    pub(super) fn pop_first_node(&mut self) -> Option<(StreamId, Arc<StreamNode>)> {
        let (id, node) = self.nodes.pop_first()?;
        self.note_removed(&node);
        Some((id, node))
    }

    fn note_removed(&mut self, node: &Arc<StreamNode>) {
        self.len -= node.live();
        self.node_bytes -= cost(node);
        if Arc::strong_count(node) > 1 {
            self.release(cost(node));
        }
    }

    /// Removes the first nodes, as a stream of their own.
    pub(super) fn take_front(&mut self, count: usize) -> Stream {
        let nodes = self.nodes.split_front(count);
        let mut taken = Stream::default();
        for (_, node) in nodes.iter() {
            taken.len += node.live();
            taken.node_bytes += cost(node);
        }
        self.len -= taken.len;
        self.node_bytes -= taken.node_bytes;
        self.release(taken.node_bytes);
        taken.nodes = nodes;
        taken
    }

    /// Puts back what [`Stream::take_front`] returned.
    pub(super) fn put_front(&mut self, taken: Stream) {
        self.len += taken.len;
        self.node_bytes += taken.node_bytes;
        self.nodes.prepend(taken.nodes);
    }

    /// Changes the node of this id.
    pub(super) fn change_node(&mut self, id: StreamId, change: impl FnOnce(&mut StreamNode)) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let (live, bytes) = (node.live(), cost(node));
        let is_shared = Arc::strong_count(node) > 1;
        let node = Arc::make_mut(node);
        change(node);
        self.len = self.len - live + node.live();
        self.node_bytes = self.node_bytes - bytes + cost(node);
        if is_shared {
            self.release(bytes);
        }
    }

    /// The id of the node in which an entry of this id is or was.
    pub(super) fn node_of(&self, id: StreamId) -> Option<(StreamId, &StreamNode)> {
        self.nodes.floor(id).map(|(at, node)| (at, &**node))
    }

    /// Adds a group; returns whether there is no group of this name yet.
    pub(super) fn insert_group(&mut self, name: &[u8], group: ConsumerGroup) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.group_bytes += name.len() + group.bytes();
        self.groups.insert(name.into(), group);
        true
    }

    pub(super) fn remove_group(&mut self, name: &[u8]) -> Option<ConsumerGroup> {
        let group = self.groups.remove(name)?;
        self.group_bytes -= name.len() + group.bytes();
        Some(group)
    }

    pub(super) fn pop_first_group(&mut self) -> Option<(Box<[u8]>, ConsumerGroup)> {
        let name = self.groups.keys().next()?.clone();
        self.remove_group(&name).map(|group| (name, group))
    }

    /// Changes a group, if it exists.
    pub(super) fn change_group<R>(&mut self, name: &[u8], change: impl FnOnce(&mut ConsumerGroup) -> R) -> Option<R> {
        let group = self.groups.get_mut(name)?;
        let before = group.bytes();
        let result = change(group);
        self.group_bytes = self.group_bytes - before + group.bytes();
        Some(result)
    }

    /// Frees one part of a stream that was removed; returns whether there was one.
    pub(super) fn free_one(&mut self) -> bool {
        if self.pop_last_node() {
            return true;
        }
        let Some(mut first) = self.groups.first_entry() else { return false };
        let before = first.get().bytes();
        let has_freed = first.get_mut().free_one();
        self.group_bytes = self.group_bytes - before + first.get().bytes();
        if !has_freed {
            let (name, group) = first.remove_entry();
            self.group_bytes -= name.len() + group.bytes();
        }
        true
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Stream) -> bool {
        (self.len, self.last, self.max_deleted, self.added) == (other.len, other.last, other.max_deleted, other.added)
            && self.nodes == other.nodes
            && self.groups == other.groups
    }
}
