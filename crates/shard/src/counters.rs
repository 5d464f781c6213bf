//! What one replica counts, for INFO and metrics.

use std::time::Duration;

/// Counts since the process started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    /// Batches of this primary's own that have committed, with their units and bytes of effects.
    pub(crate) batches: u64,
    pub(crate) units: u64,
    pub(crate) effect_bytes: u64,
    /// Rolled back because their effects were longer than a unit may be.
    pub(crate) units_too_large: u64,
    /// Rolled back because they ran for too long.
    pub(crate) units_too_slow: u64,
    pub(crate) batches_applied: u64,
    pub(crate) undone: u64,
    pub(crate) undone_by_records: u64,
    pub(crate) undone_units: u64,
    pub(crate) unknown_replies: u64,
    /// Replies that wait for their commit because of an override, in a mode that does not require it.
    pub(crate) delayed_by_override: u64,
    /// Timestamps staged alone.
    pub(crate) time_units: u64,
    /// Writes that were sent again, and writes refused because of their idempotency key.
    pub(crate) repeated_writes: u64,
    pub(crate) keys_refused: u64,
    pub(crate) restores: u64,
    /// Commands that waited for a primary, each pipeline once, and those that were refused after it.
    pub(crate) lease_waits: u64,
    pub(crate) lease_waits_refused: u64,
}

/// The longest spans since they were last taken, for LATENCY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peaks {
    /// From the first effect of a batch to its commit.
    pub commit: Duration,
    /// The removal of expired keys in one turn of the loop.
    pub expiry: Duration,
    /// The removal of keys because memory is full: one slice.
    pub eviction: Duration,
}
