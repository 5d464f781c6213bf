//! Which keys have effects that may still be undone.
//!
//! A fixed array from a key's hash to the sequence of the last batch that changed a key with that hash, and one
//! sequence up to which *everything* counts as changed (FLUSHALL, a mode change, effects on keys that are not known).
//! Nothing is ever removed: a sequence at or below the committed one has no meaning any more. Deleted keys are covered,
//! because the array holds hashes, not keys; two keys that share a place only delay each other.
//!
//! Kept in every mode, so that a switch to `sync` finds what was staged before it. Belongs to one tenure as primary and
//! is dropped with it.

use fastness_types::{Plant, Seq};

/// Places in the array.
pub const DIRTY_PLACES: usize = 65_536;

/// The keys that one tenure has changed, by the batch of the last change.
pub struct DirtyKeys {
    places: Box<[Seq]>,
    everything: Seq,
}

impl DirtyKeys {
    /// Nothing is dirty.
    #[must_use]
    pub fn new() -> DirtyKeys {
        DirtyKeys { places: vec![Seq(0); DIRTY_PLACES].into_boxed_slice(), everything: Seq(0) }
    }

    /// A key with this hash is changed by the batch `seq`.
    #[inline]
    pub fn mark(&mut self, hash: u64, seq: Seq) {
        let place = &mut self.places[place(hash)];
        debug_assert!(*place <= seq, "sequences only grow");
        *place = seq;
    }

    /// The batch `seq` may have changed any key.
    pub fn mark_everything(&mut self, seq: Seq) {
        debug_assert!(self.everything <= seq, "sequences only grow");
        self.everything = seq;
    }

    /// The last batch that may have changed a key with this hash.
    #[inline]
    #[must_use]
    pub fn last_change(&self, hash: u64) -> Seq {
        if Plant::DirtyRead.is_on() {
            return Seq(0);
        }
        self.places[place(hash)].max(self.everything)
    }
}

/// The hash's upper bits: the lower ones choose the bucket in the engine's tables.
#[inline]
fn place(hash: u64) -> usize {
    (hash >> 48) as usize % DIRTY_PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_for_its_own_last_change_only() {
        let mut dirty = DirtyKeys::new();
        dirty.mark(1 << 48, Seq(3));
        dirty.mark(2 << 48, Seq(4));
        assert_eq!(dirty.last_change(1 << 48), Seq(3));
        assert_eq!(dirty.last_change(2 << 48), Seq(4));
        assert_eq!(dirty.last_change(3 << 48), Seq(0));
    }

    #[test]
    fn everything_covers_keys_that_were_never_marked() {
        let mut dirty = DirtyKeys::new();
        dirty.mark_everything(Seq(5));
        assert_eq!(dirty.last_change(9 << 48), Seq(5));
        dirty.mark(9 << 48, Seq(6));
        assert_eq!(dirty.last_change(9 << 48), Seq(6));
    }
}
