//! The control plane's log is purged after a bounded number of changes: nodes that start, return, or are new get its
//! state from a snapshot.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::Figures;
use fastness_testkit::reply_text::call_text;
use fastness_testkit::wait::until_ok;
use fastness_types::limits::{CONTROL_LOG_BYTES_MAX, CONTROL_LOG_ENTRIES_MAX};
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::admin::v1::{ChangeUsersRequest, UserChange};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const PATIENCE: Duration = Duration::from_secs(120);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Patterns of one user, and bytes of each.
const PATTERNS: (usize, usize) = (900, 60);

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

async fn leads(cluster: &Cluster, node: u64) -> Result<bool> {
    Ok(Figures::of(&cluster.node(node)?).await?.node("fastness_control_is_leader")? == 1)
}

async fn control_leader(cluster: &Cluster, nodes: &[u64]) -> Result<u64> {
    until_ok(PATIENCE, async || {
        for node in nodes {
            if leads(cluster, *node).await? {
                return Ok(*node);
            }
        }
        anyhow::bail!("nobody leads the control plane")
    })
    .await
}

/// Changes users as nodes do for each other: without waiting until all nodes have confirmed.
struct Changes {
    admin: AdminServiceClient<Channel>,
    version: u64,
}

impl Changes {
    async fn at(cluster: &Cluster, leader: u64) -> Result<Changes> {
        let read = |name: &str| std::fs::read(cluster.dir().join(name)).with_context(|| name.to_owned());
        let identity = Identity::from_pem(read("admin.crt")?, read("admin.key")?);
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca.crt")?)).identity(identity);
        let endpoint = Endpoint::from_shared(format!("https://{}", cluster.node(leader)?.grpc))?;
        let channel = endpoint.tls_config(tls)?.connect().await?;
        Ok(Changes { admin: AdminServiceClient::new(channel), version: 0 })
    }

    async fn set(&mut self, name: String, rules: String) -> Result<()> {
        let users = vec![UserChange { name, rules: Some(rules) }];
        let request = ChangeUsersRequest { base_version: self.version, users };
        self.version = self.admin.change_users(request).await?.into_inner().settings_version;
        Ok(())
    }

    /// The same once all nodes are known to understand users.
    async fn first(&mut self) -> Result<()> {
        until_ok(PATIENCE, async || self.set("first".into(), "on resetchannels -@all".into()).await).await
    }
}

/// Committed entries that the node's log still has, or had at the last purge.
async fn kept(cluster: &Cluster, node: u64) -> Result<u64> {
    let figures = Figures::of(&cluster.node(node)?).await?;
    Ok(figures.node("fastness_control_committed_index")? - figures.node("fastness_control_log_purged_index")?)
}

async fn keeps_at_most(cluster: &Cluster, node: u64, entries: u64) -> Result<()> {
    until_ok(PATIENCE, async || {
        let kept = kept(cluster, node).await?;
        ensure!(kept <= entries, "node {node} keeps {kept} entries of the control plane's log, at most {entries}");
        Ok(())
    })
    .await
}

async fn users(cluster: &Cluster, node: u64) -> Result<String> {
    until_ok(PATIENCE, async || {
        let mut client = cluster.connect(node, 1, TIMEOUT).await?;
        let list = call_text(&mut client, &["ACL", "LIST"]).await?;
        ensure!(list.starts_with("user "), "node {node}: {list}");
        Ok(list)
    })
    .await
}

/// The same once the node's sessions go by a change that has added this text.
async fn users_after(cluster: &Cluster, node: u64, change: &str) -> Result<String> {
    until_ok(PATIENCE, async || {
        let list = users(cluster, node).await?;
        ensure!(list.contains(change), "node {node} does not have the last change");
        Ok(list)
    })
    .await
}

/// Waits until a node has the same users as another one.
async fn has_users(cluster: &Cluster, node: u64, expected: &str) -> Result<()> {
    until_ok(PATIENCE, async || {
        let found = users(cluster, node).await?;
        ensure!(found == expected, "node {node} has {} users in {} bytes", found.lines().count(), found.len());
        Ok(())
    })
    .await
}

fn control_snapshots(cluster: &Cluster, node: u64) -> Result<Vec<PathBuf>> {
    let folder = cluster.dir().join(format!("nodes/{node}/data/snapshots/control"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "snapshot"));
    files.sort();
    Ok(files)
}

