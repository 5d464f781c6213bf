//! Each schedule's order occurs in the simulation, brought about by only the faults that lead to it; a mistake to which
//! it is dangerous breaks a promise there, and without the mistake the same seeds hold.

#![allow(clippy::unwrap_used)]

use fastness_testkit::plants;
use fastness_testkit::schedules::{self, Shown};
use fastness_testkit::sim::{SimOptions, SimReport, Simulator};
use fastness_types::Plant;

/// Seeds that were not chosen for these schedules.
const SEEDS: std::ops::Range<u64> = 1..121;
/// Number of these that run without the bug, besides those that it took to find it.
const CLEAN_MIN: u64 = 2;
/// Number of seeds on which an order is counted: at least this many, and more until it has occurred.
const COUNTED_MIN: usize = 3;
const COUNTED: std::ops::Range<u64> = 1..21;

#[test]
fn the_order_comes_about_and_only_the_mistake_breaks_a_promise() {
    let only: Option<u32> = std::env::var("FASTNESS_SCHEDULE").ok().map(|number| number.parse().unwrap());
    let mut missed = Vec::new();
    for schedule in schedules::all().filter(|schedule| only.is_none_or(|only| only == schedule.number)) {
        let (number, options) = (schedule.number, schedule.options());
        let came_about = match schedule.shown {
            Shown::By(plant) => is_found(number, plant, &options),
            Shown::Counted(count) => count_all(number, count, &options),
        };
        if !came_about {
            missed.push(number);
        }
    }
    assert!(missed.is_empty(), "schedules {missed:?} did not occur");
}

fn simulator() -> Simulator {
    Simulator::new(env!("CARGO_BIN_EXE_simulate"))
}

fn is_found(number: u32, plant: Plant, options: &SimOptions) -> bool {
    let hunt = plants::hunt(&simulator(), plant, options, &SEEDS, 2);
    let last = SEEDS.start + hunt.seeds.max(CLEAN_MIN);
    let clean = plants::clean(&simulator(), options, &(SEEDS.start..last), 2);
    assert_eq!(clean, None, "schedule {number} without {plant:?}");
    println!("schedule {number}, {}: {:?} after {} seeds", plant.name(), hunt.found, hunt.seeds);
    hunt.found.is_some()
}

fn count_all(number: u32, count: fn(&SimReport) -> u64, options: &SimOptions) -> bool {
    let mut times = Vec::new();
    for seed in COUNTED {
        let run = simulator().run(&SimOptions { seed, ..options.clone() }).unwrap();
        assert!(run.violations.is_empty(), "schedule {number}: {run}: {:#?}", run.violations);
        times.push(count(&run));
        if times.len() >= COUNTED_MIN && times.iter().any(|times| *times > 0) {
            break;
        }
    }
    println!("schedule {number}: {times:?} times");
    times.iter().sum::<u64>() > 0
}
