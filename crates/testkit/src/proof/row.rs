//! One row: what a run says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Checkout;
use crate::history::{self, Counts};

/// Which of the suites ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// The deterministic simulation: `make sim`.
    Sim,
    /// Real processes: `make chaos`.
    Chaos,
    /// Load without faults: `make soak`.
    Soak,
}

impl Suite {
    /// All of them, in the order of the page.
    pub const ALL: [Suite; 3] = [Suite::Sim, Suite::Chaos, Suite::Soak];

    /// As in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Suite::Sim => "sim",
            Suite::Chaos => "chaos",
            Suite::Soak => "soak",
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowVerdict {
    /// Nothing was broken, and the run is valid.
    Pass,
    /// A promise was broken.
    Fail,
    /// The run proves nothing: a fault had no effect, the load was too low, a checker came to no verdict.
    Invalid,
}

/// Quantiles of a span, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spans {
    /// How many were measured.
    pub times: u64,
    /// Half of them are not longer.
    pub p50_ms: u64,
    /// 99 of 100 are not longer.
    pub p99_ms: u64,
}

/// A run. What is not known is `None`, and null in the file. No fractions: they are not always read as they were
/// written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The commit that ran.
    pub commit: String,
    /// Whether the checkout had changes that are in no commit.
    pub dirty: bool,
    /// When it began: seconds since 1970, UTC.
    pub began_s: u64,
    /// Which kernel it ran on.
    pub kernel: Option<String>,
    /// See [`Suite`].
    pub suite: Suite,
    /// What it was made of, in the suite's words.
    pub profile: String,
    /// `sync`, `async` or `disabled`; several with commas between, if the run switched.
    pub durability: String,
    /// Its seed; of several, the first one.
    pub seed: u64,
    /// How many seeds, from that one on.
    pub seeds: u64,
    /// Of these, how many count by the suite's own rule; the figures below are of them.
    pub seeds_counted: u64,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: Option<u64>,
    /// Operations that a checker has judged.
    pub ops_checked: Option<u64>,
    /// Writes that were acknowledged in `sync` and looked for afterwards.
    pub acknowledged_sync: Option<u64>,
    /// Writes that were refused, all of which were looked for, too.
    pub refused: Option<u64>,
    /// Writes of unknown outcome.
    pub unknown: Option<u64>,
    /// Faults that were seen to take effect, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Of these, power losses that count, by kind: an unsynced canary on each file system had vanished, and at least
    /// 1,000 writes were acknowledged since the fault before.
    pub power_losses: BTreeMap<String, u64>,
    /// Acknowledged `sync` writes that were gone.
    pub lost: Option<u64>,
    /// Reads at a primary that were answered with what was no longer true, and reads at a replica that went back.
    pub stale: Option<u64>,
    /// Other broken promises.
    pub other_violations: Option<u64>,
    /// Histories without a verdict.
    pub undecided: Option<u64>,
    /// The longest loss of a failover in `async`, milliseconds between the oldest and the newest acknowledged write.
    pub async_loss_max_ms: Option<u64>,
    /// From a fault to the next acknowledged write.
    pub until_write: Option<Spans>,
    /// From a fault to the next linearizable read.
    pub until_read: Option<Spans>,
    /// What stands for all that happened with the first seed, where the same seed gives the same: a number to compare
    /// with.
    pub trace: Option<String>,
    /// See [`RowVerdict`].
    pub verdict: RowVerdict,
    /// What was broken, or why it is invalid.
    pub notes: Vec<String>,
}

/// Notes that are taken over from a verdict: enough to know what to look for.
const NOTES_MAX: usize = 10;

impl Row {
    /// A row of a run that began now, with nothing known yet: it is invalid until its verdict is set.
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
            faults: BTreeMap::new(),
            power_losses: BTreeMap::new(),
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

    /// Takes over what the histories of a `sync` run have shown. A run with anything undecided is invalid, unless it
    /// found something.
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
