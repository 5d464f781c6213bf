//! The keys with a deadline, ordered by their deadlines.
//!
//! Marks are kept in sorted runs of at most `RUN_MAX`, each found by the lowest mark that it may hold. Deadlines mostly
//! arrive in rising order (`now` plus the same span), which fills runs to the end; inserting into the middle of a full
//! run splits it. A run's memory follows its length in the allocator's size classes, so that a mark costs little more
//! than its 16 bytes, where a B-tree of marks takes 30 to 37.
//!
//! # Invariants
//! - Runs are sorted, and all marks of a run are at least its own bound and below the next run's.
//! - A run with the lowest bound always exists; only that run may be empty.

use super::memory::size_class;
use fastness_types::WallMs;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// A deadline, and a number that finds its key.
pub type Mark = (WallMs, u64);

/// Marks of one run: 2 KiB, so that inserting moves at most that.
const RUN_MAX: usize = 128;
/// A shorter run absorbs the next one, if both fit into three quarters of a run.
const RUN_MIN: usize = RUN_MAX / 4;
const JOINED_MAX: usize = RUN_MAX * 3 / 4;
const LOWEST: Mark = (WallMs(0), 0);
const MARK_BYTES: usize = size_of::<Mark>();
/// Bytes that a run takes in the tree: bound, vector, its share of a node.
const RUN_BYTES: usize = 64;

/// An index of deadlines.
#[derive(Debug, Clone)]
pub struct Deadlines {
    runs: BTreeMap<Mark, Vec<Mark>>,
    len: usize,
    bytes: usize,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines { runs: BTreeMap::from([(LOWEST, Vec::new())]), len: 0, bytes: RUN_BYTES }
    }
}

/// Adjusts the capacity of a run to `len` marks, in the allocator's size classes. Returns the (new, old) size in bytes.
fn fit(run: &mut Vec<Mark>, len: usize) -> (usize, usize) {
    let before = run.capacity();
    let wanted = if len == 0 { 0 } else { size_class(len * MARK_BYTES) / MARK_BYTES };
    if wanted > before {
        run.reserve_exact(wanted - run.len());
    } else if before > 2 * wanted {
        run.shrink_to(wanted);
    }
    (run.capacity() * MARK_BYTES, before * MARK_BYTES)
}

impl Deadlines {
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

    /// Memory in use, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The lowest mark.
    #[must_use]
    pub fn first(&self) -> Option<Mark> {
        self.runs.values().find_map(|run| run.first().copied())
    }

    /// The highest mark.
    #[must_use]
    pub fn last(&self) -> Option<Mark> {
        self.runs.values().rev().find_map(|run| run.last().copied())
    }

