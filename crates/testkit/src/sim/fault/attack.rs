//! Hostile clients, which start and end like faults.

use std::rc::Rc;

use rand::Rng as _;

use super::SimFault;
use super::stage::{RunningFault, Stage};
use crate::sim::adversary::{Adversary, AttackState, unit_keys};

/// Maximum number of concurrent attacks: the data of all of them has to fit into memory.
const AT_ONCE_MAX: usize = 3;

struct UnderAttack {
    state: Rc<AttackState>,
}

/// Starts a hostile client that attacks one shard.
pub fn attack(stage: &mut Stage<'_, '_>, attack: SimFault) -> Option<Box<dyn RunningFault>> {
    let scale = stage.builder.scale.filter(|_| stage.attacks_under_way < AT_ONCE_MAX)?;
    stage.builder.attacks += 1;
    let (number, shard, shards) = (stage.builder.attacks, stage.some_shard(), stage.shards);
    let state = Rc::new(AttackState::default());
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
        state: state.clone(),
    };
    if attack == SimFault::UnitAtLimit {
        stage.invariants.whole_units().watch(shard, unit_keys(shard, shards, number));
    }
    stage.sim.client(format!("adversary-{number}"), adversary.run());
    Some(Box::new(UnderAttack { state }))
}

impl RunningFault for UnderAttack {
    /// Ends once nothing is left of the data that the attack wrote; a shard that accepts no writes never reaches that
    /// point.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        self.state.violations.borrow_mut().drain(..).for_each(|what| stage.invariants.violate(what));
        if over {
            self.state.over.set(true);
        }
        self.state.removed.get().then(|| self.state.took_effect.get())
    }
}
