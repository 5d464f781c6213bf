//! `make chaos`: kills, pauses, partitions, bad disks and bad links on a cluster of real processes under load, for as many faults as asked, the
//! time that each one kept writes waiting, and the ledger's verdict. Exit code 1: a promise was broken. Exit code 2: the run
//! proves nothing.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fastness_testkit::chaos::{self, Fault, Options, Report};
use fastness_testkit::cluster::{self, Cluster};
use fastness_testkit::partition;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Snapshots are made this often, so that most restarts and undos begin with one.
const SNAPSHOT_LOG_BYTES: u64 = 1 << 20;

/// Injects faults and checks that nothing acknowledged is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seed of all choices; random if not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many faults, as many of each kind.
    #[arg(long, default_value_t = 50)]
    faults: usize,
    /// Kinds: kill-primary, kill-any, kill-all, pause-primary, cut-primary, deafen-primary, mute-primary, stall-disk,
    /// slow-disk, fill-disk, fail-disk, cut-links, slow-links. All of them if not given, without those of packets where they
    /// cannot be dropped.
    #[arg(long, value_delimiter = ',')]
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
    /// Print every fault, not only the table.
    #[arg(long)]
    verbose: bool,
    /// Keep the cluster's files, logs among them, after a good run, too.
    #[arg(long)]
    keep: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    match run(&arguments, seed).await {
        Ok(report) => print(&report, arguments.verbose),
        Err(error) => {
            eprintln!("the run proves nothing (seed {seed}): {error:#}");
            ExitCode::from(2)
        }
    }
}

fn kinds(arguments: &Arguments) -> anyhow::Result<Vec<Fault>> {
    if !arguments.kinds.is_empty() {
        let find = |name: &String| Fault::from_name(name).ok_or_else(|| anyhow::anyhow!("no fault is called {name:?}"));
        return arguments.kinds.iter().map(find).collect();
    }
    match partition::lacking() {
        None => Ok(Fault::ALL.to_vec()),
        Some(why) => {
            println!("SKIPPED cut-primary, deafen-primary, mute-primary: {why}");
            Ok(Fault::ALL.into_iter().filter(|fault| !fault.drops_packets()).collect())
        }
    }
}

async fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<Report> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut faults: Vec<Fault> = kinds(arguments)?.into_iter().cycle().take(arguments.faults).collect();
    faults.shuffle(&mut rng);
    let mut cluster = Cluster::start(&cluster::Options {
        shards: arguments.shards,
        snapshot_log_bytes: Some(SNAPSHOT_LOG_BYTES),
        ..cluster::Options::default()
    })?;
    cluster.keep_files();
    let options = Options {
        seed: rng.random(),
        faults,
        workers: arguments.workers,
        tls: arguments.tls,
        pause: Duration::from_millis(arguments.pause_ms),
    };
    let report = chaos::run(&cluster, &options).await?;
    if report.violations.is_empty() && !arguments.keep {
        cluster.discard_files();
    }
    Ok(report)
}

fn print(report: &Report, verbose: bool) -> ExitCode {
    if verbose {
        for one in &report.injected {
            println!("{:14} node {}: {:?}; {}", one.fault.name(), one.node, one.until_write, one.proof);
        }
        println!();
    }
    println!("From the fault to the next acknowledged write:");
    println!("| fault | times | p50 ms | p99 ms | longest ms |");
    println!("|---|---|---|---|---|");
    for fault in Fault::ALL {
        print_row(report, fault.name(), &[fault]);
    }
    print_row(report, "every silent loss", &Fault::SILENT);
    let s = report.summary;
    println!(
        "{} writes acknowledged, {} refused, {} of unknown outcome; {} reads; digests compared {} times; {:.0} s",
        s.acknowledged,
        s.refused,
        s.unknown,
        s.reads,
        report.digests_compared,
        report.elapsed.as_secs_f64()
    );
    println!("{} faults, each seen to take effect", report.injected.len());
    for violation in &report.violations {
        println!("BROKEN {violation}");
    }
    println!("{} broken promises", report.violations.len());
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_row(report: &Report, name: &str, faults: &[Fault]) {
    let at = |share| report.until_write(faults, share).map(|span| span.as_millis());
    if let (Some(p50), Some(p99), Some(longest)) = (at(0.5), at(0.99), at(1.0)) {
        println!("| {name} | {} | {p50} | {p99} | {longest} |", report.times(faults));
    }
}
