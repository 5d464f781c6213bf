//! Private decoders, for fuzz targets. Each function decodes arbitrary bytes, panics if something does not hold that
//! always must, and returns whether the bytes were decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::Bytes;
use fastness_types::{DiskId, Epoch, FormatLevel, GroupId, NodeId, Seq};
use fastness_wire::peer::v1 as pb;
use openraft::EntryPayload;
use openraft::entry::RaftEntry as _;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use prost::Message as _;

use crate::peer::codec;
use crate::peer::frame::{Joiner, Kind, Outbox, Urgency};
use crate::peer::start::Start;
use crate::raft::codec as stored;
use crate::raft::types::{
    Batch, Entry, LeaderId, LogId, Membership, PeerNode, SnapshotMeta, StoredMembership, Types, Vote,
};
use crate::snapshot::files::{SnapshotPart, SnapshotPiece};

/// Whether the bytes decode. What was decoded is encoded, and decodes to what encodes to the same bytes.
fn settles<T, E: Debug>(bytes: &Bytes, decode: impl Fn(Bytes) -> Result<T, E>, encode: impl Fn(T) -> Bytes) -> bool {
    let Ok(first) = decode(bytes.clone()) else { return false };
    let written = encode(first);
    match decode(written.clone()) {
        Ok(second) => assert_eq!(encode(second), written, "what was written is read as something else"),
        Err(error) => panic!("what was written cannot be read: {error:?}"),
    }
    true
}

fn plain<M: prost::Message + Default>(bytes: &Bytes) -> bool {
    settles(bytes, M::decode, |message| codec::encode(&message))
}

/// Decodes a message between nodes, or a record about them; the first byte says which kind.
#[must_use]
pub fn message(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else { return false };
    let bytes = &Bytes::copy_from_slice(bytes);
    match kind % 20 {
        0 => settles(bytes, codec::decode_append, codec::encode_append),
        1 => settles(bytes, codec::decode_append_reply, |reply| codec::encode_append_reply(&reply)),
        2 => settles(bytes, codec::decode_vote, |request| codec::encode_vote(&request)),
        3 => settles(bytes, codec::decode_vote_reply, |reply| codec::encode_vote_reply(&reply)),
        4 => settles(bytes, codec::decode_transfer, |request| codec::encode_transfer(&request)),
        5 => settles(bytes, codec::decode_transfer_reply, |reply| codec::encode_transfer_reply(&reply)),
        6 => settles(bytes, codec::decode_part, |part| {
            codec::encode_part(part.transfer, part.number, part.piece, part.total_bytes)
        }),
        7 => settles(bytes, codec::decode_snapshot_end, |end| {
            codec::encode_snapshot_end(end.transfer, &end.vote, &end.meta)
        }),
        8 => settles(bytes, codec::decode_snapshot_end_reply, |vote| codec::encode_snapshot_end_reply(&vote)),
        9 => settles(
            bytes,
            |bytes| codec::decode_stored_peer(&bytes),
            |(start, at)| codec::encode_stored_peer(&start, &at),
        ),
        10 => settles(bytes, |bytes| stored::decode_stored_vote(&bytes), |vote| stored::encode_stored_vote(&vote)),
        11 => settles(bytes, |bytes| stored::decode_log_id(&bytes), |id| stored::encode_log_id(&id)),
        12 => settles(bytes, |bytes| stored::decode_membership(&bytes), |all| stored::encode_membership(&all)),
        13 => plain::<pb::Hello>(bytes),
        14 => lease_request(bytes),
        15 => plain::<pb::LeaseResponse>(bytes),
        16 => plain::<pb::ReleaseRequest>(bytes),
        17 => plain::<pb::ReleaseReply>(bytes),
        18 => plain::<pb::Ping>(bytes),
        _ => plain::<pb::Pong>(bytes),
    }
}

fn lease_request(bytes: &Bytes) -> bool {
    let Ok(request) = pb::LeaseRequest::decode(bytes.clone()) else { return false };
    for group in &request.groups {
        let acknowledged: BTreeMap<u64, LogId> =
            codec::acknowledged_in(&group.acknowledged).map(|(node, id)| (node.0, id)).collect();
        let again: BTreeMap<u64, LogId> =
            codec::acknowledged_in(&codec::acknowledged_out(&acknowledged)).map(|(node, id)| (node.0, id)).collect();
        assert_eq!(again, acknowledged);
    }
    plain::<pb::LeaseRequest>(bytes)
}

/// Decodes frames, each after its length in two bytes, and joins their messages. True if a message is complete.
#[must_use]
pub fn frames(input: &[u8]) -> bool {
    let (mut joiner, mut rest, mut complete) = (Joiner::default(), input, false);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (frame, after) = after.split_at(length);
        rest = after;
        let Ok(frame) = pb::Frame::decode(frame) else { return complete };
        for message in frame.messages {
            let Ok(joined) = joiner.push(message) else { return complete };
            let Some(envelope) = joined else { continue };
            assert!(envelope.payload.len() <= input.len(), "a message is longer than what was received");
            complete = true;
            let mut outbox = Outbox::default();
            outbox.push(envelope.clone(), Urgency::Now).expect("an empty queue takes a message");
            let mut other = Joiner::default();
            let frames = std::iter::from_fn(|| outbox.next_frame());
            let sent: Vec<_> = frames.flat_map(|frame| frame.messages).collect();
            let mut joined = sent.into_iter().filter_map(|part| other.push(part).expect("parts in order are joined"));
            assert_eq!(joined.next(), Some(envelope.clone()), "a message arrives as it was sent");
            assert_eq!(Kind::from_number(envelope.kind).map_or(envelope.kind, |kind| kind as u32), envelope.kind);
        }
    }
    complete
}

