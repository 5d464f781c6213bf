//! The latency monitor: per event the newest samples that reached `latency-monitor-threshold`, for LATENCY. Used only
//! on the thread of the shard loop.
//!
//! - One sample is kept per event and second: the longest. An event keeps at most `SAMPLES_MAX` of them, and the
//!   events are a closed set, so the memory is bounded.
//! - Commands are measured one by one. Of the other events the longest span of each second is measured, so their counts
//!   count seconds.
//! - While the threshold is 0 nothing is sampled; what was sampled before stays until LATENCY RESET.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::stats::wall_seconds;

/// Samples that are kept of each event; the same as Valkey's.
const SAMPLES_MAX: usize = 160;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatencyEvent {
    /// A command that may take long.
    Command,
    /// A command that takes constant or logarithmic time.
    FastCommand,
    /// From the first effect of a batch to its commit.
    Commit,
    /// How much later than it should the loop runs what is due.
    EventLoop,
    /// The removal of expired keys in one turn of the loop.
    ExpireCycle,
    /// The removal of keys because memory is full: one slice.
    EvictionCycle,
    /// A synced write of this node's log.
    LogFsync,
}

impl LatencyEvent {
    /// All of them.
    pub const ALL: [LatencyEvent; 7] = [
        LatencyEvent::Command,
        LatencyEvent::FastCommand,
        LatencyEvent::Commit,
        LatencyEvent::EventLoop,
        LatencyEvent::ExpireCycle,
        LatencyEvent::EvictionCycle,
        LatencyEvent::LogFsync,
    ];

    /// The name in LATENCY. Commands, and the removal of expired and evicted keys, have Valkey's names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LatencyEvent::Command => "command",
            LatencyEvent::FastCommand => "fast-command",
            LatencyEvent::Commit => "commit",
            LatencyEvent::EventLoop => "event-loop",
            LatencyEvent::ExpireCycle => "expire-cycle",
            LatencyEvent::EvictionCycle => "eviction-cycle",
            LatencyEvent::LogFsync => "log-fsync",
        }
    }

    /// The event of exactly this name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<LatencyEvent> {
        LatencyEvent::ALL.into_iter().find(|event| event.name().as_bytes() == name)
    }

    /// What an operator can do about it.
    fn advice(self) -> &'static str {
        match self {
            LatencyEvent::Command => {
                "SLOWLOG GET shows the slow commands: read large keys in parts (HSCAN, GETRANGE), and let \
                 commandlog-execution-slower-than be below latency-monitor-threshold."
            }
            LatencyEvent::FastCommand => {
                "a command that is always short was slow, so the thread had no CPU: check the load of the machine, \
                 shard-nice, limits of the container, and neighbours on the same host."
            }
            LatencyEvent::Commit => {
                "a commit takes an fsync and a round trip to a second zone: compare \
                 fastness_replication_round_trip_seconds and fastness_log_fsync_duration_seconds of all nodes."
            }
            LatencyEvent::EventLoop => {
                "something kept the loop from running: a slow command (SLOWLOG GET), a transaction, or too little CPU."
            }
            LatencyEvent::ExpireCycle => {
                "many keys expire at the same time, or large ones do: spread their deadlines, and split large keys."
            }
            LatencyEvent::EvictionCycle => {
                "keys are evicted in long slices: lower maxmemory-eviction-tenacity or maxmemory-samples, and split large \
                 keys."
            }
            LatencyEvent::LogFsync => {
                "the disk of the log is slow: give it a disk of its own with fast fsyncs, and look for other programs \
                 that write to it."
            }
        }
    }
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencySample {
    /// In seconds since the Unix epoch.
    pub at: u64,
    /// The longest span of that second, in milliseconds.
    pub ms: u64,
}

/// The samples of one event.
#[derive(Debug, Clone, Default)]
pub struct LatencySeries {
    /// The oldest first; not empty.
    pub samples: VecDeque<LatencySample>,
    /// The longest span since the start or LATENCY RESET, in milliseconds.
    pub max_ms: u64,
    /// The sum of all spans since then, in milliseconds.
    pub sum_ms: u64,
    /// Their number.
    pub count: u64,
}

