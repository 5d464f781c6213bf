//! A primary's loop stalls with everything on its thread while the node's consensus continues, as during a command that
//! runs for very long.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_consensus::handle::Role;
use fastness_types::limits::LOOP_STALL_MAX;
use fastness_types::{Clock as _, Epoch, NodeId, ShardId};
use rand::Rng as _;

use super::stage::{RunningFault, Stage, ms};
use crate::sim::node::{Machine, Replica, SimNode, find_replica, is_primary};

/// How long a loop stalls: its lease must be closed before the end.
const STUCK: Range<Duration> = ms(4_000)..ms(6_000);
/// Time within which the lease must be closed: the bound, the poll interval, and the clock difference.
const CLOSED_WITHIN: Duration = LOOP_STALL_MAX.saturating_add(ms(500));
/// The lease must close only if another node could have taken over for this long.
const COULD_FOR: Duration = ms(300);

struct StuckLoop {
    node: Rc<SimNode>,
    replica: Replica,
    shard: ShardId,
    epoch: Epoch,
    life: u64,
    began: Duration,
    until: Duration,
    could_since: Option<Duration>,
}

/// Stalls the loop of a shard's primary.
pub fn stall_loop(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let shard = stage.some_shard();
    let (node, replica) = find_replica(stage.nodes, shard, is_primary)?;
    if node.expected.get().is_some() || node.stuck.get().is_some() {
        return None;
    }
    node.stuck.set(Some(shard));
    let (epoch, life, began) = (replica.shard.info().epoch, node.lives.get(), stage.now());
    let until = began + stage.rng.random_range(STUCK);
    Some(Box::new(StuckLoop { node, replica, shard, epoch, life, began, until, could_since: None }))
}

impl StuckLoop {
    fn lives(&self) -> bool {
        self.node.machine.get() == Machine::Up
            && self.node.live.borrow().is_some()
            && self.node.lives.get() == self.life
    }

    fn holds_lease(&self) -> bool {
        match &**self.replica.handle.role() {
            Role::Leader { lease, .. } => lease.epoch() == self.epoch && lease.holds(self.node.clock.boot()),
            _ => false,
        }
    }

    /// Whether another voter could serve, as far as the primary knows.
    fn could_be_replaced(&self) -> bool {
        let status = self.replica.control.status();
        let votes = |node: &NodeId| status.halves.iter().any(|half| half.contains(node));
        status.fit.iter().any(|node| *node != self.node.id && votes(node))
    }
}

impl RunningFault for StuckLoop {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        if !self.lives() {
            // A crash ends the fault, too.
            return Some(false);
        }
        let now = stage.now();
        let holds = self.holds_lease();
        let could = holds && self.could_be_replaced();
        self.could_since = if could { self.could_since.or(Some(now)) } else { None };
        let could_for_long = self.could_since.is_some_and(|since| now > since + COULD_FOR);
        if now > self.began + CLOSED_WITHIN && could_for_long {
            let (shard, node, stuck) = (self.shard, self.node.id, now - self.began);
            stage.invariants.violate(format!(
                "shard {shard}: the loop of node {node} has stalled for {stuck:?}, other nodes could serve, and it still holds the lease"
            ));
        }
        if now < self.until {
            return None;
        }
        self.node.stuck.set(None);
        Some(!holds)
    }
}
