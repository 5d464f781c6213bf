//! Simulations of the whole shard path with a handful of seeds. What they must find is in `plants.rs`.
//!
//! `FASTNESS_SEED=n` runs only that seed. Many seeds: `cargo run -p fastness-testkit --bin simulate -- --seeds 100`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fastness_testkit::sim::{self, Coverage, CoverageEvent, SimFault, SimOptions, SimProfile, SimReport, SimVerdict};

/// Short, because this runs with every change.
const SEEDS: std::ops::Range<u64> = 1..7;

fn seeds(otherwise: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("FASTNESS_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => otherwise.collect(),
    }
}

#[test]
fn no_promise_is_broken() {
    let (mut coverage, mut counted) = (Coverage::default(), 0);
    for seed in seeds(SEEDS) {
        let report = sim::run(&SimOptions::new(seed));
        println!("{report}");
        assert!(report.violations.is_empty(), "FASTNESS_SEED={seed} replays: {:#?}", report.violations);
        counted += usize::from(report.verdict() == SimVerdict::Holds);
        coverage.merge(&report.coverage);
    }
    println!("{coverage}");
    assert!(counted * 2 >= seeds(SEEDS).len(), "most seeds must count, {counted} did");
}

/// Runs a few seeds of one profile with some faults; none may break a promise.
fn run_all(profile: SimProfile, kinds: &[SimFault], seeds: std::ops::Range<u64>) -> (Coverage, Vec<SimReport>) {
    let options = |seed| SimOptions {
        profile: Some(profile),
        max_lag: Some(Duration::from_secs(1)),
        kinds: kinds.to_vec(),
        ..SimOptions::new(seed)
    };
    let mut coverage = Coverage::default();
    let reports: Vec<SimReport> = seeds.map(|seed| sim::run(&options(seed))).collect();
    for report in &reports {
        println!("{report}");
        assert_eq!(report.violations, Vec::<String>::new(), "seed {}", report.seed);
        coverage.merge(&report.coverage);
    }
    (coverage, reports)
}

#[test]
fn the_lag_gate_refuses_writes_and_serves_reads_until_it_opens_again() {
    let (coverage, reports) = run_all(SimProfile::Async, &[SimFault::StalledFollowers], 1..2);
    assert!(coverage.times(CoverageEvent::LagGateClosed) > 0, "the lag gate never closed");
    let summary = reports[0].summary;
    assert!(summary.refused > 0 && summary.reads_beside_refusals > 0, "{summary:?}");
}

#[test]
fn async_loses_writes_in_failovers_and_no_more_than_the_bound() {
    let (_, reports) = run_all(SimProfile::Async, &[SimFault::Partition, SimFault::CrashPrimary, SimFault::Hold], 1..4);
    let lost: u64 = reports.iter().map(|report| report.summary.lost_within_bound).sum();
    assert!(lost > 0, "nothing was lost, so nothing was judged");
    assert!(reports.iter().all(|report| report.longest_loss <= Duration::from_millis(1_020)));
}

#[test]
fn sync_that_was_switched_on_loses_nothing_whoever_is_elected() {
    let (coverage, _) =
        run_all(SimProfile::Switching, &[SimFault::SwitchMode, SimFault::CrashPrimary, SimFault::Partition], 1..4);
    assert!(coverage.times(CoverageEvent::ToSync) > 0 && coverage.times(CoverageEvent::ToAsync) > 0);
}

#[test]
fn disks_that_must_not_be_used_are_refused_and_their_nodes_replaced() {
    let (mut coverage, _) = run_all(SimProfile::Sync, &[SimFault::CorruptDisk, SimFault::WipedDisk], 1..4);
    // This fault waits for a calm moment, which the others do not leave.
    coverage.merge(&run_all(SimProfile::Sync, &[SimFault::OldDisk], 1..3).0);
    for kind in [SimFault::CorruptDisk, SimFault::WipedDisk, SimFault::OldDisk] {
        assert!(coverage.faults().contains_key(&kind), "{kind:?} never took effect");
    }
    assert!(coverage.times(CoverageEvent::Replacement) > 0);
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    let options = SimOptions { faults_for: Duration::from_secs(6), ..SimOptions::new(3) };
    let (first, second) = (sim::run(&options), sim::run(&options));
    assert_eq!(first.without_time(), second.without_time());
    let other = sim::run(&SimOptions { seed: 4, ..options });
    assert_ne!(first.trace, other.trace, "every run is the same");
}

/// A seed with hostile clients; whether a seed has them is drawn from a separate generator.
const HOSTILE: &str = "4";

#[test]
fn the_same_seed_is_the_same_run_in_every_process_to_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    for seed in ["5", HOSTILE] {
        let trace_of = |run: &str| {
            let file = folder.path().join(run);
            let mut simulate = std::process::Command::new(env!("CARGO_BIN_EXE_simulate"));
            simulate.args(["--seed", seed, "--faults-for-ms", "6000", "--trace"]).arg(&file);
            assert!(simulate.status().unwrap().success());
            std::fs::read_to_string(file).unwrap()
        };
        let (first, second) = (trace_of("first"), trace_of("second"));
        let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len());
        assert!(first.lines().count() > 1_000, "little was noted");
        let attacks = first.lines().filter(|line| line.contains("adversary")).count();
        assert_eq!(attacks > 0, seed == HOSTILE, "seed {seed}: {attacks} notes of hostile clients");
    }
}

#[test]
fn every_attack_takes_effect_beside_what_breaks() {
    let kinds: Vec<SimFault> =
        SimFault::ATTACKS.into_iter().chain([SimFault::CrashPrimary, SimFault::Partition]).collect();
    let mut coverage = Coverage::default();
    for seed in [4, 6] {
        let report = sim::run(&SimOptions { kinds: kinds.clone(), ..SimOptions::new(seed) });
        println!("{report}");
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}");
        coverage.merge(&report.coverage);
    }
    let took_effect = SimFault::ATTACKS.iter().filter(|attack| coverage.faults().contains_key(attack)).count();
    assert!(took_effect >= 4, "{:?}", coverage.faults());
}
