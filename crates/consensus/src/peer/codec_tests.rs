//! Round trips of messages, and the frozen bytes of what is stored about a peer.

use std::collections::BTreeMap;

use fastness_types::DiskId;
use openraft::EntryPayload;

use super::*;
use crate::raft::codec::tests::{batch, hex, log_id, membership, vote};
use crate::raft::types::Entry;

#[test]
fn a_stored_start_of_a_peer_is_frozen() {
    let start = Start { disk: DiskId([0xab; 16]), count: 300, nonce: 7, format: FormatLevel::BOUNDS };
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

/// Found by fuzzing: adding one to the last index overflowed.
#[test]
fn a_position_at_the_end_of_all_indexes_is_no_panic() {
    let request = |entries| AppendEntriesRequest::<Types> {
        vote: vote(2, 1, true),
        prev_log_id: Some(log_id(1, 3, u64::MAX)),
        entries,
        leader_commit: None,
    };
    assert!(decode_append(encode_append(request(Vec::new()))).is_ok());
    for index in [0, u64::MAX] {
        let entries = vec![Entry::new(log_id(2, 1, index), batch(b""))];
        assert!(decode_append(encode_append(request(entries))).is_err(), "{index}");
    }
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