/// A text of a node's log that it has written since it had `from` bytes.
fn logged(cluster: &Cluster, node: u64, from: usize, text: &str) -> Result<bool> {
    Ok(cluster.node_log(node)?.get(from..).unwrap_or_default().contains(text))
}

const RESTORED: &str = r#"event="memory_restored" shard=0 "#;
const UNUSABLE: &str = r#"event="snapshot_failed" shard=0 step="read""#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_changes_keep_the_log_short_and_every_node_gets_their_result() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let leader = control_leader(&cluster, &[1, 2, 3]).await?;
    let (away, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let mut changes = Changes::at(&cluster, leader).await?;
    changes.first().await?;
    blocking(|| cluster.kill(away))?;

    // Many small changes, while a node is away.
    for i in 0..CONTROL_LOG_ENTRIES_MAX * 5 / 2 {
        changes.set(format!("user:{}", i % 40), format!("on ~key:{i} resetchannels -@all +get")).await?;
    }
    for node in [leader, other] {
        keeps_at_most(&cluster, node, 2 * CONTROL_LOG_ENTRIES_MAX + 100).await?;
        ensure!(control_snapshots(&cluster, node)?.len() == 2, "two are kept");
    }
    let newest = format!(" ~key:{} ", CONTROL_LOG_ENTRIES_MAX * 5 / 2 - 1);
    let list = users_after(&cluster, leader, &newest).await?;
    ensure!(list.lines().count() == 42, "{list}");
    let before = cluster.node_log(away)?.len();
    blocking(|| cluster.start_node(away))?;
    has_users(&cluster, away, &list).await?;
    ensure!(logged(&cluster, away, before, RESTORED)?, "node {away} has not got the snapshot");

    // Few large ones.
    let pattern = |i: usize| format!("~{i:0>width$}", width = PATTERNS.1);
    for i in 0..100 {
        let patterns: Vec<_> = (0..PATTERNS.0).map(|pattern_of| pattern(i * PATTERNS.0 + pattern_of)).collect();
        changes.set(format!("large:{}", i % 5), format!("on {} resetchannels -@all +get", patterns.join(" "))).await?;
    }
    let per_snapshot = CONTROL_LOG_BYTES_MAX / (PATTERNS.0 * PATTERNS.1) as u64 + 1;
    for node in [1, 2, 3] {
        keeps_at_most(&cluster, node, 2 * per_snapshot + 20).await?;
    }

    // All nodes are killed at once. The answer to a change is that it is committed; the sessions of a node follow.
    let newest = pattern(100 * PATTERNS.0 - 1);
    let list = users_after(&cluster, leader, &newest).await?;
    ensure!(list.lines().count() == 47);
    let before: Vec<_> = (1..=3).map(|node| Ok(cluster.node_log(node)?.len())).collect::<Result<_>>()?;
    cluster.kill_all()?;
    blocking(|| cluster.start_again())?;
    for (node, before) in (1..=3).zip(&before) {
        has_users(&cluster, node, &list).await?;
        ensure!(logged(&cluster, node, *before, RESTORED)?, "node {node} has replayed the whole log");
        let verified = blocking(|| cluster.verify_snapshots(node))?;
        ensure!(verified.contains("cluster map of version") && verified.contains("46 users"), "{verified}");
        ensure!(verified.contains("equals the previous one with"), "{verified}");
    }

    // The newest snapshot of one is damaged: the one before and the log give the same.
    blocking(|| cluster.kill(other))?;
    let newest = control_snapshots(&cluster, other)?.pop().context("no snapshot")?;
    let mut bytes = std::fs::read(&newest)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes)?;
    let before = cluster.node_log(other)?.len();
    blocking(|| cluster.start_node(other))?;
    has_users(&cluster, other, &list).await?;
    ensure!(logged(&cluster, other, before, UNUSABLE)? && logged(&cluster, other, before, RESTORED)?);

    // A new node takes the place of one that is lost.
    let lost = away;
    let az = cluster.node(lost)?.az;
    blocking(|| cluster.kill(lost))?;
    std::fs::remove_dir_all(cluster.dir().join(format!("nodes/{lost}")))?;
    let new = blocking(|| cluster.add_node(&az))?;
    blocking(|| cluster.replace(lost, new))?;
    has_users(&cluster, new, &list).await?;
    ensure!(logged(&cluster, new, 0, RESTORED)?, "node {new} has not got the snapshot");
    let figures = Figures::of(&cluster.node(new)?).await?;
    ensure!(figures.node("fastness_control_snapshot_index")? > 0);
    cluster.discard_files();
    Ok(())
}
