//! The order of a large sorted set: a B+tree of [`ScoreMark`]s, one for each member, which counts the marks below each
//! node and thereby knows ranks.
//!
//! A mark is a score and the hash of a member's name, 16 bytes. The name itself is in the table of members
//! ([`super::members`]), where the hash finds it; the tree needs it only to compare members with equal scores. Whoever
//! calls the tree passes a function that returns the name of a mark.
//!
//! An inner node separates its children by bounds. A bound is a score and the shortest text that still separates the
//! names on both sides; it is stored in the node, so that a descent compares names of members only in its leaf. A bound
//! stays valid when members are removed, because it only has to separate.
//!
//! Nodes are split when they are full and joined with a neighbour when both are short, one node at each level, so that
//! no change costs more than O(log n). Scores that rise fill leaves to the end. A leaf's memory follows its length in
//! the allocator's size classes. (A skip list takes 8 bytes of pointers more for each member, and a step along it is a
//! wait for memory, where a leaf has up to 64 members in a row.)
//!
//! # Invariants
//! - Marks are in the order of score and name. All marks of a child are at least the bound before it, and below the
//!   bound after it.
//! - A leaf has at most `LEAF_MAX` marks, an inner node at most `INNER_MAX` children, and neither is empty, except for
//!   a root that is a leaf.
//! - `Child::count` is the number of marks below the child; `bytes` is the memory of all nodes.
//!
//! # Limits
//! Two members with equal scores and equal 64-bit hashes are taken for one. The hash is keyed with the cluster's seed,
//! which clients do not know: a set of a hundred million members of one score has such a pair with a probability of
//! one in four thousand.

use crate::keyspace::memory::size_class;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

/// Marks of a leaf: 1 KiB, so that inserting moves at most that.
const LEAF_MAX: usize = 64;
const INNER_MAX: usize = 32;
/// A shorter node is joined with a neighbour, if both fit into three quarters of a node.
const fn min_of(max: usize) -> usize {
    max / 4
}
const fn joined_max(max: usize) -> usize {
    max * 3 / 4
}

/// A member in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreMark {
    /// The number that orders its score ([`super::score::order_of`]).
    pub order: u64,
    /// The hash of its name.
    pub hash: u64,
}

/// Where a member is, or would be.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// As [`ScoreMark::order`].
    pub order: u64,
    /// The member's name.
    pub name: &'p [u8],
}

/// Separates two children of an inner node.
#[derive(Debug)]
pub struct Bound {
    /// As [`ScoreMark::order`].
    pub order: u64,
    /// A text at most as long as the name of the first member that is not below it.
    pub name: Box<[u8]>,
}

#[derive(Debug)]
enum Node {
    Leaf(Vec<ScoreMark>),
    Inner(Box<Inner>),
}

#[derive(Debug)]
struct Child {
    node: Node,
    /// Number of marks below it.
    count: usize,
}

#[derive(Debug)]
struct Inner {
    children: Vec<Child>,
    /// One between each two children.
    bounds: Vec<Bound>,
}

/// The order of the members of a large sorted set.
#[derive(Debug)]
pub struct ScoreTree {
    root: Node,
    len: usize,
    bytes: usize,
}

impl Default for ScoreTree {
    fn default() -> ScoreTree {
        ScoreTree { root: Node::Leaf(Vec::new()), len: 0, bytes: 0 }
    }
}

/// A node that was split off to the right, and the bound before it.
type Split = Option<(Bound, Node)>;

fn vec_bytes<T>(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { size_class(capacity * size_of::<T>()) }
}

/// Adjusts the capacity of a vector to `len` elements, in the allocator's size classes, and the account of its memory.
fn fit<T>(vec: &mut Vec<T>, len: usize, bytes: &mut usize) {
    let before = vec.capacity();
    let wanted = vec_bytes::<T>(len) / size_of::<T>();
    if wanted > before {
        vec.reserve_exact(wanted - vec.len());
    } else if before > 2 * wanted {
        vec.shrink_to(wanted);
    }
    *bytes = *bytes + vec_bytes::<T>(vec.capacity()) - vec_bytes::<T>(before);
}

