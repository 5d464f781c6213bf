//! The report of a simulation.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sim::coverage::Coverage;
use crate::sim::ledger::Summary;
use crate::sim::profile::SimProfile;

/// Minimum simulated time for a seed to count.
const ELAPSED_MIN: Duration = Duration::from_secs(20);
/// Minimum number of acknowledged writes.
const ACKNOWLEDGED_MIN: u64 = 300;
/// Minimum number of faults that took effect.
const FAULTS_MIN: u64 = 3;

/// The value of a run as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimVerdict {
    /// Every promise was kept.
    Holds,
    /// A promise was broken.
    Broken,
    /// No promise was broken, but too little happened for that to mean anything, for this reason.
    Void(&'static str),
}

impl fmt::Display for SimVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimVerdict::Holds => f.write_str("holds"),
            SimVerdict::Broken => f.write_str("BROKEN"),
            SimVerdict::Void(why) => write!(f, "void ({why})"),
        }
    }
}

/// The report of a simulation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SimReport {
    /// The seed, for a replay.
    pub seed: u64,
    /// The promises that the run was held to.
    pub profile: SimProfile,
    /// `durability-max-lag`.
    pub max_lag: Duration,
    /// Promises that were broken; empty: none.
    pub violations: Vec<String>,
    /// Faults that took effect, and what followed from them.
    pub coverage: Coverage,
    /// What clients saw.
    pub summary: Summary,
    /// The longest span between an acknowledgement that was lost under `async` and the newest of its tenure.
    pub longest_loss: Duration,
    /// Number of nodes at the start, and of shards.
    pub size: (usize, u32),
    /// Tenures as primary.
    pub tenures: usize,
    /// Committed log entries.
    pub committed: usize,
    /// Pairs of digests compared.
    pub digests: u64,
    /// Of these, pairs with a digest from a snapshot.
    pub snapshot_digests: u64,
    /// Simulated time.
    pub elapsed: Duration,
    /// Real time.
    pub took: Duration,
    /// Hash of everything that happened.
    pub trace: u64,
}

impl SimReport {
    /// Number of checked operations: writes and reads with a reply.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.summary.acknowledged + self.summary.reads + self.summary.replica_reads
    }

    /// The value of the run as evidence.
    #[must_use]
    pub fn verdict(&self) -> SimVerdict {
        match self {
            report if !report.violations.is_empty() => SimVerdict::Broken,
            report if report.elapsed < ELAPSED_MIN => SimVerdict::Void("less than 20 simulated seconds"),
            report if report.summary.acknowledged < ACKNOWLEDGED_MIN => {
                SimVerdict::Void("fewer than 300 acknowledged writes")
            }
            report if report.coverage.faults_total() < FAULTS_MIN => {
                SimVerdict::Void("fewer than 3 faults took effect")
            }
            _ => SimVerdict::Holds,
        }
    }

    /// The report without real time: equal for equal seeds.
    #[must_use]
    pub fn without_time(&self) -> String {
        SimReport { took: Duration::ZERO, ..self.clone() }.to_string()
    }
}

impl fmt::Display for SimReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, shards) = self.size;
        let Summary { acknowledged, refused, unknown, reads, lost_within_bound, .. } = self.summary;
        write!(
            f,
            "seed {}: {} | {}, {nodes} nodes, {shards} shard(s), {:.1} s in {:.1} s | {acknowledged} acknowledged, {refused} \
             refused, {unknown} unknown, {reads} reads | {lost_within_bound} lost within the bound | {} tenures, {} entries, \
             {} digests compared, {} of snapshots | {:?} | trace {:016x}",
            self.seed,
            self.verdict(),
            self.profile,
            self.elapsed.as_secs_f64(),
            self.took.as_secs_f64(),
            self.tenures,
            self.committed,
            self.digests,
            self.snapshot_digests,
            self.coverage.faults(),
            self.trace
        )
    }
}
