//! All workloads at once, over RESP2 and RESP3 and TLS, on two shards, while a primary dies by `kill -9` and another one is handed over:
//! every history is what a single copy of the data could have answered. `FASTNESS_SEED` replays the clients' choices.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{self, Cluster};
use fastness_testkit::history::{self, Counts, Running};

const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged writes between two events.
const WRITES_BETWEEN: u64 = 1500;

fn seed() -> u64 {
    std::env::var("FASTNESS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random)
}

async fn wait_for_writes(running: &Running) -> Result<()> {
    let target = running.counts().acknowledged + WRITES_BETWEEN;
    let until = Instant::now() + PATIENCE;
    while running.counts().acknowledged < target {
        ensure!(Instant::now() < until, "fewer than {WRITES_BETWEEN} writes in {PATIENCE:?}: {:?}", running.counts());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn hand_over(cluster: &Cluster, shard: u32) -> Result<()> {
    let output = std::process::Command::new(cluster::binary()?)
        .args(["cluster", "hand-over", "--shard", &shard.to_string(), "--dir"])
        .arg(cluster.dir())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_through_a_kill_and_a_hand_over_are_those_of_one_copy() -> Result<()> {
    let seed = seed();
    eprintln!("FASTNESS_SEED={seed}");
    let mut cluster = Cluster::start(&cluster::Options {
        shards: 2,
        snapshot_log_bytes: Some(50_000),
        ..cluster::Options::default()
    })?;
    cluster.keep_files();
    let running = history::start(history::Options::new(cluster.tls_doors()?, Some(cluster.tls()?), seed));
    wait_for_writes(&running).await?;

    let killed = cluster.primary(1, PATIENCE).await?;
    cluster.kill(killed)?;
    wait_for_writes(&running).await?;
    tokio::task::block_in_place(|| cluster.start_node(killed))?;
    wait_for_writes(&running).await?;
    let before = cluster.primary(2, PATIENCE).await?;
    tokio::task::block_in_place(|| hand_over(&cluster, 2))?;
    cluster.primary_other_than(before, 2, PATIENCE).await?;
    wait_for_writes(&running).await?;

    let checking = Instant::now();
    let verdict = running.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    eprintln!("{} operations checked in {:?}", verdict.ops_checked, checking.elapsed());
    for (workload, counts) in &verdict.by_workload {
        eprintln!("{workload:9} {counts:?}");
    }
    for violation in &verdict.violations {
        eprintln!("{violation}\n{}", violation.history.join("\n"));
    }
    ensure!(verdict.violations.is_empty(), "FASTNESS_SEED={seed}: {} broken promises", verdict.violations.len());
    ensure!(verdict.undecided.is_empty(), "FASTNESS_SEED={seed}: nothing is proven: {:#?}", verdict.undecided);
    let all = verdict.by_workload.values().fold(Counts::default(), |sum, counts| sum + *counts);
    // What was refused was looked for, and so were writes of unknown outcome: a run without any would show less.
    ensure!(all.refused > 0, "nothing was refused: {all:?}");
    ensure!(verdict.ops_checked > all.acknowledged, "{} operations checked of {all:?}", verdict.ops_checked);
    ensure!((verdict.lost, verdict.stale) == (0, 0), "{verdict:?}");
    ensure!(verdict.by_workload.len() == 8, "{:?}", verdict.by_workload.keys().collect::<Vec<_>>());
    cluster.file().context("the cluster is gone")?;
    cluster.discard_files();
    Ok(())
}