/// Moves the elements from `from` on into a vector of their own.
fn split_off<T>(vec: &mut Vec<T>, from: usize, bytes: &mut usize) -> Vec<T> {
    let mut right = Vec::new();
    fit(&mut right, vec.len() - from, bytes);
    right.extend(vec.drain(from..));
    fit(vec, from, bytes);
    right
}

/// Appends the elements of `from`, whose memory is freed.
fn join<T>(vec: &mut Vec<T>, from: Vec<T>, bytes: &mut usize) {
    let len = vec.len() + from.len();
    fit(vec, len, bytes);
    *bytes -= vec_bytes::<T>(from.capacity());
    vec.extend(from);
}

/// Whether a member's mark is before a place.
fn precedes<'n>(mark: ScoreMark, place: Place<'_>, names: &impl Fn(ScoreMark) -> &'n [u8]) -> bool {
    match mark.order.cmp(&place.order) {
        Ordering::Equal => names(mark) < place.name,
        other => other.is_lt(),
    }
}

impl Bound {
    /// The bound between the mark `left` and the next one, `right`.
    fn between<'n>(left: ScoreMark, right: ScoreMark, names: &impl Fn(ScoreMark) -> &'n [u8]) -> Bound {
        if left.order != right.order {
            return Bound { order: right.order, name: Box::default() };
        }
        let (before, after) = (names(left), names(right));
        let common = before.iter().zip(after).take_while(|(a, b)| a == b).count();
        Bound { order: right.order, name: after[..after.len().min(common + 1)].into() }
    }

    /// Whether a place is not below the bound.
    fn admits(&self, place: Place<'_>) -> bool {
        (self.order, &*self.name) <= (place.order, place.name)
    }

    fn bytes(&self) -> usize {
        if self.name.is_empty() { 0 } else { size_class(self.name.len()) }
    }
}

impl Inner {
    const BYTES: usize = size_class(size_of::<Inner>());

    /// A node of two children.
    fn of(left: Node, bound: Bound, right: Node, bytes: &mut usize) -> Inner {
        let mut inner = Inner { children: Vec::new(), bounds: Vec::new() };
        *bytes += Inner::BYTES + bound.bytes();
        fit(&mut inner.children, 2, bytes);
        fit(&mut inner.bounds, 1, bytes);
        inner.children.extend([left, right].map(|node| Child { count: node.len(), node }));
        inner.bounds.push(bound);
        inner
    }

    fn child_of(&self, place: Place<'_>) -> usize {
        self.bounds.partition_point(|bound| bound.admits(place))
    }

