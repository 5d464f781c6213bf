//! How a stream changes, and how changes are undone.
//!
//! Each step of a change leaves what reverses it: a few bytes, or what it has removed, moved into the undo log as an
//! entry with a stream that has only that. It is freed in slices when the change has committed. Both restore nodes and
//! groups exactly. A record is a byte that says what was done, and then:
//!
//! | done | follows |
//! |---|---|
//! | added | the node's id; a byte: whether the node is new; the last id before |
//! | counters set | last id, largest removed id, number of added entries, as before |
//! | marked | the node's id; the id of the removed entry |
//! | node added | its id |
//! | group created | its name |
//! | group set | its name; last id and number of read entries, as before |
//! | consumer created | the names of group and consumer |
//! | consumer set | the names of group and consumer; its times, as before |
//! | pending | the group's name; ids, and for whom each was pending: 0, or the number of a name, first with the name |
//! | nodes, group or consumer removed | – ; of a consumer: the group's name |

use super::change::{StreamChange, read_deliveries, read_ids};
use super::entries::Stream;
use super::groups::{ConsumerGroup, Name};
use super::id::StreamId;
use super::node::StreamNode;
use crate::codec::varint;
use crate::effect::Items;
use crate::image::codec::write_bytes;
use crate::keyspace::undo::UndoLog;
use crate::keyspace::{Entry, NewValue, Object};
use std::collections::BTreeMap;
use std::sync::Arc;

const ADDED: u8 = 0;
const COUNTERS_SET: u8 = 1;
const MARKED: u8 = 2;
const NODE_ADDED: u8 = 3;
const GROUP_CREATED: u8 = 4;
const GROUP_SET: u8 = 5;
const CONSUMER_CREATED: u8 = 6;
const CONSUMER_SET: u8 = 7;
const PENDING: u8 = 8;
const FRONT_REMOVED: u8 = 9;
const NODE_REMOVED: u8 = 10;
const GROUP_REMOVED: u8 = 11;
const CONSUMER_REMOVED: u8 = 12;

/// Where a change leaves what reverses it.
pub(super) struct Trail<'u> {
    undo_log: &'u mut UndoLog,
    /// What was removed while no undo log is kept; the caller frees it.
    pub(super) removed: Vec<Object>,
}

impl<'u> Trail<'u> {
    pub(super) fn new(undo_log: &'u mut UndoLog) -> Trail<'u> {
        Trail { undo_log, removed: Vec::new() }
    }

    fn record(&mut self, done: u8, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(undo) = self.undo_log {
            let mut record = vec![done];
            write(&mut record);
            undo.absent(&record);
        }
    }

    fn removed(&mut self, done: u8, group: &[u8], removed: Stream) {
        let object = Object::new(removed);
        match self.undo_log {
            Some(undo) => {
                let name = [&[done][..], group].concat();
                undo.moved(Entry::new(&name, NewValue::of(object), None, 0));
            }
            None => self.removed.push(object),
        }
    }
}

/// Changing.
impl Stream {
    /// Makes a change.
    pub(super) fn apply(&mut self, change: &StreamChange<'_>, trail: &mut Trail<'_>) {
        match *change {
            StreamChange::Add { id, in_new_node, fields } => self.add(id, in_new_node, fields, trail),
            StreamChange::AddNode { id, live, deleted, bytes } => {
                if let Some(node) = StreamNode::of_bytes(id, live, deleted, bytes).filter(|_| self.may_add(id)) {
                    trail.record(NODE_ADDED, |record| id.write(record));
                    self.insert_node(id, Arc::new(node));
                }
            }
            StreamChange::Delete { ids } => self.delete(read_ids(ids), trail),
            StreamChange::Trim { nodes, entries, .. } => self.trim(nodes, entries, trail),
            StreamChange::SetCounters { last, added, max_deleted } => {
                self.record_counters(trail);
                (self.last, self.added, self.max_deleted) = (last, added, max_deleted);
            }
            StreamChange::CreateGroup { group, last, read } => {
                if self.insert_group(group, ConsumerGroup::new(last, read)) {
                    trail.record(GROUP_CREATED, |record| record.extend_from_slice(group));
                }
            }
            StreamChange::SetGroup { group: name, last, read } => {
                let old = self.change_group(name, |group| {
                    let old = (group.last, group.read);
                    (group.last, group.read) = (last, read);
                    old
                });
                if let Some((last, read)) = old {
                    trail.record(GROUP_SET, |record| {
                        write_bytes(name, record);
                        last.write(record);
                        varint::write(record, varint::zigzag(read));
                    });
                }
            }
            StreamChange::DestroyGroup { group } => {
                if let Some(removed) = self.remove_group(group) {
                    trail.removed(GROUP_REMOVED, &[], Stream::of_group(group, removed));
                }
            }
            StreamChange::SetConsumer { group, consumer, seen, active } => {
                match self.change_group(group, |group| group.set_times(consumer, seen, active)) {
                    Some(None) => trail.record(CONSUMER_CREATED, |record| {
                        write_bytes(group, record);
                        write_bytes(consumer, record);
                    }),
                    Some(Some((seen, active))) => trail.record(CONSUMER_SET, |record| {
                        write_bytes(group, record);
                        write_bytes(consumer, record);
                        varint::write(record, varint::zigzag(seen));
                        varint::write(record, varint::zigzag(active));
                    }),
                    None => {}
                }
            }
            StreamChange::DeleteConsumer { group, consumer } => {
                if let Some(Some(removed)) = self.change_group(group, |group| group.take_consumer(consumer)) {
                    trail.removed(CONSUMER_REMOVED, group, Stream::of_group(group, removed));
                }
            }
            StreamChange::Deliver { group, consumer, deliveries } => {
                let pending = read_deliveries(deliveries).map(|one| (one.id, Some((consumer, one.time, one.count))));
                self.set_pending(group, pending, trail);
            }
            StreamChange::Acknowledge { group, ids } => {
                self.set_pending(group, read_ids(ids).map(|id| (id, None)), trail);
            }
        }
    }

