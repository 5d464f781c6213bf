//! What passes between nodes, counted; and frames that are sent twice or out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastness_types::NodeId;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// A frame that was under way for longer is late: no healthy link takes so long.
const LATE: Duration = Duration::from_millis(15);

/// From, to.
pub type NodePair = (NodeId, NodeId);

/// What has passed one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Frames, and attempts to connect.
    pub sent: u64,
    /// Those that arrived.
    pub received: u64,
    /// Of these, those that were late.
    pub late: u64,
    /// Frames that were sent twice, or behind a later one.
    pub disordered: u64,
}

impl Flow {
    /// What did not arrive.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFate {
    /// It is sent.
    Once,
    /// It is sent twice.
    Twice,
    /// It is sent behind the next one.
    Behind,
}

/// How often frames of a pair are disordered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disorder {
    /// Share of frames that are sent twice.
    pub twice: f64,
    /// Share of frames that are sent behind the next one.
    pub behind: f64,
}

/// What becomes of snapshots on their way to one node.
#[derive(Debug, Clone, Copy, Default)]
struct SnapshotDelays {
    on: bool,
    met: bool,
}

struct TrafficState {
    rng: SmallRng,
    flows: BTreeMap<NodePair, Flow>,
    disorder: BTreeMap<NodePair, Disorder>,
    /// How often a leader has told somebody to stand for election.
    transfers: BTreeMap<NodeId, u64>,
    /// What frames take longer than the network does.
    delays: BTreeMap<NodePair, Duration>,
    /// Where nothing of Raft's own passes, but the questions about leases do.
    leases_only: BTreeSet<NodePair>,
    /// To whom snapshots are late, and whether that has met any.
    late_snapshots: BTreeMap<NodeId, SnapshotDelays>,
    /// Messages that were larger than their part of a frame.
    cut: u64,
    /// How often a leader has asked for promises.
    bindings: BTreeMap<NodeId, u64>,
}

/// The traffic of a simulation. Clones are the same.
#[derive(Clone)]
pub struct Traffic(Arc<Mutex<TrafficState>>);

impl Traffic {
    /// Nothing has passed.
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

    /// A frame leaves, or an attempt to connect.
    pub fn sent(&self, from: NodeId, to: NodeId) {
        self.0.lock().flows.entry((from, to)).or_default().sent += 1;
    }

    /// A leader has told somebody to stand for election.
    pub fn transfers(&self, from: NodeId) {
        *self.0.lock().transfers.entry(from).or_default() += 1;
    }

    /// How often it has.
    #[must_use]
    pub fn transferred(&self, from: NodeId) -> u64 {
        self.0.lock().transfers.get(&from).copied().unwrap_or(0)
    }

    /// What one sends to the other takes so much longer from now on.
    pub fn set_delay(&self, pair: NodePair, delay: Duration) {
        let mut state = self.0.lock();
        if delay.is_zero() {
            state.delays.remove(&pair);
        } else {
            state.delays.insert(pair, delay);
        }
    }

    /// By how much it does.
    #[must_use]
    pub fn delay(&self, pair: NodePair) -> Duration {
        self.0.lock().delays.get(&pair).copied().unwrap_or_default()
    }

    /// From now on one hears only the other's questions about leases, whose answers leave; or everything again.
    pub fn set_leases_only(&self, pair: NodePair, only: bool) {
        let mut state = self.0.lock();
        if only {
            state.leases_only.insert(pair);
        } else {
            state.leases_only.remove(&pair);
        }
    }

    /// Whether that is so.
    #[must_use]
    pub fn leases_only(&self, pair: NodePair) -> bool {
        self.0.lock().leases_only.contains(&pair)
    }

    /// From now on no part of a snapshot arrives at a node; or again all do.
    pub fn set_snapshots_late(&self, to: NodeId, on: bool) {
        self.0.lock().late_snapshots.entry(to).or_default().on = on;
    }

    /// A part is on its way: whether it has to wait.
    #[must_use]
    pub fn delays_snapshot(&self, to: NodeId) -> bool {
        let mut state = self.0.lock();
        let Some(late) = state.late_snapshots.get_mut(&to) else { return false };
        late.met |= late.on;
        late.on
    }

    /// Whether one had to.
    #[must_use]
    pub fn snapshots_were_late(&self, to: NodeId) -> bool {
        self.0.lock().late_snapshots.get(&to).is_some_and(|late| late.met)
    }

    /// A leader has asked somebody for promises.
    pub fn binds(&self, from: NodeId) {
        *self.0.lock().bindings.entry(from).or_default() += 1;
    }

    /// How often it has.
    #[must_use]
    pub fn bindings(&self, from: NodeId) -> u64 {
        self.0.lock().bindings.get(&from).copied().unwrap_or(0)
    }

    /// A message was cut.
    pub fn cut(&self) {
        self.0.lock().cut += 1;
    }

    /// How many were.
    #[must_use]
    pub fn cut_messages(&self) -> u64 {
        self.0.lock().cut
    }

    /// It has arrived, after so long.
    pub fn received(&self, from: NodeId, to: NodeId, after: Duration) {
        let mut state = self.0.lock();
        let flow = state.flows.entry((from, to)).or_default();
        flow.received += 1;
        flow.late += u64::from(after > LATE);
    }

    /// Decides on a frame that is to leave.
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

    /// Disorders the frames of a pair from now on; or no longer.
    pub fn set_disorder(&self, pair: NodePair, disorder: Option<Disorder>) {
        let mut state = self.0.lock();
        state.disorder.remove(&pair);
        state.disorder.extend(disorder.map(|disorder| (pair, disorder)));
    }

    /// What has passed one way so far.
    #[must_use]
    pub fn flow(&self, pair: NodePair) -> Flow {
        self.0.lock().flows.get(&pair).copied().unwrap_or_default()
    }
}
