//! Bounds how many lines each place in the code writes to the log, so that whatever repeats itself, for any reason,
//! fills neither a disk nor the time of the thread that meets it.
//!
//! - Each call site has a bucket of its own: `log-lines-burst` lines at once, then `log-lines-per-second`. A line that
//!   is the first in a while is always written, whatever other places write.
//! - Lines that were left out are counted. Every [`REPORT_EVERY`], and at the end of the process, one line per call
//!   site says how many there were; `fastness_log_suppressed_total` counts them all.
//! - A bucket is one atomic number. The table of buckets is replaced as a whole when a call site writes its first line,
//!   and read without a lock otherwise. Call sites are compiled in, so the table is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fastness_server::config::LogLines;
use fastness_server::log_counts;
use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How often lines that were left out are reported.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// The target of the report, which is not limited: it has at most one line per call site and [`REPORT_EVERY`].
const TARGET: &str = "fastness::log_limit";

/// The lines of one call site.
#[derive(Debug)]
struct Bucket {
    metadata: &'static Metadata<'static>,
    /// When all lines so far would have been written at the long-run rate, in ns since the limit was set up. A line is
    /// written if that is not further away than the burst.
    due: AtomicU64,
    /// Lines left out since the last report.
    suppressed: AtomicU64,
}

impl Bucket {
    /// Whether a line may be written at `now`, in ns.
    fn permits(&self, rate: LogLines, now: u64) -> bool {
        let interval = 1_000_000_000 / rate.per_second.max(1);
        let ahead_max = interval.saturating_mul(rate.burst.saturating_sub(1));
        let next = |due: u64| {
            let due = due.max(now);
            (due - now <= ahead_max).then(|| due.saturating_add(interval))
        };
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

type Buckets = HashMap<Identifier, Arc<Bucket>>;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LineLimit {
    rate: LogLines,
    started: Instant,
    buckets: Arc<ArcSwap<Buckets>>,
    adding: Arc<Mutex<()>>,
}

impl LineLimit {
    /// Without lines so far.
    #[must_use]
    pub fn new(rate: LogLines) -> LineLimit {
        LineLimit { rate, started: Instant::now(), buckets: Arc::default(), adding: Arc::default() }
    }

    /// Reports what was left out, for as long as the process runs.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn report_from_time_to_time(&self) -> std::io::Result<()> {
        let limit = self.clone();
        let report = move || {
            loop {
                std::thread::sleep(REPORT_EVERY);
                limit.report();
            }
        };
        std::thread::Builder::new().name("log-limit".to_owned()).spawn(report).map(drop)
    }

    /// Reports what was left out since the last report.
    pub fn report(&self) {
        for bucket in self.buckets.load().values() {
            let suppressed = bucket.suppressed.swap(0, Ordering::Relaxed);
            if suppressed > 0 {
                let (of, line) = (bucket.metadata.target(), bucket.metadata.line().unwrap_or_default());
                tracing::warn!(
                    target: TARGET,
                    suppressed, of, line, level = %bucket.metadata.level(),
                    "log lines were left out: one place has written more than log-lines-per-second allows"
                );
            }
        }
    }

    /// Whether a line may be written at `now`; counts it if not.
    fn permits(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.started).as_nanos() as u64;
        let known = self.buckets.load();
        let permits = |bucket: &Bucket| {
            let permitted = bucket.permits(self.rate, now);
            if !permitted {
                bucket.suppressed.fetch_add(1, Ordering::Relaxed);
                log_counts::count_suppressed();
            }
            permitted
        };
        match known.get(&metadata.callsite()) {
            Some(bucket) => permits(bucket),
            None => permits(&self.add(metadata)),
        }
    }

    #[cold]
    fn add(&self, metadata: &'static Metadata<'static>) -> Arc<Bucket> {
        let _adding = self.adding.lock();
        let mut buckets = Buckets::clone(&self.buckets.load());
        let new = || Arc::new(Bucket { metadata, due: AtomicU64::new(0), suppressed: AtomicU64::new(0) });
        let bucket = buckets.entry(metadata.callsite()).or_insert_with(new).clone();
        self.buckets.store(Arc::new(buckets));
        bucket
    }
}

impl<S: Subscriber> Layer<S> for LineLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_report = metadata.target() == TARGET && *metadata.level() == Level::WARN;
        is_report || self.permits(metadata, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What was logged.
    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn bucket() -> Bucket {
        let rate = LogLines { per_second: 1, burst: 1 };
        let limit = LineLimit::new(rate);
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(limit.clone());
        let subscriber = subscriber.with(tracing_subscriber::fmt::layer().with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || tracing::info!("one"));
        let buckets = limit.buckets.load();
        let bucket = buckets.values().next().unwrap();
        Bucket { metadata: bucket.metadata, due: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    #[test]
    fn a_burst_passes_and_then_so_many_per_second() {
        let (bucket, rate) = (bucket(), LogLines { per_second: 10, burst: 3 });
        let permitted =
            |at_ms: u64, tries: usize| (0..tries).filter(|_| bucket.permits(rate, at_ms * 1_000_000)).count();
        assert_eq!(permitted(1_000, 10), 3);
        assert_eq!(permitted(1_099, 10), 0);
        assert_eq!(permitted(1_100, 10), 1);
        assert_eq!(permitted(1_300, 10), 2);
        assert_eq!(permitted(9_000, 10), 3, "a pause gives the burst back, and no more");
    }

    #[test]
    fn what_is_left_out_is_counted_and_reported_and_other_places_are_not_affected() {
        let limit = LineLimit::new(LogLines { per_second: 1, burst: 5 });
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(limit.clone());
        let format = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let before = log_counts::suppressed();
        tracing::subscriber::with_default(subscriber.with(format), || {
            for number in 0..1_000 {
                tracing::info!(number, "again and again");
            }
            tracing::error!("once");
            limit.report();
            limit.report();
        });
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        let lines = |word: &str| text.lines().filter(|line| line.contains(word)).count();
        // A slow machine may reach the next second.
        let repeated = lines("again and again");
        assert!((5..100).contains(&repeated), "{text}");
        assert_eq!((lines("once"), lines("log lines were left out")), (1, 1), "{text}");
        assert!(text.contains(&format!("suppressed={}", 1_000 - repeated)), "{text}");
        assert!(log_counts::suppressed() >= before + 1_000 - repeated as u64);
    }
}
