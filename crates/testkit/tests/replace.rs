//! A node whose machine or disk is lost is replaced by command while clients write: without a lost write, and so that
//! the new node's vote counts. A replacement that would break the cluster is refused.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::ledger::{self, LedgerRun};
use fastness_load::{Outcome, outcome::classify};
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use fastness_testkit::observe::{Digests, Figures};
use fastness_testkit::wait::until_acknowledged;

const PATIENCE: Duration = Duration::from_secs(120);

fn start_load(cluster: &Cluster) -> Result<LedgerRun> {
    Ok(ledger::start(ledger::LedgerOptions {
        seeds: cluster.listeners()?,
        pause: Duration::from_millis(2),
        pad_bytes: 200,
        prefix: "replace:".into(),
        ..ledger::LedgerOptions::default()
    }))
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn refused<T: std::fmt::Debug>(outcome: Result<T>, reasons: &[&str]) -> Result<()> {
    let error = format!("{:#}", outcome.err().context("it was not refused")?);
    for reason in reasons {
        ensure!(error.contains(reason), "{reason:?} is not in: {error}");
    }
    Ok(())
}

/// Checks that every shard accepts a write.
async fn serves(cluster: &Cluster, value: &str) -> Result<()> {
    for shard in 1..=cluster.file()?.shards {
        let primary = cluster.primary(shard, PATIENCE).await?;
        let mut client = cluster.connect(primary, shard, Duration::from_secs(5)).await?;
        // Among many keys some belong to this replica.
        let mut taken = 0;
        for i in 0..40 {
            let reply = client.call(&[b"SET", format!("serves:{i}").as_bytes(), value.as_bytes()]).await?;
            taken += u32::from(classify(&reply) == Outcome::Acknowledged);
        }
        ensure!(taken > 0, "shard {shard} takes no writes on node {primary}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_under_load_and_the_new_one_votes() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions { shards: 2, ..ClusterOptions::default() })?;
    cluster.keep_files();
    let mut load = start_load(&cluster)?;
    until_acknowledged(&load.book, 300, PATIENCE).await?;

    // Its machine is lost, with its disk.
    let lost = cluster.primary(1, PATIENCE).await?;
    let az = cluster.node(lost)?.az;
    blocking(|| cluster.kill(lost))?;
    let folder = cluster.dir().join(format!("nodes/{lost}"));
    std::fs::remove_dir_all(folder.join("data"))?;
    // With the old identity an empty disk is refused; the node reports what to do.
    let again = blocking(|| cluster.start_node(lost));
    refused(again, &["is not this node's disk", &format!("fastness cluster replace-replica --node {lost} --with ID")])?;
    std::fs::remove_dir_all(folder)?;
    until_acknowledged(&load.book, 300, PATIENCE).await?;

    let new = blocking(|| cluster.add_node(&az))?;
    let said = blocking(|| cluster.replace(lost, new))?;
    eprintln!("{said}");
    for line in ["control plane", "shard 1", "shard 2", &format!("node {new} has replaced node {lost}")] {
        ensure!(said.contains(line), "{line:?} is not in: {said}");
    }
    let said = blocking(|| cluster.replace(lost, new))?;
    ensure!(said.contains("has replaced node"), "repeated request: {said}");
    until_acknowledged(&load.book, 300, PATIENCE).await?;

    // Without its vote the other remaining node would be no majority.
    let nodes = cluster.node_ids()?;
    ensure!(!nodes.contains(&lost) && nodes.contains(&new) && nodes.len() == 3, "{nodes:?}");
    let other = nodes.into_iter().find(|node| *node != new).context("no other node")?;
    let mut digests = Digests::default();
    let violations = load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    ensure!(violations.is_empty(), "{violations:#?}");
    let settled = digests.wait_until_equal(&cluster, PATIENCE).await?;
    ensure!(settled.len() == 2 && digests.compared() >= 4, "{} comparisons of {settled:?}", digests.compared());
    blocking(|| cluster.kill(other))?;
    serves(&cluster, "with the new one's vote").await?;
    blocking(|| cluster.start_node(other))?;
    digests.wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

/// The primary of a shard dies while the new node is being added; then the old node's disk returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_outlives_the_primary_and_the_old_disk_is_turned_away() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let mut load = start_load(&cluster)?;
    until_acknowledged(&load.book, 500, PATIENCE).await?;
    let old = cluster.primary(1, PATIENCE).await? % 3 + 1;
    let az = cluster.node(old)?.az;
    blocking(|| cluster.kill(old))?;
    let new = blocking(|| cluster.add_node(&az))?;

    let violations = std::thread::scope(|scope| -> Result<_> {
        let replacing = scope.spawn(|| cluster.replace(old, new));
        let handle = tokio::runtime::Handle::current();
        pause_on_its_way(&cluster, if old == 1 { 2 } else { 1 }, new, || replacing.is_finished())?;
        blocking(|| -> Result<()> {
            let primary = handle.block_on(cluster.primary(1, PATIENCE))?;
            cluster.kill(primary)?;
            std::thread::sleep(Duration::from_secs(2));
            cluster.resume(new)?;
            cluster.start_node(primary)
        })?;
        let said = blocking(|| replacing.join()).map_err(|_| anyhow::anyhow!("it panicked"))??;
        ensure!(said.contains(&format!("node {new} has replaced node {old}")), "{said}");
        blocking(|| {
            handle.block_on(async {
                until_acknowledged(&load.book, 200, PATIENCE).await?;
                load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)
            })
        })
    })?;
    ensure!(violations.is_empty(), "{violations:#?}");
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;

    refused(blocking(|| cluster.start_node(old)), &[&format!("node {old} was replaced")])?;
    let returned = Alone::start(&cluster, old)?;
    let said = blocking(|| returned.ends())?;
    for part in [format!("node {old} was replaced by node {new}"), format!("nodes/{old}/data")] {
        ensure!(said.contains(&part), "{part:?} is not in: {said}");
    }
    serves(&cluster, "undisturbed").await?;
    cluster.discard_files();
    Ok(())
}

/// While the new node is being added a second node dies. The returned disk that had been given up makes a majority
/// possible. It continues until every group works without it, then it is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_disk_helps_until_the_replacement_is_complete() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let (old, second, survivor) = (1, 2, 3);
    let az = cluster.node(old)?.az;
    serves(&cluster, "before").await?;
    blocking(|| cluster.kill(old))?;
    let new = blocking(|| cluster.add_node(&az))?;
    std::thread::scope(|scope| -> Result<()> {
        let replacing = scope.spawn(|| cluster.replace(old, new));
        pause_on_its_way(&cluster, survivor, new, || replacing.is_finished())?;
        blocking(|| cluster.kill(second))?;
        let returned = Alone::start(&cluster, old)?;
        let handle = tokio::runtime::Handle::current();
        blocking(|| handle.block_on(serves(&cluster, "with the old disk")))?;
        cluster.resume(new)?;
        let said = blocking(|| replacing.join()).map_err(|_| anyhow::anyhow!("it panicked"))??;
        ensure!(said.contains(&format!("node {new} has replaced node {old}")), "{said}");
        let said = blocking(|| returned.ends())?;
        ensure!(said.contains(&format!("node {old} was replaced by node {new}")), "{said}");
        Ok(())
    })?;
    serves(&cluster, "without it").await?;
    blocking(|| cluster.start_node(second))?;
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

/// Waits until a replacement has started, and stops the new node, so that it cannot complete.
fn pause_on_its_way(cluster: &Cluster, survivor: u64, new: u64, is_over: impl Fn() -> bool) -> Result<()> {
    let survivor = cluster.node(survivor)?;
    let handle = tokio::runtime::Handle::current();
    let under_way = || {
        let figures = blocking(|| handle.block_on(Figures::of(&survivor)))?;
        figures.node("fastness_node_replacement_in_progress")
    };
    let until = Instant::now() + PATIENCE;
    while under_way()? == 0 {
        ensure!(Instant::now() < until && !is_over(), "the replacement does not start");
    }
    cluster.pause(new)?;
    ensure!(under_way()? == 1, "it was faster than this test");
    Ok(())
}

/// A node that is started by its config, because it is no longer part of the dev cluster.
struct Alone {
    node: Child,
    /// The file of its log messages.
    log: PathBuf,
}

impl Alone {
    fn start(cluster: &Cluster, node: u64) -> Result<Alone> {
        let folder = cluster.dir().join(format!("nodes/{node}"));
        let log = folder.join("alone.log");
        let mut command = Command::new(binary()?);
        command.arg("server").arg("--config").arg(folder.join("fastness.conf"));
        let node = command.stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).spawn()?;
        Ok(Alone { node, log })
    }

    /// Its log messages, once it has stopped by itself.
    fn ends(mut self) -> Result<String> {
        let until = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.node.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < until, "the node does not stop: {}", std::fs::read_to_string(&self.log)?);
            std::thread::sleep(Duration::from_millis(50));
        };
        ensure!(!status.success(), "it ended as if all were well");
        Ok(std::fs::read_to_string(&self.log)?)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_is_refused_and_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let before = cluster.describe()?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let victim = primary % 3 + 1;
    let (az, other_az) = (cluster.node(victim)?.az, cluster.node(primary)?.az);
    let wrong_az = blocking(|| cluster.add_node(&other_az))?;
    let replace = |old, new| blocking(|| cluster.replace(old, new));

    refused(replace(victim, wrong_az), &[&format!("node {victim} is running"), "stop it first"])?;
    refused(replace(9, wrong_az), &["there is no node 9", "1, 2, 3"])?;
    refused(replace(victim, primary), &["belongs to the cluster already"])?;
    blocking(|| cluster.kill(victim))?;
    let needed = format!("Use a new node in AZ {az}");
    refused(
        replace(victim, wrong_az),
        &["AZ rule", &format!("AZ {other_az} holds 2 of 3 voters"), "1 + 1 + 1", &needed],
    )?;

    // A node that was a cluster of its own.
    let used = blocking(|| cluster.add_node(&az))?;
    let node = cluster.node(used)?;
    let spec = format!("id={used},az={az},peer={},grpc={},host=127.0.0.1,port={}", node.peer, node.grpc, 20_000);
    let file = cluster.file()?;
    let created = Command::new(binary()?)
        .args(["cluster", "create", "--shards", "1", "--replicas", "0", "--durability", "disabled"])
        .args(["--address", &node.grpc, "--node", &spec])
        .arg("--ca")
        .arg(&file.ca)
        .arg("--admin-cert")
        .arg(&file.admin_cert)
        .arg("--admin-key")
        .arg(file.admin_cert.with_extension("key"))
        .output()?;
    ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    refused(replace(victim, used), &["its disk is not empty"])?;
    // A node that does not run.
    let absent = blocking(|| cluster.add_node(&az))?;
    blocking(|| cluster.kill(absent))?;
    refused(replace(victim, absent), &[&format!("node {absent} cannot replace another node"), "does not answer"])?;

    let after = cluster.describe()?;
    for field in ["map_version", "replacement", "replaced"] {
        ensure!(before[field] == after[field], "{field}: {before} became {after}");
    }
    // Without a majority members cannot be changed; the reason is reported.
    let good = blocking(|| cluster.add_node(&az))?;
    let primary = cluster.primary(1, PATIENCE).await?;
    blocking(|| cluster.kill(primary))?;
    refused(replace(victim, good), &["no primary that answers"])
        .or_else(|_| refused(replace(victim, good), &["has no leader"]))?;
    blocking(|| cluster.start_node(primary))?;
    replace(victim, good)?;
    cluster.discard_files();
    Ok(())
}
