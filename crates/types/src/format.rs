//! Format levels: which forms of entries, snapshots and commands a node supports.

use std::fmt;

/// The persisted and replicated forms that a node supports. Each level includes all lower levels.
///
/// A node announces its level to its peers. A form that a level introduced is written only while every member of the
/// group that receives it has announced that level, so that a cluster can be upgraded node by node. Once a log contains
/// such a form, a node of a lower level cannot read it: it stops with an error that says so.
///
/// The numbers are frozen: they are sent to peers and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormatLevel(pub u32);

impl FormatLevel {
    /// The forms of the first version, and of a node that announces no level.
    pub const BASE: FormatLevel = FormatLevel(1);
    /// Batches split into several entries, units that carry only a timestamp or a setting, image records with part of a
    /// value, and settings of the cluster in group 0.
    pub const BOUNDS: FormatLevel = FormatLevel(2);
    /// Users in group 0.
    pub const USERS: FormatLevel = FormatLevel(3);
    /// Idempotency records in batches and snapshots.
    pub const IDEMPOTENCY: FormatLevel = FormatLevel(4);
    /// Snapshots of group 0, so that its log is purged.
    pub const CONTROL_SNAPSHOTS: FormatLevel = FormatLevel(5);
    /// Effects of lists, sets, sorted sets and streams, and their records in images.
    pub const COLLECTIONS: FormatLevel = FormatLevel(6);
    /// Effects of LINSERT and of trims of streams with what a reader needs that does not have the data: the value
    /// beside which an element is added, and the last removed id.
    pub const OUTBOUND: FormatLevel = FormatLevel(7);
    /// Effects of libraries of functions, and their records in images.
    pub const FUNCTIONS: FormatLevel = FormatLevel(8);
    /// The level that this version announces.
    pub const CURRENT: FormatLevel = FormatLevel::FUNCTIONS;

    /// The level announced in a peer's message. 0 comes from a node that does not know levels.
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
