//! The order of operations on one slot, when some of them have to be sent again.
//!
//! Operations of a slot are on their way to one node at a time. As soon as one of them has not happened there, further
//! ones are held back until all that are on their way are answered. Then those that have not happened are sent again in
//! their order, and the held ones after them. One that a later operation has overtaken (the node has refused the first
//! and run the second, for instance because it became the primary in between) is never sent again, unless both only
//! read.

use std::collections::VecDeque;
use std::sync::Arc;

/// Operations that have an order among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LineKey {
    Slot(u16),
    /// One operation without a slot.
    Alone(u64),
}

impl LineKey {
    pub(super) fn slot(self) -> Option<u16> {
        match self {
            LineKey::Slot(slot) => Some(slot),
            LineKey::Alone(_) => None,
        }
    }
}

/// An operation with its number, which grows with each operation of the pipeline.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) writes: bool,
    pub(super) item: T,
}

/// The unfinished operations of one slot.
#[derive(Debug)]
pub(super) struct SlotLine<T> {
    /// Where those that are on their way were sent.
    node: Option<Arc<str>>,
    on_their_way: usize,
    /// Those that have not happened, and are to be sent again.
    again: Vec<Numbered<T>>,
    /// Those that have arrived meanwhile.
    held: VecDeque<Numbered<T>>,
    /// Whether operations are held back.
    is_held: bool,
    /// The latest operation, and the latest write, that has happened or may have.
    happened: Option<u64>,
    written: Option<u64>,
}

impl<T> Default for SlotLine<T> {
    fn default() -> SlotLine<T> {
        SlotLine {
            node: None,
            on_their_way: 0,
            again: Vec::new(),
            held: VecDeque::new(),
            is_held: false,
            happened: None,
            written: None,
        }
    }
}

impl<T> SlotLine<T> {
    /// Takes an operation that has arrived; returns it if it is to be sent now.
    pub(super) fn arrive(&mut self, operation: Numbered<T>) -> Option<Numbered<T>> {
        if self.is_held {
            self.held.push_back(operation);
            return None;
        }
        Some(operation)
    }

    /// Where operations are sent as long as others are on their way: to the same node.
    pub(super) fn node(&self) -> Option<&Arc<str>> {
        self.node.as_ref().filter(|_| self.on_their_way > 0)
    }

    /// An operation is on its way.
    pub(super) fn sent(&mut self, node: Arc<str>) {
        self.node = Some(node);
        self.on_their_way += 1;
    }

    /// One of those that are on their way is answered.
    pub(super) fn answered(&mut self) {
        self.on_their_way -= 1;
    }

    /// An operation has happened, or may have.
    pub(super) fn happened(&mut self, number: u64, writes: bool) {
        self.happened = self.happened.max(Some(number));
        if writes {
            self.written = self.written.max(Some(number));
        }
    }

    /// An operation has not happened and is to be sent again. Further ones are held back.
    pub(super) fn again(&mut self, operation: Numbered<T>) {
        self.is_held = true;
        self.again.push(operation);
    }

    /// Whether operations are held back and none is on its way: it is known what has happened.
    pub(super) fn is_settled(&self) -> bool {
        self.is_held && self.on_their_way == 0
    }

    pub(super) fn is_idle(&self) -> bool {
        self.on_their_way == 0 && self.again.is_empty() && self.held.is_empty()
    }

    /// Those that are to be sent again.
    pub(super) fn repeated(&self) -> impl Iterator<Item = &T> {
        self.again.iter().map(|operation| &operation.item)
    }

    /// Removes those of the operations to be sent again that later ones have overtaken.
    pub(super) fn remove_overtaken(&mut self) -> Vec<Numbered<T>> {
        let (happened, written) = (self.happened, self.written);
        let is_overtaken = |operation: &mut Numbered<T>| {
            written > Some(operation.number) || (operation.writes && happened > Some(operation.number))
        };
        self.again.extract_if(.., is_overtaken).collect()
    }

    /// Removes those of the operations to be sent again for which it is too late.
    pub(super) fn remove_late(&mut self, mut is_late: impl FnMut(&T) -> bool) -> Vec<Numbered<T>> {
        self.again.extract_if(.., |operation| is_late(&operation.item)).collect()
    }

    /// Holds nothing back any more; returns what is to be sent now, in order.
    pub(super) fn release(&mut self) -> Vec<Numbered<T>> {
        self.is_held = false;
        let mut operations = std::mem::take(&mut self.again);
        operations.extend(self.held.drain(..));
        operations.sort_by_key(|operation| operation.number);
        operations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(number: u64, writes: bool) -> Numbered<()> {
        Numbered { number, writes, item: () }
    }

    fn numbers(operations: &[Numbered<()>]) -> Vec<u64> {
        operations.iter().map(|operation| operation.number).collect()
    }

    /// A line with operations 0 to 3 on their way.
    fn line(writes: bool) -> SlotLine<()> {
        let mut line = SlotLine::default();
        for number in 0..4 {
            assert!(line.arrive(operation(number, writes)).is_some());
            line.sent("a:1".into());
        }
        line
    }

    #[test]
    fn what_has_not_happened_is_sent_again_in_order_after_everything_is_answered() {
        let mut line = line(true);
        line.answered();
        line.happened(0, true);
        for number in 1..4 {
            assert!(!line.is_settled());
            assert_eq!(line.node().map(|node| &**node), Some("a:1"));
            line.answered();
            line.again(operation(number, true));
            assert!(line.arrive(operation(3 + number, true)).is_none(), "it is held back");
        }
        assert!(line.is_settled() && line.node().is_none());
        assert!(line.remove_overtaken().is_empty());
        assert_eq!(numbers(&line.release()), [1, 2, 3, 4, 5, 6]);
        assert!(line.is_idle());
        assert!(line.arrive(operation(7, true)).is_some());
    }

    #[test]
    fn writes_that_were_overtaken_are_not_sent_again_and_reads_may_change_places() {
        for (writes, overtaken) in [(true, vec![1]), (false, vec![])] {
            let mut line = line(writes);
            for number in [0, 2] {
                line.answered();
                line.happened(number, writes);
            }
            for number in [1, 3] {
                line.answered();
                line.again(operation(number, writes));
            }
            assert_eq!(numbers(&line.remove_overtaken()), overtaken);
            assert_eq!(numbers(&line.release()).last(), Some(&3));
        }
        // A read that a later write has overtaken would see it.
        let mut line = line(false);
        line.happened(2, true);
        line.again(operation(1, false));
        assert_eq!(numbers(&line.remove_overtaken()), [1]);
    }
}
