//! One row: the figures of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Checkout;
use crate::clients::Counts;
use crate::history;

/// The suite of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// The deterministic simulation: `make sim`.
    Sim,
    /// Real processes: `make chaos`.
    Chaos,
    /// Load without faults: `make soak`.
    Soak,
    /// Arbitrary input to decoders: `make fuzz`.
    Fuzz,
    /// The same commands on a real Valkey server: `make test-differential`.
    Differential,
}

impl Suite {
    /// All suites, in the order of the page.
    pub const ALL: [Suite; 5] = [Suite::Sim, Suite::Chaos, Suite::Soak, Suite::Fuzz, Suite::Differential];

    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Suite::Sim => "sim",
            Suite::Chaos => "chaos",
            Suite::Soak => "soak",
            Suite::Fuzz => "fuzz",
            Suite::Differential => "differential",
        }
    }
}

/// Result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowVerdict {
    /// The run is valid and without violations.
    Pass,
    /// A promise was broken.
    Fail,
    /// The run proves nothing: a fault had no effect, the load was too low, or a checker reached no verdict.
    Invalid,
}

/// Quantiles of a duration, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spans {
    /// Number of measurements.
    pub times: u64,
    /// The median.
    pub p50_ms: u64,
    /// The 99th percentile.
    pub p99_ms: u64,
}

/// The figures of one fuzz target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fuzzed {
    /// Number of inputs that were executed.
    pub executions: u64,
    /// Of these, inputs that were decoded.
    pub decoded: u64,
    /// Branches that were taken, if the run was guided by them.
    pub branches: Option<u64>,
}

/// A run. Unknown figures are `None`, and null in the file. There are no fractions, because they are not always read
/// back as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The tested commit.
    pub commit: String,
    /// Whether the checkout had changes that are in no commit.
    pub dirty: bool,
    /// Start of the run, seconds since 1970, UTC.
    pub began_s: u64,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// See [`Suite`].
    pub suite: Suite,
    /// Description of the run, in the suite's words.
    pub profile: String,
    /// `sync`, `async` or `disabled`; several, separated by commas, if the run switched modes.
    pub durability: String,
    /// The seed, or the first one of several.
    pub seed: u64,
    /// Number of seeds, starting with that one.
    pub seeds: u64,
    /// Number of seeds that count by the suite's own rule; the figures below are of them.
    pub seeds_counted: u64,
    /// Duration, milliseconds.
    pub wall_ms: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: Option<u64>,
    /// Number of operations that a checker has judged.
    pub ops_checked: Option<u64>,
    /// Number of writes that were acknowledged in `sync` and searched for afterwards.
    pub acknowledged_sync: Option<u64>,
    /// Number of refused writes, all of which were searched for, too.
    pub refused: Option<u64>,
    /// Number of writes of unknown outcome.
    pub unknown: Option<u64>,
    /// Operations of each kind of client (`resp`, `grpc`, `sdk`), where the run counts them. Absent in older rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, Counts>,
    /// Number of faults that took effect, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Number of power losses that count, by kind: an unsynced canary on each file system was lost, and at least 1,000
    /// writes were acknowledged since the fault before.
    pub power_losses: BTreeMap<String, u64>,
    /// Fuzz targets, by name. Absent in rows of other suites.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fuzzed: BTreeMap<String, Fuzzed>,
    /// Number of lost acknowledged `sync` writes.
    pub lost: Option<u64>,
    /// Number of stale reads at primaries, and of reads at replicas that went back.
    pub stale: Option<u64>,
    /// Number of other violations.
    pub other_violations: Option<u64>,
    /// Number of histories without a verdict.
    pub undecided: Option<u64>,
    /// The longest loss of a failover in `async`, milliseconds between the oldest and the newest acknowledged write.
    pub async_loss_max_ms: Option<u64>,
    /// Time from a fault to the next acknowledged write.
    pub until_write: Option<Spans>,
    /// Time from a fault to the next linearizable read.
    pub until_read: Option<Spans>,
    /// Hash of everything that happened with the first seed, where the same seed gives the same run.
    pub trace: Option<String>,
    /// See [`RowVerdict`].
    pub verdict: RowVerdict,
    /// The violations, or why the run is invalid.
    pub notes: Vec<String>,
}

/// Maximum number of notes from a verdict.
const NOTES_MAX: usize = 10;

