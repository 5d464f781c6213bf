//! Tests of `super::undo`: each kind of record, the bound, and the bytes held. Random commands are in `tests/undo.rs`.

use super::{Entry, ExpiryChange, Keyspace, NewValue};
use crate::digest::of_entry;
use fastness_types::{HashSeed, Seq, WallMs};

const NOW: WallMs = WallMs(1_000);
const KEEP: ExpiryChange = ExpiryChange::Keep;

fn keyspace() -> Keyspace {
    Keyspace::new(HashSeed([3; 16]))
}

fn set(keyspace: &mut Keyspace, key: &str, text: &[u8]) {
    keyspace.set(&keyspace.key(key.as_bytes()), text, ExpiryChange::Drop, NOW);
}

/// Keys with encodings, and digests of values and deadlines.
fn shown(keyspace: &Keyspace) -> Vec<(Vec<u8>, &'static str, u128)> {
    let of_entry = |entry: &Entry| (entry.key().to_vec(), crate::types::encoding(entry), of_entry(entry));
    let mut all: Vec<_> = keyspace.iter().map(of_entry).collect();
    all.sort();
    all
}

/// Prepares a keyspace, and checks that a change is undone, alone and after another one of the same key.
fn undoes(prepare: impl Fn(&mut Keyspace), change: impl Fn(&mut Keyspace)) {
    for repeated in 1..3 {
        let mut keyspace = keyspace();
        let empty = keyspace.account().bytes;
        prepare(&mut keyspace);
        let before = shown(&keyspace);
        let counts = (keyspace.len(), keyspace.len_with_deadline(), keyspace.len_with_part_deadlines());
        keyspace.keep_undo(WallMs(7), usize::MAX);
        for seq in 0..repeated {
            change(&mut keyspace);
            keyspace.end_unit(Seq(seq + 1), WallMs(8));
        }
        assert_ne!(shown(&keyspace), before, "the change changes something");
        assert!(keyspace.undo_bytes() > 0);
        assert_eq!(keyspace.undo(), Some(WallMs(7)));
        assert_eq!(shown(&keyspace), before);
        assert_eq!((keyspace.len(), keyspace.len_with_deadline(), keyspace.len_with_part_deadlines()), counts);
        // Tables may have fewer buckets than before; exactly what is counted can be freed.
        keyspace.clear();
        while keyspace.release(100) {}
        assert_eq!(keyspace.account().bytes, empty);
    }
}

#[test]
fn strings() {
    let texts: [&[u8]; 5] = [b"", b"text", b"12", &[b'x'; 100], &[b'x'; 2_000]];
    for old in texts {
        let prepare = |keyspace: &mut Keyspace| set(keyspace, "k", old);
        for new in texts.into_iter().filter(|new| *new != old) {
            undoes(prepare, |keyspace| set(keyspace, "k", new));
        }
        undoes(prepare, |keyspace| keyspace.unlink(&keyspace.key(b"k")));
        undoes(prepare, |keyspace| keyspace.append(&keyspace.key(b"k"), b"tail", NOW));
        undoes(prepare, |keyspace| keyspace.append(&keyspace.key(b"k"), &[b'y'; 5_000], NOW));
        undoes(prepare, |keyspace| keyspace.set_range(&keyspace.key(b"k"), 50, b"middle", NOW));
        undoes(prepare, |keyspace| keyspace.rename(&keyspace.key(b"k"), &keyspace.key(b"to")));
        undoes(prepare, |keyspace| keyspace.copy(&keyspace.key(b"k"), &keyspace.key(b"to"), NOW));
        undoes(prepare, |keyspace| keyspace.set_expiry(&keyspace.key(b"k"), Some(WallMs(9))));
        undoes(prepare, Keyspace::clear);
        undoes(|_| (), |keyspace| set(keyspace, "k", old));
        undoes(
            |keyspace| keyspace.set(&keyspace.key(b"k"), old, ExpiryChange::At(WallMs(9)), NOW),
            |keyspace| keyspace.set_expiry(&keyspace.key(b"k"), None),
        );
    }
}

#[test]
fn texts_that_grew_in_place() {
    let prepare = |keyspace: &mut Keyspace| {
        set(keyspace, "k", &[b'x'; 2_000]);
        keyspace.append(&keyspace.key(b"k"), b"tail", NOW);
        assert_eq!(keyspace.find(&keyspace.key(b"k")).unwrap().object().map(|_| ()), Some(()));
        set(keyspace, "to", b"there");
    };
    undoes(prepare, |keyspace| keyspace.append(&keyspace.key(b"k"), b"more", NOW));
    undoes(prepare, |keyspace| keyspace.append(&keyspace.key(b"k"), &[b'y'; 9_000], NOW));
    for offset in [0, 1_000, 2_002, 2_004, 5_000] {
        undoes(prepare, |keyspace| keyspace.set_range(&keyspace.key(b"k"), offset, b"middle", NOW));
    }
    undoes(prepare, |keyspace| keyspace.rename(&keyspace.key(b"k"), &keyspace.key(b"to")));
    undoes(prepare, |keyspace| keyspace.copy(&keyspace.key(b"k"), &keyspace.key(b"to"), NOW));
    undoes(prepare, |keyspace| keyspace.set_expiry(&keyspace.key(b"k"), Some(WallMs(9))));
    undoes(prepare, |keyspace| set(keyspace, "k", b"short"));
    undoes(prepare, |keyspace| keyspace.unlink(&keyspace.key(b"k")));
}

