//! Clocks that jump, and clocks that run at another rate.

use std::rc::Rc;

use rand::Rng as _;

use super::SimFault;
use super::stage::{RunningFault, Stage};
use crate::sim::clock::DRIFT_MAX;
use crate::sim::node::SimNode;

struct Shifted {
    node: Rc<SimNode>,
    by_ms: i64,
    /// A large jump must be detected.
    must_show: bool,
    shown: bool,
}

/// Sets a wall clock.
pub fn shift(stage: &mut Stage<'_, '_>, fault: SimFault) -> Option<Box<dyn RunningFault>> {
    let node = stage.some_machine()?;
    let must_show = fault == SimFault::WallJump;
    let far = if must_show { 60_000..600_000 } else { 500..4_000 };
    // With more than one wrong clock there is no majority that shows which is right.
    if must_show && stage.nodes.iter().any(|node| node.clock.is_far_off()) {
        return None;
    }
    let by_ms = stage.rng.random_range(far) * if stage.rng.random() { 1 } else { -1 };
    node.clock.shift_wall(by_ms);
    Some(Box::new(Shifted { node, by_ms, must_show, shown: false }))
}

impl RunningFault for Shifted {
    fn step(&mut self, _: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        let live = self.node.live.borrow();
        let replicas = live.iter().flat_map(|live| &live.replicas);
        self.shown |= replicas.into_iter().any(|replica| !self.must_show || !replica.shard.info().clock.trusted);
        if over {
            self.node.clock.shift_wall(-self.by_ms);
        }
        over.then_some(self.shown)
    }
}

struct Drifting;

/// Changes the rate of a boot clock.
pub fn drift(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let node = stage.some_machine()?;
    node.clock.set_drift(stage.rng.random_range(-DRIFT_MAX..=DRIFT_MAX));
    Some(Box::new(Drifting))
}

impl RunningFault for Drifting {
    fn step(&mut self, _: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        over.then_some(true)
    }
}
