//! The seed of a test's random choices.

/// `FASTNESS_SEED`, which replays a run; a random seed if it is not set or is no number.
#[must_use]
pub fn from_env_or_random() -> u64 {
    std::env::var("FASTNESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}
