//! Encoding of messages between nodes, and of what this node stores about a peer.
//!
//! Messages are protobuf; their field numbers are frozen in `proto/`. The stored record of a peer is versioned like
//! every other stored record (`raft/codec.rs`). Decoding never panics, because a peer may send anything.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastness_log::{EntryKind, LogEntry};
use fastness_types::{Epoch, FormatLevel, GroupId, NodeId};
use fastness_wire::peer::v1 as pb;
use openraft::entry::RaftEntry as _;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use prost::Message as _;

use crate::peer::start::Start;
use crate::raft::codec::{
    DecodeError, body, decode_membership, disk_in, encode_membership, from_log, log_id_in, log_id_out, to_log,
    versioned,
};
use crate::raft::types::{LeaderId, LogId, SnapshotMeta, StoredMembership, Types, Vote, epoch_of};
use crate::snapshot::files::{SnapshotPart, SnapshotPiece};

pub(crate) fn encode_stored_peer(start: &Start, acknowledged: &BTreeMap<GroupId, LogId>) -> Bytes {
    let Start { disk, count, nonce, format } = *start;
    let disk = Bytes::copy_from_slice(&disk.0);
    let acknowledged = positions_out(acknowledged);
    versioned(&pb::StoredPeer { disk, start_count: count, start_nonce: nonce, format_level: format.0, acknowledged })
}

pub(crate) fn decode_stored_peer(bytes: &[u8]) -> Result<(Start, BTreeMap<GroupId, LogId>), DecodeError> {
    let stored = pb::StoredPeer::decode(body(bytes)?)?;
    let format = FormatLevel::announced(stored.format_level);
    let start = Start { disk: disk_in(&stored.disk)?, count: stored.start_count, nonce: stored.start_nonce, format };
    Ok((start, positions_in(&stored.acknowledged)?))
}

/// One position per group, as it is stored and sent.
pub(crate) fn positions_out(positions: &BTreeMap<GroupId, LogId>) -> Vec<pb::GroupPosition> {
    let out = |(group, id): (&GroupId, &LogId)| pb::GroupPosition { group: group.0, position: Some(log_id_out(id)) };
    positions.iter().map(out).collect()
}

pub(crate) fn positions_in(positions: &[pb::GroupPosition]) -> Result<BTreeMap<GroupId, LogId>, DecodeError> {
    let taken = |found: &pb::GroupPosition| {
        let id = found.position.ok_or(DecodeError::Missing("position"))?;
        Ok((GroupId(found.group), log_id_in(id)))
    };
    positions.iter().map(taken).collect()
}

/// What members have acknowledged, as a lease request carries it.
pub(crate) fn acknowledged_out(acknowledged: &BTreeMap<u64, LogId>) -> Vec<pb::NodePosition> {
    let out = |(node, id): (&u64, &LogId)| pb::NodePosition { node: *node, position: Some(log_id_out(id)) };
    acknowledged.iter().map(out).collect()
}

pub(crate) fn acknowledged_in(acknowledged: &[pb::NodePosition]) -> impl Iterator<Item = (NodeId, LogId)> {
    acknowledged.iter().filter_map(|found| Some((NodeId(found.node), log_id_in(found.position?))))
}

fn vote_out(vote: &Vote) -> Option<pb::Vote> {
    let Epoch { term, node } = vote.leader_id.0;
    Some(pb::Vote { term, node: node.0, committed: vote.committed })
}

fn vote_in(vote: Option<pb::Vote>) -> Result<Vote, DecodeError> {
    let vote = vote.ok_or(DecodeError::Missing("vote"))?;
    Ok(Vote { leader_id: LeaderId(Epoch { term: vote.term, node: NodeId(vote.node) }), committed: vote.committed })
}

