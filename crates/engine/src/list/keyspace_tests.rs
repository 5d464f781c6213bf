//! Lists of a keyspace against double-ended queues, with undoing, a replica without undo records, and the account of
//! their memory.

use super::super::change::{ListChange, ListEnd, write_positions};
use super::super::node_list::NodeList;
use super::super::view::List;
use crate::effect::Items;
use crate::keyspace::{ExpiryChange, Key, Keyspace, PackedLimits};
use fastness_resp::Args;
use fastness_types::{HashSeed, Seq, WallMs};
use proptest::prelude::*;
use std::collections::VecDeque;

const NOW: WallMs = WallMs(1_000);

type Elements = VecDeque<Vec<u8>>;

/// A change whose positions are parts of 1,000 of the length.
#[derive(Debug, Clone)]
enum Change {
    Push(ListEnd, Vec<Vec<u8>>),
    Trim(u64, u64),
    Set(usize, Vec<u8>),
    Insert(usize, bool, Vec<u8>),
    Remove(Vec<usize>),
    Rotate(ListEnd, ListEnd),
    AddNode(bool, Vec<Vec<u8>>),
    /// The option `list-max-listpack-size`.
    Limit(i64),
    Copy,
    Rename,
    Unlink,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..20),
        3 => (100usize..3_000).prop_map(|len| vec![b'm'; len]),
        1 => (8_100usize..9_000).prop_map(|len| vec![b'l'; len]),
    ]
}

fn end() -> impl Strategy<Value = ListEnd> {
    prop_oneof![Just(ListEnd::Head), Just(ListEnd::Tail)]
}

fn change() -> impl Strategy<Value = Change> {
    let few = || prop::collection::vec(element(), 1..4);
    let many = (10usize..700, 1usize..60).prop_map(|(count, len)| (0..count).map(|n| vec![n as u8; len]).collect());
    prop_oneof![
        6 => (end(), few()).prop_map(|(end, elements)| Change::Push(end, elements)),
        3 => (end(), many).prop_map(|(end, elements)| Change::Push(end, elements)),
        3 => (0u64..3, 0u64..3).prop_map(|(head, tail)| Change::Trim(head, tail)),
        2 => (0u64..400, 0u64..400).prop_map(|(head, tail)| Change::Trim(head, tail)),
        4 => (0usize..1_000, element()).prop_map(|(at, element)| Change::Set(at, element)),
        6 => (0usize..1_000, any::<bool>(), element()).prop_map(|(at, after, text)| Change::Insert(at, after, text)),
        2 => prop::collection::vec(0usize..1_000, 1..4).prop_map(Change::Remove),
        1 => prop::collection::vec(0usize..1_000, 100..300).prop_map(Change::Remove),
        3 => (end(), end()).prop_map(|(from, to)| Change::Rotate(from, to)),
        1 => (any::<bool>(), few()).prop_map(|(plain, elements)| Change::AddNode(plain, elements)),
        1 => prop_oneof![-6i64..0, 0i64..5, 5i64..200].prop_map(Change::Limit),
        1 => Just(Change::Copy),
        1 => Just(Change::Rename),
        1 => Just(Change::Unlink),
    ]
}

fn change_list(keyspaces: &mut [Keyspace], change: &ListChange<'_>) {
    for keyspace in keyspaces {
        let key = keyspace.key(b"l");
        keyspace.change_list(&key, change, NOW);
    }
}

fn other_change(keyspaces: &mut [Keyspace], change: impl Fn(&mut Keyspace, &Key<'_>, &Key<'_>)) {
    for keyspace in keyspaces {
        let (key, other) = (keyspace.key(b"l"), keyspace.key(b"other"));
        change(keyspace, &key, &other);
    }
}

fn removed(model: &mut Elements, at: &[usize]) -> Vec<u8> {
    let mut positions: Vec<usize> = at.iter().map(|at| at * model.len() / 1_000).collect();
    positions.sort_unstable();
    positions.dedup();
    positions.iter().rev().for_each(|position| _ = model.remove(*position));
    write_positions(&positions)
}

