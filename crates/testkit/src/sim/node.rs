//! One simulated node: what a process is in production. It is built anew from its disk after every crash.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_consensus::testing::MemorySnapshots;
use fastness_consensus::{
    AzRule, Consensus, ConsensusOptions, GroupControl, InitializeError, Member, Progress, ReconcileError, Timers,
};
use fastness_engine::EngineOptions;
use fastness_log::{Cipher, GroupLog, Log, LogOptions, MasterKey, WriterDriver, inspect};
use fastness_shard::{Batching, FollowCopies, Shard, ShardOptions, SlotSet, StableCopies, TokioPause};
use fastness_types::limits::{LEASE_WAIT_MAX, LOOP_STALL_MAX};
use fastness_types::{Az, Clock, ClusterId, FormatLevel, GroupId, HashSeed, LogIndex, NodeId, SLOTS, ShardId};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::sync::mpsc;

use crate::sim::clock::SimClock;
use crate::sim::disk::SimDisk;
use crate::sim::front_end;
use crate::sim::invariants::log_matching::epoch_of;
use crate::sim::invariants::two_azs::StableLog;
use crate::sim::net::{self, SimTransport};
use crate::sim::plan::Plan;
use crate::sim::plug::Plug;
use crate::sim::snapshots::SimSnapshots;
use crate::sim::thread::on_thread_of;
use crate::sim::traffic::Traffic;

const CLUSTER: ClusterId = ClusterId([0x5a; 16]);
/// How long a primary that is to hand over may take to drain.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// A snapshot is made, and the log purged, all the time.
const SNAPSHOT_LOG_BYTES: u64 = 4_000;
/// Orders to a node that wait; more are dropped.
const ORDERS_MAX: usize = 4;
/// How often a node looks whether the plan has changed, and brings its groups there.
const PLAN_EVERY: Duration = Duration::from_millis(250);

/// Whether a node's machine is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// It runs, or starts.
    Up,
    /// It is off, and will be switched on.
    Down,
    /// It is lost for good.
    Lost,
}

/// What outlives a node's crashes.
pub struct SimNode {
    /// Who it is.
    pub id: NodeId,
    /// Where.
    pub az: Az,
    /// As which it is in the plan, with its own disk.
    pub member: Member,
    /// How many shards, each with a replica here.
    pub shards: u32,
    /// What the control plane says.
    pub plan: Rc<RefCell<Plan>>,
    /// What this node knows of that.
    pub known: RefCell<Plan>,
    /// Its disk.
    pub disk: SimDisk,
    /// The snapshots on it, by shard.
    pub snapshots: Vec<MemorySnapshots>,
    /// Its clocks.
    pub clock: SimClock,
    /// Counts what passes between nodes.
    pub traffic: Traffic,
    /// How its shards batch.
    pub batching: Batching,
    /// `maxmemory`, bytes; 0: none.
    pub maxmemory: u64,
    /// `durability-max-lag`.
    pub max_lag: Duration,
    /// Seeds of its lives.
    pub rng: RefCell<SmallRng>,
    /// Its machine.
    pub machine: Cell<Machine>,
    /// Starts so far.
    pub lives: Cell<u64>,
    /// What a fault makes it stop with; part of the reason that it then gives.
    pub expected: Cell<Option<&'static str>>,
    /// While it is set, no reply leaves: what commands have given waits, as in a process that is paused.
    pub stalls: Cell<bool>,
    /// Replies that have waited for that.
    pub stalled: Cell<u64>,
    /// The shard whose loop stands still, with its connections.
    pub stuck: Cell<Option<ShardId>>,
    /// How often one of its groups has refused voters that break the AZ rule.
    pub refused_voters: Cell<u64>,
    /// Its cable to the network, in this life.
    pub plug: RefCell<Arc<Plug>>,
    /// Why its process has ended by itself.
    pub ended: RefCell<Option<String>>,
    /// What runs, for those who look at it from outside; `None` while it is down or starting.
    pub live: RefCell<Option<Live>>,
}

