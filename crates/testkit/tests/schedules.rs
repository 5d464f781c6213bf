//! Orders of events of `tests/SCHEDULES.md`, brought about in the simulation by only the faults that lead to them.
//!
//! Most run with the planted bug to which the order is dangerous: that the bug is found shows that the order occurred;
//! without the bug the same seeds must hold. Where there is no such plant, the runs count how often the order occurred,
//! and must hold.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fastness_testkit::plants;
use fastness_testkit::sim::{CoverageEvent, SimFault, SimOptions, SimProfile, SimReport, Simulator};
use fastness_types::Plant;

/// Seeds that were not chosen for these schedules.
const SEEDS: std::ops::Range<u64> = 1..121;
/// Number of these that run without the bug, besides those that it took to find it.
const CLEAN_MIN: u64 = 2;
/// Number of seeds on which an order is counted: at least this many, and more until it has occurred.
const COUNTED_MIN: usize = 3;
const COUNTED: std::ops::Range<u64> = 1..21;
/// How long faults are injected: an order occurs within a few of them or not at all.
const FAULTS_FOR: Duration = Duration::from_secs(10);

/// Evidence that an order occurred.
enum Shown {
    /// This planted bug breaks a promise in that order.
    By(Plant),
    /// The run counts the occurrences; it must not find a violation.
    Counted(fn(&SimReport) -> u64),
}

use Shown::{By, Counted};

