//! Encoding of what a group stores in the log: votes, positions, and membership entries.
//!
//! Every record is a version byte and a protobuf message. The bytes are frozen by golden tests. Decoding never panics,
//! because a disk may hold anything.

use bytes::{BufMut, Bytes, BytesMut};
use fastness_log::{EntryKind, LogEntry};
use fastness_types::{DiskId, Epoch, NodeId, Seq};
use fastness_wire::peer::v1 as pb;
use openraft::EntryPayload;
use openraft::entry::RaftEntry as _;
use prost::Message as _;

use crate::raft::types::{Batch, Entry, LeaderId, LogId, Membership, PeerNode, Vote};

/// The version byte of stored records.
const STORED_VERSION: u8 = 1;

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("format version {0} is not known to this version of the program")]
    Version(u8),
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{what} has an unknown number {number}")]
    Unknown { what: &'static str, number: u64 },
    #[error("invalid membership: {0}")]
    Membership(String),
}

impl From<prost::DecodeError> for DecodeError {
    fn from(error: prost::DecodeError) -> Self {
        DecodeError::Malformed(error.to_string())
    }
}

/// A stored record: the version byte and the message.
pub(crate) fn versioned(message: &impl prost::Message) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + message.encoded_len());
    out.put_u8(STORED_VERSION);
    message.encode(&mut out).expect("a BytesMut grows as needed");
    out.freeze()
}

/// The message of a stored record.
pub(crate) fn body(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    match bytes.split_first() {
        Some((&STORED_VERSION, body)) => Ok(body),
        Some((&version, _)) => Err(DecodeError::Version(version)),
        None => Err(DecodeError::Missing("version")),
    }
}

pub(crate) fn encode_stored_vote(vote: &Vote) -> Bytes {
    let Epoch { term, node } = vote.leader_id.0;
    versioned(&pb::StoredVote { term, node: node.0, committed: vote.committed })
}

pub(crate) fn decode_stored_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    let vote = pb::StoredVote::decode(body(bytes)?)?;
    Ok(Vote { leader_id: LeaderId(Epoch { term: vote.term, node: NodeId(vote.node) }), committed: vote.committed })
}

/// Encodes a position, as the committed one is stored.
pub(crate) fn encode_log_id(id: &LogId) -> Bytes {
    versioned(&log_id_out(id))
}

pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, DecodeError> {
    Ok(log_id_in(pb::LogId::decode(body(bytes)?)?))
}

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let halves = membership.get_joint_config().iter();
    versioned(&pb::StoredMembership {
        halves: halves.map(|half| pb::StoredHalf { voters: half.iter().copied().collect() }).collect(),
        members: membership
            .nodes()
            .map(|(node, at)| pb::StoredMember {
                node: *node,
                az: at.az.clone(),
                address: at.address.clone(),
                disk: Bytes::copy_from_slice(&at.disk.0),
            })
            .collect(),
    })
}

pub(crate) fn decode_membership(bytes: &[u8]) -> Result<Membership, DecodeError> {
    let stored = pb::StoredMembership::decode(body(bytes)?)?;
    let halves: Vec<std::collections::BTreeSet<u64>> =
        stored.halves.into_iter().map(|half| half.voters.into_iter().collect()).collect();
    let nodes: std::collections::BTreeMap<u64, PeerNode> = stored
        .members
        .into_iter()
        .map(|member| {
            let disk = disk_in(&member.disk)?;
            Ok((member.node, PeerNode { az: member.az, address: member.address, disk }))
        })
        .collect::<Result<_, DecodeError>>()?;
    Membership::new(halves, nodes).map_err(|error| DecodeError::Membership(error.to_string()))
}

/// Converts an entry to what the log stores.
pub(crate) fn to_log(entry: Entry) -> LogEntry {
    let (epoch, index) = (entry.log_id.leader_id, entry.log_id.index);
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, Bytes::new()),
        EntryPayload::Normal(batch) => (EntryKind::Batch, batch.bytes),
        EntryPayload::Membership(membership) => (EntryKind::Membership, encode_membership(&membership)),
    };
    LogEntry { index, term: epoch.term, node: epoch.node.0, kind, payload }
}

/// Converts an entry that was read from the log.
pub(crate) fn from_log(entry: &LogEntry) -> Result<Entry, DecodeError> {
    let id = LogId::new(Epoch { term: entry.term, node: NodeId(entry.node) }, entry.index);
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Batch => EntryPayload::Normal(Batch { bytes: entry.payload.clone(), seq: Seq(0) }),
        EntryKind::Membership => EntryPayload::Membership(decode_membership(&entry.payload)?),
    };
    Ok(Entry::new(id, payload))
}

pub(crate) fn log_id_out(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, node: id.leader_id.node.0, index: id.index }
}

pub(crate) fn log_id_in(id: pb::LogId) -> LogId {
    LogId::new(Epoch { term: id.term, node: NodeId(id.node) }, id.index)
}

pub(crate) fn disk_in(bytes: &[u8]) -> Result<DiskId, DecodeError> {
    let id = bytes.try_into().map_err(|_| DecodeError::Malformed(format!("a disk id of {} bytes", bytes.len())))?;
    Ok(DiskId(id))
}

#[cfg(test)]
#[path = "codec_tests.rs"]
pub(crate) mod tests;
