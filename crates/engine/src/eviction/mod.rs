//! Eviction: which keys are removed when memory is full.
//!
//! - [`policy`]: the policies of `maxmemory-policy`, and the other options.
//! - `pool`: the best candidates of the keys that were sampled so far.
//! - `choice`: chooses one key by the policy.
//!
//! [`Engine::evict`](crate::Engine::evict) removes the keys, and says when: on a primary alone, because an eviction is
//! an effect that replicas apply. Nothing here changes data.

pub(crate) mod choice;
pub mod policy;
mod pool;
#[cfg(test)]
mod tests;
