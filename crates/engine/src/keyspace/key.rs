//! A key with its slot and hash, and what a new value does to a deadline.

use fastness_types::{HashSeed, Slot, WallMs};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The hash of the name of a key, or of a part of a value, under the cluster's seed: clients choose both.
#[inline]
#[must_use]
pub fn seeded_hash(seed: HashSeed, name: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&seed.0);
    hasher.write(name);
    hasher.finish()
}

/// A key with the slot and hash that follow from it: made once per command, by [`Keyspace::key`](super::Keyspace::key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The key itself.
    pub bytes: &'a [u8],
    /// Its slot.
    pub slot: Slot,
    /// Its hash under the cluster's seed.
    pub hash: u64,
}

/// What a new value does to its key's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryChange {
    /// Removes it.
    Drop,
    /// Keeps it.
    Keep,
    /// Sets it.
    At(WallMs),
}

impl ExpiryChange {
    /// The deadline after the change.
    #[must_use]
    pub fn after(self, old: Option<WallMs>) -> Option<WallMs> {
        match self {
            ExpiryChange::Drop => None,
            ExpiryChange::Keep => old,
            ExpiryChange::At(at) => Some(at),
        }
    }
}
