//! When a call is tried again: exponential backoff with full jitter, and a budget that all calls share.

use std::time::Duration;

use parking_lot::Mutex;

/// How calls are tried again that have certainly not happened, and reads whose connection broke.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryOptions {
    /// The wait before the first retry is a random time up to this; it doubles with each retry.
    pub backoff_min: Duration,
    /// No wait is longer than this, unless the server asks for it.
    pub backoff_max: Duration,
    /// The retry budget: how many retries all clones of a client may do at once; 0: none at all.
    pub budget: u32,
    /// How much of a retry each call adds to the budget, up to its bound: 0.1 allows one retry for ten calls.
    pub budget_per_call: f64,
}

impl Default for RetryOptions {
    /// Backoff from 100 ms to 5 s; 500 retries at once, and 0.1 more with each call. A call that rides out a failover
    /// of a second takes about five retries, so the budget is enough for a hundred calls that wait for the same
    /// primary.
    fn default() -> RetryOptions {
        RetryOptions {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            budget: 500,
            budget_per_call: 0.1,
        }
    }
}

impl RetryOptions {
    /// How long to wait before the next retry, after this many. `random` is within 0 and 1; `server_min` is what the
    /// server asks for.
    pub(crate) fn wait(&self, retries: u32, random: f64, server_min: Duration) -> Duration {
        let doubled = self.backoff_min.saturating_mul(2_u32.saturating_pow(retries));
        doubled.min(self.backoff_max).mul_f64(random).max(server_min)
    }
}

/// A token bucket: a retry takes a token, and a call brings a part of one.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    max: f64,
    per_call: f64,
    tokens: Mutex<f64>,
}

impl RetryBudget {
    pub(crate) fn new(options: &RetryOptions) -> RetryBudget {
        let max = f64::from(options.budget);
        RetryBudget { max, per_call: options.budget_per_call, tokens: Mutex::new(max) }
    }

    /// Counts a call.
    pub(crate) fn add_call(&self) {
        let mut tokens = self.tokens.lock();
        *tokens = (*tokens + self.per_call).min(self.max);
    }

    /// Whether a retry is within the budget; if so, it is counted.
    pub(crate) fn take(&self) -> bool {
        let mut tokens = self.tokens.lock();
        let has_one = *tokens >= 1.0;
        if has_one {
            *tokens -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_bound_and_respect_the_server() {
        let options = RetryOptions::default();
        let ms =
            |retries, random, server_min| options.wait(retries, random, Duration::from_millis(server_min)).as_millis();
        assert_eq!((ms(0, 1.0, 0), ms(1, 1.0, 0), ms(5, 1.0, 0)), (100, 200, 3_200));
        assert_eq!((ms(6, 1.0, 0), ms(40, 1.0, 0), ms(u32::MAX, 1.0, 0)), (5_000, 5_000, 5_000));
        assert_eq!((ms(3, 0.5, 0), ms(3, 0.0, 0)), (400, 0));
        assert_eq!((ms(0, 0.2, 100), ms(9, 1.0, 7_000)), (100, 7_000));
    }

    #[test]
    fn the_budget_allows_a_burst_and_then_a_share_of_the_calls() {
        let budget = RetryBudget::new(&RetryOptions { budget: 3, budget_per_call: 0.25, ..RetryOptions::default() });
        for _ in 0..100 {
            budget.add_call();
        }
        assert_eq!((0..10).filter(|_| budget.take()).count(), 3);
        for _ in 0..4 {
            assert!(!budget.take());
            budget.add_call();
        }
        assert!(budget.take());
        assert!(!budget.take());
        let none = RetryBudget::new(&RetryOptions { budget: 0, ..RetryOptions::default() });
        none.add_call();
        assert!(!none.take());
    }
}
