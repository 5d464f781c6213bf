//! A replica that was stopped for longer than the others' logs reach back receives a snapshot and then the log, while
//! clients write; afterwards it is as good as any other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::ledger;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::{Digests, Figures};

const PATIENCE: Duration = Duration::from_secs(60);

async fn figure(cluster: &Cluster, node: u64, name: &str) -> Result<u64> {
    let nodes = cluster.file()?.nodes;
    let node = nodes.iter().find(|found| found.id == node).expect("it is a node of the cluster");
    Figures::of(node).await?.shard(name, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_for_long_is_sent_a_snapshot() -> Result<()> {
    let mut cluster =
        Cluster::start(&ClusterOptions { snapshot_log_bytes: Some(100_000), ..ClusterOptions::default() })?;
    cluster.keep_files();
    let mut load = ledger::start(ledger::LedgerOptions {
        seeds: cluster.listeners()?,
        tls: None,
        workers: 8,
        keys_each: 50,
        timeout: Duration::from_secs(2),
        pause: Duration::from_millis(1),
        pad_bytes: 1_000,
        seed: 1,
        prefix: "away:".into(),
        lossy: false,
    });
    let primary = cluster.primary(1, PATIENCE).await?;
    let away = if primary == 3 { 2 } else { 3 };
    let left_at = figure(&cluster, away, "fastness_applied_index").await?;
    cluster.kill(away)?;
    let until = Instant::now() + PATIENCE;
    while figure(&cluster, primary, "fastness_log_purged_index").await? <= left_at {
        ensure!(Instant::now() < until, "the log is not purged past {left_at}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::task::block_in_place(|| cluster.start_node(away))?;
    while figure(&cluster, away, "fastness_snapshots_received_total").await.unwrap_or(0) == 0 {
        ensure!(Instant::now() < until, "no snapshot was received");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It votes, and applies: with another node stopped, it is one of the two that commit.
    cluster.kill(primary)?;
    cluster.primary_other_than(primary, 1, PATIENCE).await?;
    let before = load.book.summary().acknowledged;
    while load.book.summary().acknowledged < before + 300 {
        ensure!(Instant::now() < until, "writes do not resume");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::task::block_in_place(|| cluster.start_node(primary))?;
    let violations = load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    ensure!(violations.is_empty(), "{violations:#?}");
    let mut digests = Digests::default();
    let before = digests.wait_until_equal(&cluster, PATIENCE).await?;
    // From now on its own disk is enough.
    cluster.kill_all()?;
    cluster.start_again()?;
    let after = digests.wait_until_equal(&cluster, PATIENCE).await?;
    ensure!(before[&1].digest == after[&1].digest, "{before:?}, then {after:?}");
    cluster.stop()?;
    let mut replayed = 0;
    for node in 1..=3 {
        let verified = cluster.verify_snapshots(node)?;
        ensure!(verified.contains(": intact; index "), "{verified}");
        // Unless the newest snapshot was received: then the log starts after it.
        replayed += usize::from(verified.contains("; equals the previous one with "));
    }
    ensure!(replayed > 0, "no node has made two snapshots of its own");
    cluster.discard_files();
    Ok(())
}
