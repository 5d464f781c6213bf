//! The network between simulated nodes: frames of consensus over the simulation's TCP.
//!
//! A stream starts with a preamble (the caller and the class), followed by frames, each after its length and its time
//! of sending. Certificates prove the caller in production; here the preamble is trusted. The simulated TCP does not
//! retransmit: a dropped message breaks its stream for good, and consensus has to detect that.
//!
//! All frames are counted ([`Traffic`]), so that a network fault can report whether it affected any. Frames are also
//! sent twice or after later ones here: TCP hides both, but Raft's messages must tolerate them, and a repeated lease
//! frame or vote is worth testing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::testing::{binds, is_append, is_transfer};
use fastness_consensus::{Class, Consensus, FrameStream, PeerTransport, STREAM_FRAMES_MAX, TransportError};
use fastness_types::{NodeId, limits};
use fastness_wire::peer::v1::Frame;
use futures::Stream;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use turmoil::net::{TcpListener, TcpStream};

use crate::sim::plug::Plug;
use crate::sim::traffic::{FrameFate, Traffic};

/// The port on which every node listens for its peers.
pub const PEER_PORT: u16 = 7000;
/// Longest frame: about [`limits::FRAME_BYTES_MAX`], and its envelope.
const LENGTH_MAX: usize = 2 * limits::FRAME_BYTES_MAX;
/// Longest time for which a frame waits for the next one, to be sent after it.
const KEPT_BACK_MAX: Duration = Duration::from_millis(20);
/// Interval at which a stalled stream checks whether it may resume.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The name of a node's host.
#[must_use]
pub fn host(node: NodeId) -> String {
    format!("node-{node}")
}

/// The outgoing connections of one node.
pub struct SimTransport {
    own: NodeId,
    traffic: Traffic,
    plug: Arc<Plug>,
}

impl SimTransport {
    /// Creates the transport of node `own`.
    #[must_use]
    pub fn new(own: NodeId, traffic: Traffic, plug: Arc<Plug>) -> SimTransport {
        SimTransport { own, traffic, plug }
    }
}

/// One direction of a stream.
#[derive(Clone)]
struct Way {
    from: NodeId,
    to: NodeId,
    class: Class,
    traffic: Traffic,
    plug: Arc<Plug>,
}

#[async_trait::async_trait]
impl PeerTransport for SimTransport {
    async fn open(&self, peer: NodeId, address: &str, class: Class) -> Result<FrameStream, TransportError> {
        let unreachable = |error: io::Error| TransportError::Unreachable(error.to_string());
        // An attempt to connect counts as sent: on a link that is cut for long nothing else is sent.
        self.traffic.sent(self.own, peer);
        let mut preamble = self.own.0.to_be_bytes().to_vec();
        preamble.push(class_number(class));
        let opened = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&preamble).await?;
            Ok(stream)
        };
        let stream = tokio::select! {
            biased;
            opened = opened => opened.map_err(unreachable)?,
            () = self.plug.pulled() => return Err(TransportError::Unreachable("the plug is pulled".to_owned())),
        };
        self.traffic.received(peer, self.own, Duration::ZERO);
        let (traffic, plug) = (self.traffic.clone(), self.plug.clone());
        Ok(frames(stream, &Way { from: self.own, to: peer, class, traffic, plug }))
    }
}

/// Accepts streams from peers until the node stops.
///
/// # Errors
/// The port is taken.
pub async fn listen(consensus: Consensus, traffic: Traffic, plug: Arc<Plug>) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PEER_PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(accept(consensus.clone(), stream, traffic.clone(), plug.clone()));
    }
}

async fn accept(consensus: Consensus, mut stream: TcpStream, traffic: Traffic, plug: Arc<Plug>) {
    let mut preamble = [0; 9];
    tokio::select! {
        biased;
        read = stream.read_exact(&mut preamble) => if read.is_err() { return },
        () = plug.pulled() => return,
    }
    let (node, class) = preamble.split_at(8);
    let node = NodeId(u64::from_be_bytes(node.try_into().expect("eight bytes")));
    let Some(class) = Class::ALL.into_iter().find(|known| class_number(*known) == class[0]) else { return };
    let way = Way { from: consensus.node(), to: node, class, traffic, plug };
    consensus.accept(node, class, frames(stream, &way));
}

fn class_number(class: Class) -> u8 {
    match class {
        Class::Append => 1,
        Class::Heartbeat => 2,
        Class::Snapshot => 3,
    }
}

