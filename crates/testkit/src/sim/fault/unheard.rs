//! Links between a primary and its followers that fail in part: its messages arrive and it receives nothing; it
//! receives late what it requested long ago; only its lease frames arrive. Or the links are cut until its log is too
//! old to follow the others.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_consensus::handle::Role;
use fastness_types::{Epoch, NodeId, ShardId};
use rand::Rng as _;
use rand::seq::SliceRandom as _;

use super::network::{Links, between, is_free};
use super::stage::{RunningFault, Stage, ms};
use crate::sim::invariants::logs::each_replica;
use crate::sim::net::host;
use crate::sim::node::{Machine, SimNode, find_replica, is_primary};
use crate::sim::traffic::NodePair;

/// A primary that receives nothing is replaced within this time: its lease, an election timeout, and repeated
/// elections.
const DEAF: Duration = ms(5_000);
/// A primary that has received nothing for this long requests no more promises: a lease, and the messages in flight.
const UNBINDS: Duration = ms(500);
/// Delay of late answers: longer than a promise lasts, shorter than the time-out of a stream.
const LATE: Range<Duration> = ms(350)..ms(900);
/// How long followers receive nothing else from a primary: some of them stand for election in this time.
const UNHEARD: Range<Duration> = ms(900)..ms(2_000);

/// Maximum time until the logs of the others do not reach back far enough.
const PURGED_WITHIN: Duration = ms(6_000);

/// A shard's primary, its followers, and the epoch that it leads.
struct Led {
    shard: ShardId,
    epoch: Epoch,
    primary: Rc<SimNode>,
    followers: Vec<Rc<SimNode>>,
    links: Links,
}

impl Led {
    /// `None`: there is no primary, or another fault holds some of its links.
    fn choose(stage: &mut Stage<'_, '_>) -> Option<Led> {
        let shard = stage.some_shard();
        let (primary, replica) = find_replica(stage.nodes, shard, is_primary)?;
        let there = |node: &&Rc<SimNode>| node.id != primary.id && node.machine.get() != Machine::Lost;
        let mut followers: Vec<_> = stage.nodes.iter().filter(there).cloned().collect();
        followers.shuffle(stage.rng);
        let names = followers.iter().map(|node| host(node.id)).collect::<Vec<_>>();
        let links = between(&[host(primary.id)], &names);
        let epoch = replica.shard.info().epoch;
        if !is_free(stage, &links) {
            return None;
        }
        links.take(stage);
        Some(Led { shard, epoch, primary, followers, links })
    }

    /// The leader of the shard in a newer epoch.
    fn successor(&self, stage: &Stage<'_, '_>) -> Option<NodeId> {
        let mut found = None;
        each_replica(stage.nodes, |node, shard, replica| {
            let role = replica.handle.role();
            if let Role::Leader { lease, .. } = &**role
                && shard == self.shard
                && lease.epoch().term > self.epoch.term
            {
                found = Some(node.id);
            }
        });
        found
    }
}

struct Deaf {
    led: Led,
    began: Duration,
    /// How many promises it had requested when it must have given up.
    bindings: Option<u64>,
    /// Whether no other fault was active during all of this time.
    alone: bool,
}

/// Drops all messages to a primary; its own messages arrive.
pub fn deaf(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let led = Led::choose(stage)?;
    led.links.each(|from, to| stage.sim.partition_oneway(to, from));
    Some(Box::new(Deaf { led, began: stage.now(), bindings: None, alone: true }))
}

impl RunningFault for Deaf {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        self.alone &= stage.others_under_way == 0;
        let (successor, lasts) = (self.led.successor(stage), stage.now() - self.began);
        let (node, shard) = (self.led.primary.id, self.led.shard);
        let bindings = stage.builder.traffic.bindings(node);
        if lasts >= UNBINDS && bindings > *self.bindings.get_or_insert(bindings) {
            stage
                .invariants
                .violate(format!("node {node} has received nothing for {lasts:?}, and still requests promises"));
        }
        if successor.is_none() && lasts < DEAF {
            return None;
        }
        self.led.links.each(|from, to| stage.sim.repair_oneway(to, from));
        self.led.links.give_back(stage);
        if successor.is_none() && self.alone {
            stage.invariants.violate(format!(
                "shard {shard}: node {node} has received nothing for {DEAF:?}, and no other node has taken over"
            ));
        }
        Some(successor.is_some())
    }
}

