//! The bytes of a value that a command changes, as effects.

use super::layout::STALE_AT;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{ExpiryChange, Key};
use std::ops::Range;

/// Equal bytes between two ranges that are logged with them, because another effect would be longer.
const GAP_MAX: usize = 16;
/// A longer value is `raw` (OBJECT ENCODING) in any case.
const MAYBE_EMBEDDED_MAX: usize = 128;

/// Ranges of bytes of a value in their order, with what is to be there.
pub(super) struct Ranges<'a> {
    base: &'a [u8],
    ranges: Vec<(usize, Vec<u8>)>,
}

impl<'a> Ranges<'a> {
    /// None yet, of a value.
    pub(super) fn of(base: &'a [u8]) -> Ranges<'a> {
        Ranges { base, ranges: Vec::new() }
    }

    /// Changes bytes of the value, which start at or after the start of all that were changed before.
    pub(super) fn edit(&mut self, place: Range<usize>, edit: impl FnOnce(&mut [u8])) {
        match self.ranges.last_mut() {
            Some((start, bytes)) if place.start <= *start + bytes.len() + GAP_MAX => {
                let end = *start + bytes.len();
                if place.end > end {
                    bytes.extend_from_slice(&self.base[end..place.end]);
                }
                edit(&mut bytes[place.start - *start..place.end - *start]);
            }
            _ => {
                let mut bytes = self.base[place.clone()].to_vec();
                edit(&mut bytes);
                self.ranges.push((place.start, bytes));
            }
        }
    }
}

/// A change of a value.
pub(super) enum Change {
    /// Some bytes change, or are appended.
    Ranges(Vec<(usize, Vec<u8>)>),
    /// The value becomes shorter: it is set as a whole.
    Whole(Vec<u8>),
}

impl From<Ranges<'_>> for Change {
    fn from(ranges: Ranges<'_>) -> Change {
        Change::Ranges(ranges.ranges)
    }
}

impl Change {
    /// The change from one value to another. At least one byte is logged, so that watches of the key see a write.
    pub(super) fn between(old: &[u8], new: Vec<u8>) -> Change {
        if new.len() < old.len() {
            return Change::Whole(new);
        }
        let mut ranges = Ranges::of(&new);
        for at in (0..old.len()).filter(|&at| old[at] != new[at]) {
            ranges.edit(at..at + 1, |_| ());
        }
        if new.len() > old.len() {
            ranges.edit(old.len()..new.len(), |_| ());
        }
        if ranges.ranges.is_empty() {
            ranges.edit(STALE_AT..STALE_AT + 1, |_| ());
        }
        ranges.into()
    }

    /// Makes the change; the deadline of the key stays. A value that was changed is `raw`, as in Valkey, also a short
    /// one: overwriting a part of it makes it so.
    pub(super) fn make(self, engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) {
        match self {
            Change::Ranges(ranges) => {
                ranges.iter().for_each(|(offset, bytes)| engine.set_range(key, *offset as u64, bytes, env));
            }
            Change::Whole(value) => {
                engine.set(key, &value, ExpiryChange::Keep, env);
                if value.len() <= MAYBE_EMBEDDED_MAX {
                    engine.set_range(key, 0, &value[..1], env);
                }
            }
        }
    }
}
