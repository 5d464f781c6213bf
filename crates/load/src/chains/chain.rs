//! What one writer knows about one key.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crate::connection::Endpoint;

/// Bound on the writes of one key whose outcome is unknown. At the bound the key is not written any more.
pub const UNKNOWN_MAX: usize = 256;

/// A write that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number that was written.
    pub number: u64,
    /// When it was sent.
    pub sent: Instant,
    /// When the reply arrived, or when the number was found.
    pub at: Instant,
    /// The node that acknowledged it; `None`: it was found, its own reply never arrived.
    pub by: Option<Endpoint>,
}

/// What a reply or a read has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Acknowledged writes that are lost.
    pub lost: Vec<Entry>,
    /// Further lost writes, older than the remembered ones. An upper bound.
    pub lost_before: u64,
    /// Increments that took effect more than once.
    pub doubled: u64,
    /// Whether a number was found that was refused or never written.
    pub phantom: bool,
}

/// The newest writes of a key, oldest first, in the order in which they took effect.
#[derive(Debug)]
struct History {
    done: VecDeque<Entry>,
    /// Largest number of entries.
    max: usize,
    /// Number of acknowledged writes that were dropped at the bound.
    forgotten: u64,
}

impl History {
    fn new(max: usize) -> History {
        History { done: VecDeque::new(), max: max.max(1), forgotten: 0 }
    }

    fn push(&mut self, entry: Entry) {
        if self.done.len() >= self.max {
            let dropped = self.done.pop_front();
            self.forgotten += u64::from(dropped.is_some_and(|entry| entry.by.is_some()));
        }
        self.done.push_back(entry);
    }

    /// Removes the entries from `from` on; those that were acknowledged are lost.
    fn lose(&mut self, from: usize) -> Vec<Entry> {
        self.done.split_off(from).into_iter().filter(|entry| entry.by.is_some()).collect()
    }
}

/// A key that is written with SET.
#[derive(Debug)]
pub struct Chain {
    attempted: u64,
    history: History,
    unknown: BTreeSet<u64>,
}

impl Chain {
    /// A key without writes, of which at most `history_max` are remembered.
    #[must_use]
    pub fn new(history_max: usize) -> Chain {
        Chain { attempted: 0, history: History::new(history_max), unknown: BTreeSet::new() }
    }

    /// The number to write next.
    pub fn attempt(&mut self) -> u64 {
        self.attempted += 1;
        self.attempted
    }

    /// Records that the outcome of a write is unknown.
    pub fn unknown(&mut self, number: u64) {
        self.unknown.insert(number);
    }

    /// Whether the key may not be written any more, because too many outcomes are unknown.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.unknown.len() >= UNKNOWN_MAX
    }

    /// Records an acknowledged write, whose reply contained the number before (0: the key was missing).
    pub fn acknowledged(&mut self, entry: Entry, before: u64) -> Found {
        let found = self.found(before, entry.at);
        self.history.push(entry);
        found
    }

    /// Judges a number that was found in the key (0: the key was missing).
    pub fn found(&mut self, number: u64, at: Instant) -> Found {
        let done = &self.history.done;
        if done.back().map_or(0, |entry| entry.number) == number && (number > 0 || self.history.forgotten == 0) {
            return Found::default();
        }
        if self.unknown.remove(&number) {
            self.history.push(Entry { number, sent: at, at, by: None });
            return Found::default();
        }
        if let Some(position) = done.iter().rposition(|entry| entry.number == number) {
            return Found { lost: self.history.lose(position + 1), ..Found::default() };
        }
        let is_forgotten = self.history.forgotten > 0 && done.front().is_some_and(|oldest| number < oldest.number);
        if number != 0 && !is_forgotten {
            return Found { phantom: true, ..Found::default() };
        }
        let lost_before = std::mem::take(&mut self.history.forgotten);
        let lost = self.history.lose(0);
        if number != 0 {
            self.history.push(Entry { number, sent: at, at, by: None });
        }
        Found { lost, lost_before, ..Found::default() }
    }
}

/// A key that is incremented.
#[derive(Debug)]
pub struct CounterChain {
    /// The value according to the newest reply.
    value: u64,
    /// Increments of unknown outcome that have not shown up.
    open: u64,
    history: History,
}

impl CounterChain {
    /// A counter at 0.
    #[must_use]
    pub fn new(history_max: usize) -> CounterChain {
        CounterChain { value: 0, open: 0, history: History::new(history_max) }
    }

