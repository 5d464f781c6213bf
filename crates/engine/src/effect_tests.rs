use super::*;
use crate::engine::{Engine, EngineOptions};
use fastness_types::HashSeed;
use proptest::prelude::*;

fn engine() -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([4; 16]), maxmemory: 0 })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes stand in logs: they change only with a new op number.
#[test]
fn golden_bytes() {
    let engine = engine();
    let (key, to) = (engine.key(b"key"), engine.key(b"to"));
    let at = WallMs(1_700_000_000_123);
    let pairs = Items::from(Args::slices(&[b"a", b"1", b"b", b""]));
    let fields = Items::from(Args::slices(&[b"a", b"b"]));
    let golden: &[(Effect<'_>, &str)] = &[
        (Effect::Set { key, value: b"value", expiry: ExpiryChange::Drop }, "0202036b65790576616c7565"),
        (Effect::Set { key, value: b"value", expiry: ExpiryChange::At(at) }, "0403036b65790576616c756506fbd095ffbc31"),
        (Effect::Set { key, value: b"value", expiry: ExpiryChange::Keep }, "0602036b65790576616c7565"),
        (Effect::Append { key, bytes: b"tail" }, "0802036b6579047461696c"),
        (Effect::SetRange { key, offset: 300, bytes: b"x" }, "0a03036b657902ac020178"),
        (Effect::Unlink { key }, "0c01036b6579"),
        (Effect::ExpireAt { key, at }, "0e02036b657906fbd095ffbc31"),
        (Effect::Persist { key }, "1001036b6579"),
        (Effect::FlushAll, "1200"),
        (Effect::Rename { from: key, to }, "1402036b657902746f"),
        (Effect::Copy { from: key, to }, "1602036b657902746f"),
        (Effect::SetFields { key, pairs, expiry: ExpiryChange::Drop }, "4005036b657901610131016200"),
        (Effect::SetFields { key, pairs, expiry: ExpiryChange::At(at) }, "4206036b657906fbd095ffbc3101610131016200"),
        (Effect::SetFields { key, pairs, expiry: ExpiryChange::Keep }, "4405036b657901610131016200"),
        (Effect::RemoveFields { key, fields }, "4603036b657901610162"),
        (Effect::ExpireFieldsAt { key, at, fields }, "4804036b657906fbd095ffbc3101610162"),
        (Effect::PersistFields { key, fields }, "4a03036b657901610162"),
    ];
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
    let far = [0x0a, 0x03, 0x01, b'k', 0x05, 0x80, 0x80, 0x80, 0x80, 0x02, 0x01, b'x'];
    assert_eq!(Decoder::new(&far).next(|key| engine.key(key)), Err(DecodeError::Number), "past the longest string");
}

#[test]
fn tells_what_was_touched() {
    let engine = engine();
    let mut buf = EffectBuf::new();
    let (from, to) = (engine.key(b"from"), engine.key(b"to"));
    buf.push(&Effect::Rename { from, to });
    assert_eq!(buf.touched(), [from.hash, to.hash]);
    assert!(!buf.touches_all());
    buf.clear_touched();
    buf.push(&Effect::FlushAll);
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
        buf.push(&Effect::Set { key, value: &value, expiry: ExpiryChange::At(WallMs(at)) });
        buf.push(&Effect::SetRange { key, offset: 9, bytes: &value });
        buf.push(&Effect::Rename { from: key, to: key });
        let items = [&value[..], b"field"];
        let (key, items) = (engine.key(b"hash"), Items::from(Args::slices(&items)));
        buf.push(&Effect::SetFields { key, pairs: items, expiry: ExpiryChange::Drop });
        buf.push(&Effect::ExpireFieldsAt { key, at: WallMs(at), fields: items });
        buf.push(&Effect::RemoveFields { key, fields: items });
        let mut bytes = buf.take().to_vec();
        let place = broken.0.index(bytes.len());
        bytes[place] = broken.1;
        let _ = engine.apply(WallMs(1), &bytes);
    }
}
