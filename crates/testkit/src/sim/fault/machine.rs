//! Machines that stop, restart, or are lost and replaced.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::{NodeId, ShardId};
use rand::Rng as _;

use super::SimFault;
use super::stage::{RunningFault, Stage, ms};
use crate::sim::coverage::CoverageEvent;
use crate::sim::net::host;
use crate::sim::node::{Machine, SimNode, find_replica, is_primary};
use crate::sim::process;

/// How long a machine is down.
const DOWN: Range<Duration> = ms(20)..ms(2_500);
/// How long snapshots for a new node are delayed: longer than it takes to add the node as a learner and to check it
/// again.
const LATE: Range<Duration> = ms(1_200)..ms(3_000);
/// Maximum number of lost machines in one run: each leaves a node behind.
const LOST_MAX: usize = 3;

/// Switches a machine off; unsynced data is lost.
pub fn take_down(stage: &mut Stage<'_, '_>, node: &Rc<SimNode>) {
    node.plug.borrow().pull();
    stage.step();
    stage.invariants.note_stop(node);
    // The disk first: dying tasks must not reach it.
    let torn = node.crash();
    stage.sim.crash(host(node.id));
    node.machine.set(Machine::Down);
    let event = torn.map(|torn| if torn { CoverageEvent::TornTail } else { CoverageEvent::UntoldTail });
    stage.trace.note(|| format!("node {} goes down, last write: {event:?}", node.id));
    event.into_iter().for_each(|event| stage.invariants.coverage().count(event));
}

/// Switches a machine on again.
pub fn start(stage: &mut Stage<'_, '_>, node: &Rc<SimNode>) {
    stage.invariants.note_start(node);
    node.machine.set(Machine::Up);
    stage.trace.note(|| format!("node {} starts", node.id));
    stage.sim.bounce(host(node.id));
}

/// Whether every member is intact, so that another one may be lost.
#[must_use]
pub fn is_whole(stage: &Stage<'_, '_>) -> bool {
    let plan = stage.plan.borrow();
    let damaged = stage.nodes.iter().any(|node| node.machine.get() != Machine::Lost && node.expected.get().is_some());
    plan.replacing.is_none() && plan.replaced.len() < LOST_MAX && !damaged
}

struct Down {
    nodes: Vec<(Rc<SimNode>, Duration)>,
}

impl Down {
    fn now(stage: &mut Stage<'_, '_>, nodes: Vec<Rc<SimNode>>) -> Option<Box<dyn RunningFault>> {
        if nodes.is_empty() {
            return None;
        }
        let nodes = nodes.into_iter().map(|node| {
            take_down(stage, &node);
            let until = stage.now() + stage.rng.random_range(DOWN);
            (node, until)
        });
        Some(Box::new(Down { nodes: nodes.collect() }))
    }
}

impl RunningFault for Down {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let now = stage.now();
        self.nodes.retain(|(node, until)| {
            if *until <= now {
                start(stage, node);
            }
            *until > now
        });
        self.nodes.is_empty().then_some(true)
    }
}

/// Nodes that may crash: a node that another fault makes stop is left to that fault.
pub fn victims(stage: &Stage<'_, '_>) -> Vec<Rc<SimNode>> {
    let up = stage.machines_up();
    up.into_iter().filter(|node| node.expected.get().is_none()).collect()
}

/// Crashes one node, the nodes of an AZ, or all nodes.
pub fn crash(stage: &mut Stage<'_, '_>, fault: SimFault) -> Option<Box<dyn RunningFault>> {
    let shard = stage.some_shard();
    let one = stage.some_machine()?;
    let primary = find_replica(stage.nodes, shard, is_primary).map(|(node, _)| node.id);
    let is_hit = |node: &Rc<SimNode>| match fault {
        SimFault::CrashAll => true,
        SimFault::CrashAz => node.az == one.az,
        SimFault::CrashPrimary => Some(node.id) == primary,
        _ => node.id == one.id,
    };
    let hit = victims(stage).into_iter().filter(is_hit).collect();
    Down::now(stage, hit)
}

