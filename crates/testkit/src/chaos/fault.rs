//! The faults: what each one is, to whom it is done, and what it takes from the cluster.

use crate::partition::RING_MIN;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChaosFault {
    /// `kill -9` of shard 1's primary, started again later.
    KillPrimary,
    /// `kill -9` of a random node, started again later.
    KillAny,
    /// `kill -9` of all nodes in the AZ of shard 1's primary.
    KillAz,
    /// `kill -9` of all nodes at once, all started again.
    KillAll,
    /// Power loss of shard 1's primary: dead, and what it had not synced is gone.
    PowerPrimary,
    /// Power loss of a random node.
    PowerAny,
    /// Power loss of all nodes in the AZ of shard 1's primary.
    PowerAz,
    /// Power loss of all nodes at once.
    PowerAll,
    /// SIGSTOP of shard 1's primary, SIGCONT once another one has led.
    PausePrimary,
    /// SIGSTOP of all nodes in the AZ of shard 1's primary.
    PauseAz,
    /// Packets between shard 1's primary and all other nodes vanish; clients still reach it.
    CutPrimary,
    /// What others send to shard 1's primary vanishes, what it sends arrives.
    DeafenPrimary,
    /// What shard 1's primary sends to others vanishes, what they send arrives.
    MutePrimary,
    /// Packets between the AZ of shard 1's primary and all other AZs vanish.
    CutAz,
    /// Two halves that do not hear each other, and a random node that both hear; shard 1's primary is in one of the
    /// halves.
    Bridge,
    /// Each node hears its two neighbours in a ring alone.
    Ring,
    /// The log of shard 1's primary stands still, without an error.
    StallDisk,
    /// Each write of a random node's log takes 100 ms more.
    SlowDisk,
    /// The log of shard 1's primary finds no space, until it is healed.
    FillDisk,
    /// An fsync of the log of shard 1's primary fails.
    FailDisk,
    /// The links from shard 1's primary to others are cut, the links to it are not: without dropped packets.
    CutLinks,
    /// What a random node sends to others arrives 40 ms later, and one of fifty frames is sent twice.
    SlowLinks,
    /// What a random node sends to others leaves at 64 kbit/s.
    RateLinks,
    /// The wall clock of shard 1's primary jumps ten minutes ahead.
    ClockAhead,
    /// The wall clock of shard 1's primary jumps ten minutes back.
    ClockBehind,
}

/// By which means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Kill,
    PowerLoss,
    Pause,
    Drop(Shape),
    /// In the words of `fastness lab disk`.
    Disk(&'static str),
    /// In the words of `fastness lab link`, of all links from the node.
    Links(&'static [&'static str]),
    /// Seconds ahead.
    Clock(i64),
}

/// Which packets vanish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Apart,
    Deafen,
    Mute,
    Bridge,
    Ring,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Primary,
    Any,
    /// Not the primary.
    Other,
    /// The primary's.
    Az,
    All,
}

/// A way in which this machine may not be able to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing that a cluster of processes does not have.
    Nothing,
    /// Rules of iptables.
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

    /// The primary is silent, and no connection to it has ended.
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
            ChaosFault::FillDisk => ("fill-disk", What::Disk("fill"), Whom::Primary),
            ChaosFault::FailDisk => ("fail-disk", What::Disk("fail"), Whom::Primary),
            ChaosFault::CutLinks => ("cut-links", What::Links(&["cut"]), Whom::Primary),
            ChaosFault::SlowLinks => ("slow-links", What::Links(&["delay 40", "drop 2"]), Whom::Any),
            ChaosFault::RateLinks => ("rate-links", What::Links(&["rate 8000"]), Whom::Any),
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

    /// The fault of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<ChaosFault> {
        ChaosFault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// What the machine must be able to do for it.
    #[must_use]
    pub fn needs(self) -> Needs {
        match self.what() {
            What::Drop(_) => Needs::Packets,
            What::PowerLoss => Needs::Power,
            What::Clock(_) => Needs::Clocks,
            What::Kill | What::Pause | What::Disk(_) | What::Links(_) => Needs::Nothing,
        }
    }

    /// Why a cluster of so many nodes has no such fault; `None` if it has.
    #[must_use]
    pub fn unfit(self, nodes: usize) -> Option<String> {
        let small = self.what() == What::Drop(Shape::Ring) && nodes < RING_MIN;
        small.then(|| format!("{nodes} nodes in a ring are all neighbours, {RING_MIN} or more are not"))
    }

    /// Whether it is a power loss.
    #[must_use]
    pub fn is_power_loss(self) -> bool {
        self.what() == What::PowerLoss
    }

    /// Whether whom it hits can do nothing for a quorum.
    pub(super) fn takes_away(self) -> bool {
        match self.what() {
            What::Kill | What::PowerLoss | What::Pause => true,
            What::Drop(shape) => !matches!(shape, Shape::Bridge | Shape::Ring),
            What::Disk(how) => !how.starts_with("slow"),
            What::Links(how) => how.contains(&"cut"),
            // A node whose clock is off leads nothing, but votes and stores.
            What::Clock(_) => false,
        }
    }

    /// Whether a primary that it hits does not stay one.
    pub(super) fn deposes(self) -> bool {
        self.takes_away() || matches!(self.what(), What::Clock(_))
    }

    /// Whether it holds without the processes, so that all of them may die meanwhile.
    pub(super) fn outlives_processes(self) -> bool {
        matches!(self.what(), What::Drop(_))
    }

    /// Whether every node is dead at once.
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