fn apply(keyspaces: &mut [Keyspace], model: &mut Elements, change: Change) {
    let len = model.len();
    let index = |at: usize| (at * len / 1_000) as u64;
    match change {
        Change::Push(end, elements) => {
            change_list(keyspaces, &ListChange::Push { end, elements: Items::from(Args::owned(&elements)) });
            for element in elements {
                if end == ListEnd::Head { model.push_front(element) } else { model.push_back(element) }
            }
        }
        Change::Trim(head, tail) => {
            change_list(keyspaces, &ListChange::Trim { head, tail });
            (0..head).for_each(|_| _ = model.pop_front());
            (0..tail).for_each(|_| _ = model.pop_back());
        }
        Change::Set(at, element) if len > 0 => {
            change_list(keyspaces, &ListChange::Set { index: index(at), element: &element });
            model[index(at) as usize] = element;
        }
        Change::Insert(at, after, element) if len > 0 => {
            change_list(keyspaces, &ListChange::Insert { pivot: index(at), value: None, after, element: &element });
            model.insert(index(at) as usize + usize::from(after), element);
        }
        Change::Remove(at) if len > 0 => {
            change_list(keyspaces, &ListChange::Remove { positions: &removed(model, &at) });
        }
        Change::Rotate(from, to) => {
            change_list(keyspaces, &ListChange::Rotate { from, to });
            match (from, to) {
                (ListEnd::Head, ListEnd::Tail) if len > 0 => model.rotate_left(1),
                (ListEnd::Tail, ListEnd::Head) if len > 0 => model.rotate_right(1),
                _ => {}
            }
        }
        Change::AddNode(plain, mut elements) => {
            elements.truncate(if plain { 1 } else { usize::MAX });
            change_list(keyspaces, &ListChange::AddNode { plain, elements: Items::from(Args::owned(&elements)) });
            model.extend(elements);
        }
        Change::Limit(list_node) => keyspaces.iter_mut().for_each(|keyspace| {
            keyspace.set_packed_limits(PackedLimits { list_node, ..PackedLimits::default() });
        }),
        Change::Copy => other_change(keyspaces, |keyspace, key, other| keyspace.copy(key, other, NOW)),
        // Of a list that does not exist, it would bring back its copy.
        Change::Rename if len > 0 => other_change(keyspaces, |keyspace, key, other| {
            keyspace.rename(key, other);
            keyspace.rename(other, key);
        }),
        Change::Unlink => {
            other_change(keyspaces, |keyspace, key, _| keyspace.unlink(key));
            model.clear();
        }
        Change::Set(..) | Change::Insert(..) | Change::Remove(_) | Change::Rename => {}
    }
}

