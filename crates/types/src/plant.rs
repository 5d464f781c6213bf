//! Planted bugs: mistakes in the path of a write and at its limits. Tests switch them on to show that a suite detects
//! each of them.
//!
//! Plants exist only with the feature `plants`, which the test kit enables and the shipped binary does not. Without it,
//! [`Plant::is_on`] is a constant `false`, and the code that depends on it is not compiled. With it, a plant is
//! switched on for one thread, as a simulation needs it ([`on_this_thread`]), or for a process by the variable
//! [`VARIABLE`].

/// Environment variable that names the plant of a process.
pub const VARIABLE: &str = "FASTNESS_PLANT";

macro_rules! plants {
    ($($(#[doc = $description:literal])+ $plant:ident = $name:literal,)+) => {
        /// A planted bug: a mistake that somebody has built in a system of this kind, or might.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Plant {
            $($(#[doc = $description])+ $plant,)+
        }

        impl Plant {
            /// All plants.
            pub const ALL: &[Plant] = &[$(Plant::$plant),+];

            /// The plant's name in tables and in [`VARIABLE`].
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Plant::$plant => $name,)+
                }
            }

            /// One sentence that says what is wrong while the plant is on.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self {
                    $(Plant::$plant => concat!($($description),+).trim_ascii(),)+
                }
            }
        }
    };
}

plants! {
    /// A `sync` write is acknowledged before it has committed.
    AckBeforeCommit = "ack-before-commit",
    /// A replica acknowledges entries to its leader before they are on its disk.
    AckBeforeFlush = "ack-before-flush",
    /// The log is written without a sync.
    SkipFsync = "skip-fsync",
    /// A vote is not written to the disk.
    VoteNotStored = "vote-not-stored",
    /// Truncated entries stay on the disk.
    TruncateNotStored = "truncate-not-stored",
    /// A log that is damaged in the middle is truncated there when it is opened.
    CutAtDamage = "cut-at-damage",
    /// A primary serves without a lease.
    NoLeaseCheck = "no-lease-check",
    /// A lease lasts longer than the voters' promises.
    LongLease = "long-lease",
    /// A lease is counted from the arrival of the answers, not from the sending of the requests.
    LeaseFromAnswers = "lease-from-answers",
    /// A leader that receives no answers continues to bind its voters by promises.
    UnheardBinds = "unheard-binds",
    /// The lease is compared with an old reading of the clock.
    StaleClock = "stale-clock",
    /// A restarted voter votes at once, although it may have promised not to.
    VoteAfterRestart = "vote-after-restart",
    /// A node that has promised its leader not to vote becomes a candidate and votes.
    VoteInPromise = "vote-in-promise",
    /// The lease stays open during a hand-over of leadership.
    LeaseKeptInHandOver = "lease-kept-in-hand-over",
    /// Leadership is handed over before staged batches have committed.
    HandOverWithoutDrain = "hand-over-without-drain",
    /// A restarted leader continues to lead in its old epoch.
    EpochResumed = "epoch-resumed",
    /// A new primary serves before it has applied the entries committed before its term.
    NoNoOp = "no-no-op",
    /// A batch is proposed before the previous one was accepted.
    PipelinedProposals = "pipelined-proposals",
    /// A batch whose acceptance is unknown is proposed again, and is applied each time it is found in the log.
    AppliedTwice = "applied-twice",
    /// Staged effects that did not commit are not undone.
    NoUndo = "no-undo",
    /// The idempotency record of a write whose effects are undone stays.
    RecordsKeptOverUndo = "records-kept-over-undo",
    /// Keys with uncommitted effects are read as if the effects had committed.
    DirtyRead = "dirty-read",
    /// A former primary shows uncommitted effects to READONLY clients.
    DirtyReplica = "dirty-replica",
    /// FLUSHALL marks no key as uncommitted.
    FlushIsClean = "flush-is-clean",
    /// A change of the mode clears the record of which keys have uncommitted effects.
    ModeForgetsDirty = "mode-forgets-dirty",
    /// A snapshot is taken of memory that is ahead of the log.
    SpeculativeSnapshot = "speculative-snapshot",
    /// A restore skips the first entry after its snapshot.
    SnapshotOffByOne = "snapshot-off-by-one",
    /// A replica whose snapshots are all unreadable resumes after them with empty memory.
    SnapshotsPassedOver = "snapshots-passed-over",
    /// A former primary that installs another node's snapshot keeps its uncommitted effects.
    OpenKeptOverInstall = "open-kept-over-install",
    /// The lag gate never closes, and acknowledgements do not check the lag.
    NoLagGate = "no-lag-gate",
    /// An `async` acknowledgement does not check the lease again.
    AsyncAckUnchecked = "async-ack-unchecked",
    /// A change to `async` takes effect before it has committed.
    AsyncActsEarly = "async-acts-early",
    /// The mode is taken from the desired mode in the cluster's map instead of the log.
    MapModeTrusted = "map-mode-trusted",
    /// A primary continues to serve after its wall clock has jumped.
    ClockJumpTrusted = "clock-jump-trusted",
    /// A wall clock is trusted although no majority of the nodes' clocks agrees with it.
    ClockWithoutMajority = "clock-without-majority",
    /// A replica uses its own clock to decide which keys have expired.
    ReplicaClock = "replica-clock",
    /// Any set of nodes may be voters, even in a single AZ.
    NoAzRule = "no-az-rule",
    /// A member with an empty disk is accepted.
    WipedDiskAccepted = "wiped-disk-accepted",
    /// A member with an old copy of its disk is accepted.
    OldDiskAccepted = "old-disk-accepted",
    /// All keys that expire at one moment are removed by one unit, however long their names are.
    ExpiryUnbounded = "expiry-unbounded",
    /// A unit may have any length.
    UnitUnbounded = "unit-unbounded",
    /// The effects of a unit that is too long are dropped, but its changes in memory are kept.
    SavepointKept = "savepoint-kept",
    /// Replies are released when the first fragment of their batch has committed.
    FragmentIsWhole = "fragment-is-whole",
    /// Fragments of a batch whose leader died are kept, and the next leader's fragments are added to them.
    FragmentsKept = "fragments-kept",
    /// A new member becomes a voter once its log lacks few entries, whatever its memory contains.
    CaughtUpByEntries = "caught-up-by-entries",
    /// A primary whose loop is stalled keeps its lease.
    StuckKeepsLease = "stuck-keeps-lease",
    /// An image in progress continues across an undo, and is taken for one of the state after the undo.
    ImageKeptOverUndo = "image-kept-over-undo",
    /// The memory of removed data is freed only while clients write.
    FreeingStops = "freeing-stops",
    /// While no client writes, the replicas receive no time.
    NoTimeAlone = "no-time-alone",
    /// The applied position advances at a fragment that is not the last of its batch.
    FragmentMovesPosition = "fragment-moves-position",
}

