//! `make bench`: Fastness against a real Valkey with two replicas, in the same run, on the same cores, with the same
//! client. Rounds alternate, and the result is the median of the ratios of adjacent rounds.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastness_load::closed_loop::{self, ClosedLoopOptions, Kind, Report};
use fastness_testkit::bench::{machine, processes, valkey::Valkey};
use fastness_testkit::cluster::{Cluster, ClusterOptions};

/// Compares throughput, latency and CPU with Valkey.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds of one round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Pairs of rounds for each row.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Keys.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// The valkey-server to compare with.
    #[arg(long, env = "FASTNESS_VALKEY_SERVER")]
    valkey_server: PathBuf,
    /// Only rows whose name contains this text.
    #[arg(long, default_value = "")]
    only: String,
    /// The main commands of each data type, in async, instead of SET and GET.
    #[arg(long)]
    types: bool,
    /// SET of new keys, in async: what the growth of tables costs, which the quantiles of a long round show
    /// (--seconds 30 --pairs 1).
    #[arg(long, conflicts_with = "types")]
    growth: bool,
}

/// One line of the table.
struct Row {
    mode: &'static str,
    kind: Kind,
    /// What writes the data before.
    fill: Kind,
    pipeline: usize,
    connections: usize,
}

impl Row {
    fn name(&self) -> String {
        format!("{} {} {} clients, pipeline {}", self.mode, self.kind.name, self.connections, self.pipeline)
    }
}

fn rows(mode: &'static str, arguments: &Arguments) -> Vec<Row> {
    let row = |kind, pipeline, connections| Row { mode, kind, fill: Kind::SET, pipeline, connections };
    let connections = arguments.connections;
    if arguments.growth {
        return if mode == "async" {
            vec![row(NEW_KEYS, 1, connections), row(NEW_KEYS, 16, connections)]
        } else {
            Vec::new()
        };
    }
    if arguments.types {
        let both =
            |&(fill, kind): &(Kind, Kind)| [1, 16].map(|pipeline| Row { mode, kind, fill, pipeline, connections });
        return if mode == "async" { TYPES.iter().flat_map(both).collect() } else { Vec::new() };
    }
    let mut rows = vec![row(Kind::SET, 1, connections), row(Kind::SET, 16, connections)];
    if mode == "async" {
        rows.extend([row(Kind::GET, 1, connections), row(Kind::GET, 16, connections)]);
    } else {
        rows.extend([row(Kind::SET, 1, 1), row(Kind::GET, 1, connections)]);
    }
    rows
}

/// Hardly any key is drawn twice.
const NEW_KEYS: Kind = Kind { name: "SET of new keys", commands: &[&["SET", "new:__rand_int__", "xxxxxxxxxx"]] };
const NEW_KEYS_MAX: u64 = 1_000_000_000_000;

/// Main commands of each type, and what writes the data before. Commands that grow a value take turns with one that
/// shrinks it.
const TYPES: &[(Kind, Kind)] = &[
    (Kind::SET, Kind::SET),
    (Kind::SET, Kind::GET),
    of("INCR", &[&["INCR", "counter:__rand_int__"]]),
    of("SETBIT", &[&["SETBIT", "bits:{__rand_int__}", "100", "1"]]),
    of("PFADD", &[&["PFADD", "visitors", "user:__rand_int__"]]),
    of("HSET", HASHES),
    filled("HGET", HASHES, &[&["HGET", "hash:__rand_int__", "f1"]]),
    filled("HGETALL", HASHES, &[&["HGETALL", "hash:__rand_int__"]]),
    of("LPUSH, RPOP", &[&["LPUSH", "queue:__rand_int__", "__data__"], &["RPOP", "queue:__rand_int__"]]),
    filled("LRANGE of 100", LISTS, &[&["LRANGE", "list", "0", "99"]]),
    of("SADD, SREM", &[&["SADD", "set:__rand_int__", "m1", "m2"], &["SREM", "set:__rand_int__", "m1"]]),
    filled("SISMEMBER", &[&["SADD", "members", "m:__rand_int__"]], &[&["SISMEMBER", "members", "m:__rand_int__"]]),
    of("ZADD", BOARD),
    of("ZINCRBY", &[&["ZINCRBY", "board", "7", "player:__rand_int__"]]),
    filled("ZREVRANK", BOARD, &[&["ZREVRANK", "board", "player:__rand_int__"]]),
    filled("ZRANGE of 10, REV", BOARD, &[&["ZRANGE", "board", "0", "9", "REV", "WITHSCORES"]]),
    of("XADD MAXLEN ~ 1000", STREAM),
    filled("XREVRANGE of 10", STREAM, &[&["XREVRANGE", "stream", "+", "-", "COUNT", "10"]]),
    of("GEOADD", PLACES),
    filled(
        "GEOSEARCH",
        PLACES,
        &[&["GEOSEARCH", "places", "FROMLONLAT", "15", "37", "BYRADIUS", "5", "km", "COUNT", "10"]],
    ),
];
const HASHES: &[&[&str]] = &[&["HSET", "hash:__rand_int__", "f1", "__data__", "f2", "17"]];
const LISTS: &[&[&str]] = &[&["LPUSH", "list", "__data__"], &["LTRIM", "list", "0", "999"]];
const BOARD: &[&[&str]] = &[&["ZADD", "board", "__rand_int__", "player:__rand_int__"]];
const STREAM: &[&[&str]] = &[&["XADD", "stream", "MAXLEN", "~", "1000", "*", "field", "__data__"]];
const PLACES: &[&[&str]] = &[&["GEOADD", "places", "15.__rand_int__", "37.__rand_int__", "place:__rand_int__"]];

