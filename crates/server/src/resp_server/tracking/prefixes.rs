//! Prefixes of keys whose changes are passed on whether anybody has read them or not: CLIENT TRACKING BCAST.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use fastness_types::limits::{TRACKING_PREFIX_BYTES_MAX, TRACKING_PREFIXES_MAX, TRACKING_PREFIXES_PER_CLIENT_MAX};

use super::client::PrefixSet;

/// What a prefix of a client takes beside its name, here and at the client, bytes.
const PREFIX_BYTES: usize = 256;
/// What a changed key takes beside its name, bytes.
const CHANGED_BYTES: usize = 96;

/// A bound of prefixes is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyPrefixes {
    /// [`TRACKING_PREFIX_BYTES_MAX`].
    #[error("ERR prefix is longer than {TRACKING_PREFIX_BYTES_MAX} bytes")]
    Long,
    /// [`TRACKING_PREFIXES_PER_CLIENT_MAX`].
    #[error("ERR too many prefixes of this connection")]
    OfClient,
    /// [`TRACKING_PREFIXES_MAX`].
    #[error("ERR too many prefixes on this node")]
    OfNode,
}

/// Changed keys, each with the connection that has changed it and has NOLOOP; 0: there is none, or several have.
pub(super) type ChangedNames = BTreeMap<Rc<[u8]>, u64>;

#[derive(Debug, Default)]
struct Prefix {
    clients: BTreeSet<u64>,
    changed: ChangedNames,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    prefixes: BTreeMap<Rc<[u8]>, Prefix>,
    /// Those with changed keys.
    with_changes: Vec<Rc<[u8]>>,
    /// Pairs of a prefix and a client.
    items: usize,
    bytes: usize,
    changed_bytes: usize,
}

impl Prefixes {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// What they take, with the changed keys.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.changed_bytes
    }

    /// What the changed keys take.
    pub(super) fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    /// Adds prefixes of a client. An error changes nothing.
    pub(super) fn enter(&mut self, client: u64, own: &PrefixSet, added: &[&[u8]]) -> Result<(), TooManyPrefixes> {
        let mut own = own.borrow_mut();
        let new: BTreeSet<&[u8]> = added.iter().copied().filter(|prefix| !own.contains(*prefix)).collect();
        if new.iter().any(|prefix| prefix.len() > TRACKING_PREFIX_BYTES_MAX) {
            return Err(TooManyPrefixes::Long);
        }
        if own.len() + new.len() > TRACKING_PREFIXES_PER_CLIENT_MAX {
            return Err(TooManyPrefixes::OfClient);
        }
        if self.items + new.len() > TRACKING_PREFIXES_MAX {
            return Err(TooManyPrefixes::OfNode);
        }
        for prefix in new {
            let name = self.prefixes.get_key_value(prefix).map_or_else(|| Rc::from(prefix), |(name, _)| name.clone());
            self.prefixes.entry(name.clone()).or_default().clients.insert(client);
            own.insert(name);
            self.items += 1;
            self.bytes += PREFIX_BYTES + prefix.len();
        }
        Ok(())
    }

    /// Removes all prefixes of a client.
    pub(super) fn leave(&mut self, client: u64, own: &PrefixSet) {
        for name in own.take() {
            self.items -= 1;
            self.bytes -= PREFIX_BYTES + name.len();
            let Some(prefix) = self.prefixes.get_mut(&name) else { continue };
            prefix.clients.remove(&client);
            if prefix.clients.is_empty() {
                self.changed_bytes -= bytes_of(&prefix.changed);
                self.prefixes.remove(&name);
            }
        }
    }

    /// Passes the prefixes that a key has to `each`, the longest first, until it returns `false`.
    fn each_of(&self, name: &[u8], mut each: impl FnMut(&Rc<[u8]>) -> bool) {
        let mut until = name;
        let up_to = |until| self.prefixes.range::<[u8], _>((Bound::Unbounded, Bound::Included(until))).next_back();
        while let Some((prefix, _)) = up_to(until) {
            let common = prefix.iter().zip(name).take_while(|(one, other)| one == other).count();
            let mut shorter = common;
            if common == prefix.len() {
                if !each(prefix) || common == 0 {
                    return;
                }
                shorter -= 1;
            }
            // Every other prefix of the key is a part of what it has in common with this one.
            until = &name[..shorter];
        }
    }

    /// Whether a key has any of them.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let mut is_any = false;
        if !self.prefixes.is_empty() {
            self.each_of(name, |_| {
                is_any = true;
                false
            });
        }
        is_any
    }

    /// A key has changed. `writer`: see [`ChangedNames`].
    pub(super) fn note(&mut self, name: &Rc<[u8]>, writer: u64) {
        let mut matching = Vec::new();
        self.each_of(name, |prefix| {
            matching.push(prefix.clone());
            true
        });
        for prefix in matching {
            let Some(Prefix { changed, .. }) = self.prefixes.get_mut(&prefix) else { continue };
            if changed.is_empty() {
                self.with_changes.push(prefix);
            }
            match changed.get_mut(name) {
                Some(known) if *known != writer => *known = 0,
                Some(_) => {}
                None => {
                    changed.insert(name.clone(), writer);
                    self.changed_bytes += CHANGED_BYTES + name.len();
                }
            }
        }
    }

    /// Takes the changed keys of all prefixes.
    pub(super) fn take_changed(&mut self) -> Vec<(Rc<[u8]>, ChangedNames)> {
        self.changed_bytes = 0;
        let with_changes = std::mem::take(&mut self.with_changes);
        let taken = with_changes.into_iter().filter_map(|name| {
            let changed = std::mem::take(&mut self.prefixes.get_mut(&name)?.changed);
            (!changed.is_empty()).then_some((name, changed))
        });
        taken.collect()
    }

    /// Forgets the changed keys.
    pub(super) fn forget_changed(&mut self) {
        drop(self.take_changed());
    }

    /// Passes clients of a prefix with numbers above `after` to `each`, at most `count`; returns the last number if
    /// there may be more.
    pub(super) fn visit(&self, prefix: &[u8], after: u64, count: usize, mut each: impl FnMut(u64)) -> Option<u64> {
        let Prefix { clients, .. } = self.prefixes.get(prefix)?;
        let (mut visited, mut last) = (0, after);
        for client in clients.range(after + 1..).take(count) {
            each(*client);
            (visited, last) = (visited + 1, *client);
        }
        (visited == count).then_some(last)
    }
}

