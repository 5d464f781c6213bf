//! Points in time. Spans are `std::time::Duration`.

use std::time::Duration;

/// Wall time in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallMs(pub u64);

/// Nanoseconds since the machine started, including suspended time. Comparable on one machine only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootNs(pub u64);

impl BootNs {
    /// The point `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> BootNs {
        BootNs(self.0.saturating_add(span.as_nanos() as u64))
    }

    /// The span since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: BootNs) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The number of whole seconds.
    #[must_use]
    pub fn second(self) -> u64 {
        self.0 / 1_000_000_000
    }
}