/// A row whose data the measured commands write themselves.
const fn of(name: &'static str, commands: &'static [&'static [&'static str]]) -> (Kind, Kind) {
    filled(name, commands, commands)
}

const fn filled(
    name: &'static str,
    fill: &'static [&'static [&'static str]],
    commands: &'static [&'static [&'static str]],
) -> (Kind, Kind) {
    (Kind { name, commands: fill }, Kind { name, commands })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.pairs > 0 && arguments.seconds > 0, "--pairs and --seconds must be at least 1");
    println!("machine: {}", machine::describe()?);
    let fsync = machine::fdatasync_us(&std::env::temp_dir())?;
    let round_trip = machine::loopback_round_trip_us()?;
    println!("fdatasync of a 128 B append, p50: {fsync} us; loopback TCP round trip, p50: {round_trip} us");
    println!("rounds of {} s, {} pairs, {} B values", arguments.seconds, arguments.pairs, arguments.value_bytes);
    println!();
    println!(
        "| row | Fastness / Valkey: median [min-max] | k ops/s | p50 us | p99 us | p99.9 us | CPU us/op primary + replica each | instructions/op primary |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let valkey = Valkey::start(&arguments.valkey_server)?;
    let mut one_client_p50 = None;
    for mode in ["async", "sync"] {
        let rows: Vec<Row> =
            rows(mode, &arguments).into_iter().filter(|r| r.name().contains(&arguments.only)).collect();
        if rows.is_empty() {
            continue;
        }
        let cluster = Cluster::start(&ClusterOptions { durability: mode, ..ClusterOptions::default() })?;
        for row in rows {
            let p50 = measure(&arguments, &cluster, &valkey, &row).await?;
            if row.mode == "sync" && row.kind == Kind::SET && row.connections == 1 {
                one_client_p50 = Some(p50);
            }
        }
    }
    if let Some(p50) = one_client_p50 {
        let floor = fsync + round_trip;
        println!();
        println!(
            "one client's sync SET at p50: {p50} us = {:.2} x (fdatasync + round trip = {floor} us)",
            p50 as f64 / floor as f64
        );
    }
    Ok(())
}

/// Measures one row and prints it; returns our p50 in microseconds.
async fn measure(arguments: &Arguments, cluster: &Cluster, valkey: &Valkey, row: &Row) -> Result<u64> {
    let primary = cluster.primary(1, Duration::from_secs(30)).await?;
    let ours_pids = cluster_pids(cluster, primary)?;
    let theirs_pids = valkey.pids();
    let options = ClosedLoopOptions {
        endpoint: cluster.front_end(primary, 1)?,
        tls: None,
        connections: row.connections,
        pipeline: row.pipeline,
        kind: row.kind,
        value_bytes: arguments.value_bytes,
        keys: if row.kind == NEW_KEYS { NEW_KEYS_MAX } else { arguments.keys },
        wait_replicas: None,
        duration: Duration::from_secs(arguments.seconds),
        seed: 1,
    };
    let wait = (row.mode == "sync" && row.kind != Kind::GET).then_some(1);
    let against = ClosedLoopOptions { endpoint: valkey.endpoint(), wait_replicas: wait, ..options.clone() };
    for side in [&options, &against] {
        warm_up(side, row.fill).await?;
    }
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.pairs {
        let us = round(&options, &ours_pids).await.context("Fastness")?;
        let them = round(&against, &theirs_pids).await.context("Valkey")?;
        ratios.push(us.report.rate() / them.report.rate());
        ours.push(us);
        theirs.push(them);
    }
    ratios.sort_by(f64::total_cmp);
    let (ours, theirs) = (Side::of(&ours), Side::of(&theirs));
    println!(
        "| {} | **{:.2}** [{:.2}-{:.2}] | {:.1} / {:.1} | {} / {} | {} / {} | {} / {} | {:.2} + {:.2} / {:.2} + {:.2} | {} / {} |",
        row.name(),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
        ours.rate / 1000.0,
        theirs.rate / 1000.0,
        ours.p50_us,
        theirs.p50_us,
        ours.p99_us,
        theirs.p99_us,
        ours.p999_us,
        theirs.p999_us,
        ours.primary_cpu_us,
        ours.replica_cpu_us,
        theirs.primary_cpu_us,
        theirs.replica_cpu_us,
        ours.instructions,
        theirs.instructions,
    );
    Ok(ours.p50_us)
}

/// Process ids, the primary's first.
fn cluster_pids(cluster: &Cluster, primary: u64) -> Result<Vec<i32>> {
    let mut nodes = cluster.file()?.nodes;
    nodes.sort_by_key(|n| n.id != primary);
    nodes.iter().map(|n| n.pid.with_context(|| format!("node {} is not running", n.id))).collect()
}

/// Writes all keys, and waits until memory and files have reached a steady state.
async fn warm_up(options: &ClosedLoopOptions, kind: Kind) -> Result<()> {
    let fill = ClosedLoopOptions {
        kind,
        pipeline: 16,
        connections: 16,
        wait_replicas: None,
        duration: Duration::from_secs(2),
        ..options.clone()
    };
    let report = closed_loop::run(&fill).await?;
    ensure!(report.errors == 0, "{} error replies while filling", report.errors);
    Ok(())
}

struct Round {
    report: Report,
    primary_cpu_us: f64,
    replica_cpu_us: f64,
    instructions: Option<f64>,
}

async fn round(options: &ClosedLoopOptions, pids: &[i32]) -> Result<Round> {
    let before = processes::cpu_us(pids)?;
    let counter = processes::Instructions::start(pids[0]);
    let report = closed_loop::run(options).await?;
    let instructions = counter.stop();
    let after = processes::cpu_us(pids)?;
    ensure!(report.errors == 0, "{} of {} replies were errors", report.errors, report.operations);
    let operations = report.operations as f64;
    let used: Vec<f64> = before.iter().zip(&after).map(|(b, a)| (a - b) as f64 / operations).collect();
    Ok(Round {
        primary_cpu_us: used[0],
        replica_cpu_us: used[1..].iter().sum::<f64>() / (used.len() - 1).max(1) as f64,
        instructions: instructions.map(|n| n as f64 / operations),
        report,
    })
}

/// Medians over the rounds of one side.
struct Side {
    rate: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    primary_cpu_us: f64,
    replica_cpu_us: f64,
    instructions: String,
}

impl Side {
    fn of(rounds: &[Round]) -> Side {
        let median = |figure: &dyn Fn(&Round) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        let quantile = |q: f64| median(&|r| r.report.latency_us.value_at_quantile(q) as f64) as u64;
        let counted = rounds.iter().all(|r| r.instructions.is_some());
        Side {
            rate: median(&|r| r.report.rate()),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            primary_cpu_us: median(&|r| r.primary_cpu_us),
            replica_cpu_us: median(&|r| r.replica_cpu_us),
            instructions: if counted {
                format!("{:.0}", median(&|r| r.instructions.unwrap_or_default()))
            } else {
                "not counted here".into()
            },
        }
    }
}
