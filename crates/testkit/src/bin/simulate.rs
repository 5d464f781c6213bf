//! Runs many seeds of the simulation. Prints one line per seed and the coverage table. Exit code 1: a promise was
//! broken, or something never happened in many seeds.
//!
//! `RUST_LOG=fastness=debug` (for example) prints what the nodes of a single seed do.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use fastness_testkit::proof::{self, Checkout, Row};
use fastness_testkit::sim::{
    self, Coverage, SEEDS_MIN, SimFault, SimOptions, SimProfile, SimReport, SimVerdict, Simulator,
};
use fastness_types::Plant;

/// Runs simulations of the whole shard path.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed; only this one, unless --seeds is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of seeds, starting with --seed or with 1; 100 without both options.
    #[arg(long)]
    seeds: Option<u64>,
    /// How long faults are injected, simulated milliseconds.
    #[arg(long, default_value_t = 20_000)]
    faults_for_ms: u64,
    /// Kinds of faults, by the names in the table; default: all.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    kinds: Vec<SimFault>,
    /// The lag bound in async, milliseconds; default: each seed chooses.
    #[arg(long)]
    max_lag_ms: Option<u64>,
    /// Whether clients send writes with idempotency keys; default: in one seed of four.
    #[arg(long)]
    keyed: Option<bool>,
    /// Name of a planted bug, see tests/PLANTS.md.
    #[arg(long, value_parser = plant)]
    plant: Option<Plant>,
    /// sync, async, switching or disabled, for all seeds; default: each seed chooses.
    #[arg(long, value_parser = profile)]
    profile: Option<SimProfile>,
    /// Number of concurrent simulations. With several seeds, each runs in a process of its own.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Write the trace to this file; only with one seed.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Continue after a broken promise.
    #[arg(long)]
    keep_going: bool,
    /// Append a row of the run to the ledger of long runs, tests/ledger.jsonl. Not with --plant, --kinds or
    /// --max-lag-ms: such runs are not comparable.
    #[arg(long)]
    ledger: bool,
    /// Run one seed and print its report as JSON, for the calling program.
    #[arg(long, hide = true)]
    report: bool,
}

fn profile(text: &str) -> Result<SimProfile, String> {
    let found = SimProfile::ALL.into_iter().find(|profile| profile.to_string() == text);
    found.ok_or_else(|| "sync, async, switching or disabled".to_owned())
}

fn fault(text: &str) -> Result<SimFault, String> {
    let all = || SimFault::ALL.map(|fault| format!("{fault:?}")).join(", ");
    SimFault::from_name(text).ok_or_else(|| format!("known: {}", all()))
}

fn plant(text: &str) -> Result<Plant, String> {
    let all = || Plant::ALL.iter().map(|plant| plant.name()).collect::<Vec<_>>().join(", ");
    Plant::from_name(text).ok_or_else(|| format!("known: {}", all()))
}

impl Arguments {
    fn seeds(&self) -> Vec<u64> {
        let first = self.seed.unwrap_or(1);
        let count = self.seeds.unwrap_or(if self.seed.is_some() { 1 } else { 100 });
        (first..first + count).collect()
    }

    fn options(&self, seed: u64) -> SimOptions {
        let kinds = if self.kinds.is_empty() { SimFault::ALL.to_vec() } else { self.kinds.clone() };
        SimOptions {
            seed,
            profile: self.profile,
            max_lag: self.max_lag_ms.map(Duration::from_millis),
            faults_for: Duration::from_millis(self.faults_for_ms),
            kinds,
            keyed: self.keyed,
            plant: self.plant,
            trace: self.trace.clone(),
        }
    }
}

/// Results of all seeds.
#[derive(Default)]
struct Suite {
    coverage: Coverage,
    broken: Vec<u64>,
    void: Vec<u64>,
    holds: usize,
    checked: u64,
    acknowledged_sync: u64,
    refused: u64,
    unknown: u64,
    lost: u64,
    stale: u64,
    longest_loss: Duration,
    simulated: Duration,
    notes: Vec<String>,
    /// Hash of the first seed's trace.
    trace: Option<u64>,
}

/// Maximum number of violations in a row of the ledger.
const NOTES_MAX: usize = 20;

impl Suite {
    fn add(&mut self, seed: u64, ran: &Result<SimReport, String>, is_first: bool) {
        let report = match ran {
            Ok(report) => report,
            Err(finding) => {
                println!("BROKEN {finding}");
                self.notes.extend((self.notes.len() < NOTES_MAX).then(|| finding.clone()));
                return self.broken.push(seed);
            }
        };
        println!("{report}");
        report.violations.iter().for_each(|violation| println!("BROKEN {violation}"));
        if is_first {
            self.trace = Some(report.trace);
        }
        self.lost += report.summary.lost;
        self.stale += report.summary.stale;
        let notes = report.violations.iter().map(|violation| format!("seed {}: {violation}", report.seed));
        self.notes.extend(notes.take(NOTES_MAX - self.notes.len().min(NOTES_MAX)));
        match report.verdict() {
            SimVerdict::Holds => {
                // Only seeds that count contribute to the table.
                self.coverage.merge(&report.coverage);
                self.holds += 1;
                self.checked += report.checked();
                self.acknowledged_sync += report.summary.acknowledged_sync;
                self.refused += report.summary.refused;
                self.unknown += report.summary.unknown;
                self.longest_loss = self.longest_loss.max(report.longest_loss);
                self.simulated += report.elapsed;
            }
            SimVerdict::Broken => self.broken.push(report.seed),
            SimVerdict::Void(_) => self.void.push(report.seed),
        }
    }

