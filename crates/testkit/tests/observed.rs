//! Nodes report to clients what they observe of replicas: within 2 s of a death every other node reports it, in every
//! command that names replicas, and a replica is named again once it can serve.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text;
use fastness_testkit::wait::until_ok;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);
/// All nodes have noticed a death within this time.
const NOTICED_MAX: Duration = Duration::from_secs(2);

/// What one node reports about the replicas of shard 1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    /// Ports that CLUSTER SLOTS names.
    slots: usize,
    /// Health in CLUSTER SHARDS: online, loading, fail.
    health: [usize; 3],
    /// Lines of CLUSTER NODES with the flag `fail`, and with a link that is down.
    failed: usize,
    disconnected: usize,
    /// `cluster_nodes_fail`.
    nodes_fail: usize,
    /// On a primary: entries of ROLE, `connected_slaves`, and those that are online in INFO.
    followers: Option<[usize; 3]>,
}

async fn poll(cluster: &Cluster, node: u64) -> Result<Told> {
    let mut client = cluster.connect(node, 1, TIMEOUT).await?;
    let text = |value: Value| String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned();
    let Value::Array(slots) = client.call(&[b"CLUSTER", b"SLOTS"]).await? else { anyhow::bail!("no slots") };
    let Value::Array(first) = &slots[0] else { anyhow::bail!("no slot range") };
    let shards = format!("{:?}", client.call(&[b"CLUSTER", b"SHARDS"]).await?);
    let health = ["online", "loading", "fail"];
    let health = health.map(|word| shards.matches(&format!("{:?}", Value::Bulk(word.into()))).count());
    let nodes = text(client.call(&[b"CLUSTER", b"NODES"]).await?);
    let of = |part: &str| nodes.lines().filter(|line| line.contains(part)).count();
    let info = text(client.call(&[b"CLUSTER", b"INFO"]).await?);
    let nodes_fail = info.lines().find_map(|line| line.strip_prefix("cluster_nodes_fail:"));
    let replication = text(client.call(&[b"INFO", b"replication"]).await?);
    let followers = match client.call(&[b"ROLE"]).await? {
        Value::Array(role) => match role.get(2) {
            Some(Value::Array(replicas)) => {
                let connected = replication.lines().find_map(|line| line.strip_prefix("connected_slaves:"));
                let online =
                    replication.lines().filter(|line| line.contains(",state=online,") && line.contains(",lag=0,"));
                Some([replicas.len(), connected.context("no connected_slaves")?.parse()?, online.count()])
            }
            _ => None,
        },
        other => anyhow::bail!("{other:?}"),
    };
    Ok(Told {
        slots: first.len() - 2,
        health,
        failed: of(",fail "),
        disconnected: of(" disconnected"),
        nodes_fail: nodes_fail.context("no cluster_nodes_fail")?.parse()?,
        followers,
    })
}

/// Waits until these nodes report that `alive` of three replicas run, one of the nodes being the primary.
async fn until_told(cluster: &Cluster, nodes: &[u64], primary: u64, alive: usize, patience: Duration) -> Result<()> {
    let until = Instant::now() + patience;
    for &node in nodes {
        let dead = 3 - alive;
        let expected = Told {
            slots: alive,
            health: [alive, 0, dead],
            failed: dead,
            disconnected: dead,
            nodes_fail: dead,
            followers: (node == primary).then_some([alive - 1; 3]),
        };
        let left = until.saturating_duration_since(Instant::now());
        until_ok(left, async || {
            let told = poll(cluster, node).await?;
            ensure!(told == expected, "node {node} reports {told:?}, expected {expected:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_replica_leaves_the_topology_within_two_seconds_and_is_named_again_once_it_serves() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    until_told(&cluster, &[1, 2, 3], primary, 3, PATIENCE).await?;
    let (victim, other) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    cluster.kill(victim)?;
    until_told(&cluster, &[primary, other], primary, 2, NOTICED_MAX).await?;
    // The link of a replica to a primary that answers.
    let mut client = cluster.connect(other, 1, TIMEOUT).await?;
    let info = reply_text::call_text(&mut client, &["INFO", "replication"]).await?;
    ensure!(info.contains("master_link_status:up\r\nmaster_last_io_seconds_ago:0\r\n"), "{info}");

    tokio::task::block_in_place(|| cluster.start_node(victim))?;
    until_told(&cluster, &[1, 2, 3], primary, 3, PATIENCE).await?;

    // For clients a stopped node is as good as dead.
    cluster.pause(victim)?;
    until_told(&cluster, &[primary, other], primary, 2, NOTICED_MAX).await?;
    cluster.resume(victim)?;
    until_told(&cluster, &[1, 2, 3], primary, 3, PATIENCE).await
}

/// Two nodes are left without a third and a fourth, which were a majority with one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_primary_is_dead_says_that_its_link_is_down() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let (second, left) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    cluster.kill(second)?;
    cluster.kill(primary)?;
    let began = Instant::now();
    let mut client = cluster.connect(left, 1, TIMEOUT).await?;
    until_ok(NOTICED_MAX.saturating_sub(began.elapsed()), async || {
        let info = reply_text::call_text(&mut client, &["INFO", "replication"]).await?;
        let cluster_info = reply_text::call_text(&mut client, &["CLUSTER", "INFO"]).await?;
        let fails = ["cluster_slots_ok:0", "cluster_slots_fail:16384", "cluster_nodes_fail:2"];
        let is_told = info.contains("master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n")
            && info.contains("master_link_down_since_seconds:")
            && fails.iter().all(|line| cluster_info.lines().any(|l| l == *line));
        ensure!(is_told, "{info}\n{cluster_info}");
        Ok(())
    })
    .await
}
