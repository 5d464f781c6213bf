//! The best candidates of the keys that were sampled so far.
//!
//! A few samples of a large keyspace rarely have one of its oldest keys. Those that were good and not chosen are
//! remembered, so that each choice is made among the samples of many.

use crate::keyspace::{AccessClock, Entry};
use fastness_types::WallMs;

/// Candidates that are remembered; Valkey's number.
const CANDIDATES_MAX: usize = 16;

/// A key that may be removed.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) key: Vec<u8>,
    /// How good it is to remove it when it was sampled.
    pub(super) score: u32,
}

/// The candidates, the best last.
#[derive(Debug, Default)]
pub(super) struct Pool(Vec<Candidate>);

/// How good it is to remove a key: seconds since its last access, or how little it is accessed.
pub(super) fn score(clock: &AccessClock, entry: &Entry, now: WallMs) -> u32 {
    match clock.frequency(entry.access(), now) {
        Some(frequency) => u32::from(u8::MAX - frequency),
        None => clock.idle_seconds(entry.access(), now).unwrap_or(0),
    }
}

impl Pool {
    /// Adds a key, if it is better than the worst candidate or there is space.
    pub(super) fn offer(&mut self, key: &[u8], score: u32) {
        let is_full = self.0.len() == CANDIDATES_MAX;
        if is_full && self.0.first().is_some_and(|worst| worst.score >= score) {
            return;
        }
        if let Some(known) = self.0.iter().position(|candidate| candidate.key == key) {
            self.0.remove(known);
        } else if is_full {
            self.0.remove(0);
        }
        let place = self.0.partition_point(|candidate| candidate.score <= score);
        self.0.insert(place, Candidate { key: key.to_vec(), score });
    }

    /// Removes and returns the best candidate.
    pub(super) fn take(&mut self) -> Option<Candidate> {
        self.0.pop()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_and_each_key_once() {
        let mut pool = Pool::default();
        for score in (0..100).chain(90..100) {
            pool.offer(format!("k{score}").as_bytes(), score);
        }
        let kept: Vec<u32> = std::iter::from_fn(|| pool.take()).map(|candidate| candidate.score).collect();
        assert_eq!(kept, (84..100).rev().collect::<Vec<_>>());
        assert!(pool.take().is_none());
    }

    #[test]
    fn a_key_that_is_sampled_again_has_its_newest_score() {
        let mut pool = Pool::default();
        [(1, 5), (2, 9), (1, 20)].iter().for_each(|(key, score)| pool.offer(&[*key], *score));
        let order: Vec<u8> = std::iter::from_fn(|| pool.take()).map(|candidate| candidate.key[0]).collect();
        assert_eq!(order, [1, 2]);
    }
}
