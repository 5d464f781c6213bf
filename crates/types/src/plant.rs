//! Planted bugs: mistakes in the path of a write, and at its bounds, that tests switch on, to show that a suite finds
//! each of them.
//!
//! They exist with the feature `plants` alone, which the test kit asks for and the shipped binary does not: without it
//! [`Plant::is_on`] is a constant `false`, and what depends on it is not compiled. With it a plant is switched on for
//! one thread, as a simulation needs it ([`on_this_thread`]), or for a process by the variable [`VARIABLE`].

/// Names the plant of a whole process.
pub const VARIABLE: &str = "FASTNESS_PLANT";

macro_rules! plants {
    ($($(#[doc = $what:literal])+ $plant:ident = $name:literal,)+) => {
        /// One mistake. Each is what somebody has once built, or would, in a system of this kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Plant {
            $($(#[doc = $what])+ $plant,)+
        }

        impl Plant {
            /// All of them.
            pub const ALL: &[Plant] = &[$(Plant::$plant),+];

            /// The name in tables and in [`VARIABLE`].
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Plant::$plant => $name,)+
                }
            }

            /// What is wrong with it on, in a sentence.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Plant::$plant => concat!($($what),+).trim_ascii(),)+
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
    /// Entries that were truncated stay on the disk.
    TruncateNotStored = "truncate-not-stored",
    /// A log that is damaged in the middle is cut there when it is opened.
    CutAtDamage = "cut-at-damage",
    /// A primary serves without a lease.
    NoLeaseCheck = "no-lease-check",
    /// A lease lasts longer than what voters have promised.
    LongLease = "long-lease",
    /// A lease is counted from when answers come, not from when they were asked for.
    LeaseFromAnswers = "lease-from-answers",
    /// A leader that nobody answers goes on binding its voters.
    UnheardBinds = "unheard-binds",
    /// The lease is compared with a clock that was read a while ago.
    StaleClock = "stale-clock",
    /// A voter votes at once after a restart, whatever it had promised.
    VoteAfterRestart = "vote-after-restart",
    /// A node that has promised its leader not to vote stands for election, and votes, all the same.
    VoteInPromise = "vote-in-promise",
    /// The lease stays open while leadership is handed over.
    LeaseKeptInHandOver = "lease-kept-in-hand-over",
    /// Leadership is handed over before what is staged has committed.
    HandOverWithoutDrain = "hand-over-without-drain",
    /// A restarted leader goes on leading in its old epoch.
    EpochResumed = "epoch-resumed",
    /// A new primary serves before it has applied what was committed before its term.
    NoNoOp = "no-no-op",
    /// A batch is proposed before the one before it was accepted.
    PipelinedProposals = "pipelined-proposals",
    /// A batch of which it is not known whether it was accepted is proposed again, and applied as often as it is found.
    AppliedTwice = "applied-twice",
    /// What was staged and did not commit is not undone.
    NoUndo = "no-undo",
    /// Keys with uncommitted effects are read as if they had committed.
    DirtyRead = "dirty-read",
    /// A former primary with open effects shows them to READONLY clients.
    DirtyReplica = "dirty-replica",
    /// FLUSHALL marks no key as uncommitted.
    FlushIsClean = "flush-is-clean",
    /// A change of the mode forgets which keys have uncommitted effects.
    ModeForgetsDirty = "mode-forgets-dirty",
    /// A snapshot is cut from memory that is ahead of the log.
    SpeculativeSnapshot = "speculative-snapshot",
    /// A restore goes on one entry behind where the snapshot ends.
    SnapshotOffByOne = "snapshot-off-by-one",
    /// A replica of which no snapshot can be read goes on behind them, with nothing in memory.
    SnapshotsPassedOver = "snapshots-passed-over",
    /// A former primary that goes on from a snapshot of others keeps what it had staged.
    OpenKeptOverInstall = "open-kept-over-install",
    /// The lag gate never shuts, and acknowledgements do not look at the lag.
    NoLagGate = "no-lag-gate",
    /// An `async` acknowledgement does not look at the lease again.
    AsyncAckUnchecked = "async-ack-unchecked",
    /// A change to `async` acts before it has committed.
    AsyncActsEarly = "async-acts-early",
    /// The mode is the one that the cluster's map desired states, whatever the log says.
    MapModeTrusted = "map-mode-trusted",
    /// A primary whose wall clock jumps goes on serving.
    ClockJumpTrusted = "clock-jump-trusted",
    /// A wall clock is trusted although no majority of the nodes' clocks agrees.
    ClockWithoutMajority = "clock-without-majority",
    /// A replica goes by its own clock to tell which keys have expired.
    ReplicaClock = "replica-clock",
    /// Any set of nodes may be voters, in one AZ alone.
    NoAzRule = "no-az-rule",
    /// A member comes back on an empty disk and takes part.
    WipedDiskAccepted = "wiped-disk-accepted",
    /// A member comes back on an old copy of its disk and takes part.
    OldDiskAccepted = "old-disk-accepted",
    /// What expires at one moment is removed by one unit, whatever its names take.
    ExpiryUnbounded = "expiry-unbounded",
    /// A unit may be of any length.
    UnitUnbounded = "unit-unbounded",
    /// Of a unit that is too long the effects are taken back, and what it has changed is not.
    SavepointKept = "savepoint-kept",
    /// Replies leave when the first fragment of their batch has committed.
    FragmentIsWhole = "fragment-is-whole",
    /// What has come of a batch whose leader died stays, and the next leader's fragments are added to it.
    FragmentsKept = "fragments-kept",
    /// A new member votes as soon as the log lacks few entries, whatever it holds itself.
    CaughtUpByEntries = "caught-up-by-entries",
    /// A primary whose loop does not turn keeps its lease.
    StuckKeepsLease = "stuck-keeps-lease",
    /// An image in progress goes on over an undo, and is taken for one of where memory went back to.
    ImageKeptOverUndo = "image-kept-over-undo",
    /// What was removed is not freed unless somebody writes.
    FreeingStops = "freeing-stops",
    /// While nobody writes, no time reaches the replicas.
    NoTimeAlone = "no-time-alone",
    /// Memory counts as standing at a fragment that is not its batch's last.
    FragmentMovesPosition = "fragment-moves-position",
}

impl Plant {
    /// The plant of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Plant> {
        Plant::ALL.iter().copied().find(|plant| plant.name() == name)
    }

    /// Whether it is switched on here.
    #[cfg(not(feature = "plants"))]
    #[inline(always)]
    #[must_use]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Whether it is switched on here.
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

    /// Switches a plant on, or off, for what runs on this thread.
    pub fn on_this_thread(plant: Option<Plant>) {
        THREADS.set(plant);
    }

    pub(super) fn active() -> Option<Plant> {
        THREADS.get().or_else(of_the_process)
    }

    /// # Panics
    /// If no plant has the name: a run that plants nothing would prove nothing.
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
    fn names_are_distinct_and_lead_back() {
        for &plant in Plant::ALL {
            assert_eq!(Plant::from_name(plant.name()), Some(plant));
            assert!(plant.what().ends_with('.'), "{plant:?}");
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
