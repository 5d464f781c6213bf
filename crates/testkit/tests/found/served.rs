//! The requests of one client do not keep a shard from serving others, and waiting clients cost nothing.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_resp::request;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::expect_reply;

use super::wire::{open, repeated, start};

/// Found with a million keys; a debug build is as slow with fewer.
const KEYS: usize = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
const KEYS_AT_ONCE: usize = 2_000;
/// Longest wait of another client.
const WAIT_MAX: Duration = Duration::from_secs(4);

async fn fill(client: &mut Connection) -> Result<()> {
    for first in (0..KEYS).step_by(KEYS_AT_ONCE) {
        let keys: Vec<String> = (first..first + KEYS_AT_ONCE).map(|number| format!("{{{first}}}{number}")).collect();
        let words: Vec<&str> = ["MSET"].into_iter().chain(keys.iter().flat_map(|key| [key.as_str(), "v"])).collect();
        expect_reply(client, &words, "OK").await?;
    }
    expect_reply(client, &["DBSIZE"], &KEYS.to_string()).await
}

/// Another client's longest wait for a reply within `span`.
async fn longest_wait(client: &mut Connection, span: Duration) -> Result<Duration> {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < span {
        let sent = Instant::now();
        let served = expect_reply(client, &["GET", "{0}1"], "v").await;
        longest = longest.max(sent.elapsed());
        served.with_context(|| format!("after {longest:?}"))?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(longest)
}

/// Found: 4,000 pipelined `KEYS nomatch` over a million keys, and no client was served for more than 100 s, although
/// the sender had disconnected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_served_between_slow_commands_whose_sender_has_gone() -> Result<()> {
    let (cluster, primary, mut client) =
        start(&ClusterOptions { durability: "async", ..ClusterOptions::default() }).await?;
    fill(&mut client).await?;
    let mut sender = open(&cluster.front_end(primary, 1)?)?;
    sender.write_all(&repeated(&["KEYS", "nomatch"], 4_000))?;
    let during = longest_wait(&mut client, Duration::from_secs(1)).await?;
    drop(sender);
    let after = longest_wait(&mut client, Duration::from_secs(2)).await?;
    eprintln!("others waited for {during:?}, and {after:?} after the sender had closed");
    ensure!(during < WAIT_MAX && after < WAIT_MAX, "{during:?}, {after:?}");
    Ok(())
}

/// Found: 64 × `curl /digest`, and GETs waited for up to 48 s, long after the callers had disconnected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_served_while_callers_request_digests_and_disconnect() -> Result<()> {
    let (cluster, primary, mut client) =
        start(&ClusterOptions { durability: "async", ..ClusterOptions::default() }).await?;
    fill(&mut client).await?;
    request_digests(&cluster.node(primary)?.metrics)?;
    let waited = longest_wait(&mut client, Duration::from_secs(2)).await?;
    eprintln!("others waited for {waited:?}");
    ensure!(waited < WAIT_MAX, "{waited:?}");
    Ok(())
}

/// Requests 64 digests at a time, and does not wait for them.
fn request_digests(address: &str) -> Result<()> {
    const CALLERS: usize = 64;
    const ROUNDS: usize = 10;
    for _ in 0..ROUNDS {
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let mut caller = TcpStream::connect(address)?;
            caller.write_all(b"GET /digest HTTP/1.1\r\nHost: x\r\n\r\n")?;
            callers.push(caller);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Found: 1,000 clients in `WAIT 9 0` took 57 % of a core of an idle primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_in_wait_cost_an_idle_primary_no_time() -> Result<()> {
    const CLIENTS: usize = 1_000;
    const SPAN: Duration = Duration::from_secs(3);
    let (cluster, primary, _) = start(&ClusterOptions::default()).await?;
    let idle = busy(&cluster, primary, SPAN).await?;
    let front_end = cluster.front_end(primary, 1)?;
    let mut waiting = Vec::new();
    let mut commands = Vec::new();
    request::encode(&["SET", "k", "v"], &mut commands);
    request::encode(&["WAIT", "9", "0"], &mut commands);
    for _ in 0..CLIENTS {
        let mut client = open(&front_end)?;
        client.write_all(&commands)?;
        waiting.push(client);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let loaded = busy(&cluster, primary, SPAN).await?;
    eprintln!("an idle primary: {idle:.3} of a core; with {CLIENTS} clients in WAIT: {loaded:.3}");
    ensure!(loaded < 2.0 * idle + 0.03, "{loaded} of a core, {idle} before");
    Ok(())
}

/// The share of a core that a node uses.
async fn busy(cluster: &Cluster, node: u64, span: Duration) -> Result<f64> {
    let (before, began) = (processor_time(cluster, node)?, Instant::now());
    tokio::time::sleep(span).await;
    Ok((processor_time(cluster, node)? - before) / began.elapsed().as_secs_f64())
}

/// CPU time in user space and in the kernel, seconds.
fn processor_time(cluster: &Cluster, node: u64) -> Result<f64> {
    /// The unit in which every Linux counts, whatever its timer.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", cluster.pid(node)?.as_raw_nonzero()))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no name")?.split_whitespace().collect();
    let ticks = |at: usize| anyhow::Ok(fields.get(at).context("too short")?.parse::<f64>()?);
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
