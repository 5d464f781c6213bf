//! All nodes are stopped together, as when a hypervisor takes their cores: no election, and no error to any client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::soak::leaderships;
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a lease.
const STOP: Duration = Duration::from_millis(400);
const STOPS: usize = 10;
const WRITERS: usize = 4;

/// Writes and reads until it is stopped; returns the first error, if there was one.
async fn load(mut connection: Connection, own: usize, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Result<()> {
    let key = format!("key:{own}");
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = number.to_string();
        let reply = connection.call(&[b"SET", key.as_bytes(), value.as_bytes()]).await?;
        ensure!(reply == Value::Simple(b"OK".to_vec()), "SET: {reply:?}");
        let reply = connection.call(&[b"GET", key.as_bytes()]).await?;
        ensure!(reply == Value::Bulk(value.into_bytes()), "GET: {reply:?}");
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_stopped_together_for_longer_than_a_lease_elect_nobody_and_refuse_nothing() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for own in 0..WRITERS {
        let connection = cluster.connect(primary, 1, PATIENCE).await?;
        clients.push(tokio::spawn(load(connection, own, stop.clone(), done.clone())));
    }
    let before = leaderships(&cluster).await?;
    let nodes = cluster.node_ids()?;
    for round in 0..STOPS {
        let served = done.load(Ordering::Relaxed);
        for node in &nodes {
            cluster.signal(*node, Signal::STOP)?;
        }
        tokio::time::sleep(STOP).await;
        for node in &nodes {
            cluster.signal(*node, Signal::CONT)?;
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        while done.load(Ordering::Relaxed) < served + 10 && clients.iter().all(|client| !client.is_finished()) {
            ensure!(tokio::time::Instant::now() < until, "nothing is served after stop {round}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?.context("a client was answered an error")?;
    }
    let after = leaderships(&cluster).await?;
    ensure!(before == after, "elections: {before:?} before, {after:?} after");
    eprintln!("{} writes and reads around {STOPS} stops", done.load(Ordering::Relaxed));
    cluster.discard_files();
    Ok(())
}
