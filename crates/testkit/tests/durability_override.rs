//! Clients with the durability override `sync` on an `async` cluster of real processes. While both followers are
//! stopped their writes are not answered, and those of all other clients are. A killed primary loses no write that was
//! acknowledged to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Outcome};
use fastness_resp::request;
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use parking_lot::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the lease: the primary serves all the time.
const PAUSE: Duration = Duration::from_millis(200);
/// Entries in transit to the followers when these were stopped have committed after this time, or will not.
const SETTLED: Duration = Duration::from_millis(80);
const WORKERS: usize = 4;
const ATTEMPTS: usize = 5;

/// How a worker requests commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It does not.
    Plain,
    /// CLIENT DURABILITY SYNC.
    Connection,
    /// An attribute before each command.
    Command,
}

/// When each of a worker's writes was acknowledged; write `n` is the `n`-th.
type Acknowledged = Arc<Mutex<Vec<Instant>>>;

struct Worker {
    how: How,
    key: String,
    acknowledged: Acknowledged,
}

async fn connect(cluster: &Cluster, node: u64, how: How) -> Result<Connection> {
    let mut client = cluster.connect(node, 1, TIMEOUT).await?;
    if how == How::Connection {
        let reply = client.call(&[b"CLIENT", b"DURABILITY", b"SYNC"]).await?;
        ensure!(classify(&reply) == Outcome::Acknowledged, "CLIENT DURABILITY SYNC: {reply:?}");
    }
    Ok(client)
}

async fn set(client: &mut Connection, how: How, key: &str, value: &str) -> Result<Value> {
    let mut bytes = Vec::new();
    if how == How::Command {
        request::encode_attribute(&[("durability", "sync")], &mut bytes);
    }
    request::encode(&["SET", key, value], &mut bytes);
    client.send_raw(&bytes).await?;
    Ok(client.receive().await?)
}

/// Increments a key of its own until the connection breaks, a write is not acknowledged, or the test is done.
async fn write(mut client: Connection, how: How, key: String, acknowledged: Acknowledged, done: Arc<AtomicBool>) {
    while !done.load(Ordering::Relaxed) {
        let next = acknowledged.lock().len() + 1;
        match set(&mut client, how, &key, &next.to_string()).await {
            Ok(reply) if classify(&reply) == Outcome::Acknowledged => acknowledged.lock().push(Instant::now()),
            _ => return,
        }
    }
}

struct Load {
    workers: Vec<Worker>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    done: Arc<AtomicBool>,
}

impl Load {
    async fn start(cluster: &Cluster, primary: u64) -> Result<Load> {
        let mut load = Load { workers: Vec::new(), tasks: Vec::new(), done: Arc::default() };
        for how in [How::Plain, How::Connection, How::Command] {
            for number in 0..WORKERS {
                let (key, acknowledged) = (format!("{{override}}{how:?}{number}"), Acknowledged::default());
                let client = connect(cluster, primary, how).await?;
                load.tasks.push(tokio::spawn(write(client, how, key.clone(), acknowledged.clone(), load.done.clone())));
                load.workers.push(Worker { how, key, acknowledged });
            }
        }
        let until = Instant::now() + PATIENCE;
        for worker in &load.workers {
            while worker.acknowledged.lock().is_empty() {
                ensure!(Instant::now() < until, "{} writes nothing", worker.key);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(load)
    }

    /// Number of writes of such workers that were acknowledged between two moments.
    fn between(&self, plain: bool, from: Instant, to: Instant) -> usize {
        let workers = self.workers.iter().filter(|worker| (worker.how == How::Plain) == plain);
        workers.map(|worker| worker.acknowledged.lock().iter().filter(|at| (from..to).contains(*at)).count()).sum()
    }

    async fn end(self) -> Result<Vec<Worker>> {
        self.done.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(self.workers)
    }
}

/// The number of the last write of a worker that was not lost.
async fn survived(client: &mut Connection, worker: &Worker) -> Result<usize> {
    match client.call(&[b"GET", worker.key.as_bytes()]).await? {
        Value::Null => Ok(0),
        Value::Bulk(text) => Ok(std::str::from_utf8(&text)?.parse()?),
        other => bail!("GET: {other:?}"),
    }
}

/// False if the lease ran out before anything could be observed (a slow machine).
async fn only_overrides_wait(cluster: &Cluster) -> Result<bool> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let load = Load::start(cluster, primary).await?;
    let others = cluster.others(primary)?;
    others.iter().try_for_each(|node| cluster.pause(*node))?;
    let stopped = Instant::now() + SETTLED;
    tokio::time::sleep(PAUSE).await;
    let resumed = Instant::now();
    others.iter().try_for_each(|node| cluster.resume(*node))?;
    let (plain, overridden) = (load.between(true, stopped, resumed), load.between(false, stopped, resumed));
    eprintln!("while nothing commits: {plain} writes acknowledged without an override, {overridden} with one");
    ensure!(overridden == 0, "{overridden} writes were acknowledged although nothing committed");
    if plain == 0 {
        load.end().await?;
        return Ok(false);
    }

    // The pending replies are released now. If the lease has run out in the meantime (a slow machine), workers have
    // ended with errors.
    let until = Instant::now() + PATIENCE;
    while load.between(false, resumed, Instant::now()) == 0 && !load.tasks.iter().all(|task| task.is_finished()) {
        ensure!(
            Instant::now() < until,
            "clients with an override are not answered although the followers have resumed"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let workers = load.end().await?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    for worker in workers.iter().filter(|worker| worker.how != How::Plain) {
        let (survived, acknowledged) = (survived(&mut client, worker).await?, worker.acknowledged.lock().len());
        ensure!(survived >= acknowledged, "{}: {survived} of {acknowledged}", worker.key);
    }
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_with_an_override_wait_for_the_followers() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    for _ in 0..ATTEMPTS {
        if only_overrides_wait(&cluster).await? {
            return Ok(());
        }
    }
    bail!("clients without an override were stalled, too, in each of {ATTEMPTS} attempts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_loses_no_write_acknowledged_under_an_override() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let load = Load::start(&cluster, primary).await?;
    let others = cluster.others(primary)?;
    others.iter().try_for_each(|node| cluster.pause(*node))?;
    tokio::time::sleep(PAUSE).await;
    cluster.kill(primary)?;
    others.iter().try_for_each(|node| cluster.resume(*node))?;
    let workers = load.end().await?;
    let next = cluster.primary_other_than(primary, 1, PATIENCE).await?;
    let mut client = cluster.connect(next, 1, TIMEOUT).await?;
    let (mut lost, mut kept) = (0, 0);
    for worker in &workers {
        let (survived, acknowledged) = (survived(&mut client, worker).await?, worker.acknowledged.lock().len());
        // One more than was acknowledged may exist: the outcome of the last write is unknown.
        ensure!(survived <= acknowledged + 1, "{}: {survived} of {acknowledged}", worker.key);
        if worker.how == How::Plain {
            lost += acknowledged.saturating_sub(survived);
        } else {
            ensure!(
                survived >= acknowledged,
                "{}: {survived} of {acknowledged} acknowledged writes are left",
                worker.key
            );
            kept += acknowledged;
        }
    }
    eprintln!(
        "{lost} writes acknowledged to clients without an override are lost; all {kept} acknowledged to clients with one are kept"
    );
    ensure!(lost > 0, "nothing is lost at all: the test shows nothing");
    ensure!(kept > 0, "nothing was acknowledged to clients with an override");
    Ok(())
}
