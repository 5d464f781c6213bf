//! Counts, latencies and interruptions of a run.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::outcome::Outcome;

/// Shortest span without an acknowledgement that counts as an interruption.
const INTERRUPTION_MIN: Duration = Duration::from_millis(200);
/// Bound on the interruptions that are remembered.
const INTERRUPTIONS_MAX: usize = 256;
/// Longest latency that is distinguished.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What has happened in a part of a run.
#[derive(Debug, Clone)]
pub struct Phase {
    /// When it began.
    pub began: Instant,
    /// Its length.
    pub length: Duration,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes refused: they have not happened.
    pub refused: u64,
    /// Those of them that were refused with CLUSTERDOWN.
    pub cluster_down: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Reads answered.
    pub reads: u64,
    /// Reads refused or not answered.
    pub reads_failed: u64,
    /// Microseconds from sending a write to its acknowledgement.
    pub write_us: Histogram<u64>,
    /// Microseconds from sending a read to its reply.
    pub read_us: Histogram<u64>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 2).expect("valid bounds")
}

impl Phase {
    /// An empty phase.
    #[must_use]
    pub fn beginning(began: Instant) -> Phase {
        Phase {
            began,
            length: Duration::ZERO,
            acknowledged: 0,
            refused: 0,
            cluster_down: 0,
            unknown: 0,
            reads: 0,
            reads_failed: 0,
            write_us: histogram(),
            read_us: histogram(),
        }
    }

    /// Adds a phase that follows.
    pub fn add(&mut self, other: &Phase) {
        self.length += other.length;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.cluster_down += other.cluster_down;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.reads_failed += other.reads_failed;
        // Both have the same bounds.
        let _ = self.write_us.add(&other.write_us);
        let _ = self.read_us.add(&other.read_us);
    }

    /// Acknowledged writes and answered reads per second.
    #[must_use]
    pub fn operations_per_second(&self) -> f64 {
        (self.acknowledged + self.reads) as f64 / self.length.as_secs_f64().max(0.001)
    }
}

/// A span in which no write of a shard was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption {
    /// The shard, from 0 in the order of the slots.
    pub shard: usize,
    /// The acknowledgement before it.
    pub from: Instant,
    /// The acknowledgement after it; `None`: it lasts.
    pub until: Option<Instant>,
}

impl Interruption {
    /// Its length so far.
    #[must_use]
    pub fn length(&self, now: Instant) -> Duration {
        self.until.unwrap_or(now).saturating_duration_since(self.from)
    }
}

/// The figures of a run.
#[derive(Debug)]
pub struct Meter {
    phase: Phase,
    /// The newest acknowledgement of each shard.
    last: Vec<Instant>,
    ended: VecDeque<Interruption>,
    shortest: Duration,
    /// When [`Meter::mark`] was called last.
    mark: Instant,
    /// The first acknowledgement of each shard of a write that was sent after the mark.
    after_mark: Vec<Option<Instant>>,
}

impl Meter {
    /// A meter for this many shards, each of which gets about `writes_per_second`; 0: as many as it takes.
    #[must_use]
    pub fn new(shards: usize, writes_per_second: f64) -> Meter {
        let now = Instant::now();
        // At a low rate, silence is normal.
        let usual = if writes_per_second > 0.0 { 20.0 / writes_per_second } else { 0.0 };
        let shortest = INTERRUPTION_MIN.max(Duration::from_secs_f64(usual.min(60.0)));
        Meter {
            phase: Phase::beginning(now),
            last: vec![now; shards],
            ended: VecDeque::new(),
            shortest,
            mark: now,
            after_mark: vec![None; shards],
        }
    }

    /// Records the outcome of a write.
    pub fn wrote(&mut self, shard: usize, outcome: Outcome, sent: Instant, at: Instant) {
        match outcome {
            Outcome::Acknowledged => {
                self.phase.acknowledged += 1;
                self.phase.write_us.saturating_record((at - sent).as_micros() as u64);
                self.heard(shard, at);
                if sent >= self.mark {
                    self.after_mark[shard].get_or_insert(at);
                }
            }
            Outcome::Refused => self.phase.refused += 1,
            Outcome::Unknown => self.phase.unknown += 1,
        }
    }

