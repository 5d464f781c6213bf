//! Statistics of one replica's front end, for INFO and metrics. Used only on the thread of the shard loop, so plain
//! cells suffice.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastness_engine::command::CommandSpec;
use fastness_shard::SnapshotInfo;

use super::event_loop::EventLoop;

/// Bound on the number of distinct error codes that are counted; the same as Valkey's.
const ERROR_CODES_MAX: usize = 128;
/// Number of buckets of a latency histogram; the upper bounds are powers of two, in microseconds.
const LATENCY_BUCKETS: usize = 32;

/// A command's name, and its statistics.
type NamedStats = (&'static str, CommandStats);

/// Statistics of one command.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandStats {
    /// Number of executions.
    pub calls: u64,
    /// Total execution time, in nanoseconds.
    pub nanos: u64,
    /// Calls that were rejected before execution.
    pub rejected: u64,
    /// Executions that returned an error.
    pub failed: u64,
    /// Executions per bucket; bucket n counts those that took at most 2^n µs.
    pub buckets: [u64; LATENCY_BUCKETS],
}

impl CommandStats {
    /// Adds those of another command.
    pub fn add(&mut self, other: &CommandStats) {
        self.calls += other.calls;
        self.nanos += other.nanos;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
    }

    /// Total execution time, in microseconds.
    #[must_use]
    pub fn micros(&self) -> u64 {
        self.nanos / 1_000
    }

    /// The given percentile of the latency: the upper bound of its bucket, in microseconds.
    #[must_use]
    pub fn percentile(&self, share: f64) -> f64 {
        let wanted = (self.calls as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return (1u64 << bucket) as f64;
            }
        }
        0.0
    }
}

/// The statistics; see the module.
pub struct RespStats {
    /// When counting started.
    pub since: Cell<Instant>,
    /// Connections accepted.
    pub connections: Cell<u64>,
    /// Commands run.
    pub commands: Cell<u64>,
    /// How long the commands of clients ran, nanoseconds.
    pub command_nanos: Cell<u64>,
    /// The loop on which everything runs.
    pub event_loop: EventLoop,
    /// Bytes received.
    pub bytes_in: Cell<u64>,
    /// Bytes sent.
    pub bytes_out: Cell<u64>,
    /// Socket reads that returned data.
    pub reads: Cell<u64>,
    /// Socket writes.
    pub writes: Cell<u64>,
    /// Error replies.
    pub errors: Cell<u64>,
    /// Connections closed because the client stopped reading.
    pub output_limit_closes: Cell<u64>,
    /// Connections closed because the client spoke HTTP.
    pub http_closes: Cell<u64>,
    /// Connections closed because they waited for the log for too long.
    pub log_wait_closes: Cell<u64>,
    /// Connections whose task has panicked.
    pub panics: Cell<u64>,
    /// Connections that were closed because all of them took more than `maxmemory-clients`.
    pub evicted_clients: Cell<u64>,
    /// Connections closed because they sent more than may be queued.
    pub query_limit_closes: Cell<u64>,
    /// Messages of channels that were passed to subscribers, one for each.
    pub channel_messages: Cell<u64>,
    /// Connections whose command is waiting for the log.
    pub stalled: Cell<u64>,
    /// The longest delay of the loop since it was last taken.
    pub loop_late: Cell<Duration>,
    /// The second of the boot clock up to which fsyncs of the log were sampled.
    pub fsyncs_seen: Cell<u64>,
    /// Largest observed memory usage of the data, in bytes.
    memory_peak: Cell<u64>,
    /// The newest samples, for the per-second rates.
    rate: RefCell<Rate>,
    /// Statistics by index in the command table; `None` if the command has not run.
    by_command: RefCell<Vec<Option<Box<NamedStats>>>>,
    by_error: RefCell<BTreeMap<String, u64>>,
    snapshots: Cell<SnapshotsSeen>,
}

/// Snapshots as INFO reports them, with times accurate to about a second.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotsSeen {
    /// When the newest snapshot was finished, in seconds since the Unix epoch; initially the start of the process.
    pub saved_at: u64,
    /// Whether the last attempt succeeded.
    pub succeeded: bool,
    /// Duration of the last attempt; `None`: none has ended yet.
    pub took: Option<Duration>,
    /// Start of the snapshot that is being written, if any.
    pub began: Option<Instant>,
    /// Snapshots finished since the process started.
    pub saves: u64,
    /// Number of committed units when the newest snapshot was finished.
    units: u64,
    seen: (u64, u64),
}

