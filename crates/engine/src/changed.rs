//! Which keys have changed, with their names, for an owner that reports changes to others: client-side caching.
//!
//! Off at first. While it is on, every effect that is performed notes its changed keys, whether it was executed or
//! applied. The owner takes them after each unit ([`Engine::clear_changed`](crate::Engine::clear_changed)); a unit that
//! is rolled back leaves none.

use crate::effect::EffectKeys;

/// Room for names that is kept between units, bytes.
const NAME_BYTES_KEPT: usize = 64 * 1024;

/// The names of changed keys, in the order of the changes. One that changed several times may appear several times.
#[derive(Debug, Default)]
pub struct ChangedKeys {
    pub(crate) is_on: bool,
    everything: bool,
    /// The names, one after the other; `ends` has where each ends.
    names: Vec<u8>,
    ends: Vec<usize>,
}

impl ChangedKeys {
    /// Whether every key has changed.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.everything && self.ends.is_empty()
    }

    /// The names; not all of them if [`ChangedKeys::is_everything`].
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.names[start..*end])
    }

    #[cold]
    pub(crate) fn note(&mut self, keys: EffectKeys<'_>) {
        if matches!(keys, EffectKeys::None) {
            self.everything = true;
        }
        if self.everything {
            return;
        }
        for key in keys.changed() {
            let before = self.ends.len().checked_sub(2).map_or(0, |at| self.ends[at]);
            let is_newest = self.ends.last().is_some_and(|end| &self.names[before..*end] == key.bytes);
            if !is_newest {
                self.names.extend_from_slice(key.bytes);
                self.ends.push(self.names.len());
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.everything = false;
        self.names.clear();
        self.names.shrink_to(NAME_BYTES_KEPT);
        self.ends.clear();
        self.ends.shrink_to(NAME_BYTES_KEPT / size_of::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Key;
    use fastness_types::slot_of;

    fn key(name: &str) -> Key<'_> {
        Key { bytes: name.as_bytes(), slot: slot_of(name.as_bytes()), hash: 0 }
    }

    fn names(changed: &ChangedKeys) -> Vec<&str> {
        changed.names().map(|name| std::str::from_utf8(name).unwrap_or("?")).collect()
    }

    #[test]
    fn names_are_noted_in_order() {
        let mut changed = ChangedKeys::default();
        for keys in [
            EffectKeys::One(key("a")),
            EffectKeys::One(key("a")),
            EffectKeys::One(key("")),
            EffectKeys::One(key("")),
            EffectKeys::Both(key("b"), key("c")),
            EffectKeys::From(key("x"), key("d")),
            EffectKeys::One(key("a")),
        ] {
            changed.note(keys);
        }
        assert_eq!(names(&changed), ["a", "", "b", "c", "d", "a"]);
        assert!(!changed.is_everything() && !changed.is_empty());
        changed.note(EffectKeys::None);
        changed.note(EffectKeys::One(key("e")));
        assert!(changed.is_everything() && !names(&changed).contains(&"e"));
        changed.clear();
        assert!(changed.is_empty());
    }
}
