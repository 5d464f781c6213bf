//! The lag gate at its default bound of 10 s, with the logs of both followers stalled. Writes are slowed, then refused
//! with `-CLUSTERDOWN`, all of the shard alike; reads continue all the time at their usual latency, under a lease that
//! is answered from memory; when the logs resume, writes resume without intervention.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::{Digests, Figures};
use parking_lot::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);
/// The default of `durability-max-lag`.
const BOUND: Duration = Duration::from_secs(10);
/// Maximum delay of a write near the bound, plus the delay of a busy machine.
const SLOWED_MAX: Duration = Duration::from_millis(250 + 400);
const WRITERS: usize = 4;
/// How long the closed gate is observed.
const CLOSED_FOR: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Done,
    Refused,
}

/// One command: when it was sent and answered, and the kind of the answer.
type Seen = (Instant, Instant, Answer);

#[derive(Default)]
struct Load {
    done: AtomicBool,
    writes: Mutex<Vec<Seen>>,
    reads: Mutex<Vec<(Instant, Duration)>>,
}

async fn write(mut client: Connection, load: Arc<Load>, worker: usize) -> Result<()> {
    let key = format!("{{stall}}{worker}");
    for n in 0u64.. {
        if load.done.load(Ordering::Relaxed) {
            break;
        }
        let sent = Instant::now();
        let reply = client.call(&[b"SET", key.as_bytes(), n.to_string().as_bytes()]).await?;
        let answer = match &reply {
            Value::Error(text) => {
                let text = String::from_utf8_lossy(text.as_ref());
                ensure!(text.starts_with("CLUSTERDOWN ") && text.contains("Durability lag"), "SET: {text}");
                Answer::Refused
            }
            reply => {
                ensure!(classify(reply) == Outcome::Acknowledged, "SET: {reply:?}");
                Answer::Done
            }
        };
        load.writes.lock().push((sent, Instant::now(), answer));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Any reply other than a value ends it with an error: reads are never refused.
async fn read(mut client: Connection, load: Arc<Load>) -> Result<()> {
    while !load.done.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let reply = client.call(&[b"GET", b"{stall}0"]).await?;
        ensure!(matches!(reply, Value::Bulk(_) | Value::Null), "GET: {reply:?}");
        load.reads.lock().push((sent, sent.elapsed()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// The median and the 99th percentile of the latency of reads sent in a span.
fn latency(load: &Load, from: Instant, to: Instant) -> Result<(Duration, Duration)> {
    let reads = load.reads.lock();
    let mut took: Vec<Duration> =
        reads.iter().filter(|(sent, _)| (from..to).contains(sent)).map(|(_, took)| *took).collect();
    took.sort();
    ensure!(took.len() > 100, "only {} reads in {:?}", took.len(), to - from);
    Ok((took[took.len() / 2], took[took.len() * 99 / 100]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_followers_logs_stand_still_at_the_default_bound() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let term = Figures::of(&cluster.node(primary)?).await?.shard("fastness_term", 1)?;
    let others = cluster.others(primary)?;
    let load = Arc::new(Load::default());
    let mut tasks = vec![tokio::spawn(read(cluster.connect(primary, 1, TIMEOUT).await?, load.clone()))];
    for worker in 0..WRITERS {
        tasks.push(tokio::spawn(write(cluster.connect(primary, 1, TIMEOUT).await?, load.clone(), worker)));
    }
    let calm = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stalled = Instant::now();
    others.iter().try_for_each(|node| cluster.disk_fault(*node, "stall"))?;
    let all_stalled = Instant::now();
    let first_refused = wait_for(&load, &tasks, Answer::Refused, stalled).await?;
    tokio::time::sleep(CLOSED_FOR).await;
    let info = Figures::of(&cluster.node(primary)?).await?;
    ensure!(info.shard("fastness_lag_gate_closed", 1)? == 1, "the gate is open");
    ensure!(info.shard("fastness_lease_held", 1)? == 1, "the lease has ended");
    let slowed = info.shard("fastness_writes_slowed_total", 1)?;
    let healed = Instant::now();
    others.iter().try_for_each(|node| cluster.disk_fault(*node, "heal"))?;
    let resumed = wait_for(&load, &tasks, Answer::Done, healed).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }

    // Refused not before the bound, and not long after: the oldest uncommitted write is older than the stall of the
    // second log, and never older than that of the first.
    let after = first_refused - stalled;
    ensure!(after >= BOUND - Duration::from_millis(200), "refused after {after:?} already");
    ensure!(first_refused - all_stalled <= BOUND + Duration::from_secs(2), "refused after {after:?} only");
    ensure!(slowed > 0, "no write was slowed");
    // All writes of the shard alike: from the first refusal on no write that was sent is acknowledged, until writes
    // resume.
    let writes = load.writes.lock().clone();
    let while_closed = writes.iter().filter(|(sent, ..)| (first_refused..healed).contains(sent));
    let (refused, done): (Vec<_>, Vec<_>) = while_closed.partition(|(.., answer)| *answer == Answer::Refused);
    ensure!(done.is_empty() && refused.len() > 100, "{} refused, {} acknowledged meanwhile", refused.len(), done.len());
    let slowest = writes.iter().filter(|(sent, ..)| *sent < first_refused).map(|(sent, at, _)| *at - *sent).max();
    ensure!(slowest.unwrap_or_default() <= SLOWED_MAX, "a write was held for {slowest:?}");
    // Reads: the lease held all the time, and they took as long as usual.
    let (usual, meanwhile) = (latency(&load, calm, stalled)?, latency(&load, all_stalled, healed)?);
    eprintln!(
        "slowed {slowed} writes (slowest {slowest:?}), first refusal {after:?} after the stall, {} refused in {CLOSED_FOR:?}, resumed {:?} \
         after it was healed; GET p50 and p99: {usual:?} before, {meanwhile:?} while the logs stood still",
        refused.len(),
        resumed - healed
    );
    ensure!(meanwhile.1 <= usual.1 * 4 + Duration::from_millis(10), "reads have become slow: {meanwhile:?}");
    ensure!(resumed - healed < Duration::from_secs(10), "writes resumed {:?} late", resumed - healed);
    ensure!(cluster.primary(1, PATIENCE).await? == primary, "the primary has moved");
    let now = Figures::of(&cluster.node(primary)?).await?.shard("fastness_term", 1)?;
    ensure!(now == term, "there was an election: term {term}, now {now}");
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

/// When a write that was sent after `since` was first answered like this.
async fn wait_for(
    load: &Load,
    tasks: &[tokio::task::JoinHandle<Result<()>>],
    answer: Answer,
    since: Instant,
) -> Result<Instant> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = load.writes.lock().iter().find(|(sent, _, a)| *sent >= since && *a == answer).map(|(_, at, _)| *at);
        if let Some(found) = found {
            return Ok(found);
        }
        ensure!(!tasks.iter().any(tokio::task::JoinHandle::is_finished), "a client has ended early");
        ensure!(Instant::now() < until, "no write was answered with {answer:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
