//! The edge towards peers: something that opens a stream of frames to another node.
//!
//! In production that is gRPC over mTLS (`server/src/peer_server.rs`), in tests and the simulation something in memory.
//! A stream keeps the order of frames and loses none between its start and its end; it may end at any time, on either
//! side, and what was under way is then lost or not. Identity: whoever implements this knows for certain whom it talks
//! to; what frames claim is checked against that.

use std::pin::Pin;
use std::time::Duration;

use fastness_types::NodeId;
use fastness_wire::peer::v1::Frame;
use futures::Stream;
use tokio::sync::mpsc;

/// What travels on a stream. Each class has a connection of its own, so that heartbeats never wait behind entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Log entries, votes, hand-over.
    Append,
    /// openraft's heartbeats and the lease.
    Heartbeat,
    /// Snapshots. Opened when the first one is sent.
    Snapshot,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 3] = [Class::Append, Class::Heartbeat, Class::Snapshot];
    /// Those that are open all the time.
    pub(crate) const STANDING: [Class; 2] = [Class::Append, Class::Heartbeat];
}

/// Frames that a stream may hold before they are sent. A full stream makes the link wait, which fills its own queue,
/// which is bounded too.
pub const STREAM_FRAMES_MAX: usize = 16;

/// A stream on which nothing arrives for so long, pings included, is given up.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(1500);

/// An open stream between two nodes.
pub struct FrameStream {
    /// Frames to the peer. Dropping it ends the stream.
    pub outgoing: mpsc::Sender<Frame>,
    /// Frames from the peer; ends when the stream does.
    pub incoming: Pin<Box<dyn Stream<Item = Frame> + Send>>,
}

impl std::fmt::Debug for FrameStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameStream").finish_non_exhaustive()
    }
}

/// Why no stream could be opened. All of these are retried, after a growing pause.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Nobody there, no route, connection refused or not in time.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The peer is not the node it should be, or does not believe that we are who we are.
    #[error("identity: {0}")]
    Identity(String),
}

/// Opens streams to peers.
#[async_trait::async_trait]
pub trait PeerTransport: Send + Sync + 'static {
    /// Opens a stream of `class` to `peer` at `address`.
    async fn open(&self, peer: NodeId, address: &str, class: Class) -> Result<FrameStream, TransportError>;
}
