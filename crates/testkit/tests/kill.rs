//! `sync`: no acknowledged write is lost when processes die by `kill -9`, are stopped, or are cut off at random moments
//! under load, and reads after every failover show it. `FASTNESS_SEED` replays a run; `make chaos` runs for longer.

use std::time::Duration;

use anyhow::{Result, ensure};
use fastness_testkit::chaos::{self, ChaosFault, ChaosReport};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::partition;

fn seed() -> u64 {
    std::env::var("FASTNESS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random)
}

async fn run(cluster: ClusterOptions, faults: &[ChaosFault], tls: bool) -> Result<ChaosReport> {
    // Often, so that restarts and undos start with a snapshot.
    let cluster = ClusterOptions { snapshot_log_bytes: Some(50_000), ..cluster };
    let seed = seed();
    eprintln!("FASTNESS_SEED={seed}");
    let mut cluster = Cluster::start(&cluster)?;
    cluster.keep_files();
    let options = chaos::ChaosOptions {
        seed,
        plan: chaos::ChaosPlan::these(faults),
        workers: 8,
        tls,
        pause: Duration::from_millis(1),
        histories: false,
        loses: false,
        max_loss: None,
    };
    let report = chaos::run(&cluster, &options, |injected| eprintln!("{injected}")).await?;
    eprintln!("{:?} in {:?}", report.verdict.summary, report.elapsed);
    let broken = report.violations();
    ensure!(broken.is_empty(), "FASTNESS_SEED={seed}: {broken:#?}");
    cluster.discard_files();
    Ok(report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_primaries_lose_nothing() -> Result<()> {
    run(ClusterOptions::default(), &[ChaosFault::KillPrimary; 4], false).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_and_all_nodes_killed_lose_nothing_over_tls() -> Result<()> {
    let options = ClusterOptions { shards: 3, ..ClusterOptions::default() };
    run(options, &[ChaosFault::KillAny, ChaosFault::KillAll, ChaosFault::KillAny, ChaosFault::KillAll], true)
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_primary_neither_serves_stale_data_nor_loses_writes() -> Result<()> {
    run(ClusterOptions::default(), &[ChaosFault::PausePrimary; 3], false).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_cut_off_in_one_or_both_directions_loses_nothing() -> Result<()> {
    if let Some(why) = partition::lacking() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let faults = [ChaosFault::CutPrimary, ChaosFault::DeafenPrimary, ChaosFault::MutePrimary];
    run(ClusterOptions::default(), &faults, false).await.map(drop)
}
