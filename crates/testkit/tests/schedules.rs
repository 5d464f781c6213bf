//! Orders of events of `tests/SCHEDULES.md`, brought about in the simulation: each with the faults that lead to it alone, and with the
//! mistake that it is dangerous to. That the mistake is found shows that the order came about; without the mistake the same
//! seeds must hold.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fastness_testkit::plants;
use fastness_testkit::sim::{Fault, Options, Profile};
use fastness_types::Plant;

/// Seeds that were chosen for none of them.
const SEEDS: std::ops::Range<u64> = 1..41;
/// Of these so many are run without the mistake, and as many as it took to find it.
const CLEAN_MIN: u64 = 4;

/// The schedule's number, the mistake, the mode, and what leads there.
type Schedule = (u32, Plant, Profile, &'static [Fault]);

const SCHEDULES: &[Schedule] = &[
    (1, Plant::PipelinedProposals, Profile::Sync, &[Fault::Hold, Fault::OneWay, Fault::Partition]),
    (2, Plant::NoUndo, Profile::Sync, &[Fault::Partition, Fault::Hold]),
    (
        3,
        Plant::DirtyReplica,
        Profile::Sync,
        &[Fault::Hold, Fault::OneWay, Fault::SlowLinks, Fault::Loss, Fault::Partition],
    ),
    (4, Plant::LeaseKeptInHandOver, Profile::Sync, &[Fault::CutAfterTransfer]),
    (6, Plant::HandOverWithoutDrain, Profile::Async, &[Fault::HandOver, Fault::SlowLinks]),
    (9, Plant::SnapshotOffByOne, Profile::Sync, &[Fault::CrashAny]),
    (10, Plant::MapModeTrusted, Profile::Switching, &[Fault::SwitchMode, Fault::CrashPrimary]),
    (
        11,
        Plant::ModeForgetsDirty,
        Profile::Switching,
        &[Fault::SwitchMode, Fault::StalledFollowers, Fault::StalledDisk, Fault::CrashPrimary, Fault::Partition],
    ),
    (12, Plant::AsyncActsEarly, Profile::Switching, &[Fault::SwitchMode, Fault::CrashPrimary]),
    (
        13,
        Plant::CutAtDamage,
        Profile::Sync,
        &[Fault::CorruptDisk, Fault::CrashAll, Fault::CrashPrimary, Fault::Partition],
    ),
    (14, Plant::WipedDiskAccepted, Profile::Sync, &[Fault::WipedDisk]),
    (17, Plant::StaleClock, Profile::Sync, &[Fault::Pause, Fault::Partition]),
    (19, Plant::SpeculativeSnapshot, Profile::Async, &[Fault::SlowLinks, Fault::SlowDisk]),
    (23, Plant::AsyncAckUnchecked, Profile::Async, &[Fault::Pause]),
    (24, Plant::ReplicaClock, Profile::Sync, &[Fault::WallJump]),
    (25, Plant::VoteAfterRestart, Profile::Sync, &[Fault::RestartBesideDeaf]),
    (31, Plant::OldDiskAccepted, Profile::Sync, &[Fault::OldDisk, Fault::CrashAny]),
    (33, Plant::ClockJumpTrusted, Profile::Sync, &[Fault::WallJump]),
];

#[test]
fn the_order_comes_about_and_only_the_mistake_breaks_a_promise() {
    let only: Option<u32> = std::env::var("FASTNESS_SCHEDULE").ok().map(|number| number.parse().unwrap());
    let mut missed = Vec::new();
    for (number, plant, profile, kinds) in
        SCHEDULES.iter().filter(|(number, ..)| only.is_none_or(|only| only == *number))
    {
        let options = Options {
            profile: Some(*profile),
            max_lag: Some(Duration::from_secs(1)),
            kinds: kinds.to_vec(),
            ..Options::new(0)
        };
        let hunt = plants::hunt(*plant, &options, &SEEDS, 2);
        let last = SEEDS.start + hunt.seeds.max(CLEAN_MIN);
        let clean = plants::clean(&options, &(SEEDS.start..last), 2);
        assert_eq!(clean, None, "schedule {number} without {plant:?}");
        println!("schedule {number}, {}: {:?} after {} seeds", plant.name(), hunt.found, hunt.seeds);
        if hunt.found.is_none() {
            missed.push(*number);
        }
    }
    assert!(missed.is_empty(), "nothing came of schedules {missed:?}");
}
