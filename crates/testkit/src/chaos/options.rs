//! How to run chaos, and the bounds that its parts share.

use std::time::Duration;

use super::profile::ChaosPlan;

/// One run.
#[derive(Debug, Clone)]
pub struct ChaosOptions {
    /// Seed of all choices.
    pub seed: u64,
    /// The faults.
    pub plan: ChaosPlan,
    /// Workers of the ledger's load.
    pub workers: usize,
    /// Whether the load uses the TLS front ends.
    pub tls: bool,
    /// Pause of each worker between two commands.
    pub pause: Duration,
    /// Whether histories are kept and checked beside the ledger, see [`crate::history`]; for `sync` alone.
    pub histories: bool,
    /// Whether failovers may lose what was acknowledged, under `async` and `disabled`: how much is measured then.
    pub loses: bool,
    /// How much, at most: the bound of `async`.
    pub max_loss: Option<Duration>,
}

/// Longest wait for the cluster to be healthy again after a fault.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged writes that there must be between two faults.
pub(super) const WRITES_BETWEEN: u64 = 400;
/// The same before a power loss, so that there is something to lose.
pub(super) const WRITES_BEFORE_POWER_LOSS: u64 = 1_000;
