//! The ledger's records of every key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::outcome::Outcome;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// What was read, and why it is wrong.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// One register: a key with one writer.
#[derive(Debug, Default)]
struct Register {
    attempted: u64,
    acknowledged: u64,
    unknown: BTreeSet<u64>,
    refused: u64,
}

/// One counter: a key that one worker increments.
#[derive(Debug, Default, Clone, Copy)]
struct Counter {
    acknowledged: u64,
    unknown: u64,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes refused.
    pub refused: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Reads answered with data.
    pub reads: u64,
}

/// Length of the run that acknowledgement times cover, in milliseconds; later ones count as the last.
const TIMELINE_MS: usize = 2 * 60 * 60 * 1000;

/// The ledger of one run. Shared by all workers.
pub struct Book {
    started: Instant,
    /// Whether acknowledged writes may be lost.
    lossy: bool,
    registers: Mutex<BTreeMap<String, Register>>,
    counters: Mutex<BTreeMap<String, Counter>>,
    violations: Mutex<Vec<Violation>>,
    acks_by_ms: Vec<AtomicU32>,
    reads: AtomicU64,
    refused: AtomicU64,
}

/// The state that a reader records before it sends its read.
#[derive(Debug, Clone, Copy)]
pub struct ReadStart {
    acknowledged: u64,
}

