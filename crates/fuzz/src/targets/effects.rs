//! Effects, as the log carries them.

use fastness_engine::EffectBuf;
use fastness_engine::effect::{Decoder, Effect, Items, KeyEffect, TypeEffect};
use fastness_engine::functions::effect::FunctionEffect;
use fastness_engine::hash::effect::HashEffect;
use fastness_engine::keyspace::ExpiryChange;
use fastness_engine::list::change::{ListChange, ListEnd};
use fastness_engine::list::effect::ListEffect;
use fastness_engine::set::SetForm;
use fastness_engine::set::effect::SetEffect;
use fastness_engine::stream::StreamId;
use fastness_engine::stream::change::StreamChange;
use fastness_engine::stream::effect::StreamEffect;
use fastness_engine::string::effect::StringEffect;
use fastness_engine::zset::effect::ZsetEffect;
use fastness_engine::zset::score::bytes_of;
use fastness_resp::Args;
use fastness_types::WallMs;

use super::input::{hash, none};
use crate::Target;
use crate::bench::{ENGINES_BYTES, NOW, copy_by_image, with_engines, with_hashes};

pub(super) const EFFECTS: Target = Target {
    name: "effects",
    what: "effects: written and read back as themselves within their bound, the same data on every replica, and an image \
           of it holds the same",
    bytes_max: 400,
    share: 3,
    seeds,
    words: none,
    memory: |length| ENGINES_BYTES + (4096 * length),
    run: apply,
};

/// Longest zero padding that is applied, bytes.
const OFFSET_MAX: u64 = 64 << 10;

/// A node of a stream with one entry.
const NODE: &[u8] = b"\x01\x01\x81a\x02\x00\x01\x02\x01\x00\x01\x00\x01\x05\x01\x04\x01";

fn seeds() -> Vec<Vec<u8>> {
    with_hashes(|engine| {
        let [a, b, h, l, s, x, z] = [&b"a"[..], b"b", b"h", b"l", b"s", b"x", b"z"].map(|key| engine.key(key));
        let at = WallMs(NOW.0 + 1_000);
        let pairs: &[&[u8]] = &[b"f", b"1", b"g", &[b'v'; 80]];
        let fields: &[&[u8]] = &[b"f", b"g"];
        let integers: &[&[u8]] = &[b"5", b"-70000"];
        let scores = [1.5, f64::NEG_INFINITY].map(bytes_of);
        let scored: &[&[u8]] = &[b"f", &scores[0], b"g", &scores[1]];
        let [pairs, fields, integers, scored] =
            [pairs, fields, integers, scored].map(|items| Items::from(Args::slices(items)));
        let list = |change| ListEffect { key: l, change }.into();
        let mut all: Vec<Effect<'_>> = vec![
            FunctionEffect::Set { name: b"lib", code: b"#!lua name=lib", functions: b"\x00" }.into(),
            FunctionEffect::Delete { name: b"lib" }.into(),
            FunctionEffect::Flush.into(),
            StringEffect::Set { key: a, value: b"value", expiry: ExpiryChange::Drop }.into(),
            StringEffect::Set { key: a, value: b"12", expiry: ExpiryChange::At(at) }.into(),
            StringEffect::Set { key: a, value: &[b'x'; 200], expiry: ExpiryChange::Keep }.into(),
            StringEffect::Append { key: a, bytes: b"tail" }.into(),
            StringEffect::SetRange { key: a, offset: 300, bytes: b"x" }.into(),
            KeyEffect::Unlink { key: b }.into(),
            KeyEffect::ExpireAt { key: a, at }.into(),
            KeyEffect::Persist { key: a }.into(),
            KeyEffect::Rename { from: a, to: b }.into(),
            KeyEffect::Copy { from: b, to: a }.into(),
            HashEffect::Set { key: h, pairs, expiry: ExpiryChange::Drop }.into(),
            HashEffect::Set { key: h, pairs, expiry: ExpiryChange::At(at) }.into(),
            HashEffect::Set { key: h, pairs, expiry: ExpiryChange::Keep }.into(),
            HashEffect::ExpireAt { key: h, at, fields }.into(),
            HashEffect::Persist { key: h, fields }.into(),
            HashEffect::Remove { key: h, fields }.into(),
            list(ListChange::Push { end: ListEnd::Tail, elements: pairs }),
            list(ListChange::Push { end: ListEnd::Head, elements: fields }),
            list(ListChange::AddNode { plain: true, elements: Items::from(Args::slices(&[b"node"])) }),
            list(ListChange::AddNode { plain: false, elements: pairs }),
            list(ListChange::Set { index: 1, element: b"set" }),
            list(ListChange::Insert { pivot: 2, value: None, after: true, element: b"inserted" }),
            list(ListChange::Insert { pivot: 2, value: Some(b"beside"), after: false, element: b"inserted" }),
            list(ListChange::Rotate { from: ListEnd::Tail, to: ListEnd::Head }),
            list(ListChange::Remove { positions: &[1, 2] }),
            list(ListChange::Trim { head: 1, tail: 2 }),
            ZsetEffect::Add { key: z, members: scored, to_table: false }.into(),
            ZsetEffect::Add { key: z, members: scored, to_table: true }.into(),
            ZsetEffect::Remove { key: z, members: fields }.into(),
        ];
        all.extend(stream_changes(pairs).map(|change| Effect::from(StreamEffect { key: x, change })));
        all.extend::<[Effect<'_>; 6]>([
            KeyEffect::FlushAll.into(),
            SetEffect::Add { key: s, members: integers, least: SetForm::Ints }.into(),
            SetEffect::Add { key: s, members: fields, least: SetForm::Texts }.into(),
            SetEffect::Add { key: s, members: pairs, least: SetForm::Table }.into(),
            SetEffect::Remove { key: s, members: fields, pack: false }.into(),
            SetEffect::Remove { key: s, members: integers, pack: true }.into(),
        ]);
        let encoded = |effects: &[Effect<'_>]| {
            let mut buf = EffectBuf::new();
            effects.iter().for_each(|effect| buf.push(effect));
            buf.take().to_vec()
        };
        let mut seeds: Vec<Vec<u8>> = all.iter().map(|effect| encoded(std::slice::from_ref(effect))).collect();
        seeds.extend([encoded(&all), encoded(&all[..10]), encoded(&all[10..15]), encoded(&all[17..])]);
        seeds
    })
}

