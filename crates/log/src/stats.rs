//! Counters of one node's log. Written by the writer, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::BootNs;

use crate::queue::Depth;

/// Buckets of [`LogStats::sync_buckets`]: bucket `i` counts synced writes that took less than `2^i` µs, and the
/// last one all slower ones.
pub const SYNC_BUCKETS: usize = 24;

/// Counters since the log was opened.
#[derive(Debug, Default)]
pub struct LogStats {
    /// Write batches, synced or not.
    pub writes: AtomicU64,
    /// Write batches that were synced: fsyncs.
    pub syncs: AtomicU64,
    /// Appends written.
    pub appends: AtomicU64,
    /// Entries written.
    pub entries: AtomicU64,
    /// Payload bytes of entries written.
    pub payload_bytes: AtomicU64,
    /// Bytes handed to the store: keys, values, envelopes.
    pub stored_bytes: AtomicU64,
    /// Votes written.
    pub votes: AtomicU64,
    /// Operations that wait for the writer.
    pub queue_ops: AtomicU64,
    /// Payload bytes that wait for the writer.
    pub queue_bytes: AtomicU64,
    /// Most bytes that ever waited.
    pub queue_bytes_peak: AtomicU64,
    /// Time spent in synced writes, µs.
    pub sync_us: AtomicU64,
    /// Synced writes by duration.
    pub sync_buckets: [AtomicU64; SYNC_BUCKETS],
    /// Reads that memory could not answer.
    pub disk_reads: AtomicU64,
    /// When the write under way began, boot ns; 0: none is.
    writing_since: AtomicU64,
}

impl LogStats {
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn record_queue(&self, depth: Depth) {
        self.queue_ops.store(depth.ops as u64, Ordering::Relaxed);
        self.queue_bytes.store(depth.bytes as u64, Ordering::Relaxed);
        self.queue_bytes_peak.store(depth.bytes_peak as u64, Ordering::Relaxed);
    }

    pub(crate) fn record_sync(&self, took: Duration) {
        let us = took.as_micros() as u64;
        LogStats::add(&self.syncs, 1);
        self.sync_us.fetch_add(us, Ordering::Relaxed);
        let bucket = ((u64::BITS - us.leading_zeros()) as usize).min(SYNC_BUCKETS - 1);
        LogStats::add(&self.sync_buckets[bucket], 1);
    }

    /// A write begins.
    pub(crate) fn begin_write(&self, now: BootNs) {
        self.writing_since.store(now.0.max(1), Ordering::Release);
    }

    /// It has ended, in whatever way.
    pub(crate) fn end_write(&self) {
        self.writing_since.store(0, Ordering::Release);
    }

    /// For how long the write under way has been; `None`: none is.
    pub(crate) fn write_under_way(&self, now: BootNs) -> Option<Duration> {
        match self.writing_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(now.since(BootNs(since))),
        }
    }

    /// An upper bound of the duration that `share` (0 to 1) of the synced writes stayed below, µs; 0 without any.
    #[must_use]
    pub fn sync_us_at(&self, share: f64) -> u64 {
        let counts: Vec<u64> = self.sync_buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (i, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return 1 << i;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds_of_their_bucket() {
        let stats = LogStats::default();
        assert_eq!(stats.sync_us_at(0.5), 0);
        for _ in 0..99 {
            stats.record_sync(Duration::from_micros(300));
        }
        stats.record_sync(Duration::from_secs(3600));
        assert_eq!(stats.sync_us_at(0.5), 512);
        assert_eq!(stats.sync_us_at(1.0), 1 << (SYNC_BUCKETS - 1));
    }
}
