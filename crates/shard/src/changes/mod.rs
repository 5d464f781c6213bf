//! The committed changes of a shard, read from its log: the source of watchers.
//!
//! What is read here never comes from execution. An entry is returned once the replica has applied it: it has
//! committed then, and its batch is whole. So every replica returns the same units with the same positions, and an
//! effect that was undone is never returned.
//!
//! Everything runs beside the loop of the shard, which only publishes its applied position.

mod filter;
mod reader;

pub use filter::ChangeFilter;
pub use reader::{ChangeError, ChangeReader, ChangeStart, CommittedBatch, CommittedUnit};

use fastness_engine::Key;
use fastness_engine::effect::{DecodeError, Decoder, Effect};
use fastness_types::{LogIndex, Slot};

/// A place between two units of a shard's log. Ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ChangePosition {
    /// Index of the entry that completes the unit's batch.
    pub index: LogIndex,
    /// Number of the unit within its batch, from 1; [`ChangePosition::END`]: after all of them.
    pub unit: u32,
}

impl ChangePosition {
    /// The unit of a position after a whole entry.
    pub const END: u32 = u32::MAX;

    /// The position after a whole entry.
    #[must_use]
    pub fn end_of(index: LogIndex) -> ChangePosition {
        ChangePosition { index, unit: ChangePosition::END }
    }
}

/// The effects of a unit, in order. After an error there are no more. The keys have neither slot nor hash.
pub fn effects(bytes: &[u8]) -> impl Iterator<Item = Result<Effect<'_>, DecodeError>> {
    let mut decoder = Some(Decoder::new(bytes));
    std::iter::from_fn(move || {
        let next = decoder.as_mut()?.next(|bytes| Key { bytes, slot: Slot(0), hash: 0 }).transpose();
        if !matches!(next, Some(Ok(_))) {
            decoder = None;
        }
        next
    })
}
