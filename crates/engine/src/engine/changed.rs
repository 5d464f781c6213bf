//! Noting which keys have changed.

use super::Engine;
use crate::changed::ChangedKeys;
use crate::effect::EffectKeys;

impl Engine {
    /// Whether names of changed keys are noted from now on.
    pub fn note_changes(&mut self, on: bool) {
        self.changed.is_on = on;
        self.changed.clear();
    }

    /// Whether names of changed keys are noted.
    #[inline]
    #[must_use]
    pub fn notes_changes(&self) -> bool {
        self.changed.is_on
    }

    /// The keys that have changed since [`Engine::clear_changed`].
    #[must_use]
    pub fn changed_keys(&self) -> &ChangedKeys {
        &self.changed
    }

    /// Forgets the noted names.
    pub fn clear_changed(&mut self) {
        self.changed.clear();
    }

    /// Notes the keys that an effect changes.
    #[inline]
    pub(super) fn note_changed(&mut self, keys: EffectKeys<'_>) {
        if self.changed.is_on {
            self.changed.note(keys);
        }
    }
}
