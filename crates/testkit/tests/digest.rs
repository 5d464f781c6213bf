//! Replicas that have applied the same log have the same digest, in any process: under load, after kills, and after all
//! nodes have restarted from their disks alone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::ledger;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::{Digests, Figures};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digests_agree_across_processes_and_restarts() -> Result<()> {
    let mut cluster =
        Cluster::start(&ClusterOptions { shards: 2, snapshot_log_bytes: Some(20_000), ..ClusterOptions::default() })?;
    cluster.keep_files();
    let mut load = ledger::start(ledger::LedgerOptions {
        seeds: cluster.listeners()?,
        pad_bytes: 50,
        prefix: "digest:".into(),
        ..ledger::LedgerOptions::default()
    });
    let mut digests = Digests::default();
    for round in 0..3 {
        let until = Instant::now() + PATIENCE;
        let target = load.book.summary().acknowledged + 300;
        while load.book.summary().acknowledged < target {
            ensure!(Instant::now() < until, "no writes are acknowledged");
            digests.poll(&cluster).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if round < 2 {
            let victim = cluster.primary(round + 1, PATIENCE).await?;
            cluster.kill(victim)?;
            cluster.primary_other_than(victim, round + 1, PATIENCE).await?;
            tokio::task::block_in_place(|| cluster.start_node(victim))?;
        }
    }
    let violations = load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    ensure!(violations.is_empty(), "{violations:#?}");
    let before = digests.wait_until_equal(&cluster, PATIENCE).await?;
    ensure!(before.len() == 2 && digests.compared() >= 4, "{} comparisons of {before:?}", digests.compared());

    cluster.kill_all()?;
    cluster.start_again()?;
    // Starting a cluster writes and removes a key on every shard; the data is the same as before.
    let after = digests.wait_until_equal(&cluster, PATIENCE).await?;
    for (shard, position) in &after {
        let earlier = &before[shard];
        ensure!(position.index > earlier.index, "shard {shard} was at {earlier:?} and is at {position:?}");
        ensure!(position.digest == earlier.digest, "shard {shard} was {earlier:?}, is {position:?}");
    }
    for node in cluster.file()?.nodes {
        let figures = Figures::of(&node).await?;
        for shard in [1, 2] {
            let (from, applied) = (figures.shard("fastness_snapshot_index", shard)?, after[&shard].index);
            ensure!(
                from > 0 && from <= applied,
                "node {}, shard {shard}: snapshot of {from}, applied {applied}",
                node.id
            );
        }
    }
    cluster.stop()?;
    for node in 1..=3 {
        let verified = cluster.verify_snapshots(node)?;
        ensure!(verified.lines().filter(|line| line.contains(": intact; index ")).count() >= 2, "{verified}");
    }
    cluster.start_again()?;
    let last = digests.wait_until_equal(&cluster, PATIENCE).await?;
    ensure!(before.iter().all(|(shard, earlier)| last[shard].digest == earlier.digest), "{before:?}, then {last:?}");
    eprintln!("{} digests were met again on another node", digests.compared());
    cluster.discard_files();
    Ok(())
}