impl Default for Book {
    fn default() -> Self {
        Book {
            started: Instant::now(),
            lossy: false,
            registers: Mutex::default(),
            counters: Mutex::default(),
            violations: Mutex::default(),
            acks_by_ms: (0..TIMELINE_MS).map(|_| AtomicU32::new(0)).collect(),
            reads: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl Book {
    /// A ledger for modes in which a failover may lose acknowledged writes: their loss is not a violation. Refused
    /// writes and values that were never written must still not be seen. [`crate::losses`] measures how much is lost.
    #[must_use]
    pub fn lossy() -> Book {
        Book { lossy: true, ..Book::default() }
    }

    /// The number that the writer of `key` writes next.
    pub fn next_number(&self, key: &str) -> u64 {
        let mut registers = self.registers.lock();
        let register = entry(&mut registers, key);
        register.attempted += 1;
        // The outcome is unknown until the reply arrives, because other readers may see the value first.
        register.unknown.insert(register.attempted);
        register.attempted
    }

    /// Records the outcome of writing `number`.
    pub fn wrote(&self, key: &str, number: u64, outcome: Outcome) {
        let mut registers = self.registers.lock();
        let register = entry(&mut registers, key);
        match outcome {
            Outcome::Acknowledged => {
                register.unknown.remove(&number);
                register.acknowledged = register.acknowledged.max(number);
                drop(registers);
                self.acknowledged_now();
            }
            Outcome::Refused => {
                register.unknown.remove(&number);
                register.refused += 1;
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Unknown => {}
        }
    }

    /// Records the outcome of an increment; `value` is the value in the reply.
    pub fn raised(&self, key: &str, outcome: Outcome, value: Option<i64>) {
        let mut counters = self.counters.lock();
        let counter = counters.entry(key.to_owned()).or_default();
        match outcome {
            Outcome::Acknowledged => {
                counter.acknowledged += 1;
                let range = counter.acknowledged..=counter.acknowledged + counter.unknown;
                let fits = value.is_some_and(|v| u64::try_from(v).is_ok_and(|v| self.fits(&range, v)));
                if !fits {
                    self.violate(key, format!("INCR returned {value:?}, expected {range:?}"));
                }
                drop(counters);
                self.acknowledged_now();
            }
            Outcome::Refused => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Unknown => counter.unknown += 1,
        }
    }

    /// Records the state before a read is sent.
    pub fn before_read(&self, key: &str) -> ReadStart {
        let registers = self.registers.lock();
        ReadStart { acknowledged: registers.get(key).map_or(0, |r| r.acknowledged) }
    }

    /// Checks the result of a register's read: `None` for a missing key.
    pub fn read(&self, key: &str, start: ReadStart, value: Option<&[u8]>) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let number = match value.map(|v| std::str::from_utf8(v).ok().and_then(|v| v.split(':').next()?.parse().ok())) {
            None => 0,
            Some(Some(number)) => number,
            Some(None) => return self.violate(key, "the value was never written".into()),
        };
        let registers = self.registers.lock();
        let register = registers.get(key);
        let unknown = register.is_some_and(|r| r.unknown.contains(&number));
        let attempted = register.map_or(0, |r| r.attempted);
        let acknowledged = register.map_or(0, |r| r.acknowledged);
        drop(registers);
        // A refused number is neither unknown nor acknowledged, unless a later one was acknowledged.
        if number > attempted || (number > acknowledged && !unknown) {
            self.violate(
                key,
                format!("read {number}, which was refused or never written (newest acknowledged {acknowledged})"),
            );
        } else if number < start.acknowledged && !unknown && !self.lossy {
            self.violate(
                key,
                format!("read {number}, but {} was acknowledged before the read was sent", start.acknowledged),
            );
        }
    }

    /// Checks the value of a counter after the run.
    pub fn read_counter(&self, key: &str, value: Option<i64>) {
        let counter = self.counters.lock().get(key).copied().unwrap_or_default();
        let range = counter.acknowledged..=counter.acknowledged + counter.unknown;
        let value = value.unwrap_or(0);
        if !u64::try_from(value).is_ok_and(|v| self.fits(&range, v)) {
            self.violate(key, format!("the counter holds {value}, expected {range:?}"));
        }
    }

    /// Keys of all registers with at least one attempted write.
    #[must_use]
    pub fn register_keys(&self) -> Vec<String> {
        self.registers.lock().keys().cloned().collect()
    }

    /// Keys of all counters with at least one attempted increment.
    #[must_use]
    pub fn counter_keys(&self) -> Vec<String> {
        self.counters.lock().keys().cloned().collect()
    }

    /// Violations so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.violations.lock().clone()
    }

    /// Counts so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let registers = self.registers.lock();
        let counters = self.counters.lock();
        let unknown: u64 = registers.values().map(|r| r.unknown.len() as u64).sum();
        let acked: u64 = registers.values().map(|r| r.attempted - r.refused - r.unknown.len() as u64).sum();
        Summary {
            acknowledged: acked + counters.values().map(|c| c.acknowledged).sum::<u64>(),
            refused: self.refused.load(Ordering::Relaxed),
            unknown: unknown + counters.values().map(|c| c.unknown).sum::<u64>(),
            reads: self.reads.load(Ordering::Relaxed),
        }
    }

    /// Time from `fault` to the first write acknowledged at least one millisecond later, if there is one already.
    #[must_use]
    pub fn next_acknowledged_after(&self, fault: Instant) -> Option<Duration> {
        let from = fault.saturating_duration_since(self.started).as_millis() as usize + 1;
        let found = (from..TIMELINE_MS).find(|&ms| self.acks_by_ms[ms].load(Ordering::Relaxed) > 0)?;
        Some(Duration::from_millis((found - from + 1) as u64))
    }

    /// The longest span without an acknowledgement between `from` and `to`, in whole milliseconds.
    #[must_use]
    pub fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let ms = |t: Instant| (t.saturating_duration_since(self.started).as_millis() as usize).min(TIMELINE_MS);
        let (mut longest, mut run) = (0u64, 0u64);
        for bucket in &self.acks_by_ms[ms(from)..ms(to)] {
            run = if bucket.load(Ordering::Relaxed) == 0 { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        Duration::from_millis(longest)
    }

    /// Whether a counter may have this value, when the number of increments is within `range`.
    fn fits(&self, range: &std::ops::RangeInclusive<u64>, value: u64) -> bool {
        value <= *range.end() && (self.lossy || value >= *range.start())
    }

    fn acknowledged_now(&self) {
        let ms = (self.started.elapsed().as_millis() as usize).min(TIMELINE_MS - 1);
        self.acks_by_ms[ms].fetch_add(1, Ordering::Relaxed);
    }

    fn violate(&self, key: &str, what: String) {
        self.violations.lock().push(Violation { key: key.to_owned(), what });
    }
}

fn entry<'a>(registers: &'a mut BTreeMap<String, Register>, key: &str) -> &'a mut Register {
    if !registers.contains_key(key) {
        registers.insert(key.to_owned(), Register::default());
    }
    registers.get_mut(key).expect("inserted above")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book_with(acknowledged: u64) -> Book {
        let book = Book::default();
        for _ in 0..acknowledged {
            let n = book.next_number("k");
            book.wrote("k", n, Outcome::Acknowledged);
        }
        book
    }

