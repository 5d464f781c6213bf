//! The cardinality that registers stand for.
//!
//! The estimator is the one of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
//! (arXiv:1702.01284), algorithm 6, which needs no correction for small or large cardinalities. The order of its
//! operations is a part of the format: PFCOUNT replies with the same number as Valkey, and stores it. They are
//! additions, multiplications, divisions and square roots alone, whose results are the same on every machine.

use super::hash::COUNT_BITS;
use super::layout::REGISTERS;
use super::view::{Encoding, Hll};
use super::{dense, sparse};
use crate::error::CommandError;

/// 0.5 / ln 2.
const ALPHA_INFINITY: f64 = 0.721_347_520_444_481_7;
/// The largest count that a hash gives. Larger ones, which only a client can make, are not taken into account.
const COUNT_MAX: usize = COUNT_BITS as usize + 1;
const M: f64 = REGISTERS as f64;

/// How many registers have which count.
pub(super) struct Histogram {
    registers: [u32; dense::COUNT_MAX as usize + 1],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { registers: [0; dense::COUNT_MAX as usize + 1] }
    }
}

impl Histogram {
    /// Counts the registers of a HyperLogLog.
    ///
    /// # Errors
    /// If its runs are not of all registers.
    pub(super) fn of(hll: Hll<'_>) -> Result<Histogram, CommandError> {
        let mut histogram = Histogram::default();
        match hll.encoding {
            Encoding::Dense => dense::counts(hll.body()).for_each(|count| histogram.add(count, 1)),
            Encoding::Sparse => sparse::for_each(hll.body(), |_, run| histogram.add(run.count, run.registers))?,
        }
        Ok(histogram)
    }

    /// Counts registers.
    pub(super) fn add(&mut self, count: u8, registers: usize) {
        self.registers[usize::from(count & dense::COUNT_MAX)] += registers as u32;
    }

    fn with_count(&self, count: usize) -> f64 {
        f64::from(self.registers[count])
    }

    /// The estimated number of different elements.
    pub(super) fn cardinality(&self) -> u64 {
        let mut z = M * tau((M - self.with_count(COUNT_MAX)) / M);
        for count in (1..COUNT_MAX).rev() {
            z += self.with_count(count);
            z *= 0.5;
        }
        z += M * sigma(self.with_count(0) / M);
        rounded(ALPHA_INFINITY * M * M / z)
    }
}

/// Rounds an estimate. One out of range, of registers that no element has set, becomes what Valkey's conversion makes
/// of it on x86-64.
fn rounded(estimate: f64) -> u64 {
    const OUT_OF_RANGE: u64 = 1 << 63;
    let rounded = estimate.round();
    if rounded < OUT_OF_RANGE as f64 { rounded as u64 } else { OUT_OF_RANGE }
}

/// x + x² + 2x⁴ + 4x⁸ + …, up to where a further term changes nothing; infinite for 1.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        let before = z;
        x *= x;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// (1 - x - (1 - x^½)²/2 - (1 - x^¼)²/4 - …) / 3, up to where a further term changes nothing.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        let before = z;
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
