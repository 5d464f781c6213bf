//! The nodes of a large list, in order.
//!
//! Nodes are grouped into blocks of up to [`BLOCK_NODES`], and each block knows its number of elements. An index is
//! found from the nearer end: over blocks, then over the nodes of one block. Growth at an end adds to a block or adds a
//! block; nothing is copied in proportion to the list.
//!
//! Blocks and nodes may have several owners: a copy of the sequence ([`NodeSequence::clone`]) shares them, and whoever
//! changes a shared one makes a copy of it first. So an image keeps the whole list as of its point at the cost of one
//! pointer for each block, and an undo record keeps the nodes that a change replaced.
//!
//! # Invariants
//! - No block is empty.
//! - `len`, `count` and `bytes` are the sums over all nodes; those of a block are over its nodes.

use super::node::ListNode;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most nodes of a block.
pub(super) const BLOCK_NODES: usize = 256;

/// Consecutive nodes.
#[derive(Debug, Clone, Default)]
struct NodeBlock {
    nodes: Vec<Arc<ListNode>>,
    /// Number of elements.
    len: usize,
    /// Memory of the nodes, bytes.
    bytes: usize,
}

impl NodeBlock {
    fn of(nodes: Vec<Arc<ListNode>>) -> NodeBlock {
        let len = nodes.iter().map(|node| node.len()).sum();
        let bytes = nodes.iter().map(|node| node.cost()).sum();
        NodeBlock { nodes, len, bytes }
    }
}

/// The place of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodePlace {
    block: usize,
    node: usize,
}

/// Nodes in order. A clone shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeSequence {
    blocks: VecDeque<Arc<NodeBlock>>,
    /// Number of nodes.
    count: usize,
    /// Number of elements.
    len: usize,
    /// Memory of the nodes, bytes.
    bytes: usize,
    /// Memory of shared nodes that this sequence or one of its clones has ceased to own since the start, bytes: only
    /// grows.
    released: Arc<AtomicUsize>,
}

impl NodeSequence {
    /// Number of nodes.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory of the nodes, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
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
    pub(super) fn copied(&self) -> NodeSequence {
        let copy = |block: &Arc<NodeBlock>| {
            let nodes = block.nodes.iter().map(|node| Arc::new(ListNode::clone(node))).collect();
            Arc::new(NodeBlock { nodes, len: block.len, bytes: block.bytes })
        };
        let blocks = self.blocks.iter().map(copy).collect();
        NodeSequence { blocks, count: self.count, len: self.len, bytes: self.bytes, released: Arc::default() }
    }

