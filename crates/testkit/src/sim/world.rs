//! The driver of one simulation: it builds the simulation, runs its phases, and checks the invariants after every step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastness_types::{Az, Clock as _, LogIndex, NodeId, ShardId};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use turmoil::Sim;

use crate::sim::build::{Builder, choose_batching, member};
use crate::sim::client::{Client, ClientOptions, Phase, client_host};
use crate::sim::clock::SimTime;
use crate::sim::coverage::CoverageEvent;
use crate::sim::fault::network::LATENCY_MAX;
use crate::sim::fault::schedule::Schedule;
use crate::sim::fault::stage::{HeldLinks, Stage};
use crate::sim::invariants::Invariants;
use crate::sim::invariants::logs::each_replica;
use crate::sim::ledger::Ledger;
use crate::sim::net::host;
use crate::sim::node::{Machine, SimNode, find_replica, is_primary};
use crate::sim::options::SimOptions;
use crate::sim::panics;
use crate::sim::plan::Plan;
use crate::sim::process;
use crate::sim::profile::{Scale, SimProfile, choose_max_lag};
use crate::sim::report::SimReport;
use crate::sim::trace::Trace;
use crate::sim::traffic::Traffic;

/// Length of one step of the simulation.
const TICK: Duration = Duration::from_millis(1);
/// Maximum time until the new cluster has primaries.
const CREATION_MAX: Duration = Duration::from_secs(10);
/// Maximum time until the last faults are over, including the replacement of lost members.
const HEALING_MAX: Duration = Duration::from_secs(60);
/// Maximum time until writes succeed again after everything has healed; and until all replicas have applied the same
/// entries.
const RECOVERY_MAX: Duration = Duration::from_secs(20);
/// Acknowledged writes that show that the cluster works again, in total and to registers of each shard.
const ALIVE: u64 = 100;
const ALIVE_EACH: u64 = 10;
/// Maximum time until removed data is freed everywhere.
const FREED_MAX: Duration = Duration::from_secs(5);
/// Time without writes at the end, and the maximum age of a replica's time then.
const IDLE: Duration = Duration::from_secs(4);
const TIME_AGE_MAX: Duration = Duration::from_millis(2_500);
/// One seed in this many has hostile clients.
const HOSTILE_ODDS: u32 = 3;

/// A simulation.
pub struct World {
    options: SimOptions,
    began: Instant,
    rng: SmallRng,
    fault_rng: SmallRng,
    sim: Sim<'static>,
    time: SimTime,
    trace: Trace,
    builder: Builder,
    nodes: Vec<Rc<SimNode>>,
    size: usize,
    ledger: Rc<RefCell<Ledger>>,
    phase: Rc<Cell<Phase>>,
    schedule: Schedule,
    links: HeldLinks,
    clients: Vec<String>,
    invariants: Invariants,
    steps: u64,
}

