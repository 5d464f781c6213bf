//! Effects of lists.

use super::change::{ListChange, ListEnd};
use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Impact, Items, TypeEffect, items_max};
use crate::keyspace::{Key, Keyspace};
use fastness_types::{FormatLevel, WallMs};

/// Frozen op numbers.
mod op {
    pub(super) const LPUSH: u16 = 64;
    pub(super) const RPUSH: u16 = 65;
    pub(super) const LTRIM: u16 = 66;
    pub(super) const LSET: u16 = 67;
    pub(super) const LINSERT_BEFORE: u16 = 68;
    pub(super) const LINSERT_AFTER: u16 = 69;
    pub(super) const LREM: u16 = 70;
    pub(super) const LROTATE_LEFT_RIGHT: u16 = 71;
    pub(super) const LROTATE_RIGHT_LEFT: u16 = 72;
    pub(super) const LROTATE_LEFT_LEFT: u16 = 73;
    pub(super) const LROTATE_RIGHT_RIGHT: u16 = 74;
    pub(super) const LADD_NODE: u16 = 75;
    pub(super) const LADD_PLAIN_NODE: u16 = 76;
    pub(super) const LINSERT_BEFORE_VALUE: u16 = 77;
    pub(super) const LINSERT_AFTER_VALUE: u16 = 78;
}

/// A change of the list at a key. See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListEffect<'a> {
    /// The key.
    pub key: Key<'a>,
    /// The change.
    pub change: ListChange<'a>,
}

impl<'a> TypeEffect<'a> for ListEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::LPUSH | op::RPUSH | op::LADD_NODE => count >= 2,
            op::LTRIM | op::LSET | op::LINSERT_BEFORE | op::LINSERT_AFTER => count == 3,
            op::LINSERT_BEFORE_VALUE | op::LINSERT_AFTER_VALUE => count == 4,
            op::LREM | op::LADD_PLAIN_NODE => count == 2,
            op::LROTATE_LEFT_RIGHT | op::LROTATE_RIGHT_LEFT => count == 1,
            op::LROTATE_LEFT_LEFT | op::LROTATE_RIGHT_RIGHT => count == 1,
            _ => return None,
        })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        count: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        let key = arguments.key()?;
        let change = match op {
            op::LPUSH => ListChange::Push { end: ListEnd::Head, elements: arguments.items(count - 1)? },
            op::RPUSH => ListChange::Push { end: ListEnd::Tail, elements: arguments.items(count - 1)? },
            op::LTRIM => ListChange::Trim { head: arguments.number()?, tail: arguments.number()? },
            op::LSET => ListChange::Set { index: arguments.number()?, element: arguments.bytes()? },
            op::LINSERT_BEFORE | op::LINSERT_AFTER => {
                let (pivot, element) = (arguments.number()?, arguments.bytes()?);
                ListChange::Insert { pivot, value: None, after: op == op::LINSERT_AFTER, element }
            }
            op::LINSERT_BEFORE_VALUE | op::LINSERT_AFTER_VALUE => {
                let (pivot, value) = (arguments.number()?, Some(arguments.bytes()?));
                let after = op == op::LINSERT_AFTER_VALUE;
                ListChange::Insert { pivot, value, after, element: arguments.bytes()? }
            }
            op::LREM => ListChange::Remove { positions: arguments.bytes()? },
            op::LROTATE_LEFT_RIGHT => ListChange::Rotate { from: ListEnd::Head, to: ListEnd::Tail },
            op::LROTATE_RIGHT_LEFT => ListChange::Rotate { from: ListEnd::Tail, to: ListEnd::Head },
            op::LROTATE_LEFT_LEFT => ListChange::Rotate { from: ListEnd::Head, to: ListEnd::Head },
            op::LROTATE_RIGHT_RIGHT => ListChange::Rotate { from: ListEnd::Tail, to: ListEnd::Tail },
            op::LADD_NODE | op::LADD_PLAIN_NODE => {
                ListChange::AddNode { plain: op == op::LADD_PLAIN_NODE, elements: arguments.items(count - 1)? }
            }
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        };
        Ok(ListEffect { key, change })
    }

    fn encode(&self, to: &mut Encoder) {
        let key = self.key;
        let counted = |elements: &Items<'_>| 1 + elements.len() as u64;
        match self.change {
            ListChange::Push { end, elements } => {
                let op = if end == ListEnd::Head { op::LPUSH } else { op::RPUSH };
                to.keyed(op, counted(&elements), key).items(elements)
            }
            ListChange::Trim { head, tail } => to.keyed(op::LTRIM, 3, key).number_arg(head).number_arg(tail),
            ListChange::Set { index, element } => to.keyed(op::LSET, 3, key).number_arg(index).bytes_arg(element),
            ListChange::Insert { pivot, value: None, after, element } => {
                let op = if after { op::LINSERT_AFTER } else { op::LINSERT_BEFORE };
                to.keyed(op, 3, key).number_arg(pivot).bytes_arg(element)
            }
            ListChange::Insert { pivot, value: Some(value), after, element } => {
                let op = if after { op::LINSERT_AFTER_VALUE } else { op::LINSERT_BEFORE_VALUE };
                to.keyed(op, 4, key).number_arg(pivot).bytes_arg(value).bytes_arg(element)
            }
            ListChange::Remove { positions } => to.keyed(op::LREM, 2, key).bytes_arg(positions),
            ListChange::Rotate { from, to: end } => {
                let op = match (from, end) {
                    (ListEnd::Head, ListEnd::Tail) => op::LROTATE_LEFT_RIGHT,
                    (ListEnd::Tail, ListEnd::Head) => op::LROTATE_RIGHT_LEFT,
                    (ListEnd::Head, ListEnd::Head) => op::LROTATE_LEFT_LEFT,
                    (ListEnd::Tail, ListEnd::Tail) => op::LROTATE_RIGHT_RIGHT,
                };
                to.keyed(op, 1, key)
            }
            ListChange::AddNode { plain, elements } => {
                let op = if plain { op::LADD_PLAIN_NODE } else { op::LADD_NODE };
                to.keyed(op, counted(&elements), key).items(elements)
            }
        };
    }

    fn arguments_max(&self) -> usize {
        let key = self.key.bytes.len();
        key + match &self.change {
            ListChange::Push { elements, .. } | ListChange::AddNode { elements, .. } => items_max(elements),
            ListChange::Set { element, .. } => element.len(),
            // A fourth length.
            ListChange::Insert { element, value, .. } => {
                element.len() + value.map_or(0, |value| value.len() + size_of::<u64>())
            }
            ListChange::Remove { positions } => positions.len(),
            ListChange::Trim { .. } | ListChange::Rotate { .. } => 0,
        }
    }

    #[inline]
    fn level(&self) -> FormatLevel {
        match self.change {
            ListChange::Insert { value: Some(_), .. } => FormatLevel::OUTBOUND,
            _ => FormatLevel::COLLECTIONS,
        }
    }

    #[inline]
    fn keys(&self) -> EffectKeys<'a> {
        EffectKeys::One(self.key)
    }

    fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
        keyspace.change_list(&self.key, &self.change, now);
    }

    /// An image reads a large list from a copy that shares its nodes, so it need not know what changes.
    fn impact(&self) -> Impact<'a> {
        Impact::Extends
    }
}
