//! Builds the nodes of a simulation: the initial ones, and those that replace lost ones.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fastness_consensus::Member;
use fastness_consensus::testing::MemorySnapshots;
use fastness_shard::Batching;
use fastness_types::{Az, DiskId, NodeId};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::sim::clock::{DRIFT_MAX, SimClock, SimTime};
use crate::sim::disk::SimDisk;
use crate::sim::net::{PEER_PORT, host};
use crate::sim::node::{Machine, SimNode};
use crate::sim::plan::Plan;
use crate::sim::profile::{Scale, SimProfile};
use crate::sim::traffic::Traffic;

/// Settings that all nodes of a simulation share.
pub struct Builder {
    /// Source of all choices.
    pub rng: SmallRng,
    /// The simulation's time.
    pub time: SimTime,
    /// The decisions of the control plane.
    pub plan: Rc<RefCell<Plan>>,
    /// Counters of the messages between nodes.
    pub traffic: Traffic,
    /// Number of shards.
    pub shards: u32,
    /// The promises that the run is held to.
    pub profile: SimProfile,
    /// Whether clients send FLUSHALL.
    pub flushes: bool,
    /// If clients send writes with idempotency keys: the last sequence number of all of them.
    pub keyed: Option<Rc<Cell<u64>>>,
    /// `durability-max-lag`.
    pub max_lag: Duration,
    /// How shards batch.
    pub batching: Batching,
    /// The limits of a run with hostile clients; `None`: there are none, and the limits are those of production.
    pub scale: Option<Scale>,
    /// Number of attacks so far.
    pub attacks: u64,
}

/// A node's entry in the plan.
#[must_use]
pub fn member(node: NodeId, az: Az) -> Member {
    Member { node, az, address: format!("{}:{PEER_PORT}", host(node)), disk: DiskId([node.0 as u8; 16]) }
}

impl Builder {
    /// Creates a node with an empty disk, switched off.
    pub fn node(&mut self, id: NodeId, az: Az) -> Rc<SimNode> {
        let rng = &mut self.rng;
        let drift = rng.random_range(-DRIFT_MAX..=DRIFT_MAX);
        let origin = Duration::from_secs(1_000 * id.0);
        Rc::new(SimNode {
            id,
            az: az.clone(),
            member: member(id, az),
            shards: self.shards,
            plan: self.plan.clone(),
            known: RefCell::new(self.plan.borrow().clone()),
            disk: SimDisk::new(rng.random()),
            snapshots: (0..self.shards).map(|_| MemorySnapshots::default()).collect(),
            clock: SimClock::new(self.time.clone(), origin, drift, rng.random_range(0..300)),
            traffic: self.traffic.clone(),
            batching: self.scale.map_or(self.batching, |scale| scale.batching(self.batching)),
            maxmemory: self.scale.map_or(0, |scale| scale.maxmemory),
            max_lag: self.max_lag,
            rng: RefCell::new(SmallRng::seed_from_u64(rng.random())),
            machine: Cell::new(Machine::Up),
            lives: Cell::new(0),
            expected: Cell::new(None),
            stalls: Cell::new(false),
            stalled: Cell::new(0),
            stuck: Cell::new(None),
            refused_voters: Cell::new(0),
            plug: RefCell::default(),
            ended: RefCell::new(None),
            live: RefCell::new(None),
        })
    }
}

/// Limits of batching. One seed in four has small undo records, so that undos by restore occur as well; one in four has
/// small fragments, so that most batches are cut into several entries. The latter is drawn from a copy of the
/// generator, so that all other choices stay the same.
#[must_use]
pub fn choose_batching(rng: &mut SmallRng) -> Batching {
    let mut copy = rng.clone();
    let mut batching = Batching::default();
    if rng.random_ratio(1, 4) {
        batching.undo_bytes_max = 200;
    }
    copy.random::<u64>();
    if copy.random_ratio(1, 4) {
        batching.fragment_bytes_max = 1024;
    }
    batching
}
