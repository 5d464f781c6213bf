//! What came of a simulation.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sim::coverage::Coverage;
use crate::sim::ledger::Summary;
use crate::sim::profile::SimProfile;

/// A seed counts from so much simulated time on.
const ELAPSED_MIN: Duration = Duration::from_secs(20);
/// From so many acknowledged writes on.
const ACKNOWLEDGED_MIN: u64 = 300;
/// From so many faults on that took effect.
const FAULTS_MIN: u64 = 3;

/// What a run is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimVerdict {
    /// Every promise was kept.
    Holds,
    /// One was broken.
    Broken,
    /// None was broken, but too little happened for that to mean anything; this.
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

/// What came of a simulation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SimReport {
    /// To be replayed with.
    pub seed: u64,
    /// Which promises were made.
    pub profile: SimProfile,
    /// `durability-max-lag`.
    pub max_lag: Duration,
    /// Promises that were broken; empty: none.
    pub violations: Vec<String>,
    /// Faults that took effect, and what they led to.
    pub coverage: Coverage,
    /// What clients saw.
    pub summary: Summary,
    /// The longest span between an acknowledgement that was lost under `async` and the newest of its tenure.
    pub longest_loss: Duration,
    /// Nodes at the beginning, and shards.
    pub size: (usize, u32),
    /// Tenures as primary.
    pub tenures: usize,
    /// Committed log entries.
    pub committed: usize,
    /// Pairs of digests compared.
    pub digests: u64,
    /// Of these, with one that stood in a snapshot.
    pub snapshot_digests: u64,
    /// Simulated time.
    pub elapsed: Duration,
    /// Real time.
    pub took: Duration,
    /// Everything that happened, as one number.
    pub trace: u64,
}

impl SimReport {
    /// Operations that were checked: writes and reads whose replies came.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.summary.acknowledged + self.summary.reads + self.summary.replica_reads
    }

    /// What the run is worth.
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

    /// Everything but how long it took: the same for the same seed.
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
