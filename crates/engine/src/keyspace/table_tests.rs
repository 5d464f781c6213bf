//! Tests of `super::table`: against a naive model, of scans while it changes, and of what one operation costs.

use super::budget::FreeBudget;
use super::entry::{Entry, NewValue};
use super::memory::Account;
use super::table::EntryTable;
use proptest::prelude::*;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

fn hash(key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&[3; 16]);
    hasher.write(key);
    hasher.finish()
}

/// A table with its account.
#[derive(Default)]
struct Bench {
    table: EntryTable,
    account: Account,
}

impl Bench {
    fn insert(&mut self, key: u32) {
        let bytes = key.to_le_bytes();
        self.insert_hashed(hash(&bytes), key, hash);
    }

    fn insert_hashed(&mut self, hash: u64, key: u32, hash_of: impl Fn(&[u8]) -> u64) {
        let entry = Entry::new(&key.to_le_bytes(), NewValue::Int(i64::from(key)), None, 0);
        self.table.insert(hash, entry, &mut self.account, hash_of);
    }

    fn remove(&mut self, key: u32) -> bool {
        let bytes = key.to_le_bytes();
        self.table.remove(hash(&bytes), &bytes, &mut self.account).is_some()
    }

    fn has(&self, key: u32) -> bool {
        let bytes = key.to_le_bytes();
        self.table.find(hash(&bytes), &bytes).is_some()
    }

    fn keys(&self) -> BTreeSet<u32> {
        let keys: Vec<u32> = self.table.iter().map(key_of).collect();
        let set: BTreeSet<u32> = keys.iter().copied().collect();
        assert_eq!(set.len(), keys.len(), "visited twice");
        set
    }
}

fn key_of(entry: &Entry) -> u32 {
    u32::from_le_bytes(entry.key().try_into().unwrap())
}

proptest! {
    #[test]
    fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..300), 0..2_000)) {
        let mut bench = Bench::default();
        let mut model = BTreeSet::new();
        for (add, key) in steps {
            if add && !bench.has(key) {
                bench.insert(key);
                model.insert(key);
            } else if !add {
                prop_assert_eq!(bench.remove(key), model.remove(&key));
            }
            prop_assert_eq!(bench.table.len(), model.len());
        }
        prop_assert_eq!(bench.keys(), model.clone());
        prop_assert!((0..300).all(|key| bench.has(key) == model.contains(&key)));
    }

    #[test]
    fn a_scan_finds_all_that_stays(
        start in 0u32..600,
        steps in prop::collection::vec((any::<bool>(), 0u32..2_000), 0..1_500),
        every in 1usize..8,
    ) {
        // Keys below `start` stay; the others come and go between the scan's steps.
        let mut bench = Bench::default();
        (0..start).for_each(|key| bench.insert(key));
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        let mut steps = steps.chunks(every);
        loop {
            cursor = bench.table.scan(cursor, |entry| {
                seen.insert(key_of(entry));
            });
            if cursor == 0 {
                break;
            }
            for &(add, key) in steps.next().unwrap_or(&[]) {
                let key = key + start;
                if add && !bench.has(key) {
                    bench.insert(key);
                } else if !add {
                    bench.remove(key);
                }
            }
        }
        prop_assert!((0..start).all(|key| seen.contains(&key)));
    }

    #[test]
    fn any_cursor_is_safe(keys in 0u32..200, cursor in any::<u64>()) {
        let mut bench = Bench::default();
        (0..keys).for_each(|key| bench.insert(key));
        let mut cursor = cursor;
        for _ in 0..keys + 2 {
            cursor = bench.table.scan(cursor, |_| ());
        }
    }

    #[test]
    fn equal_hashes_are_told_apart(count in 1u32..60) {
        // All in one bucket with one tag: only the key decides, and chains are long.
        let mut bench = Bench::default();
        (0..count).for_each(|key| bench.insert_hashed(5, key, |_| 5));
        for key in (0..count).step_by(2) {
            prop_assert_eq!(key_of(&bench.table.remove(5, &key.to_le_bytes(), &mut bench.account).unwrap()), key);
        }
        let left: BTreeSet<u32> = (0..count).filter(|key| key % 2 == 1).collect();
        prop_assert_eq!(bench.keys(), left);
    }
}

/// The only entry of a chain's last bucket goes: the bucket goes with it.
#[test]
fn an_empty_bucket_does_not_stay_in_its_chain() {
    let mut bench = Bench::default();
    let keys = 0..8u32;
    keys.clone().for_each(|key| bench.insert_hashed(5, key, |_| 5));
    for key in keys.rev() {
        assert!(bench.table.remove(5, &key.to_le_bytes(), &mut bench.account).is_some());
    }
    assert_eq!(bench.account.bytes, 0, "everything was given back");
}

#[test]
fn no_insert_and_no_removal_moves_much() {
    const KEYS: u32 = 1_000_000;
    // With near certainty, the fuller buckets of a table of this size have at most this many entries.
    const MOVED_MAX: u64 = 40;
    let mut bench = Bench::default();
    let mut most = 0;
    let mut total = 0;
    let mut count = |bench: &Bench, before: u64| {
        most = most.max(bench.account.moved - before);
        total += bench.account.moved - before;
    };
    for key in 0..KEYS {
        let before = bench.account.moved;
        bench.insert(key);
        count(&bench, before);
    }
    assert!(bench.keys().len() == KEYS as usize);
    for key in 0..KEYS {
        let before = bench.account.moved;
        assert!(bench.remove(key));
        count(&bench, before);
    }
    assert!(most <= MOVED_MAX, "one operation moved {most} entries");
    assert!(total <= 5 * u64::from(KEYS), "{total} moves");
    assert_eq!(bench.account.bytes, 0, "everything was given back");
}

#[test]
fn no_allocation_is_large() {
    // A directory of pointers (16 bytes each) and blocks of buckets (64 bytes): both grow with the square root.
    let mut bench = Bench::default();
    let mut largest = 0;
    for key in 0..500_000u32 {
        let before = bench.account.bytes;
        bench.insert(key);
        largest = largest.max(bench.account.bytes.saturating_sub(before));
    }
    assert!(largest <= 128 * 1024, "{largest} bytes at once");
}

#[test]
fn all_entries_are_equally_likely() {
    const KEYS: u32 = 50;
    const DRAWS: u32 = 100_000;
    let mut bench = Bench::default();
    (0..KEYS).for_each(|key| bench.insert(key));
    let mut state = 1u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(state) * u128::from(bound)) >> 64) as u64
    };
    let mut drawn: BTreeMap<u32, u32> = BTreeMap::new();
    for _ in 0..DRAWS {
        *drawn.entry(key_of(bench.table.random(&mut below).unwrap())).or_default() += 1;
    }
    let expected = DRAWS / KEYS;
    assert_eq!(drawn.len(), KEYS as usize);
    assert!(drawn.values().all(|n| n.abs_diff(expected) < expected / 5), "{drawn:?}");
}

#[test]
fn dismantling_frees_everything() {
    let mut bench = Bench::default();
    (0..10_000).for_each(|key| bench.insert(key));
    let mut slices = 0;
    while bench.table.buckets() > 0 {
        bench.table.dismantle(&mut FreeBudget::new(64), &mut bench.account, |entry, _| drop(entry));
        slices += 1;
    }
    assert!(slices > 10);
    assert_eq!(bench.account.bytes, 0);
    assert!(bench.table.is_empty());
}
