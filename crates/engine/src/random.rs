//! The interface for randomness, which the owner of the engine provides.

/// A source of randomness. The choices of a primary become effects; replicas make no choices when they apply these.
pub trait Random {
    /// 64 uniformly random bits.
    fn next_u64(&mut self) -> u64;

    /// Uniform below `bound`, which is not 0. The bias is below `bound / 2^64`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}
