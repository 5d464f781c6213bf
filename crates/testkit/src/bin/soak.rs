//! `make soak`: full load for a long time without any fault. Exit code 1: a node was elected although nothing had happened,
//! or a promise was broken. Exit code 2: the run proves nothing. A long run leaves a row in the ledger.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fastness_testkit::cluster::{self, Cluster};
use fastness_testkit::proof::{self, Checkout, Row, Suite, Verdict};
use fastness_testkit::soak::{self, Options, Report};

/// A shorter run is a trial, and leaves no row.
const LONG: Duration = Duration::from_secs(600);

/// Loads a cluster and checks that nobody is elected.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Shards.
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Connections to each shard, half of which write.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Requests in one pipeline. The log keeps every write: at 16, half an hour takes tens of gigabytes of disk.
    #[arg(long, default_value_t = 4)]
    pipeline: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Workers of the ledger that is kept beside.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// sync, async or disabled.
    #[arg(long, default_value = "sync")]
    durability: String,
    /// Seed of the load; random if not given.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(report) => print(&report),
        Err(error) => {
            eprintln!("the run proves nothing: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<Report> {
    let durability = match arguments.durability.as_str() {
        "sync" => "sync",
        "async" => "async",
        "disabled" => "disabled",
        other => anyhow::bail!("no durability is called {other:?}"),
    };
    let checkout = Checkout::now()?;
    let options = Options {
        duration: Duration::try_from_secs_f64(arguments.minutes * 60.0)?,
        connections: arguments.connections,
        pipeline: arguments.pipeline,
        value_bytes: arguments.value_bytes,
        workers: arguments.workers,
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    let shards = arguments.shards;
    let mut cluster = Cluster::start(&cluster::Options { shards, durability, ..cluster::Options::default() })?;
    cluster.keep_files();
    let report = soak::run(&cluster, &options, |line| println!("{line}")).await?;
    if report.elapsed >= LONG {
        let sealed = proof::append(row(&report, &options, shards, durability, &checkout))?;
        println!("row {} of the ledger", sealed.number);
    }
    if report.elections() == (0, 0) && report.violations.is_empty() {
        cluster.discard_files();
    }
    Ok(report)
}

fn row(report: &Report, options: &Options, shards: u32, durability: &str, checkout: &Checkout) -> Row {
    let Options { connections, pipeline, value_bytes, .. } = options;
    let profile = format!("{shards} shards, {connections} connections, pipeline {pipeline}, {value_bytes} bytes");
    let mut row = Row::new(checkout, Suite::Soak, profile, options.seed);
    durability.clone_into(&mut row.durability);
    row.wall_ms = report.elapsed.as_millis() as u64;
    row.acknowledged_sync = (durability == "sync").then_some(report.summary.acknowledged);
    row.refused = Some(report.summary.refused);
    row.unknown = Some(report.summary.unknown);
    row.notes.extend(report.violations.iter().map(ToString::to_string));
    let (elections, changes) = report.elections();
    if (elections, changes) != (0, 0) {
        row.notes.push(format!("{elections} unwanted elections, {changes} other leaders"));
    }
    row.verdict = if row.notes.is_empty() { Verdict::Pass } else { Verdict::Fail };
    // The ledger of writes does not tell lost ones from stale reads.
    let none = report.violations.is_empty().then_some(0);
    (row.lost, row.stale) = (none, none);
    row
}

fn print(report: &Report) -> ExitCode {
    let seconds = report.elapsed.as_secs_f64();
    println!(
        "{:.1} k operations/s for {seconds:.0} s, {} errors; ledger: {} writes acknowledged, {} refused, {} of unknown \
         outcome, {} reads; longest span without an acknowledged write: {:?}",
        report.operations as f64 / seconds / 1000.0,
        report.errors,
        report.summary.acknowledged,
        report.summary.refused,
        report.summary.unknown,
        report.summary.reads,
        report.silence,
    );
    for (group, after) in &report.after {
        println!("{group:?}: {:?} at the beginning, {after:?} at the end", report.before.get(group));
    }
    for violation in &report.violations {
        println!("BROKEN {violation}");
    }
    let (elections, changes) = report.elections();
    println!("{elections} unwanted elections, {changes} other leaders, {} broken promises", report.violations.len());
    if elections == 0 && changes == 0 && report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
