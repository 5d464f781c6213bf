//! The lag gate of `async` on real processes: while both followers are stopped nothing commits, so writes are refused
//! before the bound is passed, reads continue, and writes resume without intervention. The loss of a killed primary is
//! within the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::wait::until_ok;
use parking_lot::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Far below the lease, so that the gate closes while the primary still serves.
const BOUND: Duration = Duration::from_millis(100);
/// A client that shares two cores with three nodes reads its replies late.
const CLIENT_DELAY_MAX: Duration = Duration::from_millis(150);
const WORKERS: usize = 6;

#[derive(Default)]
struct Seen {
    done: AtomicBool,
    refused: AtomicU64,
    /// Per worker, when each of its writes was acknowledged; write `n` is the `n`-th.
    acknowledged: Mutex<Vec<Vec<Instant>>>,
    /// Reads that were answered since the first refusal.
    reads_behind_the_gate: AtomicU64,
}

async fn gated_cluster() -> Result<Cluster> {
    let cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    for node in cluster.file()?.nodes {
        let mut client = cluster.connect(node.id, 1, TIMEOUT).await?;
        let reply = client.call(&[b"CONFIG", b"SET", b"durability-max-lag", b"100ms"]).await?;
        ensure!(classify(&reply) == Outcome::Acknowledged, "CONFIG SET: {reply:?}");
    }
    // The shard applies it when it next polls the options.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    Ok(cluster)
}

/// Increments a key of its own until the connection breaks or the test is done.
async fn write(mut client: Connection, seen: Arc<Seen>, worker: usize) {
    let key = format!("{{lag}}{worker}");
    while !seen.done.load(Ordering::Relaxed) {
        let next = seen.acknowledged.lock()[worker].len() + 1;
        let reply = client.call(&[b"SET", key.as_bytes(), next.to_string().as_bytes()]).await;
        match reply {
            Ok(Value::Error(text)) if String::from_utf8_lossy(text.as_ref()).contains("Durability lag") => {
                seen.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(reply) if classify(&reply) == Outcome::Acknowledged => {
                seen.acknowledged.lock()[worker].push(Instant::now());
            }
            _ => return,
        }
    }
}

async fn read(mut client: Connection, seen: Arc<Seen>) {
    while !seen.done.load(Ordering::Relaxed) {
        let began_behind = seen.refused.load(Ordering::Relaxed) > 0;
        match client.call(&[b"GET", b"{lag}0"]).await {
            Ok(reply) if classify(&reply) == Outcome::Acknowledged => {
                seen.reads_behind_the_gate.fetch_add(u64::from(began_behind), Ordering::Relaxed);
            }
            _ => return,
        }
    }
}

async fn load(cluster: &Cluster, primary: u64) -> Result<(Arc<Seen>, Vec<tokio::task::JoinHandle<()>>)> {
    let seen = Arc::new(Seen::default());
    *seen.acknowledged.lock() = vec![Vec::new(); WORKERS];
    let mut tasks = vec![tokio::spawn(read(cluster.connect(primary, 1, TIMEOUT).await?, seen.clone()))];
    for worker in 0..WORKERS {
        tasks.push(tokio::spawn(write(cluster.connect(primary, 1, TIMEOUT).await?, seen.clone(), worker)));
    }
    // On a busy machine a commit may take longer than the bound, which is short here: for a moment, not for long.
    let until = Instant::now() + TIMEOUT;
    loop {
        seen.refused.store(0, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        if seen.refused.load(Ordering::Relaxed) == 0 {
            return Ok((seen, tasks));
        }
        ensure!(Instant::now() < until, "writes are refused although nothing is wrong");
    }
}

/// Stops both followers until a write is refused.
async fn stop_followers(cluster: &Cluster, primary: u64, seen: &Seen) -> Result<Vec<u64>> {
    let others = cluster.others(primary)?;
    others.iter().try_for_each(|node| cluster.pause(*node))?;
    let until = Instant::now() + TIMEOUT;
    while seen.refused.load(Ordering::Relaxed) == 0 {
        ensure!(Instant::now() < until, "no write is refused although nothing commits");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_refused_and_resume_while_reads_go_on() -> Result<()> {
    let cluster = gated_cluster().await?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let (seen, tasks) = load(&cluster, primary).await?;
    let others = stop_followers(&cluster, primary, &seen).await?;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let reads = seen.reads_behind_the_gate.load(Ordering::Relaxed);
    others.iter().try_for_each(|node| cluster.resume(*node))?;
    ensure!(reads > 0, "reads stalled with the writes");
    // The lease may have run out on a slow machine; then another connection is needed, and the gate opens nevertheless.
    until_ok(PATIENCE, async || {
        let primary = cluster.primary(1, PATIENCE).await?;
        let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
        let reply = client.call(&[b"SET", b"{lag}resumed", b"1"]).await?;
        ensure!(classify(&reply) == Outcome::Acknowledged, "writes do not resume: {reply:?}");
        Ok(())
    })
    .await?;
    seen.done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    eprintln!("{} writes refused, {reads} reads answered meanwhile", seen.refused.load(Ordering::Relaxed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_loses_no_more_than_the_bound() -> Result<()> {
    let cluster = gated_cluster().await?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let (seen, tasks) = load(&cluster, primary).await?;
    let others = stop_followers(&cluster, primary, &seen).await?;
    cluster.kill(primary)?;
    others.iter().try_for_each(|node| cluster.resume(*node))?;
    for task in tasks {
        task.await?;
    }
    let next = cluster.primary_other_than(primary, 1, PATIENCE).await?;
    let mut client = cluster.connect(next, 1, TIMEOUT).await?;
    let acknowledged = seen.acknowledged.lock().clone();
    let newest = *acknowledged.iter().flatten().max().context("nothing was acknowledged")?;
    let (mut lost, mut oldest_lost) = (0, None);
    for (worker, writes) in acknowledged.iter().enumerate() {
        let survived = match client.call(&[b"GET", format!("{{lag}}{worker}").as_bytes()]).await? {
            Value::Null => 0,
            Value::Bulk(text) => std::str::from_utf8(&text)?.parse::<usize>()?,
            other => anyhow::bail!("GET: {other:?}"),
        };
        // One more than was acknowledged may exist: the outcome of the last write is unknown.
        ensure!(survived <= writes.len() + 1, "worker {worker}: {survived} of {}", writes.len());
        let gone = writes.get(survived..).unwrap_or_default();
        lost += gone.len();
        oldest_lost = oldest_lost.into_iter().chain(gone.first().copied()).min();
    }
    let oldest = oldest_lost.context("nothing that was acknowledged is lost: the test shows nothing")?;
    let span = newest - oldest;
    eprintln!("{lost} acknowledged writes are lost, the oldest {span:?} before the newest acknowledged one");
    ensure!(span <= BOUND + CLIENT_DELAY_MAX, "{span:?} of writes are lost, the bound is {BOUND:?}");
    Ok(())
}
