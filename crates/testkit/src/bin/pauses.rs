//! `make bench-pauses`: how large commands delay other clients of the same shard, compared with a real Valkey, and how
//! long the loss of a primary interrupts writes for each `failover-timeout`. The times depend on what else the machine
//! runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastness_load::connection::encode;
use fastness_load::outcome::classify;
use fastness_load::{Connection, Endpoint, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::bench::machine;
use fastness_testkit::bench::valkey::Valkey;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use tokio::task::JoinHandle;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(120);
/// Number of keys, or fields, in one command or pipeline while filling.
const CHUNK: usize = 1_000;
/// Request interval of the client that measures the effect on others.
const REQUEST_EVERY: Duration = Duration::from_millis(1);

/// Measures the effect on other clients.
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of keys that KEYS reads and FLUSHALL removes.
    #[arg(long, default_value_t = 3_000_000)]
    keys: usize,
    /// Number of fields of the hash that HGETALL reads and DEL removes.
    #[arg(long, default_value_t = 5_000_000)]
    fields: usize,
    /// Length of the string that is read and removed, bytes.
    #[arg(long, default_value_t = 512 << 20)]
    string: usize,
    /// `failover-timeout` values in ms.
    #[arg(long, value_delimiter = ',', default_value = "700,1000,2000,5000")]
    failovers: Vec<u64>,
    /// Number of primaries that are killed for each value.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// The valkey-server to compare with.
    #[arg(long, env = "FASTNESS_VALKEY_SERVER")]
    valkey_server: PathBuf,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("machine: {}", machine::describe()?);
    println!();
    println!("Another client sends a GET and, in a second connection, a SET every millisecond.");
    println!();
    println!(
        "| server | command | its reply after, s | memory is free after, s | GET beside it: p99 (longest), ms | SET beside it: p99 (longest), ms |"
    );
    println!("|---|---|---|---|---|---|");
    {
        let cluster = Cluster::start(&ClusterOptions::default())?;
        let front_end = cluster.front_end(cluster.primary(1, PATIENCE).await?, 1)?;
        commands("Fastness, sync", &front_end, &arguments).await?;
    }
    {
        let valkey = Valkey::start(&arguments.valkey_server)?;
        commands("Valkey, two replicas", &valkey.endpoint(), &arguments).await?;
    }
    println!();
    println!(
        "| `failover-timeout`, ms | primaries killed | next acknowledged write after, s: shortest | median | longest |"
    );
    println!("|---|---|---|---|---|");
    for &timeout in &arguments.failovers {
        failovers(timeout, arguments.kills).await?;
    }
    Ok(())
}

/// Runs each command with the data that it needs, and prints its row.
async fn commands(server: &str, front_end: &Endpoint, arguments: &Arguments) -> Result<()> {
    let keys = arguments.keys;
    fill_keys(front_end, keys).await?;
    measure(server, &format!("nothing, {keys} keys"), front_end, &[b"PING"]).await?;
    measure(server, &format!("KEYS without a match, {keys} keys"), front_end, &[b"KEYS", b"nomatch"]).await?;
    measure(server, &format!("FLUSHALL of {keys} keys"), front_end, &[b"FLUSHALL", b"ASYNC"]).await?;
    let fields = arguments.fields;
    fill_hash(front_end, fields).await?;
    measure(server, &format!("HGETALL of {fields} fields"), front_end, &[b"HGETALL", b"hash"]).await?;
    measure(server, &format!("UNLINK of {fields} fields"), front_end, &[b"UNLINK", b"hash"]).await?;
    let bytes = arguments.string;
    let last = (bytes - 1).to_string();
    measure(server, &format!("SETRANGE to {bytes} bytes"), front_end, &[b"SETRANGE", b"text", last.as_bytes(), b"x"])
        .await?;
    measure(server, &format!("GET of {bytes} bytes"), front_end, &[b"GET", b"text"]).await?;
    measure(server, &format!("UNLINK of {bytes} bytes"), front_end, &[b"UNLINK", b"text"]).await
}

/// A client that sends requests all the time, and the time of each answer.
struct Beside {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Vec<Duration>>>,
}

impl Beside {
    async fn start(front_end: &Endpoint, command: &'static [&'static [u8]]) -> Result<Beside> {
        let mut client = Connection::open(front_end, None, TIMEOUT).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut took = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let reply = client.call(command).await?;
                ensure!(classify(&reply) == Outcome::Acknowledged, "{reply:?}");
                took.push(sent.elapsed());
                tokio::time::sleep(REQUEST_EVERY.saturating_sub(sent.elapsed())).await;
            }
            Ok(took)
        });
        Ok(Beside { stop, task })
    }

    /// Stops the client. Returns the 99th percentile and the maximum, as a cell of the table.
    async fn end(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.task.await??;
        took.sort_unstable();
        let at = |index: usize| took.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3;
        Ok(format!("{:.1} ({:.1})", at(took.len() * 99 / 100), at(took.len().saturating_sub(1))))
    }
}

