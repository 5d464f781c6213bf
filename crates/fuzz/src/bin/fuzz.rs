//! `make fuzz`: executes the targets for a time or a number of executions, prints what each has done, and writes a row
//! of the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use fastness_fuzz::coverage::Coverage;
use fastness_fuzz::run::{self, Budget, Finding, Report};
use fastness_fuzz::{Target, seeds, target, targets};
use fastness_testkit::proof::{self, Checkout, Fuzzed, Row, RowVerdict, Suite};

/// Executes fuzz targets. The same seed makes the same inputs, as long as they are not guided by branches.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
    /// Seconds for all targets together.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Executions of all targets together, instead of a time: each has its share.
    #[arg(long)]
    executions: Option<u64>,
    /// Executions that each target has at least, with --executions.
    #[arg(long, default_value_t = 0)]
    least: u64,
    /// The first seed; every part of a run has its own.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds in which the targets take turns.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Executes this file and nothing else, with --target.
    #[arg(long)]
    input: Option<PathBuf>,
    /// A folder for inputs that have taken new branches, one folder in it for each target: they are read at the start,
    /// and written at the end.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Writes a row of the ledger.
    #[arg(long)]
    ledger: bool,
    /// Lists the targets.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run_all(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(findings) => {
            eprintln!("{findings} findings");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the run proves nothing: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs what was requested; returns the number of findings.
fn run_all(arguments: &Arguments) -> Result<usize> {
    let chosen: Vec<&'static Target> = match &arguments.target {
        Some(name) => vec![target(name).with_context(|| format!("no target is named {name}: see --list"))?],
        None => targets::ALL.iter().collect(),
    };
    if arguments.list {
        chosen.iter().for_each(|target| println!("{:14} {}", target.name, target.what));
        return Ok(0);
    }
    if let Some(input) = &arguments.input {
        ensure!(chosen.len() == 1, "--input needs --target");
        return replay(chosen[0], input);
    }
    let checkout = Checkout::now()?;
    let started = Instant::now();
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for round in 0..arguments.rounds.max(1) {
        for target in &chosen {
            let seed = arguments.seed.wrapping_add(round);
            let report = run_one(target, seed, budget(target, &chosen, arguments), arguments.keep.as_deref())?;
            let sum = sums.entry(target.name).or_default();
            sum.add(target, report);
            println!("round {} of {}: {}", round + 1, arguments.rounds.max(1), sum.line(target.name));
        }
    }
    println!();
    sums.iter().for_each(|(name, sum)| println!("{}", sum.line(name)));
    let executions: u64 = sums.values().map(|sum| sum.executions).sum();
    println!("{executions} executions of {} targets in {:.0} s", sums.len(), started.elapsed().as_secs_f64());
    if arguments.ledger {
        let sealed = proof::append(row(arguments, &checkout, &sums, started.elapsed()))?;
        println!("row {} of the ledger", sealed.number);
    }
    Ok(sums.values().map(|sum| sum.findings.len()).sum())
}

fn budget(target: &Target, chosen: &[&Target], arguments: &Arguments) -> Budget {
    let shares: u64 = chosen.iter().map(|target| u64::from(target.share)).sum();
    let rounds = arguments.rounds.max(1);
    match arguments.executions {
        Some(all) => {
            let share = all / shares * u64::from(target.share);
            Budget { executions: share.max(arguments.least).div_ceil(rounds), time: Duration::MAX }
        }
        None => {
            let time = Duration::from_secs(arguments.seconds) / (chosen.len() as u32) / (rounds as u32);
            Budget { executions: u64::MAX, time }
        }
    }
}

fn replay(target: &'static Target, input: &Path) -> Result<usize> {
    let input = std::fs::read(input).with_context(|| input.display().to_string())?;
    match run::execute(target, &input) {
        Ok(decoded) => println!("{}: {}", target.name, if decoded { "decoded" } else { "refused" }),
        Err(finding) => {
            println!("{}: {}", target.name, finding.what);
            return Ok(1);
        }
    }
    Ok(0)
}

fn run_one(target: &'static Target, seed: u64, budget: Budget, keep: Option<&Path>) -> Result<Report> {
    let mut corpus = seeds::all(target)?;
    let folder = keep.map(|keep| keep.join(target.name));
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder)?;
        for entry in std::fs::read_dir(folder)? {
            corpus.push(std::fs::read(entry?.path())?);
        }
    }
    let report = run::run(target, corpus, seed, budget);
    for (number, input) in report.kept.iter().enumerate().filter(|_| folder.is_some()) {
        let Some(folder) = &folder else { bail!("no folder for new inputs") };
        std::fs::write(folder.join(format!("{seed}-{number}")), input)?;
    }
    Ok(report)
}

/// The figures of one target.
#[derive(Default)]
struct Sum {
    executions: u64,
    decoded: u64,
    edges: u64,
    elapsed: Duration,
    findings: Vec<Finding>,
}

impl Sum {
    fn add(&mut self, target: &'static Target, report: Report) {
        self.executions += report.executions;
        self.decoded += report.decoded;
        self.edges = self.edges.max(report.edges);
        self.elapsed += report.elapsed;
        if let Some(finding) = report.finding {
            let finding = run::shortened(target, finding);
            let path = std::env::temp_dir().join(format!("fuzz-{}-{}", target.name, self.findings.len()));
            println!("FOUND {}: {}", target.name, finding.what);
            println!("  {}", finding.input.escape_ascii());
            match std::fs::write(&path, &finding.input) {
                Ok(()) => println!("  in {}", path.display()),
                Err(error) => println!("  not written: {error}"),
            }
            self.findings.push(finding);
        }
    }

    fn line(&self, name: &str) -> String {
        let per_second = self.executions as f64 / self.elapsed.as_secs_f64().max(0.001);
        let decoded = 100.0 * self.decoded as f64 / self.executions.max(1) as f64;
        let edges = if Coverage::is_counted() { format!(", {} branches", self.edges) } else { String::new() };
        format!("{name:14} {:>10} executions, {decoded:4.1} % decoded, {per_second:.0}/s{edges}", self.executions)
    }
}

fn row(arguments: &Arguments, checkout: &Checkout, sums: &BTreeMap<&str, Sum>, elapsed: Duration) -> Row {
    let guided = if Coverage::is_counted() { "guided by branches" } else { "not guided" };
    let which = arguments.target.as_deref().unwrap_or("all targets");
    let mut row = Row::new(checkout, Suite::Fuzz, format!("{which}, {guided}"), arguments.seed);
    "–".clone_into(&mut row.durability);
    row.seeds = arguments.rounds.max(1);
    row.seeds_counted = row.seeds;
    row.wall_ms = elapsed.as_millis() as u64;
    row.ops_checked = Some(sums.values().map(|sum| sum.executions).sum());
    row.other_violations = Some(sums.values().map(|sum| sum.findings.len() as u64).sum());
    for (name, sum) in sums {
        let branches = Coverage::is_counted().then_some(sum.edges);
        row.fuzzed.insert((*name).to_owned(), Fuzzed { executions: sum.executions, decoded: sum.decoded, branches });
        row.notes.extend(sum.findings.iter().map(|finding| format!("{name}: {}", finding.what)));
    }
    row.verdict = if row.notes.is_empty() { RowVerdict::Pass } else { RowVerdict::Fail };
    row
}
