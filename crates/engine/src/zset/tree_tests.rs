//! The tree against a sorted set of the standard library.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A tree with its members: names by hashes, which are the members' numbers here.
#[derive(Default)]
struct Model {
    tree: ScoreTree,
    names: BTreeMap<u64, Vec<u8>>,
    members: BTreeSet<(u64, Vec<u8>)>,
}

impl Model {
    fn insert(&mut self, order: u64, name: &[u8]) {
        let hash = self.names.len() as u64;
        if !self.members.insert((order, name.to_vec())) {
            return;
        }
        let hash = self.names.last_key_value().map_or(hash, |(last, _)| last + 1);
        self.names.insert(hash, name.to_vec());
        let names = &self.names;
        self.tree.insert(ScoreMark { order, hash }, name, &|mark: ScoreMark| &names[&mark.hash][..]);
    }

    fn remove(&mut self, order: u64, name: &[u8]) {
        if !self.members.remove(&(order, name.to_vec())) {
            return;
        }
        let hash = self.marks(0..usize::MAX, false).find(|mark| mark.order == order && self.names[&mark.hash] == name);
        let names = &self.names;
        self.tree.remove(hash.unwrap(), name, &|mark: ScoreMark| &names[&mark.hash][..]);
    }

    fn marks(&self, ranks: Range<usize>, reverse: bool) -> Marks<'_> {
        self.tree.range(ranks, reverse)
    }

    /// All members, in the order of the tree.
    fn held(&self, ranks: Range<usize>, reverse: bool) -> Vec<(u64, Vec<u8>)> {
        self.marks(ranks, reverse).map(|mark| (mark.order, self.names[&mark.hash].clone())).collect()
    }

    fn check(&self) {
        let all: Vec<(u64, Vec<u8>)> = self.members.iter().cloned().collect();
        assert_eq!(self.tree.len(), all.len());
        assert_eq!(self.held(0..usize::MAX, false), all);
        let mut reversed = self.held(0..all.len(), true);
        reversed.reverse();
        assert_eq!(reversed, all);
        let names = |mark: ScoreMark| &self.names[&mark.hash][..];
        for (rank, (order, name)) in all.iter().enumerate() {
            assert_eq!(self.tree.rank(Place { order: *order, name }, &names), rank);
        }
        for rank in [0, 1, 31, 63, 64, 65, 500] {
            let some: Vec<_> = all.iter().skip(rank).take(5).cloned().collect();
            assert_eq!(self.held(rank..rank + 5, false), some);
        }
        let (len, bytes) = checked(&self.tree.root, true);
        assert_eq!((len, bytes), (self.tree.len, self.tree.bytes));
    }
}

/// Checks the sizes of nodes and the counts of children; returns the number of marks and the bytes.
fn checked(node: &Node, is_root: bool) -> (usize, usize) {
    let is_allowed = |len: usize, max| (1..=max).contains(&len) || (is_root && len == 0);
    match node {
        Node::Leaf(marks) => {
            assert!(is_allowed(marks.len(), LEAF_MAX));
            (marks.len(), node.own_bytes())
        }
        Node::Inner(inner) => {
            assert!(is_allowed(inner.children.len(), INNER_MAX) && inner.bounds.len() + 1 == inner.children.len());
            assert!(!is_root || inner.children.len() > 1);
            inner.children.iter().fold((0, node.own_bytes()), |(len, bytes), child| {
                let below = checked(&child.node, false);
                assert_eq!(below.0, child.count);
                (len + below.0, bytes + below.1)
            })
        }
    }
}

/// How scores are chosen: all equal, few, many, or rising.
fn order_for(kind: u8, step: usize, random: u16) -> u64 {
    match kind {
        0 => 7,
        1 => u64::from(random % 3),
        2 => u64::from(random),
        _ => step as u64,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn behaves_like_a_sorted_set(
        steps in prop::collection::vec((0u8..10, any::<u16>()), 0..3_000),
        kind in 0u8..4,
        growing in 3u8..8,
    ) {
        let mut model = Model::default();
        for (step, (what, random)) in steps.iter().enumerate() {
            if *what < growing {
                model.insert(order_for(kind, step, *random), format!("name:{:05}", random / 3).as_bytes());
            } else if let Some((order, name)) = model.members.iter().nth(usize::from(*random) % model.members.len().max(1)) {
                let (order, name) = (*order, name.clone());
                model.remove(order, &name);
            }
        }
        model.check();
        let members: Vec<_> = model.members.iter().cloned().collect();
        members.iter().for_each(|(order, name)| model.remove(*order, name));
        model.check();
    }
}

/// Equal scores, at every size at which a node is split or joined.
#[test]
fn equal_scores_at_every_size() {
    let mut model = Model::default();
    // Neither rising nor falling: a step that has no divisor in common with the number of names.
    let name = |i: usize| format!("m{:05}", i * 1_000 % 2_503).into_bytes();
    for i in 0..2_503 {
        model.insert(1, &name(i));
        if i < 200 || i % 97 == 0 {
            model.check();
        }
    }
    model.check();
    for i in 0..2_503 {
        model.remove(1, &name(i));
        if i > 2_300 || i % 97 == 0 {
            model.check();
        }
    }
    assert!(model.tree.is_empty() && model.tree.bytes() == 0);
}

#[test]
fn rising_scores_fill_leaves() {
    let mut model = Model::default();
    for i in 0..20_000u64 {
        model.insert(i, b"m");
    }
    model.check();
    let per_mark = model.tree.bytes() as f64 / 20_000.0;
    assert!(per_mark < 18.5, "{per_mark} bytes for each mark of 16");
}

#[test]
fn a_tree_is_freed_leaf_by_leaf() {
    let mut model = Model::default();
    (0..5_000u64).for_each(|i| model.insert(i * 7_919 % 5_003, b"m"));
    let mut steps = 0;
    while model.tree.bytes() > 0 {
        let freed = model.tree.drop_last();
        assert!(freed > 0 && freed < 8_192, "{freed} bytes in one step");
        steps += 1;
    }
    assert!(steps > 5_000 / LEAF_MAX, "{steps} steps");
}

#[test]
fn bounds_are_as_short_as_they_can_be() {
    let (names, mark) = ([&b"user:1"[..], b"user:25"], |hash| ScoreMark { order: 3, hash });
    let name = |mark: ScoreMark| names[mark.hash as usize];
    assert_eq!(&*Bound::between(mark(0), mark(1), &name).name, b"user:2");
    let lower = ScoreMark { order: 2, hash: 0 };
    assert!(Bound::between(lower, mark(1), &name).name.is_empty());
}
