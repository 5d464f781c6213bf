//! Whether a counter is what its clients were told.

use super::options::CountingOptions;
use super::verdict::CountingVerdict;
use crate::clients::{Counts, Tally};

/// What a counter must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// What was acknowledged: writes have idempotency keys.
    Exact,
    /// At least what was acknowledged, and at most what may have happened.
    Within,
}

impl Promise {
    /// In the names of keys.
    pub(super) fn letter(self) -> char {
        match self {
            Promise::Exact => 'x',
            Promise::Within => 'w',
        }
    }
}

/// A counter, and what its clients were told.
pub(super) struct SharedCounter {
    pub(super) key: String,
    pub(super) promise: Promise,
    pub(super) tally: Tally,
}

impl SharedCounter {
    pub(super) fn new(key: String, promise: Promise) -> SharedCounter {
        SharedCounter { key, promise, tally: Tally::default() }
    }
}

impl SharedCounter {
    /// Compares the value that is stored in the end.
    pub(super) fn check(&self, value: u64, options: &CountingOptions, verdict: &mut CountingVerdict) {
        let Counts { acknowledged, unknown, .. } = self.tally.counts();
        if self.promise == Promise::Exact && unknown > 0 && !options.forgets_keys {
            verdict.undecided.push(format!("{}: {unknown} writes with keys were never answered", self.key));
        }
        let told = format!("{acknowledged} acknowledged, {unknown} of unknown outcome");
        if value > acknowledged + unknown {
            verdict.violations.push(format!("{}: {value} counted, {told}: something was doubled", self.key));
        }
        if value < acknowledged && !options.lossy {
            verdict.lost += 1;
            verdict.violations.push(format!("{}: {value} counted, {told}: something is lost", self.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use fastness_load::{Access, Outcome};
    use fastness_resp::Protocol;

    use super::*;
    use crate::clients::{GrpcApi, GrpcNodes};

    fn options() -> CountingOptions {
        let timeout = Duration::from_secs(1);
        let access = Access { seeds: Vec::new(), tls: None, protocol: Protocol::Resp2, timeout };
        let sdk = fastness_client::Client::builder().address("127.0.0.1:1").plaintext().build().unwrap();
        let grpc = GrpcApi { nodes: GrpcNodes::new(Vec::new(), Vec::new()), sdk };
        CountingOptions::new(access, Arc::new(grpc), 1)
    }

    fn counter(promise: Promise, acknowledged: u64, unknown: u64) -> SharedCounter {
        let counter = SharedCounter::new("c".into(), promise);
        (0..acknowledged).for_each(|_| counter.tally.wrote(Outcome::Acknowledged));
        (0..unknown).for_each(|_| counter.tally.wrote(Outcome::Unknown));
        counter.tally.wrote(Outcome::Refused);
        counter
    }

    /// The numbers of violations, of lost counters, and of reasons why nothing is proven.
    fn found(counter: &SharedCounter, value: u64, options: &CountingOptions) -> (usize, u64, usize) {
        let mut verdict = CountingVerdict::default();
        counter.check(value, options, &mut verdict);
        (verdict.violations.len(), verdict.lost, verdict.undecided.len())
    }

    #[test]
    fn with_keys_nothing_is_doubled_and_nothing_lost() {
        let exact = counter(Promise::Exact, 5, 0);
        assert_eq!(found(&exact, 5, &options()), (0, 0, 0));
        assert_eq!(found(&exact, 6, &options()), (1, 0, 0));
        assert_eq!(found(&exact, 4, &options()), (1, 1, 0));
        let lossy = CountingOptions { lossy: true, ..options() };
        assert_eq!((found(&exact, 4, &lossy), found(&exact, 6, &lossy)), ((0, 0, 0), (1, 0, 0)));
    }

    #[test]
    fn a_write_with_a_key_that_stays_in_doubt_proves_nothing() {
        let doubt = counter(Promise::Exact, 5, 1);
        assert_eq!(found(&doubt, 6, &options()), (0, 0, 1));
        assert_eq!(found(&doubt, 7, &options()), (1, 0, 1));
        let forgets_keys = CountingOptions { forgets_keys: true, ..options() };
        assert_eq!(found(&doubt, 6, &forgets_keys), (0, 0, 0));
    }

    #[test]
    fn without_keys_a_counter_lies_within_what_may_have_happened() {
        let within = counter(Promise::Within, 5, 2);
        for value in 5..=7 {
            assert_eq!(found(&within, value, &options()), (0, 0, 0));
        }
        assert_eq!((found(&within, 4, &options()), found(&within, 8, &options())), ((1, 1, 0), (1, 0, 0)));
    }
}