    fn insert<'n>(
        &mut self,
        (mark, name): (ScoreMark, &[u8]),
        is_last: bool,
        names: &impl Fn(ScoreMark) -> &'n [u8],
        bytes: &mut usize,
    ) -> Split {
        let at = self.child_of(Place { order: mark.order, name });
        let is_last = is_last && at + 1 == self.children.len();
        let child = &mut self.children[at];
        child.count += 1;
        let (bound, node) = child.node.insert((mark, name), is_last, names, bytes)?;
        let count = node.len();
        child.count -= count;
        *bytes += bound.bytes();
        let len = self.children.len() + 1;
        fit(&mut self.children, len, bytes);
        fit(&mut self.bounds, len - 1, bytes);
        self.children.insert(at + 1, Child { node, count });
        self.bounds.insert(at, bound);
        if len <= INNER_MAX {
            return None;
        }
        let from = if is_last { len - 1 } else { len / 2 };
        let children = split_off(&mut self.children, from, bytes);
        let bounds = split_off(&mut self.bounds, from, bytes);
        let up = self.bounds.pop()?;
        *bytes += Inner::BYTES;
        // The level above accounts for the bound again.
        *bytes -= up.bytes();
        Some((up, Node::Inner(Box::new(Inner { children, bounds }))))
    }

    fn remove<'n>(
        &mut self,
        mark: ScoreMark,
        place: Place<'_>,
        names: &impl Fn(ScoreMark) -> &'n [u8],
        bytes: &mut usize,
    ) -> bool {
        let at = self.child_of(place);
        if !self.children[at].node.remove(mark, place, names, bytes) {
            return false;
        }
        self.children[at].count -= 1;
        if self.children[at].node.width() == 0 {
            self.drop_child(at, bytes);
        } else if self.children[at].node.is_short() {
            self.join_around(at, bytes);
        }
        true
    }

    /// Removes a child without marks.
    fn drop_child(&mut self, at: usize, bytes: &mut usize) {
        *bytes -= self.children.remove(at).node.own_bytes();
        if !self.bounds.is_empty() {
            *bytes -= self.bounds.remove(at.saturating_sub(1)).bytes();
        }
        let len = self.children.len();
        fit(&mut self.children, len, bytes);
        let len = self.bounds.len();
        fit(&mut self.bounds, len, bytes);
    }

    /// Joins a short child with the neighbour after or before it, if one is short enough.
    fn join_around(&mut self, at: usize, bytes: &mut usize) {
        for left in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            let Some([first, second]) = self.children.get(left..left + 2) else { continue };
            if first.node.width() + second.node.width() > first.node.joined_max() {
                continue;
            }
            let right = self.children.remove(left + 1);
            let bound = self.bounds.remove(left);
            *bytes -= bound.bytes();
            let child = &mut self.children[left];
            child.count += right.count;
            child.node.absorb(bound, right.node, bytes);
            let len = self.children.len();
            fit(&mut self.children, len, bytes);
            fit(&mut self.bounds, len - 1, bytes);
            return;
        }
    }
}

impl Node {
    /// Number of marks.
    fn len(&self) -> usize {
        match self {
            Node::Leaf(marks) => marks.len(),
            Node::Inner(inner) => inner.children.iter().map(|child| child.count).sum(),
        }
    }

