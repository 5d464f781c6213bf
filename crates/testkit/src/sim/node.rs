//! One simulated node: its disk and its clocks, which outlive its crashes, and the parts of it that run now.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_consensus::testing::MemorySnapshots;
use fastness_consensus::{Consensus, GroupControl, Member};
use fastness_log::{Cipher, GroupLog, Log, LogOptions, MasterKey, inspect};
use fastness_shard::{Batching, Shard, Standing};
use fastness_types::{Az, ClusterId, GroupId, NodeId, ShardId};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use tokio::sync::mpsc;

use crate::sim::clock::SimClock;
use crate::sim::disk::SimDisk;
use crate::sim::plan::Plan;
use crate::sim::plug::Plug;
use crate::sim::stable_log::{StableLog, epoch_of};
use crate::sim::traffic::Traffic;

/// The id of every simulated cluster.
pub const CLUSTER: ClusterId = ClusterId([0x5a; 16]);

/// State of a node's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// Running, or starting.
    Up,
    /// Switched off, to be switched on again.
    Down,
    /// Lost for good.
    Lost,
}

/// The part of a node that outlives its crashes.
pub struct SimNode {
    /// Node id.
    pub id: NodeId,
    /// The AZ of the node.
    pub az: Az,
    /// The node's entry in the plan, with its own disk.
    pub member: Member,
    /// Number of shards; each has a replica here.
    pub shards: u32,
    /// The decisions of the control plane.
    pub plan: Rc<RefCell<Plan>>,
    /// The part of the plan that this node knows.
    pub known: RefCell<Plan>,
    /// Its disk.
    pub disk: SimDisk,
    /// The snapshots on the disk, by shard.
    pub snapshots: Vec<MemorySnapshots>,
    /// The clocks.
    pub clock: SimClock,
    /// Counts the messages between nodes.
    pub traffic: Traffic,
    /// How the shards batch.
    pub batching: Batching,
    /// `maxmemory`, bytes; 0: no limit.
    pub maxmemory: u64,
    /// `durability-max-lag`.
    pub max_lag: Duration,
    /// Seeds of the processes that run on this node.
    pub rng: RefCell<SmallRng>,
    /// The machine.
    pub machine: Cell<Machine>,
    /// Number of starts so far.
    pub lives: Cell<u64>,
    /// Part of the reason with which a fault makes the node stop.
    pub expected: Cell<Option<&'static str>>,
    /// While set, no reply leaves: replies wait as in a paused process.
    pub stalls: Cell<bool>,
    /// Number of replies that have waited for that.
    pub stalled: Cell<u64>,
    /// The shard whose loop and connections are stalled.
    pub stuck: Cell<Option<ShardId>>,
    /// How often one of its groups has refused voters that break the AZ rule.
    pub refused_voters: Cell<u64>,
    /// The network cable, replaced at each start.
    pub plug: RefCell<Arc<Plug>>,
    /// Why the process has stopped by itself.
    pub ended: RefCell<Option<String>>,
    /// The running parts, for observers; `None` while the node is down or starting.
    pub live: RefCell<Option<Live>>,
}

/// A running node as observers see it.
pub struct Live {
    /// Its replicas, by shard.
    pub replicas: Vec<Replica>,
    /// Its consensus.
    pub consensus: Consensus,
    /// Its log.
    pub log: Log,
    /// Sends orders to the node.
    pub orders: mpsc::Sender<Order>,
}

/// A running replica as observers see it.
#[derive(Clone)]
pub struct Replica {
    /// The shard's loop.
    pub shard: Shard,
    /// Its group, as the shard's loop sees it.
    pub handle: GroupHandle,
    /// Its group, as an operator sees it.
    pub control: GroupControl,
    /// Its group's log.
    pub log: GroupLog,
}

/// An order to a running node.
#[derive(Debug, Clone)]
pub enum Order {
    /// Hand the shard's leadership to the best replica, and report whether some replica took it.
    HandOver(ShardId, Rc<Cell<Option<bool>>>),
}

impl SimNode {
    /// Crashes the process and the machine. Returns true if that tore off a write in progress, and false if it kept a
    /// write that had not been reported as done.
    pub fn crash(&self) -> Option<bool> {
        let live = self.live.borrow_mut().take();
        self.ended.borrow_mut().take();
        self.stuck.set(None);
        let torn = self.disk.crash();
        live.and_then(|live| live.log.write_under_way()).map(|_| torn)
    }

    /// Why the node serves nothing although it was not switched off.
    #[must_use]
    pub fn stop_reason(&self) -> Option<String> {
        let stopped = self.live.borrow().as_ref().and_then(|live| live.consensus.stopped());
        stopped.map(|reason| reason.to_string()).or_else(|| self.ended.borrow().clone())
    }

    /// The same, and why its replicas serve nothing.
    #[must_use]
    pub fn stop_reasons(&self) -> Vec<String> {
        let live = self.live.borrow();
        let replicas = live.iter().flat_map(|live| &live.replicas).filter_map(|replica| replica.shard.info().stopped);
        self.stop_reason().into_iter().chain(replicas).collect()
    }

    /// The sum of the committed indexes of its groups, as far as the node knows.
    #[must_use]
    pub fn committed(&self) -> u64 {
        let live = self.live.borrow();
        live.iter().flat_map(|live| &live.replicas).map(|replica| replica.handle.committed().0).sum()
    }

    /// Whether a fault makes the node stop with this reason.
    #[must_use]
    pub fn expects(&self, reason: &str) -> bool {
        self.expected.get().is_some_and(|expected| reason.contains(expected))
    }

    /// What the disk would hold after a crash now.
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
            // A disk that cannot be read was damaged, and holds nothing that counts.
            let _ = inspect(&*store, cipher(0), &self.log_options(), GroupId::from(shard), &mut note);
        }
        stable
    }

    /// How the node opens its log.
    #[must_use]
    pub fn log_options(&self) -> LogOptions {
        LogOptions { clock: Arc::new(self.clock.clone()), ..LogOptions::new(self.id, CLUSTER) }
    }
}

/// Creates the cipher of a log; its random numbers follow from the seed.
#[must_use]
pub fn cipher(seed: u64) -> Cipher {
    let mut keys = SmallRng::seed_from_u64(seed);
    Cipher::with_random(MasterKey::from_bytes(&[0x11; 32]), Box::new(move |bytes| keys.fill_bytes(bytes)))
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

/// Whether a replica is a primary that may serve.
#[must_use]
pub fn is_primary(replica: &Replica) -> bool {
    let info = replica.shard.info();
    info.standing == Standing::Primary && info.lease_holds
}
