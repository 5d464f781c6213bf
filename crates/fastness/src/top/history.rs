//! The lag of each shard over the last samples, for a chart.

use std::collections::{BTreeMap, VecDeque};

use super::overview::Overview;

/// How many samples are kept.
const SAMPLES_MAX: usize = 240;

/// Lags in the order of time.
#[derive(Debug, Clone, Default)]
pub struct LagHistory {
    by_shard: BTreeMap<u32, VecDeque<(u64, u64)>>,
}

impl LagHistory {
    /// Adds what a frame shows.
    pub fn add(&mut self, overview: &Overview) {
        for shard in &overview.shards {
            let Some(lag) = &shard.lag else { continue };
            let samples = self.by_shard.entry(shard.shard).or_default();
            samples.push_back((overview.at_ms, lag.lag_us));
            if samples.len() > SAMPLES_MAX {
                samples.pop_front();
            }
        }
    }

    /// Of a shard: times in seconds before `now_ms`, which are negative, with lags in seconds.
    pub fn points(&self, shard: u32, now_ms: u64) -> Vec<(f64, f64)> {
        let samples = self.by_shard.get(&shard).into_iter().flatten();
        samples.map(|(at_ms, lag_us)| (-(now_ms.saturating_sub(*at_ms) as f64) / 1e3, *lag_us as f64 / 1e6)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::overview::{LagLine, ShardLine};
    use super::*;

    #[test]
    fn missing_lags_are_left_out() {
        let lag = |lag_us| LagLine { lag_us, oldest_us: 0, bound_us: 0, gate: "open".to_owned(), refused: None };
        let mut history = LagHistory::default();
        for (at_ms, lag) in [(1_000, Some(lag(500_000))), (2_000, None), (3_000, Some(lag(0)))] {
            let shards = vec![ShardLine { shard: 7, lag, ..ShardLine::default() }];
            history.add(&Overview { at_ms, shards, ..Overview::default() });
        }
        assert_eq!(history.points(7, 3_000), [(-2.0, 0.5), (0.0, 0.0)]);
        assert!(history.points(8, 3_000).is_empty());
        for at_ms in 0..1_000 {
            let shards = vec![ShardLine { shard: 7, lag: Some(lag(1)), ..ShardLine::default() }];
            history.add(&Overview { at_ms, shards, ..Overview::default() });
        }
        assert_eq!(history.points(7, 3_000).len(), SAMPLES_MAX);
    }
}
