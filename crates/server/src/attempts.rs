//! Failed attempts to authenticate, by source: whoever guesses passwords gets few tries.
//!
//! What a source is: `sources.rs`. Each has a bucket of [`AUTH_FAILURES_MAX`] failures that is refilled by one every
//! [`AUTH_FAILURE_EVERY`]. While it is empty no password of the source is checked, not even the right one: otherwise
//! guessing would go on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastness_types::BootNs;
use fastness_types::limits::{AUTH_FAILURE_EVERY, AUTH_FAILURES_MAX, AUTH_SOURCES_MAX};
use parking_lot::Mutex;

use crate::sources::{Bucket, source_of};

/// The failed attempts of all sources of one node.
#[derive(Debug, Default)]
pub struct Attempts {
    failures: Mutex<HashMap<IpAddr, Bucket>>,
    /// How many sources it has, to be read without the lock: mostly none.
    sources: AtomicUsize,
}

impl Attempts {
    /// Whether no password of this source is to be checked now.
    #[must_use]
    pub fn is_exhausted(&self, source: IpAddr, now: BootNs) -> bool {
        if self.sources.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let failures = self.failures.lock();
        failures
            .get(&source_of(source))
            .is_some_and(|bucket| bucket.refilled(now, AUTH_FAILURE_EVERY).used >= AUTH_FAILURES_MAX)
    }

    /// A password of this source was wrong.
    pub fn note_failure(&self, source: IpAddr, now: BootNs) {
        let mut failures = self.failures.lock();
        let source = source_of(source);
        if failures.len() >= AUTH_SOURCES_MAX && !failures.contains_key(&source) {
            failures.retain(|_, bucket| bucket.refilled(now, AUTH_FAILURE_EVERY).used > 0);
            let oldest = failures.iter().min_by_key(|(_, bucket)| bucket.at).map(|(source, _)| *source);
            if let Some(oldest) = oldest.filter(|_| failures.len() >= AUTH_SOURCES_MAX) {
                failures.remove(&oldest);
            }
        }
        let bucket = failures.entry(source).or_insert(Bucket::full(now));
        *bucket = bucket.refilled(now, AUTH_FAILURE_EVERY);
        bucket.used = (bucket.used + 1).min(AUTH_FAILURES_MAX);
        self.sources.store(failures.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    const START: BootNs = BootNs(1_000_000_000);

    fn source(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_fails_too_often_waits_and_others_do_not() {
        let attempts = Attempts::default();
        let (guesser, other) = (source("192.0.2.1"), source("192.0.2.2"));
        for _ in 0..AUTH_FAILURES_MAX {
            assert!(!attempts.is_exhausted(guesser, START));
            attempts.note_failure(guesser, START);
        }
        assert!(attempts.is_exhausted(guesser, START) && !attempts.is_exhausted(other, START));
        assert!(attempts.is_exhausted(guesser, START.plus(AUTH_FAILURE_EVERY - Duration::from_nanos(1))));
        let later = START.plus(AUTH_FAILURE_EVERY);
        assert!(!attempts.is_exhausted(guesser, later));
        attempts.note_failure(guesser, later);
        assert!(attempts.is_exhausted(guesser, later));
        // Guessing goes on for ever at one attempt per span.
        let forgiven = later.plus(AUTH_FAILURE_EVERY * AUTH_FAILURES_MAX);
        for _ in 0..AUTH_FAILURES_MAX {
            assert!(!attempts.is_exhausted(guesser, forgiven));
            attempts.note_failure(guesser, forgiven);
        }
        assert!(attempts.is_exhausted(guesser, forgiven));
    }

    #[test]
    fn one_customers_addresses_are_one_source() {
        let attempts = Attempts::default();
        for i in 0..AUTH_FAILURES_MAX {
            attempts.note_failure(source(&format!("2001:db8:0:1::{i:x}")), START);
        }
        assert!(attempts.is_exhausted(source("2001:db8:0:1:ffff::1"), START));
        assert!(!attempts.is_exhausted(source("2001:db8:0:2::1"), START));
        attempts.note_failure(source("192.0.2.1"), START);
        for _ in 1..AUTH_FAILURES_MAX {
            attempts.note_failure(source("::ffff:192.0.2.1"), START);
        }
        assert!(attempts.is_exhausted(source("192.0.2.1"), START), "a mapped address is the address");
    }

    #[test]
    fn sources_are_bounded_and_the_oldest_is_forgotten() {
        let attempts = Attempts::default();
        let address = |i: usize| IpAddr::V4((0x0a00_0000 + i as u32).into());
        for i in 0..AUTH_SOURCES_MAX + 10 {
            attempts.note_failure(address(i), START.plus(Duration::from_nanos(i as u64)));
        }
        let failures = attempts.failures.lock();
        assert_eq!(failures.len(), AUTH_SOURCES_MAX);
        assert!(!failures.contains_key(&address(9)) && failures.contains_key(&address(10)));
        drop(failures);
        let later = START.plus(AUTH_FAILURE_EVERY * 2);
        attempts.note_failure(address(AUTH_SOURCES_MAX + 10), later);
        assert_eq!(attempts.failures.lock().len(), 1, "whoever was forgiven is forgotten first");
    }
}
