//! How to run chaos, and the limits that its modules share.

use std::time::Duration;

use super::profile::ChaosPlan;
use crate::clients::ClientMix;

/// How to run chaos.
#[derive(Debug, Clone)]
pub struct ChaosOptions {
    /// Seed of all choices.
    pub seed: u64,
    /// The faults.
    pub plan: ChaosPlan,
    /// Workers of the ledger's load.
    pub workers: usize,
    /// What clients speak. With gRPC or the SDK among it, clients also add to counters, see [`crate::counting`].
    pub clients: ClientMix,
    /// Whether clients of RESP connect by TLS.
    pub tls: bool,
    /// Pause of each worker between two commands.
    pub pause: Duration,
    /// Whether histories are recorded and checked besides the ledger, see [`crate::history`]; only under `sync`.
    pub histories: bool,
    /// Whether the log is purged before a watch may have read it, which the watch has to report.
    pub purges: bool,
    /// Whether failovers may lose acknowledged writes, under `async` and `disabled`: the losses are measured then.
    pub loses: bool,
    /// The longest allowed loss: the bound of `async`.
    pub max_loss: Option<Duration>,
}

/// Longest wait for the cluster to be healthy again after a fault.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Minimum number of acknowledged writes between two faults.
pub(super) const WRITES_BETWEEN: u64 = 400;
/// The same before a power loss, so that there is something to lose.
pub(super) const WRITES_BEFORE_POWER_LOSS: u64 = 1_000;
