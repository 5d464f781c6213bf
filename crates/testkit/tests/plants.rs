//! Planted bugs that the simulation finds within a few seeds; `make plants` hunts for all of them.

use fastness_testkit::plants;
use fastness_testkit::sim::{SimFault, SimOptions, Simulator};
use fastness_types::Plant;

/// Seeds that were not chosen for these plants; without a plant `tests/simulation.rs` runs such seeds, too.
const SEEDS: std::ops::Range<u64> = 1..9;

#[test]
fn the_simulation_finds_what_is_planted() {
    let quick = [
        Plant::AckBeforeCommit,
        Plant::AckBeforeFlush,
        Plant::SkipFsync,
        Plant::VoteNotStored,
        Plant::NoLeaseCheck,
        Plant::LongLease,
        Plant::StaleClock,
        Plant::LeaseKeptInHandOver,
        Plant::NoNoOp,
        Plant::AppliedTwice,
        Plant::NoUndo,
        Plant::DirtyReplica,
        Plant::SpeculativeSnapshot,
        Plant::SnapshotOffByOne,
        Plant::NoAzRule,
        Plant::WipedDiskAccepted,
        Plant::OldDiskAccepted,
    ];
    let simulator = Simulator::new(env!("CARGO_BIN_EXE_simulate"));
    let hunt = |plant| plants::hunt(&simulator, plant, &SimOptions::new(0), &SEEDS, 2);
    let missed: Vec<_> = quick.into_iter().filter(|plant| hunt(*plant).found.is_none()).collect();
    assert!(missed.is_empty(), "not found in seeds {SEEDS:?}: {missed:?}");
}

#[test]
fn faults_that_lead_there_alone_find_what_few_seeds_of_all_faults_do_not() {
    let simulator = Simulator::new(env!("CARGO_BIN_EXE_simulate"));
    for (plant, kinds) in
        [(Plant::CaughtUpByEntries, [SimFault::LateSnapshots]), (Plant::StuckKeepsLease, [SimFault::StuckLoop])]
    {
        let options = SimOptions { kinds: kinds.to_vec(), ..SimOptions::new(0) };
        let hunt = plants::hunt(&simulator, plant, &options, &SEEDS, 2);
        assert!(hunt.found.is_some(), "{plant:?} is not found with {kinds:?} in seeds {SEEDS:?}");
        let held = plants::clean(&simulator, &options, &(1..4), 2);
        assert_eq!(held, None, "without the plant");
    }
}
