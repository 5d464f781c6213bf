//! The whole shard path in a deterministic simulation: nodes on one thread, in simulated time, over a simulated network
//! and simulated disks, while messages get lost and nodes crash.
//!
//! ```text
//! client.rs ═ RESP over the simulation's TCP ═▶ door.rs ─▶ Shard ─▶ Consensus ─▶ Log ─▶ disk.rs
//!                                                             net.rs ═ frames ═▶ the other nodes
//! fault.rs crashes, cuts, delays            check.rs looks at all nodes     the ledger looks at what clients see
//! ```
//!
//! Everything above the edges is the code that ships: log with encryption and group commit, consensus with its leases,
//! the shard's loop and the engine. Replaced are the edges alone: store, peer transport, clocks, the door's sockets.
//!
//! A run: the cluster is created, clients load it, faults come for a while, everything heals; then writes must go on, every key is read
//! back, and all replicas must come to the same data. [`Plant`] puts a bug into an edge, to show that a run finds it.
//!
//! What it does not do: `async` and `disabled` (what they may lose is bounded in time, which the ledger cannot judge),
//! changes of membership, TLS, a process that is paused in the middle of its work (the simulated network can only hold back what it
//! says and hears).
//!
//! Determinism: every choice comes from the seed, openraft's among them (`consensus/src/runtime.rs`), and nothing else has an
//! order of its own: the same seed leads to the same run, in any process, to the last line of its [`Options::trace`].

mod check;
mod client;
mod clock;
mod disk;
mod door;
mod fault;
mod net;
mod node;
mod panics;
mod snapshots;
mod trace;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::Member;
use fastness_consensus::testing::MemorySnapshots;
use fastness_load::ledger::{Book, Summary};
use fastness_types::{Az, DiskId, NodeId};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use turmoil::Sim;

pub use fault::Fault;

use check::Checker;
use client::{Client, ClientOptions, Phase, client_host};
use clock::{SimClock, SimTime};
use disk::SimDisk;
use fault::{Schedule, Stage};
use net::{PEER_PORT, host};
use node::SimNode;
use trace::Trace;

/// One step of the simulation.
const TICK: Duration = Duration::from_millis(1);
/// Until the new cluster has primaries, at most.
const CREATION_MAX: Duration = Duration::from_secs(10);
/// Until writes go on after everything has healed, at most; and until all replicas stand together.
const RECOVERY_MAX: Duration = Duration::from_secs(20);
/// Acknowledged writes that show that the cluster is alive again.
const ALIVE: u64 = 100;
/// Logs and digests are compared every so many steps.
const LOGS_EVERY: u64 = 10;
const DIGESTS_EVERY: u64 = 40;
/// A boot clock is at most this fast or slow, millionths: two of them differ by less than the lease's drift margin.
const DRIFT_MAX: i64 = 10_000;

/// A bug that a simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// None.
    Nothing,
    /// The door sends held replies at once: writes are acknowledged before they commit.
    IgnoreHolds,
    /// Disks say that they have synced, and have not.
    LyingDisks,
    /// One node's boot clock runs at a quarter of its speed, so that it holds leases that have run out. (At half of it a lease ends
    /// about when the next leader is elected.)
    SlowClock,
}

/// How to run one simulation.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of every choice.
    pub seed: u64,
    /// How long faults come, simulated.
    pub faults_for: Duration,
    /// Which faults.
    pub kinds: Vec<Fault>,
    /// What is wrong on purpose.
    pub plant: Plant,
    /// What is wrong on purpose in the code that ships.
    pub planted: Option<fastness_types::Plant>,
    /// Where everything that happens is written to, line by line.
    pub trace: Option<PathBuf>,
}

impl Options {
    /// All faults, for some seconds.
    #[must_use]
    pub fn new(seed: u64) -> Options {
        Options {
            seed,
            faults_for: Duration::from_secs(12),
            kinds: Fault::ALL.to_vec(),
            plant: Plant::Nothing,
            planted: None,
            trace: None,
        }
    }
}

/// What came of a simulation.
#[derive(Debug, Clone)]
pub struct Report {
    /// To be replayed with.
    pub seed: u64,
    /// Promises that were broken; empty: passed.
    pub violations: Vec<String>,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, usize>,
    /// What clients saw.
    pub summary: Summary,
    /// Nodes and shards.
    pub size: (usize, u32),
    /// Tenures as primary.
    pub tenures: usize,
    /// Committed log entries.
    pub committed: usize,
    /// Pairs of digests compared.
    pub digests: u64,
    /// Simulated time.
    pub elapsed: Duration,
    /// Everything that happened, as one number.
    pub trace: u64,
}

