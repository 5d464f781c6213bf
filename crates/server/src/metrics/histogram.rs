//! Histograms, in Prometheus' format. Their series are few: every second power of two as a bound.

use fastness_types::SpanCounts;

/// The first bound, `2^FIRST` µs, and the distance of two bounds.
const FIRST: usize = 4;
const STEP: usize = 2;
/// The last bound, `2^LAST` µs: about a minute.
const LAST: usize = 26;

/// A histogram: for each bound, in seconds, how many spans are at most that long.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    pub(super) bounds: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum: f64,
}

impl Histogram {
    /// From counts by powers of two of a microsecond.
    pub(super) fn of(counts: &[u64], sum_seconds: f64) -> Histogram {
        let upto = |power: usize| counts.iter().take(power + 1).sum::<u64>();
        let powers = (FIRST..=LAST).step_by(STEP).filter(|power| *power + 1 < counts.len());
        let bounds = powers.map(|power| ((1u64 << power) as f64 / 1e6, upto(power))).collect();
        Histogram { bounds, count: counts.iter().sum(), sum: sum_seconds }
    }
}

impl From<SpanCounts> for Histogram {
    fn from(spans: SpanCounts) -> Histogram {
        Histogram::of(&spans.counts, spans.total_us as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bounds_are_cumulative() {
        let mut spans = SpanCounts::default();
        for us in [1, 15, 16, 63, 64, 1_000, 1_000_000_000] {
            spans.record(Duration::from_micros(us));
        }
        let histogram = Histogram::from(spans);
        let upto: Vec<_> = histogram.bounds.iter().take(5).copied().collect();
        assert_eq!(upto, vec![(16e-6, 2), (64e-6, 4), (256e-6, 5), (1024e-6, 6), (4096e-6, 6)]);
        assert_eq!((histogram.count, histogram.bounds.last().map(|bound| bound.1)), (7, Some(6)));
        assert!(histogram.bounds.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) && histogram.bounds.len() == 12);
        assert!((histogram.sum - 1_000.001_159).abs() < 1e-6);
    }

    #[test]
    fn the_last_of_few_buckets_has_no_bound() {
        let counts = [1; 24];
        let histogram = Histogram::of(&counts, 0.0);
        assert_eq!(histogram.bounds.last(), Some(&(4.194_304, 23)));
        assert_eq!(histogram.count, 24);
    }
}
