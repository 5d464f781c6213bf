//! What goes wrong in a simulation, when, and how it heals.
//!
//! Crashes, slow disks and hand-overs come and go independently; of the faults of the network one is active at a time
//! (the simulated network cannot hold messages of a link and drop them in one direction at once). Links to clients are
//! part of the network too. Everything is chosen from the seed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::{NodeId, ShardId};
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use turmoil::Sim;

use crate::sim::check::{Checker, primary_of};
use crate::sim::net::host;
use crate::sim::node::{Order, SimNode};
use crate::sim::trace::Trace;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Between two faults.
const PAUSE: Range<Duration> = ms(50)..ms(1_300);
/// How long a node stays down.
const DOWN: Range<Duration> = ms(20)..ms(2_500);
/// How long a fault of the network or of a disk lasts.
const LASTS: Range<Duration> = ms(100)..ms(2_500);
/// Latency of a healthy link, at most.
pub const LATENCY_MAX: Duration = ms(4);

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A shard's primary crashes.
    CrashPrimary,
    /// Some node crashes.
    CrashAny,
    /// All nodes crash at once.
    CrashAll,
    /// The hosts are split in two; nothing passes.
    Partition,
    /// Nothing passes from one node to others; the way back is open.
    OneWay,
    /// Everything to and from one node is held back, and then arrives at once: what a paused process looks like to all
    /// others, and what waits in its sockets when it goes on.
    Hold,
    /// Messages between nodes get lost, and with them their connections.
    Loss,
    /// Messages between nodes take long.
    SlowLinks,
    /// One node's disk takes long.
    SlowDisk,
    /// One node's disk takes very long.
    StalledDisk,
    /// A primary is told to hand over: no fault, but it meets all the others.
    HandOver,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Fault; 11] = [
        Fault::CrashPrimary,
        Fault::CrashAny,
        Fault::CrashAll,
        Fault::Partition,
        Fault::OneWay,
        Fault::Hold,
        Fault::Loss,
        Fault::SlowLinks,
        Fault::SlowDisk,
        Fault::StalledDisk,
        Fault::HandOver,
    ];
}

/// Two hosts, from and to.
type Link = (String, String);

/// The fault of the network that is active.
struct Broken {
    fault: Fault,
    links: Vec<Link>,
    until: Duration,
}

/// What the schedule works on.
pub struct Stage<'a, 'b> {
    /// The simulation.
    pub sim: &'a mut Sim<'b>,
    /// Its nodes.
    pub nodes: &'a [Rc<SimNode>],
    /// Told of crashes.
    pub checker: &'a mut Checker,
    /// Notes every fault.
    pub trace: &'a Trace,
}

/// The schedule of a simulation's faults.
pub struct Schedule {
    rng: SmallRng,
    kinds: Vec<Fault>,
    clients: Vec<String>,
    shards: u32,
    next: Duration,
    down: BTreeMap<NodeId, Duration>,
    slow_disks: BTreeMap<NodeId, Duration>,
    broken: Option<Broken>,
    injected: BTreeMap<Fault, usize>,
}

impl Schedule {
    /// Begins at `from`.
    #[must_use]
    pub fn new(rng: SmallRng, kinds: &[Fault], clients: Vec<String>, shards: u32, from: Duration) -> Schedule {
        Schedule {
            rng,
            kinds: kinds.to_vec(),
            clients,
            shards,
            next: from,
            down: BTreeMap::new(),
            slow_disks: BTreeMap::new(),
            broken: None,
            injected: BTreeMap::new(),
        }
    }

    /// How often each kind was injected.
    #[must_use]
    pub fn injected(&self) -> &BTreeMap<Fault, usize> {
        &self.injected
    }

    /// Ends what is over and begins what is due.
    pub fn step(&mut self, stage: &mut Stage<'_, '_>) {
        let now = stage.sim.elapsed();
        self.end(stage, |until| until <= now);
        if now >= self.next {
            self.next = now + self.rng.random_range(PAUSE);
            if let Some(fault) = self.kinds.choose(&mut self.rng).copied()
                && self.inject(stage, fault, now)
            {
                stage.trace.note(|| format!("{fault:?}"));
                *self.injected.entry(fault).or_default() += 1;
            }
        }
    }

    /// Ends everything.
    pub fn heal(&mut self, stage: &mut Stage<'_, '_>) {
        self.end(stage, |_| true);
    }

    fn end(&mut self, stage: &mut Stage<'_, '_>, over: impl Fn(Duration) -> bool) {
        for node in take_over(&mut self.down, &over) {
            stage.sim.bounce(host(node));
        }
        for node in take_over(&mut self.slow_disks, &over) {
            by_id(stage.nodes, node).disk.recover();
        }
        if let Some(broken) = self.broken.take_if(|broken| over(broken.until)) {
            mend(stage.sim, &broken);
        }
    }

    /// False if it cannot be injected now.
    fn inject(&mut self, stage: &mut Stage<'_, '_>, fault: Fault, now: Duration) -> bool {
        match fault {
            Fault::CrashPrimary | Fault::CrashAny | Fault::CrashAll => self.crash(stage, fault, now),
            Fault::SlowDisk | Fault::StalledDisk => self.slow_down(stage, fault, now),
            Fault::HandOver => self.hand_over(stage),
            _ if self.broken.is_some() => false,
            _ => {
                let links = self.choose_links(stage.nodes, fault);
                let broken = Broken { fault, links, until: now + self.rng.random_range(LASTS) };
                self.break_links(stage.sim, &broken);
                self.broken = Some(broken);
                true
            }
        }
    }

