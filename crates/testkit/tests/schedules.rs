//! Orders of events of `tests/SCHEDULES.md`, brought about in the simulation, each by the faults that lead to it alone.
//!
//! Most with the mistake that the order is dangerous to: that the mistake is found shows that the order came about;
//! without the mistake the same seeds must hold. Where no mistake can be switched, the runs count how often the order
//! came about, and must hold.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fastness_testkit::plants;
use fastness_testkit::sim::{Event, Fault, Options, Profile, Report, Simulator};
use fastness_types::Plant;

/// Seeds that were chosen for none of them.
const SEEDS: std::ops::Range<u64> = 1..41;
/// Of these so many are run without the mistake, and as many as it took to find it.
const CLEAN_MIN: u64 = 2;
/// Seeds on which an order is counted: so many at least, and then more until it has come about.
const COUNTED_MIN: usize = 3;
const COUNTED: std::ops::Range<u64> = 1..21;
/// How long faults come: an order needs no longer to come about than a few of them.
const FAULTS_FOR: Duration = Duration::from_secs(10);

/// How it is shown that an order came about.
enum Shown {
    /// Somebody who makes this mistake breaks a promise by it.
    By(Plant),
    /// A run tells how often; it may find something on its own.
    Counted(fn(&Report) -> u64),
}

use Shown::{By, Counted};

