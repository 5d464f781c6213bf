//! Sorted sets of a keyspace against sorted maps, undoing, and the account of their memory.

use super::super::score::order_of;
use super::super::view::SortedSet;
use crate::keyspace::{ExpiryChange, Key, Keyspace};
use fastness_types::{HashSeed, Seq, WallMs};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: WallMs = WallMs(1_000);

/// Members with the bits of their scores.
type Scores = BTreeMap<Vec<u8>, u64>;

#[derive(Debug, Clone)]
enum Change {
    Set(Vec<(Vec<u8>, f64)>, bool),
    Remove(Vec<Vec<u8>>),
    RemoveRanks(usize, usize),
    Rename,
    Copy,
    Text,
    Unlink,
}

fn change() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![9 => "[a-h]{1,2}", 1 => "[a-z]{63,66}"].prop_map(String::into_bytes);
    let score = || {
        prop_oneof![
            6 => (-3i8..3).prop_map(f64::from),
            2 => any::<i32>().prop_map(|n| f64::from(n) / 8.0),
            1 => prop::sample::select(&[f64::INFINITY, f64::NEG_INFINITY, 0.0][..]),
        ]
    };
    let many = (0usize..200, 1usize..4)
        .prop_map(|(len, scores)| (0..len).map(|i| (format!("m{i}").into_bytes(), (i % scores) as f64)).collect());
    let members = prop_oneof![12 => prop::collection::vec((name(), score()), 1..4), 1 => many];
    let names = || prop::collection::vec(name(), 1..4);
    prop_oneof![
        8 => (members, prop::bool::weighted(0.1)).prop_map(|(members, table)| Change::Set(members, table)),
        4 => names().prop_map(Change::Remove),
        2 => (0usize..9, 0usize..40).prop_map(|(from, count)| Change::RemoveRanks(from, count)),
        1 => Just(Change::Rename),
        1 => Just(Change::Copy),
        1 => Just(Change::Text),
        1 => Just(Change::Unlink),
    ]
}

/// What the keyspace holds at a key, read in every way.
fn held(keyspace: &Keyspace, name: &[u8]) -> Option<Scores> {
    let set = SortedSet::of(keyspace.find(&keyspace.key(name))?.value())?;
    let members: Vec<(Vec<u8>, f64)> = set.iter().map(|(name, score)| (name.to_vec(), score)).collect();
    let places: Vec<(u64, &[u8])> = members.iter().map(|(name, score)| (order_of(*score), &name[..])).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(set.len(), members.len());
    for (rank, (name, score)) in members.iter().enumerate() {
        assert_eq!((set.score(name), set.rank(name)), (Some(*score), Some((rank, *score))));
    }
    let mut reversed: Vec<Vec<u8>> = set.range(0..set.len(), true).map(|(name, _)| name.to_vec()).collect();
    reversed.reverse();
    assert!(reversed.iter().eq(members.iter().map(|(name, _)| name)));
    Some(members.into_iter().map(|(name, score)| (name, score.to_bits())).collect())
}

fn apply(keyspace: &mut Keyspace, model: &mut BTreeMap<&[u8], Scores>, change: Change) {
    let (z, other) = (keyspace.key(b"z"), keyspace.key(b"other"));
    match change {
        Change::Set(members, to_table) => {
            let named: BTreeMap<&[u8], f64> = members.iter().map(|(name, score)| (&name[..], *score)).collect();
            keyspace.set_scores(&z, named.iter().map(|(name, score)| (*name, *score)), to_table, NOW);
            if !named.is_empty() {
                let scores = model.entry(b"z").or_default();
                scores.extend(named.into_iter().map(|(name, score)| (name.to_vec(), score.to_bits())));
            }
        }
        Change::Remove(gone) => remove(keyspace, model, &z, &gone),
        Change::RemoveRanks(from, count) => {
            let set = keyspace.find(&z).and_then(|entry| SortedSet::of(entry.value()));
            let names: Option<Vec<_>> =
                set.map(|set| set.range(from..from + count, false).map(|(name, _)| name.to_vec()).collect());
            remove(keyspace, model, &z, &names.unwrap_or_default());
        }
        Change::Rename => {
            keyspace.rename(&other, &z);
            if let Some(scores) = model.remove(&b"other"[..]) {
                model.insert(b"z", scores);
            }
        }
        Change::Copy => {
            keyspace.copy(&z, &other, NOW);
            if let Some(scores) = model.get(&b"z"[..]).cloned() {
                model.insert(b"other", scores);
            }
        }
        Change::Text => {
            keyspace.set(&other, b"text", ExpiryChange::Drop, NOW);
            keyspace.set_scores(&other, [(&b"a"[..], 1.0)].into_iter(), false, NOW);
            keyspace.remove_scores(&other, [&b"a"[..]].into_iter(), NOW);
            keyspace.unlink(&other);
            model.remove(&b"other"[..]);
        }
        Change::Unlink => {
            keyspace.unlink(&z);
            model.remove(&b"z"[..]);
        }
    }
}

