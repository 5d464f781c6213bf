//! Which forms of entries, snapshots and commands a node understands.

use std::fmt;

/// How far a node's understanding of persisted and replicated forms goes. Each level includes all levels below it.
///
/// A node announces its level to its peers. A form that a level has introduced is written only while every member of
/// the group that receives it has announced that level, so that a cluster can be upgraded node by node. Once such a
/// form is in a log, a node below the level can no longer read it: it stops with an error that says so.
///
/// The numbers are frozen: they are sent to peers and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormatLevel(pub u32);

impl FormatLevel {
    /// The forms of the first version; a node that announces no level is at this one.
    pub const BASE: FormatLevel = FormatLevel(1);
    /// Batches cut into several entries, units that carry only a timestamp or a setting, image records that are parts
    /// of a value, and settings of the cluster in group 0.
    pub const BOUNDS: FormatLevel = FormatLevel(2);
    /// What this version announces.
    pub const CURRENT: FormatLevel = FormatLevel::BOUNDS;

    /// The level that a peer's message announces; 0 is what a node sends that knows of no levels.
    #[must_use]
    pub fn announced(number: u32) -> FormatLevel {
        FormatLevel(number).max(FormatLevel::BASE)
    }
}

impl fmt::Display for FormatLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
