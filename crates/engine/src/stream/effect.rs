//! Effects of streams.

use super::change::StreamChange;
use super::id::StreamId;
use crate::codec::varint::{unzigzag, zigzag};
use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Expired, Impact, TypeEffect, items_max};
use crate::keyspace::{Key, Keyspace};
use fastness_types::{FormatLevel, WallMs};

/// Frozen op numbers.
mod op {
    pub(super) const XADD: u16 = 160;
    pub(super) const XADD_IN_NEW_NODE: u16 = 161;
    pub(super) const XADD_NODE: u16 = 162;
    pub(super) const XDEL: u16 = 163;
    pub(super) const XTRIM: u16 = 164;
    pub(super) const XSETID: u16 = 165;
    pub(super) const GROUP_CREATE: u16 = 166;
    pub(super) const GROUP_SETID: u16 = 167;
    pub(super) const GROUP_DESTROY: u16 = 168;
    pub(super) const CONSUMER_SET: u16 = 169;
    pub(super) const CONSUMER_DELETE: u16 = 170;
    pub(super) const DELIVER: u16 = 171;
    pub(super) const XACK: u16 = 172;
    pub(super) const XTRIM_UP_TO: u16 = 173;
}

/// Upper bound, in bytes, on an encoded id.
const ID_MAX: usize = 20;

/// A change of the stream at a key. See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEffect<'a> {
    /// The key.
    pub key: Key<'a>,
    /// The change.
    pub change: StreamChange<'a>,
}

/// Reads an argument that is an id.
fn id<'a, F: Fn(&'a [u8]) -> Key<'a>>(arguments: &mut Arguments<'_, 'a, F>) -> Result<StreamId, DecodeError> {
    let mut bytes = arguments.bytes()?;
    StreamId::read(&mut bytes).filter(|_| bytes.is_empty()).ok_or(DecodeError::Number)
}

/// Reads an argument that is an integer.
fn integer<'a, F: Fn(&'a [u8]) -> Key<'a>>(arguments: &mut Arguments<'_, 'a, F>) -> Result<i64, DecodeError> {
    arguments.number().map(unzigzag)
}

fn id_arg(to: &mut Encoder, id: StreamId) -> &mut Encoder {
    let mut bytes = Vec::with_capacity(ID_MAX);
    id.write(&mut bytes);
    to.bytes_arg(&bytes)
}

impl StreamEffect<'_> {
    /// Whether it changes only counters and groups of a stream that exists: no change for a watching client, as in
    /// Valkey.
    pub(crate) fn spares_watchers(&self, keyspace: &Keyspace) -> bool {
        let is_of_entries = matches!(
            self.change,
            StreamChange::Add { .. }
                | StreamChange::AddNode { .. }
                | StreamChange::Delete { .. }
                | StreamChange::Trim { .. }
        );
        !is_of_entries && keyspace.find(&self.key).is_some()
    }
}

