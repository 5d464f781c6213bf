//! How to run one simulation.

use std::path::PathBuf;
use std::time::Duration;

use fastness_types::Plant;

use crate::sim::fault::SimFault;
use crate::sim::profile::SimProfile;

/// How to run one simulation.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Seed of every choice.
    pub seed: u64,
    /// The promises that the run is held to; `None`: the seed chooses.
    pub profile: Option<SimProfile>,
    /// `durability-max-lag`; `None`: the seed chooses.
    pub max_lag: Option<Duration>,
    /// How long faults are injected, in simulated time.
    pub faults_for: Duration,
    /// The kinds of faults.
    pub kinds: Vec<SimFault>,
    /// Whether clients send writes with idempotency keys; `None`: in one seed of four.
    pub keyed: Option<bool>,
    /// A planted bug.
    pub plant: Option<Plant>,
    /// File to which the trace is written, line by line.
    pub trace: Option<PathBuf>,
}

impl SimOptions {
    /// All faults, hostile clients among them, for long enough that the seed counts.
    #[must_use]
    pub fn new(seed: u64) -> SimOptions {
        SimOptions {
            seed,
            profile: None,
            max_lag: None,
            faults_for: Duration::from_secs(20),
            kinds: SimFault::ALL.to_vec(),
            keyed: None,
            plant: None,
            trace: None,
        }
    }
}
