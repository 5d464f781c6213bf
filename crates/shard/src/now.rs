//! One reading of both clocks. All decisions of one command or one turn use the same reading.

use fastness_types::{BootNs, WallMs};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub(crate) boot: BootNs,
    pub(crate) wall: WallMs,
    /// Whether the wall clock is close to those of the other nodes. If not, nothing is staged.
    pub(crate) trusted: bool,
}
