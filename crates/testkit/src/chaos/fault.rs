//! The faults: what each one does, which nodes it hits, and what the cluster loses by it.

use crate::partition::RING_MIN;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChaosFault {
    /// `kill -9` of shard 1's primary, restarted later.
    KillPrimary,
    /// `kill -9` of a random node, restarted later.
    KillAny,
    /// `kill -9` of all nodes in the AZ of shard 1's primary.
    KillAz,
    /// `kill -9` of all nodes at once, all restarted.
    KillAll,
    /// Power loss of shard 1's primary: it is killed, and its unsynced data is lost.
    PowerPrimary,
    /// Power loss of a random node.
    PowerAny,
    /// Power loss of all nodes in the AZ of shard 1's primary.
    PowerAz,
    /// Power loss of all nodes at once.
    PowerAll,
    /// SIGSTOP of shard 1's primary, SIGCONT once another node has led.
    PausePrimary,
    /// SIGSTOP of all nodes in the AZ of shard 1's primary.
    PauseAz,
    /// Packets between shard 1's primary and all other nodes are dropped; clients still reach it.
    CutPrimary,
    /// Packets from other nodes to shard 1's primary are dropped; its own packets arrive.
    DeafenPrimary,
    /// Packets from shard 1's primary to other nodes are dropped; theirs arrive.
    MutePrimary,
    /// Packets between the AZ of shard 1's primary and all other AZs are dropped.
    CutAz,
    /// Two halves that do not reach each other, and a random node that reaches both; shard 1's primary is in one of the
    /// halves.
    Bridge,
    /// Each node reaches only its two neighbours in a ring.
    Ring,
    /// The log of shard 1's primary stalls, without an error.
    StallDisk,
    /// Each write of a random node's log takes 100 ms longer.
    SlowDisk,
    /// The log disk of shard 1's primary is full until it is healed.
    FillDisk,
    /// An fsync of the log of shard 1's primary fails.
    FailDisk,
    /// The links from shard 1's primary to other nodes are cut, the opposite ones are not: by the node itself, without
    /// dropped packets.
    CutLinks,
    /// Messages from a random node to others arrive 40 ms later, and one frame in fifty is sent twice.
    SlowLinks,
    /// Messages from a random node to others are limited to 64 kbit/s.
    RateLinks,
    /// The wall clock of shard 1's primary jumps ten minutes ahead.
    ClockAhead,
    /// The wall clock of shard 1's primary jumps ten minutes back.
    ClockBehind,
}

/// The means of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Kill,
    PowerLoss,
    Pause,
    Drop(Shape),
    /// A command of `fastness lab disk`.
    Disk(&'static str),
    /// Commands of `fastness lab link`, for all links from the node.
    Links(&'static [&'static str]),
    /// Offset of the wall clock, seconds.
    Clock(i64),
}

/// Which packets are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Apart,
    Deafen,
    Mute,
    Bridge,
    Ring,
}

/// The victims of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Primary,
    Any,
    /// A random node other than the primary.
    Other,
    /// All nodes in the primary's AZ.
    Az,
    All,
}

/// A facility of the machine that a fault needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Only processes.
    Nothing,
    /// iptables.
    Packets,
    /// File systems on loop devices.
    Power,
    /// libfaketime, in a sandbox.
    Clocks,
}

impl ChaosFault {
    /// All of them.
    pub const ALL: [ChaosFault; 25] = [
        ChaosFault::KillPrimary,
        ChaosFault::KillAny,
        ChaosFault::KillAz,
        ChaosFault::KillAll,
        ChaosFault::PowerPrimary,
        ChaosFault::PowerAny,
        ChaosFault::PowerAz,
        ChaosFault::PowerAll,
        ChaosFault::PausePrimary,
        ChaosFault::PauseAz,
        ChaosFault::CutPrimary,
        ChaosFault::DeafenPrimary,
        ChaosFault::MutePrimary,
        ChaosFault::CutAz,
        ChaosFault::Bridge,
        ChaosFault::Ring,
        ChaosFault::StallDisk,
        ChaosFault::SlowDisk,
        ChaosFault::FillDisk,
        ChaosFault::FailDisk,
        ChaosFault::CutLinks,
        ChaosFault::SlowLinks,
        ChaosFault::RateLinks,
        ChaosFault::ClockAhead,
        ChaosFault::ClockBehind,
    ];

    /// Faults after which the primary is silent and its connections have not ended.
    pub const SILENT: [ChaosFault; 4] =
        [ChaosFault::PausePrimary, ChaosFault::CutPrimary, ChaosFault::DeafenPrimary, ChaosFault::MutePrimary];

