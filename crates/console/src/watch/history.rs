//! The figures of each shard over the last samples, for charts.

use std::collections::{BTreeMap, VecDeque};

use super::overview::{Overview, ShardLine};

/// How many samples are kept.
const SAMPLES_MAX: usize = 240;

/// A figure of a shard that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// The durability lag, in seconds.
    Lag,
    /// Commands per second.
    Ops,
    /// The 99th percentile of commit times, in seconds: an upper bound.
    CommitP99,
}

impl Measured {
    fn of(self, shard: &ShardLine) -> Option<f64> {
        match self {
            Measured::Lag => shard.lag.as_ref().map(|lag| lag.lag_us as f64 / 1e6),
            Measured::Ops => shard.ops,
            Measured::CommitP99 => shard.commit_p99_us.map(|us| us as f64 / 1e6),
        }
    }

    const ALL: [Measured; 3] = [Measured::Lag, Measured::Ops, Measured::CommitP99];
}

#[derive(Debug, Clone)]
struct Sample {
    at_ms: u64,
    /// In the order of [`Measured::ALL`].
    figures: [Option<f64>; 3],
}

/// Figures in the order of time.
#[derive(Debug, Clone, Default)]
pub struct ShardHistory {
    by_shard: BTreeMap<u32, VecDeque<Sample>>,
}

impl ShardHistory {
    /// Adds what a frame shows.
    pub fn add(&mut self, overview: &Overview) {
        self.by_shard.retain(|shard, _| overview.shards.iter().any(|line| line.shard == *shard));
        for shard in &overview.shards {
            let samples = self.by_shard.entry(shard.shard).or_default();
            samples.push_back(Sample { at_ms: overview.at_ms, figures: Measured::ALL.map(|figure| figure.of(shard)) });
            if samples.len() > SAMPLES_MAX {
                samples.pop_front();
            }
        }
    }

    /// Of a shard: times in seconds before `now_ms`, which are negative, with the figure. Samples without it are left
    /// out.
    #[must_use]
    pub fn points(&self, shard: u32, figure: Measured, now_ms: u64) -> Vec<(f64, f64)> {
        let place = figure as usize;
        let samples = self.by_shard.get(&shard).into_iter().flatten();
        samples.filter_map(|sample| Some((seconds_before(sample.at_ms, now_ms), sample.figures[place]?))).collect()
    }

    /// As [`ShardHistory::points`], in pieces that no sample without the figure interrupts.
    #[must_use]
    pub fn pieces(&self, shard: u32, figure: Measured, now_ms: u64) -> Vec<Vec<(f64, f64)>> {
        let place = figure as usize;
        let mut pieces = vec![Vec::new()];
        for sample in self.by_shard.get(&shard).into_iter().flatten() {
            match (sample.figures[place], pieces.last_mut()) {
                (Some(value), Some(piece)) => piece.push((seconds_before(sample.at_ms, now_ms), value)),
                (None, Some(piece)) if !piece.is_empty() => pieces.push(Vec::new()),
                _ => {}
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

fn seconds_before(at_ms: u64, now_ms: u64) -> f64 {
    -(now_ms.saturating_sub(at_ms) as f64) / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::overview::LagLine;
    use super::*;

    fn frame(at_ms: u64, shard: u32, lag_us: Option<u64>) -> Overview {
        let lag =
            lag_us.map(|lag_us| LagLine { lag_us, oldest_us: 0, bound_us: 0, gate: "open".to_owned(), refused: None });
        let shards = vec![ShardLine { shard, lag, ops: Some(5.0), ..ShardLine::default() }];
        Overview { at_ms, shards, ..Overview::default() }
    }

    #[test]
    fn missing_figures_are_left_out_and_interrupt_a_line() {
        let mut history = ShardHistory::default();
        for (at_ms, lag_us) in [(1_000, Some(500_000)), (2_000, None), (3_000, Some(0))] {
            history.add(&frame(at_ms, 7, lag_us));
        }
        assert_eq!(history.points(7, Measured::Lag, 3_000), [(-2.0, 0.5), (0.0, 0.0)]);
        assert_eq!(history.pieces(7, Measured::Lag, 3_000), [vec![(-2.0, 0.5)], vec![(0.0, 0.0)]]);
        assert_eq!(history.pieces(7, Measured::Ops, 3_000).len(), 1);
        assert!(history.points(7, Measured::CommitP99, 3_000).is_empty());
        assert!(history.points(8, Measured::Lag, 3_000).is_empty());
    }

    #[test]
    fn samples_are_bounded_and_a_shard_that_is_gone_is_forgotten() {
        let mut history = ShardHistory::default();
        for at_ms in 0..1_000 {
            history.add(&frame(at_ms, 7, Some(1)));
        }
        assert_eq!(history.points(7, Measured::Lag, 3_000).len(), SAMPLES_MAX);
        history.add(&frame(1_000, 8, Some(1)));
        assert!(history.points(7, Measured::Lag, 3_000).is_empty());
    }
}
