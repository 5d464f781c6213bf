//! `make chaos`: kills, power losses, pauses, partitions, disk faults, link faults and clock faults on a cluster of
//! real processes under load. Reports how long each fault delayed writes and reads, and the ledger's verdict. Exit code
//! 1: a promise was broken. Exit code 2: the run proves nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use fastness_testkit::chaos::adversary::{self, Attack, AttackSize};
use fastness_testkit::chaos::{
    self, ChaosFault, ChaosOptions, ChaosPlan, ChaosProfile, ChaosReport, Company, Length, Needs, Until, sandbox,
};
use fastness_testkit::clients::{ClientMix, Counts};
use fastness_testkit::cluster::{self, Cluster, clock, power};
use fastness_testkit::counting::CountingVerdict;
use fastness_testkit::partition;
use fastness_testkit::proof::{self, Checkout, Row};

/// Log bytes between snapshots: so few that most restarts and undos start with a snapshot.
const SNAPSHOT_LOG_BYTES: u64 = 1 << 20;
/// Log bytes that are kept for watches, where they must not miss anything.
const WATCH_LOG_BYTES: u64 = 64 << 20;

const DURABILITIES: [&str; 3] = ["sync", "async", "disabled"];
/// The profile of hostile clients; it runs in all three modes, one after the other, unless --durability names one.
const ADVERSARY: &str = "adversary";
/// Descriptors of each node in such a run: fewer than the attack opens connections.
const DESCRIPTORS: u64 = 2_048;

