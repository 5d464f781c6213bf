//! Streams in images and digests.
//!
//! A stream is the number of its parts, and the length and bytes of each:
//!
//! ```text
//! 0   counters   last id, largest removed id, number of added entries
//! 1   node       its id, number of live and of removed entries, length and bytes as `node.rs` has them
//! 2   group      length and bytes of its name, last id, zigzag of the number of read entries
//! 3   consumer   of the group before it: length and bytes of its name, zigzag of each of its times
//! 4   pending    of the consumer before it: up to 128 entries as `change.rs` writes them
//! ```
//!
//! All numbers are varints, an id is two of them. The parts are in this order; groups and consumers are ordered by
//! their names. The digest of a stream covers the bytes of its parts, so also entries that were removed and stay in
//! their nodes: they decide later what is trimmed. A stream that is longer than a record is read from a copy that
//! shares its nodes ([`FrozenStream`]), part by part, while the stream changes.

use super::change::{Delivery, read_deliveries, write_deliveries};
use super::entries::Stream;
use super::groups::{Consumer, ConsumerGroup};
use super::id::StreamId;
use super::node::StreamNode;
use crate::codec::digest::Running;
use crate::codec::varint;
use crate::image::codec::{ImageError, LoadParts, Loaded, Loading, RecordForm, RecordReader, write_bytes};
use crate::keyspace::value::{FrozenPart, FrozenValue};
use crate::keyspace::{Entry, Object};
use fastness_types::limits::VALUE_BYTES_MAX;
use std::sync::Arc;

/// The kind of the record. Frozen.
pub(super) const STREAM: u8 = 14;

const COUNTERS: u8 = 0;
const NODE: u8 = 1;
const GROUP: u8 = 2;
const CONSUMER: u8 = 3;
const PENDING: u8 = 4;

/// Most entries of a part of pending ones.
const PENDING_MAX: usize = 128;

/// The records of streams.
pub(crate) const RECORDS: &[RecordForm] =
    &[RecordForm { kind: STREAM, load: load_stream, parts: Some(|_| Box::<LoadedStream>::default()) }];

/// The place of the next part.
#[derive(Debug, Clone, Default)]
enum PartPlace {
    #[default]
    Counters,
    /// The first node from this id on.
    Node(StreamId),
    /// The first group after the one of this name.
    Group(Option<Box<[u8]>>),
    /// The first consumer after the one of this name, in the group of the first name.
    Consumer(Box<[u8]>, Option<Box<[u8]>>),
    /// What is pending from this id on for a consumer of a group.
    Pending(Box<[u8]>, Box<[u8]>, StreamId),
}

impl PartPlace {
    /// The part in this place, and the next place; `None` at the end.
    fn next(&mut self, stream: &Stream) -> Option<Vec<u8>> {
        loop {
            let (part, next) = self.step(stream)?;
            *self = next;
            if part.is_some() {
                return part;
            }
        }
    }

    /// The part in this place, if there is any, and the place after it; `None` at the end.
    fn step(&self, stream: &Stream) -> Option<(Option<Vec<u8>>, PartPlace)> {
        let mut part = Vec::new();
        let next = match self {
            PartPlace::Counters => {
                write_counters(stream, &mut part);
                PartPlace::Node(StreamId::MIN)
            }
            PartPlace::Node(from) => match stream.node_from(*from) {
                Some((id, node)) => {
                    write_node(id, node, &mut part);
                    id.next().map_or(PartPlace::Group(None), PartPlace::Node)
                }
                None => PartPlace::Group(None),
            },
            PartPlace::Group(after) => {
                let (name, group) = stream.group_after(after.as_deref())?;
                write_group(name, group, &mut part);
                PartPlace::Consumer(name.into(), None)
            }
            PartPlace::Consumer(group, after) => {
                match stream.group(group).and_then(|group| group.consumer_after(after.as_deref())) {
                    Some(consumer) => {
                        write_consumer(consumer, &mut part);
                        PartPlace::Pending(group.clone(), Box::from(&*consumer.name), StreamId::MIN)
                    }
                    None => PartPlace::Group(Some(group.clone())),
                }
            }
            PartPlace::Pending(name, consumer, from) => {
                let group = stream.group(name)?;
                let ids = group.consumer(consumer)?.pending.iter_from(*from).map(|(id, ())| id);
                let of = |id| group.pending.get(id).map(|held| Delivery { id, time: held.time, count: held.count });
                let deliveries: Vec<Delivery> = ids.filter_map(of).take(PENDING_MAX).collect();
                if !deliveries.is_empty() {
                    part.push(PENDING);
                    part.extend_from_slice(&write_deliveries(&deliveries));
                }
                match deliveries.last().and_then(|last| last.id.next()) {
                    Some(next) if deliveries.len() == PENDING_MAX => {
                        PartPlace::Pending(name.clone(), consumer.clone(), next)
                    }
                    _ => PartPlace::Consumer(name.clone(), Some(consumer.clone())),
                }
            }
        };
        Some(((!part.is_empty()).then_some(part), next))
    }
}

