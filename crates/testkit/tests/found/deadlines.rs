//! Time advances on replicas, too: no client sees a key past its deadline; and no replica goes back in time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::{call_text, expect_reply};

use super::wire::{PATIENCE, TIMEOUT, eventually, start};

/// Found: `SET k v EX 100`, and 10 s later a replica of an idle shard reported TTL 100; with the other two nodes dead a
/// READONLY replica returned a key forever after its deadline; during CLIENT PAUSE a key past its deadline was
/// readable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_goes_on_for_an_idle_replica_and_one_alone_and_in_a_pause() -> Result<()> {
    let (cluster, primary, mut client) = start(&ClusterOptions::default()).await?;
    let (second, replica) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    let mut reader = cluster.connect(replica, 1, TIMEOUT).await?;
    expect_reply(&mut reader, &["READONLY"], "OK").await?;

    expect_reply(&mut client, &["SET", "idle", "v", "EX", "100"], "OK").await?;
    eventually(&cluster, replica, &["GET", "idle"], "v", PATIENCE).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = call_text(&mut reader, &["TTL", "idle"]).await?;
    eprintln!("TTL on an idle replica after 5 s: {idle}");

    // The pause delays writes only.
    expect_reply(&mut client, &["SET", "paused", "v", "PX", "1000"], "OK").await?;
    expect_reply(&mut client, &["CLIENT", "PAUSE", "4000", "WRITE"], "OK").await?;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let paused = call_text(&mut client, &["GET", "paused"]).await?;
    eprintln!("1.5 s after its deadline, in a pause: {paused}");
    expect_reply(&mut client, &["CLIENT", "UNPAUSE"], "OK").await?;

    expect_reply(&mut client, &["SET", "alone", "v", "PX", "3000"], "OK").await?;
    let deadline = Instant::now() + Duration::from_secs(3);
    eventually(&cluster, replica, &["GET", "alone"], "v", Duration::from_secs(2)).await?;
    cluster.kill(second)?;
    cluster.kill(primary)?;
    tokio::time::sleep(deadline + Duration::from_secs(2) - Instant::now()).await;
    let alone = call_text(&mut reader, &["GET", "alone"]).await?;
    eprintln!("2 s after its deadline, on a replica alone: {alone}");

    let idle: i64 = idle.parse()?;
    ensure!((90..=97).contains(&idle), "TTL {idle} on an idle replica");
    ensure!(paused == "nil", "{paused} in a pause");
    ensure!(alone != "v", "a replica alone returns a key after its deadline");
    Ok(())
}

/// Found: a restarted replica answered READONLY reads for up to 0.5 s from a state before a write that was acknowledged
/// before it was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_started_again_never_answers_from_before_its_death() -> Result<()> {
    const ROUNDS: u64 = 3;
    const WRITES: u64 = 200;
    let (cluster, primary, mut client) = start(&ClusterOptions::default()).await?;
    let replica = primary % 3 + 1;
    let (mut last, mut answers) = (0, 0);
    for _ in 0..ROUNDS {
        for _ in 0..WRITES {
            last += 1;
            expect_reply(&mut client, &["SET", "k", &last.to_string()], "OK").await?;
        }
        eventually(&cluster, replica, &["GET", "k"], &last.to_string(), PATIENCE).await?;
        // With the primary alone nothing new commits, and the replica learns nothing that it did not know before.
        cluster.kill(replica)?;
        let serves = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let started = scope.spawn(|| {
                let started = cluster.start_node(replica);
                serves.store(true, Ordering::Relaxed);
                started
            });
            let seen = read_until(&cluster, replica, &serves);
            started.join().map_err(|_| anyhow::anyhow!("the start panicked"))??;
            seen
        })?;
        answers += seen.len();
        ensure!(seen.iter().all(|value| *value >= last), "{last} was acknowledged and served, then {seen:?}");
    }
    eprintln!("{answers} answers of a replica that was started again");
    ensure!(answers > 0);
    Ok(())
}

/// The answers of a replica while it starts, and for a second more.
fn read_until(cluster: &Cluster, replica: u64, serves: &AtomicBool) -> Result<Vec<u64>> {
    use std::io::{BufRead, BufReader, Write};
    let front_end = cluster.front_end(replica, 1)?;
    let (mut seen, mut until) = (Vec::new(), None);
    let began = Instant::now();
    while until.is_none_or(|until| Instant::now() < until) {
        ensure!(began.elapsed() < PATIENCE, "the replica does not start");
        if serves.load(Ordering::Relaxed) && until.is_none() {
            until = Some(Instant::now() + Duration::from_secs(1));
        }
        std::thread::sleep(Duration::from_millis(2));
        let Ok(mut stream) = std::net::TcpStream::connect((front_end.host.as_str(), front_end.port)) else { continue };
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(b"READONLY\r\nGET k\r\n")?;
        let mut lines = BufReader::new(stream).lines();
        let mut line = || lines.next().and_then(Result::ok);
        // An error, or a length followed by the value.
        let (Some(_), Some(length)) = (line(), line()) else { continue };
        if length.starts_with("$-1") {
            seen.push(0);
        } else if length.starts_with('$') {
            seen.push(line().context("the value")?.parse()?);
        }
    }
    Ok(seen)
}
