//! What one replica's front end counts, for INFO and metrics. On the loop's thread: plain cells.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastness_engine::command::{self, CommandSpec};
use fastness_resp::Args;
use fastness_shard::SnapshotInfo;

/// Different error codes that are counted; Valkey's bound too.
const ERROR_CODES_MAX: usize = 128;
/// Arguments of a slow command that are kept, and how much of each.
const SLOW_ARGS_MAX: usize = 32;
const SLOW_ARG_BYTES_MAX: usize = 128;
/// Buckets of a latency histogram: powers of two of a microsecond.
const LATENCY_BUCKETS: usize = 32;

/// What is known of one command.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandStats {
    /// Runs.
    pub calls: u64,
    /// Their time, ns.
    pub nanos: u64,
    /// Refused before they ran.
    pub rejected: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Runs per bucket: bucket n holds those of at most 2^n µs.
    pub buckets: [u64; LATENCY_BUCKETS],
}

impl CommandStats {
    /// Time of all runs, µs.
    #[must_use]
    pub fn micros(&self) -> u64 {
        self.nanos / 1_000
    }

    /// The upper bound, µs, of the bucket that the given share of the runs does not exceed.
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

/// One command that ran long.
#[derive(Debug, Clone)]
pub struct SlowCommand {
    /// Rising.
    pub id: u64,
    /// Seconds since the Unix epoch.
    pub at: u64,
    /// How long it ran, µs.
    pub micros: u64,
    /// Its arguments, cut.
    pub args: Vec<Vec<u8>>,
    /// Who sent it.
    pub client: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// See the module.
pub struct RespStats {
    /// Since when it counts.
    pub since: Cell<Instant>,
    /// Connections accepted.
    pub connections: Cell<u64>,
    /// Commands run.
    pub commands: Cell<u64>,
    /// Bytes received.
    pub bytes_in: Cell<u64>,
    /// Bytes sent.
    pub bytes_out: Cell<u64>,
    /// Reads that gave something.
    pub reads: Cell<u64>,
    /// Sends.
    pub writes: Cell<u64>,
    /// Error replies.
    pub errors: Cell<u64>,
    /// Connections closed because the client did not read.
    pub output_limit_closes: Cell<u64>,
    /// Connections closed because the client spoke HTTP.
    pub http_closes: Cell<u64>,
    /// Connections closed because the log kept them waiting for too long.
    pub log_wait_closes: Cell<u64>,
    /// Connections whose task has panicked.
    pub panics: Cell<u64>,
    /// Connections closed since they sent more than may wait.
    pub query_limit_closes: Cell<u64>,
    /// Refusals of AUTH.
    pub auth_failures: Cell<u64>,
    /// Connections whose execution waits for the log.
    pub stalled: Cell<u64>,
    /// The most memory that the data has been seen to use, bytes.
    memory_peak: Cell<u64>,
    /// Commands per second, the newest samples.
    rate: RefCell<Rate>,
    /// By the command's index in the table; none where it has not run.
    by_command: RefCell<Vec<Option<Box<CommandStats>>>>,
    by_error: RefCell<BTreeMap<String, u64>>,
    slow: RefCell<VecDeque<SlowCommand>>,
    slow_next: Cell<u64>,
    snapshots: Cell<SnapshotsSeen>,
}

/// Snapshots as INFO reports them, with times accurate to about a second.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotsSeen {
    /// When the newest was finished, seconds since the Unix epoch; at first, when the process started.
    pub saved_at: u64,
    /// Whether the last one that ended was finished.
    pub succeeded: bool,
    /// How long the last one that ended took; `None`: none has ended yet.
    pub took: Option<Duration>,
    /// Since when one is being written.
    pub began: Option<Instant>,
    /// Finished since the process started.
    pub saves: u64,
    /// Units that had committed when the newest was finished.
    units: u64,
    seen: (u64, u64),
}

impl SnapshotsSeen {
    /// Units that have committed since then.
    #[must_use]
    pub fn units_since(&self, units: u64) -> u64 {
        units.saturating_sub(self.units)
    }

