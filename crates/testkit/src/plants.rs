//! Hunts for planted bugs with the simulation, on seeds that were not chosen for them.
//!
//! Every plant is hunted on the same seeds, in the same order, with all faults and all invariants; the first violation
//! ends the hunt. The same seeds without a plant must hold: [`clean`] runs them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fastness_types::Plant;

use crate::sim::{SimOptions, Simulator};

/// Result of the hunt for one plant.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// The planted bug.
    pub plant: Plant,
    /// Number of seeds started until the bug was found, or of all seeds.
    pub seeds: u64,
    /// Wall time.
    pub took: Duration,
    /// The seed that found the bug, and the violation; `None`: not found.
    pub found: Option<(u64, String)>,
}

/// Hunts for one plant on the seeds, `jobs` at a time; all else is as in `options`.
#[must_use]
pub fn hunt(simulator: &Simulator, plant: Plant, options: &SimOptions, seeds: &Range<u64>, jobs: usize) -> Hunt {
    let started = Instant::now();
    let first = first_violation(simulator, &SimOptions { plant: Some(plant), ..options.clone() }, seeds, jobs);
    Hunt { plant, seeds: first.begun, took: started.elapsed(), found: first.found }
}

/// Runs the seeds without a plant. Returns the seed that did not hold, and why.
#[must_use]
pub fn clean(simulator: &Simulator, options: &SimOptions, seeds: &Range<u64>, jobs: usize) -> Option<(u64, String)> {
    first_violation(simulator, &SimOptions { plant: None, ..options.clone() }, seeds, jobs).found
}

struct First {
    begun: u64,
    found: Option<(u64, String)>,
}

/// Runs seeds until one breaks an invariant; of several running ones the lowest counts. A seed that does not end is a
/// finding.
fn first_violation(simulator: &Simulator, options: &SimOptions, seeds: &Range<u64>, jobs: usize) -> First {
    let (sender, findings) = mpsc::channel();
    let start = |seed| {
        let (sender, simulator, options) = (sender.clone(), simulator.clone(), SimOptions { seed, ..options.clone() });
        std::thread::spawn(move || {
            let violation = match simulator.run(&options) {
                Ok(report) => report.violations.into_iter().next(),
                Err(finding) => Some(finding),
            };
            // The receiver lives until all threads have reported.
            let _ = sender.send((seed, violation));
        });
    };
    let mut next = seeds.clone();
    let mut under_way: BTreeSet<u64> = next.by_ref().take(jobs.max(1)).collect();
    under_way.iter().for_each(|seed| start(*seed));
    let mut found: Option<(u64, String)> = None;
    while !under_way.is_empty() {
        let (seed, violation) = findings.recv().expect("a sender is kept here");
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
