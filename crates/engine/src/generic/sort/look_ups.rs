//! The keys that the patterns of BY and GET name, and their values.

use crate::codec::listpack::Packable;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::hash::Hash;
use crate::keyspace::{Keyspace, ValueRef};
use crate::notify::{Notifications, NotifyClasses};
use fastness_types::WallMs;
use fastness_types::limits::SORT_LOOK_UPS_MAX;

/// What patterns name is more than one command may read.
pub(super) const TOO_MANY_LOOK_UPS: CommandError =
    CommandError::Fixed("ERR SORT would read too many keys for BY and GET: use LIMIT, or fewer patterns");
/// So many bytes of a name, or of a packed hash that is searched, take about as long as a key is found.
const STEP_BYTES: usize = 256;

/// A pattern of BY or GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPattern<'a> {
    /// `#`: the element itself.
    Element,
    /// A text without `*`, which names no key.
    Constant,
    /// A text with `*`: the element takes the place of the first one.
    Named {
        /// The start of the name.
        before: &'a [u8],
        /// The end of the name.
        after: &'a [u8],
        /// The field, if the key is a hash: what follows `->`.
        field: Option<&'a [u8]>,
    },
}

impl<'a> KeyPattern<'a> {
    pub(super) fn parse(text: &'a [u8]) -> KeyPattern<'a> {
        if text == b"#" {
            return KeyPattern::Element;
        }
        let Some(place) = text.iter().position(|byte| *byte == b'*') else { return KeyPattern::Constant };
        let (before, after) = (&text[..place], &text[place + 1..]);
        let arrow = after.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < after.len());
        match arrow {
            Some(at) => KeyPattern::Named { before, after: &after[..at], field: Some(&after[at + 2..]) },
            None => KeyPattern::Named { before, after, field: None },
        }
    }

    /// Whether it gives every element the same place in the order.
    pub(super) fn is_constant(self) -> bool {
        !matches!(self, KeyPattern::Named { .. })
    }
}

/// Reads the values that patterns name, without a change of the data: an expired key is hidden and stays, and access
/// times stay as they are.
pub(super) struct LookUps<'e> {
    keyspace: &'e Keyspace,
    now: WallMs,
    /// The name of the last key.
    name: Vec<u8>,
    hits: u64,
    misses: u64,
    /// How many more keys may be read; one with a long name, and a field of a packed hash, count as several.
    pub(super) left: usize,
    /// The keys that do not exist; `None`: nobody wants to know.
    missed: Option<Notifications>,
}

impl<'e> LookUps<'e> {
    pub(super) fn new(engine: &'e Engine, now: WallMs) -> LookUps<'e> {
        let missed = engine.notifies(NotifyClasses::KEY_MISS).then(Notifications::default);
        let keyspace = engine.keyspace();
        LookUps { keyspace, now, name: Vec::new(), hits: 0, misses: 0, left: SORT_LOOK_UPS_MAX, missed }
    }

    /// Counts what is read of `bytes` bytes.
    fn spend(&mut self, bytes: usize) -> Result<(), CommandError> {
        self.left = self.left.checked_sub(1 + bytes / STEP_BYTES).ok_or(TOO_MANY_LOOK_UPS)?;
        Ok(())
    }

    /// How many keys were found, how many not, and which.
    pub(super) fn ended(self) -> (u64, u64, Option<Notifications>) {
        (self.hits, self.misses, self.missed)
    }

    /// The value for an element: that of a string, or of a field of a hash.
    ///
    /// # Errors
    /// [`TOO_MANY_LOOK_UPS`].
    pub(super) fn find(
        &mut self,
        pattern: &KeyPattern<'_>,
        element: Packable<'e>,
    ) -> Result<Option<Packable<'e>>, CommandError> {
        let (before, after, field) = match *pattern {
            KeyPattern::Element => return Ok(Some(element)),
            KeyPattern::Constant => return Ok(None),
            KeyPattern::Named { before, after, field } => (before, after, field),
        };
        self.name.clear();
        self.name.extend_from_slice(before);
        self.name.extend_from_slice(element.text(&mut itoa::Buffer::new()));
        self.name.extend_from_slice(after);
        self.spend(self.name.len())?;
        let keyspace = self.keyspace;
        let entry = keyspace.find(&keyspace.key(&self.name)).filter(|entry| !entry.is_expired(self.now));
        let Some(entry) = entry else {
            self.misses += 1;
            if let Some(missed) = &mut self.missed {
                missed.push(NotifyClasses::KEY_MISS, "keymiss", &self.name);
            }
            return Ok(None);
        };
        self.hits += 1;
        Ok(match (field, entry.value()) {
            (Some(field), value) => {
                if let ValueRef::Packed(packed) = value {
                    self.spend(packed.bytes.len())?;
                }
                Hash::of(value, self.now).and_then(|hash| hash.get(field)).map(Packable::Text)
            }
            (None, ValueRef::Int(number)) => Some(Packable::Int(number)),
            (None, value) => value.bytes().map(Packable::Text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let named = |text: &'static str| match KeyPattern::parse(text.as_bytes()) {
            KeyPattern::Named { before, after, field } => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(before), text(after), field.map(text))
            }
            other => panic!("{other:?}"),
        };
        let expected = |before: &str, after: &str, field: Option<&str>| {
            (before.to_owned(), after.to_owned(), field.map(str::to_owned))
        };
        assert_eq!(named("a*b"), expected("a", "b", None));
        assert_eq!(named("*"), expected("", "", None));
        assert_eq!(named("a**"), expected("a", "*", None));
        assert_eq!(named("a*b->c"), expected("a", "b", Some("c")));
        assert_eq!(named("a*->"), expected("a", "->", None));
        assert_eq!(named("a*->->c"), expected("a", "", Some("->c")));
        assert_eq!(named("a->b*c"), expected("a->b", "c", None));
        assert_eq!(KeyPattern::parse(b"#"), KeyPattern::Element);
        assert!([&b"#a"[..], b"", b"a->b"].map(KeyPattern::parse).iter().all(|one| *one == KeyPattern::Constant));
    }
}
