use super::*;

const HEADER: BatchHeader =
    BatchHeader { seq: Seq(7), timestamp: WallMs(0x0102_0304_0506), durability: Durability::Async };

fn encode(header: BatchHeader, units: &[UnitHead], effects: &[u8]) -> Bytes {
    super::encode(header, units, &effects.into())
}

fn head(kind: UnitKind, length: usize) -> UnitHead {
    UnitHead { kind, durability: None, timestamp: HEADER.timestamp, length, record: None }
}

fn late(kind: UnitKind, length: usize) -> UnitHead {
    UnitHead { timestamp: WallMs(HEADER.timestamp.0 + 300), ..head(kind, length) }
}

fn record(reply: &[u8]) -> Box<[u8]> {
    UnitRecord { leave: 0, leave_own: 0, client: b"\x01uc", sequence: 9, payload: 8, reply }.encode()
}

fn golden_units() -> (Vec<UnitHead>, Vec<u8>) {
    let units = vec![
        head(UnitKind::Write, 3),
        UnitHead {
            kind: UnitKind::Write,
            durability: Some(Durability::Sync),
            timestamp: WallMs(HEADER.timestamp.0 + 300),
            length: 0,
            record: Some(record(b"+OK\r\n")),
        },
        late(UnitKind::Expiry, 200),
        UnitHead { durability: Some(Durability::Sync), ..late(UnitKind::Mode, 0) },
    ];
    let mut effects = b"abc".to_vec();
    effects.extend_from_slice(&[0x55; 200]);
    (units, effects)
}

/// Frozen: logs hold these bytes.
#[test]
fn golden() {
    let (units, effects) = golden_units();
    let mut expected: Vec<u8> = vec![
        1, 0, // version, flags
        7, 0, 0, 0, 0, 0, 0, 0, // seq
        6, 5, 4, 3, 2, 1, 0, 0, // timestamp
        2, // async
        4, // units
        1, 0, 0, 0, 3, // write, the shard's mode, no record, at once, 3 bytes
        1, 1, 1, 0xac, 2, 0, 36, // write, sync, a record of 36 bytes, 300 ms later, no effects
        1, 0, 0, 3, 1, b'u', b'c', 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'+', b'O',
        b'K', 13, 10, // its record
        2, 0, 0, 0xac, 2, 200, 1, // expiry, 200 bytes
        3, 1, 0, 0xac, 2, 0, // mode sync
    ];
    expected.extend_from_slice(b"abc");
    expected.extend_from_slice(&[0x55; 200]);
    assert_eq!(encode(HEADER, &units, &effects), expected);

    let batch = Batch::decode(&expected).unwrap();
    assert_eq!(batch.header, HEADER);
    assert_eq!(batch.unit_count, 4);
    let read: Vec<_> = batch.units().collect();
    assert_eq!(read[0].effects, b"abc");
    assert_eq!(read[1].record, Some(&*record(b"+OK\r\n")));
    assert_eq!(read[1].durability, Some(Durability::Sync));
    assert_eq!(read[2].effects, [0x55; 200]);
    assert_eq!((read[3].kind, read[3].durability), (UnitKind::Mode, Some(Durability::Sync)));
}

#[test]
fn an_empty_batch_is_a_batch() {
    let bytes = encode(HEADER, &[], b"");
    let batch = Batch::decode(&bytes).unwrap();
    assert_eq!(batch.units().count(), 0);
}

