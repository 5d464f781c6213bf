//! Which keys a watcher watches.

use std::collections::HashSet;

/// Keys and prefixes of keys, or every key.
#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    keys: HashSet<Box<[u8]>>,
    /// Sorted. None is a prefix of another one, so at most one of them is a prefix of a key: the last one that is not
    /// greater than the key.
    prefixes: Vec<Box<[u8]>>,
    is_all: bool,
}

impl ChangeFilter {
    /// Matches these keys, and keys with these prefixes. Neither: every key.
    #[must_use]
    pub fn new<'a>(
        keys: impl IntoIterator<Item = &'a [u8]>,
        prefixes: impl IntoIterator<Item = &'a [u8]>,
    ) -> ChangeFilter {
        let keys: HashSet<Box<[u8]>> = keys.into_iter().map(Box::from).collect();
        let mut prefixes: Vec<Box<[u8]>> = prefixes.into_iter().map(Box::from).collect();
        prefixes.sort_unstable();
        // A prefix sorts directly before all that it is a prefix of.
        prefixes.dedup_by(|next, kept| next.starts_with(kept));
        let is_all = keys.is_empty() && prefixes.is_empty();
        ChangeFilter { keys, prefixes, is_all }
    }

    /// Whether a key is watched.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        if self.is_all || self.keys.contains(key) {
            return true;
        }
        let after = self.prefixes.partition_point(|prefix| **prefix <= *key);
        after > 0 && key.starts_with(&self.prefixes[after - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_and_prefixes_are_matched() {
        let all = ChangeFilter::new([], []);
        assert!(all.matches(b"") && all.matches(b"a"));
        let some = ChangeFilter::new([&b"k"[..]], [&b"a:"[..], b"a:b", b"c"]);
        for (key, expect) in [("k", true), ("k1", false), ("", false), ("a", false), ("a:", true), ("a:bc", true)] {
            assert_eq!(some.matches(key.as_bytes()), expect, "{key}");
        }
        assert!(some.matches(b"cc") && !some.matches(b"b") && !some.matches(b"d"));
        assert!(ChangeFilter::new([], [&b""[..]]).matches(b"x"), "every key has the empty prefix");
    }

    proptest! {
        #[test]
        fn it_matches_as_a_list_of_prefixes_would(
            prefixes in prop::collection::vec("[ab]{0,4}", 1..8),
            keys in prop::collection::vec("[ab]{0,3}", 0..4),
            key in "[abc]{0,6}",
        ) {
            let filter = ChangeFilter::new(keys.iter().map(String::as_bytes), prefixes.iter().map(String::as_bytes));
            let expect = keys.contains(&key) || prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()));
            prop_assert_eq!(filter.matches(key.as_bytes()), expect);
        }
    }
}
