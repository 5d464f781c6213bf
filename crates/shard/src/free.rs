//! Memory is freed by the loop itself, whether or not anybody writes.
//!
//! What is removed, flushed or replaced, undo records whose batch has committed, and memory that a restore has given up
//! are freed by the engine in slices ([`fastness_engine::Engine::release_some`]). The loop runs slices at the end of a
//! turn until [`TURN_MAX`] or [`TURN_SLICES_MAX`], rests for [`REST`], and continues while there is more: on primaries
//! and replicas, idle or not. Commands wait for one turn's slices at most, and other work on the machine gets its share
//! of the cores, which matters because all replicas free the same memory at the same time. While `maxmemory` is
//! exceeded there is no rest, because writes are refused until enough is free.

use std::time::Duration;

use fastness_types::{Clock, Plant};

use crate::data::Data;

/// How long the slices of one turn take, about.
const TURN_MAX: Duration = Duration::from_millis(1);
/// Slices of one turn, however fast they are: some 16,000 entries.
const TURN_SLICES_MAX: usize = 64;
/// How long nothing is freed after such a turn.
const REST: Duration = Duration::from_micros(500);

impl Data {
    /// Frees for one turn; if there is more, the time until the next one.
    pub(crate) fn free(&mut self, clock: &dyn Clock) -> Option<Duration> {
        if !self.engine.has_retired() || Plant::FreeingStops.is_on() {
            return None;
        }
        let hurries = self.engine.is_out_of_memory();
        let started = clock.boot();
        let rest = self.frees_from.since(started);
        if !hurries && !rest.is_zero() {
            return Some(rest);
        }
        let until = started.plus(TURN_MAX);
        let mut slices = 1;
        while self.engine.release_some() {
            let now = clock.boot();
            if slices == TURN_SLICES_MAX || now >= until {
                self.frees_from = now.plus(REST);
                return Some(if hurries { Duration::ZERO } else { REST });
            }
            slices += 1;
        }
        None
    }
}