/// Waits for a snapshot in progress, then crashes the node that makes, receives or sends it.
struct Armed {
    down: Option<Box<dyn RunningFault>>,
}

/// Crashes a node in the middle of a snapshot.
pub fn crash_in_snapshot(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    stage.some_machine().map(|_| Box::new(Armed { down: None }) as Box<dyn RunningFault>)
}

impl RunningFault for Armed {
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        if let Some(down) = &mut self.down {
            return down.step(stage, over);
        }
        let busy = |node: &Rc<SimNode>| {
            let live = node.live.borrow();
            let mut snapshots =
                live.iter().flat_map(|live| &live.replicas).map(|replica| replica.shard.info().snapshot);
            snapshots.any(|snapshot| snapshot.in_progress || snapshot.incoming.is_some())
        };
        let hit: Vec<_> = victims(stage).into_iter().filter(busy).take(1).collect();
        self.down = Down::now(stage, hit);
        (over && self.down.is_none()).then_some(false)
    }
}

/// Loses a machine with everything on it.
pub fn lose(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    if !is_whole(stage) {
        return None;
    }
    let node = stage.some_machine()?;
    take_down(stage, &node);
    Some(replacement(stage, &node))
}

struct LateSnapshots {
    new: NodeId,
    until: Duration,
    replacement: Box<dyn RunningFault>,
}

/// Loses a machine and delays the snapshots sent to its successor; all other messages arrive in time.
pub fn lose_and_delay_snapshots(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let replacement = lose(stage)?;
    let new = stage.nodes.last()?.id;
    stage.builder.traffic.set_snapshots_late(new, true);
    let until = stage.now() + stage.rng.random_range(LATE);
    Some(Box::new(LateSnapshots { new, until, replacement }))
}

impl RunningFault for LateSnapshots {
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        if stage.now() >= self.until {
            stage.builder.traffic.set_snapshots_late(self.new, false);
        }
        let replaced = self.replacement.step(stage, over)?;
        stage.builder.traffic.set_snapshots_late(self.new, false);
        Some(replaced && stage.builder.traffic.snapshots_were_late(self.new))
    }
}

/// Puts a new node in the place of a lost one.
pub fn replace(stage: &mut Stage<'_, '_>, node: &Rc<SimNode>) {
    let running = replacement(stage, node);
    stage.following.push((SimFault::MachineLost, running));
}

fn replacement(stage: &mut Stage<'_, '_>, old: &Rc<SimNode>) -> Box<dyn RunningFault> {
    old.machine.set(Machine::Lost);
    let id = NodeId(stage.nodes.iter().map(|node| node.id.0).max().unwrap_or(0) + 1);
    let new = stage.builder.node(id, old.az.clone());
    stage.plan.borrow_mut().replace(old.id, new.member.clone());
    *new.known.borrow_mut() = stage.plan.borrow().clone();
    let software = new.clone();
    stage.sim.host(host(id), move || process::run(software.clone()));
    stage.trace.note(|| format!("node {id} takes the place of node {}", old.id));
    stage.nodes.push(new);
    Box::new(Replacement)
}

/// A node that takes the place of a lost one.
struct Replacement;

impl RunningFault for Replacement {
    /// Ends once the leader of every group has committed exactly the planned voters.
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let mut wanted: Vec<NodeId> = stage.plan.borrow().voters.iter().map(|member| member.node).collect();
        wanted.sort();
        let is_there = |shard: ShardId| {
            find_replica(stage.nodes, shard, is_primary).is_some_and(|(_, replica)| {
                let status = replica.control.status();
                let mut voters = status.halves.first().cloned().unwrap_or_default();
                voters.sort();
                status.halves.len() == 1 && voters == wanted && status.committed >= status.members_since
            })
        };
        if !(1..=stage.shards).map(ShardId).all(is_there) {
            return None;
        }
        stage.plan.borrow_mut().finish_replacement();
        stage.invariants.coverage().count(CoverageEvent::Replacement);
        Some(true)
    }
}
