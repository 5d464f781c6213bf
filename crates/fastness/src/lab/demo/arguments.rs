//! What is to be shown, and how.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::lab::load::{LoadMode, LoadPlan};

/// The demos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoName {
    /// In sync, an AZ dies
    AzLoss,
    /// In async, a primary dies
    AsyncKill,
    /// In async, the log of two of three nodes stalls
    LogStall,
    /// The mode of a running cluster changes to async and back to sync
    Switch,
    /// In sync, all nodes are killed at once
    KillAll,
    /// A ledger of payments, while primaries are killed and paused
    Payments,
    /// The same load and faults on plain Valkey with replicas, and on Fastness
    Valkey,
    /// All of them, one after the other
    All,
}

/// All demos, in the order in which they are run.
pub const ALL: [DemoName; 7] = [
    DemoName::AzLoss,
    DemoName::AsyncKill,
    DemoName::LogStall,
    DemoName::Switch,
    DemoName::KillAll,
    DemoName::Payments,
    DemoName::Valkey,
];

impl DemoName {
    /// Its name on the command line.
    pub fn text(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Most shards of a cluster that a demo starts.
const SHARDS: usize = 3;

/// Arguments of `fastness lab demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Which demo
    #[arg(value_enum)]
    pub name: DemoName,
    /// Folder of an existing dev cluster to use, instead of one that exists for the demo only; it must be whole and
    /// without faults, and is so again at the end
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Length of each part of a demo, in seconds
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// Number of clients of the load: at least one for each shard
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub clients: usize,
    /// Commands per second of the load
    #[arg(long, value_name = "N", default_value_t = 600)]
    pub rate: u32,
    /// `durability-max-lag` while the log stalls, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    pub max_lag_ms: u64,
    /// The program valkey-server, for the demo `valkey` [default: the one in PATH]
    #[arg(long, value_name = "FILE", env = "FASTNESS_VALKEY_SERVER")]
    pub valkey_server: Option<PathBuf>,
}

impl DemoArguments {
    /// Length of each part.
    pub fn part(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The load of a demo.
    pub fn plan(&self, mode: LoadMode) -> LoadPlan {
        LoadPlan { clients: self.clients, rate: self.rate, mode }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<()> {
        ensure!(self.seconds > 0.0 && self.seconds <= 3_600.0, "--seconds: more than 0, at most 3600");
        ensure!(self.clients >= SHARDS, "--clients: at least {SHARDS}, one for each shard");
        ensure!(self.rate > 0, "--rate: at least one command a second for each client");
        self.plan(LoadMode::Writes).check()
    }
}
