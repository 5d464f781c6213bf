//! Simulations of the whole shard path, a handful of seeds, and bugs that they must find.
//!
//! `FASTNESS_SEED=n` runs that seed alone. Many seeds: `cargo run -p fastness-testkit --bin simulate -- --seeds 1..100`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fastness_testkit::sim::{self, Fault, Options, Plant, Report};

/// Kept short, since this runs with every change.
const SEEDS: std::ops::Range<u64> = 1..7;

fn seeds(otherwise: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("FASTNESS_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => otherwise.collect(),
    }
}

#[test]
fn no_promise_is_broken() {
    let mut injected = std::collections::BTreeMap::<Fault, usize>::new();
    for seed in seeds(SEEDS) {
        let report = sim::run(&Options { faults_for: Duration::from_secs(6), ..Options::new(seed) });
        println!("{report}");
        assert!(report.violations.is_empty(), "FASTNESS_SEED={seed} replays: {:#?}", report.violations);
        report.faults.into_iter().for_each(|(fault, times)| *injected.entry(fault).or_default() += times);
    }
    let missing: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !injected.contains_key(fault)).collect();
    assert!(missing.is_empty() || std::env::var("FASTNESS_SEED").is_ok(), "never injected: {missing:?}");
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    let options = Options { faults_for: Duration::from_secs(4), ..Options::new(3) };
    let (first, second) = (sim::run(&options), sim::run(&options));
    assert_eq!(first.to_string(), second.to_string());
    let other = sim::run(&Options { seed: 4, ..options });
    assert_ne!(first.trace, other.trace, "every run is the same");
}

#[test]
fn the_same_seed_is_the_same_run_in_every_process_to_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let trace_of = |run: &str| {
        let file = folder.path().join(run);
        let mut simulate = std::process::Command::new(env!("CARGO_BIN_EXE_simulate"));
        simulate.args(["--seeds", "5", "--faults-for-s", "4", "--trace"]).arg(&file);
        assert!(simulate.status().unwrap().success());
        std::fs::read_to_string(file).unwrap()
    };
    let (first, second) = (trace_of("first"), trace_of("second"));
    let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!(first.len(), second.len());
    assert!(first.lines().count() > 1_000, "little was noted");
}

/// Runs seeds until one finds the bug.
fn found(plant: Plant, kinds: &[Fault], seeds_max: u64) -> Option<Report> {
    let options =
        |seed| Options { plant, kinds: kinds.to_vec(), faults_for: Duration::from_secs(10), ..Options::new(seed) };
    let mut reports = seeds(1..seeds_max + 1).into_iter().map(|seed| sim::run(&options(seed)));
    reports.find(|report| !report.violations.is_empty()).inspect(|report| println!("{plant:?}: {report}"))
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    let report = found(Plant::IgnoreHolds, &[Fault::CrashPrimary, Fault::Partition, Fault::SlowDisk], 4).unwrap();
    let lost = |violation: &String| violation.contains("was acknowledged before") || violation.contains("expected");
    assert!(report.violations.iter().any(lost), "{:#?}", report.violations);
}

#[test]
fn a_disk_that_does_not_sync_is_found() {
    assert!(found(Plant::LyingDisks, &[Fault::CrashAll], 4).is_some());
}

#[test]
fn a_clock_slower_than_the_lease_allows_is_found() {
    // One seed in three finds it: node 1 has to lead and to be cut off.
    let report = found(Plant::SlowClock, &[Fault::Partition, Fault::OneWay, Fault::HandOver], 24).unwrap();
    assert!(report.violations.iter().any(|violation| violation.contains("lease")), "{:#?}", report.violations);
}
