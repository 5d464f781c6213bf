//! Settings that promise something to clients belong to the cluster: a change on one node applies to all nodes, also
//! after failovers and restarts, and does not wait for a dead node.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::call_text;

const PATIENCE: Duration = Duration::from_secs(60);
/// A change of the cluster's settings with a dead node waits some seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

async fn lag_bound(cluster: &Cluster, node: u64) -> Result<String> {
    let mut client = cluster.connect(node, 1, TIMEOUT).await?;
    let info = call_text(&mut client, &["INFO", "durability"]).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("durability_max_lag_ms:"));
    line.map_or_else(|| bail!("{info}"), |bound| Ok(bound.to_owned()))
}

/// Schedules 49 and 50.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_clusters_settings_is_confirmed_by_all_nodes_and_waits_for_no_dead_one() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let (victim, other) = (primary, primary % 3 + 1);

    // Sent to a replica; after its OK the change applies everywhere.
    let mut client = cluster.connect(other, 1, TIMEOUT).await?;
    let reply = call_text(&mut client, &["CONFIG", "SET", "durability-max-lag", "1500ms"]).await?;
    ensure!(reply == "OK", "{reply}");
    for node in 1..=3 {
        let bound = lag_bound(&cluster, node).await?;
        ensure!(bound == "1500", "node {node} uses {bound} ms after the OK");
    }
    let inside = [&["MULTI"][..], &["CONFIG", "SET", "durability-max-lag", "2s"], &["EXEC"]];
    let mut last = String::new();
    for words in inside {
        last = call_text(&mut client, words).await?;
    }
    ensure!(last.contains("inside of MULTI"), "{last}");

    cluster.kill(victim)?;
    let next = cluster.primary_other_than(victim, 1, PATIENCE).await?;
    let bound = lag_bound(&cluster, next).await?;
    ensure!(bound == "1500", "the new primary, node {next}, uses {bound} ms");

    // The change waits for a dead node, but not forever.
    let began = Instant::now();
    let mut client = cluster.connect(next, 1, TIMEOUT).await?;
    let reply = call_text(&mut client, &["CONFIG", "SET", "requirepass", "secret"]).await?;
    ensure!(reply == "OK" && began.elapsed() < Duration::from_secs(12), "{reply} after {:?}", began.elapsed());
    tokio::task::block_in_place(|| cluster.start_node(victim))?;
    for node in 1..=3 {
        let mut client = cluster.connect(node, 1, TIMEOUT).await?;
        let refused = call_text(&mut client, &["PING"]).await?;
        ensure!(refused.starts_with("-NOAUTH"), "node {node} lets in without a password: {refused}");
        let until = Instant::now() + PATIENCE;
        loop {
            let reply = call_text(&mut client, &["AUTH", "secret"]).await?;
            if reply == "OK" {
                break;
            }
            ensure!(reply.starts_with("-LOADING") && Instant::now() < until, "node {node}: {reply}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = cluster.node_log(node)?;
        ensure!(!log.contains("secret"), "node {node} logs the password");
    }
    Ok(())
}