    /// Records that the outcome of an increment is unknown.
    pub fn unknown(&mut self) {
        self.open += 1;
    }

    /// Records an acknowledged increment, whose number is the value in the reply.
    pub fn acknowledged(&mut self, entry: Entry) -> Found {
        let found = self.found(entry.number.saturating_sub(1));
        self.value = entry.number;
        self.history.push(entry);
        found
    }

    /// Judges a value that was found.
    pub fn found(&mut self, value: u64) -> Found {
        let mut found = Found::default();
        if value < self.value {
            let done = &self.history.done;
            let kept = done.iter().rposition(|entry| entry.number <= value).map_or(0, |position| position + 1);
            if kept == 0 {
                found.lost_before = std::mem::take(&mut self.history.forgotten);
            }
            found.lost = self.history.lose(kept);
        } else {
            let more = value - self.value;
            found.doubled = more.saturating_sub(self.open);
            self.open = self.open.saturating_sub(more);
        }
        self.value = value;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        let now = Instant::now();
        Entry { number, sent: now, at: now, by: Some(Endpoint::new("h", 1)) }
    }

    fn chain_of(acknowledged: u64, history_max: usize) -> Chain {
        let mut chain = Chain::new(history_max);
        for before in 0..acknowledged {
            let number = chain.attempt();
            assert_eq!(chain.acknowledged(entry(number), before), Found::default());
        }
        chain
    }

    fn numbers(found: &Found) -> Vec<u64> {
        found.lost.iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn all_acknowledged_writes_after_the_one_that_is_found_are_lost_once() {
        let mut chain = chain_of(5, 10);
        let found = chain.found(2, Instant::now());
        assert_eq!(numbers(&found), [3, 4, 5]);
        assert_eq!(chain.found(2, Instant::now()), Found::default());
        let number = chain.attempt();
        assert_eq!(chain.acknowledged(entry(number), 2), Found::default());
        assert_eq!(numbers(&chain.found(0, Instant::now())), [1, 2, 6]);
    }

    #[test]
    fn an_unknown_write_may_happen_late_but_once() {
        let mut chain = chain_of(2, 10);
        let unknown = chain.attempt();
        chain.unknown(unknown);
        let number = chain.attempt();
        assert_eq!(chain.acknowledged(entry(number), 2), Found::default());
        assert_eq!(chain.found(3, Instant::now()), Found::default(), "it happened after the acknowledged one");
        let number = chain.attempt();
        assert_eq!(chain.acknowledged(entry(number), 3), Found::default());
        assert_eq!(numbers(&chain.found(3, Instant::now())), [5], "it cannot happen again");
    }

    #[test]
    fn a_refused_write_that_is_found_is_a_phantom() {
        let mut chain = chain_of(2, 10);
        chain.attempt();
        assert!(chain.found(3, Instant::now()).phantom && chain.found(9, Instant::now()).phantom);
    }

    #[test]
    fn what_is_forgotten_still_counts_as_lost() {
        let mut chain = chain_of(10, 4);
        let found = chain.found(3, Instant::now());
        assert_eq!((numbers(&found), found.lost_before), (vec![7, 8, 9, 10], 6));
        let mut chain = chain_of(10, 4);
        assert_eq!(chain.found(0, Instant::now()).lost_before, 6);
    }

    #[test]
    fn a_key_with_too_many_unknown_writes_is_retired() {
        let mut chain = Chain::new(4);
        for _ in 0..UNKNOWN_MAX {
            assert!(!chain.is_retired());
            let number = chain.attempt();
            chain.unknown(number);
        }
        assert!(chain.is_retired());
    }

    #[test]
    fn a_counter_shows_lost_and_doubled_increments() {
        let mut counter = CounterChain::new(10);
        for value in 1..=3 {
            assert_eq!(counter.acknowledged(entry(value)), Found::default());
        }
        counter.unknown();
        assert_eq!(counter.acknowledged(entry(5)), Found::default(), "the unknown one has happened");
        assert_eq!(counter.acknowledged(entry(7)).doubled, 1);
        let found = counter.acknowledged(entry(4));
        assert_eq!(numbers(&found), [5, 7]);
        assert_eq!(counter.found(4), Found::default());
        assert_eq!(numbers(&counter.found(0)), [1, 2, 3, 4]);
    }
}
