//! A sorted map by entry id, in blocks that copies share.
//!
//! Streams grow at the end and shrink at the start; pending entries are removed anywhere. So the map is a sequence of
//! blocks of up to [`BLOCK`] pairs in the order of their ids. An id is found by binary search over the blocks and then
//! in one of them.
//!
//! A copy of the map ([`IdMap::clone`]) shares its blocks, and whoever changes a shared one makes a copy of it first.
//! So an image keeps a whole stream as of its point at the cost of one pointer for each block.
//!
//! # Invariants
//! - No block is empty; ids rise within a block and from block to block.
//! - `len` is the number of pairs.

use super::id::StreamId;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most pairs of a block.
const BLOCK: usize = 128;

type Block<T> = Vec<(StreamId, T)>;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct IdMap<T> {
    blocks: VecDeque<Arc<Block<T>>>,
    len: usize,
}

impl<T> Default for IdMap<T> {
    fn default() -> IdMap<T> {
        IdMap { blocks: VecDeque::new(), len: 0 }
    }
}

impl<T> IdMap<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The block and the index in it of the first id that is not smaller.
    fn place(&self, id: StreamId) -> (usize, usize) {
        let block = self.blocks.partition_point(|block| block.last().is_some_and(|(last, _)| *last < id));
        let index = self.blocks.get(block).map_or(0, |block| block.partition_point(|(at, _)| *at < id));
        (block, index)
    }

    /// The block and the index of this id.
    fn find(&self, id: StreamId) -> Option<(usize, usize)> {
        let (block, index) = self.place(id);
        self.blocks.get(block)?.get(index).filter(|(at, _)| *at == id).map(|_| (block, index))
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&T> {
        self.find(id).map(|(block, index)| &self.blocks[block][index].1)
    }

    pub(super) fn first(&self) -> Option<(StreamId, &T)> {
        self.iter().next()
    }

    pub(super) fn last(&self) -> Option<(StreamId, &T)> {
        self.iter().next_back()
    }

    /// Every pair, in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (StreamId, &T)> {
        self.blocks.iter().flat_map(|block| block.iter().map(|(id, value)| (*id, value)))
    }

    /// The pairs from this id on.
    pub(super) fn iter_from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &T)> {
        let (block, index) = self.place(id);
        let blocks = self.blocks.range(block.min(self.blocks.len())..);
        blocks.flat_map(|block| block.iter().map(|(id, value)| (*id, value))).skip(index)
    }

    /// The pairs up to this id, last first.
    pub(super) fn iter_back_from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &T)> {
        let (block, index) = id.next().map_or((self.blocks.len(), 0), |next| self.place(next));
        let before = self.blocks.range(..block.min(self.blocks.len()));
        let within = self.blocks.get(block).map_or(&[][..], |block| &block[..index]);
        within.iter().rev().chain(before.rev().flat_map(|block| block.iter().rev())).map(|(id, value)| (*id, value))
    }

    /// The pair with the largest id up to this one.
    pub(super) fn floor(&self, id: StreamId) -> Option<(StreamId, &T)> {
        self.iter_back_from(id).next()
    }
}

impl<T: Clone> IdMap<T> {
    /// The value of an id, to be changed.
    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut T> {
        let (block, index) = self.find(id)?;
        Some(&mut Arc::make_mut(&mut self.blocks[block])[index].1)
    }