#[test]
fn hashes() {
    let (small, large) = (5, 600);
    for fields in [small, large] {
        let prepare = |keyspace: &mut Keyspace| {
            let names: Vec<String> = (0..fields).map(|i| format!("f{i}")).collect();
            let pairs = names.iter().map(|name| (name.as_bytes(), &b"value"[..]));
            keyspace.set_fields(&keyspace.key(b"h"), pairs, ExpiryChange::Drop, NOW);
            set(keyspace, "to", b"there");
        };
        let h = |keyspace: &Keyspace| keyspace.key(b"h");
        let long = [b'x'; 700];
        for value in [&b"other"[..], b"much longer than before", &long] {
            for expiry in [KEEP, ExpiryChange::At(WallMs(9))] {
                let pairs = [(&b"f1"[..], value), (b"new", value)];
                undoes(prepare, |keyspace| keyspace.set_fields(&h(keyspace), pairs.into_iter(), expiry, NOW));
            }
        }
        undoes(prepare, |keyspace| keyspace.remove_fields(&h(keyspace), [&b"f1"[..], b"f2"].into_iter(), NOW));
        let all: Vec<String> = (0..fields).map(|i| format!("f{i}")).collect();
        let all = || all.iter().map(String::as_bytes);
        undoes(prepare, |keyspace| keyspace.remove_fields(&h(keyspace), all(), NOW));
        undoes(prepare, |keyspace| keyspace.expire_fields(&h(keyspace), Some(WallMs(9)), all(), NOW));
        undoes(prepare, |keyspace| keyspace.rename(&h(keyspace), &keyspace.key(b"to")));
        undoes(prepare, |keyspace| keyspace.copy(&h(keyspace), &keyspace.key(b"to"), NOW));
        undoes(prepare, |keyspace| keyspace.set_expiry(&h(keyspace), Some(WallMs(9))));
        undoes(prepare, |keyspace| set(keyspace, "h", b"text"));
        undoes(prepare, |keyspace| keyspace.unlink(&h(keyspace)));
        let with_deadlines = |keyspace: &mut Keyspace| {
            prepare(keyspace);
            keyspace.expire_fields(&h(keyspace), Some(WallMs(9)), all(), NOW);
        };
        undoes(with_deadlines, |keyspace| keyspace.expire_fields(&h(keyspace), None, all(), NOW));
        undoes(with_deadlines, |keyspace| keyspace.expire_fields(&h(keyspace), Some(WallMs(5)), all(), NOW));
        undoes(with_deadlines, |keyspace| keyspace.remove_fields(&h(keyspace), all(), NOW));
        undoes(with_deadlines, |keyspace| set(keyspace, "h", b"text"));
        undoes(with_deadlines, Keyspace::clear);
    }
}

/// Records belong to batches: what has committed stays.
#[test]
fn what_is_forgotten_is_not_undone() {
    let mut keyspace = keyspace();
    keyspace.keep_undo(WallMs(1), usize::MAX);
    let mut states = vec![shown(&keyspace)];
    for seq in 1..=5u64 {
        for unit in 0..3 {
            set(&mut keyspace, &format!("k{}", (seq + unit) % 4), format!("value of {seq}").as_bytes());
            keyspace.end_unit(Seq(seq), WallMs(seq * 10 + unit));
        }
        states.push(shown(&keyspace));
    }
    keyspace.forget_undo(Seq(2));
    assert_eq!(keyspace.undo(), Some(WallMs(22)), "the time of the last unit that committed");
    assert_eq!(shown(&keyspace), states[2]);

    keyspace.keep_undo(WallMs(30), usize::MAX);
    set(&mut keyspace, "k1", b"open");
    keyspace.end_unit(Seq(3), WallMs(31));
    let bytes = keyspace.undo_bytes();
    keyspace.forget_undo(Seq(3));
    assert!(bytes > 0 && keyspace.undo_bytes() == 0, "the open batch has committed too");
    assert_eq!(keyspace.undo(), Some(WallMs(31)));
    assert_eq!(keyspace.undo(), None, "nothing is kept");
}

