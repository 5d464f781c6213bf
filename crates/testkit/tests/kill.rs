//! `sync`: no acknowledged write is lost when processes die by `kill -9`, are stopped, or are cut off at random moments
//! under load, and reads after every failover show it. `FASTNESS_SEED` replays a run; `make chaos` runs for longer.

use anyhow::Result;
use fastness_testkit::chaos::{self, ChaosFault};
use fastness_testkit::cluster::ClusterOptions;
use fastness_testkit::partition;

async fn run(cluster: ClusterOptions, faults: &[ChaosFault], tls: bool) -> Result<()> {
    // Often, so that restarts and undos start with a snapshot.
    let cluster = ClusterOptions { snapshot_log_bytes: Some(50_000), ..cluster };
    let (mut cluster, _) = chaos::run_without_loss(&cluster, faults, tls).await?;
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_primaries_lose_nothing() -> Result<()> {
    run(ClusterOptions::default(), &[ChaosFault::KillPrimary; 4], false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_and_all_nodes_killed_lose_nothing_over_tls() -> Result<()> {
    let options = ClusterOptions { shards: 3, ..ClusterOptions::default() };
    run(options, &[ChaosFault::KillAny, ChaosFault::KillAll, ChaosFault::KillAny, ChaosFault::KillAll], true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_primary_neither_serves_stale_data_nor_loses_writes() -> Result<()> {
    run(ClusterOptions::default(), &[ChaosFault::PausePrimary; 3], false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_cut_off_in_one_or_both_directions_loses_nothing() -> Result<()> {
    if let Some(why) = partition::lacking() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let faults = [ChaosFault::CutPrimary, ChaosFault::DeafenPrimary, ChaosFault::MutePrimary];
    run(ClusterOptions::default(), &faults, false).await
}