    /// Every mark, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Mark> {
        self.runs.values().flatten().copied()
    }

    /// Number of marks whose deadline is before `at`. Walks the runs of these, not the marks.
    #[must_use]
    pub fn count_before(&self, at: WallMs) -> usize {
        let runs = self.runs.values().take_while(|run| run.first().is_none_or(|(first, _)| *first < at));
        runs.map(|run| run.partition_point(|(deadline, _)| *deadline < at)).sum()
    }

    /// The marks with these places in the order of marks, which are sorted. Walks the runs once.
    #[must_use]
    pub fn at_ranks(&self, ranks: &[usize]) -> Vec<Mark> {
        let (mut marks, mut before) = (Vec::with_capacity(ranks.len()), 0);
        for run in self.runs.values() {
            while let Some(mark) = ranks.get(marks.len()).and_then(|rank| run.get(rank.checked_sub(before)?)) {
                marks.push(*mark);
            }
            if marks.len() == ranks.len() {
                break;
            }
            before += run.len();
        }
        marks
    }

    /// The lowest mark that is not below this one; the lowest of all, if all are below.
    #[must_use]
    pub fn at_or_after(&self, mark: Mark) -> Option<Mark> {
        let (bound, run) = self.runs.range(..=mark).next_back()?;
        let here = run.get(run.partition_point(|held| *held < mark)).copied();
        here.or_else(|| {
            let mut later = self.runs.range((Excluded(*bound), Unbounded));
            later.find_map(|(_, run)| run.first().copied()).or_else(|| self.first())
        })
    }

    fn resize(&mut self, (new, old): (usize, usize)) {
        self.bytes = self.bytes + new - old;
    }

    fn run_of(&mut self, mark: Mark) -> (Mark, &mut Vec<Mark>) {
        let (bound, run) = self.runs.range_mut(..=mark).next_back().expect("a run with the lowest bound exists");
        (*bound, run)
    }

    fn add_run(&mut self, bound: Mark, mut run: Vec<Mark>) {
        run.shrink_to_fit();
        self.bytes += RUN_BYTES + run.capacity() * MARK_BYTES;
        self.runs.insert(bound, run);
    }

    /// Adds a mark, unless it exists already.
    pub fn insert(&mut self, mark: Mark) {
        let (bound, run) = self.run_of(mark);
        let Err(place) = run.binary_search(&mark) else { return };
        if run.len() < RUN_MAX {
            let change = fit(run, run.len() + 1);
            run.insert(place, mark);
            self.resize(change);
            self.len += 1;
            return;
        }
        if place == RUN_MAX {
            // Rising order: the full run stays as it is, and the mark starts a new one.
            self.add_run(mark, vec![mark]);
            self.len += 1;
            return;
        }
        let upper = run.split_off(RUN_MAX / 2);
        let change = fit(run, RUN_MAX / 2);
        debug_assert!(bound <= run[0]);
        self.resize(change);
        self.add_run(upper[0], upper);
        self.insert(mark);
    }

    /// Removes a mark; returns whether it existed.
    pub fn remove(&mut self, mark: Mark) -> bool {
        let (bound, run) = self.run_of(mark);
        let Ok(place) = run.binary_search(&mark) else { return false };
        run.remove(place);
        let (len, change) = (run.len(), fit(run, run.len()));
        self.resize(change);
        self.len -= 1;
        if len == 0 && bound != LOWEST {
            self.drop_run(bound);
        } else if len < RUN_MIN {
            self.join_next(bound, len);
        }
        true
    }

    fn drop_run(&mut self, bound: Mark) -> Vec<Mark> {
        let run = self.runs.remove(&bound).expect("the caller found the run");
        self.bytes -= RUN_BYTES + run.capacity() * MARK_BYTES;
        run
    }

    /// Frees the lowest run of an index that is no longer read; returns whether runs are left.
    pub(super) fn drop_first_run(&mut self) -> bool {
        if let Some((bound, run)) = self.runs.first_key_value() {
            let (bound, len) = (*bound, run.len());
            self.drop_run(bound);
            self.len -= len;
        }
        !self.runs.is_empty()
    }

    /// Absorbs the next run, if both are short.
    fn join_next(&mut self, bound: Mark, len: usize) {
        let Some((&next, run)) = self.runs.range((Excluded(bound), Unbounded)).next() else { return };
        if len + run.len() > JOINED_MAX {
            return;
        }
        let taken = self.drop_run(next);
        let (_, run) = self.run_of(bound);
        let change = fit(run, run.len() + taken.len());
        run.extend(taken);
        self.resize(change);
    }

    /// Removes all marks.
    pub fn clear(&mut self) {
        *self = Deadlines::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check(deadlines: &Deadlines, model: &BTreeSet<Mark>) {
        let held: Vec<Mark> = deadlines.runs.values().flatten().copied().collect();
        assert!(held.iter().eq(model.iter()), "in order, none lost");
        assert_eq!(deadlines.len(), model.len());
        assert_eq!(deadlines.first(), model.first().copied());
        assert_eq!(deadlines.last(), model.last().copied());
        assert!(deadlines.iter().eq(model.iter().copied()));
        let ranks: Vec<usize> = (0..model.len()).step_by(3).flat_map(|rank| [rank, rank]).collect();
        let expected: Vec<Mark> = model.iter().step_by(3).flat_map(|mark| [*mark, *mark]).collect();
        assert_eq!(deadlines.at_ranks(&ranks), expected);
        for mark in [(WallMs(0), 0), (WallMs(7), 1), (WallMs(200), 2), (WallMs(9_999), 0)] {
            let expected = model.range(mark..).next().or_else(|| model.first()).copied();
            assert_eq!(deadlines.at_or_after(mark), expected);
        }
        for at in [0, 1, 200, 400, 3_000].map(WallMs) {
            assert_eq!(deadlines.count_before(at), model.iter().filter(|(deadline, _)| *deadline < at).count());
        }
        let bytes: usize = deadlines.runs.values().map(|run| RUN_BYTES + run.capacity() * MARK_BYTES).sum();
        assert_eq!(deadlines.bytes(), bytes);
        assert!(deadlines.runs.iter().all(|(bound, run)| *bound == LOWEST || !run.is_empty() && run[0] >= *bound));
        assert!(deadlines.runs.values().all(|run| run.len() <= RUN_MAX));
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(
            steps in prop::collection::vec((0u8..5, 0u64..400, 0u64..3), 0..3_000),
            rising in any::<bool>(),
        ) {
            let mut deadlines = Deadlines::default();
            let mut model = BTreeSet::new();
            for (i, (what, at, key)) in steps.into_iter().enumerate() {
                let mark = (WallMs(if rising { at + i as u64 } else { at }), key);
                if what > 1 {
                    deadlines.insert(mark);
                    model.insert(mark);
                } else if what == 1 {
                    prop_assert_eq!(deadlines.remove(mark), model.remove(&mark));
                } else if let Some(first) = deadlines.first() {
                    prop_assert!(deadlines.remove(first) && model.remove(&first));
                }
            }
            check(&deadlines, &model);
        }
    }

    #[test]
    fn a_mark_costs_little_more_than_itself() {
        const MARKS: u64 = 100_000;
        let per_mark = |place: fn(u64) -> u64| {
            let mut deadlines = Deadlines::default();
            (0..MARKS).for_each(|i| deadlines.insert((WallMs(place(i)), i)));
            deadlines.bytes() as f64 / MARKS as f64
        };
        assert!(per_mark(|i| i) < 17.0, "rising");
        assert!(per_mark(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) < 20.0, "in any order");
    }

    #[test]
    fn emptying_gives_back() {
        let mut deadlines = Deadlines::default();
        (0..10_000).for_each(|i| deadlines.insert((WallMs(i * 7_919 % 10_007), i)));
        while let Some(first) = deadlines.first() {
            assert!(deadlines.remove(first));
        }
        assert!(deadlines.bytes() < 4 * RUN_BYTES, "{}", deadlines.bytes());
    }
}
