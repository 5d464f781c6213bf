//! A unit that is in progress.

use fastness_engine::Savepoint;

/// One command, transaction or script that runs on the primary and has not been staged.
pub(crate) struct UnitInProgress {
    /// Where its effects and its reply start.
    pub(crate) before: usize,
    pub(crate) reply: usize,
    pub(crate) savepoint: Savepoint,
}
