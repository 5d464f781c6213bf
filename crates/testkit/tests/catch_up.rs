//! A replica that was stopped for longer than the others' logs reach back receives a snapshot and then the log, while
//! clients write; afterwards it is as good as any other.

use std::time::Duration;

use anyhow::{Result, ensure};
use fastness_load::ledger;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::{Digests, Figures};
use fastness_testkit::wait::{until_acknowledged, until_ok};

const PATIENCE: Duration = Duration::from_secs(60);

async fn figure(cluster: &Cluster, node: u64, name: &str) -> Result<u64> {
    Figures::of(&cluster.node(node)?).await?.shard(name, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_for_long_is_sent_a_snapshot() -> Result<()> {
    // Some log is kept, so it starts between two snapshots.
    let (snapshot_log_bytes, watch_log_bytes) = (Some(100_000), 250_000);
    let mut cluster = Cluster::start(&ClusterOptions { snapshot_log_bytes, watch_log_bytes, ..Default::default() })?;
    cluster.keep_files();
    let mut load = ledger::start(ledger::LedgerOptions {
        seeds: cluster.listeners()?,
        workers: 8,
        keys_each: 50,
        pad_bytes: 1_000,
        prefix: "away:".into(),
        ..ledger::LedgerOptions::default()
    });
    let primary = cluster.primary(1, PATIENCE).await?;
    let away = if primary == 3 { 2 } else { 3 };
    let left_at = figure(&cluster, away, "fastness_applied_index").await?;
    cluster.kill(away)?;
    until_ok(PATIENCE, async || {
        let purged = figure(&cluster, primary, "fastness_log_purged_index").await?;
        ensure!(purged > left_at, "the log is purged up to {purged}, not past {left_at}");
        Ok(())
    })
    .await?;
    tokio::task::block_in_place(|| cluster.start_node(away))?;
    until_ok(PATIENCE, async || {
        ensure!(figure(&cluster, away, "fastness_snapshots_received_total").await? > 0, "no snapshot was received");
        Ok(())
    })
    .await?;
    // It votes, and applies: with another node stopped, it is one of the two that commit.
    cluster.kill(primary)?;
    cluster.primary_other_than(primary, 1, PATIENCE).await?;
    until_acknowledged(&load.book, 300, PATIENCE).await?;
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