fn write_counters(stream: &Stream, out: &mut Vec<u8>) {
    out.push(COUNTERS);
    stream.last.write(out);
    stream.max_deleted.write(out);
    varint::write(out, stream.added);
}

fn write_node(id: StreamId, node: &StreamNode, out: &mut Vec<u8>) {
    out.push(NODE);
    id.write(out);
    varint::write(out, node.live());
    varint::write(out, node.deleted());
    write_bytes(node.bytes(), out);
}

fn write_group(name: &[u8], group: &ConsumerGroup, out: &mut Vec<u8>) {
    out.push(GROUP);
    write_bytes(name, out);
    group.last.write(out);
    varint::write(out, varint::zigzag(group.read));
}

fn write_consumer(consumer: &Consumer, out: &mut Vec<u8>) {
    out.push(CONSUMER);
    write_bytes(&consumer.name, out);
    varint::write(out, varint::zigzag(consumer.seen));
    varint::write(out, varint::zigzag(consumer.active));
}

/// Number of parts.
fn part_count(stream: &Stream) -> usize {
    let of_consumer = |consumer: &Consumer| 1 + consumer.pending.len().div_ceil(PENDING_MAX);
    let of_group = |group: &ConsumerGroup| 1 + group.consumers().map(of_consumer).sum::<usize>();
    1 + stream.node_count() + stream.groups().map(|(_, group)| of_group(group)).sum::<usize>()
}

pub(super) fn write_stream(stream: &Stream, out: &mut Vec<u8>) {
    varint::write(out, part_count(stream) as u64);
    let mut place = PartPlace::default();
    while let Some(part) = place.next(stream) {
        write_bytes(&part, out);
    }
}

pub(super) fn digest_stream(stream: &Stream, digest: &mut Running) {
    let mut place = PartPlace::default();
    while let Some(part) = place.next(stream) {
        digest.bytes(&part);
    }
}

fn load_stream(reader: &mut RecordReader<'_>, _: Loading) -> Result<Loaded, ImageError> {
    let mut loaded = LoadedStream::default();
    for _ in 0..reader.varint()? {
        loaded.load(reader)?;
    }
    Ok(Loaded::Object(Box::new(loaded).into_object()))
}

/// A stream whose parts arrive one after the other.
#[derive(Debug, Default)]
struct LoadedStream {
    stream: Stream,
    parts: usize,
    /// The names of the last group and of its last consumer.
    group: Vec<u8>,
    consumer: Vec<u8>,
    /// The start of the next part.
    start: Vec<u8>,
}

