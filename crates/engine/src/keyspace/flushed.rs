//! The contents of a keyspace, which FLUSHALL removes in one step.

use super::deadlines::Deadlines;
use super::table::EntryTable;
use fastness_types::SLOTS;

/// Slots in a group of [`Groups`].
pub(super) const GROUP: usize = 128;
/// How many keys each group of slots has.
pub(super) type Groups = [u64; SLOTS / GROUP];

/// Everything that FLUSHALL removed.
pub(super) struct Flushed {
    /// `None` while they are lent to an image; see [`Keyspace::give_back_tables`](super::Keyspace::give_back_tables).
    pub(super) tables: Option<Box<[EntryTable]>>,
    pub(super) groups: Groups,
    pub(super) len: u64,
    /// Bytes that the account counts of it, in entries, values and tables.
    pub(super) bytes: u64,
    pub(super) due: Deadlines,
    pub(super) parts_due: Deadlines,
}
