//! What operators do while faults are active.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::{Durability, ShardId};
use rand::seq::IndexedRandom as _;

use super::stage::{RunningFault, Stage, ms};
use crate::sim::coverage::CoverageEvent;
use crate::sim::invariants::logs::each_replica;
use crate::sim::node::{Machine, Order, Replica, SimNode, find_replica, is_primary};

/// Undone effects count for this long after a hand-over.
const UNDONE_WITHIN: Duration = ms(300);

struct Ordered {
    done: Rc<Cell<Option<bool>>>,
    node: Rc<SimNode>,
    replica: Replica,
    shard: ShardId,
    /// Value before another node has taken over.
    undone_before: u64,
    done_at: Option<Duration>,
}

/// Orders a primary to hand over.
pub fn hand_over(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let shard = stage.some_shard();
    let (node, replica) = find_replica(stage.nodes, shard, is_primary)?;
    let done = Rc::new(Cell::new(None));
    let told = node.live.borrow().as_ref()?.orders.try_send(Order::HandOver(shard, done.clone()));
    told.ok()?;
    let undone_before = replica.shard.info().undone;
    Some(Box::new(Ordered { done, node, replica, shard, undone_before, done_at: None }))
}

impl RunningFault for Ordered {
    /// Ends when the primary must know that its staged effects have committed: it drains first, so nothing is undone.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        let now = stage.now();
        let Some(handed_over) = self.done.get() else {
            self.undone_before = self.replica.shard.info().undone;
            // The node may have crashed in the meantime; then no result arrives.
            return over.then_some(false);
        };
        let at = *self.done_at.get_or_insert(now);
        let lives = self.node.machine.get() == Machine::Up && self.node.live.borrow().is_some();
        if !handed_over || !lives || is_primary(&self.replica) || now > at + UNDONE_WITHIN {
            return Some(handed_over);
        }
        if self.replica.shard.info().undone > self.undone_before {
            let (shard, node) = (self.shard, self.node.id);
            stage.invariants.violate(format!("shard {shard}: node {node} handed over and then undid staged effects"));
            return Some(true);
        }
        None
    }
}

struct WrongVoters {
    refused_before: u64,
}

fn refused_voters(stage: &Stage<'_, '_>) -> u64 {
    stage.nodes.iter().map(|node| node.refused_voters.get()).sum()
}

/// Orders a quorum in one AZ.
pub fn wrong_voters(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let refused_before = refused_voters(stage);
    let mut plan = stage.plan.borrow_mut();
    if plan.invalid_voters.is_some() {
        return None;
    }
    let az = plan.voters.choose(stage.rng)?.az.clone();
    let (mut chosen, others): (Vec<_>, Vec<_>) = plan.voters.iter().cloned().partition(|member| member.az == az);
    if chosen.len() > 1 {
        chosen.extend(others.into_iter().next());
    }
    plan.invalid_voters = Some(chosen);
    Some(Box::new(WrongVoters { refused_before }))
}

impl RunningFault for WrongVoters {
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        if !over {
            return None;
        }
        stage.plan.borrow_mut().invalid_voters = None;
        Some(refused_voters(stage) > self.refused_before)
    }
}

struct Desired {
    version: u64,
    mode: Durability,
}

/// Switches to the other durability mode.
pub fn switch_mode(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    if !stage.builder.profile.switches() {
        return None;
    }
    let mut plan = stage.plan.borrow_mut();
    let mode = if plan.desired.mode == Durability::Sync { Durability::Async } else { Durability::Sync };
    plan.switch(mode);
    Some(Box::new(Desired { version: plan.desired.version, mode }))
}

impl RunningFault for Desired {
    /// Ends once some replica of every shard reports that the mode, or a newer one, is in force.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        let mut versions = vec![0; stage.shards as usize];
        each_replica(stage.nodes, |_, ShardId(shard), replica| {
            let version = &mut versions[shard as usize - 1];
            *version = replica.shard.mode().1.max(*version);
        });
        let done = versions.iter().all(|version| *version >= self.version);
        if done {
            let event = if self.mode == Durability::Sync { CoverageEvent::ToSync } else { CoverageEvent::ToAsync };
            stage.invariants.coverage().count(event);
        }
        (done || over).then_some(done)
    }
}
