//! Memory: the engine with what commands and the loop need to run it.

use fastness_engine::{EffectBuf, Engine, EngineOptions, Random};
use fastness_types::{BootNs, Slot, WallMs};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use crate::now::Now;
use crate::options::{ShardOptions, SlotSet};

/// The memory of one replica.
pub(crate) struct Data {
    pub(crate) engine: Engine,
    options: EngineOptions,
    slots: SlotSet,
    /// Changes whenever memory is emptied, to be restored.
    pub(crate) generation: u64,
    pub(crate) random: Choices,
    /// The effect buffer of commands that must not write; stays empty.
    pub(crate) no_effects: EffectBuf,
    /// Memory is freed from this time on, not before.
    pub(crate) frees_from: BootNs,
}

/// The primary's random choices; replicas make none.
pub(crate) struct Choices(SmallRng);

impl Random for Choices {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

fn empty_engine(options: EngineOptions, slots: &SlotSet) -> Engine {
    let mut engine = Engine::new(options);
    engine.set_slots(slots.runs());
    engine
}

impl Data {
    pub(crate) fn new(options: &ShardOptions) -> Data {
        Data {
            engine: empty_engine(options.engine, &options.slots),
            options: options.engine,
            slots: options.slots.clone(),
            generation: 1,
            random: Choices(SmallRng::seed_from_u64(options.random_seed)),
            no_effects: EffectBuf::new(),
            frees_from: BootNs(0),
        }
    }

    /// Whether the shard owns `slot`.
    #[inline]
    pub(crate) fn owns(&self, slot: Slot) -> bool {
        self.slots.contains(slot)
    }

    /// The time that commands and effects see: the wall clock, but never before what the log has seen.
    #[inline]
    pub(crate) fn timestamp(&self, now: Now) -> WallMs {
        now.wall.max(self.engine.newest_timestamp())
    }

    /// Empties memory, to be restored from snapshot and log.
    pub(crate) fn restart(&mut self) {
        self.engine.restart();
        self.generation += 1;
    }

    /// Replaces the engine by an empty one; returns the old one.
    pub(crate) fn replace(&mut self) -> Engine {
        let mut empty = empty_engine(self.options, &self.slots);
        empty.set_eviction(*self.engine.eviction());
        std::mem::replace(&mut self.engine, empty)
    }
}
