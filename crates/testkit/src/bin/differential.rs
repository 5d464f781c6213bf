//! `make test-differential`: many random commands on the engine and on a real Valkey server, in both protocol versions.
//! Replies, keys, payloads and the data of a replica must be equal, except for the differences in
//! `tests/differential-exclusions.txt`. Exit code 1: something differs.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use fastness_testkit::differential::generator::Generator;
use fastness_testkit::differential::reference::Reference;
use fastness_testkit::differential::sides::{BothSides, missed};
use fastness_testkit::proof::{self, Checkout, Row, RowVerdict, Suite};

/// Number of commands of a run in which each command must occur.
const LONG: u64 = 100_000;
/// How often the progress is printed.
const PROGRESS: Duration = Duration::from_secs(10);

/// Compares random commands.
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of commands.
    #[arg(long, default_value_t = 10_000_000)]
    commands: u64,
    /// The first seed; each has data of its own.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of commands of a seed.
    #[arg(long, default_value_t = 20_000)]
    each: u64,
    /// Number of seeds at a time, each beside a server of its own.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Continue after a difference.
    #[arg(long)]
    keep_going: bool,
    /// Append a row to the ledger of long runs, tests/ledger.jsonl.
    #[arg(long)]
    ledger: bool,
}

/// What all seeds found.
#[derive(Default)]
struct Findings {
    seen: BTreeSet<&'static str>,
    compared: u64,
    seeds: u64,
    differences: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let checkout = arguments.ledger.then(Checkout::now).transpose()?;
    let began = Instant::now();
    let findings = run(&arguments)?;
    println!(
        "{} commands of {} kinds with {} seeds compared in {:.0} s, {} differences",
        findings.compared,
        findings.seen.len(),
        findings.seeds,
        began.elapsed().as_secs_f64(),
        findings.differences.len()
    );
    let missed = if findings.compared >= LONG { missed(&findings.seen) } else { Vec::new() };
    if !missed.is_empty() {
        println!("never drawn: {missed:?}");
    }
    if let Some(checkout) = checkout {
        let sealed = proof::append(row(&arguments, &checkout, &findings, &missed, began.elapsed()))?;
        println!("row {} of the ledger", sealed.number);
    }
    Ok(if findings.differences.is_empty() && missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(arguments: &Arguments) -> Result<Findings> {
    let seeds = arguments.commands.div_ceil(arguments.each.max(1));
    let (next, stop, findings) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Findings::default()));
    let references = (0..arguments.jobs.max(1)).map(|_| Reference::start()).collect::<Result<Vec<_>>>()?;
    let work = |reference: &Reference| {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds {
                return;
            }
            let commands = arguments.each.min(arguments.commands - number * arguments.each);
            let found = one(reference, arguments.seed.wrapping_add(number), commands as usize);
            let mut findings = findings.lock().expect("no job panics");
            findings.seeds += 1;
            match found {
                Ok(sides) => {
                    findings.seen.extend(sides.seen);
                    findings.compared += sides.compared;
                }
                Err(difference) => {
                    println!("DIFFERENCE, seed {}: {difference}", arguments.seed.wrapping_add(number));
                    findings.differences.push(difference);
                    stop.fetch_or(!arguments.keep_going, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let jobs: Vec<_> = references.iter().map(|reference| scope.spawn(move || work(reference))).collect();
        let mut printed = Instant::now();
        while jobs.iter().any(|job| !job.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            if printed.elapsed() >= PROGRESS {
                printed = Instant::now();
                println!("{} commands compared", findings.lock().expect("no job panics").compared);
            }
        }
    });
    Ok(findings.into_inner().expect("no job panics"))
}

/// One seed; a panic is what it found.
fn one(reference: &Reference, seed: u64, commands: usize) -> Result<BothSides, String> {
    let run = || {
        let mut sides = BothSides::new(seed, reference);
        sides.run(&mut Generator::new(seed, |_| true), commands);
        sides
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn row(arguments: &Arguments, checkout: &Checkout, findings: &Findings, missed: &[&str], took: Duration) -> Row {
    let profile = format!("{} kinds of commands, {} of each seed", findings.seen.len(), arguments.each);
    let mut row = Row::new(checkout, Suite::Differential, profile, arguments.seed);
    "–".clone_into(&mut row.durability);
    row.seeds = findings.seeds;
    row.seeds_counted = findings.seeds;
    row.wall_ms = took.as_millis() as u64;
    row.ops_checked = Some(findings.compared);
    row.other_violations = Some(findings.differences.len() as u64);
    row.notes = findings.differences.iter().map(|text| text.lines().take(4).collect::<Vec<_>>().join("; ")).collect();
    row.notes.extend((!missed.is_empty()).then(|| format!("never drawn: {missed:?}")));
    row.verdict = match (findings.differences.is_empty(), missed.is_empty()) {
        (true, true) => RowVerdict::Pass,
        (true, false) => RowVerdict::Invalid,
        (false, _) => RowVerdict::Fail,
    };
    row
}
