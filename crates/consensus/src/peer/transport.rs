//! The interface to the transport, which opens streams of frames to other nodes.
//!
//! In production the transport is gRPC over mTLS (`server/src/peer_server.rs`); tests and the simulation have one in
//! memory. A stream keeps the order of frames, and loses none between its start and its end. It may end at any time, on
//! either side, and frames in flight are then delivered or lost. The transport verifies the identity of the peer; what
//! frames claim is checked against that.

use std::pin::Pin;
use std::time::Duration;

use fastness_types::NodeId;
use fastness_wire::peer::v1::Frame;
use futures::Stream;
use tokio::sync::mpsc;

/// The class of a stream's traffic. Each class has a connection of its own, so that heartbeats never wait for entries
/// to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Log entries, votes, hand-overs.
    Append,
    /// openraft's heartbeats, and the lease.
    Heartbeat,
    /// Snapshots. The stream is opened when the first one is sent.
    Snapshot,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 3] = [Class::Append, Class::Heartbeat, Class::Snapshot];
    /// Classes whose streams are always open.
    pub(crate) const PERMANENT: [Class; 2] = [Class::Append, Class::Heartbeat];
}

/// Frames that a stream buffers. A full stream makes the link wait, whose own queue is bounded too.
pub const STREAM_FRAMES_MAX: usize = 16;

/// A stream on which nothing arrives for this long, pings included, is closed.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(1500);

/// An open stream between two nodes.
pub struct FrameStream {
    /// Frames to the peer. Dropping it ends the stream.
    pub outgoing: mpsc::Sender<Frame>,
    /// Frames from the peer. Ends when the stream ends.
    pub incoming: Pin<Box<dyn Stream<Item = Frame> + Send>>,
}

impl std::fmt::Debug for FrameStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameStream").finish_non_exhaustive()
    }
}

/// Why a stream could not be opened. The link tries again after a growing pause.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Nobody listens, there is no route, or the connection was refused or timed out.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The peer is not the expected node, or does not accept this node's identity.
    #[error("identity: {0}")]
    Identity(String),
}

/// Opens streams to peers.
#[async_trait::async_trait]
pub trait PeerTransport: Send + Sync + 'static {
    /// Opens a stream of `class` to `peer` at `address`.
    async fn open(&self, peer: NodeId, address: &str, class: Class) -> Result<FrameStream, TransportError>;
}