/// The schedule's number, its evidence, the mode, and the faults that lead to it.
type Schedule = (u32, Shown, SimProfile, &'static [SimFault]);

const SCHEDULES: &[Schedule] = &[
    (1, By(Plant::PipelinedProposals), SimProfile::Sync, &[SimFault::Hold, SimFault::OneWay, SimFault::Partition]),
    (2, By(Plant::NoUndo), SimProfile::Sync, &[SimFault::Partition, SimFault::Hold]),
    (
        3,
        By(Plant::DirtyReplica),
        SimProfile::Sync,
        &[SimFault::Partition, SimFault::OneWay, SimFault::Pause, SimFault::Deaf, SimFault::Hold, SimFault::AzCut],
    ),
    (4, By(Plant::LeaseKeptInHandOver), SimProfile::Sync, &[SimFault::CutAfterTransfer]),
    (5, By(Plant::LeaseFromAnswers), SimProfile::Sync, &[SimFault::LateAnswers]),
    (6, By(Plant::HandOverWithoutDrain), SimProfile::Async, &[SimFault::HandOver, SimFault::SlowLinks]),
    (8, Counted(lease_outlasts_stall), SimProfile::Async, &[SimFault::StalledFollowers]),
    (9, By(Plant::SnapshotOffByOne), SimProfile::Sync, &[SimFault::CrashAny]),
    (10, By(Plant::MapModeTrusted), SimProfile::Switching, &[SimFault::SwitchMode, SimFault::CrashPrimary]),
    (
        11,
        By(Plant::ModeForgetsDirty),
        SimProfile::Switching,
        &[
            SimFault::SwitchMode,
            SimFault::StalledFollowers,
            SimFault::StalledDisk,
            SimFault::CrashPrimary,
            SimFault::Partition,
        ],
    ),
    (12, By(Plant::AsyncActsEarly), SimProfile::Switching, &[SimFault::SwitchMode, SimFault::CrashPrimary]),
    (
        13,
        By(Plant::CutAtDamage),
        SimProfile::Sync,
        &[SimFault::CorruptDisk, SimFault::CrashAll, SimFault::CrashPrimary, SimFault::Partition],
    ),
    (14, By(Plant::WipedDiskAccepted), SimProfile::Sync, &[SimFault::WipedDisk]),
    // One seed in four has undo records that do not suffice.
    (
        16,
        Counted(|run| run.coverage.times(CoverageEvent::UndoByRestore)),
        SimProfile::Sync,
        &[SimFault::Partition, SimFault::Hold],
    ),
    (17, By(Plant::StaleClock), SimProfile::Sync, &[SimFault::Pause, SimFault::Partition]),
    (19, By(Plant::SpeculativeSnapshot), SimProfile::Async, &[SimFault::SlowLinks, SimFault::SlowDisk]),
    (20, By(Plant::FlushIsClean), SimProfile::Sync, &[SimFault::FlushCutOff]),
    (
        21,
        Counted(|run| run.coverage.times(CoverageEvent::WindowFull)),
        SimProfile::Async,
        &[SimFault::StalledFollowers],
    ),
    (
        22,
        Counted(|run| run.coverage.times(CoverageEvent::MessageCut)),
        SimProfile::Sync,
        &[SimFault::CrashPrimary, SimFault::Loss],
    ),
    (23, By(Plant::AsyncAckUnchecked), SimProfile::Async, &[SimFault::Pause]),
    (24, By(Plant::ReplicaClock), SimProfile::Sync, &[SimFault::WallJump]),
    (25, By(Plant::VoteAfterRestart), SimProfile::Sync, &[SimFault::RestartBesideDeaf]),
    (26, By(Plant::NoAzRule), SimProfile::Sync, &[SimFault::WrongVoters]),
    (27, By(Plant::VoteInPromise), SimProfile::Sync, &[SimFault::LeasesOnly]),
    (29, By(Plant::UnheardBinds), SimProfile::Sync, &[SimFault::Deaf]),
    (31, By(Plant::OldDiskAccepted), SimProfile::Sync, &[SimFault::OldDisk, SimFault::CrashAny]),
    (32, By(Plant::EpochResumed), SimProfile::Sync, &[SimFault::CrashPrimary, SimFault::CrashAll, SimFault::SlowLinks]),
    (33, By(Plant::ClockJumpTrusted), SimProfile::Sync, &[SimFault::WallJump]),
    (34, Counted(|run| run.coverage.times(CoverageEvent::TornTail)), SimProfile::Sync, &[SimFault::CrashAll]),
    (35, Counted(|run| run.summary.reads_beside_refusals), SimProfile::Async, &[SimFault::StalledFollowers]),
    (
        36,
        Counted(|run| run.coverage.times(CoverageEvent::SnapshotInstalled)),
        SimProfile::Sync,
        &[SimFault::CrashInSnapshot, SimFault::Partition],
    ),
    (
        37,
        Counted(|run| run.coverage.times(CoverageEvent::InstalledOverOpen)),
        SimProfile::Sync,
        &[SimFault::PurgedBeyond],
    ),
    (38, By(Plant::OpenKeptOverInstall), SimProfile::Sync, &[SimFault::PurgedBeyond]),
    (39, By(Plant::SnapshotsPassedOver), SimProfile::Sync, &[SimFault::CorruptSnapshots]),
    (
        40,
        By(Plant::ClockWithoutMajority),
        SimProfile::Sync,
        &[SimFault::WallJump, SimFault::CrashAll, SimFault::CrashAny],
    ),
];

/// While all other disks are stalled for longer than the lag bound, no lease is lost.
fn lease_outlasts_stall(run: &SimReport) -> u64 {
    assert_eq!(run.coverage.times(CoverageEvent::StepDown), 0, "{run}");
    run.coverage.times(CoverageEvent::LagGateClosed)
}

#[test]
fn the_order_comes_about_and_only_the_mistake_breaks_a_promise() {
    let only: Option<u32> = std::env::var("FASTNESS_SCHEDULE").ok().map(|number| number.parse().unwrap());
    let mut missed = Vec::new();
    for (number, shown, profile, kinds) in
        SCHEDULES.iter().filter(|(number, ..)| only.is_none_or(|only| only == *number))
    {
        let options = SimOptions {
            profile: Some(*profile),
            max_lag: Some(Duration::from_secs(1)),
            faults_for: FAULTS_FOR,
            kinds: kinds.to_vec(),
            ..SimOptions::new(0)
        };
        let came_about = match shown {
            By(plant) => is_found(*number, *plant, &options),
            Counted(count) => count_all(*number, *count, &options),
        };
        if !came_about {
            missed.push(*number);
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
