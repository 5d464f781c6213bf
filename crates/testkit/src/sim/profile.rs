//! The durability modes of a simulation, and its limits.

use std::fmt;
use std::time::Duration;

use fastness_shard::Batching;
use fastness_types::{Durability, limits};
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use serde::{Deserialize, Serialize};

/// The promises that a run is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SimProfile {
    /// `sync` all the time.
    Sync,
    /// `async` all the time.
    Async,
    /// `sync` and `async`, switched online.
    Switching,
    /// `disabled` all the time.
    Disabled,
}

impl SimProfile {
    /// All of them.
    pub const ALL: [SimProfile; 4] = [SimProfile::Sync, SimProfile::Async, SimProfile::Switching, SimProfile::Disabled];

    /// Draws a profile: most seeds of a suite are about what must not be lost.
    #[must_use]
    pub fn choose(rng: &mut SmallRng) -> SimProfile {
        match rng.random_range(0..20) {
            0..8 => SimProfile::Sync,
            8..13 => SimProfile::Async,
            13..18 => SimProfile::Switching,
            _ => SimProfile::Disabled,
        }
    }

    /// Whether operators switch the mode.
    #[must_use]
    pub fn switches(self) -> bool {
        self == SimProfile::Switching
    }

    /// The mode with which the cluster is created.
    #[must_use]
    pub fn mode(self, rng: &mut SmallRng) -> Durability {
        match self {
            SimProfile::Sync => Durability::Sync,
            SimProfile::Async => Durability::Async,
            SimProfile::Switching if rng.random() => Durability::Sync,
            SimProfile::Switching => Durability::Async,
            SimProfile::Disabled => Durability::Disabled,
        }
    }
}

impl fmt::Display for SimProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SimProfile::Sync => "sync",
            SimProfile::Async => "async",
            SimProfile::Switching => "switching",
            SimProfile::Disabled => "disabled",
        })
    }
}

/// The limits of a run with hostile clients: small enough that the run reaches them with little data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Longest payload of a log entry, bytes.
    pub entry_bytes: usize,
    /// Largest effects of one unit, bytes.
    pub unit_bytes: usize,
    /// `maxmemory`.
    pub maxmemory: u64,
}

impl Scale {
    /// The batching of shards under these limits.
    #[must_use]
    pub fn batching(self, batching: Batching) -> Batching {
        let fragment_bytes_max = self.entry_bytes / 2;
        let Scale { entry_bytes: entry_bytes_max, unit_bytes: unit_bytes_max, .. } = self;
        Batching { entry_bytes_max, fragment_bytes_max, unit_bytes_max, ..batching }
    }

    /// The limits of every run with hostile clients.
    pub const SMALL: Scale = Scale { entry_bytes: 32 * 1024, unit_bytes: 512 * 1024, maxmemory: 12 * 1024 * 1024 };
}

/// Draws `durability-max-lag`: short in most seeds, so that the lag gate acts.
#[must_use]
pub fn choose_max_lag(rng: &mut SmallRng) -> Duration {
    let spans = [Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(2), limits::DURABILITY_LAG_MAX];
    *spans.choose(rng).expect("there is one")
}
