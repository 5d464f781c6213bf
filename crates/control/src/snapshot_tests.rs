//! The form of a snapshot, and what is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_types::DiskId;

use super::*;
use crate::fixtures::{node, three_nodes};
use crate::map::{ClusterMap, ClusterSettings, LagBound, MapError, Password, Replaced, Replacement, Users};

/// Head, map and tail, one a line. Never change them: if this test fails, the format has changed and existing clusters
/// would not start.
const GOLDEN: &str = include_str!("../tests/golden/snapshot-v1.json");

/// A map with everything that commands can bring in.
fn full_map() -> ClusterMap {
    let rules = [("alice", "on ~* -@all +get"), ("default", "on nopass ~* &* +@all")];
    let users = Users { version: 9, rules: rules.map(|(name, rules)| (name.to_owned(), rules.to_owned())).into() };
    ClusterMap {
        version: 10,
        durability_version: 3,
        replacement: Some(Replacement { leaving: vec![node(4, "a")], by: NodeId(1) }),
        replaced: vec![Replaced { node: NodeId(5), disk: DiskId([5; 16]), by: NodeId(4) }],
        settings: ClusterSettings {
            version: 9,
            password: Some(Password::Sha256([0xab; 32])),
            max_lag: Some(LagBound { bound: Duration::from_millis(1_500), version: 7 }),
            users: Arc::new(users),
        },
        ..three_nodes()
    }
}

fn state(map: Option<ClusterMap>) -> ControlState {
    ControlState {
        index: LogIndex(120),
        epoch: Epoch { term: 3, node: NodeId(2) },
        seq: Seq(17),
        map: map.map(Arc::new),
    }
}

fn golden() -> Vec<SnapshotPart> {
    let lines: Vec<Bytes> = GOLDEN.lines().map(|line| Bytes::from_static(line.as_bytes())).collect();
    let [head, map, tail] = &lines[..] else { panic!("three lines") };
    vec![SnapshotPart::Head(head.clone()), SnapshotPart::Chunk(map.clone()), SnapshotPart::Tail(tail.clone())]
}

#[test]
fn the_format_is_frozen() {
    let written = encode(&state(Some(full_map()))).unwrap();
    let texts: Vec<_> = written.iter().map(|part| String::from_utf8_lossy(part.bytes()).into_owned()).collect();
    assert_eq!(texts.join("\n"), GOLDEN.trim_end());
    assert_eq!(decode(&golden()), Ok(state(Some(full_map()))));
}

#[test]
fn every_state_is_read_as_it_was_written() {
    let no_password = ClusterSettings { password: Some(Password::None), ..ClusterSettings::default() };
    let maps = [None, Some(three_nodes()), Some(ClusterMap { settings: no_password, ..three_nodes() })];
    for state in maps.map(state) {
        assert_eq!(decode(&encode(&state).unwrap()), Ok(state));
    }
}

#[test]
fn as_many_users_as_there_may_be_fit_whatever_they_are_called() {
    use fastness_types::limits::USERS_BYTES_MAX;
    // In JSON a control character takes six bytes: nothing takes more.
    let rules: BTreeMap<String, String> =
        (0..4u8).map(|i| (i.to_string(), "\u{1}".repeat(USERS_BYTES_MAX / 4 - 1))).collect();
    let settings = ClusterSettings { users: Arc::new(Users { version: 2, rules }), ..ClusterSettings::default() };
    let full = state(Some(ClusterMap { settings, ..three_nodes() }));
    let parts = encode(&full).unwrap();
    let bytes: usize = parts.iter().map(|part| part.bytes().len()).sum();
    assert!(bytes > 6 * USERS_BYTES_MAX - 100 && bytes < CONTROL_SNAPSHOT_BYTES_MAX / 2, "{bytes}");
    assert!(parts.iter().all(|part| part.bytes().len() <= CHUNK_BYTES) && parts.len() > 20);
    assert_eq!(decode(&parts), Ok(full));
}

