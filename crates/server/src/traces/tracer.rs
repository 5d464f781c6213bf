//! The queue between sampled writes and the exporter, and what is counted of both.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::record::TraceRecord;
use super::replication::Followed;

/// Sampled writes of one node that are not finished.
pub const LIVE_MAX: usize = 256;
/// Messages that wait for the exporter: finished records, and entries to be followed.
const QUEUE_MAX: usize = 1024;

/// To the exporter.
pub(crate) enum ToExporter {
    /// Follow an entry.
    Follow(Followed),
    /// A record is complete, as far as the loop knows.
    Finished(Box<TraceRecord>),
}

/// Why a trace was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Too many sampled writes were not finished.
    Live,
    /// The queue of the exporter was full.
    Queue,
    /// The collector did not take it.
    Collector,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 3] = [DropReason::Live, DropReason::Queue, DropReason::Collector];

    /// The label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Live => "live",
            DropReason::Queue => "queue",
            DropReason::Collector => "collector",
        }
    }
}

/// Takes what sampled writes leave. One per node.
#[derive(Debug, Default)]
pub struct Tracer {
    queue: OnceLock<mpsc::Sender<ToExporter>>,
    live: AtomicUsize,
    exported: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Tracer {
    /// Whether writes may be sampled at all. One load, for each command.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.get().is_some()
    }

    /// Switches it on; returns what the exporter receives. Once.
    pub(crate) fn switch_on(&self) -> mpsc::Receiver<ToExporter> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        // A second call has a queue that nobody writes to.
        let _ = self.queue.set(sender);
        receiver
    }

    /// Takes a place among the live traces, if there is one.
    pub(super) fn enter(&self) -> bool {
        let entered = self.live.fetch_add(1, Ordering::Relaxed) < LIVE_MAX;
        if !entered {
            self.live.fetch_sub(1, Ordering::Relaxed);
            self.count_dropped(DropReason::Live, 1);
        }
        entered
    }

    pub(super) fn leave(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Passes a message to the exporter, unless its queue is full.
    pub(super) fn send(&self, message: ToExporter) -> bool {
        self.queue.get().is_some_and(|queue| queue.try_send(message).is_ok())
    }

    pub(super) fn count_exported(&self, traces: usize) {
        self.exported.fetch_add(traces as u64, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, reason: DropReason, traces: usize) {
        self.dropped[reason as usize].fetch_add(traces as u64, Ordering::Relaxed);
    }

    /// Traces that the collector has taken.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Traces that were dropped.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}
