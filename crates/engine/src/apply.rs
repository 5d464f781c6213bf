//! Repeats effects: on replicas, and when a log is replayed.

use crate::effect::{DecodeError, Decoder, Effect};
use crate::engine::Engine;
use fastness_types::WallMs;

/// Why effects could not be applied. Fatal to the replica: what was applied before the fault stays.
pub type ApplyError = DecodeError;

impl Engine {
    /// Repeats the effects of one batch, staged at `stamp`. Asks no clock: keys past their deadline stay until the
    /// primary's UNLINK arrives, and are hidden from reads by [`Engine::newest_stamp`].
    ///
    /// # Errors
    /// Bytes that are not effects of this version.
    pub fn apply(&mut self, stamp: WallMs, effects: &[u8]) -> Result<(), ApplyError> {
        self.advance_stamp(stamp);
        let mut decoder = Decoder::new(effects);
        while let Some(effect) = decoder.next(|key| self.keyspace.key(key))? {
            self.perform(&effect, stamp);
        }
        self.release_some();
        Ok(())
    }

    /// Changes the data. Executing and applying both end here, and nothing else changes data.
    pub(crate) fn perform(&mut self, effect: &Effect<'_>, now: WallMs) {
        self.touch_watchers(effect, now);
        match *effect {
            Effect::Set { key, value, expiry } => self.keyspace.set(&key, value, expiry, now),
            Effect::Append { key, bytes } => self.keyspace.append(&key, bytes, now),
            Effect::SetRange { key, offset, bytes } => self.keyspace.set_range(&key, offset, bytes, now),
            Effect::Unlink { key } => drop(self.keyspace.remove(&key)),
            Effect::ExpireAt { key, at } => self.keyspace.set_expiry(&key, Some(at)),
            Effect::Persist { key } => self.keyspace.set_expiry(&key, None),
            Effect::FlushAll => self.keyspace.clear(),
            Effect::Rename { from, to } => self.keyspace.rename(&from, &to),
            Effect::Copy { from, to } => self.keyspace.copy(&from, &to, now),
        }
    }
}
