//! Many seeds of the simulation. Prints one line per seed; exit code 1: a promise was broken.
//!
//! `RUST_LOG=fastness=debug` (for example) shows what the nodes of a single seed do.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fastness_testkit::sim::{self, Options};

/// Runs simulations of the whole shard path.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds A..B, B not included, or one seed.
    #[arg(long, value_parser = seeds, default_value = "1..101")]
    seeds: Range<u64>,
    /// How long faults come, simulated seconds.
    #[arg(long, default_value_t = 12)]
    faults_for_s: u64,
    /// Write everything that happens to this file; of one seed.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Go on after a broken promise.
    #[arg(long)]
    keep_going: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let arguments = Arguments::parse();
    let mut broken = Vec::new();
    for seed in arguments.seeds.clone() {
        let faults_for = Duration::from_secs(arguments.faults_for_s);
        let options = Options { faults_for, trace: arguments.trace.clone(), ..Options::new(seed) };
        let report = sim::run(&options);
        println!("{report}");
        for violation in &report.violations {
            println!("BROKEN {violation}");
        }
        if !report.violations.is_empty() {
            broken.push(seed);
            if !arguments.keep_going {
                break;
            }
        }
    }
    println!("seeds with broken promises: {broken:?} (replay: simulate --seeds N)");
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
