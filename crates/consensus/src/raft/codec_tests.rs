//! Frozen bytes of stored records.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId(Epoch { term, node: NodeId(node) }), committed }
}

pub(crate) fn log_id(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(Epoch { term, node: NodeId(node) }, index)
}

pub(crate) fn membership() -> Membership {
    let node = |az: &str, address: &str, disk: u8| PeerNode {
        az: az.to_owned(),
        address: address.to_owned(),
        disk: DiskId([disk; 16]),
    };
    let nodes = [(1, node("a", "h1:1", 0x11)), (2, node("b", "h2:1", 0x22)), (4, node("c", "h4:1", 0x44))];
    let nodes = BTreeMap::from(nodes);
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 4])], nodes).unwrap()
}

pub(crate) fn batch(bytes: &'static [u8]) -> openraft::EntryPayload<Batch, u64, PeerNode> {
    EntryPayload::Normal(Batch { bytes: Bytes::from_static(bytes), seq: Seq(0) })
}

#[test]
fn a_stored_vote_is_frozen() {
    let bytes = encode_stored_vote(&vote(300, 7, true));
    assert_eq!(hex(&bytes), "0108ac0210071801");
    assert_eq!(decode_stored_vote(&bytes), Ok(vote(300, 7, true)));
}

#[test]
fn a_stored_position_is_frozen() {
    let bytes = encode_log_id(&log_id(300, 7, 65_536));
    assert_eq!(hex(&bytes), "0108ac0210071880 8004".replace(' ', ""));
    assert_eq!(decode_log_id(&bytes), Ok(log_id(300, 7, 65_536)));
}

#[test]
fn a_stored_membership_is_frozen() {
    let bytes = encode_membership(&membership());
    let expected = [
        "010a040a0201020a040a020204",
        "121d08011201611a0468313a31221011111111111111111111111111111111",
        "121d08021201621a0468323a31221022222222222222222222222222222222",
        "121d08041201631a0468343a31221044444444444444444444444444444444",
    ];
    assert_eq!(hex(&bytes), expected.concat());
    assert_eq!(decode_membership(&bytes), Ok(membership()));
}

#[test]
fn other_versions_and_broken_records_are_distinguished() {
    assert_eq!(decode_stored_vote(&[]), Err(DecodeError::Missing("version")));
    assert_eq!(decode_stored_vote(&[2, 0]), Err(DecodeError::Version(2)));
    assert!(matches!(decode_stored_vote(&[1, 0xff]), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode_membership(&[1, 0x0a, 0x02, 0x0a, 0x00]), Err(DecodeError::Membership(_))));
}

#[test]
fn an_entry_keeps_its_leader_through_the_log() {
    for payload in [EntryPayload::Blank, batch(b"x"), EntryPayload::Membership(membership())] {
        let entry = Entry::new(log_id(4, 9, 17), payload);
        let stored = to_log(entry.clone());
        assert_eq!((stored.term, stored.node, stored.index), (4, 9, 17));
        assert_eq!(from_log(&stored), Ok(entry));
    }
}
