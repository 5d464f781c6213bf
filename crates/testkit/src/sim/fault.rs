//! What goes wrong in a simulation, when, and how it heals.
//!
//! Faults come one after the other and last for a while, so that they overlap; each link, and each machine, is in the
//! hands of one fault at a time. Links to clients are part of the network too. Everything is chosen from the seed.
//!
//! A fault says at its end whether it took effect: whether frames were missed, a write took long, an election was won.
//! Only then it counts.
//!
//! | file | faults of |
//! |---|---|
//! | `network.rs` | links between hosts |
//! | `machine.rs` | machines and processes, and who takes a lost one's place |
//! | `disk.rs` | disks |
//! | `clock.rs` | clocks |
//! | `order.rs` | none: what operators do, which meets all the others |
//! | `moment.rs` | several things at a bad moment: what chance alone would bring together too seldom |
//! | `stuck.rs` | a shard's loop |
//! | `unheard.rs` | a primary's ways to and from its followers, that break in part |
//! | `attack.rs` | none: what hostile clients send (`../adversary.rs`), in the runs that have them |

mod attack;
mod clock;
mod disk;
mod machine;
mod moment;
pub mod network;
mod order;
pub mod schedule;
pub mod stage;
mod stuck;
mod unheard;

use serde::{Deserialize, Serialize};

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SimFault {
    /// A shard's primary crashes.
    CrashPrimary,
    /// Some node crashes.
    CrashAny,
    /// All nodes of an AZ crash at once.
    CrashAz,
    /// All nodes crash at once.
    CrashAll,
    /// A node crashes that is just making a snapshot, or receiving one.
    CrashInSnapshot,
    /// A machine is lost with its disk; a new node takes its place.
    MachineLost,
    /// The same, and the parts of snapshots that the new node is sent arrive late.
    LateSnapshots,
    /// The hosts are split in two; nothing passes.
    Partition,
    /// One AZ is cut off.
    AzCut,
    /// Nothing passes from one node to others; the way back is open.
    OneWay,
    /// Two parts that reach each other only through one node, which reaches both.
    Bridge,
    /// Every node reaches its neighbours in a ring only; of three, the next one only.
    Ring,
    /// Everything to and from one node is held back, and then arrives at once: what a paused process looks like to all
    /// others, and what waits in its sockets when it goes on.
    Hold,
    /// A primary is paused: what it says, hears and replies is held back, and then leaves and arrives, its replies
    /// first.
    Pause,
    /// The loop of a shard's primary stands still, and its connections, while its heartbeats go on.
    StuckLoop,
    /// A primary hears nothing; what it says arrives.
    Deaf,
    /// What a primary says is lost, and what it hears is late.
    LateAnswers,
    /// Of a primary some hear only the questions about its lease, and the others nothing.
    LeasesOnly,
    /// A primary is cut off until the others' logs do not go back to where its own ends.
    PurgedBeyond,
    /// Messages between nodes get lost, and with them their connections.
    Loss,
    /// Messages between nodes take long.
    SlowLinks,
    /// Frames between nodes arrive twice.
    Duplicates,
    /// Frames between nodes arrive behind later ones.
    Reorder,
    /// One node's disk takes long.
    SlowDisk,
    /// One node's disk takes very long.
    StalledDisk,
    /// The disks of all nodes but a shard's primary stand still, for longer than `async` bears.
    StalledFollowers,
    /// One node's disk is full.
    FullDisk,
    /// A sync of one node's disk fails.
    FailedSync,
    /// A bit flips in the middle of the log of a node that is down. It must refuse, and is replaced.
    CorruptDisk,
    /// A node that is down loses the beginning of each of its snapshots. It must refuse if its log does not go back far
    /// enough, and is replaced.
    CorruptSnapshots,
    /// A node comes back with an empty disk. It must refuse, and is replaced.
    WipedDisk,
    /// A node comes back with an old copy of its disk. It must refuse, and is replaced.
    OldDisk,
    /// A wall clock is set far on, or back.
    WallJump,
    /// A wall clock is set on or back by less than is noticed.
    WallShift,
    /// A boot clock runs faster or slower from now on.
    ClockDrift,
    /// A primary is told to hand over.
    HandOver,
    /// The same, and once it has told its successor to stand for election it hears nothing any more.
    CutAfterTransfer,
    /// In runs with FLUSHALL: a primary is cut off, and while it has its lease one client flushes and the others read.
    FlushCutOff,
    /// Clients are silent; one follower hears nothing of the primary any more, and the others restart, again and again.
    RestartBesideDeaf,
    /// The operator asks for voters that break the AZ rule.
    WrongVoters,
    /// The operator desired states the other mode.
    SwitchMode,
    /// Many keys, some with long names, expire in the same millisecond.
    MassExpiry,
    /// Values of many log entries are written.
    LargeValues,
    /// Transactions below and above a unit's maximum, all of whose keys hold the same number at any time.
    UnitAtLimit,
    /// Payloads that expand to a value below or above a unit's maximum are restored.
    RestoreBomb,
    /// Transactions whose effects are far longer than their arguments.
    GrowingUnit,
    /// Many keys and a large hash are removed at once.
    FreedAtOnce,
    /// Connections ask for large values and read nothing.
    NeverReads,
}