fn remove(keyspace: &mut Keyspace, model: &mut BTreeMap<&[u8], Scores>, key: &Key<'_>, gone: &[Vec<u8>]) {
    if !gone.is_empty() {
        keyspace.remove_scores(key, gone.iter().map(Vec::as_slice), NOW);
    }
    let Some(scores) = model.get_mut(&b"z"[..]) else { return };
    gone.iter().for_each(|name| _ = scores.remove(name));
    if scores.is_empty() {
        model.remove(&b"z"[..]);
    }
}

fn check(keyspace: &Keyspace, model: &BTreeMap<&[u8], Scores>) {
    for name in [&b"z"[..], b"other"] {
        assert_eq!(held(keyspace, name).as_ref(), model.get(name));
    }
}

proptest! {
    #[test]
    fn sorted_sets_behave_like_sorted_maps(changes in prop::collection::vec(change(), 0..60)) {
        let mut keyspace = Keyspace::new(HashSeed([3; 16]));
        let empty = keyspace.account().bytes;
        let mut model: BTreeMap<&[u8], Scores> = BTreeMap::new();
        for change in changes {
            apply(&mut keyspace, &mut model, change);
            check(&keyspace, &model);
        }
        keyspace.unlink(&keyspace.key(b"z"));
        keyspace.unlink(&keyspace.key(b"other"));
        while keyspace.release(1_000) {}
        prop_assert_eq!(keyspace.account().bytes, empty, "all is given back");
    }

    #[test]
    fn changes_are_undone(
        before in prop::collection::vec(change(), 0..30),
        after in prop::collection::vec(change(), 0..30),
    ) {
        let mut keyspace = Keyspace::new(HashSeed([3; 16]));
        let mut model: BTreeMap<&[u8], Scores> = BTreeMap::new();
        before.into_iter().for_each(|change| apply(&mut keyspace, &mut model, change));
        keyspace.keep_undo(NOW, usize::MAX);
        let mut changed = model.clone();
        for (number, change) in after.into_iter().enumerate() {
            apply(&mut keyspace, &mut changed, change);
            keyspace.end_unit(Seq(1 + number as u64 / 3), NOW);
        }
        check(&keyspace, &changed);
        prop_assert_eq!(keyspace.undo(), Some(NOW));
        check(&keyspace, &model);
    }
}

#[test]
fn a_large_sorted_set_is_freed_in_slices() {
    let mut keyspace = Keyspace::new(HashSeed([3; 16]));
    let empty = keyspace.account().bytes;
    for way in ["unlinked", "replaced", "flushed"] {
        let names: Vec<String> = (0..20_000).map(|i| format!("member{i}")).collect();
        let key = keyspace.key(b"z");
        keyspace.set_scores(&key, names.iter().map(|name| (name.as_bytes(), 1.0)), false, NOW);
        let full = keyspace.account().bytes;
        match way {
            "unlinked" => keyspace.unlink(&key),
            "replaced" => keyspace.set(&key, b"v", ExpiryChange::Drop, NOW),
            _ => keyspace.clear(),
        }
        assert!(keyspace.account().bytes > full - 1_000, "{way}: nothing is freed at once");
        let mut steps = 0;
        while keyspace.release(64) {
            steps += 1;
        }
        assert!(steps > 50, "{way}: {steps} steps");
        keyspace.unlink(&key);
        assert_eq!(keyspace.account().bytes, empty, "{way}");
    }
}

/// No change of a large sorted set moves more than some entries and the marks of some nodes.
#[test]
fn growing_never_moves_much() {
    let mut keyspace = Keyspace::new(HashSeed([3; 16]));
    let key = keyspace.key(b"z");
    let mut moved = 0;
    for i in 0..50_000u64 {
        let name = format!("member{i}");
        let before = keyspace.account().bytes;
        keyspace.set_scores(&key, [(name.as_bytes(), (i * 7_919 % 1_009) as f64)].into_iter(), false, NOW);
        if i > 1_000 {
            moved = moved.max(keyspace.account().bytes.abs_diff(before));
        }
    }
    assert!(moved < 64 * 1024, "{moved} bytes were allocated for one member");
}
