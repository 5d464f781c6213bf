//! What happened in simulations: faults that took effect, and what they led to.
//!
//! A suite of seeds that never made something happen has shown nothing about it, so an empty cell of the table is a
//! failure of the suite ([`Coverage::empty_cells`]), once there were enough seeds ([`SEEDS_MIN`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sim::fault::SimFault;

/// From so many seeds on every cell of the table must be filled.
pub const SEEDS_MIN: usize = 100;

/// Something that a run should have gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CoverageEvent {
    /// A running node led a group and does so no more.
    StepDown,
    /// Effects that did not commit were undone by undo records.
    UndoByRecords,
    /// The same by a restore of snapshot and log.
    UndoByRestore,
    /// Memory was restored, after a start or an undo.
    Restore,
    /// A replica has made a snapshot.
    SnapshotMade,
    /// One that another node had sent was installed.
    SnapshotInstalled,
    /// The same, by a former primary with effects that had not committed.
    InstalledOverOpen,
    /// As many batches were in flight as may be, and another one was open.
    WindowFull,
    /// A message between nodes was too large for its part of a frame.
    MessageCut,
    /// A node has taken another one's place in every group.
    Replacement,
    /// The mode was switched to `sync`.
    ToSync,
    /// The mode was switched to `async`.
    ToAsync,
    /// The lag gate has shut.
    GateShut,
    /// A crash tore the log's last write off, which nobody was told of.
    TornTail,
    /// A crash left the log's last write, though nobody was told of it.
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
        CoverageEvent::GateShut,
        CoverageEvent::TornTail,
        CoverageEvent::UntoldTail,
        CoverageEvent::DiskRefused,
    ];
}

/// Counts of one run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    faults: BTreeMap<SimFault, u64>,
    /// Injected, and gone without anybody having noticed.
    without_effect: BTreeMap<SimFault, u64>,
    events: BTreeMap<CoverageEvent, u64>,
}

impl Coverage {
    /// A fault is over.
    pub fn fault(&mut self, fault: SimFault, took_effect: bool) {
        let counts = if took_effect { &mut self.faults } else { &mut self.without_effect };
        *counts.entry(fault).or_default() += 1;
    }

    /// Something happened.
    pub fn count(&mut self, event: CoverageEvent) {
        self.add(event, 1);
    }

    /// Something happened so many times.
    pub fn add(&mut self, event: CoverageEvent, times: u64) {
        *self.events.entry(event).or_default() += times;
    }

    /// Faults that took effect, by kind.
    #[must_use]
    pub fn faults(&self) -> &BTreeMap<SimFault, u64> {
        &self.faults
    }

    /// How many faults took effect.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// How often something happened.
    #[must_use]
    pub fn times(&self, event: CoverageEvent) -> u64 {
        self.events.get(&event).copied().unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Coverage) {
        other.faults.iter().for_each(|(fault, times)| *self.faults.entry(*fault).or_default() += times);
        let gone = other.without_effect.iter();
        gone.for_each(|(fault, times)| *self.without_effect.entry(*fault).or_default() += times);
        other.events.iter().for_each(|(event, times)| self.add(*event, *times));
    }

    /// What never took effect or happened, of `kinds` and of all events.
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
