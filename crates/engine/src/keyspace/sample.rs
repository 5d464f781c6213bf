//! Keys at random, among which an eviction policy chooses.

use super::deadlines::Mark;
use super::entry::Entry;
use super::slots::Keyspace;
use crate::random::Random;

impl Keyspace {
    /// Visits `count` keys from random places, or a few more, because buckets are visited whole: a place in a bucket
    /// tells how old its key is. Where slots have few keys, each is visited with the chance that its size gives.
    pub(crate) fn sample<'k>(&'k self, count: usize, random: &mut dyn Random, mut visit: impl FnMut(&'k Entry)) {
        let mut visited = 0;
        for _ in 0..count {
            let Some(table) = self.random_table(random) else { return };
            // A bucket's number is a cursor at it.
            let mut place = random.below(table.buckets() as u64);
            for _ in 0..table.buckets().min(count) {
                place = table.scan(place, |entry| {
                    visited += 1;
                    visit(entry);
                });
                if visited >= count {
                    return;
                }
            }
        }
    }

    /// Up to `count` places of keys with a deadline, independently drawn, in the order of their deadlines. Walks the
    /// index of deadlines once, run by run.
    pub(crate) fn draw_volatile(&self, count: usize, random: &mut dyn Random) -> Vec<Mark> {
        let len = self.due.len();
        if len == 0 {
            return Vec::new();
        }
        let mut ranks: Vec<usize> = (0..count.min(len)).map(|_| random.below(len as u64) as usize).collect();
        ranks.sort_unstable();
        self.due.at_ranks(&ranks)
    }

    /// The key with a deadline at a place that was drawn; the next one, if that key has left or has another deadline.
    pub(crate) fn volatile_at(&self, place: Mark) -> Option<&Entry> {
        self.entry_of(self.due.at_or_after(place)?, Entry::deadline)
    }

    /// The key with the earliest deadline, passed or not.
    pub(crate) fn first_volatile(&self) -> Option<&Entry> {
        self.entry_of(self.due.first()?, Entry::deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExpiryChange, NewValue};
    use super::*;
    use crate::testing::Counter;
    use fastness_types::{HashSeed, WallMs};
    use std::collections::BTreeMap;

    fn filled(keys: usize, deadline: impl Fn(usize) -> Option<WallMs>) -> Keyspace {
        let mut keyspace = Keyspace::new(HashSeed([3; 16]));
        for i in 0..keys {
            let name = format!("{{one}}{i}");
            let expiry = deadline(i).map_or(ExpiryChange::Drop, ExpiryChange::At);
            let key = keyspace.key(name.as_bytes());
            keyspace.put(&key, NewValue::Int(1), expiry, WallMs(1));
        }
        keyspace
    }

    #[test]
    fn every_key_is_visited_about_as_often() {
        let keyspace = filled(400, |_| None);
        let (mut random, mut visits) = (Counter(5), BTreeMap::<&[u8], u32>::new());
        for _ in 0..20_000 {
            let mut visited = 0;
            keyspace.sample(5, &mut random, |entry| {
                visited += 1;
                *visits.entry(entry.key()).or_default() += 1;
            });
            assert!((5..=32).contains(&visited), "{visited}");
        }
        let mean = visits.values().sum::<u32>() / 400;
        assert_eq!(visits.len(), 400);
        assert!(visits.values().all(|count| (mean / 4..mean * 4).contains(count)), "{mean}: {visits:?}");
    }

    #[test]
    fn a_keyspace_that_is_almost_empty_is_sampled_too() {
        let mut random = Counter(5);
        filled(0, |_| None).sample(5, &mut random, |_| panic!("there is no key"));
        let (keyspace, mut visited) = (filled(1, |_| None), 0);
        keyspace.sample(5, &mut random, |_| visited += 1);
        assert_eq!(visited, 5, "the one key, each time");
    }

    /// Most deadlines are near, a few are far away: places are drawn by number, not by time.
    #[test]
    fn keys_with_a_deadline_are_drawn_uniformly() {
        let far = |i: usize| if i.is_multiple_of(10) { 1_000_000_000 * i as u64 } else { 1_000 + i as u64 };
        let keyspace = filled(1_000, |i| Some(WallMs(far(i))));
        let (mut random, mut near) = (Counter(9), 0);
        for _ in 0..100 {
            let places = keyspace.draw_volatile(100, &mut random);
            assert_eq!(places.len(), 100);
            near += places.iter().filter(|(at, _)| at.0 < 3_000).count();
            assert!(places.iter().all(|place| keyspace.volatile_at(*place).unwrap().deadline() == Some(place.0)));
        }
        assert!((8_800..9_200).contains(&near), "{near} of 10,000");
        let beyond = keyspace.volatile_at((WallMs(u64::MAX), 0));
        assert_eq!(beyond.unwrap().key(), keyspace.first_volatile().unwrap().key(), "from the start again");
        assert!(filled(5, |_| None).draw_volatile(9, &mut random).is_empty());
    }
}
