//! Links that are cut, held, slow or lossy, and frames that arrive twice or out of order.
//!
//! The simulated network cannot apply two of these to one link at once, so at most one fault holds a link at a time.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::NodeId;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use turmoil::Sim;

use super::SimFault;
use super::stage::{RunningFault, Stage, ms};
use crate::sim::net::host;
use crate::sim::node::{Machine, SimNode};
use crate::sim::traffic::{Disorder, Flow, NodePair};

/// Maximum latency of a healthy link.
pub const LATENCY_MAX: Duration = ms(4);
/// Minimum number of missing frames for a cut to count.
const MISSING_MIN: u64 = 2;

/// Two hosts, from and to.
type Link = (String, String);

fn key((from, to): &Link) -> Link {
    if from <= to { (from.clone(), to.clone()) } else { (to.clone(), from.clone()) }
}

/// Links that one fault holds.
pub struct Links(Vec<Link>);

/// All links from one set of hosts to the other.
pub fn between(from: &[String], to: &[String]) -> Links {
    Links(pairs(from, to))
}

/// Whether no fault holds any of the links.
pub fn is_free(stage: &Stage<'_, '_>, links: &Links) -> bool {
    !links.0.is_empty() && !links.0.iter().any(|link| stage.links.contains(&key(link)))
}

impl Links {
    /// Marks the links as held by a fault.
    pub fn take(&self, stage: &mut Stage<'_, '_>) {
        stage.links.extend(self.0.iter().map(key));
    }

    /// Marks the links as free.
    pub fn give_back(&self, stage: &mut Stage<'_, '_>) {
        stage.links.retain(|taken| !self.0.iter().any(|link| key(link) == *taken));
    }

    /// Calls `act` with both ends of each link, from and to.
    pub fn each(&self, mut act: impl FnMut(&str, &str)) {
        self.0.iter().for_each(|(from, to)| act(from, to));
    }
}

struct Broken {
    fault: SimFault,
    links: Links,
    before: BTreeMap<NodePair, Flow>,
}

/// Breaks links. `None` if another fault holds one of them, or there are too few nodes.
pub fn break_links(stage: &mut Stage<'_, '_>, fault: SimFault) -> Option<Box<dyn RunningFault>> {
    let links = Links(choose(stage, fault));
    if !is_free(stage, &links) {
        return None;
    }
    links.take(stage);
    let before = pairs_of(stage).into_iter().map(|pair| (pair, stage.builder.traffic.flow(pair))).collect();
    let broken = Broken { fault, links, before };
    broken.set(stage);
    Some(Box::new(broken))
}

impl RunningFault for Broken {
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        if !over {
            return None;
        }
        let took_effect = self.took_effect(stage);
        for (from, to) in &self.links.0 {
            self.mend(stage.sim, from, to);
            if let Some(pair) = pair(stage, from, to) {
                stage.builder.traffic.set_disorder(pair, None);
            }
        }
        self.links.give_back(stage);
        Some(took_effect)
    }
}

impl Broken {
    fn set(&self, stage: &mut Stage<'_, '_>) {
        let rate = stage.rng.random_range(0.001..0.03);
        let latency = stage.rng.random_range(ms(20)..ms(300));
        let share = stage.rng.random_range(0.05..0.3);
        for (from, to) in &self.links.0 {
            let disorder = match self.fault {
                SimFault::Duplicates => Some(Disorder { twice: share, behind: 0.0 }),
                SimFault::Reorder => Some(Disorder { twice: 0.0, behind: share }),
                _ => None,
            };
            if let (Some(disorder), Some(pair)) = (disorder, pair(stage, from, to)) {
                stage.builder.traffic.set_disorder(pair, Some(disorder));
                continue;
            }
            let (from, to) = (from.as_str(), to.as_str());
            match self.fault {
                SimFault::OneWay => stage.sim.partition_oneway(from, to),
                SimFault::Ring if self.is_one_way() => stage.sim.partition_oneway(from, to),
                SimFault::Hold => stage.sim.hold(from, to),
                SimFault::Loss => stage.sim.set_link_fail_rate(from, to, rate),
                SimFault::SlowLinks => stage.sim.set_link_max_message_latency(from, to, latency),
                _ => stage.sim.partition(from, to),
            }
        }
    }

    /// A ring of three leaves each node one direction to one neighbour.
    fn is_one_way(&self) -> bool {
        self.links.0.len() == 3
    }

    fn mend(&self, sim: &mut Sim<'_>, from: &str, to: &str) {
        match self.fault {
            SimFault::OneWay => sim.repair_oneway(from, to),
            SimFault::Ring if self.is_one_way() => sim.repair_oneway(from, to),
            SimFault::Hold => sim.release(from, to),
            SimFault::Loss => {
                sim.set_link_fail_rate(from, to, 0.0);
                // The link may be broken at this moment.
                sim.repair(from, to);
            }
            SimFault::SlowLinks => sim.set_link_max_message_latency(from, to, LATENCY_MAX),
            SimFault::Duplicates | SimFault::Reorder => {}
            _ => sim.repair(from, to),
        }
    }