    fn observe(&mut self, snapshots: &SnapshotInfo, units: u64, now: Instant, wall: u64) {
        let ended = (snapshots.written, snapshots.given_up);
        if ended != self.seen {
            // One that started and ended between two checks took less time than that.
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

/// Samples of counters, for the figures per second.
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
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            reads: Cell::default(),
            writes: Cell::default(),
            errors: Cell::default(),
            output_limit_closes: Cell::default(),
            http_closes: Cell::default(),
            log_wait_closes: Cell::default(),
            panics: Cell::default(),
            query_limit_closes: Cell::default(),
            auth_failures: Cell::default(),
            stalled: Cell::default(),
            memory_peak: Cell::default(),
            rate: RefCell::default(),
            by_command: RefCell::default(),
            by_error: RefCell::default(),
            slow: RefCell::default(),
            slow_next: Cell::default(),
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
    /// Counts one run. `reply` is what was appended.
    pub fn count(&self, spec: &'static CommandSpec, took: Duration, reply: &[u8]) {
        add(&self.commands, 1);
        let nanos = took.as_nanos() as u64;
        let failed = reply.first() == Some(&b'-');
        let mut by_command = self.by_command.borrow_mut();
        if by_command.is_empty() {
            by_command.resize_with(command::table().all().len(), || None);
        }
        let stats = by_command[spec.index].get_or_insert_default();
        if failed && is_rejection(reply) {
            stats.rejected += 1;
        } else {
            stats.calls += 1;
            stats.nanos += nanos;
            stats.failed += u64::from(failed);
            let bucket = (64 - (nanos / 1_000).leading_zeros() as usize).min(LATENCY_BUCKETS - 1);
            stats.buckets[bucket] += 1;
        }
        drop(by_command);
        if failed {
            self.count_error(reply);
        }
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

    /// Keeps a command that ran long.
    pub fn note_slow(
        &self,
        (spec, args): (&CommandSpec, Args<'_>),
        took: Duration,
        client: &super::clients::Client,
        len_max: usize,
    ) {
        let id = self.slow_next.get();
        self.slow_next.set(id + 1);
        let mut slow = self.slow.borrow_mut();
        slow.push_front(SlowCommand {
            id,
            at: wall_seconds(),
            micros: took.as_micros() as u64,
            args: shown_args(spec, args),
            client: client.address.to_string(),
            name: client.name.borrow().clone(),
        });
        slow.truncate(len_max);
    }

    /// The newest slow commands.
    #[must_use]
    pub fn slow(&self, count: usize) -> Vec<SlowCommand> {
        self.slow.borrow().iter().take(count).cloned().collect()
    }

    /// How many are kept.
    #[must_use]
    pub fn slow_len(&self) -> usize {
        self.slow.borrow().len()
    }

    /// Forgets them.
    pub fn slow_reset(&self) {
        self.slow.borrow_mut().clear();
    }

    /// Per command, by name.
    #[must_use]
    pub fn by_command(&self) -> BTreeMap<&'static str, CommandStats> {
        let by_command = self.by_command.borrow();
        let counted = by_command.iter().zip(command::table().all());
        counted.filter_map(|(stats, spec)| Some((spec.name, **stats.as_ref()?))).collect()
    }

    /// Error replies per code.
    #[must_use]
    pub fn by_error(&self) -> BTreeMap<String, u64> {
        self.by_error.borrow().clone()
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        let cells = [
            &self.connections,
            &self.commands,
            &self.bytes_in,
            &self.bytes_out,
            &self.reads,
            &self.writes,
            &self.errors,
            &self.output_limit_closes,
            &self.http_closes,
            &self.log_wait_closes,
            &self.panics,
            &self.query_limit_closes,
            &self.auth_failures,
        ];
        cells.into_iter().for_each(|cell| cell.set(0));
        self.by_command.borrow_mut().clear();
        self.by_error.borrow_mut().clear();
        *self.rate.borrow_mut() = Rate::default();
        self.since.set(Instant::now());
    }

    /// Called about once a second: makes the figures per second.
    pub fn sample(&self) {
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

    /// Notes what the data uses now; returns the most that was noted.
    pub fn memory_peak(&self, used: u64) -> u64 {
        self.memory_peak.set(self.memory_peak.get().max(used));
        self.memory_peak.get()
    }

    /// Looks at snapshots; to be called about once a second. `units` have committed.
    pub fn observe_snapshots(&self, snapshots: &SnapshotInfo, units: u64) {
        let mut seen = self.snapshots.get();
        seen.observe(snapshots, units, Instant::now(), wall_seconds());
        self.snapshots.set(seen);
    }

    /// What was seen of snapshots.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotsSeen {
        self.snapshots.get()
    }

    /// Commands, bytes in, bytes out per second.
    #[must_use]
    pub fn per_second(&self) -> [f64; 3] {
        self.rate.borrow().per_second
    }
}

fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether an error says that the command did not run at all.
fn is_rejection(reply: &[u8]) -> bool {
    const CODES: [&[u8]; 9] = [
        b"-MOVED ",
        b"-CLUSTERDOWN ",
        b"-CROSSSLOT ",
        b"-OOM ",
        b"-LOADING ",
        b"-READONLY ",
        b"-NOAUTH ",
        b"-NOPERM ",
        b"-ERR Command '",
    ];
    CODES.iter().any(|code| reply.starts_with(code))
}

/// Shown in the place of a secret, as in Valkey.
const REDACTED: &[u8] = b"(redacted)";

/// Arguments as they are shown: cut, and without secrets.
fn shown_args(spec: &CommandSpec, args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > SLOW_ARGS_MAX { SLOW_ARGS_MAX - 1 } else { args.len() };
    let mut cut: Vec<Vec<u8>> = args.take(kept).iter().map(cut_arg).collect();
    spec.secrets(args, &mut |secret| {
        if let Some(shown) = cut.get_mut(secret) {
            *shown = REDACTED.to_vec();
        }
    });
    if args.len() > kept {
        cut.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    cut
}

fn cut_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= SLOW_ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut cut = arg[..SLOW_ARG_BYTES_MAX].to_vec();
    cut.extend_from_slice(format!("... ({} more bytes)", arg.len() - SLOW_ARG_BYTES_MAX).as_bytes());
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &str, shown: &str) {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let args = Args::slices(&words);
        let spec = crate::resp_server::command::table().of_request(args).expect("Valkey knows it");
        let texts = shown_args(spec, args);
        let texts: Vec<String> = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        assert_eq!(texts.join(" "), shown);
    }

    #[test]
    fn secrets_are_not_shown() {
        check("AUTH s3", "AUTH (redacted)");
        check("auth user s3", "auth (redacted) (redacted)");
        check("AUTH user s3 more", "AUTH (redacted) (redacted) (redacted)");
        check("HELLO 3 AUTH user s3 SETNAME me", "HELLO 3 AUTH (redacted) (redacted) SETNAME me");
        check("hello 3 setname me auth user s3", "hello 3 setname me auth (redacted) (redacted)");
        check("HELLO 3 FOO AUTH user s3", "HELLO 3 FOO AUTH (redacted) (redacted)");
        check("CONFIG SET requirepass s3", "CONFIG SET requirepass (redacted)");
        check("config set timeout 1 MasterAuth s3", "config set timeout 1 MasterAuth (redacted)");
        check("CONFIG GET requirepass", "CONFIG GET requirepass");
        check("SET auth s3", "SET auth s3");
    }

    /// Found: INFO persistence reported constants although there are snapshots.
    #[test]
    fn snapshots_are_told_as_they_were_seen() {
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
