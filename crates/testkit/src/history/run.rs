//! State that all clients of a run share: options, clock and counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastness_load::{Endpoint, SharedTopology, Tls};
use parking_lot::Mutex;

use super::record::Clock;

/// Id of the client that reads back; the clients of the workloads have higher ids.
pub(crate) const READER: u32 = 0;

/// How to load the cluster.
#[derive(Clone)]
pub struct HistoryOptions {
    /// Endpoints from which clients learn the topology.
    pub seeds: Vec<Endpoint>,
    /// TLS configuration, if wanted.
    pub tls: Option<Tls>,
    /// Seed of all choices.
    pub seed: u64,
    /// Prefix of every key, so that runs use different keys. No braces.
    pub prefix: String,
    /// Number of groups of each workload; more groups make more load.
    pub groups: u32,
    /// Pause of a client between two operations.
    pub pause: Duration,
    /// A later reply counts as unknown, and its connection is closed.
    pub timeout: Duration,
    /// How far a deadline may be missed, in both directions. `None` if clocks are among the faults: then deadlines are
    /// not compared with the clock, and only the return of expired keys is checked.
    pub clock_slack: Option<Duration>,
    /// Minimum number of acknowledged operations of each workload for a valid run.
    pub least_ops: u64,
}

impl HistoryOptions {
    /// One group of each workload, at a rate that a busy machine supports next to the cluster.
    #[must_use]
    pub fn new(seeds: Vec<Endpoint>, tls: Option<Tls>, seed: u64) -> HistoryOptions {
        HistoryOptions {
            seeds,
            tls,
            seed,
            prefix: format!("history{seed}:"),
            groups: 1,
            pause: Duration::from_millis(2),
            timeout: Duration::from_millis(1500),
            clock_slack: Some(Duration::from_millis(500)),
            least_ops: 200,
        }
    }
}

/// Numbers of operations of one workload, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged writes; a transaction that wrote counts as one.
    pub acknowledged: u64,
    /// Refused writes, which were certainly not applied.
    pub refused: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Reads answered with data.
    pub reads: u64,
}

impl std::ops::Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            acknowledged: self.acknowledged + other.acknowledged,
            refused: self.refused + other.refused,
            unknown: self.unknown + other.unknown,
            reads: self.reads + other.reads,
        }
    }
}

/// State that all clients of a run share.
pub(crate) struct Run {
    pub(crate) options: HistoryOptions,
    pub(crate) clock: Clock,
    pub(crate) topology: SharedTopology,
    pub(crate) stop: AtomicBool,
    /// Replies that no server may give: they make the run invalid.
    pub(crate) odd: Mutex<Vec<String>>,
}

/// Maximum number of recorded odd replies; one is enough to make a run invalid.
const ODD_MAX: usize = 20;

impl Run {
    pub(crate) fn odd(&self, what: String) {
        let mut odd = self.odd.lock();
        if odd.len() < ODD_MAX {
            odd.push(what);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
