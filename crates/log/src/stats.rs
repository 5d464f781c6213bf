//! Counters of one node's log. The writer updates them; any thread may read them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::{BootNs, SpanPeaks};

use crate::queue::Depth;

/// Number of buckets of [`LogStats::sync_buckets`]. Bucket `i` counts synced writes that took less than `2^i` µs; the
/// last bucket counts all slower ones.
pub const SYNC_BUCKETS: usize = 24;

/// Counters since the log was opened.
#[derive(Debug, Default)]
pub struct LogStats {
    /// Write batches, synced or not.
    pub writes: AtomicU64,
    /// Write batches that were synced: the number of fsyncs.
    pub syncs: AtomicU64,
    /// Appends written.
    pub appends: AtomicU64,
    /// Entries written.
    pub entries: AtomicU64,
    /// Payload bytes of entries written.
    pub payload_bytes: AtomicU64,
    /// Bytes passed to the store: keys, values, envelopes.
    pub stored_bytes: AtomicU64,
    /// Votes written.
    pub votes: AtomicU64,
    /// Operations in the writer's queue.
    pub queue_ops: AtomicU64,
    /// Payload bytes in the writer's queue.
    pub queue_bytes: AtomicU64,
    /// Highest value of `queue_bytes` so far.
    pub queue_bytes_peak: AtomicU64,
    /// Total time of synced writes, µs.
    pub sync_us: AtomicU64,
    /// Number of synced writes by duration.
    pub sync_buckets: [AtomicU64; SYNC_BUCKETS],
    /// The longest synced write of each of the last seconds.
    pub sync_peaks: SpanPeaks,
    /// Reads that memory could not serve.
    pub disk_reads: AtomicU64,
    /// Stored data keys.
    pub data_keys: AtomicU64,
    /// Boot time, in ns, at which the current write started; 0 if no write is in progress.
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

    pub(crate) fn record_data_keys(&self, count: usize) {
        self.data_keys.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn record_sync(&self, took: Duration, now: BootNs) {
        self.sync_peaks.record(took, now.second());
        let us = took.as_micros() as u64;
        LogStats::add(&self.syncs, 1);
        self.sync_us.fetch_add(us, Ordering::Relaxed);
        let bucket = ((u64::BITS - us.leading_zeros()) as usize).min(SYNC_BUCKETS - 1);
        LogStats::add(&self.sync_buckets[bucket], 1);
    }

    /// Records that a write starts.
    pub(crate) fn begin_write(&self, now: BootNs) {
        self.writing_since.store(now.0.max(1), Ordering::Release);
    }

    /// Records that the write has finished, with or without an error.
    pub(crate) fn end_write(&self) {
        self.writing_since.store(0, Ordering::Release);
    }

    /// How long the current write has been in progress; `None` if there is none.
    pub(crate) fn write_under_way(&self, now: BootNs) -> Option<Duration> {
        match self.writing_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(now.since(BootNs(since))),
        }
    }

    /// Upper bound, in µs, of the duration of the fastest `share` (0 to 1) of the synced writes; 0 if there were none.
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
            stats.record_sync(Duration::from_micros(300), BootNs(0));
        }
        stats.record_sync(Duration::from_secs(3600), BootNs(0));
        assert_eq!(stats.sync_us_at(0.5), 512);
        assert_eq!(stats.sync_us_at(1.0), 1 << (SYNC_BUCKETS - 1));
    }
}