impl<'a> TypeEffect<'a> for StreamEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::XADD | op::XADD_IN_NEW_NODE => count >= 4 && count.is_multiple_of(2),
            op::XADD_NODE | op::CONSUMER_SET => count == 5,
            op::XSETID | op::GROUP_CREATE | op::GROUP_SETID | op::DELIVER | op::XTRIM_UP_TO => count == 4,
            op::XTRIM | op::CONSUMER_DELETE | op::XACK => count == 3,
            op::XDEL | op::GROUP_DESTROY => count == 2,
            _ => return None,
        })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        count: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        let key = arguments.key()?;
        let from = arguments;
        let change = match op {
            op::XADD | op::XADD_IN_NEW_NODE => {
                let in_new_node = op == op::XADD_IN_NEW_NODE;
                StreamChange::Add { id: id(from)?, in_new_node, fields: from.items(count - 2)? }
            }
            op::XADD_NODE => {
                let (id, live, deleted) = (id(from)?, from.number()?, from.number()?);
                StreamChange::AddNode { id, live, deleted, bytes: from.bytes()? }
            }
            op::XDEL => StreamChange::Delete { ids: from.bytes()? },
            op::XTRIM => StreamChange::Trim { nodes: from.number()?, entries: from.number()?, last: None },
            op::XTRIM_UP_TO => {
                StreamChange::Trim { nodes: from.number()?, entries: from.number()?, last: Some(id(from)?) }
            }
            op::XSETID => StreamChange::SetCounters { last: id(from)?, added: from.number()?, max_deleted: id(from)? },
            op::GROUP_CREATE => {
                StreamChange::CreateGroup { group: from.bytes()?, last: id(from)?, read: integer(from)? }
            }
            op::GROUP_SETID => StreamChange::SetGroup { group: from.bytes()?, last: id(from)?, read: integer(from)? },
            op::GROUP_DESTROY => StreamChange::DestroyGroup { group: from.bytes()? },
            op::CONSUMER_SET => {
                let (group, consumer) = (from.bytes()?, from.bytes()?);
                StreamChange::SetConsumer { group, consumer, seen: integer(from)?, active: integer(from)? }
            }
            op::CONSUMER_DELETE => StreamChange::DeleteConsumer { group: from.bytes()?, consumer: from.bytes()? },
            op::DELIVER => {
                let (group, consumer) = (from.bytes()?, from.bytes()?);
                StreamChange::Deliver { group, consumer, deliveries: from.bytes()? }
            }
            op::XACK => StreamChange::Acknowledge { group: from.bytes()?, ids: from.bytes()? },
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        };
        Ok(StreamEffect { key, change })
    }

    fn encode(&self, to: &mut Encoder) {
        let key = self.key;
        match self.change {
            StreamChange::Add { id, in_new_node, fields } => {
                let op = if in_new_node { op::XADD_IN_NEW_NODE } else { op::XADD };
                id_arg(to.keyed(op, 2 + fields.len() as u64, key), id).items(fields)
            }
            StreamChange::AddNode { id, live, deleted, bytes } => {
                id_arg(to.keyed(op::XADD_NODE, 5, key), id).number_arg(live).number_arg(deleted).bytes_arg(bytes)
            }
            StreamChange::Delete { ids } => to.keyed(op::XDEL, 2, key).bytes_arg(ids),
            StreamChange::Trim { nodes, entries, last: None } => {
                to.keyed(op::XTRIM, 3, key).number_arg(nodes).number_arg(entries)
            }
            StreamChange::Trim { nodes, entries, last: Some(last) } => {
                id_arg(to.keyed(op::XTRIM_UP_TO, 4, key).number_arg(nodes).number_arg(entries), last)
            }
            StreamChange::SetCounters { last, added, max_deleted } => {
                id_arg(id_arg(to.keyed(op::XSETID, 4, key), last).number_arg(added), max_deleted)
            }
            StreamChange::CreateGroup { group, last, read } => {
                id_arg(to.keyed(op::GROUP_CREATE, 4, key).bytes_arg(group), last).number_arg(zigzag(read))
            }
            StreamChange::SetGroup { group, last, read } => {
                id_arg(to.keyed(op::GROUP_SETID, 4, key).bytes_arg(group), last).number_arg(zigzag(read))
            }
            StreamChange::DestroyGroup { group } => to.keyed(op::GROUP_DESTROY, 2, key).bytes_arg(group),
            StreamChange::SetConsumer { group, consumer, seen, active } => to
                .keyed(op::CONSUMER_SET, 5, key)
                .bytes_arg(group)
                .bytes_arg(consumer)
                .number_arg(zigzag(seen))
                .number_arg(zigzag(active)),
            StreamChange::DeleteConsumer { group, consumer } => {
                to.keyed(op::CONSUMER_DELETE, 3, key).bytes_arg(group).bytes_arg(consumer)
            }
            StreamChange::Deliver { group, consumer, deliveries } => {
                to.keyed(op::DELIVER, 4, key).bytes_arg(group).bytes_arg(consumer).bytes_arg(deliveries)
            }
            StreamChange::Acknowledge { group, ids } => to.keyed(op::XACK, 3, key).bytes_arg(group).bytes_arg(ids),
        };
    }

    fn arguments_max(&self) -> usize {
        let key = self.key.bytes.len();
        key + match &self.change {
            StreamChange::Add { fields, .. } => ID_MAX + items_max(fields),
            StreamChange::AddNode { bytes, .. } => ID_MAX + bytes.len(),
            StreamChange::Delete { ids } => ids.len(),
            StreamChange::Trim { last, .. } => last.map_or(0, |_| ID_MAX + size_of::<u64>()),
            StreamChange::SetCounters { .. } => 2 * ID_MAX,
            StreamChange::CreateGroup { group, .. } | StreamChange::SetGroup { group, .. } => ID_MAX + group.len(),
            StreamChange::DestroyGroup { group } => group.len(),
            StreamChange::SetConsumer { group, consumer, .. } | StreamChange::DeleteConsumer { group, consumer } => {
                group.len() + consumer.len()
            }
            StreamChange::Deliver { group, consumer, deliveries } => {
                // Four lengths.
                group.len() + consumer.len() + deliveries.len() + size_of::<u64>()
            }
            StreamChange::Acknowledge { group, ids } => group.len() + ids.len(),
        }
    }

    #[inline]
    fn level(&self) -> FormatLevel {
        match self.change {
            StreamChange::Trim { last: Some(_), .. } => FormatLevel::OUTBOUND,
            _ => FormatLevel::COLLECTIONS,
        }
    }

    #[inline]
    fn keys(&self) -> EffectKeys<'a> {
        EffectKeys::One(self.key)
    }

    fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
        keyspace.change_stream(&self.key, &self.change, now);
    }

    /// An image reads a large stream from a copy that shares its nodes, so it need not know what changes.
    fn impact(&self) -> Impact<'a> {
        Impact::Extends
    }

    fn removes_expired(&self, _: &Keyspace, _: WallMs) -> Option<Expired> {
        None
    }
}
