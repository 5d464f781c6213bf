//! The mailbox of a replica's thread: what the rest of the process sends to it.

use bytes::Bytes;
use fastness_shard::{CommittedValue, DigestResult};
use fastness_types::LogIndex;
use rustls::ServerConnection;
use tokio::sync::oneshot;

use crate::resp_server::activity::{Activity, ActivityBounds};
use crate::resp_server::clients::Arrival;
use crate::resp_server::pipe::ReplicaEnd;
use crate::resp_server::snapshot::Snapshot;
use crate::shared::ClientSlot;

/// Messages that wait for a replica's thread; whoever sends one more waits.
pub const MAILBOX_MAX: usize = 256;

/// How the bytes of a connection come.
pub enum Transport {
    /// Over a socket, non-blocking, with TLS after its handshake.
    Socket(std::net::TcpStream, Option<Box<ServerConnection>>),
    /// From another front end of this node.
    Memory(ReplicaEnd),
}

/// A connection that is ready to be served.
pub struct Incoming {
    /// Its bytes.
    pub transport: Transport,
    /// Who it is.
    pub arrival: Arrival,
    /// Its place among `maxclients`.
    pub slot: ClientSlot,
}

/// What is committed at keys, and the log position at which exactly that is stored; `None`: the replica is not serving.
pub type CommittedValues = Option<(LogIndex, Vec<CommittedValue>)>;

/// A message to a replica's thread.
pub enum ToReplica {
    /// A client has connected.
    Connection(Incoming),
    /// Report the replica's figures for metrics.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Report the same with slots and slow commands.
    Activity(ActivityBounds, oneshot::Sender<Activity>),
    /// Compute the digest of the committed data, with the log position that it belongs to.
    Digest(oneshot::Sender<DigestResult>),
    /// Make a snapshot as soon as possible; replies `false` if this replica stores none.
    MakeSnapshot(oneshot::Sender<bool>),
    /// Read what is committed at keys, each if it has at most so many bytes.
    Values(Vec<Bytes>, usize, oneshot::Sender<CommittedValues>),
    /// Close all connections once their replies have left, and end.
    Stop,
}
