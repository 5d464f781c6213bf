//! What the process counts of its own log, for metrics. Logging is the process', so the counter is, too.

use std::sync::atomic::{AtomicU64, Ordering};

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Counts a line that the limit on log lines has left out.
pub fn count_suppressed() {
    SUPPRESSED.fetch_add(1, Ordering::Relaxed);
}

/// Lines that were left out since the process started.
#[must_use]
pub fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}
