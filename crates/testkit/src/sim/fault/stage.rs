//! The part of a simulation that faults act on, and the interface of an active fault.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::ShardId;
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use turmoil::Sim;

use super::SimFault;
use crate::sim::build::Builder;
use crate::sim::client::Phase;
use crate::sim::invariants::Invariants;
use crate::sim::ledger::Ledger;
use crate::sim::node::{Machine, SimNode};
use crate::sim::plan::Plan;
use crate::sim::trace::Trace;

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Links that a fault holds, the lesser name first.
pub type HeldLinks = BTreeSet<(String, String)>;

/// The part of a simulation that faults act on.
pub struct Stage<'a, 'b> {
    /// The simulation.
    pub sim: &'a mut Sim<'b>,
    /// Its nodes; faults add new ones.
    pub nodes: &'a mut Vec<Rc<SimNode>>,
    /// Informed of crashes.
    pub invariants: &'a mut Invariants,
    /// Records every fault.
    pub trace: &'a Trace,
    /// Builds new nodes.
    pub builder: &'a mut Builder,
    /// The decisions of the control plane.
    pub plan: Rc<RefCell<Plan>>,
    /// Source of all choices.
    pub rng: &'a mut SmallRng,
    /// Hosts of clients.
    pub clients: &'a [String],
    /// Number of shards.
    pub shards: u32,
    /// Links that faults hold.
    pub links: &'a mut HeldLinks,
    /// What clients do now.
    pub phase: &'a Cell<Phase>,
    /// The ledger of all clients.
    pub ledger: &'a Rc<RefCell<Ledger>>,
    /// Number of other active faults.
    pub others_under_way: usize,
    /// Number of active hostile clients.
    pub attacks_under_way: usize,
    /// Faults that follow from others.
    pub following: Vec<(SimFault, Box<dyn RunningFault>)>,
}

impl Stage<'_, '_> {
    pub(super) fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Runs one step of the simulation in the middle of a fault; entries committed in it are recorded before a crash.
    pub(super) fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            self.invariants.violate(format!("the simulation has failed: {error}"));
        }
        self.builder.time.set(self.sim.elapsed());
        self.invariants.check_logs(self.nodes, false);
    }

    pub(super) fn some_shard(&mut self) -> ShardId {
        ShardId(self.rng.random_range(1..=self.shards))
    }

    pub(super) fn machines_up(&self) -> Vec<Rc<SimNode>> {
        self.nodes.iter().filter(|node| node.machine.get() == Machine::Up).cloned().collect()
    }

    pub(super) fn some_machine(&mut self) -> Option<Rc<SimNode>> {
        self.machines_up().choose(self.rng).cloned()
    }
}

/// An active fault.
pub trait RunningFault {
    /// Continues the fault. `over`: its time is over. Returns whether it took effect, once it has ended.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool>;
}
