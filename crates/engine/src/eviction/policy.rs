//! The policies, and the options of eviction.

use crate::keyspace::AccessMode;
use std::time::Duration;

/// `maxmemory-policy`: which keys are removed when memory is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// None: commands that need memory are refused.
    #[default]
    NoEviction,
    /// Those whose last access is longest ago, of the keys with a deadline.
    VolatileLru,
    /// Those that are accessed least, of the keys with a deadline.
    VolatileLfu,
    /// Any keys with a deadline.
    VolatileRandom,
    /// Those with the earliest deadline.
    VolatileTtl,
    /// Those whose last access is longest ago.
    AllKeysLru,
    /// Those that are accessed least.
    AllKeysLfu,
    /// Any.
    AllKeysRandom,
}

impl EvictionPolicy {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, EvictionPolicy); 8] = [
        ("volatile-lru", EvictionPolicy::VolatileLru),
        ("volatile-lfu", EvictionPolicy::VolatileLfu),
        ("volatile-random", EvictionPolicy::VolatileRandom),
        ("volatile-ttl", EvictionPolicy::VolatileTtl),
        ("allkeys-lru", EvictionPolicy::AllKeysLru),
        ("allkeys-lfu", EvictionPolicy::AllKeysLfu),
        ("allkeys-random", EvictionPolicy::AllKeysRandom),
        ("noeviction", EvictionPolicy::NoEviction),
    ];

    /// As the option names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        EvictionPolicy::NAMES.iter().find(|(_, policy)| *policy == self).map_or("", |(name, _)| name)
    }

    /// Whether it removes keys.
    #[inline]
    #[must_use]
    pub fn evicts(self) -> bool {
        self != EvictionPolicy::NoEviction
    }

    /// Whether it removes only keys with a deadline.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        use EvictionPolicy as P;
        matches!(self, P::VolatileLru | P::VolatileLfu | P::VolatileRandom | P::VolatileTtl)
    }

    /// Whether it chooses by how often keys are accessed.
    #[must_use]
    pub fn counts_accesses(self) -> bool {
        matches!(self, EvictionPolicy::VolatileLfu | EvictionPolicy::AllKeysLfu)
    }
}

/// The options of eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvictionOptions {
    /// `maxmemory-policy`.
    pub policy: EvictionPolicy,
    /// `maxmemory-samples`: keys that are looked at for each one that is removed, from 1 to [`SAMPLES_MAX`].
    ///
    /// [`SAMPLES_MAX`]: EvictionOptions::SAMPLES_MAX
    pub samples: u64,
    /// `maxmemory-eviction-tenacity`, from 0 to 100; see [`EvictionOptions::slice_time`].
    pub tenacity: u64,
    /// `lfu-log-factor`: how much slower a high counter of accesses grows.
    pub lfu_log_factor: u64,
    /// `lfu-decay-time`: minutes after which a counter of accesses loses one; 0: never.
    pub lfu_decay_minutes: u64,
}

impl Default for EvictionOptions {
    fn default() -> EvictionOptions {
        EvictionOptions {
            policy: EvictionPolicy::NoEviction,
            samples: 5,
            tenacity: 10,
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
        }
    }
}

impl EvictionOptions {
    /// The most samples.
    pub const SAMPLES_MAX: u64 = 64;
    /// The highest tenacity.
    pub const TENACITY_MAX: u64 = 100;

    /// For how long one slice may evict: as in Valkey 50 µs for each step of the tenacity up to 10, and 15 % more for
    /// each one above; without a bound at 100. A slice is bounded in keys, too.
    #[must_use]
    pub fn slice_time(&self) -> Duration {
        const STEP: Duration = Duration::from_micros(50);
        const LINEAR: u64 = 10;
        const GROWTH: f64 = 1.15;
        const UNBOUNDED: Duration = Duration::from_secs(1 << 32);
        match self.tenacity {
            steps @ 0..=LINEAR => STEP * steps as u32,
            steps if steps < EvictionOptions::TENACITY_MAX => {
                (STEP * LINEAR as u32).mul_f64(GROWTH.powi((steps - LINEAR) as i32))
            }
            _ => UNBOUNDED,
        }
    }

    /// What keys record of their accesses.
    pub(crate) fn access_mode(&self) -> AccessMode {
        if !self.policy.counts_accesses() {
            return AccessMode::LastAccess;
        }
        let bounded = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        AccessMode::Frequency {
            log_factor: bounded(self.lfu_log_factor),
            decay_minutes: bounded(self.lfu_decay_minutes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_slice_grows_with_the_tenacity() {
        let time = |tenacity| EvictionOptions { tenacity, ..EvictionOptions::default() }.slice_time();
        assert_eq!([time(0), time(1), time(10)].map(|time| time.as_micros()), [0, 50, 500]);
        assert_eq!(time(20).as_micros(), 2_022);
        assert!((100..200).contains(&time(99).as_secs()), "{:?}", time(99));
        assert!(time(100) > time(99) * 1_000);
    }
}
