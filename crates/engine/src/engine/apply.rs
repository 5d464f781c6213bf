//! Applies effects: on replicas, and when a log is replayed.

use super::Engine;
use crate::effect::{DecodeError, Decoder, Effect, TypeEffect};
use crate::keyspace::Key;
use fastness_types::WallMs;
use smallvec::SmallVec;

/// Effects that are decoded and prefetched together before the first of them is performed.
const WINDOW: usize = 16;

/// Why effects could not be applied. Fatal to the replica; effects before the faulty one stay applied.
pub type ApplyError = DecodeError;

impl Engine {
    /// Applies effects that were staged at `timestamp`, of one or many units; prefetching is more effective with many.
    /// Does not expire keys: those past their deadline stay until the primary's UNLINK arrives, and
    /// [`Engine::newest_timestamp`] hides them from reads.
    ///
    /// # Errors
    /// Bytes that are not effects of this version.
    pub fn apply(&mut self, timestamp: WallMs, effects: &[u8]) -> Result<(), ApplyError> {
        self.advance_timestamp(timestamp);
        let mut decoder = Decoder::new(effects);
        let mut window: SmallVec<[Effect<'_>; WINDOW]> = SmallVec::new();
        loop {
            let decoded = self.decode_window(&mut decoder, &mut window);
            for effect in window.drain(..) {
                self.perform(&effect, timestamp);
            }
            self.release_some();
            if decoded? {
                break;
            }
        }
        Ok(())
    }

    /// Decodes the next effects into the window and prefetches what they touch; returns whether these were the last. On
    /// an error the window has the effects before the faulty one.
    fn decode_window<'a>(
        &self,
        decoder: &mut Decoder<'a>,
        window: &mut SmallVec<[Effect<'a>; WINDOW]>,
    ) -> Result<bool, ApplyError> {
        let mut at_end = false;
        while window.len() < WINDOW && !at_end {
            match decoder.next(|key| self.keyspace.key(key))? {
                Some(effect) => window.push(effect),
                None => at_end = true,
            }
        }
        let keys: SmallVec<[Key<'_>; WINDOW]> = window.iter().filter_map(|effect| effect.keys().first()).collect();
        self.prefetch(keys.iter());
        Ok(at_end)
    }

    /// Changes the data. Both executing and applying call this, and nothing else changes data except
    /// `Engine::set_long`, which does the same steps.
    #[inline]
    pub(crate) fn perform(&mut self, effect: &Effect<'_>, now: WallMs) {
        self.announce(effect, now);
        effect.perform(&mut self.keyspace, now);
    }

    /// Informs watches, whoever follows changed keys, and an image in progress before memory changes.
    pub(crate) fn announce(&mut self, effect: &Effect<'_>, now: WallMs) {
        self.watchers.before(effect, &self.keyspace, now);
        self.note_changed(effect.keys());
        if self.image.is_some() {
            self.image_before(effect);
        }
    }
}
