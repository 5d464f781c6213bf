//! Hashes of a keyspace against sorted maps, and the account of their memory.

use super::super::view::Hash;
use crate::keyspace::{ExpiryChange, Keyspace};
use fastness_types::{HashSeed, WallMs};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: WallMs = WallMs(1_000);

type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<WallMs>)>;

#[derive(Debug, Clone)]
enum Change {
    Set(Vec<(Vec<u8>, Vec<u8>)>, ExpiryChange),
    Remove(Vec<Vec<u8>>),
    Expire(Option<WallMs>, Vec<Vec<u8>>),
    Rename,
    Copy,
    Text,
    Unlink,
}

fn change() -> impl Strategy<Value = Change> {
    let field = || prop_oneof![9 => "[a-h]", 1 => "[a-z]{63,66}"].prop_map(String::into_bytes);
    let value = || prop_oneof![4 => "[a-z]{0,9}", 1 => "[a-z]{60,90}"].prop_map(String::into_bytes);
    let deadline = || (0u64..50).prop_map(WallMs);
    let expiry = prop_oneof![
        4 => Just(ExpiryChange::Drop),
        1 => Just(ExpiryChange::Keep),
        1 => deadline().prop_map(ExpiryChange::At),
    ];
    let many = (0usize..600).prop_map(|len| (0..len).map(|i| (format!("m{i}").into_bytes(), b"v".to_vec())).collect());
    let pairs = prop_oneof![12 => prop::collection::vec((field(), value()), 1..4), 1 => many];
    let fields = || prop::collection::vec(field(), 1..4);
    prop_oneof![
        6 => (pairs, expiry).prop_map(|(pairs, expiry)| Change::Set(pairs, expiry)),
        4 => fields().prop_map(Change::Remove),
        2 => (prop::option::of(deadline()), fields()).prop_map(|(at, fields)| Change::Expire(at, fields)),
        1 => Just(Change::Rename),
        1 => Just(Change::Copy),
        1 => Just(Change::Text),
        1 => Just(Change::Unlink),
    ]
}

/// What the keyspace holds at a key.
fn held(keyspace: &Keyspace, name: &[u8]) -> Option<Fields> {
    let hash = Hash::of(keyspace.find(&keyspace.key(name))?.value(), WallMs(0))?;
    let pairs = hash.iter_with_deadlines().map(|((field, value), at)| (field.to_vec(), (value.to_vec(), at)));
    let fields: Fields = pairs.collect();
    assert_eq!(hash.len(), fields.len());
    for (field, (value, at)) in &fields {
        assert_eq!((hash.get(field), hash.deadline(field)), (Some(&value[..]), Some(*at)));
    }
    Some(fields)
}

fn apply(keyspace: &mut Keyspace, model: &mut BTreeMap<&[u8], Fields>, change: Change) {
    let (h, other) = (keyspace.key(b"h"), keyspace.key(b"other"));
    match change {
        Change::Set(pairs, expiry) => {
            keyspace.set_fields(&h, pairs.iter().map(|(field, value)| (&field[..], &value[..])), expiry, NOW);
            if pairs.is_empty() {
                return;
            }
            let fields = model.entry(b"h").or_default();
            for (field, value) in pairs {
                let old = fields.get(&field).and_then(|(_, at)| *at);
                fields.insert(field, (value, expiry.after(old)));
            }
        }
        Change::Remove(gone) => {
            keyspace.remove_fields(&h, gone.iter().map(Vec::as_slice), NOW);
            let Some(fields) = model.get_mut(&b"h"[..]) else { return };
            gone.iter().for_each(|field| _ = fields.remove(field));
            if fields.is_empty() {
                model.remove(&b"h"[..]);
            }
        }
        Change::Expire(at, named) => {
            keyspace.expire_fields(&h, at, named.iter().map(Vec::as_slice), NOW);
            let Some(fields) = model.get_mut(&b"h"[..]) else { return };
            for field in named {
                if let Some((_, deadline)) = fields.get_mut(&field) {
                    *deadline = at;
                }
            }
        }
        Change::Rename => {
            keyspace.rename(&other, &h);
            if let Some(fields) = model.remove(&b"other"[..]) {
                model.insert(b"h", fields);
            }
        }
        Change::Copy => {
            keyspace.copy(&h, &other, NOW);
            if let Some(fields) = model.get(&b"h"[..]) {
                let fields = fields.clone();
                model.insert(b"other", fields);
            }
        }
        Change::Text => {
            keyspace.set(&other, b"text", ExpiryChange::Drop, NOW);
            keyspace.unlink(&other);
            model.remove(&b"other"[..]);
        }
        Change::Unlink => {
            keyspace.unlink(&h);
            model.remove(&b"h"[..]);
        }
    }
}

proptest! {
    #[test]
    fn hashes_behave_like_sorted_maps(changes in prop::collection::vec(change(), 0..60)) {
        let mut keyspace = Keyspace::new(HashSeed([3; 16]));
        let empty = keyspace.account().bytes;
        let mut model: BTreeMap<&[u8], Fields> = BTreeMap::new();
        for change in changes {
            apply(&mut keyspace, &mut model, change);
            for name in [&b"h"[..], b"other"] {
                let held = held(&keyspace, name);
                prop_assert_eq!(held.as_ref(), model.get(name));
            }
            let deadlines = |fields: &Fields| fields.values().filter_map(|(_, at)| *at).min();
            let firsts: Vec<WallMs> = model.values().filter_map(deadlines).collect();
            prop_assert_eq!(keyspace.first_deadline(), firsts.iter().min().copied());
            prop_assert_eq!(keyspace.len_with_part_deadlines(), firsts.len() as u64);
        }
        keyspace.unlink(&keyspace.key(b"h"));
        keyspace.unlink(&keyspace.key(b"other"));
        while keyspace.release(1_000) {}
        prop_assert_eq!(keyspace.account().bytes, empty, "all is given back");
    }
}

#[test]
fn a_large_hash_is_freed_in_slices() {
    let mut keyspace = Keyspace::new(HashSeed([3; 16]));
    let empty = keyspace.account().bytes;
    for way in ["unlinked", "replaced", "flushed"] {
        let fields: Vec<String> = (0..20_000).map(|i| format!("field{i}")).collect();
        let key = keyspace.key(b"h");
        keyspace.set_fields(&key, fields.iter().map(|field| (field.as_bytes(), &b"v"[..])), ExpiryChange::Drop, NOW);
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
