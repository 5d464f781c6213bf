//! The mode is switched back and forth under load, with kills of the primary in between: no write that was acknowledged
//! while `sync` was in force is lost, no value that was read then is undone, and no write hangs. `FASTNESS_SEED`
//! replays a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::Digests;
use fastness_testkit::seed;
use fastness_testkit::wait::until_ok;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const PATIENCE: Duration = Duration::from_secs(60);
/// A write that is not answered within this time hangs: a failover takes a second.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const WORKERS: u64 = 6;
const ROUNDS: usize = 3;

/// The minimum value of each key that must exist. A key has one writer, whose values grow.
#[derive(Default)]
struct Book {
    floors: Mutex<BTreeMap<String, u64>>,
    /// Odd while `sync` is in force: from the operator's OK until `async` is requested. A command counts as one of
    /// `sync` if the number was the same before it was sent and after it was answered.
    phase: AtomicU64,
    done: AtomicBool,
    acknowledged: AtomicU64,
    /// Of these, the ones while `sync` was in force.
    durable: AtomicU64,
    hung: AtomicU64,
}

impl Book {
    fn in_sync(&self) -> Option<u64> {
        let phase = self.phase.load(Ordering::SeqCst);
        (phase % 2 == 1).then_some(phase)
    }

    fn holds(&self, key: &str, value: u64) {
        let mut floors = self.floors.lock();
        let floor = floors.entry(key.to_owned()).or_default();
        *floor = (*floor).max(value);
    }

    fn is_there(&self, key: &str, found: u64) -> Result<()> {
        let floor = self.floors.lock().get(key).copied().unwrap_or_default();
        ensure!(found >= floor, "{key} is {found}, and {floor} was acknowledged or shown under sync");
        Ok(())
    }
}

async fn connect(cluster: &Cluster) -> Option<Connection> {
    let primary = cluster.primary(1, Duration::from_millis(100)).await.ok()?;
    cluster.connect(primary, 1, ANSWER_MAX).await.ok()
}

