//! One start of a node's process, as peers tell starts apart.

use fastness_types::{DiskId, FormatLevel};

/// One start of a node on one of its disks. Two starts with one count and two marks are two copies of one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) disk: DiskId,
    /// Starts on that disk, this one included.
    pub(crate) count: u64,
    /// Drawn at random.
    pub(crate) mark: u64,
    /// What the node understands since this start.
    pub(crate) format: FormatLevel,
}

impl Start {
    /// Whether this start must be on an old copy of a disk, given that its node was started as `other`.
    pub(crate) fn is_outdone_by(self, other: Start) -> bool {
        let later = other.count > self.count || (other.count == self.count && other.mark != self.mark);
        self.disk == other.disk && later
    }
}
