//! The allocator of this process, as far as the MEMORY commands ask it. The program installs its own; without one (in
//! tests) nothing is known of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an allocator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocatorFigures {
    /// Allocated by the program, bytes.
    pub allocated_bytes: u64,
    /// Pages with allocations, bytes.
    pub active_bytes: u64,
    /// Pages that are in memory, bytes.
    pub resident_bytes: u64,
}

/// An allocator that can be asked.
pub trait Allocator: Sync {
    /// Returns unused pages to the system. Takes as long as the system does.
    fn purge(&self);

    /// What it has; `None`: it counts nothing.
    fn figures(&self) -> Option<AllocatorFigures>;

    /// Its statistics, for a person.
    fn statistics(&self) -> Vec<u8>;
}

static INSTALLED: OnceLock<&'static dyn Allocator> = OnceLock::new();
static IS_PURGING: AtomicBool = AtomicBool::new(false);

/// Sets the allocator, once, when the process starts.
pub fn install(allocator: &'static dyn Allocator) {
    let _ = INSTALLED.set(allocator);
}

/// The allocator; `None`: none was installed.
pub(crate) fn installed() -> Option<&'static dyn Allocator> {
    INSTALLED.get().copied()
}

/// Starts to return unused pages to the system, on a thread of its own, because that takes long if there are many.
/// Without effect while that runs.
pub(crate) fn start_purge() {
    let Some(allocator) = installed() else { return };
    if IS_PURGING.swap(true, Ordering::AcqRel) {
        return;
    }
    let purge = move || {
        allocator.purge();
        IS_PURGING.store(false, Ordering::Release);
    };
    if std::thread::Builder::new().name("purge".into()).spawn(purge).is_err() {
        IS_PURGING.store(false, Ordering::Release);
    }
}