/// Sends the command, and waits for its reply and until all memory that it removed is freed.
async fn measure(server: &str, what: &str, front_end: &Endpoint, command: &[&[u8]]) -> Result<()> {
    let reading = Beside::start(front_end, &[b"GET", b"beside"]).await?;
    let writing = Beside::start(front_end, &[b"SET", b"beside", b"v"]).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut client = Connection::open(front_end, None, TIMEOUT).await?;
    let began = Instant::now();
    let reply = client.call(command).await?;
    ensure!(classify(&reply) == Outcome::Acknowledged, "{what} was not answered as a success");
    drop(reply);
    let replied = began.elapsed();
    while pending(&mut client).await? > 0 {
        ensure!(began.elapsed() < PATIENCE, "{what}: memory is not freed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let freed = began.elapsed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!(
        "| {server} | {what} | {:.3} | {:.2} | {} | {} |",
        replied.as_secs_f64(),
        freed.as_secs_f64(),
        reading.end().await?,
        writing.end().await?
    );
    Ok(())
}

/// Number of objects that are removed and not freed yet.
async fn pending(client: &mut Connection) -> Result<u64> {
    let info = client.call(&[b"INFO", b"memory"]).await?;
    let text = String::from_utf8_lossy(info.as_bytes().context("INFO")?).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("lazyfree_pending_objects:"));
    Ok(line.context("lazyfree_pending_objects")?.trim().parse()?)
}

async fn fill_keys(front_end: &Endpoint, keys: usize) -> Result<()> {
    let (mut client, value) = (Connection::open(front_end, None, TIMEOUT).await?, [b'x'; 100]);
    for first in (0..keys).step_by(CHUNK) {
        let (last, mut bytes) = (keys.min(first + CHUNK), Vec::new());
        (first..last).for_each(|key| encode(&[b"SET", format!("key:{key:012}").as_bytes(), &value], &mut bytes));
        client.send_raw(&bytes).await?;
        ensure!(client.skip_replies(last - first).await? == 0, "writes fail");
    }
    Ok(())
}

async fn fill_hash(front_end: &Endpoint, fields: usize) -> Result<()> {
    let mut client = Connection::open(front_end, None, TIMEOUT).await?;
    for first in (0..fields).step_by(CHUNK) {
        let names: Vec<String> = (first..fields.min(first + CHUNK)).map(|field| format!("field:{field:09}")).collect();
        let pairs = names.iter().flat_map(|name| [name.as_bytes(), b"value of a field"]);
        let command: Vec<&[u8]> = [&b"HSET"[..], b"hash"].into_iter().chain(pairs).collect();
        let reply = client.call(&command).await?;
        ensure!(matches!(reply, Value::Integer(_)), "HSET: {reply:?}");
    }
    Ok(())
}

/// Kills primaries while all nodes run, and prints how long no write was acknowledged.
async fn failovers(timeout: u64, kills: usize) -> Result<()> {
    let cluster = Arc::new(Cluster::start(&ClusterOptions {
        node_options: vec![("failover-timeout", format!("{timeout}ms"))],
        ..ClusterOptions::default()
    })?);
    let mut took = Vec::new();
    for _ in 0..kills {
        let primary = cluster.primary(1, PATIENCE).await?;
        acknowledged(&cluster, primary).await?;
        // Wait until all nodes know each other, and the replicas have caught up with the primary.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        cluster.kill(primary)?;
        let next = cluster.primary_other_than(primary, 1, PATIENCE).await?;
        acknowledged(&cluster, next).await?;
        took.push(began.elapsed());
        let starting = cluster.clone();
        tokio::task::spawn_blocking(move || starting.start_node(primary)).await??;
    }
    took.sort_unstable();
    let secs = |span: Option<&Duration>| span.map_or(0.0, Duration::as_secs_f64);
    println!(
        "| {timeout} | {kills} | {:.2} | {:.2} | {:.2} |",
        secs(took.first()),
        secs(took.get(took.len() / 2)),
        secs(took.last())
    );
    Ok(())
}

async fn acknowledged(cluster: &Cluster, node: u64) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok(mut client) = cluster.connect(node, 1, TIMEOUT).await
            && client.call(&[b"SET", b"next", b"v"]).await.is_ok_and(|reply| classify(&reply) == Outcome::Acknowledged)
        {
            return Ok(());
        }
        ensure!(Instant::now() < until, "node {node} acknowledges no write");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
