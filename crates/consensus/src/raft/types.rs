//! The types that openraft is instantiated with.
//!
//! A leader id is a term and its leader, ordered as in standard Raft: two candidates of one term are incomparable, so a
//! term has at most one leader. What stands in log entries is an [`Epoch`], which names the node as well: both parts of
//! it follow from the term, and the owner of the data can tell whose an entry is.

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

/// One proposal as openraft carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// What goes into the log.
    pub(crate) bytes: Bytes,
    /// On the proposing node only: which proposal it is, so that the log store can report it accepted. 0 in every entry
    /// that was read back or came from a peer.
    pub(crate) seq: Seq,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.bytes.len())
    }
}

/// What a configuration says about a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PeerNode {
    pub(crate) az: String,
    pub(crate) address: String,
    /// The node is this member with this disk only.
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
    /// What the configuration says, as the rest of the program has it.
    pub(crate) fn member(&self, node: u64) -> Member {
        let PeerNode { az, address, disk } = self;
        Member { node: NodeId(node), az: Az::from(az.as_str()), address: address.clone(), disk: *disk }
    }
}

/// A term and whoever was voted for in it.
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
    /// Somebody voted for is never the same as somebody elected.
    fn eq(&self, _: &Epoch) -> bool {
        false
    }
}

impl PartialOrd<Epoch> for LeaderId {
    fn partial_cmp(&self, other: &Epoch) -> Option<Ordering> {
        // In one term the elected leader is above every candidate.
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
        // Term 0 has no leader: the first entry of a group is the same whoever initialises it.
        if self.0.term == 0 { Epoch::default() } else { self.0 }
    }
}

/// The epoch a vote is for.
pub(crate) fn epoch_of(vote: &Vote) -> Epoch {
    vote.leader_id().0
}

/// Where openraft sends the outcome of a write: a function that is called once.
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