impl LatencySeries {
    fn add(&mut self, at: u64, ms: u64) {
        self.max_ms = self.max_ms.max(ms);
        self.sum_ms += ms;
        self.count += 1;
        match self.samples.back_mut() {
            Some(newest) if newest.at == at => newest.ms = newest.ms.max(ms),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(LatencySample { at, ms });
            }
        }
    }

    /// Average and mean deviation of the samples, in milliseconds.
    fn spread(&self) -> (u64, u64) {
        let count = self.samples.len().max(1) as u64;
        let average = self.samples.iter().map(|sample| sample.ms).sum::<u64>() / count;
        let deviation = self.samples.iter().map(|sample| sample.ms.abs_diff(average)).sum::<u64>() / count;
        (average, deviation)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct LatencyMonitor(RefCell<BTreeMap<LatencyEvent, LatencySeries>>);

impl LatencyMonitor {
    /// Samples a span that reaches the threshold.
    #[inline]
    pub fn note(&self, event: LatencyEvent, span: Duration, threshold: Duration) {
        if !threshold.is_zero() && span >= threshold {
            self.add(event, span, wall_seconds());
        }
    }

    #[cold]
    fn add(&self, event: LatencyEvent, span: Duration, at: u64) {
        self.0.borrow_mut().entry(event).or_default().add(at, span.as_millis() as u64);
    }

    /// The events that have samples.
    #[must_use]
    pub fn all(&self) -> Vec<(LatencyEvent, LatencySeries)> {
        self.0.borrow().iter().map(|(event, series)| (*event, series.clone())).collect()
    }

    /// The samples of an event; `None`: it has none.
    #[must_use]
    pub fn of(&self, event: LatencyEvent) -> Option<LatencySeries> {
        self.0.borrow().get(&event).cloned()
    }

    /// Removes the samples of an event; `false`: it had none.
    pub fn reset(&self, event: LatencyEvent) -> bool {
        self.0.borrow_mut().remove(&event).is_some()
    }

    /// The report of LATENCY DOCTOR.
    #[must_use]
    pub fn report(&self, threshold: Duration) -> String {
        self.report_at(threshold, wall_seconds())
    }

    fn report_at(&self, threshold: Duration, now: u64) -> String {
        let all = self.0.borrow();
        if all.is_empty() && threshold.is_zero() {
            return "Latency monitoring is disabled on this replica. CONFIG SET latency-monitor-threshold \
                    <milliseconds> enables it.\n"
                .to_owned();
        }
        if all.is_empty() {
            return format!("No latency spike of {} ms or more was observed on this replica.\n", threshold.as_millis());
        }
        let mut report = "Latency spikes were observed on this replica.\n\n".to_owned();
        for (number, (event, series)) in all.iter().enumerate() {
            let (average, deviation) = series.spread();
            let samples = series.samples.len();
            let since = series.samples.front().map_or(now, |sample| sample.at);
            let period = now.saturating_sub(since).max(1) as f64 / samples.max(1) as f64;
            report += &format!(
                "{}. {}: {samples} latency spikes (average {average}ms, mean deviation {deviation}ms, period \
                 {period:.2} sec). Worst all time event {}ms.\n",
                number + 1,
                event.name(),
                series.max_ms
            );
        }
        report += "\nWhat to do:\n\n";
        for event in all.keys() {
            report += &format!("- {}: {}\n", event.name(), event.advice());
        }
        report
    }
}

/// The graph of LATENCY GRAPH, in the form of Valkey's: the samples as columns of `ROWS` rows, the oldest on the
/// left, and below each one how long ago it was, top down.
#[must_use]
pub fn graph(event: LatencyEvent, series: &LatencySeries) -> String {
    graph_at(event, series, wall_seconds())
}

/// Rows of the graph, and what a row shows from low to high.
const ROWS: usize = 4;
const LEVELS: [char; 3] = ['_', 'o', '#'];
/// A cell below the top of its column.
const FILLED: char = '|';
/// Columns of one block of the graph; further samples are in further blocks.
const COLUMNS: usize = 80;

fn graph_at(event: LatencyEvent, series: &LatencySeries, now: u64) -> String {
    let high = series.samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
    let low = series.samples.iter().map(|sample| sample.ms).min().unwrap_or(0);
    let mut text = format!("{} - high {high} ms, low {low} ms (all time high {} ms)\n", event.name(), series.max_ms);
    text += &"-".repeat(COLUMNS);
    text.push('\n');
    let samples: Vec<LatencySample> = series.samples.iter().copied().collect();
    for block in samples.chunks(COLUMNS) {
        for row in (0..ROWS).rev() {
            text.extend(block.iter().map(|sample| cell(step(sample.ms, low, high), row)));
            text.push('\n');
        }
        text.extend(std::iter::repeat_n(' ', block.len()));
        text.push('\n');
        let ages: Vec<Vec<char>> = block.iter().map(|sample| age(now.saturating_sub(sample.at))).collect();
        for line in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
            text.extend(ages.iter().map(|age| age.get(line).copied().unwrap_or(' ')));
            text.push('\n');
        }
    }
    text
}