/// At the bound all records go; later ones count again once what has lost some has committed.
#[test]
fn records_over_the_bound_are_lost_until_their_batches_commit() {
    let mut keyspace = keyspace();
    set(&mut keyspace, "k", &[b'x'; 3_000]);
    keyspace.keep_undo(WallMs(1), 2_000);
    let change = |keyspace: &mut Keyspace, seq: u64, text: &[u8]| {
        set(keyspace, "k", text);
        keyspace.end_unit(Seq(seq), WallMs(seq));
    };
    change(&mut keyspace, 1, b"1");
    assert_eq!(keyspace.undo_bytes(), 0, "3,000 bytes were too much");
    change(&mut keyspace, 1, b"2");
    change(&mut keyspace, 2, b"3");
    assert!(keyspace.undo_bytes() > 0, "what comes later is kept");
    keyspace.forget_undo(Seq(1));
    let committed = b"2".to_vec();
    assert_eq!(keyspace.undo(), Some(WallMs(1)));
    let mut buffer = itoa::Buffer::new();
    assert_eq!(keyspace.find(&keyspace.key(b"k")).unwrap().value().text(&mut buffer), Some(&committed[..]));

    keyspace.keep_undo(WallMs(1), 2_000);
    change(&mut keyspace, 1, &[b'y'; 3_000]);
    change(&mut keyspace, 2, b"4");
    change(&mut keyspace, 3, b"5");
    keyspace.forget_undo(Seq(1));
    assert_eq!(keyspace.undo(), None, "batch 2 has lost some");
}

#[test]
fn one_flush_does_not_count_against_the_bound() {
    let mut keyspace = keyspace();
    (0..1_000).for_each(|i| set(&mut keyspace, &format!("k{i}"), &[b'x'; 100]));
    let (before, used) = (shown(&keyspace), keyspace.account().bytes);
    keyspace.keep_undo(WallMs(1), 2_000);
    keyspace.clear();
    keyspace.end_unit(Seq(1), WallMs(1));
    assert!(keyspace.account().bytes > used, "what is held counts");
    while keyspace.release(1_000) {}
    assert!(keyspace.account().bytes > used, "and is not freed");
    set(&mut keyspace, "k", b"1");
    keyspace.end_unit(Seq(1), WallMs(1));
    assert_eq!(keyspace.undo(), Some(WallMs(1)));
    while keyspace.release(1_000) {}
    assert_eq!((shown(&keyspace), keyspace.account().bytes), (before, used));

    keyspace.keep_undo(WallMs(1), 2_000);
    for seq in 1..=2 {
        keyspace.clear();
        set(&mut keyspace, "k", b"1");
        keyspace.end_unit(Seq(seq), WallMs(1));
    }
    while keyspace.release(1_000) {}
    assert!(keyspace.account().bytes < used, "the second drops both");
    assert_eq!(keyspace.undo(), None);
}

/// Large values whose removal has committed are freed in slices.
#[test]
fn what_committed_is_freed() {
    let mut keyspace = keyspace();
    let empty = keyspace.account().bytes;
    let names: Vec<String> = (0..50_000).map(|i| format!("f{i}")).collect();
    for name in &names {
        set(&mut keyspace, name, b"value");
    }
    keyspace.set_fields(&keyspace.key(b"h"), names.iter().map(|name| (name.as_bytes(), &b"v"[..])), KEEP, NOW);
    keyspace.keep_undo(WallMs(1), usize::MAX);
    names.iter().for_each(|name| keyspace.unlink(&keyspace.key(name.as_bytes())));
    keyspace.unlink(&keyspace.key(b"h"));
    keyspace.end_unit(Seq(1), WallMs(1));
    let held = keyspace.undo_bytes() as u64 + keyspace.account().bytes;
    keyspace.forget_undo(Seq(1));
    let left = keyspace.account().bytes;
    assert!(left > empty && left < held, "a part is freed at once");
    let mut steps = 0;
    while keyspace.release(1_000) {
        steps += 1;
    }
    assert!(steps > 20, "{steps}");
    assert_eq!(keyspace.account().bytes, empty);
}

#[test]
fn values_of_every_kind_are_restored_with_their_capacity() {
    let mut keyspace = keyspace();
    let key = keyspace.key(b"k");
    keyspace.put(&key, NewValue::Text(b"v"), ExpiryChange::At(WallMs(9)), NOW);
    keyspace.set_expiry(&key, None);
    let size = keyspace.find(&key).unwrap().size();
    keyspace.keep_undo(WallMs(1), usize::MAX);
    keyspace.unlink(&key);
    set(&mut keyspace, "k", b"w");
    keyspace.end_unit(Seq(1), WallMs(1));
    assert!(keyspace.undo().is_some());
    assert_eq!(keyspace.find(&key).unwrap().size(), size);
}
