//! The report of a run with hostile clients.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::attack::Attack;
use super::outcome::AttackOutcome;
use super::watch::Watched;
use crate::chaos::LoadVerdict;
use crate::chaos::report::CLIENT_DELAY_MAX;
use crate::proof::{self, Checkout, Row, Suite};

/// Maximum number of violations in a row.
const NOTES_MAX: usize = 20;

/// One attack and its result.
#[derive(Debug, Clone)]
pub struct Attacked {
    /// Kind of the attack.
    pub attack: Attack,
    /// The attacked shard.
    pub shard: u32,
    /// Time of its start.
    pub begun: Instant,
    /// Duration of the attack, including the removal of what it wrote.
    pub took: Duration,
    /// Evidence that the attack took effect; empty: it did not.
    pub proof: String,
    /// Time from its end to the next accepted write of every shard.
    pub accepts_after: Duration,
    /// Violations found by the attack.
    pub wrong: Vec<String>,
}

impl Attacked {
    pub(super) fn new(
        attack: Attack,
        shard: u32,
        begun: Instant,
        came: Result<AttackOutcome>,
        removed: Result<()>,
    ) -> Attacked {
        // An attack that the victim broke off took effect as well; other checks judge whether the victim was right.
        let came = came.unwrap_or_else(|error| AttackOutcome::effect(format!("broken off: {error:#}")));
        let removed = removed.err().map(|error| format!("{error:#}"));
        let wrong = came.wrong.into_iter().chain(removed).collect();
        Attacked {
            attack,
            shard,
            begun,
            took: begun.elapsed(),
            proof: came.proof,
            accepts_after: Duration::ZERO,
            wrong,
        }
    }

    pub(super) fn with(mut self, accepted: Result<Duration, String>) -> Attacked {
        match accepted {
            Ok(after) => self.accepts_after = after,
            Err(what) => self.wrong.push(what),
        }
        self
    }
}

impl fmt::Display for Attacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attacked { attack, shard, took, proof, accepts_after, wrong, .. } = self;
        let (took, after) = (took.as_millis(), accepts_after.as_millis());
        write!(f, "{:20} shard {shard}, {took} ms, next write after {after} ms; {proof}", attack.name())?;
        wrong.iter().try_for_each(|what| write!(f, "; WRONG {what}"))
    }
}

/// The report of a run.
#[derive(Debug)]
pub struct AdversaryReport {
    /// Seed of all choices.
    pub seed: u64,
    /// Number of nodes and of shards.
    pub size: (usize, u32),
    /// The attacks to run.
    pub attacks: Vec<Attack>,
    /// The attacks that ran.
    pub attacked: Vec<Attacked>,
    /// The longest span of each shard without an answered write, and why it is too long, if it is.
    pub silences: Vec<(u32, Duration, Option<String>)>,
    /// How fast a log commits here, bytes per second.
    pub pace: u64,
    /// Processes and their memory.
    pub watched: Watched,
    /// Findings of the load.
    pub verdict: LoadVerdict,
    /// Longest allowed loss of a failover, under `async`.
    pub max_loss: Option<Duration>,
    /// Length of the run.
    pub elapsed: Duration,
}

impl AdversaryReport {
    /// All violations; a good run has none.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let named = |attacked: &Attacked| {
            let name = attacked.attack.name();
            attacked.wrong.iter().map(move |what| format!("{name}: {what}")).collect::<Vec<_>>()
        };
        let of_attacks = self.attacked.iter().flat_map(named);
        let of_ledger = self.verdict.while_running.iter().chain(&self.verdict.read_back).map(ToString::to_string);
        let silent = self.silences.iter().filter_map(|(_, _, wrong)| wrong.clone());
        of_attacks.chain(self.watched.violations()).chain(silent).chain(of_ledger).chain(self.lost_too_much()).collect()
    }

    fn lost_too_much(&self) -> Option<String> {
        let (bound, losses) = (self.max_loss?, self.verdict.losses.as_ref()?);
        (losses.longest > bound + CLIENT_DELAY_MAX).then(|| {
            format!("a failover lost a write {:?} older than the newest, the bound is {bound:?}", losses.longest)
        })
    }

    /// Attacks that never took effect: a run with any of them proves nothing.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let took = |attack: &&Attack| self.attacked.iter().any(|one| one.attack == **attack && !one.proof.is_empty());
        self.attacks.iter().filter(|attack| !took(attack)).map(|attack| attack.name()).collect()
    }

    fn by_kind(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for one in &self.attacked {
            *counts.entry(one.attack.name().to_owned()).or_default() += 1;
        }
        counts
    }

    /// The figures, as JSON.
    #[must_use]
    pub fn row(&self) -> Value {
        let resident: BTreeMap<_, _> =
            self.watched.resident.iter().map(|(node, (most, _))| (node, most >> 20)).collect();
        let silences: BTreeMap<_, _> = self.silences.iter().map(|(shard, span, _)| (shard, span.as_millis())).collect();
        json!({
            "seed": self.seed, "attacks": self.attacked.len(), "by_kind": self.by_kind(), "seconds": self.elapsed.as_secs(),
            "acknowledged": self.verdict.summary.acknowledged, "refused": self.verdict.summary.refused,
            "unknown": self.verdict.summary.unknown, "lost": self.verdict.read_back.len(), "stale": self.verdict.while_running.len(),
            "longest_silence_ms": silences, "resident_mib": resident, "log_bytes_per_second": self.pace,
            "violations": self.violations(), "without_effect": self.without_effect(),
        })
    }

    /// The run's row in the ledger of long runs.
    #[must_use]
    pub fn ledger_row(&self, checkout: &Checkout, durability: &str) -> Row {
        let violations = self.violations();
        let sync = durability == "sync";
        let (lost, stale) = (self.verdict.read_back.len() as u64, self.verdict.while_running.len() as u64);
        let verdict = match (violations.is_empty(), self.without_effect().is_empty()) {
            (false, _) => proof::RowVerdict::Fail,
            (true, false) => proof::RowVerdict::Invalid,
            (true, true) => proof::RowVerdict::Pass,
        };
        let summary = self.verdict.summary;
        Row {
            wall_ms: self.elapsed.as_millis() as u64,
            ops_checked: Some(summary.acknowledged + summary.reads),
            durability: durability.to_owned(),
            acknowledged_sync: sync.then_some(summary.acknowledged),
            async_loss_max_ms: self.verdict.losses.as_ref().map(|losses| losses.longest.as_millis() as u64),
            refused: Some(summary.refused),
            unknown: Some(summary.unknown),
            faults: self.by_kind(),
            lost: Some(lost),
            stale: sync.then_some(stale),
            other_violations: Some((violations.len() as u64).saturating_sub(lost + stale)),
            undecided: Some(0),
            verdict,
            notes: violations.into_iter().take(NOTES_MAX).collect(),
            ..Row::new(
                checkout,
                Suite::Chaos,
                format!("adversary, {} nodes, {} shards", self.size.0, self.size.1),
                self.seed,
            )
        }
    }
}
