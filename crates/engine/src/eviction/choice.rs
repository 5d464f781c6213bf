//! The choice of a key by the policy.
//!
//! - `volatile-ttl` is exact: the index of deadlines has the earliest one first.
//! - The random policies draw one key.
//! - LRU and LFU are approximated as in Valkey: each choice samples a few keys and takes the best of all candidates
//!   that are [remembered](super::pool). A candidate that was accessed since it was sampled is dropped.
//!
//! Keys with a deadline are not a table of their own: places in the index of deadlines are drawn for many samples at
//! once, because that takes a walk through the index.

use super::policy::{EvictionOptions, EvictionPolicy};
use super::pool::{self, Pool};
use crate::keyspace::deadlines::Mark;
use crate::keyspace::{Entry, Keyspace};
use crate::random::Random;
use fastness_types::WallMs;

/// Places in the index of deadlines that one walk draws.
const PLACES_DRAWN: usize = 1_024;
/// Rounds of samples for one choice, before it is given up. Each round offers at least one key as it is at that moment,
/// so the first one decides, unless the keyspace is empty.
const ROUNDS_MAX: usize = 8;

/// What a choice remembers of the choices before.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pool: Pool,
    places: Vec<Mark>,
}

impl Choice {
    /// Forgets everything: the policy or the data is another.
    pub(crate) fn reset(&mut self) {
        self.pool.clear();
        self.places.clear();
    }

    /// The name of the key to remove next; `None`: there is none.
    pub(crate) fn choose(
        &mut self,
        options: &EvictionOptions,
        keyspace: &Keyspace,
        now: WallMs,
        random: &mut dyn Random,
    ) -> Option<Vec<u8>> {
        let entry = match options.policy {
            EvictionPolicy::NoEviction => None,
            EvictionPolicy::VolatileTtl => keyspace.first_volatile(),
            EvictionPolicy::AllKeysRandom => keyspace.random(random),
            EvictionPolicy::VolatileRandom => self.draw_volatile(keyspace, random),
            EvictionPolicy::AllKeysLru
            | EvictionPolicy::AllKeysLfu
            | EvictionPolicy::VolatileLru
            | EvictionPolicy::VolatileLfu => return self.best_sample(options, keyspace, now, random),
        };
        entry.map(|entry| entry.key().to_vec())
    }

    fn best_sample(
        &mut self,
        options: &EvictionOptions,
        keyspace: &Keyspace,
        now: WallMs,
        random: &mut dyn Random,
    ) -> Option<Vec<u8>> {
        let clock = keyspace.access_clock();
        for _ in 0..ROUNDS_MAX {
            self.sample(options, keyspace, now, random);
            while let Some(candidate) = self.pool.take() {
                let Some(entry) = keyspace.find(&keyspace.key(&candidate.key)) else { continue };
                let is_eligible = !options.policy.is_volatile() || entry.deadline().is_some();
                if is_eligible && pool::score(clock, entry, now) >= candidate.score {
                    return Some(candidate.key);
                }
            }
        }
        None
    }

    /// Offers a round of samples to the pool.
    fn sample(&mut self, options: &EvictionOptions, keyspace: &Keyspace, now: WallMs, random: &mut dyn Random) {
        let (clock, samples) = (keyspace.access_clock(), options.samples as usize);
        if options.policy.is_volatile() {
            for _ in 0..samples {
                let Some(entry) = self.draw_volatile(keyspace, random) else { return };
                self.pool.offer(entry.key(), pool::score(clock, entry, now));
            }
        } else {
            let pool = &mut self.pool;
            keyspace.sample(samples, random, |entry| pool.offer(entry.key(), pool::score(clock, entry, now)));
        }
    }

    /// A random key with a deadline.
    fn draw_volatile<'k>(&mut self, keyspace: &'k Keyspace, random: &mut dyn Random) -> Option<&'k Entry> {
        if self.places.is_empty() {
            self.places = keyspace.draw_volatile(PLACES_DRAWN, random);
        }
        let len = self.places.len() as u64;
        if len == 0 {
            return None;
        }
        let place = self.places.swap_remove(random.below(len) as usize);
        keyspace.volatile_at(place)
    }
}
