//! Counters of the messages between nodes; and frames that are sent twice or out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastness_types::NodeId;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// A frame in transit for longer is late: no healthy link takes so long.
const LATE: Duration = Duration::from_millis(15);

/// Sender and receiver.
pub type NodePair = (NodeId, NodeId);

/// Counters of one direction of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Frames, and attempts to connect.
    pub sent: u64,
    /// Of these, the received ones.
    pub received: u64,
    /// Of the received ones, the late ones.
    pub late: u64,
    /// Frames that were sent twice, or after a later one.
    pub disordered: u64,
}

impl Flow {
    /// Number of frames that did not arrive.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// How a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFate {
    /// It is sent.
    Once,
    /// It is sent twice.
    Twice,
    /// It is sent after the next one.
    Behind,
}

/// How often frames of a pair are disordered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disorder {
    /// Share of frames that are sent twice.
    pub twice: f64,
    /// Share of frames that are sent after the next one.
    pub behind: f64,
}

/// Delay of snapshots to one node.
#[derive(Debug, Clone, Copy, Default)]
struct SnapshotDelays {
    on: bool,
    met: bool,
}

struct TrafficState {
    rng: SmallRng,
    flows: BTreeMap<NodePair, Flow>,
    disorder: BTreeMap<NodePair, Disorder>,
    /// How often a leader has asked a follower to stand for election.
    transfers: BTreeMap<NodeId, u64>,
    /// Additional latency of frames.
    delays: BTreeMap<NodePair, Duration>,
    /// Pairs where only lease frames pass, and no other message of Raft.
    leases_only: BTreeSet<NodePair>,
    /// Nodes to which snapshots are late, and whether that has delayed any.
    late_snapshots: BTreeMap<NodeId, SnapshotDelays>,
    /// Messages that were larger than their part of a frame.
    cut: u64,
    /// How often a leader has requested promises.
    bindings: BTreeMap<NodeId, u64>,
}

/// The traffic of a simulation. Clones share the same counters.
#[derive(Clone)]
pub struct Traffic(Arc<Mutex<TrafficState>>);

impl Traffic {
    /// Traffic without any messages yet.
    #[must_use]
    pub fn new(seed: u64) -> Traffic {
        let rng = SmallRng::seed_from_u64(seed);
        Traffic(Arc::new(Mutex::new(TrafficState {
            rng,
            flows: BTreeMap::new(),
            disorder: BTreeMap::new(),
            transfers: BTreeMap::new(),
            delays: BTreeMap::new(),
            leases_only: BTreeSet::new(),
            late_snapshots: BTreeMap::new(),
            cut: 0,
            bindings: BTreeMap::new(),
        })))
    }

    /// Counts a frame, or an attempt to connect, that is sent.
    pub fn sent(&self, from: NodeId, to: NodeId) {
        self.0.lock().flows.entry((from, to)).or_default().sent += 1;
    }

    /// Counts a leader's request to a follower to stand for election.
    pub fn transfers(&self, from: NodeId) {
        *self.0.lock().transfers.entry(from).or_default() += 1;
    }

    /// How often the node has asked a follower to stand for election.
    #[must_use]
    pub fn transferred(&self, from: NodeId) -> u64 {
        self.0.lock().transfers.get(&from).copied().unwrap_or(0)
    }

    /// Sets the additional latency of messages from one node to the other.
    pub fn set_delay(&self, pair: NodePair, delay: Duration) {
        let mut state = self.0.lock();
        if delay.is_zero() {
            state.delays.remove(&pair);
        } else {
            state.delays.insert(pair, delay);
        }
    }

    /// The additional latency.
    #[must_use]
    pub fn delay(&self, pair: NodePair) -> Duration {
        self.0.lock().delays.get(&pair).copied().unwrap_or_default()
    }

    /// Sets whether one node receives only lease requests from the other; its answers still pass.
    pub fn set_leases_only(&self, pair: NodePair, only: bool) {
        let mut state = self.0.lock();
        if only {
            state.leases_only.insert(pair);
        } else {
            state.leases_only.remove(&pair);
        }
    }

    /// Whether only lease frames pass.
    #[must_use]
    pub fn leases_only(&self, pair: NodePair) -> bool {
        self.0.lock().leases_only.contains(&pair)
    }

    /// Sets whether all parts of snapshots to a node are delayed.
    pub fn set_snapshots_late(&self, to: NodeId, on: bool) {
        self.0.lock().late_snapshots.entry(to).or_default().on = on;
    }

    /// Whether a part of a snapshot that is sent now has to wait.
    #[must_use]
    pub fn delays_snapshot(&self, to: NodeId) -> bool {
        let mut state = self.0.lock();
        let Some(late) = state.late_snapshots.get_mut(&to) else { return false };
        late.met |= late.on;
        late.on
    }

    /// Whether any part had to wait.
    #[must_use]
    pub fn snapshots_were_late(&self, to: NodeId) -> bool {
        self.0.lock().late_snapshots.get(&to).is_some_and(|late| late.met)
    }

    /// Counts a leader's request for promises.
    pub fn binds(&self, from: NodeId) {
        *self.0.lock().bindings.entry(from).or_default() += 1;
    }

    /// How often the node has requested promises.
    #[must_use]
    pub fn bindings(&self, from: NodeId) -> u64 {
        self.0.lock().bindings.get(&from).copied().unwrap_or(0)
    }

    /// Counts a message that was split.
    pub fn cut(&self) {
        self.0.lock().cut += 1;
    }

    /// Number of split messages.
    #[must_use]
    pub fn cut_messages(&self) -> u64 {
        self.0.lock().cut
    }

    /// Counts a frame that has arrived, and its time in transit.
    pub fn received(&self, from: NodeId, to: NodeId, after: Duration) {
        let mut state = self.0.lock();
        let flow = state.flows.entry((from, to)).or_default();
        flow.received += 1;
        flow.late += u64::from(after > LATE);
    }

    /// Decides how a frame is sent.
    #[must_use]
    pub fn fate(&self, from: NodeId, to: NodeId) -> FrameFate {
        let mut state = self.0.lock();
        let Some(Disorder { twice, behind }) = state.disorder.get(&(from, to)).copied() else { return FrameFate::Once };
        let drawn: f64 = state.rng.random();
        let fate = match drawn {
            drawn if drawn < twice => FrameFate::Twice,
            drawn if drawn < twice + behind => FrameFate::Behind,
            _ => return FrameFate::Once,
        };
        state.flows.entry((from, to)).or_default().disordered += 1;
        fate
    }

    /// Sets whether the frames of a pair are disordered.
    pub fn set_disorder(&self, pair: NodePair, disorder: Option<Disorder>) {
        let mut state = self.0.lock();
        state.disorder.remove(&pair);
        state.disorder.extend(disorder.map(|disorder| (pair, disorder)));
    }

    /// The counters of one direction.
    #[must_use]
    pub fn flow(&self, pair: NodePair) -> Flow {
        self.0.lock().flows.get(&pair).copied().unwrap_or_default()
    }
}