/// The height of a sample, from 0, in levels.
fn step(ms: u64, low: u64, high: u64) -> usize {
    let steps = ROWS * LEVELS.len();
    let (above, range) = (u128::from(ms - low), u128::from((high - low).max(1)));
    ((above * steps as u128 / range) as usize).min(steps - 1)
}

/// What a row, from 0 at the bottom, shows of a column with this height.
fn cell(step: usize, row: usize) -> char {
    match step.checked_sub(row * LEVELS.len()) {
        None => ' ',
        Some(level) => LEVELS.get(level).copied().unwrap_or(FILLED),
    }
}

fn age(seconds: u64) -> Vec<char> {
    let text = match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    };
    text.chars().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_sample_per_second_is_kept_and_all_are_counted() {
        let monitor = LatencyMonitor::default();
        for (at, span) in [(10, 5), (10, 9), (10, 7), (11, 6)] {
            monitor.add(LatencyEvent::Commit, ms(span), at);
        }
        let series = monitor.of(LatencyEvent::Commit).unwrap();
        assert_eq!(series.samples, [LatencySample { at: 10, ms: 9 }, LatencySample { at: 11, ms: 6 }]);
        assert_eq!((series.max_ms, series.sum_ms, series.count), (9, 27, 4));
        for at in 12..1_000 {
            monitor.add(LatencyEvent::Commit, ms(1), at);
        }
        let series = monitor.of(LatencyEvent::Commit).unwrap();
        assert_eq!((series.samples.len(), series.max_ms), (SAMPLES_MAX, 9));
        assert!(monitor.reset(LatencyEvent::Commit) && !monitor.reset(LatencyEvent::Commit));
    }

    #[test]
    fn the_threshold_decides_and_0_is_off() {
        let monitor = LatencyMonitor::default();
        monitor.note(LatencyEvent::Command, ms(99), ms(100));
        monitor.note(LatencyEvent::Command, ms(99), ms(0));
        assert!(monitor.all().is_empty());
        monitor.note(LatencyEvent::Command, ms(100), ms(100));
        assert_eq!(monitor.all().len(), 1);
    }

    #[test]
    fn the_graph_has_a_column_per_sample() {
        let mut series = LatencySeries::default();
        for (at, ms) in [(100, 0), (940, 50), (990, 120)] {
            series.add(at, ms);
        }
        let expected = [
            "commit - high 120 ms, low 0 ms (all time high 120 ms)",
            &"-".repeat(80),
            "  #",
            "  |",
            " #|",
            "_||",
            "   ",
            "111",
            "5m0",
            "m s",
        ];
        assert_eq!(graph_at(LatencyEvent::Commit, &series, 1_000).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_report_names_each_event_and_what_to_do() {
        let monitor = LatencyMonitor::default();
        assert!(monitor.report_at(ms(0), 0).contains("CONFIG SET latency-monitor-threshold"));
        assert!(monitor.report_at(ms(7), 0).starts_with("No latency spike of 7 ms"));
        for event in LatencyEvent::ALL {
            assert_eq!(LatencyEvent::named(event.name().as_bytes()), Some(event));
            monitor.add(event, ms(10), 100);
            monitor.add(event, ms(20), 110);
        }
        let report = monitor.report_at(ms(7), 120);
        let line = "2. fast-command: 2 latency spikes (average 15ms, mean deviation 5ms, period 10.00 sec). Worst all \
                    time event 20ms.";
        assert!(report.contains(line), "{report}");
        for event in LatencyEvent::ALL {
            assert!(report.contains(&format!("\n- {}: {}", event.name(), event.advice())), "{report}");
        }
    }
}
