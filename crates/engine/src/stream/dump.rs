//! Streams in DUMP's payloads.
//!
//! | type | | read | written |
//! |---|---|---|---|
//! | 21 | nodes, counters, groups with their pending entries and consumers: see `dump` | yes | yes |
//! | 19 | the same; consumers without the time of their last entry: from Redis 7.0 | yes | no |
//! | 15 | the same, without most counters: from Redis before 7 | yes | no |
//!
//! Unlike Valkey, nodes are always checked as a whole: entries and numbers that contradict each other are refused, also
//! in the counters.

use super::change::{Delivery, StreamChange};
use super::entries::Stream;
use super::groups::{Consumer, ConsumerGroup, PendingEntry};
use super::id::StreamId;
use super::node::StreamNode;
use super::value::NUMBER;
use crate::codec::listpack;
use crate::codec::rdb::{Input, PayloadError, seal, write_len, write_number, write_text};
use crate::command::typed::{DumpForm, Put};
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{Entry, ExpiryChange, Key};
use fastness_types::WallMs;
use std::collections::BTreeMap;
use std::sync::Arc;

const TYPE_STREAM: u8 = 15;
const TYPE_STREAM_2: u8 = 19;
const TYPE_STREAM_3: u8 = 21;

/// See [`DumpForm`].
pub(crate) const FORM: DumpForm =
    DumpForm { of: NUMBER, dump, kinds: &[TYPE_STREAM, TYPE_STREAM_2, TYPE_STREAM_3], restore };

fn dump(entry: &Entry, _: WallMs) -> Option<Vec<u8>> {
    let stream = super::look_up::of_entry(entry).ok()?;
    let mut out = vec![TYPE_STREAM_3];
    write_len(stream.node_count(), &mut out);
    for (id, node) in stream.nodes() {
        write_text(&id.to_bytes(), &mut out);
        let (mut elements, mut listpack) = (Vec::new(), Vec::new());
        let count = node.write_listpack(&mut elements);
        listpack::frame(&elements, count, &mut listpack);
        write_text(&listpack, &mut out);
    }
    write_number(stream.len(), &mut out);
    [stream.last, stream.first_id(), stream.max_deleted].iter().for_each(|id| write_id(*id, &mut out));
    write_number(stream.added, &mut out);
    write_len(stream.groups().len(), &mut out);
    stream.groups().for_each(|(name, group)| write_group(name, group, &mut out));
    Some(seal(out))
}

fn write_id(id: StreamId, out: &mut Vec<u8>) {
    write_number(id.ms, out);
    write_number(id.seq, out);
}

fn write_group(name: &[u8], group: &ConsumerGroup, out: &mut Vec<u8>) {
    write_text(name, out);
    write_id(group.last, out);
    write_number(group.read as u64, out);
    write_len(group.pending.len(), out);
    for (id, pending) in group.pending.iter() {
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&pending.time.to_le_bytes());
        write_number(pending.count, out);
    }
    write_len(group.consumers().len(), out);
    group.consumers().for_each(|consumer| write_consumer(consumer, out));
}

fn write_consumer(consumer: &Consumer, out: &mut Vec<u8>) {
    write_text(&consumer.name, out);
    out.extend_from_slice(&consumer.seen.to_le_bytes());
    out.extend_from_slice(&consumer.active.to_le_bytes());
    write_len(consumer.pending.len(), out);
    consumer.pending.iter().for_each(|(id, ())| out.extend_from_slice(&id.to_bytes()));
}

fn restore(kind: u8, input: &mut Input<'_>, _: WallMs) -> Result<Put, PayloadError> {
    let mut stream = read_entries(kind, input)?;
    for _ in 0..input.len()? {
        read_group(kind, input, &mut stream)?;
    }
    Ok(Box::new(move |engine, key, expiry, env| put(engine, key, &stream, expiry, env)))
}

fn read_id(input: &mut Input<'_>) -> Result<StreamId, PayloadError> {
    Ok(StreamId::new(input.number()?, input.number()?))
}

fn read_raw_id(input: &mut Input<'_>) -> Result<StreamId, PayloadError> {
    input.array().map(StreamId::of_bytes)
}