    fn of_group(name: &[u8], group: ConsumerGroup) -> Stream {
        let mut stream = Stream::default();
        stream.insert_group(name, group);
        stream
    }

    fn record_counters(&self, trail: &mut Trail<'_>) {
        trail.record(COUNTERS_SET, |record| {
            self.last.write(record);
            self.max_deleted.write(record);
            varint::write(record, self.added);
        });
    }

    fn add(&mut self, id: StreamId, in_new_node: bool, fields: Items<'_>, trail: &mut Trail<'_>) {
        if id <= self.last || !self.may_add(id) {
            return;
        }
        let pairs: Vec<(&[u8], &[u8])> = fields.pairs().collect();
        let node = self.last_node().map(|(node, _)| node).filter(|_| !in_new_node).unwrap_or(id);
        let is_new = node == id;
        let last = self.last;
        trail.record(ADDED, |record| {
            node.write(record);
            record.push(u8::from(is_new));
            last.write(record);
        });
        if is_new {
            let names: Vec<&[u8]> = pairs.iter().map(|(field, _)| *field).collect();
            self.insert_node(node, Arc::new(StreamNode::of_fields(names.into_iter())));
        }
        self.change_node(node, |entries| entries.push(node, id, pairs.iter().copied()));
        self.last = id;
        self.added = self.added.wrapping_add(1);
    }

    fn delete(&mut self, ids: impl Iterator<Item = StreamId>, trail: &mut Trail<'_>) {
        self.record_counters(trail);
        for id in ids {
            let Some((node, entries)) = self.node_of(id) else { continue };
            if entries.find(node, id).is_none() {
                continue;
            }
            if entries.live() == 1 {
                if let Some(removed) = self.remove_node(node) {
                    let mut holder = Stream::default();
                    holder.insert_node(node, removed);
                    trail.removed(NODE_REMOVED, &[], holder);
                }
            } else {
                self.mark(node, id, trail);
            }
            self.max_deleted = self.max_deleted.max(id);
        }
    }

    fn mark(&mut self, node: StreamId, id: StreamId, trail: &mut Trail<'_>) {
        trail.record(MARKED, |record| {
            node.write(record);
            id.write(record);
        });
        self.change_node(node, |entries| entries.mark(node, id, true));
    }

    fn trim(&mut self, nodes: u64, entries: u64, trail: &mut Trail<'_>) {
        if nodes > 0 {
            let removed = self.take_front(usize::try_from(nodes).unwrap_or(usize::MAX));
            trail.removed(FRONT_REMOVED, &[], removed);
        }
        let Some((node, held)) = self.nodes().next() else { return };
        let count = usize::try_from(entries).unwrap_or(usize::MAX);
        let marked: Vec<StreamId> =
            held.all(node).filter(|entry| !entry.is_deleted).map(|entry| entry.id).take(count).collect();
        marked.into_iter().for_each(|id| self.mark(node, id, trail));
    }

