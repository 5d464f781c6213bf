//! State that all clients of a run share: options, clock and counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastness_load::{Endpoint, SharedTopology, Tls};
use parking_lot::Mutex;

use super::record::Clock;
use crate::clients::RunAccess;

/// Id of the client that reads back; the clients of the workloads have higher ids.
pub(crate) const READER: u32 = 0;

/// Longest wait of a client for a reply.
pub const TIMEOUT: Duration = Duration::from_millis(1500);

/// How to load the cluster.
#[derive(Clone)]
pub struct HistoryOptions {
    /// The clients, and how they reach the cluster. A reply after its time-out counts as unknown, and the connection is
    /// closed.
    pub access: RunAccess,
    /// Seed of all choices.
    pub seed: u64,
    /// Prefix of every key, so that runs use different keys. No braces.
    pub prefix: String,
    /// Number of groups of each workload; more groups make more load.
    pub groups: u32,
    /// Pause of a client between two operations.
    pub pause: Duration,
    /// How far a deadline may be missed, in both directions. `None` if clocks are among the faults: then deadlines are
    /// not compared with the clock, and only the return of expired keys is checked.
    pub clock_slack: Option<Duration>,
    /// Minimum number of acknowledged operations of each workload, and of each kind of client, for a valid run.
    pub least_ops: u64,
}

impl HistoryOptions {
    /// One group of each workload with clients of RESP, at a rate that a busy machine supports next to the cluster.
    #[must_use]
    pub fn new(seeds: Vec<Endpoint>, tls: Option<Tls>, seed: u64) -> HistoryOptions {
        HistoryOptions::with(RunAccess::resp(seeds, tls, TIMEOUT), seed)
    }

    /// The same with any clients.
    #[must_use]
    pub fn with(access: RunAccess, seed: u64) -> HistoryOptions {
        HistoryOptions {
            access,
            seed,
            prefix: format!("history{seed}:"),
            groups: 1,
            pause: Duration::from_millis(2),
            clock_slack: Some(Duration::from_millis(500)),
            least_ops: 200,
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