    /// Every node.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &ListNode> {
        self.blocks.iter().flat_map(|block| block.nodes.iter().map(|node| &**node))
    }

    /// The nodes from a place on.
    pub(super) fn iter_from(&self, at: NodePlace) -> impl Iterator<Item = &ListNode> {
        let blocks = self.blocks.range(at.block.min(self.blocks.len())..);
        blocks.flat_map(|block| block.nodes.iter().map(|node| &**node)).skip(at.node)
    }

    /// The nodes up to and including a place, last first.
    pub(super) fn iter_back_from(&self, at: NodePlace) -> impl Iterator<Item = &ListNode> {
        let blocks = self.blocks.range(..(at.block + 1).min(self.blocks.len()));
        let after = self.blocks.get(at.block).map_or(0, |block| block.nodes.len().saturating_sub(at.node + 1));
        blocks.rev().flat_map(|block| block.nodes.iter().rev().map(|node| &**node)).skip(after)
    }

    /// A node.
    pub(super) fn node(&self, at: NodePlace) -> &ListNode {
        &self.blocks[at.block].nodes[at.node]
    }

    /// The first place.
    pub(super) fn first(&self) -> Option<NodePlace> {
        (self.count > 0).then_some(NodePlace { block: 0, node: 0 })
    }

    /// The last place.
    pub(super) fn last(&self) -> Option<NodePlace> {
        let block = self.blocks.len().checked_sub(1)?;
        Some(NodePlace { block, node: self.blocks[block].nodes.len() - 1 })
    }

    /// The place after this one.
    pub(super) fn next(&self, at: NodePlace) -> Option<NodePlace> {
        if at.node + 1 < self.blocks[at.block].nodes.len() {
            return Some(NodePlace { node: at.node + 1, ..at });
        }
        (at.block + 1 < self.blocks.len()).then_some(NodePlace { block: at.block + 1, node: 0 })
    }

    /// The place before this one.
    pub(super) fn previous(&self, at: NodePlace) -> Option<NodePlace> {
        if at.node > 0 {
            return Some(NodePlace { node: at.node - 1, ..at });
        }
        let block = at.block.checked_sub(1)?;
        Some(NodePlace { block, node: self.blocks[block].nodes.len() - 1 })
    }

    /// The place of the `nth` node.
    pub(super) fn place(&self, nth: usize) -> Option<NodePlace> {
        let mut left = nth;
        for (block, nodes) in self.blocks.iter().map(|block| block.nodes.len()).enumerate() {
            if left < nodes {
                return Some(NodePlace { block, node: left });
            }
            left -= nodes;
        }
        None
    }

    /// How many nodes are before a place.
    pub(super) fn ordinal(&self, at: NodePlace) -> usize {
        self.blocks.range(..at.block).map(|block| block.nodes.len()).sum::<usize>() + at.node
    }

    /// The place of the node that has this element, and the element's position in the node.
    pub(super) fn find(&self, index: usize) -> Option<(NodePlace, usize)> {
        if index >= self.len {
            return None;
        }
        let (block, mut left) =
            if index <= self.len / 2 { self.block_from_head(index) } else { self.block_from_tail(index) };
        for (node, len) in self.blocks[block].nodes.iter().map(|node| node.len()).enumerate() {
            if left < len {
                return Some((NodePlace { block, node }, left));
            }
            left -= len;
        }
        None
    }

    /// The block that has this element, and how many elements of the block are before it.
    fn block_from_head(&self, index: usize) -> (usize, usize) {
        let (mut block, mut left) = (0, index);
        while left >= self.blocks[block].len {
            left -= self.blocks[block].len;
            block += 1;
        }
        (block, left)
    }

    /// As [`NodeSequence::block_from_head`], from the other end.
    fn block_from_tail(&self, index: usize) -> (usize, usize) {
        let (mut block, mut start) = (self.blocks.len() - 1, self.len - self.blocks[self.blocks.len() - 1].len);
        while start > index {
            block -= 1;
            start -= self.blocks[block].len;
        }
        (block, index - start)
    }

    /// Changes a node, which keeps an element.
    pub(super) fn change<R>(&mut self, at: NodePlace, change: impl FnOnce(&mut ListNode) -> R) -> R {
        let block = Arc::make_mut(&mut self.blocks[at.block]);
        let node = &mut block.nodes[at.node];
        let (len, bytes) = (node.len(), node.cost());
        if Arc::strong_count(node) > 1 {
            self.released.fetch_add(bytes, Ordering::Relaxed);
        }
        let node = Arc::make_mut(node);
        let result = change(node);
        for (sum, old, new) in [
            (&mut block.len, len, node.len()),
            (&mut self.len, len, node.len()),
            (&mut block.bytes, bytes, node.cost()),
            (&mut self.bytes, bytes, node.cost()),
        ] {
            *sum = *sum - old + new;
        }
        result
    }

    /// Adds a node in this place; the one that is there and those after it come after it.
    pub(super) fn insert(&mut self, at: NodePlace, node: ListNode) {
        let (len, bytes) = (node.len(), node.cost());
        let block = Arc::make_mut(&mut self.blocks[at.block]);
        block.nodes.insert(at.node, Arc::new(node));
        block.len += len;
        block.bytes += bytes;
        if block.nodes.len() > BLOCK_NODES {
            // A block that grows at its start or end stays full.
            let half = match at.node {
                0 => 1,
                at if at + 1 == block.nodes.len() => at,
                _ => BLOCK_NODES / 2,
            };
            let rest = NodeBlock::of(block.nodes.split_off(half));
            block.len -= rest.len;
            block.bytes -= rest.bytes;
            self.blocks.insert(at.block + 1, Arc::new(rest));
        }
        self.count += 1;
        self.len += len;
        self.bytes += bytes;
    }

    /// Adds a node after this place.
    pub(super) fn insert_after(&mut self, at: NodePlace, node: ListNode) {
        self.insert(NodePlace { node: at.node + 1, ..at }, node);
    }

    /// Adds a node at the end.
    pub(super) fn push_back(&mut self, node: ListNode) {
        self.push_shared(Arc::new(node));
    }

    /// As [`NodeSequence::push_back`], of a node that may have other owners.
    fn push_shared(&mut self, node: Arc<ListNode>) {
        if self.blocks.back().is_none_or(|block| block.nodes.len() >= BLOCK_NODES) {
            self.blocks.push_back(Arc::default());
        }
        self.count += 1;
        self.len += node.len();
        self.bytes += node.cost();
        if let Some(block) = self.blocks.back_mut().map(Arc::make_mut) {
            block.len += node.len();
            block.bytes += node.cost();
            block.nodes.push(node);
        }
    }

    /// Adds a node at the start.
    pub(super) fn push_front(&mut self, node: ListNode) {
        match self.first() {
            Some(first) if self.blocks[0].nodes.len() < BLOCK_NODES => self.insert(first, node),
            _ => {
                self.count += 1;
                self.len += node.len();
                self.bytes += node.cost();
                self.blocks.push_front(Arc::new(NodeBlock::of(vec![Arc::new(node)])));
            }
        }
    }

    /// Removes a node.
    pub(super) fn remove(&mut self, at: NodePlace) -> Arc<ListNode> {
        let block = Arc::make_mut(&mut self.blocks[at.block]);
        let node = block.nodes.remove(at.node);
        block.len -= node.len();
        block.bytes -= node.cost();
        if block.nodes.is_empty() {
            self.blocks.remove(at.block);
        }
        self.count -= 1;
        self.len -= node.len();
        self.bytes -= node.cost();
        if Arc::strong_count(&node) > 1 {
            self.release(node.cost());
        }
        node
    }

    /// Keeps the first `nth` nodes and returns the others.
    pub(super) fn split_off(&mut self, nth: usize) -> NodeSequence {
        let mut rest = NodeSequence::default();
        let Some(at) = self.place(nth) else { return rest };
        rest.blocks = self.blocks.split_off(at.block);
        if at.node > 0
            && let Some(block) = rest.blocks.front_mut().map(Arc::make_mut)
        {
            let kept = block.nodes.drain(..at.node).collect();
            let kept = NodeBlock::of(kept);
            block.len -= kept.len;
            block.bytes -= kept.bytes;
            self.blocks.push_back(Arc::new(kept));
        }
        rest.count = self.count - nth;
        rest.len = rest.blocks.iter().map(|block| block.len).sum();
        rest.bytes = rest.blocks.iter().map(|block| block.bytes).sum();
        self.count = nth;
        self.len -= rest.len;
        self.bytes -= rest.bytes;
        rest
    }

    /// Adds the nodes of another sequence.
    pub(super) fn append(&mut self, mut other: NodeSequence) {
        let nodes = |block: Option<&Arc<NodeBlock>>| block.map_or(0, |block| block.nodes.len());
        if let (last @ 1.., next @ 1..) = (nodes(self.blocks.back()), nodes(other.blocks.front()))
            && last + next <= BLOCK_NODES
            && let (Some(last), Some(next)) = (self.blocks.back_mut(), other.blocks.pop_front())
        {
            let last = Arc::make_mut(last);
            last.nodes.extend(next.nodes.iter().cloned());
            last.len += next.len;
            last.bytes += next.bytes;
        }
        self.blocks.append(&mut other.blocks);
        self.count += other.count;
        self.len += other.len;
        self.bytes += other.bytes;
    }

    /// The nodes `from..to`, shared.
    pub(super) fn shared(&self, from: usize, to: usize) -> NodeSequence {
        let mut shared = NodeSequence::default();
        let mut at = self.place(from);
        for _ in from..to {
            let Some(place) = at else { break };
            shared.push_shared(self.blocks[place.block].nodes[place.node].clone());
            at = self.next(place);
        }
        shared
    }

    /// Replaces the nodes `from..to` by others, which it returns.
    pub(super) fn replace(&mut self, from: usize, to: usize, by: NodeSequence) -> NodeSequence {
        let after = self.split_off(to);
        let replaced = self.split_off(from);
        self.append(by);
        self.append(after);
        replaced
    }

    /// Adds the place's node, shared, to the end of another sequence.
    pub(super) fn share_into(&self, at: NodePlace, other: &mut NodeSequence) {
        other.push_shared(self.blocks[at.block].nodes[at.node].clone());
    }
}

