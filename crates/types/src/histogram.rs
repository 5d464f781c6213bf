//! Durations, counted by powers of two of a microsecond. Recording costs two additions, and needs no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Number of buckets. Bucket `i` counts spans of less than `2^i` µs that no earlier bucket counts; the last one counts
/// all longer ones, from 18 minutes on.
pub const SPAN_BUCKETS: usize = 32;

fn bucket(us: u64) -> usize {
    ((u64::BITS - us.leading_zeros()) as usize).min(SPAN_BUCKETS - 1)
}

/// Counted durations: of one thread, or read from a [`SpanHistogram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanCounts {
    /// Number of spans in each bucket.
    pub counts: [u64; SPAN_BUCKETS],
    /// Sum of all spans, µs.
    pub total_us: u64,
}

impl SpanCounts {
    /// Counts a span.
    #[inline]
    pub fn record(&mut self, span: Duration) {
        let us = span.as_micros() as u64;
        self.counts[bucket(us)] += 1;
        self.total_us += us;
    }
}

/// Durations that any thread may count.
#[derive(Debug, Default)]
pub struct SpanHistogram {
    counts: [AtomicU64; SPAN_BUCKETS],
    total_us: AtomicU64,
}

impl SpanHistogram {
    /// Counts a span.
    #[inline]
    pub fn record(&self, span: Duration) {
        let us = span.as_micros() as u64;
        self.counts[bucket(us)].fetch_add(1, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> SpanCounts {
        let counts = std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed));
        SpanCounts { counts, total_us: self.total_us.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_by_powers_of_two() {
        let (shared, mut own) = (SpanHistogram::default(), SpanCounts::default());
        for us in [0, 1, 2, 3, 4, 1_000_000] {
            shared.record(Duration::from_micros(us));
            own.record(Duration::from_micros(us));
        }
        own.record(Duration::from_secs(1_000_000));
        shared.record(Duration::from_secs(1_000_000));
        assert_eq!(shared.read(), own);
        assert_eq!(own.counts[..4], [1, 1, 2, 1]);
        assert_eq!((own.counts[20], own.counts[SPAN_BUCKETS - 1]), (1, 1));
        assert_eq!(own.counts.iter().sum::<u64>(), 7);
        assert_eq!(own.total_us, 1_000_010 + 1_000_000_000_000);
    }
}