/// Injects faults and checks that no acknowledged write is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seed of all choices; random and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The faults: kills, pauses, partitions, links, disks, clocks, power, power-all, mixed (all), ci (a kill, a
    /// partition of an AZ, a pause, power losses of a node and of all nodes), or adversary (hostile clients, without
    /// faults).
    #[arg(long, default_value = "mixed")]
    profile: String,
    /// Only these kinds of faults, separated by commas; a wrong name lists all kinds.
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// Length of the run, seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Number of faults, however long it takes.
    #[arg(long, conflicts_with = "seconds")]
    faults: Option<usize>,
    /// Nodes in three AZs: 3 or 5.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Shards.
    #[arg(long, default_value_t = 2)]
    shards: u32,
    /// The durability mode. In async and disabled a failover may lose acknowledged writes: the loss is measured, and in
    /// async it must be within the bound. Default: sync; for adversary all three, --seconds each.
    #[arg(long, value_parser = DURABILITIES)]
    durability: Option<String>,
    /// The lag bound in async, milliseconds: shorter than a lease, so that the gate closes before the lease has
    /// expired.
    #[arg(long, default_value_t = 100)]
    max_lag_ms: u64,
    /// For adversary: only attacks as large as those that once harmed a shard.
    #[arg(long)]
    small: bool,
    /// For adversary: the memory bound of each replica, MiB.
    #[arg(long, default_value_t = 1_536)]
    maxmemory_mib: u64,
    /// Workers of the load [default: 16; adversary: 4]
    #[arg(long)]
    workers: Option<usize>,
    /// Pause of each worker between two commands, milliseconds [default: 0; adversary: 5]
    #[arg(long)]
    pause_ms: Option<u64>,
    /// What the clients speak, all of them on the same keys: resp; grpc (the generated stubs); sdk (the Rust SDK); or
    /// mixed, two of four in RESP and one each of the others. Unless all speak RESP, clients also add to counters, with
    /// idempotency keys (exact in the end) and without, and watches of the SDK must show each increment once; for seeds
    /// that are odd the log is purged early, which a watch must then report. Not for adversary, whose load speaks RESP.
    #[arg(long, value_parser = ClientMix::NAMES, default_value = ClientMix::Mixed.name())]
    clients: String,
    /// Let clients of RESP connect without TLS.
    #[arg(long)]
    plaintext: bool,
    /// Print each fault when it ends, not only the table.
    #[arg(long)]
    verbose: bool,
    /// Keep the cluster's files, including logs, after a good run, too.
    #[arg(long)]
    keep: bool,
    /// Load only with the ledger's registers and counters, without histories that are checked afterwards.
    #[arg(long)]
    no_histories: bool,
    /// Append a row of the run to the ledger of long runs, tests/ledger.jsonl; not for `disabled`, which may lose
    /// anything.
    #[arg(long)]
    ledger: bool,
    /// Write the figures of the run to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !sandbox::is_inside() && sandbox::lacking().is_none() {
        let Err(error) = sandbox::enter();
        eprintln!("the run proves nothing: {error:#}");
        return ExitCode::from(2);
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    if arguments.profile == ADVERSARY {
        return attack_in_all_modes(&arguments, seed);
    }
    let checkout = (arguments.ledger && arguments.durability() != "disabled").then(Checkout::now).transpose();
    let ran = checkout.and_then(|checkout| {
        let ran = run(&arguments, seed);
        checkout.map_or(Ok(()), |checkout| write_row(&arguments, &checkout, seed, &ran))?;
        ran
    });
    match ran {
        Ok(report) => print(&report),
        Err(error) => {
            eprintln!("the run proves nothing (seed {seed}): {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Writes the row, also of a run that proves nothing.
fn write_row(
    arguments: &Arguments,
    checkout: &Checkout,
    seed: u64,
    ran: &anyhow::Result<ChaosReport>,
) -> anyhow::Result<()> {
    let profile = if arguments.kinds.is_empty() { arguments.profile.clone() } else { arguments.kinds.join("+") };
    let row = match ran {
        Ok(report) => report.ledger_row(checkout, &profile, arguments.durability()),
        Err(error) => {
            Row { notes: vec![format!("{error:#}")], ..Row::new(checkout, proof::Suite::Chaos, profile, seed) }
        }
    };
    proof::append(row).map(drop)
}

impl Arguments {
    fn durability(&self) -> &'static str {
        let requested = DURABILITIES.into_iter().find(|mode| Some(*mode) == self.durability.as_deref());
        requested.unwrap_or(DURABILITIES[0])
    }

    fn clients(&self) -> ClientMix {
        ClientMix::from_name(&self.clients).unwrap_or(ClientMix::Mixed)
    }
}

/// Runs attacks in each mode, or in the given one. Returns the worst exit code.
fn attack_in_all_modes(arguments: &Arguments, seed: u64) -> ExitCode {
    let modes = if arguments.durability.is_some() { vec![arguments.durability()] } else { DURABILITIES.to_vec() };
    let mut worst = ExitCode::SUCCESS;
    for durability in modes {
        let checkout = (arguments.ledger && durability != "disabled").then(Checkout::now).transpose();
        let ran = checkout.and_then(|checkout| {
            let ran = attack(arguments, seed, durability);
            let row = |checkout: &Checkout| match &ran {
                Ok(report) => report.ledger_row(checkout, durability),
                Err(error) => Row {
                    notes: vec![format!("{error:#}")],
                    ..Row::new(checkout, proof::Suite::Chaos, ADVERSARY, seed)
                },
            };
            checkout.as_ref().map_or(Ok(()), |checkout| proof::append(row(checkout)).map(drop))?;
            ran
        });
        match ran {
            Ok(report) if report.violations().is_empty() && report.without_effect().is_empty() => {}
            Ok(report) if report.violations().is_empty() => worst = ExitCode::from(2),
            Ok(_) => return ExitCode::FAILURE,
            Err(error) => {
                eprintln!("the run proves nothing ({durability}, seed {seed}): {error:#}");
                worst = ExitCode::from(2);
            }
        }
    }
    worst
}

fn attack(arguments: &Arguments, seed: u64, durability: &'static str) -> anyhow::Result<adversary::AdversaryReport> {
    let attacks = match arguments.kinds.as_slice() {
        [] => Attack::ALL.to_vec(),
        names => names.iter().map(|name| attack_named(name)).collect::<anyhow::Result<_>>()?,
    };
    let azs = azs(arguments.nodes)?;
    let mut cluster = Cluster::start(&cluster::ClusterOptions {
        replicas: azs.len() as u32 - 1,
        azs,
        shards: arguments.shards,
        durability,
        descriptors_max: Some(DESCRIPTORS),
        ..cluster::ClusterOptions::default()
    })?;
    cluster.keep_files();
    let options = adversary::AdversaryOptions {
        seed,
        seconds: arguments.seconds,
        attacks,
        size: if arguments.small { AttackSize::Small } else { AttackSize::Full },
        maxmemory: arguments.maxmemory_mib << 20,
        // The load exists only to be affected, and must leave cores to the work that attackers cause.
        workers: arguments.workers.unwrap_or(4),
        pause: Duration::from_millis(arguments.pause_ms.unwrap_or(5).max(1)),
        loses: durability != "sync",
        max_loss: (durability == "async").then_some(fastness_types::limits::DURABILITY_LAG_MAX),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(adversary::run(&cluster, &options, |attacked| println!("{attacked}")))?;
    print_attacks(&report, durability);
    if let Some(path) = &arguments.json {
        let mut row = report.row();
        row["durability"] = durability.into();
        std::fs::write(path, format!("{row}\n")).with_context(|| path.display().to_string())?;
    }
    if report.violations().is_empty() && !arguments.keep {
        cluster.discard_files();
    }
    Ok(report)
}

fn attack_named(name: &str) -> anyhow::Result<Attack> {
    Attack::from_name(name).with_context(|| {
        let names: Vec<_> = Attack::ALL.iter().map(|attack| attack.name()).collect();
        format!("unknown attack {name:?}; known: {}", names.join(", "))
    })
}

fn print_attacks(report: &adversary::AdversaryReport, durability: &str) {
    let summary = report.verdict.summary;
    println!(
        "{durability}: {} attacks; {} writes acknowledged, {} refused, {} of unknown outcome; {} reads; {:.0} s; a log commits {} MB/s",
        report.attacked.len(),
        summary.acknowledged,
        summary.refused,
        summary.unknown,
        summary.reads,
        report.elapsed.as_secs_f64(),
        report.pace / 1_000_000,
    );
    for (shard, span, _) in &report.silences {
        println!("shard {shard}: at most {} ms without an answered write", span.as_millis());
    }
    for (node, (most, bound)) in &report.watched.resident {
        println!("node {node}: at most {} MiB resident, {} allowed", most >> 20, bound >> 20);
    }
    let broken = report.violations();
    broken.iter().for_each(|violation| println!("BROKEN {violation}"));
    report.without_effect().iter().for_each(|name| println!("without effect: {name}"));
    println!("{} broken promises in {durability} (seed {})", broken.len(), report.seed);
}

fn plan(arguments: &Arguments) -> anyhow::Result<ChaosPlan> {
    let profile = ChaosProfile::from_name(&arguments.profile);
    let profile = profile.with_context(|| {
        let names: Vec<_> = ChaosProfile::ALL.iter().map(|profile| profile.name).collect();
        format!("unknown profile {:?}; known: {}", arguments.profile, names.join(", "))
    })?;
    let mut deck = profile.deck.to_vec();
    if !arguments.kinds.is_empty() {
        deck = arguments.kinds.iter().map(|name| fault(name)).collect::<anyhow::Result<_>>()?;
    }
    skip_impossible(&mut deck, arguments.nodes);
    ensure!(!deck.is_empty(), "no fault of {} can be injected here", arguments.profile);
    let length = arguments.faults.map_or(Length::Time(Duration::from_secs(arguments.seconds)), Length::Faults);
    Ok(ChaosPlan { deck, shuffled: true, overlap_percent: profile.overlap_percent, length, whole: profile.whole })
}

fn fault(name: &str) -> anyhow::Result<ChaosFault> {
    ChaosFault::from_name(name).with_context(|| {
        let names: Vec<_> = ChaosFault::ALL.into_iter().map(ChaosFault::name).collect();
        format!("unknown fault {name:?}; known: {}", names.join(", "))
    })
}

/// Removes only faults for which this machine or a cluster of this size has no means; a means that exists and fails
/// fails the run.
fn skip_impossible(deck: &mut Vec<ChaosFault>, nodes: usize) {
    let needed = |needs: Needs| deck.iter().any(|fault| fault.needs() == needs);
    let lacking = [
        (Needs::Packets, needed(Needs::Packets).then(partition::lacking).flatten()),
        (Needs::Power, needed(Needs::Power).then(power::lacking).flatten()),
        (Needs::Clocks, needed(Needs::Clocks).then(clock::lacking).flatten()),
    ];
    deck.retain(|fault| {
        let missing = lacking.iter().find(|(needs, _)| *needs == fault.needs()).and_then(|(_, why)| why.clone());
        let why = missing.or_else(|| fault.unfit(nodes));
        if let Some(why) = &why {
            println!("SKIPPED {}: {why}", fault.name());
        }
        why.is_none()
    });
}

fn azs(nodes: usize) -> anyhow::Result<Vec<&'static str>> {
    match nodes {
        3 => Ok(vec!["a", "b", "c"]),
        5 => Ok(vec!["a", "a", "b", "b", "c"]),
        _ => anyhow::bail!("--nodes {nodes}: 3 or 5"),
    }
}

fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<ChaosReport> {
    let azs = azs(arguments.nodes)?;
    let plan = plan(arguments)?;
    let max_loss = (arguments.durability() == "async").then(|| Duration::from_millis(arguments.max_lag_ms));
    let needs = |needs: Needs| plan.deck.iter().any(|fault| fault.needs() == needs);
    let clients = arguments.clients();
    // A log that is kept for watches spares replicas from snapshots: half of the runs have none.
    let purges = clients == ClientMix::Resp || !seed.is_multiple_of(2);
    let mut cluster = Cluster::start(&cluster::ClusterOptions {
        replicas: azs.len() as u32 - 1,
        azs,
        shards: arguments.shards,
        durability: arguments.durability(),
        snapshot_log_bytes: Some(SNAPSHOT_LOG_BYTES),
        watch_log_bytes: if purges { 0 } else { WATCH_LOG_BYTES },
        max_lag: max_loss,
        loses_unsynced: needs(Needs::Power),
        disk_bytes: cluster::power::IMAGE_BYTES,
        sets_clocks: needs(Needs::Clocks),
        descriptors_max: None,
        node_options: Vec::new(),
        env: Vec::new(),
    })?;
    cluster.keep_files();
    let options = ChaosOptions {
        seed,
        plan,
        workers: arguments.workers.unwrap_or(16),
        clients,
        tls: !arguments.plaintext,
        pause: Duration::from_millis(arguments.pause_ms.unwrap_or(0)),
        // The checkers of histories know of no write that may be lost.
        histories: !arguments.no_histories && arguments.durability() == "sync",
        purges,
        loses: arguments.durability() != "sync",
        max_loss,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let verbose = arguments.verbose;
    let told = |injected: &chaos::Injected| {
        if verbose {
            println!("{injected}");
        }
    };
    let report = runtime.block_on(chaos::run(&cluster, &options, told))?;
    if let Some(path) = &arguments.json {
        let mut row = report.row();
        row["profile"] = arguments.profile.as_str().into();
        row["durability"] = arguments.durability().into();
        std::fs::write(path, format!("{row}\n")).with_context(|| path.display().to_string())?;
    }
    if report.violations().is_empty() && !arguments.keep {
        cluster.discard_files();
    }
    Ok(report)
}

fn print(report: &ChaosReport) -> ExitCode {
    println!("From the fault to the next acknowledged write, and to the next linearizable read:");
    println!("| fault | times | write p50 ms | p99 ms | longest ms | read p50 ms | p99 ms | longest ms |");
    println!("|---|---|---|---|---|---|---|---|");
    for fault in ChaosFault::ALL {
        print_row(fault.name(), report.alone(&[fault]), |what, share| report.until(what, &[fault], share));
    }
    let silent = ChaosFault::SILENT;
    print_row("every silent loss", report.alone(&silent), |what, share| report.until(what, &silent, share));
    for (name, company) in
        [("overlapping, from the last", Company::Bearable), ("without a quorum, from the end", Company::TooMuch)]
    {
        let times = report.injected.iter().filter(|i| i.company == company).count();
        print_row(name, times, |what, share| report.until_in(what, company, share));
    }
    print_counts(report);
    let broken = report.violations();
    broken.iter().for_each(|violation| println!("BROKEN {violation}"));
    report.undecided().iter().for_each(|why| println!("undecided: {why}"));
    println!("{} broken promises (seed {}); {}", broken.len(), report.seed, operations(report));
    match (broken.is_empty(), report.undecided().is_empty()) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(2),
        (false, _) => ExitCode::FAILURE,
    }
}

/// How many operations each kind of client did.
fn operations(report: &ChaosReport) -> String {
    let sum = |counts: Counts| counts.acknowledged + counts.refused + counts.unknown + counts.reads;
    let kinds: Vec<String> =
        report.by_client().into_iter().map(|(kind, counts)| format!("{} by {kind}", sum(counts))).collect();
    format!("operations: {}", kinds.join(", "))
}

fn print_row(name: &str, times: usize, at: impl Fn(Until, f64) -> Option<Duration>) {
    if times == 0 {
        return;
    }
    let ms = |what, share| at(what, share).map_or(0, |span| span.as_millis());
    let spans = [Until::Write, Until::Read].map(|what| [0.5, 0.99, 1.0].map(|share| ms(what, share).to_string()));
    println!("| {name} | {times} | {} |", spans.concat().join(" | "));
}

fn print_counts(report: &ChaosReport) {
    let s = report.counts();
    println!(
        "{} writes acknowledged, {} refused, {} of unknown outcome; {} reads; {} answers checked; digests compared {} times; {:.0} s",
        s.acknowledged,
        s.refused,
        s.unknown,
        s.reads,
        report.ops_checked(),
        report.digests_compared,
        report.elapsed.as_secs_f64()
    );
    for (kind, Counts { acknowledged, refused, unknown, reads }) in report.by_client() {
        println!(
            "clients of {kind}: {acknowledged} writes acknowledged, {refused} refused, {unknown} of unknown outcome; {reads} reads"
        );
    }
    if let Some(counters) = &report.verdict.counters {
        print_counters(counters);
    }
    println!(
        "{} faults, each seen to take effect; power losses that count: {} of a node, {} of an AZ, {} of the cluster",
        report.injected.len(),
        report.power_losses(&[ChaosFault::PowerPrimary, ChaosFault::PowerAny]),
        report.power_losses(&[ChaosFault::PowerAz]),
        report.power_losses(&[ChaosFault::PowerAll]),
    );
    if let Some(losses) = &report.verdict.losses {
        println!(
            "{} of {} acknowledged writes lost in {} tenures, the oldest {} ms before the newest acknowledged one of its tenure",
            losses.lost,
            losses.acknowledged,
            losses.tenures,
            losses.longest.as_millis()
        );
    }
    let missing = report.plan.missing(|fault| report.times(&[fault]) > 0);
    if !missing.is_empty() {
        let names: Vec<_> = missing.into_iter().map(ChaosFault::name).collect();
        println!("did not occur in this run: {}", names.join(", "));
    }
}

fn print_counters(counters: &CountingVerdict) {
    for (name, counts) in &counters.by_name {
        println!(
            "counting by {name}: {} acknowledged, {} refused, {} of unknown outcome",
            counts.acknowledged, counts.refused, counts.unknown
        );
    }
    println!(
        "{} counted; watches have shown {} increments, and reported {} times that some were purged",
        counters.counted, counters.events, counters.purged
    );
}