    /// Number of marks or children in the node itself.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(marks) => marks.len(),
            Node::Inner(inner) => inner.children.len(),
        }
    }

    const fn max(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF_MAX,
            Node::Inner(_) => INNER_MAX,
        }
    }

    fn joined_max(&self) -> usize {
        joined_max(self.max())
    }

    fn is_short(&self) -> bool {
        self.width() < min_of(self.max())
    }

    /// Bytes of the node without what is below it.
    fn own_bytes(&self) -> usize {
        match self {
            Node::Leaf(marks) => vec_bytes::<ScoreMark>(marks.capacity()),
            Node::Inner(inner) => {
                let bounds = inner.bounds.iter().map(Bound::bytes).sum::<usize>();
                let (children, own) = (inner.children.capacity(), inner.bounds.capacity());
                Inner::BYTES + bounds + vec_bytes::<Child>(children) + vec_bytes::<Bound>(own)
            }
        }
    }

    /// Adds a mark. `is_last`: no node of this level is after this one.
    fn insert<'n>(
        &mut self,
        (mark, name): (ScoreMark, &[u8]),
        is_last: bool,
        names: &impl Fn(ScoreMark) -> &'n [u8],
        bytes: &mut usize,
    ) -> Split {
        let marks = match self {
            Node::Leaf(marks) => marks,
            Node::Inner(inner) => return inner.insert((mark, name), is_last, names, bytes),
        };
        let place = Place { order: mark.order, name };
        let at = marks.partition_point(|held| precedes(*held, place, names));
        if marks.len() < LEAF_MAX {
            let len = marks.len() + 1;
            fit(marks, len, bytes);
            marks.insert(at, mark);
            return None;
        }
        // Rising order: the full leaf stays as it is, and the mark starts a new one.
        let from = if is_last && at == LEAF_MAX { LEAF_MAX } else { LEAF_MAX / 2 };
        let mut right = split_off(marks, from, bytes);
        let (half, at) = if at > from || from == LEAF_MAX { (&mut right, at - from) } else { (&mut *marks, at) };
        let len = half.len() + 1;
        fit(half, len, bytes);
        half.insert(at, mark);
        let bound = Bound::between(*marks.last()?, *right.first()?, names);
        Some((bound, Node::Leaf(right)))
    }

    fn remove<'n>(
        &mut self,
        mark: ScoreMark,
        place: Place<'_>,
        names: &impl Fn(ScoreMark) -> &'n [u8],
        bytes: &mut usize,
    ) -> bool {
        let marks = match self {
            Node::Leaf(marks) => marks,
            Node::Inner(inner) => return inner.remove(mark, place, names, bytes),
        };
        let at = marks.partition_point(|held| precedes(*held, place, names));
        if marks.get(at) != Some(&mark) {
            return false;
        }
        marks.remove(at);
        let len = marks.len();
        fit(marks, len, bytes);
        true
    }

    /// Appends the next node of the same level; `bound` is between both.
    fn absorb(&mut self, bound: Bound, next: Node, bytes: &mut usize) {
        match (self, next) {
            (Node::Leaf(marks), Node::Leaf(next)) => join(marks, next, bytes),
            (Node::Inner(inner), Node::Inner(next)) => {
                let Inner { children, bounds } = *next;
                *bytes += bound.bytes();
                *bytes -= Inner::BYTES;
                join(&mut inner.children, children, bytes);
                let len = inner.bounds.len() + 1 + bounds.len();
                fit(&mut inner.bounds, len, bytes);
                inner.bounds.push(bound);
                join(&mut inner.bounds, bounds, bytes);
            }
            _ => debug_assert!(false, "all leaves are at the same depth"),
        }
    }

    /// Frees the last leaf; returns whether the node has nothing below it any more.
    fn drop_last(&mut self, bytes: &mut usize) -> bool {
        match self {
            Node::Leaf(marks) => {
                *bytes -= vec_bytes::<ScoreMark>(marks.capacity());
                *marks = Vec::new();
                true
            }
            Node::Inner(inner) => {
                let is_bare = inner.children.last_mut().is_none_or(|child| child.node.drop_last(bytes));
                if is_bare && let Some(last) = inner.children.len().checked_sub(1) {
                    inner.drop_child(last, bytes);
                }
                inner.children.is_empty()
            }
        }
    }
}