    /// Records that a refusal was a CLUSTERDOWN.
    pub fn cluster_down(&mut self) {
        self.phase.cluster_down += 1;
    }

    /// Records a read.
    pub fn read(&mut self, answered: bool, sent: Instant, at: Instant) {
        if answered {
            self.phase.reads += 1;
            self.phase.read_us.saturating_record((at - sent).as_micros() as u64);
        } else {
            self.phase.reads_failed += 1;
        }
    }

    fn heard(&mut self, shard: usize, at: Instant) {
        let from = std::mem::replace(&mut self.last[shard], at);
        if at.saturating_duration_since(from) >= self.shortest {
            if self.ended.len() >= INTERRUPTIONS_MAX {
                self.ended.pop_front();
            }
            self.ended.push_back(Interruption { shard, from, until: Some(at) });
        }
    }

    /// Ends the current phase and returns it.
    pub fn next_phase(&mut self) -> Phase {
        let now = Instant::now();
        let mut ended = std::mem::replace(&mut self.phase, Phase::beginning(now));
        ended.length = now - ended.began;
        ended
    }

    /// All interruptions that ended after `since` or last, oldest first.
    #[must_use]
    pub fn interruptions(&self, since: Instant) -> Vec<Interruption> {
        let now = Instant::now();
        let ended = self.ended.iter().filter(|gap| gap.until.is_some_and(|until| until > since)).copied();
        let lasting =
            self.last.iter().enumerate().filter(|(_, last)| now.saturating_duration_since(**last) >= self.shortest);
        ended.chain(lasting.map(|(shard, from)| Interruption { shard, from: *from, until: None })).collect()
    }

    /// From now on [`Meter::resumed`] is about writes that are sent after this moment. A reply that was on its way
    /// when a fault began does not count as an effect of what the cluster did afterwards.
    pub fn mark(&mut self) {
        self.mark = Instant::now();
        self.after_mark.fill(None);
    }

    /// When the last shard acknowledged its first write that was sent after the mark; `None`: not all have yet.
    #[must_use]
    pub fn resumed(&self) -> Option<Instant> {
        self.after_mark.iter().copied().collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_without_acknowledgements_is_interrupted() {
        let mut meter = Meter::new(2, 0.0);
        let start = meter.phase.began;
        let ms = |ms| start + Duration::from_millis(ms);
        for at in [100, 250, 1_000, 1_100] {
            meter.wrote(0, Outcome::Acknowledged, ms(at - 1), ms(at));
        }
        meter.wrote(1, Outcome::Refused, ms(1), ms(2));
        let gaps = meter.interruptions(ms(0));
        assert_eq!(gaps[0], Interruption { shard: 0, from: ms(250), until: Some(ms(1_000)) });
        assert_eq!(gaps[0].length(ms(5_000)), Duration::from_millis(750));
        assert!(meter.interruptions(ms(1_000)).iter().all(|gap| gap.until.is_none()));
        let phase = meter.next_phase();
        assert_eq!((phase.acknowledged, phase.refused, phase.unknown), (4, 1, 0));
        assert_eq!(meter.next_phase().acknowledged, 0);
    }

    #[test]
    fn only_writes_that_were_sent_after_the_mark_show_that_a_shard_has_resumed() {
        let mut meter = Meter::new(2, 0.0);
        let before = meter.mark;
        meter.mark();
        let ms = |ms| meter.mark + Duration::from_millis(ms);
        let [sent, late, first, second] = [ms(1), ms(2), ms(5), ms(9)];
        meter.wrote(0, Outcome::Acknowledged, before, late);
        meter.wrote(1, Outcome::Acknowledged, sent, second);
        meter.wrote(1, Outcome::Refused, sent, second);
        assert_eq!(meter.resumed(), None, "the write of shard 0 was sent before the mark");
        meter.wrote(0, Outcome::Acknowledged, sent, first);
        assert_eq!(meter.resumed(), Some(second));
        meter.mark();
        assert_eq!(meter.resumed(), None);
    }

    #[test]
    fn a_slow_load_is_not_an_interruption() {
        let mut meter = Meter::new(1, 10.0);
        let start = meter.phase.began;
        meter.wrote(0, Outcome::Acknowledged, start, start + Duration::from_millis(1_500));
        assert!(meter.ended.is_empty());
    }
}
