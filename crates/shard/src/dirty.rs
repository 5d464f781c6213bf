//! Which keys have uncommitted effects, and may therefore still be undone.
//!
//! A fixed-size array maps the hash of a key to the sequence of the last batch that changed a key with that hash. One
//! more sequence stands for *all* keys (FLUSHALL, a mode change, effects on unknown keys). Entries are never removed: a
//! sequence at or before the committed one means that the key is clean. Deleted keys are covered, because the array
//! stores hashes, not keys. Two keys with the same slot of the array at worst delay each other's replies.
//!
//! Maintained in every mode, so that after a switch to `sync` it covers what was staged before. It belongs to one
//! tenure as primary and is dropped with it.

use fastness_types::{Plant, Seq};

/// Length of the array.
pub const DIRTY_PLACES: usize = 65_536;

/// The keys that one tenure has changed, with the batch of the last change.
pub struct DirtyKeys {
    places: Box<[Seq]>,
    everything: Seq,
}

impl DirtyKeys {
    /// All keys are clean.
    #[must_use]
    pub fn new() -> DirtyKeys {
        DirtyKeys { places: vec![Seq(0); DIRTY_PLACES].into_boxed_slice(), everything: Seq(0) }
    }

    /// Records that batch `seq` changes a key with this hash.
    #[inline]
    pub fn mark(&mut self, hash: u64, seq: Seq) {
        let place = &mut self.places[place(hash)];
        debug_assert!(*place <= seq, "sequences only grow");
        *place = seq;
    }

    /// Records that batch `seq` may change any key.
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

/// Uses the upper bits of the hash, because the engine's tables use the lower ones.
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
