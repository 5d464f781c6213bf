//! `make bench-recovery`: how long a replica needs until it serves again, after `kill -9` and after an undo, with many
//! keys; compared with the restart of a real Valkey from its RDB file with the same keys. And how a snapshot slows down
//! concurrent writes. Each time is from one run, and depends on what else the machine runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastness_load::closed_loop::{self, ClosedLoopOptions, Kind};
use fastness_load::connection::encode;
use fastness_load::outcome::classify;
use fastness_load::{Connection, Endpoint, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::bench::machine;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::{Figures, wait_until_level};
use fastness_testkit::ports::Ports;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// Number of keys in one pipeline while filling.
const PIPELINE: u64 = 1_000;
/// Number of attempts: an undo needs uncommitted effects at the moment when the primary is stopped.
const TRIES: usize = 5;

/// Measures restarts and undos.
#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of keys.
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000")]
    keys: Vec<u64>,
    /// Length of a value, bytes; a key has 16.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// The valkey-server to compare with.
    #[arg(long, env = "FASTNESS_VALKEY_SERVER")]
    valkey_server: PathBuf,
    /// Seconds of load before, during and after a snapshot.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("machine: {}", machine::describe()?);
    println!();
    println!("| keys | what | seconds | memory of the process, MB (highest) |");
    println!("|---|---|---|---|");
    for &keys in &arguments.keys {
        fastness(keys, arguments.value_bytes).await?;
        valkey(&arguments.valkey_server, keys, arguments.value_bytes).await?;
    }
    println!();
    println!(
        "50 clients write in `async`, one request each at a time; snapshots are made one after the other, of all three nodes at once:"
    );
    println!();
    println!("| keys | when | SET/s | p50, ms | p99, ms | p99.9, ms | memory of the primary, MB (highest) |");
    println!("|---|---|---|---|---|---|---|");
    for &keys in &arguments.keys {
        under_load(keys, &arguments).await?;
    }
    Ok(())
}

