//! The counts of all registers, one byte each: where HyperLogLogs are merged.

use super::estimate::Histogram;
use super::layout::REGISTERS;
use super::view::{Encoding, Hll};
use super::{dense, sparse};
use crate::error::CommandError;

/// The largest count of each register among the merged HyperLogLogs.
pub(super) struct Registers {
    counts: Box<[u8; REGISTERS]>,
}

impl Default for Registers {
    fn default() -> Registers {
        Registers { counts: Box::new([0; REGISTERS]) }
    }
}

impl Registers {
    /// Raises each register to its count in another HyperLogLog.
    ///
    /// # Errors
    /// If its runs are not of all registers; some registers are raised then.
    pub(super) fn merge(&mut self, hll: Hll<'_>) -> Result<(), CommandError> {
        match hll.encoding {
            Encoding::Dense => {
                self.counts.iter_mut().zip(dense::counts(hll.body())).for_each(|(own, count)| *own = count.max(*own));
                Ok(())
            }
            Encoding::Sparse => sparse::for_each(hll.body(), |first, run| {
                self.counts[first..first + run.registers].iter_mut().for_each(|own| *own = run.count.max(*own));
            }),
        }
    }

    /// The counts, in the order of the registers.
    pub(super) fn counts(&self) -> impl Iterator<Item = u8> {
        self.counts.iter().copied()
    }

    /// How many registers have which count.
    pub(super) fn histogram(&self) -> Histogram {
        let mut histogram = Histogram::default();
        self.counts().for_each(|count| histogram.add(count, 1));
        histogram
    }

    /// Appends the registers in the dense form.
    pub(super) fn write_dense(&self, out: &mut Vec<u8>) {
        dense::write(&self.counts, out);
    }
}
