//! Frozen bytes of what is persisted, and round trips of what travels.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId(Epoch { term, node: NodeId(node) }), committed }
}

fn log_id(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(Epoch { term, node: NodeId(node) }, index)
}

fn membership() -> Membership {
    let node = |az: &str, address: &str, disk: u8| PeerNode {
        az: az.to_owned(),
        address: address.to_owned(),
        disk: DiskId([disk; 16]),
    };
    let nodes = [(1, node("a", "h1:1", 0x11)), (2, node("b", "h2:1", 0x22)), (4, node("c", "h4:1", 0x44))];
    let nodes = BTreeMap::from(nodes);
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 4])], nodes).unwrap()
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
fn a_stored_start_of_a_peer_is_frozen() {
    let start = Start { disk: DiskId([0xab; 16]), count: 300, mark: 7, format: FormatLevel::BOUNDS };
    let bytes = encode_stored_peer(&start, &BTreeMap::new());
    assert_eq!(hex(&bytes), "010a10abababababababababababababababab10ac0218072002");
    let first_version = decode_stored_peer(&bytes[..bytes.len() - 2]);
    let expected = (Start { format: FormatLevel::BASE, ..start }, BTreeMap::new());
    assert_eq!(first_version, Ok(expected), "as versions without levels wrote it");
    assert_eq!(decode_stored_peer(&bytes), Ok((start, BTreeMap::new())));
    let acknowledged = BTreeMap::from([(GroupId(2), log_id(3, 4, 500))]);
    let with_positions = encode_stored_peer(&start, &acknowledged);
    assert_eq!(hex(&with_positions), format!("{}a2010b080212070803100418f403", hex(&bytes)));
    assert_eq!(decode_stored_peer(&with_positions), Ok((start, acknowledged)));
    assert!(matches!(decode_stored_peer(&bytes[..9]), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode_stored_peer(&[1, 0x10, 5]), Err(DecodeError::Malformed(_))), "no disk");
}

#[test]
fn other_versions_and_broken_records_are_told_apart() {
    assert_eq!(decode_stored_vote(&[]), Err(DecodeError::Missing("version")));
    assert_eq!(decode_stored_vote(&[2, 0]), Err(DecodeError::Version(2)));
    assert!(matches!(decode_stored_vote(&[1, 0xff]), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode_membership(&[1, 0x0a, 0x02, 0x0a, 0x00]), Err(DecodeError::Membership(_))));
}

fn batch(bytes: &'static [u8]) -> openraft::EntryPayload<Batch, u64, PeerNode> {
    EntryPayload::Normal(Batch { bytes: Bytes::from_static(bytes), seq: Seq(0) })
}

#[test]
fn append_requests_travel() {
    let entries = vec![
        Entry::new(log_id(2, 1, 5), EntryPayload::Blank),
        Entry::new(log_id(2, 1, 6), batch(b"effects")),
        Entry::new(log_id(2, 1, 7), EntryPayload::Membership(membership())),
    ];
    let request = AppendEntriesRequest::<Types> {
        vote: vote(2, 1, true),
        prev_log_id: Some(log_id(1, 3, 4)),
        entries: entries.clone(),
        leader_commit: Some(log_id(1, 3, 3)),
    };
    let travelled = decode_append(encode_append(request)).unwrap();
    assert_eq!(travelled.vote, vote(2, 1, true));
    assert_eq!(travelled.prev_log_id, Some(log_id(1, 3, 4)));
    assert_eq!(travelled.leader_commit, Some(log_id(1, 3, 3)));
    assert_eq!(travelled.entries, entries);
}

#[test]
fn entries_that_do_not_follow_each_other_are_refused() {
    let request = |indexes: [u64; 2]| AppendEntriesRequest::<Types> {
        vote: vote(2, 1, true),
        prev_log_id: Some(log_id(1, 3, 4)),
        entries: indexes.iter().map(|index| Entry::new(log_id(2, 1, *index), batch(b""))).collect(),
        leader_commit: None,
    };
    assert!(decode_append(encode_append(request([5, 6]))).is_ok());
    assert!(decode_append(encode_append(request([5, 7]))).is_err());
    assert!(decode_append(encode_append(request([6, 7]))).is_err());
}

#[test]
fn answers_travel() {
    let replies = [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(None),
        AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2, 3))),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(vote(9, 2, false)),
    ];
    for reply in replies {
        assert_eq!(decode_append_reply(encode_append_reply(&reply)), Ok(reply));
    }
    let request =
        VoteRequest::<Types> { vote: vote(3, 2, false), last_log_id: Some(log_id(2, 1, 9)), leadership_transfer: true };
    assert_eq!(decode_vote(encode_vote(&request)), Ok(request));
    let reply = VoteResponse::<Types> { vote: vote(3, 2, false), vote_granted: true, last_log_id: None };
    assert_eq!(decode_vote_reply(encode_vote_reply(&reply)), Ok(reply));
    let transfer = TransferLeaderRequest::<Types>::new(vote(3, 2, true), 4, Some(log_id(3, 2, 9)));
    assert_eq!(decode_transfer(encode_transfer(&transfer)), Ok(transfer));
    let replies = [
        Ok(()),
        Err(TransferLeaderError::VoteChanged { expected: vote(3, 2, true), actual: vote(4, 1, false) }),
        Err(TransferLeaderError::LogNotFlushed { expected: Some(log_id(3, 2, 9)), actual: None }),
    ];
    for reply in replies {
        assert_eq!(decode_transfer_reply(encode_transfer_reply(&reply)), Ok(reply));
    }
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