    fn set_pending<'p>(
        &mut self,
        name: &[u8],
        pending: impl Iterator<Item = (StreamId, Option<(&'p [u8], i64, u64)>)>,
        trail: &mut Trail<'_>,
    ) {
        let mut record = Vec::new();
        // A name stands in the record once, however many of the ids were pending for it.
        let mut names: BTreeMap<Name, u64> = BTreeMap::new();
        self.change_group(name, |group| {
            for (id, pending) in pending {
                let old = group.set_pending(id, pending);
                id.write(&mut record);
                let Some(old) = old else {
                    record.push(0);
                    continue;
                };
                let next = names.len() as u64 + 1;
                let number = *names.entry(old.consumer.clone()).or_insert(next);
                varint::write(&mut record, number);
                if number == next {
                    write_bytes(&old.consumer, &mut record);
                }
                varint::write(&mut record, varint::zigzag(old.time));
                varint::write(&mut record, old.count);
            }
        });
        trail.record(PENDING, |out| {
            write_bytes(name, out);
            out.extend_from_slice(&record);
        });
    }
}

/// Reads bytes whose length precedes them, and moves `bytes` past them.
fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::read(bytes).ok()?).ok()?;
    let (read, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(read)
}

fn read_integer(bytes: &mut &[u8]) -> Option<i64> {
    varint::read(bytes).ok().map(varint::unzigzag)
}

fn read_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// Undoing.
impl Stream {
    /// Undoes a step from its record.
    pub(super) fn undo(&mut self, record: &[u8]) {
        let done = self.undo_step(record);
        debug_assert!(done.is_some(), "no change leaves {record:?}");
    }

    fn undo_step(&mut self, record: &[u8]) -> Option<()> {
        let (done, mut rest) = record.split_first()?;
        let rest = &mut rest;
        match *done {
            ADDED => {
                let (node, is_new, last) = (StreamId::read(rest)?, read_byte(rest)? != 0, StreamId::read(rest)?);
                if is_new {
                    self.remove_node(node);
                } else {
                    self.change_node(node, StreamNode::pop);
                }
                (self.last, self.added) = (last, self.added.wrapping_sub(1));
            }
            COUNTERS_SET => {
                self.last = StreamId::read(rest)?;
                self.max_deleted = StreamId::read(rest)?;
                self.added = varint::read(rest).ok()?;
            }
            MARKED => {
                let (node, id) = (StreamId::read(rest)?, StreamId::read(rest)?);
                self.change_node(node, |entries| entries.mark(node, id, false));
            }
            NODE_ADDED => _ = self.remove_node(StreamId::read(rest)?),
            GROUP_CREATED => _ = self.remove_group(rest),
            GROUP_SET => {
                let (name, last, read) = (read_bytes(rest)?, StreamId::read(rest)?, read_integer(rest)?);
                self.change_group(name, |group| (group.last, group.read) = (last, read));
            }
            CONSUMER_CREATED => {
                let (name, consumer) = (read_bytes(rest)?, read_bytes(rest)?);
                self.change_group(name, |group| group.take_consumer(consumer));
            }
            CONSUMER_SET => {
                let (name, consumer) = (read_bytes(rest)?, read_bytes(rest)?);
                let (seen, active) = (read_integer(rest)?, read_integer(rest)?);
                self.change_group(name, |group| group.set_times(consumer, seen, active));
            }
            PENDING => self.undo_pending(read_bytes(rest)?, rest)?,
            _ => return None,
        }
        Some(())
    }

    fn undo_pending(&mut self, name: &[u8], mut rest: &[u8]) -> Option<()> {
        let mut steps = Vec::new();
        let mut names: Vec<&[u8]> = Vec::new();
        while !rest.is_empty() {
            let id = StreamId::read(&mut rest)?;
            let old = match usize::try_from(varint::read(&mut rest).ok()?).ok()? {
                0 => None,
                number => {
                    if number == names.len() + 1 {
                        names.push(read_bytes(&mut rest)?);
                    }
                    let consumer = *names.get(number - 1)?;
                    Some((consumer, read_integer(&mut rest)?, varint::read(&mut rest).ok()?))
                }
            };
            steps.push((id, old));
        }
        self.change_group(name, |group| {
            steps.into_iter().rev().for_each(|(id, old)| _ = group.set_pending(id, old));
        });
        Some(())
    }

    /// Undoes a removal: `entry` is the undo log's, with what was removed.
    pub(super) fn put_back(&mut self, mut entry: Entry) {
        let Some((done, group)) = entry.key().split_first().map(|(done, group)| (*done, group.to_vec())) else {
            return;
        };
        let removed = entry.object_mut().and_then(|object| object.downcast_mut::<Stream>()).map(std::mem::take);
        let Some(mut removed) = removed else { return };
        match done {
            FRONT_REMOVED => self.put_front(removed),
            NODE_REMOVED => {
                while let Some((id, node)) = removed.pop_first_node() {
                    self.insert_node(id, node);
                }
            }
            GROUP_REMOVED => {
                while let Some((name, group)) = removed.pop_first_group() {
                    self.insert_group(&name, group);
                }
            }
            CONSUMER_REMOVED => {
                if let Some((_, taken)) = removed.pop_first_group() {
                    self.change_group(&group, |group| group.put_consumer(taken));
                }
            }
            _ => debug_assert!(false, "no change leaves {done}"),
        }
    }
}
