//! Coverage of simulations: faults that took effect, and what followed from them.
//!
//! A suite of seeds in which something never happened has shown nothing about it. So an empty cell of the table fails
//! the suite ([`Coverage::empty_cells`]), once there were enough seeds ([`SEEDS_MIN`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sim::fault::SimFault;

/// From this many seeds on every cell of the table must be filled.
pub const SEEDS_MIN: usize = 100;

/// Something that should occur in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CoverageEvent {
    /// A running node stopped leading a group.
    StepDown,
    /// Undo records undid effects that did not commit.
    UndoByRecords,
    /// A restore of snapshot and log undid effects that did not commit.
    UndoByRestore,
    /// Memory was restored, after a start or an undo.
    Restore,
    /// A replica has made a snapshot.
    SnapshotMade,
    /// A snapshot from another node was installed.
    SnapshotInstalled,
    /// A former primary with uncommitted effects installed a snapshot.
    InstalledOverOpen,
    /// The maximum number of batches was in flight, and another one was open.
    WindowFull,
    /// A message between nodes was too large for its part of a frame, and was split.
    MessageCut,
    /// A node has replaced another one in every group.
    Replacement,
    /// The mode was switched to `sync`.
    ToSync,
    /// The mode was switched to `async`.
    ToAsync,
    /// The lag gate closed.
    #[serde(rename = "GateShut")]
    LagGateClosed,
    /// A crash tore off the log's last write, which had not been reported as done.
    TornTail,
    /// A crash kept the log's last write, although it had not been reported as done.
    UntoldTail,
    /// A damaged, wiped or old disk was refused, with the right reason.
    DiskRefused,
}

impl CoverageEvent {
    /// All of them.
    pub const ALL: [CoverageEvent; 16] = [
        CoverageEvent::StepDown,
        CoverageEvent::UndoByRecords,
        CoverageEvent::UndoByRestore,
        CoverageEvent::Restore,
        CoverageEvent::SnapshotMade,
        CoverageEvent::SnapshotInstalled,
        CoverageEvent::InstalledOverOpen,
        CoverageEvent::WindowFull,
        CoverageEvent::MessageCut,
        CoverageEvent::Replacement,
        CoverageEvent::ToSync,
        CoverageEvent::ToAsync,
        CoverageEvent::LagGateClosed,
        CoverageEvent::TornTail,
        CoverageEvent::UntoldTail,
        CoverageEvent::DiskRefused,
    ];
}

/// Counts of one run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    faults: BTreeMap<SimFault, u64>,
    /// Faults that ended without an effect.
    without_effect: BTreeMap<SimFault, u64>,
    events: BTreeMap<CoverageEvent, u64>,
}

impl Coverage {
    /// Counts a fault that has ended.
    pub fn fault(&mut self, fault: SimFault, took_effect: bool) {
        let counts = if took_effect { &mut self.faults } else { &mut self.without_effect };
        *counts.entry(fault).or_default() += 1;
    }

    /// Counts one event.
    pub fn count(&mut self, event: CoverageEvent) {
        self.add(event, 1);
    }

    /// Counts several events.
    pub fn add(&mut self, event: CoverageEvent, times: u64) {
        *self.events.entry(event).or_default() += times;
    }

    /// Number of faults that took effect, by kind.
    #[must_use]
    pub fn faults(&self) -> &BTreeMap<SimFault, u64> {
        &self.faults
    }

    /// Number of faults that took effect.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Number of times that an event occurred.
    #[must_use]
    pub fn times(&self, event: CoverageEvent) -> u64 {
        self.events.get(&event).copied().unwrap_or(0)
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Coverage) {
        other.faults.iter().for_each(|(fault, times)| *self.faults.entry(*fault).or_default() += times);
        let gone = other.without_effect.iter();
        gone.for_each(|(fault, times)| *self.without_effect.entry(*fault).or_default() += times);
        other.events.iter().for_each(|(event, times)| self.add(*event, *times));
    }

    /// What never took effect or occurred, of `kinds` and of all events.
    #[must_use]
    pub fn empty_cells(&self, kinds: &[SimFault]) -> Vec<String> {
        let faults = kinds.iter().filter(|fault| !self.faults.contains_key(fault)).map(|fault| format!("{fault:?}"));
        let events =
            CoverageEvent::ALL.iter().filter(|event| self.times(**event) == 0).map(|event| format!("{event:?}"));
        faults.chain(events).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20} {:>11} {:>15}", "fault", "took effect", "without effect")?;
        for fault in SimFault::ALL {
            let of = |counts: &BTreeMap<SimFault, u64>| counts.get(&fault).copied().unwrap_or(0);
            let (name, took, gone) = (format!("{fault:?}"), of(&self.faults), of(&self.without_effect));
            writeln!(f, "{name:<20} {took:>11} {gone:>15}")?;
        }
        writeln!(f, "{:<20} {:>11}", "event", "times")?;
        for event in CoverageEvent::ALL {
            writeln!(f, "{:<20} {:>11}", format!("{event:?}"), self.times(event))?;
        }
        Ok(())
    }
}
