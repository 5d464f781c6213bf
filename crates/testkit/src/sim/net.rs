//! The way between simulated nodes: consensus' frames over the simulation's TCP.
//!
//! A stream begins with a preamble (who calls, which class), then carries frames with their length in front. What the
//! certificates prove in production, the preamble is believed here. The simulated TCP sends nothing twice: a message that
//! is dropped breaks its stream for good, and consensus has to notice that by itself.

use std::io;
use std::pin::Pin;

use fastness_consensus::{Class, Consensus, FrameStream, PeerTransport, STREAM_FRAMES_MAX, TransportError};
use fastness_types::{NodeId, limits};
use fastness_wire::peer::v1::Frame;
use futures::Stream;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use turmoil::net::{TcpListener, TcpStream};

/// Where every node listens for its peers.
pub const PEER_PORT: u16 = 7000;
/// A frame holds about [`limits::FRAME_BYTES_MAX`]; its envelope comes on top.
const LENGTH_MAX: usize = 2 * limits::FRAME_BYTES_MAX;

/// The name of a node's host.
#[must_use]
pub fn host(node: NodeId) -> String {
    format!("node-{node}")
}

/// The way out of one node.
#[derive(Debug)]
pub struct SimTransport {
    own: NodeId,
}

impl SimTransport {
    /// For `own`.
    #[must_use]
    pub fn new(own: NodeId) -> SimTransport {
        SimTransport { own }
    }
}

#[async_trait::async_trait]
impl PeerTransport for SimTransport {
    async fn open(&self, _: NodeId, address: &str, class: Class) -> Result<FrameStream, TransportError> {
        let unreachable = |error: io::Error| TransportError::Unreachable(error.to_string());
        let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
        let mut preamble = self.own.0.to_be_bytes().to_vec();
        preamble.push(class_number(class));
        stream.write_all(&preamble).await.map_err(unreachable)?;
        Ok(frames(stream))
    }
}

/// Takes streams from peers until the node is gone.
///
/// # Errors
/// The port is taken.
pub async fn listen(consensus: Consensus) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PEER_PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(accept(consensus.clone(), stream));
    }
}

async fn accept(consensus: Consensus, mut stream: TcpStream) {
    let mut preamble = [0; 9];
    if stream.read_exact(&mut preamble).await.is_err() {
        return;
    }
    let (node, class) = preamble.split_at(8);
    let node = u64::from_be_bytes(node.try_into().expect("eight bytes"));
    let Some(class) = Class::ALL.into_iter().find(|known| class_number(*known) == class[0]) else { return };
    consensus.accept(NodeId(node), class, frames(stream));
}

fn class_number(class: Class) -> u8 {
    match class {
        Class::Append => 1,
        Class::Heartbeat => 2,
        Class::Snapshot => 3,
    }
}

fn frames(stream: TcpStream) -> FrameStream {
    let (read, write) = stream.into_split();
    let (outgoing, to_send) = mpsc::channel(STREAM_FRAMES_MAX);
    let (received, incoming) = mpsc::channel(STREAM_FRAMES_MAX);
    tokio::spawn(send(write, to_send));
    tokio::spawn(receive(read, received));
    FrameStream { outgoing, incoming: Box::pin(Incoming(incoming)) }
}

struct Incoming(mpsc::Receiver<Frame>);

impl Stream for Incoming {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Frame>> {
        self.0.poll_recv(cx)
    }
}

async fn send(mut to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        let mut bytes = (frame.encoded_len() as u32).to_be_bytes().to_vec();
        frame.encode(&mut bytes).expect("a vector grows");
        // One message of the simulated network per frame.
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn receive(mut from: impl AsyncRead + Unpin, frames: mpsc::Sender<Frame>) {
    loop {
        let frame = tokio::select! {
            biased;
            frame = read_frame(&mut from) => frame,
            () = frames.closed() => return,
        };
        // The stream ends with any error: that is how consensus learns of it.
        let Ok(frame) = frame else { return };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let length = from.read_u32().await? as usize;
    if length > LENGTH_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Frame::decode(&bytes[..]).map_err(io::Error::other)
}
