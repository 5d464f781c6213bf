//! Sets of a keyspace against sorted sets of the library, and the account of their memory.

use super::super::packed::SetForm;
use super::super::{Set, SetMember};
use crate::keyspace::{ExpiryChange, Keyspace, PackedLimits};
use fastness_types::{HashSeed, Seq, WallMs};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: WallMs = WallMs(1_000);

type Members = BTreeSet<Vec<u8>>;

#[derive(Debug, Clone)]
enum Change {
    Add(Vec<Vec<u8>>, SetForm),
    Remove(Vec<Vec<u8>>),
    KeepFew(Vec<Vec<u8>>),
    Rename,
    Copy,
    Text,
    Unlink,
}

fn change() -> impl Strategy<Value = Change> {
    let member = || {
        prop_oneof![
            6 => (-9i64..9).prop_map(|number| number.to_string()),
            1 => prop_oneof![Just(40_000), Just(-40_000), Just(i64::MAX), Just(i64::MIN)].prop_map(|n| n.to_string()),
            6 => "[a-h]",
            1 => "0[0-9]",
            1 => "[a-z]{63,66}",
        ]
        .prop_map(String::into_bytes)
    };
    // Around the thresholds.
    let numbers = (0usize..600, any::<bool>()).prop_map(|(len, texts)| {
        let name = |i: usize| if texts { format!("m{i}") } else { i.to_string() };
        (0..len).map(|i| name(i).into_bytes()).collect::<Vec<_>>()
    });
    let around = (120usize..134).prop_map(|len| (0..len).map(|i| format!("m{i}").into_bytes()).collect::<Vec<_>>());
    let few = move || prop::collection::vec(member(), 1..4);
    let members = prop_oneof![12 => few(), 1 => numbers, 1 => around];
    let form = prop_oneof![6 => Just(SetForm::Ints), 1 => Just(SetForm::Texts), 1 => Just(SetForm::Table)];
    let most = (0usize..600).prop_map(|len| {
        (0..len).flat_map(|i| [i.to_string().into_bytes(), format!("m{i}").into_bytes()]).collect::<Vec<_>>()
    });
    prop_oneof![
        8 => (members, form).prop_map(|(members, form)| Change::Add(members, form)),
        4 => few().prop_map(Change::Remove),
        1 => most.clone().prop_map(Change::Remove),
        1 => most.prop_map(Change::KeepFew),
        1 => Just(Change::Rename),
        1 => Just(Change::Copy),
        1 => Just(Change::Text),
        1 => Just(Change::Unlink),
    ]
}

fn set_of<'k>(keyspace: &'k Keyspace, name: &[u8]) -> Option<Set<'k>> {
    Set::of(keyspace.find(&keyspace.key(name))?.value())
}

/// What the keyspace holds at a key; its form can hold it.
fn held(keyspace: &Keyspace, name: &[u8]) -> Option<Members> {
    let set = set_of(keyspace, name)?;
    let members: Members = set.iter().map(SetMember::to_vec).collect();
    assert_eq!((set.len(), set.iter().count()), (members.len(), members.len()), "each once");
    assert!(members.iter().all(|member| set.has(SetMember::Text(member))));
    assert!(!set.has(SetMember::Text(b"nosuch")) && !set.has(SetMember::Int(77_777)));
    let limits = PackedLimits::default();
    let fits = set.form().for_len(members.len(), limits) == set.form();
    match set.form() {
        SetForm::Ints => {
            assert!(fits && set.iter().all(|member| member.integer().is_some()));
        }
        SetForm::Texts => assert!(fits && members.iter().all(|m| m.len() as u64 <= limits.set_text)),
        SetForm::Table => {}
    }
    Some(members)
}

fn take_out(model: &mut BTreeMap<&[u8], Members>, gone: &[Vec<u8>]) {
    let Some(members) = model.get_mut(&b"s"[..]) else { return };
    gone.iter().for_each(|member| _ = members.remove(member));
    if members.is_empty() {
        model.remove(&b"s"[..]);
    }
}

