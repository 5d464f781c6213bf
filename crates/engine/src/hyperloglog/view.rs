//! A HyperLogLog for reading: its header, and its registers as they are written.

use super::dense;
use super::layout::{CACHE, HEADER_BYTES, STALE, STALE_AT};

/// The first bytes.
pub(super) const MAGIC: &[u8; 4] = b"HYLL";
/// The byte of the encoding.
pub(super) const ENCODING_AT: usize = 4;

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