fn read_entries(kind: u8, input: &mut Input<'_>) -> Result<Stream, PayloadError> {
    let mut stream = Stream::default();
    for _ in 0..input.len()? {
        let id = input.text()?.try_into().map(StreamId::of_bytes).map_err(|_| PayloadError::Format)?;
        let listpack = input.text()?;
        let node = listpack::open(&listpack).and_then(|(elements, _)| StreamNode::of_listpack(id, elements));
        let node = node.ok_or(PayloadError::Format)?;
        // Ids rise from node to node.
        if !stream.may_add(id) {
            return Err(PayloadError::Format);
        }
        // A node without entries, as XTRIM MINID leaves one, means nothing. Many would lie between the last entry and
        // the end, and each look for that entry would pass all of them.
        if node.live() > 0 {
            stream.insert_node(id, Arc::new(node));
        }
    }
    let len = input.number()?;
    stream.last = read_id(input)?;
    if kind == TYPE_STREAM {
        stream.added = len;
    } else {
        read_id(input)?;
        stream.max_deleted = read_id(input)?;
        stream.added = input.number()?;
    }
    let last = stream.last_node().map_or(StreamId::MIN, |(id, _)| id.max(stream.last_entry_id()));
    let is_whole = len == stream.len() && stream.last >= last;
    if is_whole { Ok(stream) } else { Err(PayloadError::Format) }
}

fn read_group(kind: u8, input: &mut Input<'_>, stream: &mut Stream) -> Result<(), PayloadError> {
    let name = input.text()?;
    let last = read_id(input)?;
    let read = if kind == TYPE_STREAM {
        stream.read_up_to(last, stream.first_id()).map_or(-1, |read| read as i64)
    } else {
        input.number()? as i64
    };
    let mut group = ConsumerGroup::new(last, read);
    let mut pending = BTreeMap::new();
    for _ in 0..input.len()? {
        let (id, time, count) = (read_raw_id(input)?, i64::from_le_bytes(input.array()?), input.number()?);
        if pending.insert(id, (time, count)).is_some() {
            return Err(PayloadError::Format);
        }
    }
    for _ in 0..input.len()? {
        let consumer = input.text()?;
        let seen = i64::from_le_bytes(input.array()?);
        let active = if kind == TYPE_STREAM_3 { i64::from_le_bytes(input.array()?) } else { seen };
        if group.set_times(&consumer, seen, active).is_some() {
            return Err(PayloadError::Format);
        }
        for _ in 0..input.len()? {
            let id = read_raw_id(input)?;
            let (time, count) = pending.remove(&id).ok_or(PayloadError::Format)?;
            group.set_pending(id, Some((&consumer, time, count)));
        }
    }
    // Every pending entry has a consumer.
    if !pending.is_empty() || !stream.insert_group(&name, group) {
        return Err(PayloadError::Format);
    }
    Ok(())
}