fn apply(keyspace: &mut Keyspace, model: &mut BTreeMap<&[u8], Members>, change: Change) {
    let (s, other) = (keyspace.key(b"s"), keyspace.key(b"other"));
    match change {
        Change::Add(added, least) => {
            keyspace.add_members(&s, added.iter().map(Vec::as_slice), least, NOW);
            if !added.is_empty() {
                assert!(set_of(keyspace, b"s").is_some_and(|set| set.form() >= least));
                model.entry(b"s").or_default().extend(added);
            }
        }
        Change::Remove(gone) => {
            keyspace.remove_members(&s, gone.iter().map(Vec::as_slice), NOW);
            take_out(model, &gone);
        }
        Change::KeepFew(gone) => {
            keyspace.keep_few_members(&s, gone.iter().map(Vec::as_slice), NOW);
            take_out(model, &gone);
        }
        Change::Rename => {
            keyspace.rename(&other, &s);
            if let Some(members) = model.remove(&b"other"[..]) {
                model.insert(b"s", members);
            }
        }
        Change::Copy => {
            keyspace.copy(&s, &other, NOW);
            if let Some(members) = model.get(&b"s"[..]).cloned() {
                model.insert(b"other", members);
            }
        }
        Change::Text => {
            keyspace.set(&other, b"text", ExpiryChange::Drop, NOW);
            keyspace.unlink(&other);
            model.remove(&b"other"[..]);
        }
        Change::Unlink => {
            keyspace.unlink(&s);
            model.remove(&b"s"[..]);
        }
    }
}

/// Members and form of both keys.
fn seen(keyspace: &Keyspace) -> Vec<Option<(Members, SetForm)>> {
    let seen = |name: &[u8]| Some((held(keyspace, name)?, set_of(keyspace, name)?.form()));
    [&b"s"[..], b"other"].map(seen).to_vec()
}

proptest! {
    #[test]
    fn sets_behave_like_sorted_sets(changes in prop::collection::vec(change(), 0..60)) {
        let mut keyspace = Keyspace::new(HashSeed([3; 16]));
        let empty = keyspace.account().bytes;
        let mut model: BTreeMap<&[u8], Members> = BTreeMap::new();
        for change in changes {
            apply(&mut keyspace, &mut model, change);
            for name in [&b"s"[..], b"other"] {
                let held = held(&keyspace, name);
                prop_assert_eq!(held.as_ref(), model.get(name));
            }
        }
        keyspace.unlink(&keyspace.key(b"s"));
        keyspace.unlink(&keyspace.key(b"other"));
        while keyspace.release(1_000) {}
        prop_assert_eq!(keyspace.account().bytes, empty, "all is given back");
    }

    #[test]
    fn changes_are_undone(before in prop::collection::vec(change(), 0..20), after in prop::collection::vec(change(), 0..20)) {
        let mut keyspace = Keyspace::new(HashSeed([3; 16]));
        let empty = keyspace.account().bytes;
        let mut model: BTreeMap<&[u8], Members> = BTreeMap::new();
        before.into_iter().for_each(|change| apply(&mut keyspace, &mut model, change));
        while keyspace.release(1_000) {}
        let shown = seen(&keyspace);
        keyspace.keep_undo(NOW, usize::MAX);
        after.into_iter().for_each(|change| apply(&mut keyspace, &mut model, change));
        keyspace.end_unit(Seq(1), NOW);
        prop_assert_eq!(keyspace.undo(), Some(NOW));
        while keyspace.release(1_000) {}
        prop_assert_eq!(seen(&keyspace), shown);
        keyspace.unlink(&keyspace.key(b"s"));
        keyspace.unlink(&keyspace.key(b"other"));
        while keyspace.release(1_000) {}
        prop_assert_eq!(keyspace.account().bytes, empty, "all is given back");
    }
}

#[test]
fn a_large_set_is_freed_in_slices() {
    let mut keyspace = Keyspace::new(HashSeed([3; 16]));
    let empty = keyspace.account().bytes;
    for way in ["unlinked", "replaced", "flushed", "packed"] {
        let members: Vec<String> = (0..20_000).map(|i| format!("member{i}")).collect();
        let slices = || members.iter().map(String::as_bytes);
        let key = keyspace.key(b"s");
        keyspace.add_members(&key, slices(), SetForm::Ints, NOW);
        let full = keyspace.account().bytes;
        match way {
            "unlinked" => keyspace.unlink(&key),
            "replaced" => keyspace.set(&key, b"v", ExpiryChange::Drop, NOW),
            "packed" => keyspace.keep_few_members(&key, slices().skip(100), NOW),
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

/// No command waits for a table that grows: one insertion moves the entries of one bucket.
#[test]
fn growing_moves_few_members_at_a_time() {
    let mut keyspace = Keyspace::new(HashSeed([3; 16]));
    let key = keyspace.key(b"s");
    let before = |keyspace: &Keyspace| match set_of(keyspace, b"s") {
        Some(Set::Table(table)) => table.moved(),
        _ => 0,
    };
    for i in 0..50_000 {
        let moved = before(&keyspace);
        keyspace.add_members(&key, [format!("member{i}").as_bytes()].into_iter(), SetForm::Ints, NOW);
        if i > 200 {
            assert!(before(&keyspace) - moved <= 40, "member {i}: {} moved", before(&keyspace) - moved);
        }
    }
}
