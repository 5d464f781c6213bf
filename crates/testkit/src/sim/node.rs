//! One simulated node: what a process is in production. It is built anew from its disk after every crash.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_consensus::testing::MemorySnapshots;
use fastness_consensus::{AzRule, Consensus, ConsensusOptions, GroupControl, InitializeError, Member, Timers};
use fastness_engine::EngineOptions;
use fastness_log::{Cipher, Log, LogOptions, MasterKey, WriterDriver};
use fastness_shard::{Batching, ModeWish, Shard, ShardOptions, SlotSet, StableCopies, TokioPause};
use fastness_types::{Clock, ClusterId, Durability, GroupId, HashSeed, LogIndex, NodeId, SLOTS, ShardId};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::sync::mpsc;

use crate::sim::clock::SimClock;
use crate::sim::disk::SimDisk;
use crate::sim::net::{self, SimTransport};
use crate::sim::snapshots::SimSnapshots;
use crate::sim::{Plant, door};

const CLUSTER: ClusterId = ClusterId([0x5a; 16]);
/// How long a primary that is to hand over may take to drain.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// A snapshot is made, and the log purged, all the time.
const SNAPSHOT_LOG_BYTES: u64 = 4_000;
/// Orders to a node that wait; more are dropped.
const ORDERS_MAX: usize = 4;

/// What outlives a node's crashes.
pub struct SimNode {
    /// Who it is.
    pub id: NodeId,
    /// Everybody, itself too.
    pub members: Vec<Member>,
    /// How many shards, each with a replica here.
    pub shards: u32,
    /// Its disk.
    pub disk: SimDisk,
    /// The snapshots on it, by shard.
    pub snapshots: Vec<MemorySnapshots>,
    /// Its clocks.
    pub clock: SimClock,
    /// What is wrong on purpose.
    pub plant: Plant,
    /// Seeds of its lives.
    pub rng: RefCell<SmallRng>,
    /// What runs, for those who look at it from outside; `None` while it is down or starting.
    pub live: RefCell<Option<Live>>,
}

/// A running node as seen from outside.
pub struct Live {
    /// Its replicas, by shard.
    pub replicas: Vec<Replica>,
    /// Its consensus.
    pub consensus: Consensus,
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
}

/// What a running node can be told.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Hand the shard's leadership to whoever is best.
    HandOver(ShardId),
}

/// The slots of a shard: the key space is split evenly.
#[must_use]
pub fn slots(shard: ShardId, shards: u32) -> SlotSet {
    let first = |shard: u32| (SLOTS as u32 * shard / shards) as u16;
    SlotSet::from_iter([first(shard.0 - 1)..=first(shard.0) - 1])
}

/// The node's process. Ends with an error only if something cannot be started, which fails the simulation.
///
/// # Errors
/// The disk does not open, a port is taken, a group does not start.
pub async fn run(node: Rc<SimNode>) -> turmoil::Result {
    // A host's clock is right from its first step on.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let clock: Arc<dyn Clock> = Arc::new(node.clock.clone());
    let mut rng = SmallRng::seed_from_u64(node.rng.borrow_mut().random());
    let log = open_log(&node, clock.clone(), &mut rng)?;
    let options = ConsensusOptions {
        node: node.id,
        az: node.member().az.clone(),
        cluster: CLUSTER,
        timers: Timers::default(),
        // A planted bug that another guard stops would not be found.
        clock_offset_max: Duration::from_secs(if node.plant == Plant::SlowClock { 86_400 } else { 10 }),
        clock: clock.clone(),
        seed: rng.random(),
    };
    let consensus = Consensus::new(options, log, Arc::new(SimTransport::new(node.id)))?;
    consensus.set_peers(&node.members);
    tokio::task::spawn_local(net::listen(consensus.clone()));
    let mut replicas = Vec::new();
    for shard in (1..=node.shards).map(ShardId) {
        replicas.push(start_replica(&node, &consensus, shard, clock.clone(), rng.random()).await?);
    }
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    *node.live.borrow_mut() = Some(Live { replicas: replicas.clone(), consensus: consensus.clone(), orders });
    if node.id == node.members[0].node {
        initialize(&node, &replicas).await?;
    }
    obey(ordered, &replicas).await;
    Ok(())
}

impl SimNode {
    fn member(&self) -> &Member {
        self.members.iter().find(|member| member.node == self.id).expect("a node is among the members")
    }

    /// The process is gone, and the machine with it.
    pub fn crash(&self) {
        self.live.borrow_mut().take();
        self.disk.crash();
    }
}

fn open_log(node: &SimNode, clock: Arc<dyn Clock>, rng: &mut SmallRng) -> Result<Log, Box<dyn std::error::Error>> {
    let mut keys = SmallRng::seed_from_u64(rng.random());
    let cipher = Cipher::with_random(MasterKey::from_bytes(&[0x11; 32]), Box::new(move |bytes| keys.fill_bytes(bytes)));
    let options = LogOptions { clock, new_disk: Some(node.member().disk), ..LogOptions::new(node.id, CLUSTER) };
    let driver = WriterDriver::Task { latency: node.disk.latency() };
    Ok(Log::open(node.disk.open()?, cipher, options, driver)?)
}

async fn start_replica(
    node: &SimNode,
    consensus: &Consensus,
    shard: ShardId,
    clock: Arc<dyn Clock>,
    random_seed: u64,
) -> Result<Replica, Box<dyn std::error::Error>> {
    let files = node.snapshots[shard.0 as usize - 1].clone();
    let (handle, control) = consensus.start_group(GroupId::from(shard), Some(Arc::new(files.clone()))).await?;
    let options = ShardOptions {
        shard,
        node: node.id,
        slots: slots(shard, node.shards),
        wish: ModeWish { mode: Durability::Sync, version: 1 },
        engine: EngineOptions { seed: HashSeed([7; 16]), maxmemory: 0 },
        clock,
        pause: Rc::new(TokioPause),
        copies: Rc::new(Copies(control.clone())),
        random_seed,
        batching: Batching::default(),
        snapshots: Some(Rc::new(SimSnapshots(files))),
        snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
        max_lag: fastness_types::limits::DURABILITY_LAG_MAX,
    };
    let (running, shard_loop) = Shard::start(options, handle.clone());
    tokio::task::spawn_local(shard_loop);
    tokio::task::spawn_local(door::listen(shard, running.clone(), node.plant));
    Ok(Replica { shard: running, handle, control })
}

/// Gives every group its members, once in the cluster's life.
async fn initialize(node: &SimNode, replicas: &[Replica]) -> Result<(), InitializeError> {
    for replica in replicas.iter().filter(|replica| !replica.control.is_initialized()) {
        match replica.control.initialize(&node.members, AzRule::Required).await {
            Ok(_) | Err(InitializeError::Already) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn obey(mut orders: mpsc::Receiver<Order>, replicas: &[Replica]) {
    while let Some(Order::HandOver(shard)) = orders.recv().await {
        let replica = &replicas[shard.0 as usize - 1];
        if let Err(error) = replica.control.hand_over(None, DRAIN_PATIENCE).await {
            tracing::debug!(%shard, %error, "not handed over");
        }
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
}
