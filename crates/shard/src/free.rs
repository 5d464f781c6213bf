//! Memory is given back by the loop itself, whether or not anybody writes.
//!
//! What is removed, flushed or replaced, what undo records held when their batch commits, and memory that a restore has given up
//! is freed by the engine in slices ([`fastness_engine::Engine::release_some`]). The loop runs slices at the end of each turn until
//! [`TURN_MAX`] or [`TURN_SLICES_MAX`] and takes another turn as long as there is more: on primaries and replicas, idle or not. Between two
//! turns connections are served, so what others wait is one turn's slices.

use std::time::Duration;

use fastness_types::Plant;

use crate::state::State;

/// How long the slices of one turn take, about.
const TURN_MAX: Duration = Duration::from_micros(500);
/// Slices of one turn, however fast they are: some 16,000 entries.
const TURN_SLICES_MAX: usize = 64;

impl State {
    /// Frees for one turn; true if there is more.
    pub(crate) fn free(&mut self) -> bool {
        if !self.engine.has_retired() || Plant::FreeingStops.is_on() {
            return false;
        }
        let until = self.clock.boot().plus(TURN_MAX);
        let mut slices = 1;
        while self.engine.release_some() {
            if slices == TURN_SLICES_MAX || self.clock.boot() >= until {
                return true;
            }
            slices += 1;
        }
        false
    }
}
