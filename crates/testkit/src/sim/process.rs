//! The process of one simulated node. It starts log, consensus and shards as a production node does, on the simulated
//! disk, network and clock, and starts again from the disk after every crash.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::{
    AzRule, Consensus, ConsensusOptions, GroupControl, InitializeError, Progress, ReconcileError, Timers,
};
use fastness_engine::EngineOptions;
use fastness_events::{Events, HandOverReason};
use fastness_log::{Log, LogOptions, WriterDriver};
use fastness_shard::{FollowCopies, IdempotencyLimits, Shard, ShardOptions, SlotSet, StableCopies, TokioPause};
use fastness_types::limits::{LEASE_WAIT_MAX, LOOP_STALL_MAX};
use fastness_types::{Clock, FormatLevel, GroupId, HashSeed, LogIndex, SLOTS, ShardId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::sim::front_end;
use crate::sim::net::{self, SimTransport};
use crate::sim::node::{CLUSTER, Live, Order, Replica, SimNode, cipher};
use crate::sim::plug::Plug;
use crate::sim::snapshots::SimSnapshots;
use crate::sim::thread::on_thread_of;

/// How long a primary may take to drain before a hand-over.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Log bytes after which a snapshot is made and the log purged: so few that this happens all the time.
const SNAPSHOT_LOG_BYTES: u64 = 4_000;
/// Maximum number of waiting orders to a node; more are dropped.
const ORDERS_MAX: usize = 4;
/// Interval at which a node checks the plan and reconciles its groups.
const PLAN_EVERY: Duration = Duration::from_millis(250);

/// The slots of a shard: the key space is split evenly.
fn slots(shard: ShardId, shards: u32) -> SlotSet {
    let first = |shard: u32| (SLOTS as u32 * shard / shards) as u16;
    SlotSet::from_iter([first(shard.0 - 1)..=first(shard.0) - 1])
}

/// Runs the node's process. An error means that a required part cannot be started, and fails the simulation.
///
/// # Errors
/// A port is taken, or a group does not start.
pub async fn run(node: Rc<SimNode>) -> turmoil::Result {
    // The clock of a host is right from its first step on.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let clock: Arc<dyn Clock> = Arc::new(node.clock.clone());
    let mut rng = SmallRng::seed_from_u64(node.rng.borrow_mut().random());
    node.lives.set(node.lives.get() + 1);
    let log = match open_log(&node, clock.clone(), &mut rng) {
        Ok(log) => log,
        Err(refused) => {
            // The process reports why it stops; the invariants judge whether that is right.
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
        events: Events::only_logged(),
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

fn open_log(node: &SimNode, clock: Arc<dyn Clock>, rng: &mut SmallRng) -> Result<Log, Box<dyn std::error::Error>> {
    // The cluster knows the disk with which the node became a member, even if the node crashes before it has stored its
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
        commands: front_end::commands(),
        engine: EngineOptions { seed: HashSeed([7; 16]), maxmemory: node.maxmemory },
        clock,
        pause: Rc::new(TokioPause),
        copies: Rc::new(GroupCopies(control.clone())),
        random_seed,
        batching: node.batching,
        idempotency: IdempotencyLimits::default(),
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

/// Initializes every group with its members, once in the life of the cluster.
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

/// Reads the plan from time to time, and reconciles the groups that this node leads.
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
        let handed_over = replica.control.hand_over(None, DRAIN_PATIENCE, HandOverReason::Requested).await;
        if let Err(error) = &handed_over {
            tracing::debug!(%shard, %error, "not handed over");
        }
        done.set(Some(handed_over.is_ok()));
    }
}

struct GroupCopies(GroupControl);

impl StableCopies for GroupCopies {
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