    /// The figures of the seeds that count.
    fn row(&self, checkout: &Checkout, arguments: &Arguments, seeds: usize, took: Duration) -> Row {
        let profile = arguments.profile.map_or("all".to_owned(), |profile| profile.to_string());
        let durability = match arguments.profile {
            None => "sync,async,disabled".to_owned(),
            Some(SimProfile::Switching) => "sync,async".to_owned(),
            Some(profile) => profile.to_string(),
        };
        let faults = self.coverage.faults().iter().map(|(fault, times)| (format!("{fault:?}"), *times)).collect();
        Row {
            durability,
            seeds: seeds as u64,
            seeds_counted: self.holds as u64,
            wall_ms: took.as_millis() as u64,
            simulated_ms: Some(self.simulated.as_millis() as u64),
            ops_checked: Some(self.checked),
            acknowledged_sync: Some(self.acknowledged_sync),
            refused: Some(self.refused),
            unknown: Some(self.unknown),
            faults,
            lost: Some(self.lost),
            stale: Some(self.stale),
            other_violations: Some((self.broken.len() as u64).saturating_sub(self.lost + self.stale)),
            async_loss_max_ms: Some(self.longest_loss.as_millis() as u64),
            trace: self.trace.map(|trace| format!("{trace:016x}")),
            verdict: if self.broken.is_empty() { proof::RowVerdict::Pass } else { proof::RowVerdict::Fail },
            notes: self.notes.clone(),
            ..Row::new(checkout, proof::Suite::Sim, profile, arguments.seed.unwrap_or(1))
        }
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let arguments = Arguments::parse();
    let seeds = arguments.seeds();
    if arguments.report {
        return report(&arguments, seeds[0]);
    }
    let is_plain = arguments.plant.is_none() && arguments.kinds.is_empty();
    let is_plain = is_plain && arguments.max_lag_ms.is_none() && arguments.keyed.is_none();
    let checkout = match (arguments.ledger && is_plain).then(Checkout::now).transpose() {
        Ok(checkout) => checkout,
        Err(error) => {
            eprintln!("cannot write a row: {error:#}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let simulator = match Simulator::beside() {
        Ok(simulator) => simulator,
        Err(error) => {
            eprintln!("cannot find the simulation program: {error}");
            return ExitCode::from(2);
        }
    };
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let suite = Mutex::new(Suite::default());
    let run = |seed: u64| {
        let options = arguments.options(seed);
        let ran = if seeds.len() == 1 { Ok(sim::run(&options)) } else { simulator.run(&options) };
        let holds = ran.as_ref().is_ok_and(|report| report.violations.is_empty());
        suite.lock().expect("no job panics").add(seed, &ran, seed == seeds[0]);
        stop.fetch_or(!(holds || arguments.keep_going), Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed)
                    && let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    run(*seed);
                }
            });
        }
    });
    let suite = suite.into_inner().expect("no job panics");
    let written = checkout.map_or(Ok(()), |checkout| {
        proof::append(suite.row(&checkout, &arguments, seeds.len(), began.elapsed())).map(drop)
    });
    if let Err(error) = written {
        eprintln!("no row was written: {error:#}");
        return ExitCode::from(2);
    }
    conclude(&arguments, &suite, began.elapsed())
}

/// Runs one simulation for the calling program.
fn report(arguments: &Arguments, seed: u64) -> ExitCode {
    // A panic in a simulation is a finding and reported as such.
    std::panic::set_hook(Box::new(|_| {}));
    match serde_json::to_string(&sim::run(&arguments.options(seed))) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the report: {error}");
            ExitCode::from(2)
        }
    }
}

fn conclude(arguments: &Arguments, suite: &Suite, took: Duration) -> ExitCode {
    let Suite { coverage, broken, void, holds, checked, acknowledged_sync, simulated, .. } = suite;
    let per_hour = (holds + void.len() + broken.len()) as f64 / took.as_secs_f64().max(0.001) * 3_600.0;
    println!("\n{coverage}");
    println!(
        "{holds} seeds hold, {} void {void:?}; {checked} operations checked, {acknowledged_sync} writes acknowledged under sync; \
         {:.0} simulated s in {:.0} s, {per_hour:.0} seeds per hour",
        void.len(),
        simulated.as_secs_f64(),
        took.as_secs_f64()
    );
    println!("seeds with broken promises: {broken:?} (replay: simulate --seed N)");
    let empty = coverage.empty_cells(&SimFault::ALL);
    let must_be_full = *holds >= SEEDS_MIN && arguments.profile.is_none();
    if !empty.is_empty() {
        let verdict = if must_be_full { "FAILED" } else { "too few seeds of all profiles to matter" };
        println!("never happened: {empty:?} ({verdict})");
    }
    let is_covered = empty.is_empty() || !must_be_full;
    if broken.is_empty() && is_covered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