/// Sets the stream with one effect for each of its nodes, groups and consumers, and some for pending entries.
fn put(engine: &mut Engine, key: &Key<'_>, stream: &Stream, expiry: ExpiryChange, env: &mut Env<'_>) {
    engine.unlink(key, env);
    let Stream { last, added, max_deleted, .. } = *stream;
    engine.change_stream(key, StreamChange::SetCounters { last, added, max_deleted }, env);
    for (id, node) in stream.nodes() {
        let (live, deleted, bytes) = (node.live(), node.deleted(), node.bytes());
        engine.change_stream(key, StreamChange::AddNode { id, live, deleted, bytes }, env);
    }
    for (name, group) in stream.groups() {
        let change = StreamChange::CreateGroup { group: name, last: group.last, read: group.read };
        engine.change_stream(key, change, env);
        for Consumer { name: consumer, seen, active, pending } in group.consumers() {
            let change = StreamChange::SetConsumer { group: name, consumer, seen: *seen, active: *active };
            engine.change_stream(key, change, env);
            let of = |(id, held): (StreamId, &PendingEntry)| Delivery { id, time: held.time, count: held.count };
            let deliveries: Vec<Delivery> =
                pending.iter().filter_map(|(id, ())| Some(of((id, group.pending.get(id)?)))).collect();
            engine.deliver(key, (name, consumer), &deliveries, env);
        }
    }
    if let ExpiryChange::At(at) = expiry {
        engine.expire_at(key, at, env);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    /// Restores a payload, and returns the reply, or what XRANGE and XINFO GROUPS see then.
    fn restored(body: &[u8]) -> String {
        let mut bench = Bench::new();
        let reply = bench.run(&[b"RESTORE", b"s", b"0", &seal(body.to_vec())]);
        if reply != b"+OK\r\n" {
            return String::from_utf8_lossy(&reply).trim_end().to_owned();
        }
        let seen = [bench.run(&[b"XRANGE", b"s", b"-", b"+"]), bench.run(&[b"XPENDING", b"s", b"g", b"-", b"+", b"9"])];
        String::from_utf8_lossy(&seen.concat()).trim_end().replace("\r\n", " ")
    }

    fn text(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_text(text, &mut out);
        out
    }

    fn id(ms: u8, seq: u8) -> Vec<u8> {
        StreamId::new(ms.into(), seq.into()).to_bytes().to_vec()
    }

    /// A node with an entry 1-0, and a removed one.
    fn node() -> Vec<u8> {
        let mut elements = Vec::new();
        for part in [&b"1"[..], b"1", b"1", b"a", b"0", b"2", b"0", b"0", b"x", b"4", b"3", b"1", b"0", b"y", b"4"] {
            listpack::push(part, &mut elements);
        }
        let mut listpack = Vec::new();
        listpack::frame(&elements, 15, &mut listpack);
        [text(&id(1, 0)), text(&listpack)].concat()
    }

    fn body(kind: u8, counters: &[u8], group: &[u8]) -> Vec<u8> {
        [&[kind, 1][..], &node(), counters, group].concat()
    }

    const COUNTERS: [u8; 8] = [1, 5, 0, 1, 0, 2, 0, 2];

    /// A group that has read 1-0, which is pending for a consumer.
    fn group(kind: u8) -> Vec<u8> {
        let read = if kind == TYPE_STREAM { &[][..] } else { &[1] };
        let pending = [&[1][..], &id(1, 0), &[0; 8], &[3]].concat();
        let times = if kind == TYPE_STREAM_3 { &[7u8; 16][..] } else { &[7u8; 8] };
        [&[1][..], &text(b"g"), &[1, 0], read, &pending, &[1], &text(b"c"), times, &[1], &id(1, 0)].concat()
    }

    #[test]
    fn payloads_of_every_version_are_read() {
        let seen = "*1 *2 $3 1-0 *2 $1 a $1 x *1 *4 $3 1-0 $1 c :1700000000000 :3";
        assert_eq!(restored(&body(TYPE_STREAM_3, &COUNTERS, &group(TYPE_STREAM_3))), seen);
        assert_eq!(restored(&body(TYPE_STREAM_2, &COUNTERS, &group(TYPE_STREAM_2))), seen);
        assert_eq!(restored(&body(TYPE_STREAM, &COUNTERS[..3], &group(TYPE_STREAM))), seen);
        let none = "*0-NOGROUP No such key 's' or consumer group 'g'";
        assert_eq!(restored(&[21, 0, 0, 5, 0, 0, 0, 0, 0, 9, 0]).replace(' ', ""), none.replace(' ', ""));
    }

    #[test]
    fn other_payloads_are_refused() {
        let mut wrong = Vec::new();
        for (at, value) in [(0, 2), (1, 0)] {
            // Another number of entries; a last id before an entry.
            let mut counters = COUNTERS;
            counters[at] = value;
            wrong.push(body(TYPE_STREAM_3, &counters, &[0]));
        }
        wrong.push([&[TYPE_STREAM_3, 2][..], &node(), &node(), &COUNTERS, &[0]].concat());
        let mut twice = group(TYPE_STREAM_3);
        twice[0] = 2;
        twice.extend_from_within(1..);
        wrong.push(body(TYPE_STREAM_3, &COUNTERS, &twice));
        // Pending for nobody, and for a consumer only.
        let pending = [&[1][..], &id(1, 0), &[0; 8], &[3]].concat();
        wrong.push(body(TYPE_STREAM_3, &COUNTERS, &[&[1][..], &text(b"g"), &[1, 0, 1], &pending, &[0]].concat()));
        let consumer = [&[1][..], &text(b"c"), &[7; 16], &[1], &id(1, 0)].concat();
        wrong.push(body(TYPE_STREAM_3, &COUNTERS, &[&[1][..], &text(b"g"), &[1, 0, 1, 0], &consumer].concat()));
        for body in wrong {
            assert_eq!(restored(&body), "-ERR Bad data format", "{}", body.escape_ascii());
        }
    }

    /// Whatever the bytes: an answer, never a panic.
    #[test]
    fn damaged_payloads_are_read_or_refused() {
        let mut state = 1u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let bodies = [
            body(TYPE_STREAM_3, &COUNTERS, &group(TYPE_STREAM_3)),
            body(TYPE_STREAM, &COUNTERS[..3], &group(TYPE_STREAM)),
        ];
        for _ in 0..50_000 {
            let mut body = bodies[random() % bodies.len()].clone();
            for _ in 0..=random() % 4 {
                let at = 1 + random() % (body.len() - 1);
                match random() % 4 {
                    0 => body[at] = random() as u8,
                    1 => body[at] ^= 1 << (random() % 8),
                    2 if at > 1 => body.truncate(at),
                    _ => body.insert(at, random() as u8),
                }
            }
            let payload = seal(body);
            let (kind, mut input) = crate::codec::rdb::open_within(&payload, 10_000).ok().unwrap();
            let _ = restore(kind, &mut input, WallMs(0));
        }
    }
}
