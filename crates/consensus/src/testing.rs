//! A network in memory with faults, and snapshots in memory, for tests of this crate and of crates above it.
//!
//! Streams are channels. While two nodes are cut from each other, frames wait, as with TCP when packets are lost: they
//! arrive late, once the cut is healed, or never, if the stream was closed meanwhile. Nothing here is used in
//! production.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastness_types::{LogIndex, NodeId};
use fastness_wire::peer::v1::{Frame, LeaseRequest, Message};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::consensus::Consensus;
use crate::group::committed::{Committed, CommittedLog, ReadError};
use crate::peer::frame::Kind;
use crate::peer::transport::{Class, FrameStream, PeerTransport, STREAM_FRAMES_MAX, TransportError};
use crate::snapshot::files::{
    IncomingSnapshot, OutgoingSnapshot, SnapshotFileError, SnapshotFiles, SnapshotPart, SnapshotPiece,
};

/// A log from which nothing can be read, for tests of what does not read.
pub struct NoLog;

#[async_trait::async_trait]
impl CommittedLog for NoLog {
    fn read_cached(&self, _: LogIndex, _: LogIndex, _: usize) -> Option<Vec<Committed>> {
        None
    }

    async fn read(&self, _: LogIndex, _: LogIndex, _: usize) -> Result<Vec<Committed>, ReadError> {
        Err(ReadError::Stopped)
    }
}

/// Whether a message of this kind makes its receiver campaign.
#[must_use]
pub fn is_transfer(kind: u32) -> bool {
    kind == Kind::Transfer as u32
}

/// Whether a message of this kind carries entries for a follower, or its leader's heartbeat.
#[must_use]
pub fn is_append(kind: u32) -> bool {
    kind == Kind::Append as u32
}

/// Whether a message requests promises, not only an answer.
#[must_use]
pub fn binds(message: &Message) -> bool {
    let request = (message.kind == Kind::LeaseRequest as u32).then(|| LeaseRequest::decode(message.payload.clone()));
    request.is_some_and(|request| request.is_ok_and(|request| request.groups.iter().any(|group| group.bind)))
}

/// A network that nodes join through their [`MemoryTransport`]s. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    shared: Arc<Mutex<NetworkState>>,
}

impl std::fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryNetwork").finish_non_exhaustive()
    }
}

/// Frames in flight in one direction of a stream.
const UNDER_WAY_MAX: usize = 1024;

/// How often a waiting frame checks whether the cut is healed.
const CUT_POLL: Duration = Duration::from_millis(2);

/// Decides whether a frame is dropped, given its sender, receiver and class.
pub type FrameFilter = Arc<dyn Fn(NodeId, NodeId, Class, &Frame) -> bool + Send + Sync>;

#[derive(Default)]
struct NetworkState {
    nodes: HashMap<NodeId, Consensus>,
    /// Pairs (from, to) between which no frame arrives.
    cut: HashSet<(NodeId, NodeId)>,
    /// Drops the frames for which it returns true.
    filter: Option<FrameFilter>,
    delay: Duration,
}

impl MemoryNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> MemoryNetwork {
        MemoryNetwork::default()
    }

    /// The transport of one node.
    #[must_use]
    pub fn transport(&self, own: NodeId) -> Arc<MemoryTransport> {
        Arc::new(MemoryTransport { own, network: self.clone() })
    }

    /// Makes the node reachable.
    pub fn join(&self, consensus: &Consensus) {
        self.shared.lock().nodes.insert(consensus.node(), consensus.clone());
    }

    /// Makes the node unreachable for new streams. Open streams end when the node stops.
    pub fn leave(&self, node: NodeId) {
        self.shared.lock().nodes.remove(&node);
    }

    /// Holds back all frames from `from` to `to`, or releases those that wait.
    pub fn cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let mut shared = self.shared.lock();
        if cut {
            shared.cut.insert((from, to));
        } else {
            shared.cut.remove(&(from, to));
        }
    }

    /// Cuts a node off from all others in both directions, or heals these cuts.
    pub fn isolate(&self, node: NodeId, cut: bool) {
        let others: Vec<NodeId> = self.shared.lock().nodes.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            self.cut(node, other, cut);
            self.cut(other, node, cut);
        }
    }

    /// Sets the delay of every frame.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Drops the frames for which `filter` returns true. A dropped request is not answered while its stream lives, so
    /// this is only for requests with a time-out.
    pub fn set_filter(&self, filter: Option<FrameFilter>) {
        self.shared.lock().filter = filter;
    }

    fn drops(&self, from: NodeId, to: NodeId, class: Class, frame: &Frame) -> bool {
        self.shared.lock().filter.as_ref().is_some_and(|filter| filter(from, to, class, frame))
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.shared.lock().cut.contains(&(from, to))
    }

    fn delay(&self) -> Duration {
        self.shared.lock().delay
    }

    /// Delivers a frame once the nodes are not cut from each other. Returns false if the reader was dropped.
    async fn deliver(&self, from: NodeId, to: NodeId, give: &mpsc::Sender<Frame>, frame: Frame) -> bool {
        while self.is_cut(from, to) {
            tokio::select! {
                biased;
                () = give.closed() => return false,
                () = tokio::time::sleep(CUT_POLL) => {}
            }
        }
        give.send(frame).await.is_ok()
    }

    /// Moves frames in one direction until either end is dropped.
    fn carry(&self, from: NodeId, to: NodeId, class: Class, mut taken: mpsc::Receiver<Frame>) -> mpsc::Receiver<Frame> {
        let (give, given) = mpsc::channel(STREAM_FRAMES_MAX);
        let network = self.clone();
        tokio::spawn(async move {
            // Frames in flight, with their time of arrival. A delay does not limit the throughput.
            let mut under_way: VecDeque<(Instant, Frame)> = VecDeque::new();
            loop {
                let arrival = under_way.front().map_or_else(Instant::now, |(at, _)| *at);
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(arrival), if !under_way.is_empty() => {
                        let Some((_, frame)) = under_way.pop_front() else { continue };
                        if !network.deliver(from, to, &give, frame).await {
                            return;
                        }
                    }
                    taken = taken.recv(), if under_way.len() < UNDER_WAY_MAX => {
                        let Some(frame) = taken else { return };
                        if !network.drops(from, to, class, &frame) {
                            under_way.push_back((Instant::now() + network.delay(), frame));
                        }
                    }
                    () = give.closed() => return,
                }
            }
        });
        given
    }
}

