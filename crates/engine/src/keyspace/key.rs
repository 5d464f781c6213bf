//! A key with its place, and what a new value does with a deadline.

use fastness_types::{Slot, WallMs};

/// A key with the place that follows from it: made once per command, by [`Keyspace::key`](super::Keyspace::key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The key itself.
    pub bytes: &'a [u8],
    /// Its slot.
    pub slot: Slot,
    /// Its hash under the cluster's seed.
    pub hash: u64,
}

/// What a new value does with its key's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryChange {
    /// No deadline from now on.
    Drop,
    /// As before.
    Keep,
    /// This one from now on.
    At(WallMs),
}

impl ExpiryChange {
    /// What it makes of a deadline.
    #[must_use]
    pub fn after(self, old: Option<WallMs>) -> Option<WallMs> {
        match self {
            ExpiryChange::Drop => None,
            ExpiryChange::Keep => old,
            ExpiryChange::At(at) => Some(at),
        }
    }
}
