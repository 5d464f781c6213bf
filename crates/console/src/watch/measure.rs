//! Rates and percentiles between two readings of counters.

/// Increments per second of a counter between two readings that are `span_ms` apart. `None` if the counter was reset in
/// between.
pub fn per_second(before: u64, after: u64, span_ms: u64) -> Option<f64> {
    let grown = after.checked_sub(before)?;
    (span_ms > 0).then(|| grown as f64 * 1e3 / span_ms as f64)
}

/// A percentile of the spans that were counted between two readings, in µs: the upper bound of its bucket. Bucket n
/// counts spans of less than 2^n µs that no earlier bucket counts. `None` if there were none, or the counters were
/// reset in between.
pub fn percentile_us(before: &[u64], after: &[u64], share: f64) -> Option<u64> {
    if before.len() != after.len() {
        return None;
    }
    let counted: Vec<u64> =
        before.iter().zip(after).map(|(before, after)| after.checked_sub(*before)).collect::<Option<_>>()?;
    let total: u64 = counted.iter().sum();
    let wanted = ((total as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    let bucket = counted.iter().position(|count| {
        seen += count;
        seen >= wanted
    })?;
    1u64.checked_shl(bucket as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        assert_eq!(per_second(100, 350, 500), Some(500.0));
        assert_eq!(per_second(100, 100, 500), Some(0.0));
        assert_eq!(per_second(100, 99, 500), None, "reset");
        assert_eq!(per_second(100, 101, 0), None);
    }

    #[test]
    fn percentiles_are_of_what_was_counted_in_between() {
        let before = [5, 0, 100, 0, 0];
        let after = [5, 0, 198, 1, 1];
        assert_eq!(percentile_us(&before, &after, 0.5), Some(4));
        assert_eq!(percentile_us(&before, &after, 0.98), Some(4));
        assert_eq!(percentile_us(&before, &after, 0.99), Some(8));
        assert_eq!(percentile_us(&before, &after, 1.0), Some(16));
        assert_eq!(percentile_us(&before, &before, 0.5), None, "nothing was counted");
        assert_eq!(percentile_us(&after, &before, 0.5), None, "reset");
        assert_eq!(percentile_us(&before[1..], &after, 0.5), None, "another version counts otherwise");
        assert_eq!(percentile_us(&[], &[], 0.5), None);
    }
}