struct LateAnswers {
    led: Led,
    until: Duration,
}

/// Drops all further messages of a primary, and delays the messages to it.
pub fn late_answers(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let led = Led::choose(stage)?;
    let delay = stage.rng.random_range(LATE);
    let until = stage.now() + stage.rng.random_range(UNHEARD);
    led.links.each(|from, to| stage.sim.partition_oneway(from, to));
    back(&led).for_each(|pair| stage.builder.traffic.set_delay(pair, delay));
    Some(Box::new(LateAnswers { led, until }))
}

fn back(led: &Led) -> impl Iterator<Item = NodePair> {
    led.followers.iter().map(|node| (node.id, led.primary.id))
}

impl RunningFault for LateAnswers {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        if stage.now() < self.until {
            return None;
        }
        let took_effect = self.led.successor(stage).is_some();
        self.led.links.each(|from, to| stage.sim.repair_oneway(from, to));
        back(&self.led).for_each(|pair| stage.builder.traffic.set_delay(pair, Duration::ZERO));
        self.led.links.give_back(stage);
        Some(took_effect)
    }
}

struct LeasesOnly {
    led: Led,
    deaf: Links,
    until: Duration,
}

/// As many followers of a primary as its lease needs receive its lease requests and nothing else; the others receive
/// nothing.
pub fn leases_only(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let mut led = Led::choose(stage)?;
    let deaf = led.followers.split_off(led.followers.len().div_ceil(2));
    let names = deaf.iter().map(|node| host(node.id)).collect::<Vec<_>>();
    let deaf = between(&[host(led.primary.id)], &names);
    deaf.each(|from, to| stage.sim.partition_oneway(from, to));
    forth(&led).for_each(|pair| stage.builder.traffic.set_leases_only(pair, true));
    let until = stage.now() + stage.rng.random_range(UNHEARD);
    Some(Box::new(LeasesOnly { led, deaf, until }))
}

fn forth(led: &Led) -> impl Iterator<Item = NodePair> {
    led.followers.iter().map(|node| (led.primary.id, node.id))
}

impl RunningFault for LeasesOnly {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        if stage.now() < self.until {
            return None;
        }
        let replica = find_replica(stage.nodes, self.led.shard, is_primary);
        let holds = replica.is_some_and(|(node, _)| node.id == self.led.primary.id);
        self.deaf.each(|from, to| stage.sim.repair_oneway(from, to));
        forth(&self.led).for_each(|pair| stage.builder.traffic.set_leases_only(pair, false));
        self.led.links.give_back(stage);
        Some(holds)
    }
}

struct PurgedBeyond {
    led: Led,
    until: Duration,
}

/// Cuts a primary off until the others have purged the entries that it would need.
pub fn purged_beyond(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let led = Led::choose(stage)?;
    led.links.each(|from, to| stage.sim.partition(from, to));
    Some(Box::new(PurgedBeyond { led, until: stage.now() + PURGED_WITHIN }))
}

impl PurgedBeyond {
    /// Compares where the log of the shard's current leader is purged with where the log of the former primary ends.
    fn is_reached(&self, stage: &Stage<'_, '_>) -> bool {
        let replica_of = |wanted: NodeId| {
            let mut found = None;
            each_replica(stage.nodes, |node, shard, replica| {
                if (node.id, shard) == (wanted, self.led.shard) {
                    found = Some(replica.clone());
                }
            });
            found
        };
        let Some(new) = self.led.successor(stage).and_then(replica_of) else { return false };
        let Some(old) = replica_of(self.led.primary.id) else { return false };
        let purged = new.log.state().purged.map_or(0, |purged| purged.index);
        old.log.state().last.is_some_and(|last| purged > last.index)
    }
}

impl RunningFault for PurgedBeyond {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let reached = self.is_reached(stage);
        if !reached && stage.now() < self.until {
            return None;
        }
        self.led.links.each(|from, to| stage.sim.repair(from, to));
        self.led.links.give_back(stage);
        Some(reached)
    }
}
