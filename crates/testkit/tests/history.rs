//! All workloads at once, over RESP2 and RESP3 and TLS, on two shards, while a primary dies by `kill -9` and another
//! one is handed over: a single copy of the data could have given every answer. And where writes are lost, in `async`,
//! the histories show it. `FASTNESS_SEED` replays the clients' choices, `FASTNESS_ROUNDS` makes the run longer.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastness_testkit::cluster::{self, Cluster};
use fastness_testkit::history::{self, Counts, HistoryVerdict, RunningWorkloads};
use fastness_testkit::seed;
use fastness_testkit::wait::until_ok;

const PATIENCE: Duration = Duration::from_secs(60);
/// Number of acknowledged writes between two events.
const WRITES_BETWEEN: u64 = 1500;

fn rounds() -> u32 {
    std::env::var("FASTNESS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

async fn wait_for_writes(running: &RunningWorkloads) -> Result<()> {
    let target = running.counts().acknowledged + WRITES_BETWEEN;
    until_ok(PATIENCE, async || {
        let counts = running.counts();
        ensure!(counts.acknowledged >= target, "fewer than {WRITES_BETWEEN} writes in {PATIENCE:?}: {counts:?}");
        Ok(())
    })
    .await
}

fn hand_over(cluster: &Cluster, shard: u32) -> Result<()> {
    let output = std::process::Command::new(cluster::binary()?)
        .args(["cluster", "hand-over", "--shard", &shard.to_string(), "--dir"])
        .arg(cluster.dir())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Prints the operations and findings of each workload, and returns the sum of the operations.
fn told(verdict: &HistoryVerdict, seed: u64) -> Counts {
    eprintln!("FASTNESS_SEED={seed}: {} operations checked", verdict.ops_checked);
    for (workload, counts) in &verdict.by_workload {
        eprintln!("{workload:9} {counts:?}");
    }
    verdict.by_workload.values().fold(Counts::default(), |sum, counts| sum + *counts)
}

/// Kills shard 1's primary, restarts it, and hands shard 2 over.
async fn kill_and_hand_over(cluster: &Cluster, running: &RunningWorkloads) -> Result<()> {
    let killed = cluster.primary(1, PATIENCE).await?;
    cluster.kill(killed)?;
    wait_for_writes(running).await?;
    tokio::task::block_in_place(|| cluster.start_node(killed))?;
    wait_for_writes(running).await?;
    let before = cluster.primary(2, PATIENCE).await?;
    tokio::task::block_in_place(|| hand_over(cluster, 2))?;
    cluster.primary_other_than(before, 2, PATIENCE).await?;
    wait_for_writes(running).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_through_a_kill_and_a_hand_over_are_those_of_one_copy() -> Result<()> {
    let seed = seed::from_env_or_random();
    let mut cluster = Cluster::start(&cluster::ClusterOptions {
        shards: 2,
        snapshot_log_bytes: Some(50_000),
        ..cluster::ClusterOptions::default()
    })?;
    cluster.keep_files();
    let running = history::start(history::HistoryOptions::new(cluster.tls_servers()?, Some(cluster.tls()?), seed));
    wait_for_writes(&running).await?;

    for _ in 0..rounds() {
        kill_and_hand_over(&cluster, &running).await?;
    }

    let verdict = running.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    let all = told(&verdict, seed);
    for violation in &verdict.violations {
        eprintln!("{violation}\n{}", violation.history.join("\n"));
    }
    ensure!(verdict.violations.is_empty(), "FASTNESS_SEED={seed}: {} broken promises", verdict.violations.len());
    ensure!(verdict.undecided.is_empty(), "FASTNESS_SEED={seed}: nothing is proven: {:#?}", verdict.undecided);
    // Refused writes and writes of unknown outcome were searched, too: a run without any would show less.
    ensure!(all.refused > 0, "nothing was refused: {all:?}");
    ensure!(verdict.ops_checked > all.acknowledged, "{} operations checked of {all:?}", verdict.ops_checked);
    ensure!((verdict.lost, verdict.stale) == (0, 0), "{verdict:?}");
    ensure!(verdict.by_workload.len() == 11, "{:?}", verdict.by_workload.keys().collect::<Vec<_>>());
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_async_loses_are_found_in_the_histories() -> Result<()> {
    let seed = seed::from_env_or_random();
    let cluster =
        Cluster::start(&cluster::ClusterOptions { durability: "async", ..cluster::ClusterOptions::default() })?;
    let running = history::start(history::HistoryOptions::new(cluster.listeners()?, None, seed));
    wait_for_writes(&running).await?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let others: Vec<u64> = (1..=3).filter(|node| *node != primary).collect();
    // Writes acknowledged from now on reach no other node, until the lease has run out.
    others.iter().try_for_each(|other| cluster.link_fault(primary, *other, "cut"))?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.kill(primary)?;
    cluster.primary_other_than(primary, 1, PATIENCE).await?;
    wait_for_writes(&running).await?;

    let verdict = running.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    told(&verdict, seed);
    ensure!(verdict.lost > 0, "FASTNESS_SEED={seed}: acknowledged writes are lost, but no checker reports a loss");
    let found: BTreeSet<&str> = verdict.violations.iter().map(|violation| violation.workload).collect();
    eprintln!("found by {found:?}");
    // A write that is lost before a read has shown it may remain undetected in one workload, but not in all.
    ensure!(found.len() >= 4, "FASTNESS_SEED={seed}: only {found:?} have found anything");
    Ok(())
}