/// A running node as seen from outside.
pub struct Live {
    /// Its replicas, by shard.
    pub replicas: Vec<Replica>,
    /// Its consensus.
    pub consensus: Consensus,
    /// Its log.
    pub log: Log,
    /// What it is told to do.
    pub orders: mpsc::Sender<Order>,
}

/// A running replica as seen from outside.
#[derive(Clone)]
pub struct Replica {
    /// The shard's loop.
    pub shard: Shard,
    /// Its group, as the owner sees it.
    pub handle: GroupHandle,
    /// Its group, as an operator sees it.
    pub control: GroupControl,
    /// Its group's log.
    pub log: GroupLog,
}

/// What a running node can be told.
#[derive(Debug, Clone)]
pub enum Order {
    /// Hand the shard's leadership to whoever is best, and tell whether somebody took it.
    HandOver(ShardId, Rc<Cell<Option<bool>>>),
}

/// The slots of a shard: the key space is split evenly.
#[must_use]
pub fn slots(shard: ShardId, shards: u32) -> SlotSet {
    let first = |shard: u32| (SLOTS as u32 * shard / shards) as u16;
    SlotSet::from_iter([first(shard.0 - 1)..=first(shard.0) - 1])
}

/// The node's process. Ends with an error only if something cannot be started that must, which fails the simulation.
///
/// # Errors
/// A port is taken, a group does not start.
pub async fn run(node: Rc<SimNode>) -> turmoil::Result {
    // A host's clock is right from its first step on.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let clock: Arc<dyn Clock> = Arc::new(node.clock.clone());
    let mut rng = SmallRng::seed_from_u64(node.rng.borrow_mut().random());
    node.lives.set(node.lives.get() + 1);
    let log = match open_log(&node, clock.clone(), &mut rng) {
        Ok(log) => log,
        Err(refused) => {
            // The process says why and is gone; whether it was right the invariants judge.
            *node.ended.borrow_mut() = Some(refused.to_string());
            return std::future::pending().await;
        }
    };
    let options = ConsensusOptions {
        format: FormatLevel::CURRENT,
        node: node.id,
        az: node.az.clone(),
        cluster: CLUSTER,
        timers: Timers::default(),
        promised_before: Timers::default().lease,
        clock_offset_max: Duration::from_secs(10),
        loop_stall_max: LOOP_STALL_MAX,
        clock: clock.clone(),
        seed: rng.random(),
    };
    let plug = Arc::new(Plug::default());
    *node.plug.borrow_mut() = plug.clone();
    let transport = Arc::new(SimTransport::new(node.id, node.traffic.clone(), plug.clone()));
    let consensus = Consensus::new(options, log.clone(), transport)?;
    consensus.set_peers(&node.known.borrow().voters);
    tokio::task::spawn_local(net::listen(consensus.clone(), node.traffic.clone(), plug));
    let mut replicas = Vec::new();
    for shard in (1..=node.shards).map(ShardId) {
        let started = start_replica(&node, &consensus, &log, shard, clock.clone(), rng.random()).await;
        replicas.push(started?);
    }
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    *node.live.borrow_mut() = Some(Live { replicas: replicas.clone(), consensus: consensus.clone(), log, orders });
    if !node.plan.borrow().formed && node.plan.borrow().voters[0].node == node.id {
        initialize(&node, &replicas).await?;
    }
    let seed = rng.random();
    tokio::task::spawn_local(follow_plan(node.clone(), consensus, replicas.clone(), seed));
    obey(ordered, &replicas).await;
    Ok(())
}

impl SimNode {
    /// The process is gone, and the machine with it. True if that tore off a write that was under way, false if one was
    /// left that nobody was told of.
    pub fn crash(&self) -> Option<bool> {
        let live = self.live.borrow_mut().take();
        self.ended.borrow_mut().take();
        self.stuck.set(None);
        let torn = self.disk.crash();
        live.and_then(|live| live.log.write_under_way()).map(|_| torn)
    }

