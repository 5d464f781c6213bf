//! What was found out about memory before a command runs.

/// Whether a command that needs memory is refused if `maxmemory` is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryCheck {
    Needed,
    /// Memory was checked before.
    Done,
}

/// Whether a command that may need memory runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MadeRoom {
    /// It runs, after this check.
    Runs(MemoryCheck),
    /// It waits.
    Waits,
}
