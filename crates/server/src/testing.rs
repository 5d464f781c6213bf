//! What several unit tests of this crate need.

use std::time::{Duration, Instant};

/// Waits until `holds` does; panics after 20 s.
pub fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not hold in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}