impl LoadedStream {
    fn part(&mut self, part: &[u8]) -> Option<()> {
        let (kind, mut rest) = part.split_first()?;
        let rest = &mut rest;
        match *kind {
            COUNTERS => {
                self.stream.last = StreamId::read(rest)?;
                self.stream.max_deleted = StreamId::read(rest)?;
                self.stream.added = varint::read(rest).ok()?;
            }
            NODE => {
                let id = StreamId::read(rest)?;
                let (live, deleted) = (varint::read(rest).ok()?, varint::read(rest).ok()?);
                let node = StreamNode::of_bytes(id, live, deleted, read_bytes(rest)?)?;
                if self.stream.last_node().is_some_and(|(last, _)| last >= id) {
                    return None;
                }
                self.stream.insert_node(id, Arc::new(node));
            }
            GROUP => {
                self.group = read_bytes(rest)?.to_vec();
                let (last, read) = (StreamId::read(rest)?, read_integer(rest)?);
                if !self.stream.insert_group(&self.group, ConsumerGroup::new(last, read)) {
                    return None;
                }
            }
            CONSUMER => {
                self.consumer = read_bytes(rest)?.to_vec();
                let (seen, active) = (read_integer(rest)?, read_integer(rest)?);
                let name = &self.consumer;
                self.stream.change_group(&self.group, |group| group.set_times(name, seen, active))?;
            }
            PENDING => {
                let name = &self.consumer;
                let deliveries = read_deliveries(std::mem::take(rest));
                self.stream.change_group(&self.group, |group| {
                    for Delivery { id, time, count } in deliveries {
                        group.set_pending(id, Some((name, time, count)));
                    }
                })?;
            }
            _ => return None,
        }
        rest.is_empty().then_some(())
    }
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::read(rest).ok()?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

fn read_integer(rest: &mut &[u8]) -> Option<i64> {
    varint::read(rest).ok().map(varint::unzigzag)
}

impl LoadParts for LoadedStream {
    fn len(&self) -> usize {
        self.parts
    }

    /// A part has no records of its own.
    fn has(&self, _: &[u8]) -> bool {
        true
    }

    fn load(&mut self, reader: &mut RecordReader<'_>) -> Result<(), ImageError> {
        let mut part = std::mem::take(&mut self.start);
        let rest = reader.bytes()?;
        if part.is_empty() {
            self.part(rest).ok_or(ImageError::Truncated)?;
        } else {
            part.extend_from_slice(rest);
            self.part(&part).ok_or(ImageError::Truncated)?;
        }
        self.parts += 1;
        Ok(())
    }

    fn load_start(&mut self, bytes: &[u8]) -> bool {
        self.start.extend_from_slice(bytes);
        self.start.len() <= 2 * VALUE_BYTES_MAX
    }

    fn add(&mut self, _: Entry) -> bool {
        false
    }

    fn into_object(self: Box<Self>) -> Object {
        Object::new(self.stream)
    }
}

/// A stream as it was at one moment. It shares nodes and pending entries, and whoever changes one makes a copy first.
#[derive(Debug)]
pub(super) struct FrozenStream {
    stream: Stream,
    place: PartPlace,
    /// Number of parts that have not been read.
    left: usize,
    /// The part that is being read, and how much of it has been.
    part: Vec<u8>,
    at: usize,
    /// See [`FrozenValue::bytes`].
    kept: usize,
    /// What the stream had ceased to own before, bytes.
    released_before: usize,
}

impl FrozenStream {
    pub(super) fn new(stream: &Stream) -> FrozenStream {
        FrozenStream {
            stream: stream.clone(),
            place: PartPlace::default(),
            left: part_count(stream),
            part: Vec::new(),
            at: 0,
            kept: 0,
            released_before: stream.released(),
        }
    }

    /// Gives up the node that was read.
    fn drop_first_node(&mut self) {
        let before = self.stream.released();
        self.stream.pop_first_node();
        // That this copy gives the node up is no loss of the stream.
        self.released_before += self.stream.released() - before;
    }
}

impl FrozenValue for FrozenStream {
    fn parts_left(&self) -> usize {
        self.left
    }

    fn bytes(&self) -> usize {
        self.kept
    }

    /// An upper bound: of the nodes that the stream has given up, some may have been read already.
    fn note_kept(&mut self) {
        self.kept = (self.stream.released() - self.released_before).min(self.stream.bytes());
    }

    fn read(&mut self, room: usize, out: &mut Vec<u8>, digest: &mut Running) -> FrozenPart {
        if self.part.is_empty() {
            self.part = self.place.next(&self.stream).unwrap_or_default();
            self.at = 0;
            if self.part.first() == Some(&NODE) {
                self.drop_first_node();
            }
        }
        let end = self.part.len().min(self.at.saturating_add(room.max(1)));
        let bytes = &self.part[self.at..end];
        digest.bytes(bytes);
        if end < self.part.len() {
            out.extend_from_slice(bytes);
            self.at = end;
            return FrozenPart::Start;
        }
        write_bytes(bytes, out);
        self.part = Vec::new();
        self.left = self.left.saturating_sub(1);
        FrozenPart::Whole
    }
}
