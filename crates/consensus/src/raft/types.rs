//! The types that openraft is instantiated with.
//!
//! A leader id is a term and its leader, ordered as in standard Raft: two candidates of one term are incomparable, so a
//! term has at most one leader. Log entries carry an [`Epoch`], which names the node as well. The term determines the
//! node, and the owner of the data sees which node proposed an entry.

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;
use fastness_types::{Az, DiskId, Epoch, NodeId, Seq};
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;

use crate::group::placement::Member;

/// openraft's `RaftTypeConfig`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Batch;
    type R = ();
    type NodeId = u64;
    type Node = PeerNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::Vote<LeaderId>;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = crate::raft::runtime::Runtime;
    type Responder<T>
        = Reply<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::AnyError;
}

pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type LogId = openraft::LogId<Epoch>;
pub(crate) type Payload = openraft::EntryPayload<Batch, u64, PeerNode>;
pub(crate) type Entry = openraft::Entry<Epoch, Payload>;
pub(crate) type Membership = openraft::Membership<u64, PeerNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<Epoch, u64, PeerNode>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;

/// A proposal, as openraft carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The payload of the log entry.
    pub(crate) bytes: Bytes,
    /// On the proposing node only: the sequence number of the proposal, so that the log storage can report its
    /// acceptance. 0 in entries that were read back or came from a peer.
    pub(crate) seq: Seq,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.bytes.len())
    }
}

/// A node, as a membership describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PeerNode {
    pub(crate) az: String,
    pub(crate) address: String,
    /// The node is this member only with this disk.
    pub(crate) disk: DiskId,
}

impl fmt::Display for PeerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}, disk {}", self.address, self.az, self.disk)
    }
}

impl From<&Member> for PeerNode {
    fn from(member: &Member) -> PeerNode {
        PeerNode { az: member.az.to_string(), address: member.address.clone(), disk: member.disk }
    }
}

impl PeerNode {
    /// Converts the node to a member, as other crates see it.
    pub(crate) fn member(&self, node: u64) -> Member {
        let PeerNode { az, address, disk } = self;
        Member { node: NodeId(node), az: Az::from(az.as_str()), address: address.clone(), disk: *disk }
    }
}

/// A term and the node that was voted for in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaderId(pub(crate) Epoch);

impl fmt::Display for LeaderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialOrd for LeaderId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.0.term.cmp(&other.0.term) {
            Ordering::Equal if self.0.node != other.0.node => None,
            ordering => Some(ordering),
        }
    }
}

impl PartialEq<Epoch> for LeaderId {
    /// A candidate is never equal to an elected leader.
    fn eq(&self, _: &Epoch) -> bool {
        false
    }
}

impl PartialOrd<Epoch> for LeaderId {
    fn partial_cmp(&self, other: &Epoch) -> Option<Ordering> {
        // Within one term the elected leader is greater than every candidate.
        Some(self.0.term.cmp(&other.term).then(Ordering::Less))
    }
}

impl RaftLeaderId for LeaderId {
    type Term = u64;
    type NodeId = u64;
    type Committed = Epoch;

    fn new(term: u64, node: u64) -> LeaderId {
        LeaderId(Epoch { term, node: NodeId(node) })
    }

    fn term(&self) -> u64 {
        self.0.term
    }

    fn node_id(&self) -> &u64 {
        &self.0.node.0
    }

    fn to_committed(&self) -> Epoch {
        // Term 0 has no leader, so the first entry of a group is the same whichever node initialises it.
        if self.0.term == 0 { Epoch::default() } else { self.0 }
    }
}

/// The epoch that a vote is for.
pub(crate) fn epoch_of(vote: &Vote) -> Epoch {
    vote.leader_id().0
}

/// A function that openraft calls once with the outcome of a write.
pub(crate) struct Reply<T> {
    complete: Box<dyn FnOnce(T) + Send>,
}

impl<T> Reply<T> {
    pub(crate) fn new(complete: impl FnOnce(T) + Send + 'static) -> Reply<T> {
        Reply { complete: Box::new(complete) }
    }
}

impl<T: Send + 'static> Responder<Types, T> for Reply<T> {
    fn on_complete(self, result: T) {
        (self.complete)(result);
    }
}
