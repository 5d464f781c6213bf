//! Orders of events of `tests/SCHEDULES.md`, and the faults that bring them about in the simulation.
//!
//! Most have a planted bug to which the order is dangerous: that the bug is found shows that the order occurred. Where
//! there is no such plant, the runs count how often it did.

use std::time::Duration;

use fastness_types::Plant;

use crate::sim::{CoverageEvent, SimFault, SimOptions, SimProfile, SimReport};

/// How long faults are injected: an order occurs within a few of them or not at all.
const FAULTS_FOR: Duration = Duration::from_secs(10);

/// The schedule in which clients send writes with idempotency keys.
const IDEMPOTENT_RETRIES: u32 = 51;

/// Evidence that an order occurred.
#[derive(Debug, Clone, Copy)]
pub enum Shown {
    /// This planted bug breaks a promise in that order.
    By(Plant),
    /// The run counts the occurrences; it must not find a violation.
    Counted(fn(&SimReport) -> u64),
}

use Shown::{By, Counted};

/// One of these orders.
#[derive(Debug, Clone, Copy)]
pub struct EventOrder {
    /// Its number in `tests/SCHEDULES.md`.
    pub number: u32,
    /// What shows that its order occurred.
    pub shown: Shown,
    profile: SimProfile,
    faults: &'static [SimFault],
}

impl EventOrder {
    /// Simulations with only the faults that lead to it.
    #[must_use]
    pub fn options(&self) -> SimOptions {
        SimOptions {
            keyed: (self.number == IDEMPOTENT_RETRIES).then_some(true),
            profile: Some(self.profile),
            max_lag: Some(Duration::from_secs(1)),
            faults_for: FAULTS_FOR,
            kinds: self.faults.to_vec(),
            ..SimOptions::new(0)
        }
    }
}

/// All of them, by number.
pub fn all() -> impl Iterator<Item = EventOrder> {
    ROWS.iter().map(|&(number, shown, profile, faults)| EventOrder { number, shown, profile, faults })
}

/// The one that a planted bug shows.
#[must_use]
pub fn of(plant: Plant) -> Option<EventOrder> {
    all().find(|schedule| matches!(schedule.shown, By(shown) if shown == plant))
}

/// Number, evidence, mode and faults of a schedule.
type EventOrderRow = (u32, Shown, SimProfile, &'static [SimFault]);

const ROWS: &[EventOrderRow] = &[
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
    (
        IDEMPOTENT_RETRIES,
        By(Plant::RecordsKeptOverUndo),
        SimProfile::Sync,
        &[SimFault::Partition, SimFault::Hold, SimFault::CrashPrimary],
    ),
];

/// While all other disks are stalled for longer than the lag bound, no lease is lost.
fn lease_outlasts_stall(run: &SimReport) -> u64 {
    assert_eq!(run.coverage.times(CoverageEvent::StepDown), 0, "{run}");
    run.coverage.times(CoverageEvent::LagGateClosed)
}