pub(crate) fn encode(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

pub(crate) fn encode_append(request: AppendEntriesRequest<Types>) -> Bytes {
    let entries = request.entries.into_iter().map(|entry| {
        let entry = to_log(entry);
        let id = pb::LogId { term: entry.term, node: entry.node, index: entry.index };
        pb::LogEntry { id: Some(id), kind: entry.kind as u32, payload: entry.payload }
    });
    encode(&pb::AppendRequest {
        vote: vote_out(&request.vote),
        previous: request.prev_log_id.as_ref().map(log_id_out),
        entries: entries.collect(),
        committed: request.leader_commit.as_ref().map(log_id_out),
    })
}

pub(crate) fn decode_append(bytes: Bytes) -> Result<AppendEntriesRequest<Types>, DecodeError> {
    let request = pb::AppendRequest::decode(bytes)?;
    let entries = request.entries.into_iter().map(|entry| {
        let id = entry.id.ok_or(DecodeError::Missing("log id"))?;
        let kind = u8::try_from(entry.kind).ok().and_then(EntryKind::from_number);
        let kind = kind.ok_or(DecodeError::Unknown { what: "entry kind", number: entry.kind.into() })?;
        from_log(&LogEntry { index: id.index, term: id.term, node: id.node, kind, payload: entry.payload })
    });
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    // openraft assumes this order, so a request that breaks it must not reach openraft.
    let mut newest = request.previous.as_ref().map(|id| id.index);
    let mut follows = |index| {
        let expected = newest.map_or(Some(0), |newest| newest.checked_add(1));
        newest = Some(index);
        expected == Some(index)
    };
    if !entries.iter().all(|entry| follows(entry.index())) {
        return Err(DecodeError::Malformed("entries are not consecutive".to_owned()));
    }
    Ok(AppendEntriesRequest {
        vote: vote_in(request.vote)?,
        prev_log_id: request.previous.map(log_id_in),
        entries,
        leader_commit: request.committed.map(log_id_in),
    })
}

pub(crate) fn encode_append_reply(reply: &AppendEntriesResponse<Types>) -> Bytes {
    use pb::append_reply::Outcome;
    let mut out = pb::AppendReply::default();
    match reply {
        AppendEntriesResponse::Success => out.set_outcome(Outcome::Success),
        AppendEntriesResponse::PartialSuccess(matched) => {
            out.set_outcome(Outcome::Partial);
            out.matched = matched.as_ref().map(log_id_out);
        }
        AppendEntriesResponse::Conflict => out.set_outcome(Outcome::Conflict),
        AppendEntriesResponse::HigherVote(vote) => {
            out.set_outcome(Outcome::HigherVote);
            out.vote = vote_out(vote);
        }
    }
    encode(&out)
}

pub(crate) fn decode_append_reply(bytes: Bytes) -> Result<AppendEntriesResponse<Types>, DecodeError> {
    use pb::append_reply::Outcome;
    let reply = pb::AppendReply::decode(bytes)?;
    match reply.outcome() {
        Outcome::Success => Ok(AppendEntriesResponse::Success),
        Outcome::Partial => Ok(AppendEntriesResponse::PartialSuccess(reply.matched.map(log_id_in))),
        Outcome::Conflict => Ok(AppendEntriesResponse::Conflict),
        Outcome::HigherVote => Ok(AppendEntriesResponse::HigherVote(vote_in(reply.vote)?)),
        Outcome::Unspecified => Err(DecodeError::Missing("outcome")),
    }
}

pub(crate) fn encode_vote(request: &VoteRequest<Types>) -> Bytes {
    encode(&pb::VoteRequest {
        vote: vote_out(&request.vote),
        last_log: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn decode_vote(bytes: Bytes) -> Result<VoteRequest<Types>, DecodeError> {
    let request = pb::VoteRequest::decode(bytes)?;
    Ok(VoteRequest {
        vote: vote_in(request.vote)?,
        last_log_id: request.last_log.map(log_id_in),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn encode_vote_reply(reply: &VoteResponse<Types>) -> Bytes {
    encode(&pb::VoteReply {
        vote: vote_out(&reply.vote),
        granted: reply.vote_granted,
        last_log: reply.last_log_id.as_ref().map(log_id_out),
    })
}

pub(crate) fn decode_vote_reply(bytes: Bytes) -> Result<VoteResponse<Types>, DecodeError> {
    let reply = pb::VoteReply::decode(bytes)?;
    Ok(VoteResponse {
        vote: vote_in(reply.vote)?,
        vote_granted: reply.granted,
        last_log_id: reply.last_log.map(log_id_in),
    })
}

pub(crate) fn encode_transfer(request: &TransferLeaderRequest<Types>) -> Bytes {
    encode(&pb::TransferRequest {
        from: vote_out(request.from_leader()),
        to: *request.to_node_id(),
        last_log: request.last_log_id().map(log_id_out),
    })
}

pub(crate) fn decode_transfer(bytes: Bytes) -> Result<TransferLeaderRequest<Types>, DecodeError> {
    let request = pb::TransferRequest::decode(bytes)?;
    Ok(TransferLeaderRequest::new(vote_in(request.from)?, request.to, request.last_log.map(log_id_in)))
}

pub(crate) fn encode_transfer_reply(reply: &TransferLeaderResponse<Types>) -> Bytes {
    use pb::transfer_reply::Outcome;
    let mut out = pb::TransferReply::default();
    match reply {
        Ok(()) => out.set_outcome(Outcome::Accepted),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.set_outcome(Outcome::VoteChanged);
            (out.expected_vote, out.actual_vote) = (vote_out(expected), vote_out(actual));
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.set_outcome(Outcome::LogNotFlushed);
            out.expected_log = expected.as_ref().map(log_id_out);
            out.actual_log = actual.as_ref().map(log_id_out);
        }
    }
    encode(&out)
}

pub(crate) fn decode_transfer_reply(bytes: Bytes) -> Result<TransferLeaderResponse<Types>, DecodeError> {
    use pb::transfer_reply::Outcome;
    let reply = pb::TransferReply::decode(bytes)?;
    match reply.outcome() {
        Outcome::Accepted => Ok(Ok(())),
        Outcome::VoteChanged => Ok(Err(TransferLeaderError::VoteChanged {
            expected: vote_in(reply.expected_vote)?,
            actual: vote_in(reply.actual_vote)?,
        })),
        Outcome::LogNotFlushed => Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: reply.expected_log.map(log_id_in),
            actual: reply.actual_log.map(log_id_in),
        })),
        Outcome::Unspecified => Err(DecodeError::Missing("outcome")),
    }
}

pub(crate) fn encode_part(transfer: u64, number: u64, piece: SnapshotPiece, total_bytes: u64) -> Bytes {
    use pb::snapshot_part::Kind;
    let (kind, payload) = match piece.part {
        SnapshotPart::Head(payload) => (Kind::Head, payload),
        SnapshotPart::Chunk(payload) if piece.continues => (Kind::Piece, payload),
        SnapshotPart::Chunk(payload) => (Kind::Chunk, payload),
        SnapshotPart::Tail(payload) => (Kind::Tail, payload),
    };
    encode(&pb::SnapshotPart { transfer, number, kind: kind as i32, payload, total_bytes })
}

pub(crate) fn decode_part(bytes: Bytes) -> Result<NumberedPart, DecodeError> {
    use pb::snapshot_part::Kind;
    let pb::SnapshotPart { transfer, number, kind, payload, total_bytes } = pb::SnapshotPart::decode(bytes)?;
    let piece = match Kind::try_from(kind) {
        Ok(Kind::Head) => SnapshotPiece::whole(SnapshotPart::Head(payload)),
        Ok(Kind::Chunk) => SnapshotPiece::whole(SnapshotPart::Chunk(payload)),
        Ok(Kind::Piece) => SnapshotPiece { part: SnapshotPart::Chunk(payload), continues: true },
        Ok(Kind::Tail) => SnapshotPiece::whole(SnapshotPart::Tail(payload)),
        Ok(Kind::Unspecified) | Err(_) => {
            return Err(DecodeError::Unknown { what: "snapshot part", number: u64::from(kind.unsigned_abs()) });
        }
    };
    Ok(NumberedPart { transfer, number, piece, total_bytes })
}

pub(crate) fn encode_snapshot_end(transfer: u64, vote: &Vote, meta: &SnapshotMeta) -> Bytes {
    encode(&pb::SnapshotEnd {
        transfer,
        vote: vote_out(vote),
        last: meta.last_log_id.as_ref().map(log_id_out),
        membership_log: meta.last_membership.log_id().as_ref().map(log_id_out),
        membership: encode_membership(meta.last_membership.membership()),
    })
}

pub(crate) fn decode_snapshot_end(bytes: Bytes) -> Result<TransferEnd, DecodeError> {
    let end = pb::SnapshotEnd::decode(bytes)?;
    let vote = vote_in(end.vote)?;
    let last = log_id_in(end.last.ok_or(DecodeError::Missing("last"))?);
    let membership_log = log_id_in(end.membership_log.ok_or(DecodeError::Missing("membership_log"))?);
    // openraft assumes both, so a snapshot that breaks them must not reach openraft.
    if last.leader_id > epoch_of(&vote) || membership_log.index > last.index {
        return Err(DecodeError::Malformed("the snapshot is newer than its leader".to_owned()));
    }
    let membership = StoredMembership::new(Some(membership_log), decode_membership(&end.membership)?);
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership: membership };
    Ok(TransferEnd { transfer: end.transfer, vote, meta })
}

pub(crate) fn encode_snapshot_end_reply(vote: &Vote) -> Bytes {
    encode(&pb::SnapshotEndReply { vote: vote_out(vote) })
}

pub(crate) fn decode_snapshot_end_reply(bytes: Bytes) -> Result<Vote, DecodeError> {
    vote_in(pb::SnapshotEndReply::decode(bytes)?.vote)
}

/// One part of a snapshot, as it was received.
pub(crate) struct NumberedPart {
    pub(crate) transfer: u64,
    pub(crate) number: u64,
    pub(crate) piece: SnapshotPiece,
    pub(crate) total_bytes: u64,
}

/// The end of a snapshot transfer, as it was received.
pub(crate) struct TransferEnd {
    pub(crate) transfer: u64,
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
