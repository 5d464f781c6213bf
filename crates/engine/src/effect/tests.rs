use super::*;
use crate::engine::{Engine, EngineOptions};
use crate::functions::effect::FunctionEffect;
use crate::hash::effect::HashEffect;
use crate::keyspace::ExpiryChange;
use crate::list::change::{ListChange, ListEnd, write_positions};
use crate::list::effect::ListEffect;
use crate::stream::StreamId;
use crate::stream::change::StreamChange;
use crate::stream::effect::StreamEffect;
use crate::string::effect::StringEffect;
use crate::zset::effect::ZsetEffect;
use fastness_resp::Args;
use fastness_types::{HashSeed, WallMs};
use proptest::prelude::*;

fn engine() -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([4; 16]), maxmemory: 0 })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Logs contain these bytes: they change only with a new op number.
#[test]
fn golden_bytes() {
    let engine = engine();
    let (key, to) = (engine.key(b"key"), engine.key(b"to"));
    let at = WallMs(1_700_000_000_123);
    let pairs = Items::from(Args::slices(&[b"a", b"1", b"b", b""]));
    let fields = Items::from(Args::slices(&[b"a", b"b"]));
    let one = Items::from(Args::slices(&[b"a"]));
    let positions = write_positions(&[1, 3]);
    let list = |change| ListEffect { key, change }.into();
    let scores = [1.5f64, f64::NEG_INFINITY].map(crate::zset::score::bytes_of);
    let scored = [&b"a"[..], &scores[0], b"b", &scores[1]];
    let scored = Items::from(Args::slices(&scored));
    let golden: &[(Effect<'_>, &str)] = &[
        (StringEffect::Set { key, value: b"value", expiry: ExpiryChange::Drop }.into(), "0202036b65790576616c7565"),
        (
            StringEffect::Set { key, value: b"value", expiry: ExpiryChange::At(at) }.into(),
            "0403036b65790576616c756506fbd095ffbc31",
        ),
        (StringEffect::Set { key, value: b"value", expiry: ExpiryChange::Keep }.into(), "0602036b65790576616c7565"),
        (StringEffect::Append { key, bytes: b"tail" }.into(), "0802036b6579047461696c"),
        (StringEffect::SetRange { key, offset: 300, bytes: b"x" }.into(), "0a03036b657902ac020178"),
        (KeyEffect::Unlink { key }.into(), "0c01036b6579"),
        (KeyEffect::ExpireAt { key, at }.into(), "0e02036b657906fbd095ffbc31"),
        (KeyEffect::Persist { key }.into(), "1001036b6579"),
        (KeyEffect::FlushAll.into(), "1200"),
        (KeyEffect::Rename { from: key, to }.into(), "1402036b657902746f"),
        (KeyEffect::Copy { from: key, to }.into(), "1602036b657902746f"),
        (HashEffect::Set { key, pairs, expiry: ExpiryChange::Drop }.into(), "4005036b657901610131016200"),
        (
            HashEffect::Set { key, pairs, expiry: ExpiryChange::At(at) }.into(),
            "4206036b657906fbd095ffbc3101610131016200",
        ),
        (HashEffect::Set { key, pairs, expiry: ExpiryChange::Keep }.into(), "4405036b657901610131016200"),
        (HashEffect::Remove { key, fields }.into(), "4603036b657901610162"),
        (HashEffect::ExpireAt { key, at, fields }.into(), "4804036b657906fbd095ffbc3101610162"),
        (HashEffect::Persist { key, fields }.into(), "4a03036b657901610162"),
        (list(ListChange::Push { end: ListEnd::Head, elements: fields }), "800103036b657901610162"),
        (list(ListChange::Push { end: ListEnd::Tail, elements: fields }), "820103036b657901610162"),
        (list(ListChange::Trim { head: 2, tail: 300 }), "840103036b6579010202ac02"),
        (list(ListChange::Set { index: 5, element: b"a" }), "860103036b657901050161"),
        (list(ListChange::Insert { pivot: 5, value: None, after: false, element: b"a" }), "880103036b657901050161"),
        (list(ListChange::Insert { pivot: 5, value: None, after: true, element: b"a" }), "8a0103036b657901050161"),
        (
            list(ListChange::Insert { pivot: 5, value: Some(b"b"), after: false, element: b"a" }),
            "9a0104036b6579010501620161",
        ),
        (
            list(ListChange::Insert { pivot: 5, value: Some(b"b"), after: true, element: b"a" }),
            "9c0104036b6579010501620161",
        ),
        (list(ListChange::Remove { positions: &positions }), "8c0102036b6579020102"),
        (list(ListChange::Rotate { from: ListEnd::Head, to: ListEnd::Tail }), "8e0101036b6579"),
        (list(ListChange::Rotate { from: ListEnd::Tail, to: ListEnd::Head }), "900101036b6579"),
        (list(ListChange::Rotate { from: ListEnd::Head, to: ListEnd::Head }), "920101036b6579"),
        (list(ListChange::Rotate { from: ListEnd::Tail, to: ListEnd::Tail }), "940101036b6579"),
        (list(ListChange::AddNode { plain: false, elements: fields }), "960103036b657901610162"),
        (list(ListChange::AddNode { plain: true, elements: one }), "980102036b65790161"),
        (
            ZsetEffect::Add { key, members: scored, to_table: false }.into(),
            "800205036b6579016108000000000000f83f016208000000000000f0ff",
        ),
        (
            ZsetEffect::Add { key, members: scored, to_table: true }.into(),
            "820205036b6579016108000000000000f83f016208000000000000f0ff",
        ),
        (ZsetEffect::Remove { key, members: fields }.into(), "840203036b657901610162"),
    ];
    check_golden(&engine, golden);
}

#[test]
fn golden_bytes_of_streams() {
    let engine = engine();
    let key = engine.key(b"key");
    let fields = Items::from(Args::slices(&[b"a", b"b"]));
    let (id, stream) = (StreamId::new(5, 1), |change| StreamEffect { key, change }.into());
    let golden: &[(Effect<'_>, &str)] = &[
        (stream(StreamChange::Add { id, in_new_node: false, fields }), "c00204036b657902050101610162"),
        (stream(StreamChange::Add { id, in_new_node: true, fields }), "c20204036b657902050101610162"),
        (stream(StreamChange::AddNode { id, live: 1, deleted: 2, bytes: b"x" }), "c40205036b6579020501010101020178"),
        (stream(StreamChange::Delete { ids: &[5, 1] }), "c60202036b6579020501"),
        (stream(StreamChange::Trim { nodes: 2, entries: 300, last: None }), "c80203036b6579010202ac02"),
        (stream(StreamChange::Trim { nodes: 2, entries: 300, last: Some(id) }), "da0204036b6579010202ac02020501"),
        (stream(StreamChange::SetCounters { last: id, added: 7, max_deleted: id }), "ca0204036b65790205010107020501"),
        (stream(StreamChange::CreateGroup { group: b"g", last: id, read: -1 }), "cc0204036b657901670205010101"),
        (stream(StreamChange::SetGroup { group: b"g", last: id, read: 3 }), "ce0204036b657901670205010106"),
        (stream(StreamChange::DestroyGroup { group: b"g" }), "d00202036b65790167"),
        (
            stream(StreamChange::SetConsumer { group: b"g", consumer: b"c", seen: 100, active: -1 }),
            "d20205036b65790167016302c8010101",
        ),
        (stream(StreamChange::DeleteConsumer { group: b"g", consumer: b"c" }), "d40203036b657901670163"),
        (
            stream(StreamChange::Deliver { group: b"g", consumer: b"c", deliveries: &[5, 1, 2, 1] }),
            "d60204036b6579016701630405010201",
        ),
        (stream(StreamChange::Acknowledge { group: b"g", ids: &[5, 1] }), "d80203036b65790167020501"),
    ];
    check_golden(&engine, golden);
}

#[test]
fn golden_bytes_of_libraries() {
    let golden: &[(Effect<'_>, &str)] = &[
        (FunctionEffect::Set { name: b"lib", code: b"x", functions: b"\x00" }.into(), "800303036c696201780100"),
        (FunctionEffect::Delete { name: b"lib" }.into(), "820301036c6962"),
        (FunctionEffect::Flush.into(), "840300"),
    ];
    check_golden(&engine(), golden);
}

/// Whether effects are encoded as these bytes, and decoded from them.
fn check_golden(engine: &Engine, golden: &[(Effect<'_>, &str)]) {
    for (effect, expected) in golden {
        let mut buf = EffectBuf::new();
        buf.push(effect);
        assert_eq!(hex(&buf.encoded().to_vec()), *expected, "{effect:?}");
        let bytes = buf.encoded().to_vec();
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(decoder.next(|key| engine.key(key)), Ok(Some(*effect)));
        assert_eq!(decoder.next(|key| engine.key(key)), Ok(None));
    }
}

#[test]
fn refuses_what_it_does_not_know() {
    let engine = engine();
    let next = |bytes: &'static [u8]| Decoder::new(bytes).next(|key| engine.key(key));
    assert_eq!(next(&[0x03, 0x01]), Err(DecodeError::Database(1)));
    assert_eq!(next(&[0x00, 0x00]), Err(DecodeError::UnknownOp(0)));
    assert_eq!(next(&[0x7e, 0x00]), Err(DecodeError::UnknownOp(63)));
    assert_eq!(next(&[0x02, 0x01, 0x00]), Err(DecodeError::Arguments { op: 1, count: 1 }));
    assert_eq!(next(&[0x02, 0x02, 0x05, 0x00]), Err(DecodeError::Truncated));
    assert_eq!(next(&[0x80]), Err(DecodeError::Truncated));
    assert_eq!(next(&[0xff; 11]), Err(DecodeError::Number));
    // HSET of a field without a value, HSET PXAT of two and a half fields, HDEL of none.
    assert_eq!(next(&[0x40, 0x02, 0x00, 0x00]), Err(DecodeError::Arguments { op: 32, count: 2 }));
    assert_eq!(next(&[0x42, 0x05, 0x00]), Err(DecodeError::Arguments { op: 33, count: 5 }));
    assert_eq!(next(&[0x46, 0x01, 0x00]), Err(DecodeError::Arguments { op: 35, count: 1 }));
    assert_eq!(next(&[0x46, 0x03, 0x00, 0x00]), Err(DecodeError::Truncated));
    // ZADD of a member without a score, of a score that is too short, and of NaN; ZREM of none.
    assert_eq!(next(&[0x80, 0x02, 0x02, 0x00, 0x00]), Err(DecodeError::Arguments { op: 128, count: 2 }));
    assert_eq!(next(&[0x80, 0x02, 0x03, 0x00, 0x00, 0x01, 0x00]), Err(DecodeError::Number));
    let nan = &[0x80, 0x02, 0x03, 0x00, 0x00, 0x08, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f];
    assert_eq!(next(nan), Err(DecodeError::Number));
    assert_eq!(next(&[0x84, 0x02, 0x01, 0x00]), Err(DecodeError::Arguments { op: 130, count: 1 }));
    let far = [0x0a, 0x03, 0x01, b'k', 0x05, 0x80, 0x80, 0x80, 0x80, 0x02, 0x01, b'x'];
    assert_eq!(Decoder::new(&far).next(|key| engine.key(key)), Err(DecodeError::Number), "past the longest string");
}

#[test]
fn reports_what_was_touched() {
    let engine = engine();
    let mut buf = EffectBuf::new();
    let (from, to) = (engine.key(b"from"), engine.key(b"to"));
    buf.push(&KeyEffect::Rename { from, to });
    assert_eq!(buf.touched(), [from.hash, to.hash]);
    assert!(!buf.touches_all());
    buf.clear_touched();
    buf.push(&KeyEffect::FlushAll);
    assert!(buf.touches_all() && buf.touched().is_empty());
    assert_eq!(buf.count(), 2);
    assert_eq!(buf.take().len(), 12);
    assert!(buf.is_empty() && !buf.touches_all() && buf.count() == 0);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut engine = engine();
        let _ = engine.apply(WallMs(1), &bytes);
    }

    #[test]
    fn no_broken_effects_panic(
        value in prop::collection::vec(any::<u8>(), 0..20),
        at in any::<u64>(),
        broken in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let mut engine = engine();
        let key = engine.key(b"key");
        let mut buf = EffectBuf::new();
        buf.push(&StringEffect::Set { key, value: &value, expiry: ExpiryChange::At(WallMs(at)) });
        buf.push(&StringEffect::SetRange { key, offset: 9, bytes: &value });
        buf.push(&KeyEffect::Rename { from: key, to: key });
        let items = [&value[..], b"field"];
        let (key, items) = (engine.key(b"hash"), Items::from(Args::slices(&items)));
        buf.push(&HashEffect::Set { key, pairs: items, expiry: ExpiryChange::Drop });
        buf.push(&HashEffect::ExpireAt { key, at: WallMs(at), fields: items });
        buf.push(&HashEffect::Remove { key, fields: items });
        let key = engine.key(b"list");
        let end = ListEnd::Head;
        for change in [
            ListChange::Push { end, elements: items },
            ListChange::Insert { pivot: 1, value: None, after: true, element: &value },
            ListChange::Insert { pivot: 1, value: Some(&value), after: false, element: &value },
            ListChange::Set { index: 0, element: &value },
            ListChange::Rotate { from: end, to: end },
            ListChange::AddNode { plain: false, elements: items },
            ListChange::Remove { positions: &[0, 2] },
            ListChange::Trim { head: 1, tail: 1 },
        ] {
            buf.push(&ListEffect { key, change });
        }
        let score = crate::zset::score::bytes_of(1.5);
        let scored = [&value[..], &score];
        let (key, members) = (engine.key(b"zset"), Items::from(Args::slices(&scored)));
        buf.push(&ZsetEffect::Add { key, members, to_table: at.is_multiple_of(2) });
        buf.push(&ZsetEffect::Remove { key, members: items });
        let (key, id, group) = (engine.key(b"stream"), StreamId::new(at % 9, 5), &b"g"[..]);
        for change in [
            StreamChange::Add { id, in_new_node: true, fields: items },
            StreamChange::Add { id: StreamId::new(9, 9), in_new_node: false, fields: members },
            StreamChange::CreateGroup { group, last: id, read: 5 },
            StreamChange::SetConsumer { group, consumer: &value, seen: 5, active: -1 },
            StreamChange::Deliver { group, consumer: &value, deliveries: &[9, 9, 2, 1] },
            StreamChange::Acknowledge { group, ids: &[9, 9] },
            StreamChange::DeleteConsumer { group, consumer: &value },
            StreamChange::SetGroup { group, last: id, read: 6 },
            StreamChange::Delete { ids: &[9, 9] },
            StreamChange::SetCounters { last: id, added: 9, max_deleted: id },
            StreamChange::AddNode { id: StreamId::MAX, live: 1, deleted: 0, bytes: &value },
            StreamChange::Trim { nodes: 1, entries: 1, last: Some(id) },
            StreamChange::DestroyGroup { group },
        ] {
            buf.push(&StreamEffect { key, change });
        }
        let mut bytes = buf.take().to_vec();
        let place = broken.0.index(bytes.len());
        bytes[place] = broken.1;
        let _ = engine.apply(WallMs(1), &bytes);
    }
}