impl PartialEq for NodeSequence {
    fn eq(&self, other: &NodeSequence) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::super::limit::NodeLimit;
    use super::*;

    fn node(number: usize) -> ListNode {
        ListNode::of_text(number.to_string().as_bytes(), NodeLimit::default())
    }

    fn sequence(count: usize) -> NodeSequence {
        let mut sequence = NodeSequence::default();
        (0..count).for_each(|number| sequence.push_back(node(number)));
        sequence
    }

    /// Checks the sums, and returns the one number of each node.
    fn numbers(sequence: &NodeSequence) -> Vec<usize> {
        assert!(sequence.blocks.iter().all(|block| (1..=BLOCK_NODES).contains(&block.nodes.len())));
        let sums = NodeBlock::of(sequence.iter().map(|node| Arc::new(node.clone())).collect());
        assert_eq!((sums.nodes.len(), sums.len, sums.bytes), (sequence.count, sequence.len, sequence.bytes));
        let of_blocks = sequence.blocks.iter().map(|block| (block.len, block.bytes));
        let of_nodes = sequence.blocks.iter().map(|block| NodeBlock::of(block.nodes.clone()));
        assert!(of_blocks.eq(of_nodes.map(|block| (block.len, block.bytes))));
        let number = |node: &ListNode| String::from_utf8(node.get(0).unwrap().to_vec()).unwrap().parse().unwrap();
        sequence.iter().map(number).collect()
    }