    /// Why it serves nothing any more, though it was not switched off.
    #[must_use]
    pub fn stop_reason(&self) -> Option<String> {
        let stopped = self.live.borrow().as_ref().and_then(|live| live.consensus.stopped());
        stopped.map(|reason| reason.to_string()).or_else(|| self.ended.borrow().clone())
    }

    /// The same, and why its replicas serve nothing any more.
    #[must_use]
    pub fn stop_reasons(&self) -> Vec<String> {
        let live = self.live.borrow();
        let replicas = live.iter().flat_map(|live| &live.replicas).filter_map(|replica| replica.shard.info().stopped);
        self.stop_reason().into_iter().chain(replicas).collect()
    }

    /// The sum of the committed positions of its groups, as far as it knows.
    #[must_use]
    pub fn committed(&self) -> u64 {
        let live = self.live.borrow();
        live.iter().flat_map(|live| &live.replicas).map(|replica| replica.handle.committed().0).sum()
    }

    /// Whether a fault makes it stop for this reason.
    #[must_use]
    pub fn expects(&self, reason: &str) -> bool {
        self.expected.get().is_some_and(|expected| reason.contains(expected))
    }

    /// What its disk would hold if it crashed now.
    #[must_use]
    pub fn stable_log(&self) -> StableLog {
        let mut stable = StableLog::default();
        for shard in (1..=self.shards).map(ShardId) {
            let live = self.live.borrow();
            let replica = live.as_ref().and_then(|live| live.replicas.get(shard.0 as usize - 1));
            let purged = replica.and_then(|replica| replica.log.state().purged).map_or(0, |purged| purged.index);
            stable.purged.insert(shard, purged);
            let mut note = |entry: &fastness_log::LogEntry| {
                stable.entries.insert((shard, entry.index), epoch_of(entry));
            };
            let Ok(store) = self.disk.synced().open() else { continue };
            // A disk that does not check is one that was damaged, and holds nothing that counts.
            let _ = inspect(&*store, cipher(0), &self.log_options(), GroupId::from(shard), &mut note);
        }
        stable
    }

    fn log_options(&self) -> LogOptions {
        LogOptions { clock: Arc::new(self.clock.clone()), ..LogOptions::new(self.id, CLUSTER) }
    }
}

fn cipher(seed: u64) -> Cipher {
    let mut keys = SmallRng::seed_from_u64(seed);
    Cipher::with_random(MasterKey::from_bytes(&[0x11; 32]), Box::new(move |bytes| keys.fill_bytes(bytes)))
}

fn open_log(node: &SimNode, clock: Arc<dyn Clock>, rng: &mut SmallRng) -> Result<Log, Box<dyn std::error::Error>> {
    // The cluster knows the disk that the node was made a member with, even if it crashes before that has stored its
    // id.
    let new_disk = (!node.disk.is_wiped()).then_some(node.member.disk);
    let options = LogOptions { clock, new_disk, ..node.log_options() };
    let driver = WriterDriver::Task { latency: node.disk.latency() };
    Ok(Log::open(node.disk.open()?, cipher(rng.random()), options, driver)?)
}