fn bytes_of(changed: &ChangedNames) -> usize {
    changed.keys().map(|name| CHANGED_BYTES + name.len()).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn entered(all: &[&str]) -> (Prefixes, PrefixSet) {
        let (mut prefixes, own) = (Prefixes::default(), PrefixSet::default());
        let all: Vec<&[u8]> = all.iter().map(|prefix| prefix.as_bytes()).collect();
        prefixes.enter(1, &own, &all).unwrap();
        (prefixes, own)
    }

    fn of_key(prefixes: &Prefixes, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        prefixes.each_of(key.as_bytes(), |prefix| {
            found.push(String::from_utf8_lossy(prefix).into_owned());
            true
        });
        found
    }

    proptest! {
        #[test]
        fn the_prefixes_of_a_key_are_found(
            all in proptest::collection::btree_set("[ab]{0,4}", 0..10),
            key in "[abc]{0,6}",
        ) {
            let (prefixes, _) = entered(&all.iter().map(String::as_str).collect::<Vec<_>>());
            let mut expected: Vec<String> = all.into_iter().filter(|prefix| key.starts_with(prefix.as_str())).collect();
            expected.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
            prop_assert_eq!(prefixes.matches(key.as_bytes()), !expected.is_empty());
            prop_assert_eq!(of_key(&prefixes, &key), expected);
        }
    }

    #[test]
    fn changes_of_a_turn_are_noted_once() {
        let (mut prefixes, own) = entered(&["a", "b"]);
        for (name, writer) in [("a1", 7), ("a1", 7), ("a2", 7), ("a2", 8), ("c", 7), ("b", 0), ("b", 7)] {
            prefixes.note(&Rc::from(name.as_bytes()), writer);
        }
        let changed = prefixes.take_changed();
        let of = |at: usize| changed[at].1.iter().map(|(name, writer)| (name.to_vec(), *writer)).collect::<Vec<_>>();
        assert_eq!(of(0), [(b"a1".to_vec(), 7), (b"a2".to_vec(), 0)]);
        assert_eq!(of(1), [(b"b".to_vec(), 0)]);
        assert!(prefixes.take_changed().is_empty());
        prefixes.note(&Rc::from(&b"a"[..]), 0);
        prefixes.leave(1, &own);
        assert_eq!((prefixes.len(), prefixes.bytes()), (0, 0));
        assert!(prefixes.take_changed().is_empty());
    }

    #[test]
    fn bounds_are_checked_before_anything_is_added() {
        let (mut prefixes, own) = entered(&["a"]);
        let long = vec![b'x'; TRACKING_PREFIX_BYTES_MAX + 1];
        assert_eq!(prefixes.enter(1, &own, &[b"y", &long]), Err(TooManyPrefixes::Long));
        let many: Vec<String> = (0..TRACKING_PREFIXES_PER_CLIENT_MAX).map(|i| format!("p{i};")).collect();
        let many: Vec<&[u8]> = many.iter().map(|prefix| prefix.as_bytes()).collect();
        assert_eq!(prefixes.enter(1, &own, &many), Err(TooManyPrefixes::OfClient));
        assert_eq!(prefixes.len(), 1);
        assert_eq!(prefixes.enter(1, &own, &many[1..]), Ok(()));
        assert_eq!(prefixes.enter(1, &own, &[b"a"]), Ok(()), "it has that one");
        let mut client = 2;
        let refused = loop {
            if let Err(error) = prefixes.enter(client, &PrefixSet::default(), &many) {
                break error;
            }
            client += 1;
        };
        assert_eq!(refused, TooManyPrefixes::OfNode);
        assert_eq!(prefixes.items, (client - 1) as usize * TRACKING_PREFIXES_PER_CLIENT_MAX);
    }
}
