//! Tests of `super::slots`: all operations against a naive model, the account, deadlines, scans over slots.

use super::{ExpiryChange, Keyspace};
use crate::random::Random;
use crate::testing::Counter;
use fastness_types::{HashSeed, SLOTS, Slot, WallMs, slot_of};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: WallMs = WallMs(1_000_000);

#[derive(Debug, Clone)]
enum Step {
    Set(u8, Vec<u8>, Option<u64>, bool),
    Append(u8, Vec<u8>),
    SetRange(u8, u16, Vec<u8>),
    Remove(u8),
    Expiry(u8, Option<u64>),
    Rename(u8, u8),
    Copy(u8, u8),
    Clear,
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..40;
    let text = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..150),
            any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 900..1_200),
        ]
    };
    let at = || prop::option::of(0u64..50);
    prop_oneof![
        8 => (key(), text(), at(), any::<bool>()).prop_map(|(key, text, at, keep)| Step::Set(key, text, at, keep)),
        3 => (key(), text()).prop_map(|(key, text)| Step::Append(key, text)),
        2 => (key(), 0u16..2_000, text()).prop_map(|(key, offset, text)| Step::SetRange(key, offset, text)),
        4 => key().prop_map(Step::Remove),
        4 => (key(), at()).prop_map(|(key, at)| Step::Expiry(key, at)),
        2 => (key(), key()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (key(), key()).prop_map(|(from, to)| Step::Copy(from, to)),
        1 => Just(Step::Clear),
        1 => Just(Step::Release),
    ]
}

/// Keys of a few slots, so that slots have several.
fn key_bytes(key: u8) -> Vec<u8> {
    format!("{{{}}}:{key}", key % 5).into_bytes()
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn run(keyspace: &mut Keyspace, model: &mut Model, step: &Step) {
    let bytes = |key: &u8| key_bytes(*key);
    match step {
        Step::Set(key, text, at, keep) => {
            let key = bytes(key);
            let expiry = match (at, keep) {
                (Some(at), _) => ExpiryChange::At(WallMs(*at)),
                (None, true) => ExpiryChange::Keep,
                (None, false) => ExpiryChange::Drop,
            };
            keyspace.set(&keyspace.key(&key), text, expiry, NOW);
            let old = model.get(&key).and_then(|(_, at)| *at);
            model.insert(key, (text.clone(), if at.is_none() && *keep { old } else { *at }));
        }
        Step::Append(key, text) => {
            let key = bytes(key);
            keyspace.append(&keyspace.key(&key), text, NOW);
            model.entry(key).or_default().0.extend_from_slice(text);
        }
        Step::SetRange(key, offset, text) => {
            let (key, offset) = (bytes(key), usize::from(*offset));
            keyspace.set_range(&keyspace.key(&key), offset as u64, text, NOW);
            let held = &mut model.entry(key).or_default().0;
            held.resize(held.len().max(offset + text.len()), 0);
            held[offset..offset + text.len()].copy_from_slice(text);
        }
        Step::Remove(key) => {
            let key = bytes(key);
            let removed = keyspace.remove(&keyspace.key(&key)).is_some();
            assert_eq!(removed, model.remove(&key).is_some());
        }
        Step::Expiry(key, at) => {
            let key = bytes(key);
            keyspace.set_expiry(&keyspace.key(&key), at.map(WallMs));
            if let Some(held) = model.get_mut(&key) {
                held.1 = *at;
            }
        }
        Step::Rename(from, to) => {
            let (from, to) = (bytes(from), bytes(to));
            keyspace.rename(&keyspace.key(&from), &keyspace.key(&to));
            if let Some(held) = model.remove(&from) {
                model.insert(to, held);
            }
        }
        Step::Copy(from, to) => {
            let (from, to) = (bytes(from), bytes(to));
            keyspace.copy(&keyspace.key(&from), &keyspace.key(&to), NOW);
            if let Some(held) = model.get(&from).cloned() {
                model.insert(to, held);
            }
        }
        Step::Clear => {
            keyspace.clear();
            model.clear();
        }
        Step::Release => {
            keyspace.release(3);
        }
    }
}

fn check(keyspace: &Keyspace, model: &Model) {
    let mut buffer = itoa::Buffer::new();
    let held: Model = keyspace
        .iter()
        .map(|entry| {
            let text = entry.value().text(&mut buffer).unwrap().to_vec();
            (entry.key().to_vec(), (text, entry.deadline().map(|at| at.0)))
        })
        .collect();
    assert_eq!(&held, model);
    assert_eq!(keyspace.len(), model.len() as u64);
    assert_eq!(keyspace.len_with_deadline(), model.values().filter(|(_, at)| at.is_some()).count() as u64);
    assert_eq!(keyspace.first_deadline().map(|at| at.0), model.values().filter_map(|(_, at)| *at).min());
    for key in model.keys() {
        assert_eq!(keyspace.find(&keyspace.key(key)).unwrap().key(), key);
    }
    let in_slots: usize = (0..SLOTS as u16).map(|slot| keyspace.len_in_slot(Slot(slot))).sum();
    assert_eq!(in_slots, model.len());
    let occupied: BTreeSet<Slot> = model.keys().map(|key| slot_of(key)).collect();
    assert_eq!(keyspace.occupied().collect::<BTreeSet<_>>(), occupied);
}

proptest! {
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec(step(), 0..300)) {
        let mut keyspace = Keyspace::new(HashSeed([1; 16]));
        let empty = keyspace.account().bytes;
        let mut model = Model::new();
        for step in &steps {
            run(&mut keyspace, &mut model, step);
        }
        check(&keyspace, &model);
        // The earliest deadlines come first, and emptying it gives all memory back.
        let mut last = 0;
        while let Some(entry) = keyspace.next_due(WallMs(u64::MAX)) {
            let (key, at) = (entry.key().to_vec(), entry.deadline().unwrap().0);
            prop_assert!(at >= last);
            last = at;
            keyspace.remove(&keyspace.key(&key));
        }
        for key in model.keys() {
            keyspace.remove(&keyspace.key(key));
        }
        prop_assert_eq!(keyspace.len(), 0);
        while keyspace.release(100) {}
        prop_assert_eq!(keyspace.account().bytes, empty);
    }
}