impl Plant {
    /// The plant with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Plant> {
        Plant::ALL.iter().copied().find(|plant| plant.name() == name)
    }

    /// Whether the plant is switched on for this thread.
    #[cfg(not(feature = "plants"))]
    #[inline(always)]
    #[must_use]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Whether the plant is switched on for this thread.
    #[cfg(feature = "plants")]
    #[must_use]
    pub fn is_on(self) -> bool {
        on::active() == Some(self)
    }
}

#[cfg(feature = "plants")]
pub use on::on_this_thread;

#[cfg(feature = "plants")]
mod on {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::{Plant, VARIABLE};

    thread_local! {
        static THREADS: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    /// Switches a plant on for this thread; `None` switches it off.
    pub fn on_this_thread(plant: Option<Plant>) {
        THREADS.set(plant);
    }

    pub(super) fn active() -> Option<Plant> {
        THREADS.get().or_else(of_the_process)
    }

    /// # Panics
    /// If no plant has the name, because a run without a plant would prove nothing.
    fn of_the_process() -> Option<Plant> {
        static PROCESSES: OnceLock<Option<Plant>> = OnceLock::new();
        *PROCESSES.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            Some(Plant::from_name(&name).unwrap_or_else(|| panic!("{VARIABLE}: no plant is called {name:?}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_leads_back_to_its_plant() {
        for &plant in Plant::ALL {
            assert_eq!(Plant::from_name(plant.name()), Some(plant));
            assert!(plant.description().ends_with('.'), "{plant:?}");
        }
        assert_eq!(Plant::from_name("none"), None);
    }

    #[cfg(feature = "plants")]
    #[test]
    fn a_plant_is_on_for_its_thread_alone() {
        on_this_thread(Some(Plant::SkipFsync));
        assert!(Plant::SkipFsync.is_on() && !Plant::NoUndo.is_on());
        assert!(!std::thread::spawn(|| Plant::SkipFsync.is_on()).join().is_ok_and(|on| on));
        on_this_thread(None);
        assert!(!Plant::SkipFsync.is_on());
    }
}