    /// Sets the value of an id, and returns the one it had.
    pub(super) fn insert(&mut self, id: StreamId, value: T) -> Option<T> {
        let (at, index) = self.place(id);
        let at = if at == self.blocks.len() { at.saturating_sub(1) } else { at };
        let Some(block) = self.blocks.get_mut(at).map(Arc::make_mut) else {
            self.blocks.push_back(Arc::new(vec![(id, value)]));
            self.len = 1;
            return None;
        };
        let index = if block.last().is_some_and(|(last, _)| *last < id) { block.len() } else { index };
        if let Some((_, old)) = block.get_mut(index).filter(|(held, _)| *held == id) {
            return Some(std::mem::replace(old, value));
        }
        block.insert(index, (id, value));
        if block.len() > BLOCK {
            // A block that grows at its end stays full.
            let rest = block.split_off(if index + 1 == block.len() { index } else { BLOCK / 2 });
            block.shrink_to(BLOCK);
            self.blocks.insert(at + 1, Arc::new(rest));
        }
        self.len += 1;
        None
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<T> {
        let (at, index) = self.find(id)?;
        let block = Arc::make_mut(&mut self.blocks[at]);
        let (_, value) = block.remove(index);
        if block.is_empty() {
            self.blocks.remove(at);
        } else if block.capacity() > 4 * block.len().max(4) {
            block.shrink_to(2 * block.len());
        }
        self.len -= 1;
        Some(value)
    }

    pub(super) fn pop_first(&mut self) -> Option<(StreamId, T)> {
        let block = Arc::make_mut(self.blocks.front_mut()?);
        let first = block.remove(0);
        if block.is_empty() {
            self.blocks.pop_front();
        }
        self.len -= 1;
        Some(first)
    }

    pub(super) fn pop_last(&mut self) -> Option<(StreamId, T)> {
        let block = Arc::make_mut(self.blocks.back_mut()?);
        let last = block.pop()?;
        if block.is_empty() {
            self.blocks.pop_back();
        }
        self.len -= 1;
        Some(last)
    }

    /// Removes and returns the first `count` pairs, block by block.
    pub(super) fn split_front(&mut self, count: usize) -> IdMap<T> {
        let mut front = IdMap::default();
        while front.len < count
            && let Some(block) = self.blocks.front_mut()
        {
            let wanted = count - front.len;
            let taken = if block.len() <= wanted {
                match self.blocks.pop_front() {
                    Some(block) => block,
                    None => break,
                }
            } else {
                Arc::new(Arc::make_mut(block).drain(..wanted).collect())
            };
            front.len += taken.len();
            self.len -= taken.len();
            front.blocks.push_back(taken);
        }
        front
    }

    /// Adds the pairs of a map with smaller ids.
    pub(super) fn prepend(&mut self, front: IdMap<T>) {
        self.len += front.len;
        front.blocks.into_iter().rev().for_each(|block| self.blocks.push_front(block));
    }

    /// A copy that shares nothing.
    pub(super) fn copied(&self, copy: impl Fn(&T) -> T) -> IdMap<T> {
        let copied = |block: &Arc<Block<T>>| Arc::new(block.iter().map(|(id, value)| (*id, copy(value))).collect());
        IdMap { blocks: self.blocks.iter().map(copied).collect(), len: self.len }
    }
}

impl<T: PartialEq> PartialEq for IdMap<T> {
    fn eq(&self, other: &IdMap<T>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(map: &IdMap<u64>, model: &BTreeMap<StreamId, u64>) {
        assert!(map.blocks.iter().all(|block| (1..=BLOCK).contains(&block.len())));
        assert_eq!(map.len(), model.len());
        assert!(map.iter().map(|(id, value)| (id, *value)).eq(model.iter().map(|(id, value)| (*id, *value))));
    }

    #[test]
    fn works_as_a_sorted_map() {
        let mut state = 1u64;
        let mut random = move |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
        for step in 0..20_000 {
            let id = StreamId::new(random(40), random(40));
            if random(3 + step / 4_000) > 1 {
                assert_eq!(map.remove(id), model.remove(&id));
            } else {
                assert_eq!(map.insert(id, step), model.insert(id, step));
            }
            let wanted = StreamId::new(random(42), random(42));
            assert_eq!(map.get(wanted), model.get(&wanted));
            if step % 100 == 0 {
                check(&map, &model);
                let from: Vec<_> = map.iter_from(wanted).map(|(id, _)| id).collect();
                assert!(from.iter().eq(model.range(wanted..).map(|(id, _)| id)));
                let back: Vec<_> = map.iter_back_from(wanted).map(|(id, _)| id).collect();
                assert!(back.iter().eq(model.range(..=wanted).rev().map(|(id, _)| id)));
                assert_eq!(map.floor(wanted).map(|(id, _)| id), back.first().copied());
            }
            if step % 1_000 == 0 {
                let shared = map.clone();
                let front = map.split_front(random(300) as usize);
                assert_eq!(front.len() + map.len(), model.len());
                map.prepend(front);
                check(&map, &model);
                assert_eq!(map.pop_first().map(|(id, _)| id), model.keys().next().copied());
                let last = model.keys().next_back().copied().filter(|_| model.len() > 1);
                assert_eq!(map.pop_last().map(|(id, _)| id), last);
                check(&shared, &model);
                map = shared;
            }
        }
        assert!(map.copied(|value| *value) == map);
    }
}
