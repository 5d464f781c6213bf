//! What operators do while faults are under way.

use std::cell::Cell;
use std::rc::Rc;

use fastness_types::{Durability, ShardId};

use super::{Running, Stage};
use crate::sim::coverage::Event;
use crate::sim::invariants::logs::each_replica;
use crate::sim::node::{Order, find_replica};
use crate::sim::world::is_primary;

struct Ordered(Rc<Cell<Option<bool>>>);

/// Tells a primary to hand over.
pub fn hand_over(stage: &mut Stage<'_, '_>) -> Option<Box<dyn Running>> {
    let shard = stage.some_shard();
    let (node, _) = find_replica(stage.nodes, shard, is_primary)?;
    let done = Rc::new(Cell::new(None));
    let live = node.live.borrow();
    let told = live.as_ref()?.orders.try_send(Order::HandOver(shard, done.clone()));
    told.is_ok().then(|| Box::new(Ordered(done)) as Box<dyn Running>)
}

impl Running for Ordered {
    fn step(&mut self, _: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        // The node may have crashed meanwhile: nobody tells then.
        self.0.get().or(over.then_some(false))
    }
}

struct Wished {
    version: u64,
    mode: Durability,
}

/// Wishes the other mode.
pub fn switch_mode(stage: &mut Stage<'_, '_>) -> Option<Box<dyn Running>> {
    if !stage.builder.profile.switches() {
        return None;
    }
    let mut plan = stage.plan.borrow_mut();
    let mode = if plan.wish.mode == Durability::Sync { Durability::Async } else { Durability::Sync };
    plan.switch(mode);
    Some(Box::new(Wished { version: plan.wish.version, mode }))
}

impl Running for Wished {
    /// Ends once some replica of every shard has told that it is in force, or something newer is.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        let mut versions = vec![0; stage.shards as usize];
        each_replica(stage.nodes, |_, ShardId(shard), replica| {
            let version = &mut versions[shard as usize - 1];
            *version = replica.shard.mode().1.max(*version);
        });
        let done = versions.iter().all(|version| *version >= self.version);
        if done {
            let event = if self.mode == Durability::Sync { Event::ToSync } else { Event::ToAsync };
            stage.invariants.coverage().count(event);
        }
        (done || over).then_some(done)
    }
}
