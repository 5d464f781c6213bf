//! Which branches an input takes.
//!
//! `make fuzz` compiles the crates of the workspace with LLVM's counters of edges (`-C passes=sancov-module`, which a
//! stable compiler knows too) and sets `fuzz_coverage`. Each module of the program then registers its counters here
//! when the program starts. Without that nothing is counted, and inputs are made from the corpus alone.
#![cfg_attr(fuzz_coverage, allow(unsafe_code, reason = "the counters are memory that the compiler's code increments"))]

#[cfg(fuzz_coverage)]
mod counters {
    use std::sync::Mutex;

    /// Start and length of each module's counters.
    static MODULES: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

    /// Called by the compiler's code at the start of the program, once for each module.
    #[unsafe(no_mangle)]
    extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
        let length = (end as usize).saturating_sub(start as usize);
        let mut modules = MODULES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if length > 0 && !modules.iter().any(|(known, _)| *known == start as usize) {
            modules.push((start as usize, length));
        }
    }

    /// Calls `visit` with every module's counters.
    pub(super) fn each(mut visit: impl FnMut(&mut [u8])) {
        let modules = MODULES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (start, length) in modules.iter() {
            // SAFETY: the compiler reserved these bytes for the whole run, and no other thread runs its code now.
            visit(unsafe { std::slice::from_raw_parts_mut(*start as *mut u8, *length) });
        }
    }
}

/// The branches that were taken so far, with how often in one execution, in eight steps as other fuzzers count.
#[derive(Debug, Default)]
pub struct Coverage {
    seen: Vec<u8>,
}

impl Coverage {
    /// Whether branches are counted at all.
    #[must_use]
    pub fn is_counted() -> bool {
        cfg!(fuzz_coverage)
    }

    /// Forgets the counts of earlier executions.
    pub fn start() {
        #[cfg(fuzz_coverage)]
        counters::each(|counters| counters.fill(0));
    }

    /// Adds the branches since [`Coverage::start`]; returns whether one is new, or was taken in another order of
    /// magnitude.
    #[cfg(fuzz_coverage)]
    pub fn add(&mut self) -> bool {
        let (mut at, mut is_new) = (0, false);
        let seen = &mut self.seen;
        counters::each(|counters| {
            seen.resize(seen.len().max(at + counters.len()), 0);
            let (words, last) = counters.as_chunks::<16>();
            // Almost all of them are 0.
            let taken = words.iter().enumerate().filter(|(_, counts)| u128::from_ne_bytes(**counts) != 0);
            for (number, counts) in taken {
                is_new |= mark(counts, &mut seen[at + 16 * number..]);
            }
            is_new |= mark(last, &mut seen[at + 16 * words.len()..]);
            at += counters.len();
        });
        is_new
    }

    /// Without counters, nothing is ever new.
    #[cfg(not(fuzz_coverage))]
    pub fn add(&mut self) -> bool {
        false
    }

    /// Number of branches that were taken at least once.
    #[must_use]
    pub fn edges(&self) -> u64 {
        self.seen.iter().filter(|seen| **seen != 0).count() as u64
    }
}

/// Adds counts to those that were seen; returns whether one is new.
#[cfg(fuzz_coverage)]
fn mark(counts: &[u8], seen: &mut [u8]) -> bool {
    let mut is_new = false;
    for (count, seen) in counts.iter().zip(seen) {
        let step = step(*count);
        is_new |= *seen & step != step;
        *seen |= step;
    }
    is_new
}

/// One bit for each order of magnitude.
#[cfg(fuzz_coverage)]
fn step(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}
