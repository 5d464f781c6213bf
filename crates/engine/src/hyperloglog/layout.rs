//! Where the parts of a HyperLogLog stand, and how many registers it has.

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