impl SimFault {
    /// All kinds.
    pub const ALL: [SimFault; 48] = [
        SimFault::CrashPrimary,
        SimFault::CrashAny,
        SimFault::CrashAz,
        SimFault::CrashAll,
        SimFault::CrashInSnapshot,
        SimFault::MachineLost,
        SimFault::LateSnapshots,
        SimFault::Partition,
        SimFault::AzCut,
        SimFault::OneWay,
        SimFault::Bridge,
        SimFault::Ring,
        SimFault::Hold,
        SimFault::Pause,
        SimFault::StuckLoop,
        SimFault::Deaf,
        SimFault::LateAnswers,
        SimFault::LeasesOnly,
        SimFault::PurgedBeyond,
        SimFault::Loss,
        SimFault::SlowLinks,
        SimFault::Duplicates,
        SimFault::Reorder,
        SimFault::SlowDisk,
        SimFault::StalledDisk,
        SimFault::StalledFollowers,
        SimFault::FullDisk,
        SimFault::FailedSync,
        SimFault::CorruptDisk,
        SimFault::CorruptSnapshots,
        SimFault::WipedDisk,
        SimFault::OldDisk,
        SimFault::WallJump,
        SimFault::WallShift,
        SimFault::ClockDrift,
        SimFault::HandOver,
        SimFault::CutAfterTransfer,
        SimFault::FlushCutOff,
        SimFault::RestartBesideDeaf,
        SimFault::WrongVoters,
        SimFault::SwitchMode,
        SimFault::MassExpiry,
        SimFault::LargeValues,
        SimFault::UnitAtLimit,
        SimFault::RestoreBomb,
        SimFault::GrowingUnit,
        SimFault::FreedAtOnce,
        SimFault::NeverReads,
    ];

    /// What hostile clients do. They come in runs whose limits are scaled down, where nothing else has to be chosen.
    pub const ATTACKS: [SimFault; 7] = [
        SimFault::MassExpiry,
        SimFault::LargeValues,
        SimFault::UnitAtLimit,
        SimFault::RestoreBomb,
        SimFault::GrowingUnit,
        SimFault::FreedAtOnce,
        SimFault::NeverReads,
    ];

    /// Whether it is what a hostile client does, and nothing breaks.
    #[must_use]
    pub fn is_attack(self) -> bool {
        SimFault::ATTACKS.contains(&self)
    }

    /// The one of this name, as tables have it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<SimFault> {
        SimFault::ALL.into_iter().find(|fault| format!("{fault:?}") == name)
    }
}