    #[test]
    fn nodes_are_found_split_and_joined() {
        let mut all = sequence(1_000);
        assert_eq!(numbers(&all), (0..1_000).collect::<Vec<_>>());
        for index in [0, 1, 255, 256, 499, 500, 501, 998, 999] {
            let (place, offset) = all.find(index).unwrap();
            assert_eq!((all.ordinal(place), offset, all.place(index)), (index, 0, Some(place)));
            let next = all.next(place).map(|next| all.ordinal(next));
            assert_eq!(next, Some(index + 1).filter(|next| *next < 1_000));
            let previous = all.previous(place).map(|previous| all.ordinal(previous));
            assert_eq!(previous, index.checked_sub(1));
            assert_eq!((all.iter_from(place).count(), all.iter_back_from(place).count()), (1_000 - index, index + 1));
        }
        assert_eq!((all.find(1_000), all.place(1_000)), (None, None));
        for at in [0, 1, 256, 300, 999, 1_000] {
            let rest = all.split_off(at);
            assert_eq!((numbers(&all), numbers(&rest)), ((0..at).collect(), (at..1_000).collect()));
            all.append(rest);
            assert_eq!(numbers(&all), (0..1_000).collect::<Vec<_>>());
        }
        let replaced = all.replace(200, 700, sequence(3));
        assert_eq!(numbers(&replaced), (200..700).collect::<Vec<_>>());
        assert_eq!(numbers(&all), (0..200).chain(0..3).chain(700..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn nodes_are_added_and_removed_anywhere() {
        let mut all = NodeSequence::default();
        let mut model = Vec::new();
        for number in 0..2_000 {
            let at = (number * 7_919) % (model.len() + 1);
            match all.place(at) {
                Some(place) => all.insert(place, node(number)),
                None if at == 0 => all.push_front(node(number)),
                None => all.push_back(node(number)),
            }
            model.insert(at, number);
        }
        assert_eq!(numbers(&all), model);
        while !model.is_empty() {
            let at = (model.len() * 31) % model.len().div_ceil(2);
            all.remove(all.place(at).unwrap());
            model.remove(at);
        }
        assert_eq!((numbers(&all), all.bytes()), (model, 0));
        (0..600).for_each(|number| all.push_front(node(number)));
        assert_eq!(numbers(&all), (0..600).rev().collect::<Vec<_>>());
        assert_eq!(all.blocks.len(), 3, "blocks at an end are full");
    }

    #[test]
    fn a_clone_keeps_what_it_was() {
        let mut all = sequence(600);
        let kept = all.clone();
        let before = all.released();
        let place = all.place(300).unwrap();
        all.change(place, |node| node.replace(0, b"9999"));
        all.remove(all.first().unwrap());
        let _ = all.split_off(400);
        assert_eq!(numbers(&kept), (0..600).collect::<Vec<_>>());
        assert_eq!(numbers(&all)[299], 9_999);
        assert!(kept.released() > before, "what the clone alone owns is counted");
        assert_eq!(all.copied(), all);
    }
}
