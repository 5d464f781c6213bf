//! One simulated node: what a process is in production. It is built anew from its disk after every crash.

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

    /// How the node opens its log.
    #[must_use]
    pub fn log_options(&self) -> LogOptions {
        LogOptions { clock: Arc::new(self.clock.clone()), ..LogOptions::new(self.id, CLUSTER) }
    }
}

/// Encrypts a log; its random numbers follow from the seed.
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

/// Whether a replica is a primary that may act.
#[must_use]
pub fn is_primary(replica: &Replica) -> bool {
    let info = replica.shard.info();
    info.standing == Standing::Primary && info.lease_holds
}