#[test]
fn what_is_longer_than_a_snapshot_may_be_is_neither_written_nor_collected() {
    let rules = [("a".to_owned(), "x".repeat(CONTROL_SNAPSHOT_BYTES_MAX))].into();
    let settings = ClusterSettings { users: Arc::new(Users { version: 2, rules }), ..ClusterSettings::default() };
    let error = encode(&state(Some(ClusterMap { settings, ..three_nodes() }))).unwrap_err();
    assert_eq!(error, SnapshotFormatError::TooLong);
    let mut decoder = Decoder::default();
    decoder.take(&golden()[0]).unwrap();
    let chunk = SnapshotPart::Chunk(vec![b' '; CONTROL_SNAPSHOT_BYTES_MAX / 4].into());
    let taken = (0..5).map(|_| decoder.take(&chunk)).filter(Result::is_ok).count();
    assert_eq!((taken, decoder.map.len()), (4, CONTROL_SNAPSHOT_BYTES_MAX));
}

#[test]
fn parts_in_another_order_or_number_are_refused() {
    let [head, map, tail] = <[SnapshotPart; 3]>::try_from(golden()).unwrap();
    let wrong = [
        vec![],
        vec![&head],
        vec![&head, &map],
        vec![&map, &tail],
        vec![&head, &head, &map, &tail],
        vec![&head, &map, &tail, &tail],
        vec![&head, &tail, &map],
        vec![&head, &map, &tail, &head],
    ];
    for parts in wrong {
        assert_eq!(decode(parts), Err(SnapshotFormatError::Parts));
    }
    for parts in [vec![&head, &tail], vec![&head, &map, &map, &tail]] {
        assert!(matches!(decode(parts), Err(SnapshotFormatError::Bytes { .. })));
    }
}

#[test]
fn a_newer_version_is_named_even_if_all_else_is_strange() {
    let head = SnapshotPart::Head(Bytes::from_static(br#"{"version":2,"place":"moon"}"#));
    assert_eq!(decode([&head]), Err(SnapshotFormatError::Version { found: 2 }));
    for head in ["", "{}", "[1]", r#"{"version":1}"#, r#"{"version":"1"}"#] {
        let head = SnapshotPart::Head(Bytes::from_static(head.as_bytes()));
        assert!(matches!(decode([&head]), Err(SnapshotFormatError::Head(_))));
    }
    let found = decode([&SnapshotPart::Head(Bytes::from_static(br#"{"version":0}"#))]);
    assert_eq!(found, Err(SnapshotFormatError::Version { found: 0 }));
}

#[test]
fn a_map_that_breaks_an_invariant_is_refused() {
    let [_, map, _] = <[SnapshotPart; 3]>::try_from(golden()).unwrap();
    let text = String::from_utf8(map.bytes().to_vec()).unwrap();
    // Its disk is that of the node that was replaced.
    let again = text.replacen(&"01".repeat(16), &"05".repeat(16), 1);
    let gap = text.replace("[8192,16383]", "[8192,16000]");
    let malformed = text.replace("\"leaving\"", "\"staying\"");
    let short = text.replace("abab\"", "ab\"");
    for (text, map_error) in [
        (again, Some(MapError::Replaced(NodeId(1)))),
        (gap, Some(MapError::Slots)),
        (malformed, None),
        (short, None),
        ("{".to_owned(), None),
    ] {
        let tail = format!("{{\"bytes\":{}}}", text.len());
        let parts = [golden()[0].clone(), SnapshotPart::Chunk(text.into()), SnapshotPart::Tail(tail.into())];
        match (decode(&parts), map_error) {
            (Err(SnapshotFormatError::Map(DecodeError::Map(found))), Some(expected)) => assert_eq!(found, expected),
            (Err(SnapshotFormatError::Map(DecodeError::Malformed(_))), None) => {}
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
}