/// A change of each kind of a stream's, its entries with these fields.
fn stream_changes(fields: Items<'_>) -> impl Iterator<Item = StreamChange<'_>> {
    let (id, group) = (StreamId::new(5, 1), &b"g"[..]);
    [
        StreamChange::Add { id, in_new_node: true, fields },
        StreamChange::Add { id: StreamId::new(5, 2), in_new_node: false, fields },
        StreamChange::CreateGroup { group, last: id, read: 1 },
        StreamChange::SetGroup { group, last: id, read: -1 },
        StreamChange::SetConsumer { group, consumer: b"c", seen: 9, active: -1 },
        StreamChange::Deliver { group, consumer: b"c", deliveries: &[5, 1, 2, 1, 0, 2, 0, 3] },
        StreamChange::Acknowledge { group, ids: &[5, 1] },
        StreamChange::DeleteConsumer { group, consumer: b"c" },
        StreamChange::Delete { ids: &[5, 1] },
        StreamChange::SetCounters { last: StreamId::new(7, 0), added: 9, max_deleted: id },
        StreamChange::AddNode { id: StreamId::new(8, 0), live: 1, deleted: 0, bytes: NODE },
        StreamChange::Trim { nodes: 1, entries: 0, last: None },
        StreamChange::Trim { nodes: 1, entries: 0, last: Some(StreamId::new(1, 2)) },
        StreamChange::DestroyGroup { group },
    ]
    .into_iter()
}

/// The effects up to the first that cannot be read, written again; whether all can be read, and how many there are.
fn rewritten(input: &[u8]) -> (Vec<u8>, bool, usize) {
    with_hashes(|engine| {
        let (mut decoder, mut buf) = (Decoder::new(input), EffectBuf::new());
        loop {
            match decoder.next(|key| engine.key(key)) {
                Ok(Some(effect)) => {
                    if matches!(effect, Effect::String(StringEffect::SetRange { offset, .. }) if offset > OFFSET_MAX) {
                        return (Vec::new(), false, 0);
                    }
                    if matches!(effect, Effect::Function(_)) {
                        // FLUSHALL, by which the engines are emptied, leaves libraries of functions.
                        return (Vec::new(), false, 0);
                    }
                    let before = buf.len();
                    buf.push(&effect);
                    assert!(buf.len() - before <= effect.bytes_max(), "an effect is longer than its bound: {effect:?}");
                    assert_eq!(effect.is_of_all(), effect.keys().first().is_none());
                }
                Ok(None) => return (buf.encoded().to_vec(), true, buf.count()),
                Err(_) => return (buf.encoded().to_vec(), false, buf.count()),
            }
        }
    })
}

fn apply(input: &[u8]) -> bool {
    let (written, is_whole, count) = rewritten(input);
    if count == 0 {
        return false;
    }
    assert_eq!(rewritten(&written), (written.clone(), true, count), "effects are read as they were written");
    with_engines(|[first, second, third]| {
        assert_eq!(first.apply(NOW, input).is_ok(), is_whole, "applying refuses what decoding refuses");
        second.apply(NOW, &written).unwrap_or_else(|error| panic!("what was written: {error}"));
        assert_eq!(first.digest(), second.digest(), "the same effects, the same data");
        assert_eq!(first.keyspace_stats(), second.keyspace_stats());
        // An image takes longer than all the rest.
        match hash(input) & 7 {
            0 => copy_by_image(first, third, 64),
            1 => copy_by_image(first, third, usize::MAX),
            _ => {}
        }
    });
    is_whole
}