impl SnapshotsSeen {
    /// Units that have committed since the newest snapshot.
    #[must_use]
    pub fn units_since(&self, units: u64) -> u64 {
        units.saturating_sub(self.units)
    }

    fn observe(&mut self, snapshots: &SnapshotInfo, units: u64, now: Instant, wall: u64) {
        let ended = (snapshots.written, snapshots.given_up);
        if ended != self.seen {
            // A snapshot that started and ended between two checks took less time than the interval.
            self.took = Some(self.began.take().map_or(Duration::ZERO, |began| now.duration_since(began)));
            self.succeeded = ended.0 > self.seen.0;
            if self.succeeded {
                self.saved_at = wall;
                self.units = units;
            }
            self.saves = ended.0;
            self.seen = ended;
        }
        match snapshots.in_progress {
            true if self.began.is_none() => self.began = Some(now),
            true => {}
            false => self.began = None,
        }
    }
}

/// Samples of counters, from which per-second rates are computed.
#[derive(Default)]
struct Rate {
    last: Option<(Instant, [u64; 3])>,
    per_second: [f64; 3],
}

impl Default for RespStats {
    fn default() -> Self {
        RespStats {
            since: Cell::new(Instant::now()),
            connections: Cell::default(),
            commands: Cell::default(),
            command_nanos: Cell::default(),
            event_loop: EventLoop::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            reads: Cell::default(),
            writes: Cell::default(),
            errors: Cell::default(),
            output_limit_closes: Cell::default(),
            http_closes: Cell::default(),
            log_wait_closes: Cell::default(),
            channel_messages: Cell::default(),
            panics: Cell::default(),
            evicted_clients: Cell::default(),
            query_limit_closes: Cell::default(),
            stalled: Cell::default(),
            loop_late: Cell::default(),
            fsyncs_seen: Cell::default(),
            memory_peak: Cell::default(),
            rate: RefCell::default(),
            by_command: RefCell::default(),
            by_error: RefCell::default(),
            snapshots: Cell::new(SnapshotsSeen {
                saved_at: wall_seconds(),
                succeeded: true,
                took: None,
                began: None,
                saves: 0,
                units: 0,
                seen: (0, 0),
            }),
        }
    }
}

/// Adds to a counter.
pub fn add(cell: &Cell<u64>, amount: u64) {
    cell.set(cell.get() + amount);
}

impl RespStats {
    /// Counts one execution. `reply`: the reply that it appended.
    pub fn count(&self, spec: &'static CommandSpec, took: Duration, reply: &[u8]) {
        add(&self.commands, 1);
        let nanos = took.as_nanos() as u64;
        let failed = reply.first() == Some(&b'-');
        self.with_command(spec, |stats| {
            if failed && is_rejection(reply) {
                stats.rejected += 1;
            } else {
                stats.calls += 1;
                stats.nanos += nanos;
                stats.failed += u64::from(failed);
                let bucket = (64 - (nanos / 1_000).leading_zeros() as usize).min(LATENCY_BUCKETS - 1);
                stats.buckets[bucket] += 1;
            }
        });
        if failed {
            self.count_error(reply);
        }
    }

    /// Counts a call that was refused before execution, because it had a wrong number of arguments. `reply`: the error.
    pub fn count_refused(&self, spec: &'static CommandSpec, reply: &[u8]) {
        self.with_command(spec, |stats| stats.rejected += 1);
        self.count_error(reply);
    }

    fn with_command(&self, spec: &'static CommandSpec, count: impl FnOnce(&mut CommandStats)) {
        let mut by_command = self.by_command.borrow_mut();
        if by_command.len() <= spec.index {
            by_command.resize_with(spec.index + 1, || None);
        }
        let (_, stats) = &mut **by_command[spec.index].get_or_insert_with(|| Box::new((spec.name, Default::default())));
        count(stats);
    }

    /// Counts an error reply by its code.
    pub fn count_error(&self, reply: &[u8]) {
        add(&self.errors, 1);
        let end = reply.iter().position(|byte| matches!(byte, b' ' | b'\r')).unwrap_or(reply.len());
        let code = String::from_utf8_lossy(reply.get(1..end).unwrap_or_default()).into_owned();
        let mut by_error = self.by_error.borrow_mut();
        if by_error.len() < ERROR_CODES_MAX || by_error.contains_key(&code) {
            *by_error.entry(code).or_default() += 1;
        }
    }