#[test]
fn every_cut_is_refused() {
    let (units, effects) = golden_units();
    let bytes = encode(HEADER, &units, &effects);
    for cut in 0..bytes.len() {
        assert!(Batch::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(Batch::decode(&longer), Err(BatchError::Length));
}

#[test]
fn unknown_numbers_are_refused() {
    let mode = UnitHead { durability: Some(Durability::Sync), ..head(UnitKind::Mode, 0) };
    let bytes = encode(HEADER, &[mode], &[]).to_vec();
    for (at, value, error) in [
        (0, 2, BatchError::Version(2)),
        (1, 1, BatchError::Unknown("flags", 1)),
        (18, 0, BatchError::Unknown("durability", 0)),
        (20, 9, BatchError::Unknown("unit kind", 9)),
        (21, 4, BatchError::Unknown("unit durability", 4)),
        (22, 2, BatchError::Unknown("unit flags", 2)),
        (21, 0, BatchError::Mode),
        (24, 1, BatchError::Mode),
    ] {
        let mut wrong = bytes.clone();
        wrong[at] = value;
        assert_eq!(Batch::decode(&wrong), Err(error), "byte {at}");
    }
}

#[test]
fn time_does_not_run_backwards_within_a_batch() {
    let bytes = encode(HEADER, &[late(UnitKind::Write, 0), head(UnitKind::Write, 0)], b"");
    assert_eq!(Batch::decode(&bytes), Err(BatchError::Timestamp));
}

#[test]
fn a_run_ends_at_another_stamp_and_at_a_change_of_the_mode() {
    let mode = || UnitHead { durability: Some(Durability::Sync), ..late(UnitKind::Mode, 0) };
    let units = [
        head(UnitKind::Write, 2),
        head(UnitKind::Expiry, 1),
        late(UnitKind::Write, 1),
        mode(),
        late(UnitKind::Write, 0),
        late(UnitKind::Write, 2),
    ];
    let bytes = encode(HEADER, &units, b"abcdef");
    let runs: Vec<_> = Batch::decode(&bytes).unwrap().runs().collect();
    let (early, late) = (HEADER.timestamp, WallMs(HEADER.timestamp.0 + 300));
    assert_eq!(
        runs,
        [
            Run::Effects { timestamp: early, effects: b"abc" },
            Run::Effects { timestamp: late, effects: b"d" },
            Run::Mode(DesiredMode { mode: Durability::Sync, version: 0 }),
            Run::Effects { timestamp: late, effects: b"ef" },
        ]
    );
}

#[test]
fn a_mode_unit_names_the_desired_state_that_it_fulfils() {
    let desired = DesiredMode { mode: Durability::Async, version: 0x0102_0304_0506_0708 };
    let bytes = encode(HEADER, &[UnitHead::of_mode(desired, HEADER.timestamp)], b"");
    assert_eq!(&bytes[20..], [3, 2, 1, 0, 0, 8, 8, 7, 6, 5, 4, 3, 2, 1], "frozen");
    assert_eq!(Batch::decode(&bytes).unwrap().runs().collect::<Vec<_>>(), [Run::Mode(desired)]);
    let mut short = bytes.to_vec();
    short[25] = 7;
    short.pop();
    assert_eq!(Batch::decode(&short), Err(BatchError::Mode));
}

#[test]
fn huge_counts_and_lengths_neither_panic_nor_allocate() {
    let mut bytes = encode(HEADER, &[], b"").to_vec();
    bytes.pop();
    for tail in [&[0xff; 9][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[0xff; 12]] {
        let mut wrong = bytes.clone();
        wrong.extend_from_slice(tail);
        assert!(Batch::decode(&wrong).is_err());
    }
    // Two units whose lengths overflow when added.
    let mut wrong = bytes.clone();
    wrong.push(2);
    for _ in 0..2 {
        wrong.extend_from_slice(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }
    assert_eq!(Batch::decode(&wrong), Err(BatchError::Length));
}

proptest::proptest! {
    #[test]
    fn noise_never_panics(noise: Vec<u8>) {
        let _ = Batch::decode(&noise);
        let mut framed = vec![1, 0];
        framed.extend_from_slice(&noise);
        let _ = Batch::decode(&framed);
    }

    #[test]
    fn what_is_written_is_read(
        seq: u64, timestamp: u64, delay in 0u64..100_000,
        units in proptest::collection::vec((0u8..4, proptest::option::of(proptest::collection::vec(0u8..255, 0..40)),
            proptest::collection::vec(0u8..255, 0..300)), 0..20),
    ) {
        let header = BatchHeader { seq: Seq(seq), timestamp: WallMs(timestamp), durability: Durability::Sync };
        let heads: Vec<UnitHead> = units.iter().map(|(mode, reply, effects)| UnitHead {
            kind: UnitKind::Write,
            durability: Durability::from_number(*mode),
            timestamp: WallMs(timestamp.saturating_add(delay)),
            length: effects.len(),
            record: reply.as_ref().map(|reply| record(reply)),
        }).collect();
        let effects: Vec<u8> = units.iter().flat_map(|unit| unit.2.clone()).collect();
        let bytes = encode(header, &heads, &effects);
        let batch = Batch::decode(&bytes).unwrap();
        proptest::prop_assert_eq!(batch.header, header);
        let read: Vec<_> = batch.units().collect();
        proptest::prop_assert_eq!(read.len(), units.len());
        for (unit, (mode, reply, effects)) in read.iter().zip(&units) {
            proptest::prop_assert_eq!(unit.durability, Durability::from_number(*mode));
            let expected = reply.as_ref().map(|reply| record(reply));
            proptest::prop_assert_eq!(unit.record, expected.as_deref());
            proptest::prop_assert_eq!(unit.timestamp, WallMs(timestamp.saturating_add(delay)));
            proptest::prop_assert_eq!(unit.effects, &effects[..]);
        }
    }
}

/// Frozen: kinds of format level 4.
#[test]
fn a_leave_unit_says_how_many() {
    let bytes = encode(HEADER, &[UnitHead::of_leave(300, HEADER.timestamp)], b"");
    assert_eq!(&bytes[20..], [6, 0, 1, 0, 0, 2, 0xac, 2], "frozen");
    let batch = Batch::decode(&bytes).unwrap();
    assert_eq!(batch.records().collect::<Vec<_>>(), [(HEADER.timestamp, RecordChange::Leave(300))]);
    let leave = || UnitHead::of_leave(1, HEADER.timestamp);
    for (wrong, effects) in [
        (UnitHead { record: None, ..leave() }, &b""[..]),
        (UnitHead { durability: Some(Durability::Sync), ..leave() }, b""),
        (UnitHead { length: 1, ..leave() }, b"x"),
        (UnitHead { record: Some(Box::from(&[1, 1][..])), ..leave() }, b""),
        (UnitHead { kind: UnitKind::Expiry, ..leave() }, b""),
        (UnitHead { record: Some(record(b"")), ..UnitHead::of_time(HEADER.timestamp) }, b""),
    ] {
        assert!(Batch::decode(&encode(HEADER, std::slice::from_ref(&wrong), effects)).is_err(), "{wrong:?}");
    }
}

/// Frozen: kinds of format level 2.
#[test]
fn a_time_unit_is_its_timestamp_alone() {
    let at = WallMs(HEADER.timestamp.0 + 300);
    let bytes = encode(HEADER, &[UnitHead::of_time(at)], b"");
    assert_eq!(&bytes[20..], [4, 0, 0, 0xac, 2, 0], "frozen");
    assert_eq!(
        Batch::decode(&bytes).unwrap().runs().collect::<Vec<_>>(),
        [Run::Effects { timestamp: at, effects: b"" }]
    );
    let wrong = [
        UnitHead { durability: Some(Durability::Sync), ..UnitHead::of_time(at) },
        UnitHead { record: Some(Box::default()), ..UnitHead::of_time(at) },
        UnitHead { length: 1, ..UnitHead::of_time(at) },
    ];
    for unit in wrong {
        let effects = vec![b'x'; unit.length];
        assert_eq!(Batch::decode(&encode(HEADER, &[unit], &effects)), Err(BatchError::Time));
    }
}

#[test]
fn a_setting_unit_names_setting_version_and_value() {
    let desired = DesiredLagBound { bound: Duration::from_millis(0x0506), version: 0x0304 };
    let units = [head(UnitKind::Write, 1), UnitHead::of_lag_bound(desired, HEADER.timestamp), head(UnitKind::Write, 1)];
    let bytes = encode(HEADER, &units, b"ab");
    assert_eq!(&bytes[25..48], [5, 0, 1, 0, 0, 17, 1, 4, 3, 0, 0, 0, 0, 0, 0, 6, 5, 0, 0, 0, 0, 0, 0], "frozen");
    assert_eq!(
        Batch::decode(&bytes).unwrap().runs().collect::<Vec<_>>(),
        [
            Run::Effects { timestamp: HEADER.timestamp, effects: b"a" },
            Run::LagBound(desired),
            Run::Effects { timestamp: HEADER.timestamp, effects: b"b" },
        ]
    );
    let of =
        |record: &[u8]| UnitHead { record: Some(record.into()), ..UnitHead::of_lag_bound(desired, HEADER.timestamp) };
    let check = |unit: UnitHead| Batch::decode(&encode(HEADER, &[unit], b"")).map(|batch| batch.unit_count);
    assert_eq!(check(of(&[2; 17])), Err(BatchError::Unknown("setting", 2)));
    assert_eq!(check(of(&[1; 18])), Err(BatchError::Setting));
    assert_eq!(check(of(&[1; 16])), Err(BatchError::Truncated));
    assert_eq!(check(UnitHead { record: None, ..of(&[]) }), Err(BatchError::Setting));
}