    fn row(self) -> (&'static str, What, Whom) {
        match self {
            ChaosFault::KillPrimary => ("kill-primary", What::Kill, Whom::Primary),
            ChaosFault::KillAny => ("kill-any", What::Kill, Whom::Any),
            ChaosFault::KillAz => ("kill-az", What::Kill, Whom::Az),
            ChaosFault::KillAll => ("kill-all", What::Kill, Whom::All),
            ChaosFault::PowerPrimary => ("power-primary", What::PowerLoss, Whom::Primary),
            ChaosFault::PowerAny => ("power-any", What::PowerLoss, Whom::Any),
            ChaosFault::PowerAz => ("power-az", What::PowerLoss, Whom::Az),
            ChaosFault::PowerAll => ("power-all", What::PowerLoss, Whom::All),
            ChaosFault::PausePrimary => ("pause-primary", What::Pause, Whom::Primary),
            ChaosFault::PauseAz => ("pause-az", What::Pause, Whom::Az),
            ChaosFault::CutPrimary => ("cut-primary", What::Drop(Shape::Apart), Whom::Primary),
            ChaosFault::DeafenPrimary => ("deafen-primary", What::Drop(Shape::Deafen), Whom::Primary),
            ChaosFault::MutePrimary => ("mute-primary", What::Drop(Shape::Mute), Whom::Primary),
            ChaosFault::CutAz => ("cut-az", What::Drop(Shape::Apart), Whom::Az),
            ChaosFault::Bridge => ("bridge", What::Drop(Shape::Bridge), Whom::Other),
            ChaosFault::Ring => ("ring", What::Drop(Shape::Ring), Whom::All),
            ChaosFault::StallDisk => ("stall-disk", What::Disk("stall"), Whom::Primary),
            ChaosFault::SlowDisk => ("slow-disk", What::Disk("slow 100"), Whom::Any),
            ChaosFault::FillDisk => ("fill-disk", What::Disk("full"), Whom::Primary),
            ChaosFault::FailDisk => ("fail-disk", What::Disk("fail"), Whom::Primary),
            ChaosFault::CutLinks => ("cut-links", What::Links(&["cut"]), Whom::Primary),
            ChaosFault::SlowLinks => ("slow-links", What::Links(&["delay 40", "drop 2"]), Whom::Any),
            // Heartbeats take some 5 kB/s of it; what is left carries the load with some seconds of delay.
            ChaosFault::RateLinks => ("rate-links", What::Links(&["rate 32000"]), Whom::Any),
            ChaosFault::ClockAhead => ("clock-ahead", What::Clock(600), Whom::Primary),
            ChaosFault::ClockBehind => ("clock-behind", What::Clock(-600), Whom::Primary),
        }
    }

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    pub(super) fn what(self) -> What {
        self.row().1
    }

    pub(super) fn whom(self) -> Whom {
        self.row().2
    }

    /// The fault with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<ChaosFault> {
        ChaosFault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// The facility of the machine that the fault needs.
    #[must_use]
    pub fn needs(self) -> Needs {
        match self.what() {
            What::Drop(_) => Needs::Packets,
            What::PowerLoss => Needs::Power,
            What::Clock(_) => Needs::Clocks,
            What::Kill | What::Pause | What::Disk(_) | What::Links(_) => Needs::Nothing,
        }
    }

    /// Why a cluster of this size cannot have this fault; `None` if it can.
    #[must_use]
    pub fn unfit(self, nodes: usize) -> Option<String> {
        let small = self.what() == What::Drop(Shape::Ring) && nodes < RING_MIN;
        small.then(|| format!("{nodes} nodes in a ring are all neighbours, {RING_MIN} or more are not"))
    }

    /// Whether the fault is a power loss.
    #[must_use]
    pub fn is_power_loss(self) -> bool {
        self.what() == What::PowerLoss
    }

    /// Whether a victim does not contribute to a quorum.
    pub(super) fn takes_away(self) -> bool {
        match self.what() {
            What::Kill | What::PowerLoss | What::Pause => true,
            What::Drop(shape) => !matches!(shape, Shape::Bridge | Shape::Ring),
            What::Disk(how) => !how.starts_with("slow"),
            What::Links(how) => how.contains(&"cut"),
            // A node with a wrong clock does not lead, but it votes and stores.
            What::Clock(_) => false,
        }
    }

    /// Whether a primary loses its role when it is hit.
    pub(super) fn deposes(self) -> bool {
        self.takes_away() || matches!(self.what(), What::Clock(_))
    }

    /// Whether the fault holds without the processes, so that all of them may be killed in the meantime.
    pub(super) fn outlives_processes(self) -> bool {
        matches!(self.what(), What::Drop(_))
    }

    /// Whether all nodes are killed at once.
    pub(super) fn kills_all(self) -> bool {
        self.whom() == Whom::All && matches!(self.what(), What::Kill | What::PowerLoss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for fault in ChaosFault::ALL {
            assert_eq!(ChaosFault::from_name(fault.name()), Some(fault));
        }
        assert_eq!(ChaosFault::from_name("pause"), None);
        assert!(ChaosFault::SILENT.iter().all(|fault| ChaosFault::ALL.contains(fault)));
    }

    #[test]
    fn what_is_slow_or_cut_on_one_side_of_a_bridge_still_counts_for_a_quorum() {
        let away: Vec<_> =
            ChaosFault::ALL.into_iter().filter(|fault| !fault.takes_away()).map(ChaosFault::name).collect();
        let there = ["bridge", "ring", "slow-disk", "slow-links", "rate-links", "clock-ahead", "clock-behind"];
        assert_eq!(away, there);
    }
}