fn number(reply: &Value) -> Option<u64> {
    match reply {
        Value::Null => Some(0),
        Value::Bulk(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// Writes growing numbers to a key of its own and reads them back. After an unknown outcome it continues with another
/// key: the write may still take effect, and must not look like a loss.
async fn work(cluster: Arc<Cluster>, book: Arc<Book>, worker: u64) -> Result<()> {
    let (mut generation, mut value) = (0, 0);
    let mut client = None;
    while !book.done.load(Ordering::Relaxed) {
        let Some(connection) = &mut client else {
            client = connect(&cluster).await;
            if client.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            continue;
        };
        let key = format!("{{m}}{worker}:{generation}");
        value += 1;
        let (sent, began) = (book.in_sync(), Instant::now());
        let reply = connection.call(&[b"SET", key.as_bytes(), value.to_string().as_bytes()]).await;
        if began.elapsed() >= ANSWER_MAX {
            book.hung.fetch_add(1, Ordering::Relaxed);
        }
        match reply.as_ref().map(classify) {
            Ok(Outcome::Acknowledged) => {
                book.acknowledged.fetch_add(1, Ordering::Relaxed);
                if sent.is_some() && sent == book.in_sync() {
                    book.durable.fetch_add(1, Ordering::Relaxed);
                    book.holds(&key, value);
                }
            }
            Ok(Outcome::Refused) => {
                client = None;
                continue;
            }
            Ok(Outcome::Unknown) | Err(_) => {
                generation += 1;
                client = None;
                continue;
            }
        }
        // Another worker's key with its current value.
        let others = format!("{{m}}{}:0", (worker + 1) % WORKERS);
        let sent = book.in_sync();
        let floor_before = book.floors.lock().get(&others).copied().unwrap_or_default();
        if let Some(found) = connection.call(&[b"GET", others.as_bytes()]).await.ok().as_ref().and_then(number) {
            ensure!(
                found >= floor_before,
                "{others} is {found}, and {floor_before} was acknowledged or shown under sync"
            );
            if sent.is_some() && sent == book.in_sync() {
                book.holds(&others, found);
            }
        }
    }
    Ok(())
}

async fn set_durability(cluster: &Arc<Cluster>, mode: &'static str) -> Result<()> {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || cluster.set_durability(mode)).await?
}

async fn kill_and_start(cluster: &Arc<Cluster>) -> Result<()> {
    let primary = cluster.primary(1, PATIENCE).await?;
    cluster.kill(primary)?;
    cluster.primary_other_than(primary, 1, PATIENCE).await?;
    let starting = cluster.clone();
    tokio::task::spawn_blocking(move || starting.start_node(primary)).await?
}

async fn progress(book: &Book) -> Result<()> {
    let before = book.acknowledged.load(Ordering::Relaxed);
    until_ok(PATIENCE, async || {
        ensure!(book.acknowledged.load(Ordering::Relaxed) >= before + 50, "writes do not resume");
        Ok(())
    })
    .await
}

async fn check(cluster: &Cluster, book: &Book) -> Result<usize> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, ANSWER_MAX).await?;
    let keys: Vec<String> = book.floors.lock().keys().cloned().collect();
    for key in &keys {
        let reply = client.call(&[b"GET", key.as_bytes()]).await?;
        book.is_there(key, number(&reply).with_context(|| format!("GET {key}: {reply:?}"))?)?;
    }
    Ok(keys.len())
}

async fn switch_back_and_forth(cluster: &Arc<Cluster>, book: &Book, seed: u64) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        progress(book).await?;
        if rng.random_bool(0.5) {
            kill_and_start(cluster).await?;
        }
        set_durability(cluster, "sync").await?;
        book.phase.fetch_add(1, Ordering::SeqCst);
        progress(book).await?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
        if rng.random_bool(0.7) {
            kill_and_start(cluster).await?;
            progress(book).await?;
        }
        // From here on acknowledged writes may be lost, although most of them are still written under sync.
        book.phase.fetch_add(1, Ordering::SeqCst);
        set_durability(cluster, "async").await?;
        kill_and_start(cluster).await?;
        eprintln!("round {round}: {} keys hold what they must", check(cluster, book).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_under_load_with_kills_loses_no_sync_write() -> Result<()> {
    let seed = seed::from_env_or_random();
    eprintln!("FASTNESS_SEED={seed}");
    let mut cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    cluster.keep_files();
    let (cluster, book) = (Arc::new(cluster), Arc::new(Book::default()));
    let workers: Vec<_> = (0..WORKERS).map(|i| tokio::spawn(work(cluster.clone(), book.clone(), i))).collect();
    let switched = switch_back_and_forth(&cluster, &book, seed).await;
    book.done.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await??;
    }
    switched?;
    check(&cluster, &book).await?;
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    let (acknowledged, durable) = (book.acknowledged.load(Ordering::Relaxed), book.durable.load(Ordering::Relaxed));
    eprintln!("{acknowledged} writes acknowledged, {durable} of them under sync");
    ensure!(durable >= 150, "only {durable} writes were acknowledged under sync: nothing is shown");
    ensure!(book.hung.load(Ordering::Relaxed) == 0, "{} writes hung", book.hung.load(Ordering::Relaxed));
    ensure!(cluster.file()?.durability == "async", "cluster.json has another mode");
    let mut cluster = Arc::into_inner(cluster).context("the workers have ended")?;
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_switched_is_refused() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { durability: "disabled", ..ClusterOptions::default() })?;
    let refused = cluster.set_durability("async").unwrap_err().to_string();
    ensure!(refused.contains("'disabled', which cannot become 'async'"), "{refused}");
    let refused = cluster.set_durability("always").unwrap_err().to_string();
    ensure!(refused.contains("expected sync, async or disabled"), "{refused}");
    cluster.set_durability("disabled")
}
