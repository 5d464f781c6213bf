//! A HyperLogLog as a whole: its header, for reading ([`Hll`]), and an owned one, for changing ([`HllBuf`]).

use super::hash::Hashed;
use super::registers::Registers;
use super::{dense, sparse};
use crate::error::CommandError;
use std::ops::Range;

/// Registers of a HyperLogLog.
pub(super) const REGISTERS: usize = 1 << 14;
/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of the cached cardinality in a value.
pub(super) const CACHE: Range<usize> = 8..HEADER_BYTES;
/// The byte of a value whose highest bit says that the cached cardinality is stale.
pub(super) const STALE_AT: usize = CACHE.end - 1;
/// The bit in that byte.
pub(super) const STALE: u8 = 0x80;
/// The reply for runs that do not describe all registers, or more.
pub(super) const CORRUPTED: CommandError = CommandError::Fixed("INVALIDOBJ Corrupted HLL object detected");

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;

/// How the registers are written. Frozen numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 6 bits for each register.
    Dense = 0,
    /// Runs of equal registers.
    Sparse = 1,
}

impl Encoding {
    /// As PFDEBUG ENCODING names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }
    }
}

/// A string with the header of a HyperLogLog; a dense one has the right length, and the runs of a sparse one may be
/// anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hll<'a> {
    /// The whole string.
    pub(super) bytes: &'a [u8],
    /// How its registers are written.
    pub(super) encoding: Encoding,
}

impl<'a> Hll<'a> {
    /// The HyperLogLog in a string; `None` if its header is none, or if it is dense and of another length.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Hll<'a>> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return None;
        }
        let encoding = match bytes[ENCODING_AT] {
            0 if bytes.len() == HEADER_BYTES + dense::BYTES => Encoding::Dense,
            1 => Encoding::Sparse,
            _ => return None,
        };
        Some(Hll { bytes, encoding })
    }

    /// The registers as they are written.
    pub(super) fn body(self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Whether the cached cardinality is stale.
    pub(super) fn is_stale(self) -> bool {
        self.bytes[STALE_AT] & STALE != 0
    }

    /// The cached cardinality, unless it is stale.
    pub(super) fn cached(self) -> Option<u64> {
        let cache: [u8; 8] = self.bytes[CACHE].try_into().ok()?;
        (!self.is_stale()).then_some(u64::from_le_bytes(cache))
    }
}

/// A HyperLogLog that is being changed.
#[derive(Debug, Clone)]
pub(super) struct HllBuf {
    bytes: Vec<u8>,
    encoding: Encoding,
}

impl HllBuf {
    /// One without elements: sparse, a single run, the cached cardinality 0.
    pub(super) fn empty() -> HllBuf {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[ENCODING_AT] = Encoding::Sparse as u8;
        sparse::push_run(&mut bytes, 0, REGISTERS);
        HllBuf { bytes, encoding: Encoding::Sparse }
    }

    /// A copy, to change it.
    ///
    /// # Errors
    /// [`CORRUPTED`] if it is sparse and longer than any runs of as many registers.
    pub(super) fn copy_of(hll: Hll<'_>) -> Result<HllBuf, CommandError> {
        if hll.encoding == Encoding::Sparse && hll.body().len() > sparse::BYTES_MAX {
            return Err(CORRUPTED);
        }
        Ok(HllBuf { bytes: hll.bytes.to_vec(), encoding: hll.encoding })
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
            match sparse::raise(&mut self.bytes, register, count)? {
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