fn log_id(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(Epoch { term, node: NodeId(node) }, index)
}

fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId(Epoch { term, node: NodeId(node) }), committed }
}

fn membership() -> Membership {
    let node = |id: u8, az: &str| {
        let address = format!("127.0.0.1:{}", 7000 + u16::from(id));
        (u64::from(id), PeerNode { az: az.to_owned(), address, disk: DiskId([id; 16]) })
    };
    let halves = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
    let nodes = BTreeMap::from([node(1, "a"), node(2, "b"), node(3, "c"), node(4, "a")]);
    Membership::new(halves, nodes).expect("every voter is a node")
}

fn answers() -> Vec<(u8, Bytes)> {
    let request =
        VoteRequest::<Types> { vote: vote(3, 2, false), last_log_id: Some(log_id(2, 1, 9)), leadership_transfer: true };
    let reply =
        VoteResponse::<Types> { vote: vote(3, 2, false), vote_granted: true, last_log_id: Some(log_id(2, 1, 9)) };
    let transfer = TransferLeaderRequest::<Types>::new(vote(3, 2, true), 4, Some(log_id(3, 2, 9)));
    let changed = TransferLeaderError::VoteChanged { expected: vote(3, 2, true), actual: vote(4, 1, false) };
    let unflushed = TransferLeaderError::LogNotFlushed { expected: Some(log_id(3, 2, 9)), actual: None };
    vec![
        (1, codec::encode_append_reply(&AppendEntriesResponse::Success)),
        (1, codec::encode_append_reply(&AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2, 3))))),
        (1, codec::encode_append_reply(&AppendEntriesResponse::HigherVote(vote(9, 2, false)))),
        (2, codec::encode_vote(&request)),
        (3, codec::encode_vote_reply(&reply)),
        (4, codec::encode_transfer(&transfer)),
        (5, codec::encode_transfer_reply(&Ok(()))),
        (5, codec::encode_transfer_reply(&Err(changed))),
        (5, codec::encode_transfer_reply(&Err(unflushed))),
    ]
}

fn appends() -> Vec<(u8, Bytes)> {
    let batch = EntryPayload::Normal(Batch { bytes: Bytes::from_static(b"effects"), seq: Seq(0) });
    let entries = vec![
        Entry::new(log_id(2, 1, 5), EntryPayload::Blank),
        Entry::new(log_id(2, 1, 6), batch),
        Entry::new(log_id(2, 1, 7), EntryPayload::Membership(membership())),
    ];
    let request = AppendEntriesRequest::<Types> {
        vote: vote(2, 1, true),
        prev_log_id: Some(log_id(1, 3, 4)),
        entries,
        leader_commit: Some(log_id(1, 3, 3)),
    };
    let heartbeat = AppendEntriesRequest::<Types> {
        vote: vote(2, 1, true),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let at_the_end = AppendEntriesRequest::<Types> {
        vote: vote(2, 1, true),
        prev_log_id: Some(log_id(1, 3, u64::MAX)),
        entries: Vec::new(),
        leader_commit: None,
    };
    [request, heartbeat, at_the_end].map(|request| (0, codec::encode_append(request))).to_vec()
}

fn snapshots() -> Vec<(u8, Bytes)> {
    let last_membership = StoredMembership::new(Some(log_id(1, 3, 3)), membership());
    let meta = SnapshotMeta { last_log_id: Some(log_id(2, 1, 9)), last_membership };
    let piece = SnapshotPiece { part: SnapshotPart::Chunk(Bytes::from_static(b"records")), continues: true };
    let head = SnapshotPiece::whole(SnapshotPart::Head(Bytes::from_static(b"{}")));
    vec![
        (6, codec::encode_part(7, 0, head, 100)),
        (6, codec::encode_part(7, 1, piece, 100)),
        (7, codec::encode_snapshot_end(7, &vote(2, 1, true), &meta)),
        (8, codec::encode_snapshot_end_reply(&vote(2, 1, true))),
    ]
}

fn records() -> Vec<(u8, Bytes)> {
    let start = Start { disk: DiskId([0xab; 16]), count: 300, nonce: 7, format: FormatLevel::BOUNDS };
    let acknowledged = BTreeMap::from([(GroupId(2), log_id(3, 4, 500))]);
    vec![
        (9, codec::encode_stored_peer(&start, &acknowledged)),
        (10, stored::encode_stored_vote(&vote(2, 1, true))),
        (11, stored::encode_log_id(&log_id(2, 1, 9))),
        (12, stored::encode_membership(&membership())),
        (14, {
            let acknowledged = codec::acknowledged_out(&BTreeMap::from([(3, log_id(3, 4, 500))]));
            let group = pb::LeaseRequestGroup { group: 2, acknowledged, ..pb::LeaseRequestGroup::default() };
            codec::encode(&pb::LeaseRequest { groups: vec![group], ..pb::LeaseRequest::default() })
        }),
        (15, codec::encode(&pb::LeaseResponse { groups: vec![pb::LeaseResponseGroup::default()], promise_ms: 350 })),
    ]
}

/// One message of each kind, as [`message`] takes it.
#[must_use]
pub fn messages() -> Vec<Vec<u8>> {
    let all = [appends(), answers(), snapshots(), records()].concat();
    all.into_iter().map(|(kind, bytes)| [&[kind][..], &bytes].concat()).collect()
}
