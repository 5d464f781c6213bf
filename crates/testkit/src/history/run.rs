//! What all clients of a run share: its options, its clock and its counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastness_load::{Endpoint, SharedTopology, Tls};
use parking_lot::Mutex;

use super::record::Clock;

/// The client that reads back; those of the workloads have higher ids.
pub(crate) const READER: u32 = 0;

/// What to load, and how.
#[derive(Clone)]
pub struct HistoryOptions {
    /// Doors to learn the topology from.
    pub seeds: Vec<Endpoint>,
    /// TLS, if wanted.
    pub tls: Option<Tls>,
    /// Seed of all choices.
    pub seed: u64,
    /// Put before every key, so that runs do not meet each other's keys. No braces.
    pub prefix: String,
    /// Groups of each workload; more of them load more.
    pub groups: u32,
    /// Pause of a client between two operations.
    pub pause: Duration,
    /// A reply later than this is "unknown" and its connection is closed.
    pub timeout: Duration,
    /// How far a deadline may be missed, in both directions; `None` where clocks are among the faults: then deadlines
    /// are not compared with the clock, and that nothing comes back to life is still checked.
    pub clock_slack: Option<Duration>,
    /// Acknowledged operations that each workload must have, for the run to be valid.
    pub least_ops: u64,
}

impl HistoryOptions {
    /// One group of each workload, as fast as a busy machine bears beside the cluster.
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

/// Operations of one workload, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes acknowledged; a transaction that wrote is one.
    pub acknowledged: u64,
    /// Writes refused: they were definitely not applied.
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

/// What all clients of a run share.
pub(crate) struct Run {
    pub(crate) options: HistoryOptions,
    pub(crate) clock: Clock,
    pub(crate) topology: SharedTopology,
    pub(crate) stop: AtomicBool,
    /// Replies that no server may give: the run proves nothing, whatever else it shows.
    pub(crate) odd: Mutex<Vec<String>>,
}

/// Odd replies that are kept; one is enough to make a run invalid.
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
