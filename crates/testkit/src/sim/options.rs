//! How to run one simulation.

use std::path::PathBuf;
use std::time::Duration;

use fastness_types::Plant;

use crate::sim::fault::SimFault;
use crate::sim::profile::SimProfile;

/// How to run one simulation.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Of every choice.
    pub seed: u64,
    /// Which promises are made; `None`: the seed chooses.
    pub profile: Option<SimProfile>,
    /// `durability-max-lag`; `None`: the seed chooses.
    pub max_lag: Option<Duration>,
    /// How long faults come, simulated.
    pub faults_for: Duration,
    /// Which faults.
    pub kinds: Vec<SimFault>,
    /// What is wrong on purpose.
    pub plant: Option<Plant>,
    /// Where everything that happens is written to, line by line.
    pub trace: Option<PathBuf>,
}

impl SimOptions {
    /// All faults, hostile clients among them, for as long as a seed needs to count.
    #[must_use]
    pub fn new(seed: u64) -> SimOptions {
        SimOptions {
            seed,
            profile: None,
            max_lag: None,
            faults_for: Duration::from_secs(20),
            kinds: SimFault::ALL.to_vec(),
            plant: None,
            trace: None,
        }
    }
}