    fn took_effect(&self, stage: &Stage<'_, '_>) -> bool {
        let mut flows = self.links.0.iter().flat_map(|(from, to)| {
            // A bidirectional link may have been affected in one direction only.
            [pair(stage, from, to), pair(stage, to, from)].into_iter().flatten()
        });
        flows.any(|pair| {
            let (now, before) = (stage.builder.traffic.flow(pair), self.before.get(&pair).copied().unwrap_or_default());
            match self.fault {
                SimFault::SlowLinks => now.late > before.late,
                SimFault::Duplicates | SimFault::Reorder => now.disordered > before.disordered,
                _ => now.missing() >= before.missing() + MISSING_MIN,
            }
        })
    }
}

/// The nodes of a link; `None` if one end is a client.
fn pair(stage: &Stage<'_, '_>, from: &str, to: &str) -> Option<NodePair> {
    let id = |name: &str| stage.nodes.iter().find(|node| host(node.id) == name).map(|node| node.id);
    Some((id(from)?, id(to)?))
}

fn pairs_of(stage: &Stage<'_, '_>) -> Vec<NodePair> {
    let ids: Vec<NodeId> = stage.nodes.iter().map(|node| node.id).collect();
    ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b).collect()
}

fn choose(stage: &mut Stage<'_, '_>, fault: SimFault) -> Vec<Link> {
    let there = |node: &&Rc<SimNode>| node.machine.get() != Machine::Lost;
    let mut nodes: Vec<_> = stage.nodes.iter().filter(there).cloned().collect();
    nodes.shuffle(stage.rng);
    let mut hosts: Vec<String> = nodes.iter().map(|node| host(node.id)).collect();
    if hosts.len() < 3 {
        return Vec::new();
    }
    match fault {
        SimFault::Partition => {
            let right = hosts.split_off(stage.rng.random_range(1..hosts.len()));
            with_clients(stage, hosts, right)
        }
        SimFault::AzCut => {
            let az = nodes[0].az.clone();
            let (inside, outside): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.az == az);
            let names = |nodes: Vec<&Rc<SimNode>>| nodes.into_iter().map(name).collect();
            with_clients(stage, names(inside), names(outside))
        }
        SimFault::OneWay => {
            let to = stage.rng.random_range(1..hosts.len());
            pairs(&hosts[..1], &hosts[1..=to])
        }
        SimFault::Bridge => {
            // The first host is the bridge.
            let at = stage.rng.random_range(2..hosts.len());
            pairs(&hosts[1..at], &hosts[at..])
        }
        SimFault::Ring => ring(&hosts),
        SimFault::Hold => {
            let (one, mut others) = (vec![hosts[0].clone()], hosts[1..].to_vec());
            if stage.rng.random() {
                others.extend(stage.clients.iter().cloned());
            }
            pairs(&one, &others)
        }
        // Each direction is disordered on its own.
        SimFault::Duplicates | SimFault::Reorder => pairs(&hosts, &hosts).into_iter().filter(|(a, b)| a != b).collect(),
        _ => pairs(&hosts, &hosts).into_iter().filter(|(a, b)| a < b).collect(),
    }
}

fn name(node: &Rc<SimNode>) -> String {
    host(node.id)
}

/// With three nodes each reaches only the next one, with more each reaches its two neighbours.
fn ring(hosts: &[String]) -> Vec<Link> {
    let len = hosts.len();
    let at = |i: usize| hosts[i % len].clone();
    if len == 3 {
        return (0..len).map(|i| (at(i + 1), at(i))).collect();
    }
    let all = (0..len).flat_map(|a| (a + 1..len).map(move |b| (a, b)));
    all.filter(|(a, b)| b - a != 1 && b - a != len - 1).map(|(a, b)| (at(a), at(b))).collect()
}

/// Each client is on one side.
fn with_clients(stage: &mut Stage<'_, '_>, mut left: Vec<String>, mut right: Vec<String>) -> Vec<Link> {
    for client in stage.clients {
        if stage.rng.random() { &mut left } else { &mut right }.push(client.clone());
    }
    // Clients are not connected to each other.
    let has_node = |link: &Link| [&link.0, &link.1].into_iter().any(|end| !stage.clients.contains(end));
    pairs(&left, &right).into_iter().filter(has_node).collect()
}

fn pairs(left: &[String], right: &[String]) -> Vec<Link> {
    left.iter().flat_map(|a| right.iter().map(move |b| (a.clone(), b.clone()))).collect()
}
