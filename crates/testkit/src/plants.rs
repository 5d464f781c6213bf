//! Which planted bugs the simulation finds, on seeds that were chosen for none of them.
//!
//! Every plant is hunted on the same seeds, in the same order, with all faults and all invariants; the first violation
//! ends the hunt. The same seeds without a plant must hold: [`clean`] runs them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fastness_types::Plant;

use crate::sim::{SimOptions, Simulator};

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

/// Hunts one plant on the seeds, `jobs` at a time; everything else is as the options say.
#[must_use]
pub fn hunt(simulator: &Simulator, plant: Plant, options: &SimOptions, seeds: &Range<u64>, jobs: usize) -> Hunt {
    let started = Instant::now();
    let first = first_violation(simulator, &SimOptions { plant: Some(plant), ..options.clone() }, seeds, jobs);
    Hunt { plant, seeds: first.begun, took: started.elapsed(), found: first.found }
}

/// Runs the seeds without a plant. The seed that did not hold, and why.
#[must_use]
pub fn clean(simulator: &Simulator, options: &SimOptions, seeds: &Range<u64>, jobs: usize) -> Option<(u64, String)> {
    first_violation(simulator, &SimOptions { plant: None, ..options.clone() }, seeds, jobs).found
}

struct First {
    begun: u64,
    found: Option<(u64, String)>,
}

/// Runs seeds until one is broken; of several that were under way the lowest counts. A seed that does not end is a
/// finding.
fn first_violation(simulator: &Simulator, options: &SimOptions, seeds: &Range<u64>, jobs: usize) -> First {
    let (tell, told) = mpsc::channel();
    let start = |seed| {
        let (tell, simulator, options) = (tell.clone(), simulator.clone(), SimOptions { seed, ..options.clone() });
        std::thread::spawn(move || {
            let violation = match simulator.run(&options) {
                Ok(report) => report.violations.into_iter().next(),
                Err(finding) => Some(finding),
            };
            // Somebody listens until all have told.
            let _ = tell.send((seed, violation));
        });
    };
    let mut next = seeds.clone();
    let mut under_way: BTreeSet<u64> = next.by_ref().take(jobs.max(1)).collect();
    under_way.iter().for_each(|seed| start(*seed));
    let mut found: Option<(u64, String)> = None;
    while !under_way.is_empty() {
        let (seed, violation) = told.recv().expect("a sender is kept here");
        under_way.remove(&seed);
        if let Some(violation) = violation
            && found.as_ref().is_none_or(|(other, _)| seed < *other)
        {
            found = Some((seed, violation));
        }
        if found.is_none()
            && let Some(seed) = next.next()
        {
            under_way.insert(seed);
            start(seed);
        }
    }
    First { begun: next.start - seeds.start, found }
}
