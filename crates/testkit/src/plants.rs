//! Which planted bugs the simulation finds, on seeds that were chosen for none of them.
//!
//! Every plant is hunted on the same seeds, in the same order, with all faults and all invariants; the first violation ends
//! the hunt. The same seeds without a plant must hold: [`clean`] runs them.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastness_types::Plant;
use parking_lot::Mutex;

use crate::sim::{self, Options};

/// What came of the hunt for one plant.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// What was planted.
    pub plant: Plant,
    /// Seeds that were begun until it was found, or all.
    pub seeds: u64,
    /// Wall time.
    pub took: Duration,
    /// The seed that found it and what was broken; `None`: it was not found.
    pub found: Option<(u64, String)>,
}

/// Hunts one plant on the seeds, `jobs` at a time.
#[must_use]
pub fn hunt(plant: Plant, seeds: &Range<u64>, jobs: usize) -> Hunt {
    let started = Instant::now();
    let first = first_violation(Some(plant), seeds, jobs);
    Hunt { plant, seeds: first.begun, took: started.elapsed(), found: first.found }
}

/// Runs the seeds without a plant. The seed that did not hold, and why.
#[must_use]
pub fn clean(seeds: &Range<u64>, jobs: usize) -> Option<(u64, String)> {
    first_violation(None, seeds, jobs).found
}

struct First {
    begun: u64,
    found: Option<(u64, String)>,
}

/// Runs seeds until one is broken; of several that were under way the lowest counts.
fn first_violation(plant: Option<Plant>, seeds: &Range<u64>, jobs: usize) -> First {
    let next = AtomicU64::new(seeds.start);
    let is_found = AtomicBool::new(false);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        while !is_found.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = sim::run(&Options { planted: plant, ..Options::new(seed) });
            if let Some(violation) = report.violations.into_iter().next() {
                is_found.store(true, Ordering::Relaxed);
                let mut found = found.lock();
                if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *found = Some((seed, violation));
                }
            }
        }
    };
    std::thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    let begun = next.load(Ordering::Relaxed).min(seeds.end) - seeds.start;
    First { begun, found: found.into_inner() }
}