    /// Statistics by command name.
    #[must_use]
    pub fn by_command(&self) -> BTreeMap<&'static str, CommandStats> {
        self.by_command.borrow().iter().flatten().map(|counted| **counted).collect()
    }

    /// Number of error replies by code.
    #[must_use]
    pub fn by_error(&self) -> BTreeMap<String, u64> {
        self.by_error.borrow().clone()
    }

    /// Resets the statistics, for CONFIG RESETSTAT.
    pub fn reset(&self) {
        let cells = [
            &self.connections,
            &self.commands,
            &self.command_nanos,
            &self.bytes_in,
            &self.bytes_out,
            &self.reads,
            &self.writes,
            &self.errors,
            &self.output_limit_closes,
            &self.http_closes,
            &self.log_wait_closes,
            &self.channel_messages,
            &self.panics,
            &self.evicted_clients,
            &self.query_limit_closes,
        ];
        cells.into_iter().for_each(|cell| cell.set(0));
        self.event_loop.reset();
        self.by_command.borrow_mut().clear();
        self.by_error.borrow_mut().clear();
        *self.rate.borrow_mut() = Rate::default();
        self.since.set(Instant::now());
    }

    /// Takes a sample for the per-second rates. Must be called about once per second.
    pub fn sample(&self) {
        self.event_loop.sample();
        let now = Instant::now();
        let counters = [self.commands.get(), self.bytes_in.get(), self.bytes_out.get()];
        let mut rate = self.rate.borrow_mut();
        if let Some((then, before)) = rate.last {
            let seconds = now.duration_since(then).as_secs_f64().max(1e-3);
            for i in 0..3 {
                rate.per_second[i] = counters[i].saturating_sub(before[i]) as f64 / seconds;
            }
        }
        rate.last = Some((now, counters));
    }

    /// Records the current memory usage of the data; returns the largest recorded one.
    pub fn memory_peak(&self, used: u64) -> u64 {
        self.memory_peak.set(self.memory_peak.get().max(used));
        self.memory_peak.get()
    }

    /// Records the state of snapshots. Must be called about once per second. `units`: number of committed units.
    pub fn observe_snapshots(&self, snapshots: &SnapshotInfo, units: u64) {
        let mut seen = self.snapshots.get();
        seen.observe(snapshots, units, Instant::now(), wall_seconds());
        self.snapshots.set(seen);
    }

    /// The observed state of snapshots.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotsSeen {
        self.snapshots.get()
    }

    /// Commands, bytes received and bytes sent per second.
    #[must_use]
    pub fn per_second(&self) -> [f64; 3] {
        self.rate.borrow().per_second
    }
}

/// The time, in seconds since the Unix epoch.
pub(super) fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether an error means that the command was not executed at all.
pub(super) fn is_rejection(reply: &[u8]) -> bool {
    const CODES: [&[u8]; 11] = [
        b"-MOVED ",
        b"-CLUSTERDOWN ",
        b"-CROSSSLOT ",
        b"-OOM ",
        b"-LOADING ",
        b"-READONLY ",
        b"-NOAUTH ",
        b"-NOPERM ",
        b"-ERR Command '",
        b"-ERR Can't execute '",
        b"-ERR Replica can't ",
    ];
    CODES.iter().any(|code| reply.starts_with(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression test: INFO persistence reported constants although snapshots existed.
    #[test]
    fn observed_snapshots_are_reported() {
        let stats = RespStats::default();
        let mut seen = stats.snapshots();
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut info = SnapshotInfo::default();
        seen.observe(&info, 5, at(0), 100);
        assert_eq!((seen.succeeded, seen.took, seen.began, seen.units_since(5)), (true, None, None, 5));
        info.in_progress = true;
        seen.observe(&info, 6, at(1), 101);
        seen.observe(&info, 7, at(2), 102);
        assert_eq!(seen.began, Some(at(1)));
        (info.in_progress, info.written) = (false, 1);
        seen.observe(&info, 8, at(4), 104);
        assert_eq!((seen.saved_at, seen.took, seen.began, seen.saves), (104, Some(Duration::from_secs(3)), None, 1));
        assert_eq!(seen.units_since(10), 2);
        info.given_up = 1;
        seen.observe(&info, 9, at(5), 105);
        assert_eq!((seen.succeeded, seen.saved_at, seen.units_since(10)), (false, 104, 2));
    }
}
