//! What a load is to do.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

/// Most clients of a load.
const CLIENTS_MAX: usize = 256;

/// What the clients of a load do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadMode {
    /// Over the protocol: six writes, two increments and two reads in ten commands; nothing is sent twice
    Writes,
    /// Over gRPC, with the Rust SDK: payments between accounts, which are sent until they are answered and happen once
    Payments,
}

impl LoadMode {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LoadMode::Writes => "writes",
            LoadMode::Payments => "payments",
        }
    }
}

/// The size and the kind of a load.
#[derive(Debug, Clone, Copy, Args)]
pub struct LoadPlan {
    /// Number of clients, each with connections of its own; at most 256
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub clients: usize,
    /// Commands per second of all clients together, at least one for each; 0: as many as are answered
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub rate: u32,
    /// What the clients do
    #[arg(long, value_enum, default_value = "writes")]
    pub mode: LoadMode,
}

impl LoadPlan {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<()> {
        let LoadPlan { clients, rate, .. } = *self;
        ensure!((1..=CLIENTS_MAX).contains(&clients), "--clients {clients}: 1 to {CLIENTS_MAX}");
        ensure!(
            rate == 0 || u64::from(rate) >= clients as u64,
            "--rate {rate}: at least one command a second for each of the {clients} clients, or 0"
        );
        Ok(())
    }

    /// The arguments that describe it.
    pub fn arguments(&self) -> [String; 6] {
        let [clients, rate] = [self.clients.to_string(), self.rate.to_string()];
        ["--clients".to_owned(), clients, "--rate".to_owned(), rate, "--mode".to_owned(), self.mode.name().to_owned()]
    }
}
