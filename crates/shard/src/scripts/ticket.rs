//! What a session and its suspended run have in common.

use std::cell::Cell;

/// Why a run has ended before its script did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// Its command runs as one that has not run.
    Abandoned,
    /// It has run for longer than it may.
    TooLong,
}

/// What a session and its suspended run have in common.
#[derive(Debug, Default)]
pub(crate) struct RunTicket {
    pub(crate) end: Cell<Option<RunEnd>>,
}
