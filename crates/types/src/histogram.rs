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

/// Seconds of which [`SpanPeaks`] knows the longest span: the current one, and those before it.
const PEAK_SECONDS: u64 = 4;
const PEAK_US_BITS: u32 = 32;

/// The longest span of each of the last seconds. One thread records, any thread reads; no lock.
///
/// Each second has a slot, which holds the number of the second in the upper and the span in the lower bits, so that a
/// reader never takes the span of another second for it.
#[derive(Debug, Default)]
pub struct SpanPeaks([AtomicU64; PEAK_SECONDS as usize]);

impl SpanPeaks {
    fn tag(second: u64) -> u64 {
        (second + 1) << PEAK_US_BITS
    }

    /// Records a span that has ended in this second of the boot clock. One thread.
    #[inline]
    pub fn record(&self, span: Duration, second: u64) {
        let us = (span.as_micros() as u64).min((1 << PEAK_US_BITS) - 1);
        // A newer second has a larger number, so it replaces an older one's span.
        self.0[(second % PEAK_SECONDS) as usize].fetch_max(Self::tag(second) | us, Ordering::Relaxed);
    }

    /// The longest span of a second; `None`: none was recorded, or it was too long ago.
    #[must_use]
    pub fn of(&self, second: u64) -> Option<Duration> {
        let slot = self.0[(second % PEAK_SECONDS) as usize].load(Ordering::Relaxed);
        let us = slot.checked_sub(Self::tag(second)).filter(|us| *us < 1 << PEAK_US_BITS)?;
        Some(Duration::from_micros(us))
    }

    /// The longest span of the seconds after `seen` and before `now`.
    #[must_use]
    pub fn between(&self, seen: u64, now: u64) -> Option<Duration> {
        (now.saturating_sub(PEAK_SECONDS - 1).max(seen + 1)..now).filter_map(|second| self.of(second)).max()
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

    #[test]
    fn a_peak_belongs_to_its_second() {
        let peaks = SpanPeaks::default();
        let ms = Duration::from_millis;
        for (second, span) in [(7, 3), (7, 9), (7, 5), (8, 2)] {
            peaks.record(ms(span), second);
        }
        assert_eq!((peaks.of(6), peaks.of(7), peaks.of(8), peaks.of(9)), (None, Some(ms(9)), Some(ms(2)), None));
        assert_eq!((peaks.between(6, 8), peaks.between(7, 9), peaks.between(8, 9)), (Some(ms(9)), Some(ms(2)), None));
        peaks.record(ms(1), 7 + PEAK_SECONDS);
        assert_eq!((peaks.of(7), peaks.of(7 + PEAK_SECONDS)), (None, Some(ms(1))));
        assert_eq!(peaks.between(0, 7 + PEAK_SECONDS), Some(ms(2)));
    }
}
