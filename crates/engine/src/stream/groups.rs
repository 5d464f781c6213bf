//! Consumer groups: what was delivered to whom and is not acknowledged.
//!
//! # Invariants
//! - An id is pending at most once in a group, and then exactly one consumer of the group, the one that it names, has
//!   it among its own.
//! - `consumer_bytes` is the memory of the consumers without their pending ids.

use super::id::StreamId;
use super::id_map::IdMap;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Memory of a pending entry, bytes: its place in the group, and in its consumer.
const PENDING_BYTES: usize = size_of::<(StreamId, PendingEntry)>() + size_of::<(StreamId, ())>();
/// Memory of a group and of a consumer beside their names, bytes, with their places in a map.
const GROUP_BYTES: usize = size_of::<ConsumerGroup>() + 4 * size_of::<usize>();
const CONSUMER_BYTES: usize = size_of::<Consumer>() + 6 * size_of::<usize>();

/// A name, which pending entries share with their consumer.
pub(super) type Name = Arc<[u8]>;

/// An entry that was delivered to a consumer and is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingEntry {
    pub(super) consumer: Name,
    /// When it was last delivered, ms since the Unix epoch.
    pub(super) time: i64,
    /// How often it was delivered.
    pub(super) count: u64,
}

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Consumer {
    /// Its name.
    pub(super) name: Name,
    /// When it last tried to read or claim, ms since the Unix epoch.
    pub(super) seen: i64,
    /// When it last got an entry, ms since the Unix epoch; -1: never.
    pub(super) active: i64,
    /// The ids that are pending for it.
    pub(super) pending: IdMap<()>,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ConsumerGroup {
    /// The last id that was delivered.
    pub(super) last: StreamId,
    /// How many entries of the stream were read up to that id; -1: not known.
    pub(super) read: i64,
    pub(super) pending: IdMap<PendingEntry>,
    consumers: BTreeMap<Name, Consumer>,
    consumer_bytes: usize,
}

impl ConsumerGroup {
    pub(super) fn new(last: StreamId, read: i64) -> ConsumerGroup {
        ConsumerGroup { last, read, ..ConsumerGroup::default() }
    }

    /// Memory, bytes, without the name.
    pub(super) fn bytes(&self) -> usize {
        GROUP_BYTES + self.consumer_bytes + self.pending.len() * PENDING_BYTES
    }

    /// The consumers, by their names.
    pub(super) fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.consumers.values()
    }

    /// The first consumer after this name.
    pub(super) fn consumer_after(&self, name: Option<&[u8]>) -> Option<&Consumer> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.consumers.range::<[u8], _>((from, Bound::Unbounded)).next().map(|(_, consumer)| consumer)
    }

    pub(super) fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// Sets the times of a consumer, which is created if it does not exist. Returns those it had.
    pub(super) fn set_times(&mut self, name: &[u8], seen: i64, active: i64) -> Option<(i64, i64)> {
        if let Some(consumer) = self.consumers.get_mut(name) {
            let old = (consumer.seen, consumer.active);
            (consumer.seen, consumer.active) = (seen, active);
            return Some(old);
        }
        let name = Name::from(name);
        self.consumer_bytes += CONSUMER_BYTES + name.len();
        let consumer = Consumer { name: name.clone(), seen, active, pending: IdMap::default() };
        self.consumers.insert(name, consumer);
        None
    }

    /// Sets to whom an id is pending; `None`: to nobody. Returns what was set before. A consumer that does not exist
    /// gets nothing.
    pub(super) fn set_pending(&mut self, id: StreamId, pending: Option<(&[u8], i64, u64)>) -> Option<PendingEntry> {
        let new = pending.and_then(|(name, time, count)| {
            let consumer = self.consumers.get(name)?.name.clone();
            Some(PendingEntry { consumer, time, count })
        });
        let old = match &new {
            Some(new) => self.pending.insert(id, new.clone()),
            None => self.pending.remove(id),
        };
        let owner = |pending: &Option<PendingEntry>| pending.as_ref().map(|pending| pending.consumer.clone());
        let (from, to) = (owner(&old), owner(&new));
        if from != to {
            if let Some(consumer) = from.and_then(|name| self.consumers.get_mut(&name)) {
                consumer.pending.remove(id);
            }
            if let Some(consumer) = to.and_then(|name| self.consumers.get_mut(&name)) {
                consumer.pending.insert(id, ());
            }
        }
        old
    }

    /// Removes a consumer with what is pending for it, as a group of its own.
    pub(super) fn take_consumer(&mut self, name: &[u8]) -> Option<ConsumerGroup> {
        let consumer = self.consumers.remove(name)?;
        let mut taken = ConsumerGroup::default();
        for (id, ()) in consumer.pending.iter() {
            if let Some(pending) = self.pending.remove(id) {
                taken.pending.insert(id, pending);
            }
        }
        let bytes = CONSUMER_BYTES + consumer.name.len();
        self.consumer_bytes -= bytes;
        taken.consumer_bytes += bytes;
        taken.consumers.insert(consumer.name.clone(), consumer);
        Some(taken)
    }

    /// Puts back what [`ConsumerGroup::take_consumer`] returned.
    pub(super) fn put_consumer(&mut self, taken: ConsumerGroup) {
        self.consumer_bytes += taken.consumer_bytes;
        taken.pending.iter().for_each(|(id, pending)| _ = self.pending.insert(id, pending.clone()));
        self.consumers.extend(taken.consumers);
    }

    /// Frees one pending entry or consumer, for groups that are removed; returns whether there was one.
    pub(super) fn free_one(&mut self) -> bool {
        if let Some((id, pending)) = self.pending.pop_last() {
            if let Some(consumer) = self.consumers.get_mut(&pending.consumer) {
                consumer.pending.remove(id);
            }
            return true;
        }
        let Some((name, _)) = self.consumers.pop_last() else { return false };
        self.consumer_bytes -= CONSUMER_BYTES + name.len();
        true
    }

    /// A copy that shares nothing.
    pub(super) fn copied(&self) -> ConsumerGroup {
        let mut copy = ConsumerGroup::new(self.last, self.read);
        self.consumers().for_each(|consumer| _ = copy.set_times(&consumer.name, consumer.seen, consumer.active));
        for (id, pending) in self.pending.iter() {
            copy.set_pending(id, Some((&pending.consumer, pending.time, pending.count)));
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_pending_for_one_consumer() {
        let mut group = ConsumerGroup::new(StreamId::MIN, -1);
        assert_eq!(group.set_times(b"a", 1, -1), None);
        assert_eq!(group.set_times(b"b", 1, 1), None);
        assert_eq!(group.set_times(b"a", 2, 2), Some((1, -1)));
        let (one, two) = (StreamId::new(1, 0), StreamId::new(2, 0));
        assert_eq!(group.set_pending(one, Some((b"a", 5, 1))), None);
        assert_eq!(group.set_pending(two, Some((b"none", 5, 1))), None);
        assert_eq!(group.set_pending(two, Some((b"a", 5, 1))), None);
        let before = group.copied();
        assert!(before == group && before.bytes() == group.bytes());
        assert_eq!(group.set_pending(one, Some((b"b", 6, 2))).map(|old| old.time), Some(5));
        let of = |group: &ConsumerGroup, name: &[u8]| group.consumer(name).map(|consumer| consumer.pending.len());
        assert_eq!((of(&group, b"a"), of(&group, b"b"), group.pending.len()), (Some(1), Some(1), 2));
        group.set_pending(one, Some((b"a", 5, 1)));
        assert!(before == group);
        let taken = group.take_consumer(b"a").unwrap();
        assert_eq!((of(&group, b"a"), group.pending.len()), (None, 0));
        group.put_consumer(taken);
        assert!(before == group && before.bytes() == group.bytes());
        while group.free_one() {}
        assert_eq!((of(&group, b"a"), group.pending.len()), (None, 0));
    }
}
