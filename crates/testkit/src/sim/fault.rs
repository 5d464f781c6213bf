//! What goes wrong in a simulation, when, and how it heals. This module holds the kinds of faults; each kind is
//! executed by one of the modules below, on a [`stage`], in the order that the [`schedule`] chooses.
//!
//! Faults start one after the other and last for a while, so that they overlap; at most one fault holds a link or a
//! machine at a time. Links to clients are part of the network too. Every choice comes from the seed.
//!
//! When a fault ends it reports whether it took effect: whether frames were missing, a write took long, an election was
//! won. Only then does it count.
//!
//! | module | faults of |
//! |---|---|
//! | `network` | links between hosts |
//! | `machine` | machines and processes, and the replacement of a lost one |
//! | `disk` | disks |
//! | `clock` | clocks |
//! | `order` | none: what operators do, at the same time as all other faults |
//! | `moment` | several events at the worst moment, a combination that chance alone produces too seldom |
//! | `stuck` | a shard's loop |
//! | `unheard` | links to and from a primary that fail in part |
//! | `attack` | none: what hostile clients send (`../adversary.rs`), in the runs that have them |

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
    /// A node crashes while it makes or receives a snapshot.
    CrashInSnapshot,
    /// A machine is lost with its disk; a new node takes its place.
    MachineLost,
    /// As [`SimFault::MachineLost`], and the snapshot chunks sent to the new node arrive late.
    LateSnapshots,
    /// The hosts are split into two parts; no message passes between them.
    Partition,
    /// One AZ is partitioned from the others.
    AzCut,
    /// No message passes from one node to some others; the opposite direction works.
    OneWay,
    /// Two parts that reach each other only through one node, which reaches both.
    Bridge,
    /// Every node reaches only its neighbours in a ring; with three nodes, only the next one.
    Ring,
    /// All messages to and from one node are held back and then delivered at once. This is what a paused process looks
    /// like to the other nodes, and what waits in its sockets when it resumes.
    Hold,
    /// A primary is paused: its messages, received messages and replies are held back and then delivered, its replies
    /// first.
    Pause,
    /// The loop of a shard's primary and its connections stall, while the node's heartbeats continue.
    StuckLoop,
    /// A primary receives nothing; its own messages arrive.
    Deaf,
    /// The messages of a primary are lost, and the messages to it are late.
    LateAnswers,
    /// Some followers receive only the lease frames of a primary, the others receive nothing.
    LeasesOnly,
    /// A primary is cut off until the logs of the others are purged beyond the end of its own log.
    PurgedBeyond,
    /// Messages between nodes are lost, which breaks their connections.
    Loss,
    /// Messages between nodes have a high latency.
    SlowLinks,
    /// Frames between nodes arrive twice.
    Duplicates,
    /// Frames between nodes arrive after later ones.
    Reorder,
    /// The disk of one node is slow.
    SlowDisk,
    /// The disk of one node is very slow.
    StalledDisk,
    /// The disks of all nodes except a shard's primary stall, for longer than `async` allows.
    StalledFollowers,
    /// One node's disk is full.
    FullDisk,
    /// A sync of one node's disk fails.
    FailedSync,
    /// A bit flips in the middle of the log of a stopped node. The node must refuse its disk, and is replaced.
    CorruptDisk,
    /// A stopped node loses the start of each of its snapshots. It must refuse its disk if its log does not reach back
    /// far enough, and is replaced.
    CorruptSnapshots,
    /// A node restarts with an empty disk. It must refuse it, and is replaced.
    WipedDisk,
    /// A node restarts with an old copy of its disk. It must refuse it, and is replaced.
    OldDisk,
    /// A wall clock jumps forwards or backwards by a large amount.
    WallJump,
    /// A wall clock jumps by less than the cluster detects.
    WallShift,
    /// A boot clock changes its rate.
    ClockDrift,
    /// A primary is ordered to hand over.
    HandOver,
    /// As [`SimFault::HandOver`], and the primary receives nothing once it has asked its successor to stand for
    /// election.
    CutAfterTransfer,
    /// In runs with FLUSHALL: a primary is cut off, and while its lease holds one client sends FLUSHALL and the others
    /// read.
    FlushCutOff,
    /// Clients are silent; one follower receives nothing from the primary, and the others restart repeatedly.
    RestartBesideDeaf,
    /// The operator orders voters that break the AZ rule.
    WrongVoters,
    /// The operator switches to the other durability mode.
    SwitchMode,
    /// Many keys, some with long names, expire in the same millisecond.
    MassExpiry,
    /// Values that span many log entries are written.
    LargeValues,
    /// Transactions below and above the maximum size of a unit, all of whose keys hold the same number at any time.
    UnitAtLimit,
    /// RESTORE of payloads that expand to a value below or above the maximum size of a unit.
    RestoreBomb,
    /// Transactions whose effects are far longer than their arguments.
    GrowingUnit,
    /// Many keys and a large hash are removed at once.
    FreedAtOnce,
    /// Connections request large values and read nothing.
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

    /// What hostile clients do. They run only under scaled-down limits.
    pub const ATTACKS: [SimFault; 7] = [
        SimFault::MassExpiry,
        SimFault::LargeValues,
        SimFault::UnitAtLimit,
        SimFault::RestoreBomb,
        SimFault::GrowingUnit,
        SimFault::FreedAtOnce,
        SimFault::NeverReads,
    ];

    /// Whether the fault is an attack by a hostile client, which breaks nothing.
    #[must_use]
    pub fn is_attack(self) -> bool {
        SimFault::ATTACKS.contains(&self)
    }

    /// The kind with this name, as printed in tables.
    #[must_use]
    pub fn from_name(name: &str) -> Option<SimFault> {
        SimFault::ALL.into_iter().find(|fault| format!("{fault:?}") == name)
    }
}
