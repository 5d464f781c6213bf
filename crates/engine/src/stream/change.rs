//! A change of a stream. It names ids, and the times and counts that result, so that it means the same on every
//! replica.

use super::id::StreamId;
use crate::codec::varint;
use crate::effect::Items;

/// What changes. Whatever names an entry, a group or a consumer that does not exist changes nothing, unless it creates
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamChange<'a> {
    /// Adds an entry at the end; a missing key counts as an empty stream.
    Add {
        /// Its id, larger than all before.
        id: StreamId,
        /// Whether it starts a node.
        in_new_node: bool,
        /// Its fields, each followed by its value.
        fields: Items<'a>,
    },
    /// Adds a node of entries at the end, as a restored stream has it; a missing key counts as an empty stream.
    AddNode {
        /// Its id.
        id: StreamId,
        /// Number of its entries that were not removed.
        live: u64,
        /// Number of its entries that were.
        deleted: u64,
        /// Its entries, packed.
        bytes: &'a [u8],
    },
    /// Removes entries.
    Delete {
        /// Their ids; see [`write_ids`].
        ids: &'a [u8],
    },
    /// Removes entries from the start.
    Trim {
        /// How many whole nodes.
        nodes: u64,
        /// How many entries of the node after them; not all.
        entries: u64,
        /// The id of the last one that is removed; `None`: not recorded, by an older version. It decides nothing: it is
        /// for readers that do not have the stream.
        last: Option<StreamId>,
    },
    /// Sets the counters; a missing key becomes an empty stream.
    SetCounters {
        /// The largest id so far.
        last: StreamId,
        /// How many entries were ever added.
        added: u64,
        /// The largest id that was removed.
        max_deleted: StreamId,
    },
    /// Creates a consumer group; a missing key becomes an empty stream.
    CreateGroup {
        /// Its name.
        group: &'a [u8],
        /// The last id that counts as delivered.
        last: StreamId,
        /// How many entries were read up to that; -1: not known.
        read: i64,
    },
    /// Sets what a group has read.
    SetGroup {
        /// Its name.
        group: &'a [u8],
        /// The last id that counts as delivered.
        last: StreamId,
        /// How many entries were read up to that; -1: not known.
        read: i64,
    },
    /// Removes a group.
    DestroyGroup {
        /// Its name.
        group: &'a [u8],
    },
    /// Sets the times of a consumer, which is created if it does not exist.
    SetConsumer {
        /// The name of its group.
        group: &'a [u8],
        /// Its name.
        consumer: &'a [u8],
        /// When it last tried to read or claim, ms since the Unix epoch.
        seen: i64,
        /// When it last got an entry, ms since the Unix epoch; -1: never.
        active: i64,
    },
    /// Removes a consumer with everything that is pending for it.
    DeleteConsumer {
        /// The name of its group.
        group: &'a [u8],
        /// Its name.
        consumer: &'a [u8],
    },
    /// Makes entries pending for a consumer, whoever had them.
    Deliver {
        /// The name of its group.
        group: &'a [u8],
        /// Its name.
        consumer: &'a [u8],
        /// The entries; see [`write_deliveries`].
        deliveries: &'a [u8],
    },
    /// Ends that entries are pending.
    Acknowledge {
        /// The name of the group.
        group: &'a [u8],
        /// The ids; see [`write_ids`].
        ids: &'a [u8],
    },
}

impl StreamChange<'_> {
    /// Whether it makes a stream where there is none.
    pub(super) fn creates(&self) -> bool {
        matches!(
            self,
            StreamChange::Add { .. }
                | StreamChange::AddNode { .. }
                | StreamChange::SetCounters { .. }
                | StreamChange::CreateGroup { .. }
        )
    }
}

/// An entry that is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: StreamId,
    /// When it was last delivered, ms since the Unix epoch.
    pub time: i64,
    /// How often it was delivered.
    pub count: u64,
}

/// Writes ids: of each the difference of its milliseconds to those before, and its sequence number, as varints.
#[must_use]
pub fn write_ids(ids: impl IntoIterator<Item = StreamId>) -> Vec<u8> {
    let (mut out, mut before) = (Vec::new(), 0u64);
    for id in ids {
        varint::write(&mut out, id.ms.wrapping_sub(before));
        varint::write(&mut out, id.seq);
        before = id.ms;
    }
    out
}

fn read_id(bytes: &mut &[u8], before: &mut u64) -> Option<StreamId> {
    let ms = before.wrapping_add(varint::read(bytes).ok()?);
    *before = ms;
    Some(StreamId { ms, seq: varint::read(bytes).ok()? })
}

/// Reads what [`write_ids`] wrote.
pub fn read_ids(mut bytes: &[u8]) -> impl Iterator<Item = StreamId> {
    let mut before = 0;
    std::iter::from_fn(move || read_id(&mut bytes, &mut before))
}

/// Writes pending entries: of each its id as [`write_ids`] does, the difference of its time to that before as a zigzag
/// varint, and its count.
#[must_use]
pub fn write_deliveries(deliveries: &[Delivery]) -> Vec<u8> {
    let (mut out, mut before, mut time) = (Vec::new(), 0u64, 0i64);
    for delivery in deliveries {
        varint::write(&mut out, delivery.id.ms.wrapping_sub(before));
        varint::write(&mut out, delivery.id.seq);
        varint::write(&mut out, varint::zigzag(delivery.time.wrapping_sub(time)));
        varint::write(&mut out, delivery.count);
        (before, time) = (delivery.id.ms, delivery.time);
    }
    out
}

/// Reads what [`write_deliveries`] wrote.
pub fn read_deliveries(mut bytes: &[u8]) -> impl Iterator<Item = Delivery> {
    let (mut before, mut time) = (0, 0i64);
    std::iter::from_fn(move || {
        let id = read_id(&mut bytes, &mut before)?;
        time = time.wrapping_add(varint::unzigzag(varint::read(&mut bytes).ok()?));
        Some(Delivery { id, time, count: varint::read(&mut bytes).ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_deliveries_are_read_as_written() {
        let ids = [StreamId::new(5, 1), StreamId::new(5, 2), StreamId::MAX, StreamId::MIN];
        assert!(read_ids(&write_ids(ids)).eq(ids));
        let deliveries = ids.map(|id| Delivery { id, time: 7 - (id.seq as i64), count: id.ms });
        assert!(read_deliveries(&write_deliveries(&deliveries)).eq(deliveries));
        assert_eq!(write_ids(ids[..2].iter().copied()), [5, 1, 0, 2]);
    }
}