impl World {
    /// Builds the simulation; nothing has run yet.
    #[must_use]
    pub fn new(options: SimOptions) -> World {
        panics::begin();
        fastness_types::plant::on_this_thread(options.plant);
        let began = Instant::now();
        let mut rng = SmallRng::seed_from_u64(options.seed);
        let sim = network(rng.random());
        let time = SimTime::default();
        let trace = Trace::new(time.clone(), options.trace.as_deref()).expect("a place for the trace");
        let scale = choose_scale(&options);
        let profile = options.profile.unwrap_or_else(|| SimProfile::choose(&mut rng));
        let max_lag = options.max_lag.unwrap_or_else(|| choose_max_lag(&mut rng));
        // Three nodes in three AZs, or five nodes in three.
        let azs: &[&str] = if rng.random_ratio(1, 4) { &["a", "b", "c", "a", "b"] } else { &["a", "b", "c"] };
        let places: Vec<(NodeId, Az)> = (1..).map(NodeId).zip(azs.iter().map(|az| Az::from(*az))).collect();
        let members = places.iter().map(|(node, az)| member(*node, az.clone())).collect();
        let mut builder = Builder {
            time: time.clone(),
            plan: Rc::new(RefCell::new(Plan::new(members, profile.mode(&mut rng)))),
            traffic: Traffic::new(rng.random()),
            shards: rng.random_range(1..=2),
            profile,
            flushes: false,
            keyed: None,
            max_lag,
            batching: choose_batching(&mut rng),
            scale,
            attacks: 0,
            rng: SmallRng::seed_from_u64(rng.random()),
        };
        let nodes: Vec<_> = places.into_iter().map(|(node, az)| builder.node(node, az)).collect();
        let clients = rng.random_range(2..=4);
        // A missing key must not be a lost one, which only `sync` guarantees.
        builder.flushes = profile == SimProfile::Sync && rng.random_ratio(1, 3);
        // A counter that is flushed says nothing.
        let keyed = !builder.flushes && options.keyed.unwrap_or(options.seed.is_multiple_of(4));
        builder.keyed = keyed.then(Rc::default);
        let mut world = World {
            began,
            fault_rng: SmallRng::seed_from_u64(rng.random()),
            rng,
            sim,
            time,
            size: nodes.len(),
            ledger: Rc::new(RefCell::new(Ledger::new(max_lag))),
            phase: Rc::new(Cell::new(Phase::Load)),
            schedule: Schedule::new(&options.kinds),
            links: HeldLinks::new(),
            clients: (0..clients).map(client_host).collect(),
            invariants: Invariants::new(trace.clone(), scale),
            steps: 0,
            trace,
            builder,
            nodes,
            options,
        };
        for node in &world.nodes {
            let node = node.clone();
            world.sim.host(host(node.id), move || process::run(node.clone()));
        }
        for id in 0..clients {
            let client = Client::new(world.client_options(id, clients));
            world.sim.client(client_host(id), client.run());
        }
        world
    }

    fn client_options(&mut self, id: usize, clients: usize) -> ClientOptions {
        ClientOptions {
            id,
            clients,
            seed: self.rng.random(),
            plan: self.builder.plan.clone(),
            shards: self.builder.shards,
            flushes: self.builder.flushes,
            keyed: self.builder.keyed.clone(),
            ledger: self.ledger.clone(),
            phase: self.phase.clone(),
            trace: self.trace.clone(),
        }
    }

    /// Runs the simulation to its end.
    #[must_use]
    pub fn run(mut self) -> SimReport {
        self.run_phases();
        self.report()
    }

    /// Runs all phases; stops early when an invariant is broken.
    fn run_phases(&mut self) -> Option<()> {
        self.until("the new cluster has no primary", CREATION_MAX, |w| w.has_primaries())?;
        self.until_more_acknowledged("nothing is acknowledged on a healthy cluster")?;
        self.builder.plan.borrow_mut().formed = true;
        let end = self.sim.elapsed() + self.options.faults_for;
        while self.sim.elapsed() < end {
            self.step_with_faults()?;
        }
        self.schedule.heal();
        let until = self.sim.elapsed() + HEALING_MAX;
        while !self.schedule.is_over() {
            if self.sim.elapsed() > until {
                self.invariants.violate(format!("not everything has healed within {HEALING_MAX:?}"));
                return None;
            }
            self.step_with_faults()?;
        }
        self.until("after the faults there is no primary", RECOVERY_MAX, |w| w.has_primaries())?;
        self.until_more_acknowledged("after the faults nothing is acknowledged")?;
        self.until_each_acknowledges("after the faults a shard acknowledges nothing")?;
        self.phase.set(Phase::Stop);
        self.read_back()?;
        self.until("the replicas do not reach the same index", RECOVERY_MAX, |w| w.has_converged())?;
        if self.builder.scale.is_some() {
            self.until("removed data is not freed", FREED_MAX, |w| w.has_freed_all())?;
            let end = self.sim.elapsed() + IDLE;
            while self.sim.elapsed() < end {
                self.step()?;
            }
            self.check_time();
        }
        self.invariants.check_all(&self.nodes, &mut self.ledger.borrow_mut());
        self.holds()
    }

