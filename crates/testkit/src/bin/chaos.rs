//! `make chaos`: kills and pauses on a cluster of real processes under load, for as many faults as asked, and the
//! ledger's verdict. Exit code 1: a promise was broken. Exit code 2: the run proves nothing.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fastness_testkit::chaos::{self, Fault, Options, Report};
use fastness_testkit::cluster::{self, Cluster};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Injects faults and checks that nothing acknowledged is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seed of all choices; random if not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many faults.
    #[arg(long, default_value_t = 50)]
    faults: usize,
    /// Kinds to choose from: kill-primary, kill-any, kill-all, pause-primary.
    #[arg(long, value_delimiter = ',', default_value = "kill-primary,kill-any,kill-all,pause-primary")]
    kinds: Vec<String>,
    /// Shards.
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Workers of the load.
    #[arg(long, default_value_t = 16)]
    workers: usize,
    /// Pause of each worker between two commands, milliseconds.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Load over TLS.
    #[arg(long)]
    tls: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    match run(&arguments, seed).await {
        Ok(report) => print(&report),
        Err(error) => {
            eprintln!("the run proves nothing (seed {seed}): {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<Report> {
    let kinds = arguments
        .kinds
        .iter()
        .map(|name| Fault::from_name(name).ok_or_else(|| anyhow::anyhow!("no fault is called {name:?}")))
        .collect::<anyhow::Result<Vec<Fault>>>()?;
    let mut rng = SmallRng::seed_from_u64(seed);
    let faults = (0..arguments.faults).filter_map(|_| kinds.choose(&mut rng).copied()).collect();
    let mut cluster = Cluster::start(&cluster::Options { shards: arguments.shards, ..cluster::Options::default() })?;
    cluster.keep_files();
    let options = Options {
        seed: rng.random(),
        faults,
        workers: arguments.workers,
        tls: arguments.tls,
        pause: Duration::from_millis(arguments.pause_ms),
    };
    let report = chaos::run(&cluster, &options).await?;
    if report.violations.is_empty() {
        cluster.discard_files();
    }
    Ok(report)
}

fn print(report: &Report) -> ExitCode {
    println!("| fault | times | silence p50 | p99 | longest |");
    println!("|---|---|---|---|---|");
    for fault in [Fault::KillPrimary, Fault::KillAny, Fault::KillAll, Fault::PausePrimary] {
        let times = report.injected.iter().filter(|i| i.fault == fault).count();
        let at = |share| report.silence_quantile(fault, share);
        if let (Some(p50), Some(p99), Some(longest)) = (at(0.5), at(0.99), at(1.0)) {
            println!("| {} | {times} | {p50:?} | {p99:?} | {longest:?} |", fault.name());
        }
    }
    let s = report.summary;
    println!(
        "{} writes acknowledged, {} refused, {} of unknown outcome; {} reads; {:.0} s",
        s.acknowledged,
        s.refused,
        s.unknown,
        s.reads,
        report.elapsed.as_secs_f64()
    );
    for violation in &report.violations {
        println!("BROKEN {violation}");
    }
    println!("{} broken promises", report.violations.len());
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