    #[test]
    fn the_newest_acknowledged_value_passes_and_an_older_one_does_not() {
        let book = book_with(3);
        book.read("k", book.before_read("k"), Some(b"3:x"));
        assert_eq!(book.violations(), []);
        book.read("k", book.before_read("k"), Some(b"2:x"));
        assert_eq!(book.violations().len(), 1);
        book.read("k", book.before_read("k"), None);
        assert_eq!(book.violations().len(), 2);
    }

    #[test]
    fn an_unknown_write_may_be_seen_or_not() {
        let book = book_with(3);
        let n = book.next_number("k");
        book.wrote("k", n, Outcome::Unknown);
        book.read("k", book.before_read("k"), Some(b"4:x"));
        book.read("k", book.before_read("k"), Some(b"3:x"));
        assert_eq!(book.violations(), []);
    }

    #[test]
    fn a_refused_write_must_never_be_seen() {
        let book = book_with(3);
        let n = book.next_number("k");
        book.wrote("k", n, Outcome::Refused);
        book.read("k", book.before_read("k"), Some(b"4:x"));
        assert_eq!(book.violations().len(), 1);
    }

    #[test]
    fn a_lossy_ledger_still_forbids_refused_writes() {
        let book = Book::lossy();
        for outcome in [Outcome::Acknowledged, Outcome::Acknowledged, Outcome::Refused] {
            let n = book.next_number("k");
            book.wrote("k", n, outcome);
            book.raised("c", outcome, Some(1));
        }
        book.read("k", book.before_read("k"), Some(b"1:x"));
        book.read_counter("c", Some(0));
        assert_eq!(book.violations(), []);
        book.read("k", book.before_read("k"), Some(b"3:x"));
        book.read_counter("c", Some(3));
        assert_eq!(book.violations().len(), 2);
    }

    #[test]
    fn a_read_sent_before_the_acknowledgement_may_return_an_older_value() {
        let book = book_with(3);
        let start = book.before_read("k");
        let n = book.next_number("k");
        book.wrote("k", n, Outcome::Acknowledged);
        book.read("k", start, Some(b"3:x"));
        assert_eq!(book.violations(), []);
    }

    #[test]
    fn a_counter_must_include_its_acknowledged_increments() {
        let book = Book::default();
        book.raised("c", Outcome::Acknowledged, Some(1));
        book.raised("c", Outcome::Unknown, None);
        book.raised("c", Outcome::Acknowledged, Some(3));
        book.read_counter("c", Some(2));
        book.read_counter("c", Some(3));
        assert_eq!(book.violations(), []);
        book.read_counter("c", Some(1));
        assert_eq!(book.violations().len(), 1);
        book.raised("c", Outcome::Acknowledged, Some(2));
        assert_eq!(book.violations().len(), 2);
    }

    #[test]
    fn silence_ends_with_the_next_acknowledgement() {
        let book = book_with(1);
        let fault = Instant::now() + Duration::from_millis(2);
        assert_eq!(book.next_acknowledged_after(fault), None);
        std::thread::sleep(Duration::from_millis(20));
        let n = book.next_number("k");
        book.wrote("k", n, Outcome::Acknowledged);
        assert!(book.next_acknowledged_after(fault).is_some_and(|d| d >= Duration::from_millis(10)));
        assert!(book.longest_silence(fault, Instant::now()) >= Duration::from_millis(10));
    }
}
