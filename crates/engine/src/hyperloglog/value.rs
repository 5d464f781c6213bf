//! An owned HyperLogLog, for changing.

use super::hash::Hashed;
use super::layout::{CORRUPTED, HEADER_BYTES, REGISTERS, STALE, STALE_AT};
use super::registers::Registers;
use super::view::{ENCODING_AT, Encoding, Hll, MAGIC};
use super::{dense, sparse};
use crate::error::CommandError;
use crate::keyspace::PackedLimits;

/// A HyperLogLog that is being changed.
#[derive(Debug, Clone)]
pub(super) struct HllBuf {
    bytes: Vec<u8>,
    encoding: Encoding,
    /// The longest sparse value with its header, bytes.
    sparse_max: u64,
}

impl HllBuf {
    /// One without elements: sparse, a single run, the cached cardinality 0. `limits`: until when it stays sparse.
    pub(super) fn empty(limits: PackedLimits) -> HllBuf {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[ENCODING_AT] = Encoding::Sparse as u8;
        sparse::push_run(&mut bytes, 0, REGISTERS);
        HllBuf { bytes, encoding: Encoding::Sparse, sparse_max: limits.hll_sparse_bytes }
    }

    /// A copy, to change it. `limits`: until when it stays sparse.
    ///
    /// # Errors
    /// [`CORRUPTED`] if it is sparse and longer than any runs of as many registers.
    pub(super) fn copy_of(hll: Hll<'_>, limits: PackedLimits) -> Result<HllBuf, CommandError> {
        if hll.encoding == Encoding::Sparse && hll.body().len() > sparse::BYTES_MAX {
            return Err(CORRUPTED);
        }
        Ok(HllBuf { bytes: hll.bytes.to_vec(), encoding: hll.encoding, sparse_max: limits.hll_sparse_bytes })
    }

    /// The same, for reading.
    pub(super) fn as_hll(&self) -> Hll<'_> {
        Hll { bytes: &self.bytes, encoding: self.encoding }
    }

    /// The whole string.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Raises a register to a count, unless it has a larger one; returns whether it was raised. A sparse value that has
    /// no room for it becomes dense.
    pub(super) fn raise(&mut self, Hashed { register, count }: Hashed) -> Result<bool, CommandError> {
        if self.encoding == Encoding::Sparse {
            match sparse::raise(&mut self.bytes, register, count, self.sparse_max)? {
                sparse::Raised::Not => return Ok(false),
                sparse::Raised::Yes => {
                    self.make_stale();
                    return Ok(true);
                }
                sparse::Raised::NoRoom => self.make_dense()?,
            }
        }
        let body = &mut self.bytes[HEADER_BYTES..];
        let is_larger = count > dense::get(body, register);
        if is_larger {
            dense::set(&mut body[dense::place(register)], register, count);
        }
        Ok(is_larger)
    }

    /// Makes a sparse value dense; the cached cardinality stays as it is.
    pub(super) fn make_dense(&mut self) -> Result<(), CommandError> {
        if self.encoding == Encoding::Dense {
            return Ok(());
        }
        let mut registers = Registers::default();
        registers.merge(self.as_hll())?;
        self.set_dense(&registers);
        Ok(())
    }

    /// Makes the value dense with these registers.
    pub(super) fn set_dense(&mut self, registers: &Registers) {
        self.encoding = Encoding::Dense;
        self.bytes[ENCODING_AT] = Encoding::Dense as u8;
        self.bytes.truncate(HEADER_BYTES);
        registers.write_dense(&mut self.bytes);
    }

    /// Marks the cached cardinality as stale.
    pub(super) fn make_stale(&mut self) {
        self.bytes[STALE_AT] |= STALE;
    }
}
