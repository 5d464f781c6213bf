//! Hostile clients, which come and go like faults.

use std::rc::Rc;

use rand::Rng as _;

use super::SimFault;
use super::stage::{RunningFault, Stage};
use crate::sim::adversary::{Adversary, Told, unit_keys};

/// Attacks at once, at most: what they write has to fit into memory together.
const AT_ONCE_MAX: usize = 3;

struct UnderAttack {
    told: Rc<Told>,
}

/// Lets a hostile client attack some shard.
pub fn attack(stage: &mut Stage<'_, '_>, attack: SimFault) -> Option<Box<dyn RunningFault>> {
    let scale = stage.builder.scale.filter(|_| stage.attacks_under_way < AT_ONCE_MAX)?;
    stage.builder.attacks += 1;
    let (number, shard, shards) = (stage.builder.attacks, stage.some_shard(), stage.shards);
    let told = Rc::new(Told::default());
    let adversary = Adversary {
        attack,
        number,
        shard,
        shards,
        seed: stage.rng.random(),
        scale,
        plan: stage.plan.clone(),
        ledger: stage.ledger.clone(),
        trace: stage.trace.clone(),
        told: told.clone(),
    };
    if attack == SimFault::UnitAtLimit {
        stage.invariants.whole_units().watch(shard, unit_keys(shard, shards, number));
    }
    stage.sim.client(format!("adversary-{number}"), adversary.run());
    Some(Box::new(UnderAttack { told }))
}

impl RunningFault for UnderAttack {
    /// Ends once nothing is left of what the attack wrote: a shard that accepts nothing any more never gets there.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        self.told.violations.borrow_mut().drain(..).for_each(|what| stage.invariants.violate(what));
        if over {
            self.told.over.set(true);
        }
        self.told.gone.get().then(|| self.told.took_effect.get())
    }
}
