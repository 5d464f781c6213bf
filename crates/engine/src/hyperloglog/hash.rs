//! The hash of an element: which register it belongs to, and its count there.

use super::layout::REGISTERS;

/// The register of an element, and the count that the register must at least have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hashed {
    /// Index of the register.
    pub(super) register: usize,
    /// The position of the lowest bit that is set in the rest of the hash, counted from 1: at most 51.
    pub(super) count: u8,
}

/// Bits of the hash that select a register.
const REGISTER_BITS: u32 = REGISTERS.trailing_zeros();
/// Bits that are left for the count.
pub(super) const COUNT_BITS: u32 = 64 - REGISTER_BITS;
/// The seed that Valkey uses. Frozen.
const SEED: u64 = 0xadc8_3b19;

/// Hashes an element.
pub(super) fn of(element: &[u8]) -> Hashed {
    let hash = murmur_64a(element, SEED);
    let rest = hash >> REGISTER_BITS | 1 << COUNT_BITS;
    Hashed { register: hash as usize % REGISTERS, count: rest.trailing_zeros() as u8 + 1 }
}

/// MurmurHash64A, by Austin Appleby. It is written here because the crates that have it are single files without
/// maintainers, and the values of users depend on it: it may never change.
fn murmur_64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> R;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}