/// The schedule's number, how it is shown, the mode, and what leads there.
type Schedule = (u32, Shown, Profile, &'static [Fault]);

const SCHEDULES: &[Schedule] = &[
    (1, By(Plant::PipelinedProposals), Profile::Sync, &[Fault::Hold, Fault::OneWay, Fault::Partition]),
    (2, By(Plant::NoUndo), Profile::Sync, &[Fault::Partition, Fault::Hold]),
    (
        3,
        By(Plant::DirtyReplica),
        Profile::Sync,
        &[Fault::Partition, Fault::OneWay, Fault::Pause, Fault::Deaf, Fault::Hold, Fault::AzCut],
    ),
    (4, By(Plant::LeaseKeptInHandOver), Profile::Sync, &[Fault::CutAfterTransfer]),
    (5, By(Plant::LeaseFromAnswers), Profile::Sync, &[Fault::LateAnswers]),
    (6, By(Plant::HandOverWithoutDrain), Profile::Async, &[Fault::HandOver, Fault::SlowLinks]),
    (8, Counted(lease_outlasts_stall), Profile::Async, &[Fault::StalledFollowers]),
    (9, By(Plant::SnapshotOffByOne), Profile::Sync, &[Fault::CrashAny]),
    (10, By(Plant::MapModeTrusted), Profile::Switching, &[Fault::SwitchMode, Fault::CrashPrimary]),
    (
        11,
        By(Plant::ModeForgetsDirty),
        Profile::Switching,
        &[Fault::SwitchMode, Fault::StalledFollowers, Fault::StalledDisk, Fault::CrashPrimary, Fault::Partition],
    ),
    (12, By(Plant::AsyncActsEarly), Profile::Switching, &[Fault::SwitchMode, Fault::CrashPrimary]),
    (
        13,
        By(Plant::CutAtDamage),
        Profile::Sync,
        &[Fault::CorruptDisk, Fault::CrashAll, Fault::CrashPrimary, Fault::Partition],
    ),
    (14, By(Plant::WipedDiskAccepted), Profile::Sync, &[Fault::WipedDisk]),
    // One seed in four has undo records that do not suffice.
    (16, Counted(|run| run.coverage.times(Event::UndoByRestore)), Profile::Sync, &[Fault::Partition, Fault::Hold]),
    (17, By(Plant::StaleClock), Profile::Sync, &[Fault::Pause, Fault::Partition]),
    (19, By(Plant::SpeculativeSnapshot), Profile::Async, &[Fault::SlowLinks, Fault::SlowDisk]),
    (20, By(Plant::FlushIsClean), Profile::Sync, &[Fault::FlushCutOff]),
    (21, Counted(|run| run.coverage.times(Event::WindowFull)), Profile::Async, &[Fault::StalledFollowers]),
    (22, Counted(|run| run.coverage.times(Event::MessageCut)), Profile::Sync, &[Fault::CrashPrimary, Fault::Loss]),
    (23, By(Plant::AsyncAckUnchecked), Profile::Async, &[Fault::Pause]),
    (24, By(Plant::ReplicaClock), Profile::Sync, &[Fault::WallJump]),
    (25, By(Plant::VoteAfterRestart), Profile::Sync, &[Fault::RestartBesideDeaf]),
    (26, By(Plant::NoAzRule), Profile::Sync, &[Fault::WrongVoters]),
    (27, By(Plant::VoteInPromise), Profile::Sync, &[Fault::LeasesOnly]),
    (29, By(Plant::UnheardBinds), Profile::Sync, &[Fault::Deaf]),
    (31, By(Plant::OldDiskAccepted), Profile::Sync, &[Fault::OldDisk, Fault::CrashAny]),
    (32, By(Plant::EpochResumed), Profile::Sync, &[Fault::CrashPrimary, Fault::CrashAll, Fault::SlowLinks]),
    (33, By(Plant::ClockJumpTrusted), Profile::Sync, &[Fault::WallJump]),
    (34, Counted(|run| run.coverage.times(Event::TornTail)), Profile::Sync, &[Fault::CrashAll]),
    (35, Counted(|run| run.summary.reads_beside_refusals), Profile::Async, &[Fault::StalledFollowers]),
    (
        36,
        Counted(|run| run.coverage.times(Event::SnapshotInstalled)),
        Profile::Sync,
        &[Fault::CrashInSnapshot, Fault::Partition],
    ),
    (37, Counted(|run| run.coverage.times(Event::InstalledOverOpen)), Profile::Sync, &[Fault::PurgedBeyond]),
    (38, By(Plant::OpenKeptOverInstall), Profile::Sync, &[Fault::PurgedBeyond]),
    (39, By(Plant::SnapshotsPassedOver), Profile::Sync, &[Fault::CorruptSnapshots]),
    (40, By(Plant::ClockWithoutMajority), Profile::Sync, &[Fault::WallJump, Fault::CrashAll, Fault::CrashAny]),
];

/// While all other disks stand still for longer than the bound of the lag, nobody loses a lease.
fn lease_outlasts_stall(run: &Report) -> u64 {
    assert_eq!(run.coverage.times(Event::StepDown), 0, "{run}");
    run.coverage.times(Event::GateShut)
}

#[test]
fn the_order_comes_about_and_only_the_mistake_breaks_a_promise() {
    let only: Option<u32> = std::env::var("FASTNESS_SCHEDULE").ok().map(|number| number.parse().unwrap());
    let mut missed = Vec::new();
    for (number, shown, profile, kinds) in
        SCHEDULES.iter().filter(|(number, ..)| only.is_none_or(|only| only == *number))
    {
        let options = Options {
            profile: Some(*profile),
            max_lag: Some(Duration::from_secs(1)),
            faults_for: FAULTS_FOR,
            kinds: kinds.to_vec(),
            ..Options::new(0)
        };
        let came_about = match shown {
            By(plant) => is_found(*number, *plant, &options),
            Counted(count) => count_all(*number, *count, &options),
        };
        if !came_about {
            missed.push(*number);
        }
    }
    assert!(missed.is_empty(), "nothing came of schedules {missed:?}");
}

fn simulator() -> Simulator {
    Simulator::new(env!("CARGO_BIN_EXE_simulate"))
}

fn is_found(number: u32, plant: Plant, options: &Options) -> bool {
    let hunt = plants::hunt(&simulator(), plant, options, &SEEDS, 2);
    let last = SEEDS.start + hunt.seeds.max(CLEAN_MIN);
    let clean = plants::clean(&simulator(), options, &(SEEDS.start..last), 2);
    assert_eq!(clean, None, "schedule {number} without {plant:?}");
    println!("schedule {number}, {}: {:?} after {} seeds", plant.name(), hunt.found, hunt.seeds);
    hunt.found.is_some()
}

fn count_all(number: u32, count: fn(&Report) -> u64, options: &Options) -> bool {
    let mut times = Vec::new();
    for seed in COUNTED {
        let run = simulator().run(&Options { seed, ..options.clone() }).unwrap();
        assert!(run.violations.is_empty(), "schedule {number}: {run}: {:#?}", run.violations);
        times.push(count(&run));
        if times.len() >= COUNTED_MIN && times.iter().any(|times| *times > 0) {
            break;
        }
    }
    println!("schedule {number}: {times:?} times");
    times.iter().sum::<u64>() > 0
}