fn frames(stream: TcpStream, way: &Way) -> FrameStream {
    let (read, write) = stream.into_split();
    let (outgoing, to_send) = mpsc::channel(STREAM_FRAMES_MAX);
    let (received, incoming) = mpsc::channel(STREAM_FRAMES_MAX);
    tokio::spawn(until_pulled(way.plug.clone(), send(write, to_send, way.clone())));
    tokio::spawn(until_pulled(way.plug.clone(), receive(read, received, way.clone())));
    FrameStream { outgoing, incoming: Box::pin(Incoming(incoming)) }
}

async fn until_pulled(plug: Arc<Plug>, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = work => {}
        () = plug.pulled() => {}
    }
}

struct Incoming(mpsc::Receiver<Frame>);

impl Stream for Incoming {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Frame>> {
        self.0.poll_recv(cx)
    }
}

async fn send(mut to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>, way: Way) {
    let mut is_first = true;
    let mut kept_back: Option<Vec<u8>> = None;
    loop {
        let next = match kept_back {
            None => frames.recv().await,
            Some(_) => timeout(KEPT_BACK_MAX, frames.recv()).await.unwrap_or_default(),
        };
        let mut bytes = Vec::new();
        let next = match next {
            Some(frame) => Some(pass(frame, &way).await),
            None => None,
        };
        if let Some(frame) = &next {
            let encoded = encode(frame);
            way.traffic.sent(way.from, way.to);
            if frame.messages.iter().any(|message| is_transfer(message.kind)) {
                way.traffic.transfers(way.from);
            }
            if frame.messages.iter().any(binds) {
                way.traffic.binds(way.from);
            }
            if frame.messages.iter().any(|message| message.more) {
                way.traffic.cut();
            }
            // The first frame of a stream names the sender, and split messages and the parts of a snapshot arrive in
            // order.
            let is_plain = !is_first && way.class != Class::Snapshot && frame.messages.iter().all(|part| !part.more);
            is_first = false;
            match way.traffic.fate(way.from, way.to) {
                FrameFate::Twice if is_plain => bytes = [&encoded[..], &encoded].concat(),
                FrameFate::Behind if is_plain && kept_back.is_none() => {
                    kept_back = Some(encoded);
                    continue;
                }
                _ => bytes = encoded,
            }
        }
        bytes.extend(kept_back.take().unwrap_or_default());
        // Nearly always this makes one message of the simulated network per frame.
        if to.write_all(&bytes).await.is_err() || (next.is_none() && frames.is_closed()) {
            return;
        }
    }
}

/// Delays a frame as the faults of its link require. Where only lease frames pass, the stream of entries stalls, and of
/// the other stream a leader's heartbeats are dropped: they have a timeout, so nothing waits for them forever. Where
/// snapshots are late, their stream stalls.
async fn pass(mut frame: Frame, way: &Way) -> Frame {
    let pair = (way.from, way.to);
    if way.class == Class::Heartbeat && way.traffic.leases_only(pair) {
        frame.messages.retain(|message| !is_append(message.kind));
    }
    while way.class == Class::Append && way.traffic.leases_only(pair) {
        sleep(POLL_INTERVAL).await;
    }
    while way.class == Class::Snapshot && way.traffic.delays_snapshot(way.to) {
        sleep(POLL_INTERVAL).await;
    }
    frame
}

fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = (frame.encoded_len() as u32).to_be_bytes().to_vec();
    bytes.extend(now_ns().to_be_bytes());
    frame.encode(&mut bytes).expect("a vector grows");
    bytes
}

fn now_ns() -> u64 {
    turmoil::sim_elapsed().unwrap_or_default().as_nanos() as u64
}

async fn receive(mut from: impl AsyncRead + Unpin, frames: mpsc::Sender<Frame>, way: Way) {
    loop {
        let frame = tokio::select! {
            biased;
            frame = read_frame(&mut from) => frame,
            () = frames.closed() => return,
        };
        // Any error ends the stream, which is how consensus detects it.
        let Ok((frame, sent_ns)) = frame else { return };
        let under_way = || Duration::from_nanos(now_ns().saturating_sub(sent_ns));
        let delay = way.traffic.delay((way.to, way.from));
        if !delay.is_zero() {
            sleep(delay.saturating_sub(under_way())).await;
        }
        way.traffic.received(way.to, way.from, under_way());
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Frame, u64)> {
    let length = from.read_u32().await? as usize;
    let sent_ns = from.read_u64().await?;
    if length > LENGTH_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    let frame = Frame::decode(&bytes[..]).map_err(io::Error::other)?;
    Ok((frame, sent_ns))
}