/// Loads a primary before, during and after snapshots.
async fn under_load(keys: u64, arguments: &Arguments) -> Result<()> {
    let cluster = Arc::new(Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?);
    let primary = cluster.primary(1, PATIENCE).await?;
    let front_end = cluster.front_end(primary, 1)?;
    fill(&front_end, keys, arguments.value_bytes).await?;
    level(&cluster).await?;
    for when in ["before", "during", "after"] {
        let load = ClosedLoopOptions {
            endpoint: front_end.clone(),
            tls: None,
            connections: 50,
            pipeline: 1,
            kind: Kind::SET,
            value_bytes: arguments.value_bytes,
            keys,
            wait_replicas: None,
            duration: Duration::from_secs(arguments.seconds),
            seed: 1,
        };
        let loading = tokio::spawn(async move { closed_loop::run(&load).await });
        let mut made = 0;
        while when == "during" && !loading.is_finished() {
            let node = cluster.node(primary)?;
            let before = Figures::of(&node).await?.shard("fastness_snapshots_written_total", 1)?;
            cluster.make_snapshots()?;
            while !loading.is_finished() {
                if Figures::of(&node).await?.shard("fastness_snapshots_written_total", 1)? > before {
                    made += 1;
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let report = loading.await??;
        ensure!(report.errors == 0, "{} writes failed", report.errors);
        let at = |quantile| report.latency_us.value_at_quantile(quantile) as f64 / 1e3;
        let pid = pid(&cluster, primary)?.context("the primary runs")?;
        let made = if made > 0 { format!(" ({made} made)") } else { String::new() };
        println!(
            "| {keys} | {when}{made} | {:.0} | {:.2} | {:.2} | {:.2} | {} ({}) |",
            report.rate(),
            at(0.5),
            at(0.99),
            at(0.999),
            status_mb(pid, "VmRSS")?,
            status_mb(pid, "VmHWM")?
        );
    }
    Ok(())
}

fn row(keys: u64, what: &str, took: Duration, pid: Option<i32>) -> Result<()> {
    let memory = match pid {
        Some(pid) => format!("{} ({})", status_mb(pid, "VmRSS")?, status_mb(pid, "VmHWM")?),
        None => String::new(),
    };
    println!("| {keys} | {what} | {:.2} | {memory} |", took.as_secs_f64());
    Ok(())
}

fn status_mb(pid: i32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kb: u64 = line.and_then(|line| line.split_whitespace().next()).context("no such field")?.parse()?;
    Ok(kb / 1024)
}

async fn fill(endpoint: &Endpoint, keys: u64, value_bytes: usize) -> Result<()> {
    let mut connection = Connection::open(endpoint, None, TIMEOUT).await?;
    let value = vec![b'x'; value_bytes];
    for first in (0..keys).step_by(PIPELINE as usize) {
        let last = keys.min(first + PIPELINE);
        let mut bytes = Vec::new();
        for key in first..last {
            encode(&[b"SET", format!("key:{key:012}").as_bytes(), &value], &mut bytes);
        }
        connection.send_raw(&bytes).await?;
        let errors = connection.skip_replies((last - first) as usize).await?;
        ensure!(errors == 0, "{errors} writes failed");
    }
    Ok(())
}

/// Waits until `endpoint` serves `keys` keys to a READONLY client.
async fn served(endpoint: &Endpoint, keys: u64, readonly: bool) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok(mut client) = Connection::open(endpoint, None, TIMEOUT).await {
            let ready = !readonly || client.call(&[b"READONLY"]).await.is_ok();
            let size = client.call(&[b"DBSIZE"]).await;
            if ready && matches!(size, Ok(Value::Integer(size)) if size.unsigned_abs() >= keys) {
                return Ok(());
            }
        }
        ensure!(Instant::now() < until, "{endpoint:?} does not serve {keys} keys");
        tokio::time::sleep(LOOK).await;
    }
}

async fn fastness(keys: u64, value_bytes: usize) -> Result<()> {
    let cluster = Arc::new(Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?);
    let primary = cluster.primary(1, PATIENCE).await?;
    let began = Instant::now();
    fill(&cluster.front_end(primary, 1)?, keys, value_bytes).await?;
    row(keys, "filling a primary, one connection", began.elapsed(), None)?;
    level(&cluster).await?;
    let replica = cluster.file()?.nodes.into_iter().find(|node| node.id != primary).context("a replica")?.id;
    row(keys, "restart of a replica, the log alone", restart(&cluster, replica, keys).await?, pid(&cluster, replica)?)?;

    let began = Instant::now();
    cluster.make_snapshots()?;
    for node in cluster.file()?.nodes {
        let until = Instant::now() + PATIENCE;
        while Figures::of(&node).await?.shard("fastness_snapshots_written_total", 1)? == 0 {
            ensure!(Instant::now() < until, "node {} makes no snapshot", node.id);
            tokio::time::sleep(LOOK).await;
        }
    }
    row(keys, "a snapshot, all three nodes at once", began.elapsed(), pid(&cluster, primary)?)?;
    fill(&cluster.front_end(primary, 1)?, keys / 20, value_bytes).await?;
    level(&cluster).await?;
    let what = "restart of a replica, snapshot and 5 % more writes after it";
    row(keys, what, restart(&cluster, replica, keys).await?, pid(&cluster, replica)?)?;
    let (took, node) = undo(&cluster, keys, value_bytes).await?;
    row(keys, "undo of a former primary, from its resumption to serving again", took, pid(&cluster, node)?)?;
    level(&cluster).await?;
    replace(&cluster, keys).await
}

/// Replaces a dead node by one with an empty disk: it receives a snapshot, because the log before that is purged.
async fn replace(cluster: &Arc<Cluster>, keys: u64) -> Result<()> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let until = Instant::now() + PATIENCE;
    while Figures::of(&cluster.node(primary)?).await?.shard("fastness_log_purged_index", 1)? == 0 {
        ensure!(Instant::now() < until, "the log is not purged");
        if Figures::of(&cluster.node(primary)?).await?.shard("fastness_snapshot_in_progress", 1)? == 0 {
            cluster.make_snapshots()?;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let lost = cluster.file()?.nodes.into_iter().find(|node| node.id != primary).context("a replica")?;
    cluster.kill(lost.id)?;
    let adding = cluster.clone();
    let new = tokio::task::spawn_blocking(move || adding.add_node(&lost.az)).await??;
    let began = Instant::now();
    let replacing = cluster.clone();
    tokio::task::spawn_blocking(move || replacing.replace(lost.id, new)).await??;
    served(&cluster.front_end(new, 1)?, keys, true).await?;
    let received = Figures::of(&cluster.node(new)?).await?.shard("fastness_snapshots_received_total", 1)?;
    ensure!(received > 0, "the node received the log and no snapshot");
    let what = "an empty node in the place of a dead one: snapshot, log, vote";
    row(keys, what, began.elapsed(), pid(cluster, new)?)
}

/// Waits until all replicas have applied the same index. (A digest of ten million keys takes seconds.)
async fn level(cluster: &Cluster) -> Result<()> {
    wait_until_level(cluster, &cluster.node_ids()?, 1, PATIENCE).await
}

fn pid(cluster: &Cluster, node: u64) -> Result<Option<i32>> {
    Ok(Some(cluster.pid(node)?.as_raw_nonzero().get()))
}

async fn restart(cluster: &Arc<Cluster>, node: u64, keys: u64) -> Result<Duration> {
    let front_end = cluster.front_end(node, 1)?;
    cluster.kill(node)?;
    let began = Instant::now();
    let starting = cluster.clone();
    let start = tokio::task::spawn_blocking(move || starting.start_node(node));
    served(&front_end, keys, true).await?;
    let took = began.elapsed();
    start.await??;
    Ok(took)
}

/// Stops the primary during writes until another node leads, and resumes it.
async fn undo(cluster: &Arc<Cluster>, keys: u64, value_bytes: usize) -> Result<(Duration, u64)> {
    for _ in 0..TRIES {
        let primary = cluster.primary(1, PATIENCE).await?;
        let (node, front_end) = (cluster.node(primary)?, cluster.front_end(primary, 1)?);
        let before = Figures::of(&node).await?.shard("fastness_undos_total", 1)?;
        let load = ClosedLoopOptions {
            endpoint: front_end.clone(),
            tls: None,
            connections: 20,
            pipeline: 16,
            kind: Kind::SET,
            value_bytes,
            keys,
            wait_replicas: None,
            duration: Duration::from_secs(60),
            seed: 1,
        };
        let loading = tokio::spawn(async move { closed_loop::run(&load).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.pause(primary)?;
        let other = cluster.primary_other_than(primary, 1, PATIENCE).await;
        loading.abort();
        cluster.resume(primary)?;
        let began = Instant::now();
        other?;
        until_shown(&front_end).await?;
        let took = began.elapsed();
        if Figures::of(&node).await?.shard("fastness_undos_total", 1)? > before {
            return Ok((took, primary));
        }
    }
    anyhow::bail!("there were no uncommitted effects when the primary was stopped, in {TRIES} attempts")
}

/// Waits until a READONLY client can read a key.
async fn until_shown(front_end: &Endpoint) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut client = Connection::open(front_end, None, TIMEOUT).await?;
    loop {
        client.call(&[b"READONLY"]).await?;
        if classify(&client.call(&[b"GET", b"key:000000000001"]).await?) == Outcome::Acknowledged {
            return Ok(());
        }
        ensure!(Instant::now() < until, "it does not serve again");
        tokio::time::sleep(LOOK).await;
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_valkey(binary: &Path, dir: &Path, port: u16) -> Result<Server> {
    let mut command = Command::new(binary);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(dir);
    Ok(Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("starting Valkey")?))
}

async fn valkey(binary: &Path, keys: u64, value_bytes: usize) -> Result<()> {
    let (dir, ports) = (tempfile::tempdir()?, Ports::reserve()?);
    let endpoint = Endpoint::new("127.0.0.1", ports.at(0));
    let server = start_valkey(binary, dir.path(), ports.at(0))?;
    served(&endpoint, 0, false).await?;
    fill(&endpoint, keys, value_bytes).await?;
    let mut client = Connection::open(&endpoint, None, PATIENCE).await?;
    let began = Instant::now();
    let saved = client.call(&[b"SAVE"]).await?;
    ensure!(classify(&saved) == Outcome::Acknowledged, "SAVE: {saved:?}");
    row(keys, "Valkey: SAVE", began.elapsed(), Some(server.0.id() as i32))?;
    drop(server);
    let began = Instant::now();
    let server = start_valkey(binary, dir.path(), ports.at(0))?;
    served(&endpoint, keys, false).await?;
    row(keys, "Valkey: restart from its RDB file", began.elapsed(), Some(server.0.id() as i32))
}
