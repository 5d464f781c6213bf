//! The loop frees memory in slices, even if no client writes.
//!
//! Removed, flushed and replaced data, undo records of committed batches, and memory that a restore has abandoned are
//! freed by the engine in slices ([`fastness_engine::Engine::release_some`]). The loop runs slices at the end of a turn
//! until [`TURN_MAX`] or [`TURN_SLICES_MAX`] is reached, pauses for [`REST`], and continues while memory remains to be
//! freed. It does so on primaries and replicas, idle or not. Commands wait for the slices of at most one turn. The
//! pause leaves the cores to other work, which matters because all replicas free the same memory at the same time.
//! While `maxmemory` is exceeded there is no pause, because writes are refused until enough memory is free.

use std::time::Duration;

use fastness_types::{Clock, Plant};

use crate::data::Data;

/// Approximate time limit of the slices of one turn.
const TURN_MAX: Duration = Duration::from_millis(1);
/// Maximum number of slices in one turn: about 16,000 entries.
const TURN_SLICES_MAX: usize = 64;
/// Pause after such a turn.
const REST: Duration = Duration::from_micros(500);

impl Data {
    /// Runs the slices of one turn; returns when to continue, if memory remains to be freed.
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