/// The elements of a list, the encoding that OBJECT reports, and the nodes.
type State = (Elements, &'static str, Option<NodeList>);

fn state(keyspace: &Keyspace, name: &[u8]) -> Option<State> {
    let entry = keyspace.find(&keyspace.key(name))?;
    let list = List::of(entry.value())?;
    let elements: Elements = list.texts().collect();
    assert_eq!(list.len(), elements.len());
    let middle = elements.len() / 2;
    assert_eq!(list.get(middle).map(|element| element.to_vec()).as_ref(), elements.get(middle));
    let back: Elements = list.iter_back(elements.len() - 1).map(|element| element.to_vec()).collect();
    assert!(back.iter().rev().eq(&elements));
    Some((elements, crate::types::encoding(entry), list.nodes().cloned()))
}

fn bytes(keyspace: &mut Keyspace) -> u64 {
    while keyspace.release(1_000) {}
    keyspace.account().bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn lists_behave_like_queues_and_are_undone(
        before in prop::collection::vec(change(), 0..30),
        undone in prop::collection::vec(change(), 0..30),
    ) {
        // The second one keeps no undo records, as replicas do.
        let mut keyspaces = [Keyspace::new(HashSeed([3; 16])), Keyspace::new(HashSeed([4; 16]))];
        let empty = bytes(&mut keyspaces[0]);
        let mut model = Elements::new();
        for change in before {
            apply(&mut keyspaces, &mut model, change);
        }
        let state_before = [&b"l"[..], b"other"].map(|name| state(&keyspaces[0], name));
        let bytes_before = bytes(&mut keyspaces[0]);
        keyspaces[0].keep_undo(WallMs(0), usize::MAX);
        for change in undone {
            apply(&mut keyspaces, &mut model, change);
            let held = state(&keyspaces[0], b"l");
            let elements = held.as_ref().map(|(elements, ..)| elements.clone()).unwrap_or_default();
            prop_assert_eq!(&elements, &model);
            prop_assert_eq!(&held, &state(&keyspaces[1], b"l"));
        }
        keyspaces[0].end_unit(Seq(1), WallMs(0));
        prop_assert!(keyspaces[0].undo().is_some());
        let state_after = [&b"l"[..], b"other"].map(|name| state(&keyspaces[0], name));
        prop_assert_eq!(state_before, state_after);
        prop_assert_eq!(bytes(&mut keyspaces[0]), bytes_before);
        for keyspace in &mut keyspaces {
            keyspace.unlink(&keyspace.key(b"l"));
            keyspace.unlink(&keyspace.key(b"other"));
            prop_assert_eq!(bytes(keyspace), empty, "all is given back");
        }
    }
}

/// A list of some hundred nodes.
fn large(keyspace: &mut Keyspace) {
    let key = keyspace.key(b"l");
    let elements: Vec<Vec<u8>> = (0..1_000).map(|n| format!("{n:>900}").into_bytes()).collect();
    for _ in 0..4 {
        let elements = Items::from(Args::owned(&elements));
        keyspace.change_list(&key, &ListChange::Push { end: ListEnd::Tail, elements }, NOW);
    }
}

#[test]
fn a_large_list_is_freed_in_slices() {
    let mut keyspace = Keyspace::new(HashSeed([3; 16]));
    let empty = keyspace.account().bytes;
    for way in ["unlinked", "replaced", "flushed", "trimmed"] {
        large(&mut keyspace);
        let key = keyspace.key(b"l");
        let full = keyspace.account().bytes;
        match way {
            "unlinked" => keyspace.unlink(&key),
            "replaced" => keyspace.set(&key, b"v", ExpiryChange::Drop, NOW),
            "flushed" => keyspace.clear(),
            _ => keyspace.change_list(&key, &ListChange::Trim { head: 3_999, tail: 0 }, NOW),
        }
        assert!(keyspace.account().bytes > full - 20_000, "{way}: nothing is freed at once");
        let mut steps = 0;
        while keyspace.release(8) {
            steps += 1;
        }
        assert!(steps > 50, "{way}: {steps} steps");
        keyspace.unlink(&key);
        assert_eq!(keyspace.account().bytes, empty, "{way}");
    }
}

/// The undo record of a removal holds what was removed, once, whether few or many elements.
#[test]
fn undo_records_hold_what_was_removed() {
    let mut keyspace = Keyspace::new(HashSeed([3; 16]));
    large(&mut keyspace);
    let key = keyspace.key(b"l");
    let before = state(&keyspace, b"l");
    let all = bytes(&mut keyspace) as usize;
    for (head, tail, held) in [(1, 0, 2_000), (3, 3, 40_000), (2_000, 1_000, all), (3_999, 0, all)] {
        keyspace.keep_undo(WallMs(0), usize::MAX);
        keyspace.change_list(&key, &ListChange::Trim { head, tail }, NOW);
        keyspace.end_unit(Seq(1), WallMs(0));
        assert!(keyspace.undo_bytes() < held + 1_000, "{head}, {tail}: {}", keyspace.undo_bytes());
        assert!(keyspace.undo().is_some());
        assert_eq!(state(&keyspace, b"l"), before);
        assert_eq!(bytes(&mut keyspace) as usize, all);
    }
}