fn filled(keys: u32) -> Keyspace {
    let mut keyspace = Keyspace::new(HashSeed([2; 16]));
    for key in 0..keys {
        let key = format!("key:{key}");
        keyspace.set(&keyspace.key(key.as_bytes()), b"value", ExpiryChange::Drop, NOW);
    }
    keyspace
}

#[test]
fn a_scan_visits_every_key_of_every_slot() {
    let keyspace = filled(20_000);
    let mut seen = BTreeSet::new();
    let (mut cursor, mut calls) = (0, 0);
    loop {
        let before = seen.len();
        cursor = keyspace.scan(cursor, 10, |entry| {
            seen.insert(entry.key().to_vec());
        });
        calls += 1;
        assert!(seen.len() - before < 10 + 40, "bounded work");
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 20_000);
    assert!(calls > 500);
}

#[test]
fn any_cursor_ends() {
    let keyspace = filled(1_000);
    for cursor in [1, 16_383, 16_384, u64::MAX, u64::MAX >> 14, 0x8000_0000_0000_0000] {
        let (mut cursor, mut calls) = (cursor, 0);
        while calls == 0 || cursor != 0 {
            cursor = keyspace.scan(cursor, 1, |_| ());
            calls += 1;
            assert!(calls < 10_000);
        }
    }
    assert_eq!(Keyspace::new(HashSeed([0; 16])).scan(0, 10, |_| unreachable!()), 0);
}

#[test]
fn random_keys_come_from_everywhere() {
    let keyspace = filled(200);
    let mut random = Counter(3);
    let drawn: BTreeSet<Vec<u8>> = (0..5_000).map(|_| keyspace.random(&mut random).unwrap().key().to_vec()).collect();
    assert_eq!(drawn.len(), 200);
    assert!(Keyspace::new(HashSeed([0; 16])).random(&mut random).is_none());
    assert!((0..1_000).all(|_| random.below(7) < 7));
}

#[test]
fn a_deadline_is_due_once_it_has_passed() {
    let mut keyspace = Keyspace::new(HashSeed([0; 16]));
    keyspace.set(&keyspace.key(b"k"), b"v", ExpiryChange::At(WallMs(100)), NOW);
    assert!(keyspace.next_due(WallMs(100)).is_none(), "its last millisecond");
    assert_eq!(keyspace.next_due(WallMs(101)).unwrap().key(), b"k");
}

#[test]
fn memory_per_key_is_at_most_valkeys() {
    // Valkey 9.1.2: 163.2 bytes per key, the same keys and values.
    const KEYS: u32 = 1_000_000;
    let mut keyspace = Keyspace::new(HashSeed([9; 16]));
    for key in 0..KEYS {
        let key = format!("key:{key:012}");
        keyspace.set(&keyspace.key(key.as_bytes()), &[b'x'; 100], ExpiryChange::Drop, NOW);
    }
    let per_key = keyspace.account().bytes as f64 / f64::from(KEYS);
    assert!(per_key <= 163.0, "{per_key:.1} bytes per key");
}