    /// Whether no replica holds removed data.
    fn has_freed_all(&self) -> bool {
        let mut pending = 0;
        each_replica(&self.nodes, |_, _, replica| pending += replica.shard.info().freeing.pending_objects);
        pending == 0
    }

    /// Checks that time has reached every replica although there were no writes, where keys have deadlines.
    fn check_time(&mut self) {
        let World { nodes, invariants, .. } = self;
        each_replica(nodes, |node, shard, replica| {
            let (first, newest) =
                replica.shard.with_engine(|engine| (engine.first_deadline(), engine.newest_timestamp()));
            let age = Duration::from_millis(node.clock.wall().0.saturating_sub(newest.0));
            if first.is_some() && age > TIME_AGE_MAX {
                invariants.violate(format!("shard {shard}: the time of node {} is {age:?} old", node.id));
            }
        });
    }

    fn step_with_faults(&mut self) -> Option<()> {
        let World {
            sim, nodes, invariants, trace, builder, fault_rng, clients, links, schedule, phase, ledger, ..
        } = self;
        let (plan, shards) = (builder.plan.clone(), builder.shards);
        let rng = fault_rng;
        let following = Vec::new();
        schedule.step(&mut Stage {
            sim,
            nodes,
            invariants,
            trace,
            builder,
            plan,
            rng,
            clients,
            shards,
            links,
            phase,
            ledger,
            others_under_way: 0,
            attacks_under_way: 0,
            following,
        });
        self.step()
    }

    fn step(&mut self) -> Option<()> {
        if let Err(error) = self.sim.step() {
            self.invariants.violate(format!("the simulation has failed: {error}"));
        }
        self.steps += 1;
        self.time.set(self.sim.elapsed());
        self.invariants.check_step(&self.nodes, &mut self.ledger.borrow_mut(), self.steps);
        let loaded = self.phase.get() == Phase::Load;
        self.invariants.check_calm(&self.nodes, &self.ledger.borrow(), loaded, self.schedule.disturbs());
        self.holds()
    }

    fn holds(&mut self) -> Option<()> {
        panics::take().into_iter().for_each(|panic| self.invariants.violate(format!("panic: {panic}")));
        self.invariants.violations().is_empty().then_some(())
    }

    fn until(&mut self, otherwise: &str, patience: Duration, reached: impl Fn(&World) -> bool) -> Option<()> {
        let until = self.sim.elapsed() + patience;
        while !reached(self) {
            if self.sim.elapsed() >= until {
                let replicas = self.describe_replicas();
                self.invariants.violate(format!("{otherwise} within {patience:?}: {replicas}"));
                return None;
            }
            self.step()?;
        }
        Some(())
    }

    fn acknowledged(&self) -> u64 {
        self.ledger.borrow().summary().acknowledged
    }

    fn until_more_acknowledged(&mut self, otherwise: &str) -> Option<()> {
        let target = self.acknowledged() + ALIVE;
        self.until(otherwise, RECOVERY_MAX, |w| w.acknowledged() >= target)
    }

    /// Waits for acknowledged writes to each shard that has registers.
    fn until_each_acknowledges(&mut self, otherwise: &str) -> Option<()> {
        let of = |w: &World, shard| w.ledger.borrow().acknowledged_of(ShardId(shard));
        for shard in 1..=self.builder.shards {
            let before = of(self, shard);
            let target = if before > 0 { before + ALIVE_EACH } else { 0 };
            self.until(otherwise, RECOVERY_MAX, |w| of(w, shard) >= target)?;
        }
        Some(())
    }

