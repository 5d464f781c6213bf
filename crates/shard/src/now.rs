//! One reading of both clocks, which everything that one command or one turn decides goes by.

use fastness_types::{BootNs, WallMs};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub(crate) boot: BootNs,
    pub(crate) wall: WallMs,
    /// Whether the wall clock is near those of the other nodes. Nothing is staged with one that is not.
    pub(crate) trusted: bool,
}
