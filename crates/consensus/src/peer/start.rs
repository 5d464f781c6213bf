//! One start of a node, as peers distinguish it from others.

use fastness_types::{DiskId, FormatLevel};

/// One start of a node on one of its disks. Two starts with the same count and different nonces are two copies of one
/// disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) disk: DiskId,
    /// Number of starts on that disk, including this one.
    pub(crate) count: u64,
    /// Random number of this start.
    pub(crate) nonce: u64,
    /// The level that the node understands since this start.
    pub(crate) format: FormatLevel,
}

impl Start {
    /// Whether this start is on an old copy of a disk, given that its node was also started as `other`.
    pub(crate) fn is_superseded_by(self, other: Start) -> bool {
        let later = other.count > self.count || (other.count == self.count && other.nonce != self.nonce);
        self.disk == other.disk && later
    }
}