/// Runs one simulation on a thread of its own.
///
/// # Panics
/// If no thread can be started or the trace's file cannot be written.
#[must_use]
pub fn run(options: &Options) -> Report {
    let options = options.clone();
    let thread =
        std::thread::Builder::new().name(format!("seed-{}", options.seed)).spawn(move || World::new(options).run());
    let joined = thread.expect("a thread for the simulation").join();
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct World {
    options: Options,
    rng: SmallRng,
    sim: Sim<'static>,
    time: SimTime,
    trace: Trace,
    nodes: Vec<Rc<SimNode>>,
    shards: u32,
    book: Arc<Book>,
    phase: Rc<Cell<Phase>>,
    schedule: Schedule,
    checker: Checker,
    steps: u64,
}

impl World {
    fn new(options: Options) -> World {
        panics::begin();
        fastness_types::plant::on_this_thread(options.planted);
        let mut rng = SmallRng::seed_from_u64(options.seed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(rng.random())
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(fault::LATENCY_MAX)
            .fail_rate(0.0)
            .repair_rate(0.3)
            .tcp_capacity(1_024)
            .enable_random_order()
            .build();
        let time = SimTime::default();
        let trace = Trace::new(time.clone(), options.trace.as_deref()).expect("a place for the trace");
        let shards = rng.random_range(1..=2);
        let nodes = make_nodes(&options, &mut rng, &time, shards);
        for node in &nodes {
            let node = node.clone();
            sim.host(host(node.id), move || node::run(node.clone()));
        }
        let clients = rng.random_range(2..=4);
        let schedule_rng = SmallRng::seed_from_u64(rng.random());
        let hosts = (0..clients).map(client_host).collect();
        let schedule = Schedule::new(schedule_rng, &options.kinds, hosts, shards, Duration::ZERO);
        let mut world = World {
            options,
            rng,
            sim,
            time,
            trace,
            nodes,
            shards,
            book: Arc::default(),
            phase: Rc::new(Cell::new(Phase::Load)),
            schedule,
            checker: Checker::default(),
            steps: 0,
        };
        (0..clients).for_each(|id| world.add_client(id, clients));
        world
    }

    fn client_options(&mut self, id: usize, clients: usize) -> ClientOptions {
        ClientOptions {
            id,
            clients,
            seed: self.rng.random(),
            nodes: self.nodes.iter().map(|node| node.id).collect(),
            shards: self.shards,
            book: self.book.clone(),
            phase: self.phase.clone(),
            trace: self.trace.clone(),
        }
    }

    fn add_client(&mut self, id: usize, clients: usize) {
        let client = Client::new(self.client_options(id, clients));
        self.sim.client(client_host(id), client.run());
    }

    fn run(mut self) -> Report {
        self.go_through();
        self.report()
    }

    /// The run; ends early when something is broken.
    fn go_through(&mut self) -> Option<()> {
        let shards = self.shards;
        self.until("the new cluster has no primary", CREATION_MAX, |w| check::has_primaries(&w.nodes, shards))?;
        self.until_more_acknowledged("nothing is acknowledged on a healthy cluster")?;
        let end = self.sim.elapsed() + self.options.faults_for;
        while self.sim.elapsed() < end {
            self.with_schedule(Schedule::step);
            self.step()?;
        }
        self.with_schedule(Schedule::heal);
        self.until("after the faults there is no primary", RECOVERY_MAX, |w| check::has_primaries(&w.nodes, shards))?;
        self.until_more_acknowledged("after the faults nothing is acknowledged")?;
        self.phase.set(Phase::Stop);
        self.read_back()?;
        self.until("the replicas do not come to stand together", RECOVERY_MAX, |w| check::is_settled(&w.nodes))?;
        self.checker.look_at_logs(&self.nodes);
        self.checker.look_at_digests(&self.nodes);
        self.find_violations()
    }

    fn with_schedule(&mut self, act: impl FnOnce(&mut Schedule, &mut Stage<'_, '_>)) {
        let World { sim, nodes, checker, trace, schedule, .. } = self;
        act(schedule, &mut Stage { sim, nodes, checker, trace });
    }

    fn step(&mut self) -> Option<()> {
        if let Err(error) = self.sim.step() {
            self.checker.violate(format!("the simulation has failed: {error}"));
        }
        self.steps += 1;
        self.time.set(self.sim.elapsed());
        self.checker.look_at_leases(&self.nodes);
        if self.steps.is_multiple_of(LOGS_EVERY) {
            self.checker.look_at_logs(&self.nodes);
        }
        if self.steps.is_multiple_of(DIGESTS_EVERY) {
            self.checker.look_at_digests(&self.nodes);
        }
        self.find_violations()
    }

    /// Collects what others than the checker have found; `None` if anything is broken.
    fn find_violations(&mut self) -> Option<()> {
        panics::take().into_iter().for_each(|panic| self.checker.violate(format!("panic: {panic}")));
        self.book.violations().iter().for_each(|violation| self.checker.violate(violation.to_string()));
        self.checker.violations().is_empty().then_some(())
    }

    fn until(&mut self, otherwise: &str, patience: Duration, reached: impl Fn(&World) -> bool) -> Option<()> {
        let until = self.sim.elapsed() + patience;
        while !reached(self) {
            if self.sim.elapsed() >= until {
                self.checker.violate(format!("{otherwise} within {patience:?}"));
                return None;
            }
            self.step()?;
        }
        Some(())
    }

    fn until_more_acknowledged(&mut self, otherwise: &str) -> Option<()> {
        let target = self.book.summary().acknowledged + ALIVE;
        self.until(otherwise, RECOVERY_MAX, |w| w.book.summary().acknowledged >= target)
    }

    fn read_back(&mut self) -> Option<()> {
        let unread = Rc::new(RefCell::new(None));
        let told = unread.clone();
        let reader = Client::new(self.client_options(usize::MAX, 0));
        self.sim.client("reader", async move {
            *told.borrow_mut() = Some(reader.read_everything_back(RECOVERY_MAX).await);
            Ok(())
        });
        self.until("the keys were not read back", 2 * RECOVERY_MAX, |_| unread.borrow().is_some())?;
        for key in unread.borrow().iter().flatten() {
            self.checker.violate(format!("{key}: could not be read back"));
        }
        self.find_violations()
    }

    fn report(self) -> Report {
        Report {
            seed: self.options.seed,
            violations: self.checker.violations().to_vec(),
            faults: self.schedule.injected().clone(),
            summary: self.book.summary(),
            size: (self.nodes.len(), self.shards),
            tenures: self.checker.tenures(),
            committed: self.checker.committed(),
            digests: self.checker.digests_compared(),
            elapsed: self.sim.elapsed(),
            trace: self.trace.number(),
        }
    }
}

/// Three nodes in three AZs, or five in three.
fn make_nodes(options: &Options, rng: &mut SmallRng, time: &SimTime, shards: u32) -> Vec<Rc<SimNode>> {
    let azs: &[&str] = if rng.random_ratio(1, 4) { &["a", "b", "c", "a", "b"] } else { &["a", "b", "c"] };
    let ids = (1..).map(NodeId);
    let member = |(id, az): (NodeId, &&str)| Member {
        node: id,
        az: Az::from(*az),
        address: format!("{}:{PEER_PORT}", host(id)),
        disk: DiskId([id.0 as u8; 16]),
    };
    let members: Vec<Member> = ids.zip(azs).map(member).collect();
    let nodes = members.iter().map(|member| {
        let id = member.node;
        let slow = options.plant == Plant::SlowClock && id == NodeId(1);
        let drift = if slow { -750_000 } else { rng.random_range(-DRIFT_MAX..=DRIFT_MAX) };
        let origin = Duration::from_secs(1_000 * id.0);
        Rc::new(SimNode {
            id,
            members: members.clone(),
            shards,
            disk: SimDisk::new(rng.random(), options.plant == Plant::LyingDisks),
            snapshots: (0..shards).map(|_| MemorySnapshots::default()).collect(),
            clock: SimClock::new(time.clone(), origin, drift, rng.random_range(0..300)),
            plant: options.plant,
            rng: RefCell::new(SmallRng::seed_from_u64(rng.random())),
            live: RefCell::new(None),
        })
    });
    nodes.collect()
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (nodes, shards) = self.size;
        let Summary { acknowledged, refused, unknown, reads } = self.summary;
        write!(
            f,
            "seed {}: {} | {nodes} nodes, {shards} shard(s), {:.1} s | {acknowledged} acknowledged, {refused} refused, \
             {unknown} unknown, {reads} reads | {} tenures, {} entries, {} digests compared | {:?} | trace {:016x}",
            self.seed,
            if self.violations.is_empty() { "holds" } else { "BROKEN" },
            self.elapsed.as_secs_f64(),
            self.tenures,
            self.committed,
            self.digests,
            self.faults,
            self.trace
        )
    }
}