    fn crash(&mut self, stage: &mut Stage<'_, '_>, fault: Fault, now: Duration) -> bool {
        let some_shard = ShardId(self.rng.random_range(1..=self.shards));
        let victims: Vec<NodeId> = match fault {
            Fault::CrashAll => stage.nodes.iter().map(|node| node.id).collect(),
            Fault::CrashPrimary => primary_of(stage.nodes, some_shard).into_iter().collect(),
            _ => stage.nodes.choose(&mut self.rng).map(|node| node.id).into_iter().collect(),
        };
        let victims: Vec<NodeId> = victims.into_iter().filter(|node| !self.down.contains_key(node)).collect();
        for node in &victims {
            // The disk first: what the dying tasks still do must not reach it.
            by_id(stage.nodes, *node).crash();
            stage.checker.forget(*node);
            stage.sim.crash(host(*node));
            self.down.insert(*node, now + self.rng.random_range(DOWN));
        }
        !victims.is_empty()
    }

    fn slow_down(&mut self, stage: &mut Stage<'_, '_>, fault: Fault, now: Duration) -> bool {
        let Some(node) = stage.nodes.choose(&mut self.rng) else { return false };
        node.disk.slow_down(if fault == Fault::SlowDisk { ms(5)..ms(80) } else { ms(300)..ms(1_500) });
        self.slow_disks.insert(node.id, now + self.rng.random_range(LASTS));
        true
    }

    fn hand_over(&mut self, stage: &mut Stage<'_, '_>) -> bool {
        let shard = ShardId(self.rng.random_range(1..=self.shards));
        let Some(primary) = primary_of(stage.nodes, shard) else { return false };
        let live = by_id(stage.nodes, primary).live.borrow();
        live.as_ref().is_some_and(|live| live.orders.try_send(Order::HandOver(shard)).is_ok())
    }

    fn choose_links(&mut self, nodes: &[Rc<SimNode>], fault: Fault) -> Vec<Link> {
        let mut hosts: Vec<String> = nodes.iter().map(|node| host(node.id)).collect();
        match fault {
            Fault::Partition => {
                hosts.shuffle(&mut self.rng);
                let at = self.rng.random_range(1..hosts.len());
                let (left, right) = hosts.split_at(at);
                let (mut left, mut right) = (left.to_vec(), right.to_vec());
                for client in &self.clients {
                    if self.rng.random() { &mut left } else { &mut right }.push(client.clone());
                }
                // Clients are not connected with each other.
                let nodes = |link: &Link| hosts.contains(&link.0) || hosts.contains(&link.1);
                pairs(&left, &right).into_iter().filter(nodes).collect()
            }
            Fault::OneWay => {
                hosts.shuffle(&mut self.rng);
                let to = self.rng.random_range(1..hosts.len());
                pairs(&hosts[..1], &hosts[1..=to])
            }
            Fault::Hold => {
                hosts.shuffle(&mut self.rng);
                let (one, mut others) = (vec![hosts[0].clone()], hosts[1..].to_vec());
                if self.rng.random() {
                    others.extend(self.clients.iter().cloned());
                }
                pairs(&one, &others)
            }
            _ => {
                let both_orders = pairs(&hosts, &hosts);
                both_orders.into_iter().filter(|(a, b)| a < b).collect()
            }
        }
    }

    fn break_links(&mut self, sim: &mut Sim<'_>, broken: &Broken) {
        let rate = self.rng.random_range(0.001..0.03);
        let latency = self.rng.random_range(ms(20)..ms(300));
        for (from, to) in &broken.links {
            let (from, to) = (from.as_str(), to.as_str());
            match broken.fault {
                Fault::Partition => sim.partition(from, to),
                Fault::OneWay => sim.partition_oneway(from, to),
                Fault::Hold => sim.hold(from, to),
                Fault::Loss => sim.set_link_fail_rate(from, to, rate),
                _ => sim.set_link_max_message_latency(from, to, latency),
            }
        }
    }
}

fn take_over(from: &mut BTreeMap<NodeId, Duration>, over: impl Fn(Duration) -> bool) -> Vec<NodeId> {
    let nodes: Vec<NodeId> = from.iter().filter(|(_, until)| over(**until)).map(|(node, _)| *node).collect();
    from.retain(|node, _| !nodes.contains(node));
    nodes
}

fn mend(sim: &mut Sim<'_>, broken: &Broken) {
    for (from, to) in &broken.links {
        let (from, to) = (from.as_str(), to.as_str());
        match broken.fault {
            Fault::Partition => sim.repair(from, to),
            Fault::OneWay => sim.repair_oneway(from, to),
            Fault::Hold => sim.release(from, to),
            Fault::Loss => {
                sim.set_link_fail_rate(from, to, 0.0);
                // It may be broken at this moment.
                sim.repair(from, to);
            }
            _ => sim.set_link_max_message_latency(from, to, LATENCY_MAX),
        }
    }
}

fn pairs(left: &[String], right: &[String]) -> Vec<Link> {
    left.iter().flat_map(|a| right.iter().map(move |b| (a.clone(), b.clone()))).collect()
}

fn by_id(nodes: &[Rc<SimNode>], id: NodeId) -> &Rc<SimNode> {
    nodes.iter().find(|node| node.id == id).expect("a node that was chosen exists")
}