    fn read_back(&mut self) -> Option<()> {
        let unread = Rc::new(RefCell::new(None));
        let result = unread.clone();
        let reader = Client::new(self.client_options(usize::MAX, 0));
        self.sim.client("reader", async move {
            *result.borrow_mut() = Some(reader.read_everything_back(RECOVERY_MAX).await);
            Ok(())
        });
        self.until("the keys were not read back", 2 * RECOVERY_MAX, |_| unread.borrow().is_some())?;
        for key in unread.borrow().iter().flatten() {
            self.invariants.violate(format!("{key}: could not be read back"));
        }
        self.holds()
    }

    /// The state of every replica, in one line.
    fn describe_replicas(&self) -> String {
        let mut replicas = Vec::new();
        each_replica(&self.nodes, |node, shard, replica| {
            let (info, status) = (replica.shard.info(), replica.control.status());
            replicas.push(format!(
                "shard {shard} on node {}: {:?}, lease {}, clock {:?}, committed {}, applied {}, {:?} in term {}, {} open, restoring {}, lease held {}, drain {:?}, ready {}",
                node.id, info.standing, info.lease_holds, info.clock, info.committed.0, info.applied.0, status.role, status.term, info.open_batches, info.restoring, status.lease_held, replica.handle.drain(), status.ready
            ));
        });
        replicas.join("; ")
    }

    /// Whether every shard has a primary that may serve.
    fn has_primaries(&self) -> bool {
        (1..=self.builder.shards).all(|shard| find_replica(&self.nodes, ShardId(shard), is_primary).is_some())
    }

    /// Whether every machine that is not lost runs, every shard has a primary, and every replica has applied the same
    /// entries without uncommitted effects.
    fn has_converged(&self) -> bool {
        let mut positions: BTreeMap<ShardId, Vec<LogIndex>> = BTreeMap::new();
        each_replica(&self.nodes, |_, shard, replica| {
            if let Ok((index, _)) = replica.shard.digest() {
                positions.entry(shard).or_default().push(index);
            }
        });
        let members = self.nodes.iter().filter(|node| node.machine.get() != Machine::Lost).count();
        let together = positions.values().all(|at| at.len() == members && at.iter().all(|index| *index == at[0]));
        together && !positions.is_empty() && self.has_primaries()
    }

    fn report(mut self) -> SimReport {
        self.invariants.coverage().add(CoverageEvent::MessageCut, self.builder.traffic.cut_messages());
        let ledger = self.ledger.borrow();
        SimReport {
            seed: self.options.seed,
            profile: self.builder.profile,
            max_lag: self.builder.max_lag,
            violations: self.invariants.violations().to_vec(),
            summary: ledger.summary(),
            longest_loss: ledger.longest_loss(),
            size: (self.size, self.builder.shards),
            tenures: self.invariants.tenures(),
            committed: self.invariants.committed(),
            digests: self.invariants.digests_compared(),
            snapshot_digests: self.invariants.snapshots_compared(),
            coverage: std::mem::take(self.invariants.coverage()),
            elapsed: self.sim.elapsed(),
            took: self.began.elapsed(),
            trace: self.trace.number(),
        }
    }
}

/// Draws whether there are hostile clients, from a generator of its own: the seed's other choices do not depend on it.
fn choose_scale(options: &SimOptions) -> Option<Scale> {
    let hostile = SmallRng::seed_from_u64(!options.seed).random_ratio(1, HOSTILE_ODDS);
    let some = options.kinds.iter().any(|kind| kind.is_attack());
    let all = options.kinds.iter().all(|kind| kind.is_attack());
    (some && (all || hostile)).then_some(Scale::SMALL)
}

fn network(seed: u64) -> Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(3_600))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(LATENCY_MAX)
        .fail_rate(0.0)
        .repair_rate(0.3)
        .tcp_capacity(1_024)
        .enable_random_order()
        .build()
}