impl ScoreTree {
    /// Number of marks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the mark of a member that has none. `names` returns the name of any mark, this one's included.
    pub fn insert<'n>(&mut self, mark: ScoreMark, name: &[u8], names: &impl Fn(ScoreMark) -> &'n [u8]) {
        self.len += 1;
        if let Some((bound, right)) = self.root.insert((mark, name), true, names, &mut self.bytes) {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            self.root = Node::Inner(Box::new(Inner::of(left, bound, right, &mut self.bytes)));
        }
    }

    /// Removes the mark of a member.
    pub fn remove<'n>(&mut self, mark: ScoreMark, name: &[u8], names: &impl Fn(ScoreMark) -> &'n [u8]) {
        let place = Place { order: mark.order, name };
        let is_removed = self.root.remove(mark, place, names, &mut self.bytes);
        debug_assert!(is_removed, "every member has a mark");
        self.len -= usize::from(is_removed);
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() <= 1
        {
            let child = inner.children.pop().map_or(Node::Leaf(Vec::new()), |child| child.node);
            self.bytes -= self.root.own_bytes();
            self.root = child;
        }
    }

    /// The number of members before a place: the rank of the member there.
    pub fn rank<'n>(&self, place: Place<'_>, names: &impl Fn(ScoreMark) -> &'n [u8]) -> usize {
        self.count_while(|bound| bound.admits(place), |mark| precedes(mark, place, names))
    }

    /// The number of first members for which `of_mark` holds: it holds for all members before one for which it holds.
    /// `of_bound` says whether it holds for all members below a bound.
    pub fn count_while(&self, of_bound: impl Fn(&Bound) -> bool, of_mark: impl Fn(ScoreMark) -> bool) -> usize {
        let mut before = 0;
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(marks) => return before + marks.partition_point(|mark| of_mark(*mark)),
                Node::Inner(inner) => {
                    let at = inner.bounds.partition_point(&of_bound);
                    before += inner.children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &inner.children[at].node;
                }
            }
        }
    }

    /// The marks of these ranks, the last one first if `reverse`.
    pub fn range(&self, ranks: Range<usize>, reverse: bool) -> Marks<'_> {
        let ranks = ranks.start..ranks.end.min(self.len);
        let left = ranks.len();
        let mut marks = Marks { path: SmallVec::new(), leaf: &[], at: 0, left, reverse };
        if left == 0 {
            return marks;
        }
        let mut rank = if reverse { ranks.end - 1 } else { ranks.start };
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    marks.leaf = leaf;
                    marks.at = rank;
                    return marks;
                }
                Node::Inner(inner) => {
                    let mut at = 0;
                    while let Some(child) = inner.children.get(at)
                        && rank >= child.count
                        && at + 1 < inner.children.len()
                    {
                        rank -= child.count;
                        at += 1;
                    }
                    marks.path.push((&**inner, at));
                    node = &inner.children[at].node;
                }
            }
        }
    }

    /// Frees the last leaf of a tree that is no longer read; returns how many bytes that freed, 0 at the end.
    pub fn drop_last(&mut self) -> usize {
        let before = self.bytes;
        if self.root.drop_last(&mut self.bytes) {
            self.bytes -= self.root.own_bytes();
            self.root = Node::Leaf(Vec::new());
        }
        before - self.bytes
    }
}

/// Marks in order; see [`ScoreTree::range`].
#[derive(Debug)]
pub struct Marks<'t> {
    /// The inner nodes above the leaf, and which child of each is above it.
    path: SmallVec<[(&'t Inner, usize); 6]>,
    leaf: &'t [ScoreMark],
    at: usize,
    /// Number of marks that are to come.
    left: usize,
    reverse: bool,
}

impl Marks<'_> {
    /// The mark that comes `distance` after the next one, if it is in the same leaf.
    #[must_use]
    pub fn ahead(&self, distance: usize) -> Option<ScoreMark> {
        let at = if self.reverse { self.at.checked_sub(distance)? } else { self.at + distance };
        self.leaf.get(at).filter(|_| distance < self.left).copied()
    }
}

impl<'t> Marks<'t> {
    fn advance(&mut self) {
        let next = if self.reverse { self.at.checked_sub(1) } else { Some(self.at + 1) };
        if let Some(next) = next.filter(|next| *next < self.leaf.len()) {
            self.at = next;
            return;
        }
        while let Some((inner, at)) = self.path.pop() {
            let next = if self.reverse { at.checked_sub(1) } else { Some(at + 1) };
            if let Some(next) = next.filter(|next| *next < inner.children.len()) {
                self.path.push((inner, next));
                return self.descend(&inner.children[next].node);
            }
        }
    }

    fn descend(&mut self, mut node: &'t Node) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.leaf = leaf;
                    self.at = if self.reverse { leaf.len() - 1 } else { 0 };
                    return;
                }
                Node::Inner(inner) => {
                    let at = if self.reverse { inner.children.len() - 1 } else { 0 };
                    self.path.push((&**inner, at));
                    node = &inner.children[at].node;
                }
            }
        }
    }
}

impl Iterator for Marks<'_> {
    type Item = ScoreMark;

    fn next(&mut self) -> Option<ScoreMark> {
        self.left = self.left.checked_sub(1)?;
        let mark = *self.leaf.get(self.at)?;
        if self.left > 0 {
            self.advance();
        }
        Some(mark)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Marks<'_> {}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