/// The transport of one node in a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport {
    own: NodeId,
    network: MemoryNetwork,
}

#[async_trait::async_trait]
impl PeerTransport for MemoryTransport {
    async fn open(&self, peer: NodeId, _address: &str, class: Class) -> Result<FrameStream, TransportError> {
        let refused = || TransportError::Unreachable("nobody listens".to_owned());
        let consensus = self.network.shared.lock().nodes.get(&peer).cloned().ok_or_else(refused)?;
        let (mine, outgoing) = mpsc::channel(STREAM_FRAMES_MAX);
        let (theirs, back) = mpsc::channel(STREAM_FRAMES_MAX);
        let there = self.network.carry(self.own, peer, class, outgoing);
        let here = self.network.carry(peer, self.own, class, back);
        consensus.accept(
            self.own,
            class,
            FrameStream { outgoing: theirs, incoming: Box::pin(ReceiverStream::new(there)) },
        );
        Ok(FrameStream { outgoing: mine, incoming: Box::pin(ReceiverStream::new(here)) })
    }
}

/// The two newest snapshots of one replica, kept over its restarts. Clones are the same.
#[derive(Clone, Default)]
pub struct MemorySnapshots {
    files: Arc<Mutex<BTreeMap<LogIndex, Vec<SnapshotPart>>>>,
}

impl std::fmt::Debug for MemorySnapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.files.lock().keys()).finish()
    }
}

impl MemorySnapshots {
    /// Positions, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<LogIndex> {
        self.files.lock().keys().rev().copied().collect()
    }

    /// The parts of the snapshot of a position.
    #[must_use]
    pub fn get(&self, index: LogIndex) -> Option<Vec<SnapshotPart>> {
        self.files.lock().get(&index).cloned()
    }

    /// Adds a snapshot. Returns the position of the one before it, which is kept as well; 0 if there is none.
    pub fn put(&self, index: LogIndex, parts: Vec<SnapshotPart>) -> LogIndex {
        let mut files = self.files.lock();
        files.insert(index, parts);
        while files.len() > 2 {
            files.pop_first();
        }
        files.keys().rev().nth(1).copied().unwrap_or(LogIndex(0))
    }

    /// Removes the head of each snapshot, so that none can be read. Returns false if there is none.
    pub fn damage(&self) -> bool {
        let mut files = self.files.lock();
        files.values_mut().for_each(|parts| parts.retain(|part| !matches!(part, SnapshotPart::Head(_))));
        !files.is_empty()
    }

    /// Removes all snapshots.
    pub fn clear(&self) {
        self.files.lock().clear();
    }
}

#[async_trait::async_trait]
impl SnapshotFiles for MemorySnapshots {
    async fn open(&self, index: LogIndex) -> Result<Box<dyn OutgoingSnapshot>, SnapshotFileError> {
        let parts = self.get(index).ok_or(SnapshotFileError::Missing(index))?;
        if !matches!(parts.first(), Some(SnapshotPart::Head(_))) {
            return Err(SnapshotFileError::NoHead);
        }
        Ok(Box::new(MemoryOutgoing(parts.into())))
    }

    async fn receive(&self) -> Result<Box<dyn IncomingSnapshot>, SnapshotFileError> {
        Ok(Box::new(MemoryIncoming { to: self.clone(), parts: Vec::new(), partial: None }))
    }
}

struct MemoryOutgoing(VecDeque<SnapshotPart>);

#[async_trait::async_trait]
impl OutgoingSnapshot for MemoryOutgoing {
    fn bytes(&self) -> u64 {
        self.0.iter().map(|part| part.bytes().len() as u64).sum()
    }

    async fn next(&mut self) -> Result<Option<SnapshotPiece>, SnapshotFileError> {
        Ok(self.0.pop_front().map(SnapshotPiece::whole))
    }
}

struct MemoryIncoming {
    to: MemorySnapshots,
    parts: Vec<SnapshotPart>,
    /// A chunk of which more pieces follow.
    partial: Option<Vec<u8>>,
}

#[async_trait::async_trait]
impl IncomingSnapshot for MemoryIncoming {
    async fn push(&mut self, SnapshotPiece { part, continues }: SnapshotPiece) -> Result<(), SnapshotFileError> {
        let part = match (part, self.partial.take()) {
            (SnapshotPart::Chunk(bytes), partial) if continues || partial.is_some() => {
                let mut whole = partial.unwrap_or_default();
                whole.extend_from_slice(&bytes);
                if continues {
                    self.partial = Some(whole);
                    return Ok(());
                }
                SnapshotPart::Chunk(whole.into())
            }
            (_, Some(_)) => return Err(SnapshotFileError::Order),
            (part, None) => part,
        };
        self.parts.push(part);
        Ok(())
    }

    async fn publish(self: Box<Self>, index: LogIndex) -> Result<(), SnapshotFileError> {
        if !matches!(self.parts.last(), Some(SnapshotPart::Tail(_))) {
            return Err(SnapshotFileError::Order);
        }
        self.to.put(index, self.parts);
        Ok(())
    }
}
