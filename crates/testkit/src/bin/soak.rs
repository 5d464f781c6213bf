//! `make soak`: full load for a long time without any fault. Exit code 1: there was an election although nothing had
//! happened, or a promise was broken, or, with busy processes next to it (`--busy`), a client received an error. Exit
//! code 2: the run proves nothing. A long run appends a row to the ledger.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use fastness_testkit::cluster::{self, Cluster};
use fastness_testkit::proof::{self, Checkout, Row, RowVerdict, Suite};
use fastness_testkit::soak::{self, SoakOptions, SoakReport};

/// Minimum length of a run with a row; a shorter run is a trial.
const LONG: Duration = Duration::from_secs(600);

/// Loads a cluster and checks that there is no election.
#[derive(Debug, Parser)]
struct Arguments {
    /// Length of the run, seconds.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Number of shards.
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Number of connections to each shard, half of which write.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Number of requests in one pipeline. The log keeps every write: with 16, half an hour takes tens of gigabytes of
    /// disk.
    #[arg(long, default_value_t = 4)]
    pipeline: usize,
    /// Length of a value, bytes.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Number of workers of the ledger.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// sync, async or disabled.
    #[arg(long, default_value = "sync")]
    durability: String,
    /// Number of processes next to the cluster that each keep a core busy: then no client may receive an error either.
    #[arg(long, default_value_t = 0)]
    busy: usize,
    /// Seed of the load; random if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Run as one of the busy processes.
    #[arg(long, hide = true)]
    spin: bool,
}

/// Processes that loop without doing anything useful. They end with this one.
struct Busy(Vec<Child>);

impl Busy {
    fn start(count: usize) -> std::io::Result<Busy> {
        let program = std::env::current_exe()?;
        // The end of this process closes their input, however it ends.
        let start = |_| Command::new(&program).arg("--spin").stdin(Stdio::piped()).spawn();
        Ok(Busy((0..count).map(start).collect::<std::io::Result<_>>()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Keeps a core busy until the input is closed.
fn spin() -> ExitCode {
    let ended = std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    while !ended.is_finished() {
        (0..1_000_000).for_each(|_| std::hint::spin_loop());
    }
    ExitCode::SUCCESS
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.spin {
        return spin();
    }
    let refuses_nothing = arguments.busy > 0;
    match run(arguments).await {
        Ok(report) => print(&report, refuses_nothing),
        Err(error) => {
            eprintln!("the run proves nothing: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<SoakReport> {
    let durability = match arguments.durability.as_str() {
        "sync" => "sync",
        "async" => "async",
        "disabled" => "disabled",
        other => anyhow::bail!("unknown durability {other:?}"),
    };
    let checkout = Checkout::now()?;
    let options = SoakOptions {
        duration: Duration::try_from_secs_f64(arguments.minutes * 60.0)?,
        connections: arguments.connections,
        pipeline: arguments.pipeline,
        value_bytes: arguments.value_bytes,
        workers: arguments.workers,
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    let shards = arguments.shards;
    let mut cluster =
        Cluster::start(&cluster::ClusterOptions { shards, durability, ..cluster::ClusterOptions::default() })?;
    cluster.keep_files();
    let busy = Busy::start(arguments.busy)?;
    let report = soak::run(&cluster, &options, |line| println!("{line}")).await?;
    drop(busy);
    if report.elapsed >= LONG {
        let sealed = proof::append(row(&report, &options, shards, durability, arguments.busy, &checkout))?;
        println!("row {} of the ledger", sealed.number);
    }
    if report.elections() == (0, 0) && report.violations.is_empty() {
        cluster.discard_files();
    }
    Ok(report)
}

fn row(
    report: &SoakReport,
    options: &SoakOptions,
    shards: u32,
    durability: &str,
    busy: usize,
    checkout: &Checkout,
) -> Row {
    let SoakOptions { connections, pipeline, value_bytes, .. } = options;
    let mut profile = format!("{shards} shards, {connections} connections, pipeline {pipeline}, {value_bytes} bytes");
    if busy > 0 {
        profile += &format!(", {busy} busy processes beside");
    }
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
    let errors = report.errors + report.summary.refused + report.summary.unknown;
    if busy > 0 && errors > 0 {
        row.notes.push(format!("{errors} commands were answered with an error"));
    }
    row.verdict = if row.notes.is_empty() { RowVerdict::Pass } else { RowVerdict::Fail };
    // The ledger of writes does not distinguish lost writes from stale reads.
    let none = report.violations.is_empty().then_some(0);
    (row.lost, row.stale) = (none, none);
    row
}

fn print(report: &SoakReport, refuses_nothing: bool) -> ExitCode {
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
        println!("{group:?}: {:?} at the start, {after:?} at the end", report.before.get(group));
    }
    for violation in &report.violations {
        println!("BROKEN {violation}");
    }
    let (elections, changes) = report.elections();
    println!("{elections} unwanted elections, {changes} other leaders, {} broken promises", report.violations.len());
    let errors = report.errors + report.summary.refused + report.summary.unknown;
    let is_served = !refuses_nothing || errors == 0;
    if elections == 0 && changes == 0 && report.violations.is_empty() && is_served {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