impl Row {
    /// A row of a run that starts now, without any figures: it is invalid until its verdict is set.
    #[must_use]
    pub fn new(checkout: &Checkout, suite: Suite, profile: impl Into<String>, seed: u64) -> Row {
        Row {
            commit: checkout.commit.clone(),
            dirty: checkout.dirty,
            began_s: checkout.at_s,
            kernel: checkout.kernel.clone(),
            suite,
            profile: profile.into(),
            durability: "sync".to_owned(),
            seed,
            seeds: 1,
            seeds_counted: 1,
            wall_ms: 0,
            simulated_ms: None,
            ops_checked: None,
            acknowledged_sync: None,
            refused: None,
            unknown: None,
            clients: BTreeMap::new(),
            faults: BTreeMap::new(),
            power_losses: BTreeMap::new(),
            fuzzed: BTreeMap::new(),
            lost: None,
            stale: None,
            other_violations: None,
            undecided: None,
            async_loss_max_ms: None,
            until_write: None,
            until_read: None,
            trace: None,
            verdict: RowVerdict::Invalid,
            notes: Vec::new(),
        }
    }

    /// Adds the findings of the histories of a `sync` run. A run with anything undecided is invalid, unless it found a
    /// violation.
    pub fn judge(&mut self, histories: &history::HistoryVerdict) {
        let all = histories.by_workload.values().fold(Counts::default(), |sum, counts| sum + *counts);
        let violations = histories.violations.len() as u64;
        self.ops_checked = Some(histories.ops_checked);
        self.acknowledged_sync = Some(all.acknowledged);
        self.refused = Some(all.refused);
        self.unknown = Some(all.unknown);
        self.lost = Some(histories.lost);
        self.stale = Some(histories.stale);
        self.other_violations = Some(violations - histories.lost - histories.stale);
        self.undecided = Some(histories.undecided.len() as u64);
        self.verdict = match (violations, histories.undecided.is_empty()) {
            (0, true) => RowVerdict::Pass,
            (0, false) => RowVerdict::Invalid,
            _ => RowVerdict::Fail,
        };
        let shown = histories.violations.iter().map(ToString::to_string).chain(histories.undecided.iter().cloned());
        self.notes.extend(shown.take(NOTES_MAX));
    }

    /// A run that counts.
    #[cfg(test)]
    pub(crate) fn sample(suite: Suite, seed: u64) -> Row {
        let checkout = Checkout { commit: "c0ffee".into(), dirty: false, at_s: 1_700_000_000, kernel: None };
        Row {
            wall_ms: 60_000,
            simulated_ms: (suite == Suite::Sim).then_some(30_000),
            ops_checked: Some(3000),
            acknowledged_sync: Some(1000),
            unknown: Some(5),
            faults: BTreeMap::from([("kill-primary".to_owned(), 4)]),
            lost: Some(0),
            stale: Some(0),
            verdict: RowVerdict::Pass,
            ..Row::new(&checkout, suite, "mixed", seed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Kind, Violation};

    #[test]
    fn what_histories_show_is_taken_over() {
        let counts = Counts { acknowledged: 7, refused: 2, unknown: 1, reads: 5 };
        let good = history::HistoryVerdict {
            violations: Vec::new(),
            undecided: Vec::new(),
            ops_checked: 12,
            lost: 0,
            stale: 0,
            by_workload: BTreeMap::from([("bank", counts), ("set", counts)]),
            by_client: BTreeMap::new(),
        };
        let judged = |verdict: &history::HistoryVerdict| {
            let mut row = Row { verdict: RowVerdict::Pass, ..Row::sample(Suite::Chaos, 1) };
            row.judge(verdict);
            row
        };
        let row = judged(&good);
        assert_eq!((row.verdict, row.acknowledged_sync, row.ops_checked), (RowVerdict::Pass, Some(14), Some(12)));

        let undecided = history::HistoryVerdict { undecided: vec!["bank: too low".into()], ..good.clone() };
        assert_eq!(judged(&undecided).verdict, RowVerdict::Invalid);

        let violation =
            |kind| Violation { workload: "bank", key: "k".into(), kind, what: "gone".into(), history: Vec::new() };
        let violations = vec![violation(Kind::Lost), violation(Kind::Torn)];
        let bad = history::HistoryVerdict { violations, lost: 1, ..undecided };
        let row = judged(&bad);
        assert_eq!((row.verdict, row.lost, row.other_violations), (RowVerdict::Fail, Some(1), Some(1)));
        assert_eq!(row.notes, ["bank k: Lost: gone", "bank k: Torn: gone", "bank: too low"]);
    }
}