async fn start_replica(
    node: &Rc<SimNode>,
    consensus: &Consensus,
    log: &Log,
    shard: ShardId,
    clock: Arc<dyn Clock>,
    random_seed: u64,
) -> Result<Replica, Box<dyn std::error::Error>> {
    let files = node.snapshots[shard.0 as usize - 1].clone();
    let group = GroupId::from(shard);
    let (handle, control) = consensus.start_group(group, Some(Arc::new(files.clone()))).await?;
    let options = ShardOptions {
        shard,
        node: node.id,
        slots: slots(shard, node.shards),
        desired: node.known.borrow().desired,
        engine: EngineOptions { seed: HashSeed([7; 16]), maxmemory: node.maxmemory },
        clock,
        pause: Rc::new(TokioPause),
        copies: Rc::new(Copies(control.clone())),
        random_seed,
        batching: node.batching,
        snapshots: Some(Rc::new(SimSnapshots(files))),
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        max_lag: node.max_lag,
        lease_wait_max: LEASE_WAIT_MAX,
    };
    let (running, shard_loop) = Shard::start(options, handle.clone());
    tokio::task::spawn_local(on_thread_of(node.clone(), shard, shard_loop));
    let front_end = front_end::listen(shard, running.clone(), node.clone());
    tokio::task::spawn_local(on_thread_of(node.clone(), shard, front_end));
    Ok(Replica { shard: running, handle, control, log: log.group(group) })
}

/// Gives every group its members, once in the cluster's life.
async fn initialize(node: &SimNode, replicas: &[Replica]) -> Result<(), InitializeError> {
    let members = node.plan.borrow().voters.clone();
    for replica in replicas.iter().filter(|replica| !replica.control.is_initialized()) {
        match replica.control.initialize(&members, AzRule::Required).await {
            Ok(_) | Err(InitializeError::Already) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Learns of the plan now and then, and brings this node's groups to it where it leads.
async fn follow_plan(node: Rc<SimNode>, consensus: Consensus, replicas: Vec<Replica>, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    loop {
        tokio::time::sleep(PLAN_EVERY).await;
        if rng.random() {
            *node.known.borrow_mut() = node.plan.borrow().clone();
        }
        let known = node.known.borrow().clone();
        consensus.set_peers(&known.voters);
        consensus.set_replaced(&known.replaced);
        for replica in replicas.iter().filter(|_| known.formed) {
            replica.shard.set_desired_mode(known.desired);
            if let Err(error) = replica.control.reconcile(&known.goal()).await {
                let breaks_rule = matches!(error, ReconcileError::Placement(_));
                node.refused_voters.set(node.refused_voters.get() + u64::from(breaks_rule));
                tracing::debug!(node = %node.id, %error, "a change of members is tried again");
            }
        }
    }
}

async fn obey(mut orders: mpsc::Receiver<Order>, replicas: &[Replica]) {
    while let Some(Order::HandOver(shard, done)) = orders.recv().await {
        let replica = &replicas[shard.0 as usize - 1];
        let handed_over = replica.control.hand_over(None, DRAIN_PATIENCE).await;
        if let Err(error) = &handed_over {
            tracing::debug!(%shard, %error, "not handed over");
        }
        done.set(Some(handed_over.is_ok()));
    }
}

struct Copies(GroupControl);

impl StableCopies for Copies {
    fn replicas(&self, index: LogIndex) -> u64 {
        self.0.stable_copies(index) as u64
    }

    fn local(&self, index: LogIndex) -> bool {
        self.0.flushed() >= index
    }

    fn follow(&self) -> Box<dyn FollowCopies> {
        Box::new(Acknowledgements(self.0.progress()))
    }
}

struct Acknowledgements(Progress);

#[async_trait::async_trait(?Send)]
impl FollowCopies for Acknowledgements {
    async fn changed(&mut self) {
        self.0.changed().await;
    }
}

/// The running replica of a shard for which `wanted` is true.
#[must_use]
pub fn find_replica(
    nodes: &[Rc<SimNode>],
    shard: ShardId,
    wanted: impl Fn(&Replica) -> bool,
) -> Option<(Rc<SimNode>, Replica)> {
    let replicas = nodes.iter().filter_map(|node| {
        let live = node.live.borrow();
        Some((node.clone(), live.as_ref()?.replicas.get(shard.0 as usize - 1)?.clone()))
    });
    replicas.into_iter().find(|(_, replica)| wanted(replica))
}
