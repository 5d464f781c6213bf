//! Durability lag: the age of the oldest effect that has not committed, in boot time, which goes on in suspend.

use std::time::Duration;

use fastness_types::BootNs;

/// The lag of one replica, recorded in every mode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lag {
    longest: Duration,
}

impl Lag {
    /// A batch has committed whose first effect was staged at `staged`.
    pub fn record(&mut self, staged: BootNs, now: BootNs) {
        self.longest = self.longest.max(now.since(staged));
    }

    /// The lag now, given when the oldest open effect was staged.
    #[must_use]
    pub fn now(&self, oldest_open: Option<BootNs>, now: BootNs) -> Duration {
        oldest_open.map_or(Duration::ZERO, |staged| now.since(staged))
    }

    /// The longest such age since the process started.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }
}
