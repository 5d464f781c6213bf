//! What a fault works on, and what a fault under way is.

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

/// Links that a fault has in its hands, the lesser name first.
pub type Taken = BTreeSet<(String, String)>;

/// What faults work on.
pub struct Stage<'a, 'b> {
    /// The simulation.
    pub sim: &'a mut Sim<'b>,
    /// Its nodes; new ones are added.
    pub nodes: &'a mut Vec<Rc<SimNode>>,
    /// Told of crashes.
    pub invariants: &'a mut Invariants,
    /// Notes every fault.
    pub trace: &'a Trace,
    /// Builds new nodes.
    pub builder: &'a mut Builder,
    /// What the control plane says.
    pub plan: Rc<RefCell<Plan>>,
    /// Chooses.
    pub rng: &'a mut SmallRng,
    /// Hosts of clients.
    pub clients: &'a [String],
    /// How many shards.
    pub shards: u32,
    /// Links that a fault has in its hands.
    pub links: &'a mut Taken,
    /// What clients do.
    pub phase: &'a Cell<Phase>,
    /// What clients were told.
    pub ledger: &'a Rc<RefCell<Ledger>>,
    /// How many other faults are under way.
    pub others_under_way: usize,
    /// How many hostile clients are there.
    pub attacks_under_way: usize,
    /// Faults that follow from others.
    pub following: Vec<(SimFault, Box<dyn RunningFault>)>,
}

impl Stage<'_, '_> {
    pub(super) fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Lets a step pass in the middle of a fault; what is committed in it is noted before anybody crashes.
    pub(super) fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            self.invariants.violate(format!("the simulation has failed: {error}"));
        }
        self.builder.time.set(self.sim.elapsed());
        self.invariants.look_at_logs(self.nodes, false);
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

/// A fault under way.
pub trait RunningFault {
    /// Goes on. `over`: its time has come. Once it is over it tells whether it took effect.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool>;
}
