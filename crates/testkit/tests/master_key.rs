//! The master keys of a cluster are rotated while clients write: no client notices, the new keys alone open the disks
//! afterwards, and a node that dies at any step of it comes back with all its data.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::ledger;
use fastness_log::{Fingerprint, MasterKey};
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use fastness_testkit::observe::{Digests, page};
use fastness_testkit::reply_text::{call_text, expect_reply, info_field};
use fastness_testkit::seed;
use fastness_testkit::wait::{until_acknowledged, until_ok};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);

fn key_file(cluster: &Cluster, node: u64) -> PathBuf {
    cluster.dir().join(format!("nodes/{node}/master.key"))
}

fn new_key_file(cluster: &Cluster, node: u64) -> PathBuf {
    cluster.dir().join(format!("nodes/{node}/master.key.new"))
}

fn write_secret(path: &Path, content: &str) -> Result<()> {
    std::fs::write(path, content)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?)
}

/// Puts a new key beside the one of a node.
fn provide(cluster: &Cluster, node: u64) -> Result<Fingerprint> {
    let bytes: [u8; 32] = rand::random();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_secret(&new_key_file(cluster, node), &text)?;
    Ok(MasterKey::from_bytes(&bytes).fingerprint())
}

fn in_file(path: &Path) -> Result<Fingerprint> {
    Ok(MasterKey::load(path)?.fingerprint())
}

/// `fastness cluster master-key --json`: the fingerprint in force on each node.
fn in_force(cluster: &Cluster) -> Result<Vec<String>> {
    let shown: Vec<serde_json::Value> = serde_json::from_str(&cluster.administrate(&["master-key", "--json"])?)?;
    let fingerprint = |node: &serde_json::Value| Ok(node["fingerprint"].as_str().context("no fingerprint")?.to_owned());
    shown.iter().map(fingerprint).collect()
}

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// The files of a node's data folder that name a master key.
fn under(cluster: &Cluster, node: u64, key: Fingerprint) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    files(&cluster.dir().join(format!("nodes/{node}/data")), &mut all)?;
    all.retain(|path| {
        // A file may be replaced while they are listed.
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(8).any(|window| window == key.0))
    });
    Ok(all)
}

/// A client of the primary that accepts no error and no lost connection.
struct Strict {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Strict {
    async fn start(cluster: &Cluster, primary: u64) -> Result<Strict> {
        let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (stop.clone(), rounds.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = counted.fetch_add(1, Ordering::Relaxed).to_string();
                expect_reply(&mut client, &["SET", "strict", &number], "OK").await?;
                expect_reply(&mut client, &["GET", "strict"], &number).await?;
            }
            Ok(())
        });
        Ok(Strict { stop, rounds, task })
    }

    async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?.context("a client has noticed the rotation")?;
        Ok(self.rounds.load(Ordering::Relaxed))
    }
}

/// No node's key changes as long as one node's new key cannot be used.
fn refusals(cluster: &Cluster) -> Result<()> {
    let before = in_force(cluster)?;
    let refused = |node: u64, why: &str| -> Result<()> {
        let error = format!("{:#}", cluster.administrate(&["rotate-master-key"]).err().context("it was not refused")?);
        ensure!(error.contains("no node's key was rotated") && error.contains(&format!("node {node}: ")), "{error}");
        ensure!(error.contains(why) && error.contains(&format!("nodes/{node}/master.key")), "{error}");
        ensure!(in_force(cluster)? == before, "a key was changed");
        Ok(())
    };
    refused(1, "there is no new key")?;
    provide(cluster, 1)?;
    provide(cluster, 2)?;
    refused(3, "there is no new key")?;
    provide(cluster, 3)?;
    std::fs::set_permissions(new_key_file(cluster, 3), std::fs::Permissions::from_mode(0o640))?;
    refused(3, "mode 640")?;
    write_secret(&new_key_file(cluster, 3), "too short")?;
    refused(3, "it must hold 32 bytes or 64 hexadecimal digits")?;
    std::fs::copy(key_file(cluster, 3), new_key_file(cluster, 3))?;
    refused(3, "is the one in force")
}

/// After a rotation of a node: what was said, its files, and what it shows.
async fn check_node(cluster: &Cluster, node: u64, from: Fingerprint, to: Fingerprint, said: &str) -> Result<()> {
    let expected = format!("node {node}: rotated from key {from}; key {to} is in force");
    ensure!(said.contains(&expected), "{said}");
    ensure!(!new_key_file(cluster, node).exists(), "the new file is still there");
    ensure!(in_file(&key_file(cluster, node))? == to, "the new file has not replaced the old one");
    until_ok(PATIENCE, async || {
        let files = under(cluster, node, from)?;
        ensure!(files.is_empty(), "under the key before: {files:?}");
        Ok(())
    })
    .await?;
    let mut client = cluster.connect(node, 1, TIMEOUT).await?;
    let info = call_text(&mut client, &["INFO", "persistence"]).await?;
    ensure!(info.contains(&format!("master_key_fingerprint:{to}")), "{info}");
    ensure!(info_field(&mut client, "persistence", "master_key_rotation_incomplete").await? == 0);
    ensure!(info_field(&mut client, "persistence", "master_key_age_seconds").await? < 600);
    let metrics = page(&cluster.node(node)?.metrics, "/metrics").await?;
    ensure!(metrics.contains(&format!("fastness_master_key_info{{fingerprint=\"{to}\"}} 1")), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_rotate_their_keys_under_load_and_only_the_new_keys_open_their_disks() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { snapshot_log_bytes: Some(200_000), ..ClusterOptions::default() })?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut load = ledger::start(ledger::LedgerOptions {
        seeds: cluster.listeners()?,
        workers: 8,
        timeout: Duration::from_millis(1500),
        seed: seed::from_env_or_random(),
        prefix: "keys:".to_owned(),
        ..ledger::LedgerOptions::default()
    });
    let strict = Strict::start(&cluster, primary).await?;
    let first: Vec<Fingerprint> = (1..=3).map(|node| in_file(&key_file(&cluster, node))).collect::<Result<_>>()?;
    let old_key = std::fs::read_to_string(key_file(&cluster, 3))?;
    tokio::task::block_in_place(|| refusals(&cluster))?;

    let mut old = first.clone();
    for round in 0..2 {
        until_acknowledged(&load.book, 500, PATIENCE).await?;
        tokio::task::block_in_place(|| cluster.make_snapshots())?;
        let new: Vec<Fingerprint> = (1..=3).map(|node| provide(&cluster, node)).collect::<Result<_>>()?;
        let said = tokio::task::block_in_place(|| cluster.administrate(&["rotate-master-key"]))?;
        println!("{said}");
        for (node, (from, to)) in (1..=3).zip(old.iter().zip(&new)) {
            check_node(&cluster, node, *from, *to, &said).await.with_context(|| format!("round {round}"))?;
        }
        let shown: Vec<String> = new.iter().map(ToString::to_string).collect();
        ensure!(in_force(&cluster)? == shown, "{shown:?}");
        old = new;
    }
    until_acknowledged(&load.book, 500, PATIENCE).await?;
    ensure!(cluster.primary(1, PATIENCE).await? == primary, "there was an election");
    let rounds = strict.stop().await?;
    ensure!(rounds > 100, "only {rounds} rounds");
    tokio::task::block_in_place(|| cluster.make_snapshots())?;
    for node in 1..=3 {
        tokio::task::block_in_place(|| cluster.verify_snapshots(node))?;
    }

    // All nodes lose what was not on their disks, and find it under the new keys.
    cluster.node_ids()?.into_iter().try_for_each(|node| cluster.kill(node))?;
    refuse_old_key(&cluster, &old_key, first[2], old[2])?;
    tokio::task::block_in_place(|| cluster.start_again())?;
    let acknowledged = load.book.summary().acknowledged;
    let violations = load.stop_and_check(PATIENCE).await.map_err(anyhow::Error::msg)?;
    ensure!(violations.is_empty() && acknowledged > 1000, "of {acknowledged}: {violations:#?}");
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    println!("{rounds} rounds of a strict client, {acknowledged} acknowledged writes, nothing lost");
    Ok(())
}

/// A start of node 3 with its first key says what is wrong, and changes nothing.
fn refuse_old_key(cluster: &Cluster, old_key: &str, old: Fingerprint, new: Fingerprint) -> Result<()> {
    let file = key_file(cluster, 3);
    let kept = std::fs::read_to_string(&file)?;
    write_secret(&file, old_key)?;
    let config = cluster.dir().join("nodes/3/fastness.conf");
    let refused = Command::new(binary()?).args(["server", "--config"]).arg(config).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success(), "it has started with the old key");
    for part in
        [&format!("is encrypted under the master key with fingerprint {new}"), &format!("the given key file has {old}")]
    {
        ensure!(said.contains(part.as_str()), "{said}");
    }
    ensure!(said.contains("After a rotation of the master key only the new key opens it"), "{said}");
    write_secret(&file, &kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_later_has_a_key_of_its_own_and_rotates_it_alone() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    expect_reply(&mut client, &["SET", "k", "v"], "OK").await?;
    let lost = cluster.others(primary)?[0];
    for node in 1..=3 {
        provide(&cluster, node)?;
    }
    tokio::task::block_in_place(|| cluster.administrate(&["rotate-master-key"]))?;
    cluster.kill(lost)?;
    let az = ["a", "b", "c"][lost as usize - 1];
    let added = tokio::task::block_in_place(|| cluster.add_node(az))?;
    tokio::task::block_in_place(|| cluster.replace(lost, added))?;
    let before = in_file(&key_file(&cluster, added))?;
    let new = provide(&cluster, added)?;
    let alone = added.to_string();
    let said = tokio::task::block_in_place(|| cluster.administrate(&["rotate-master-key", "--node", &alone]))?;
    ensure!(
        said == format!(
            "node {added}: rotated from key {before}; key {new} is in force and wraps 2 data keys, and those of 0 more snapshot files\n"
        ),
        "{said}"
    );
    cluster.kill(added)?;
    tokio::task::block_in_place(|| cluster.start_node(added))?;
    until_ok(PATIENCE, async || {
        let mut client = cluster.connect(added, 1, TIMEOUT).await?;
        expect_reply(&mut client, &["READONLY"], "OK").await?;
        expect_reply(&mut client, &["GET", "k"], "v").await
    })
    .await?;
    let error = tokio::task::block_in_place(|| cluster.administrate(&["rotate-master-key", "--node", "99"]));
    ensure!(error.is_err_and(|error| error.to_string().contains("the cluster has no node 99")), "an unknown node");
    Ok(())
}

/// One node, run by hand so that it can die at a failpoint in one life and not in the next.
struct Alone {
    cluster: Cluster,
    process: Option<Child>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Alone {
    fn start() -> Result<Alone> {
        let cluster = Cluster::start(&ClusterOptions {
            azs: vec!["a"],
            replicas: 0,
            durability: "disabled",
            ..ClusterOptions::default()
        })?;
        cluster.stop()?;
        Ok(Alone { cluster, process: None })
    }

    fn run(&mut self, failpoints: &str) -> Result<()> {
        let config = self.cluster.dir().join("nodes/1/fastness.conf");
        let mut command = Command::new(binary()?);
        command.args(["server", "--config"]).arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        if !failpoints.is_empty() {
            command.env("FAILPOINTS", failpoints);
        }
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// A command of the node's only client, once the node answers.
    async fn until(&self, words: &[&str], expected: &str) -> Result<()> {
        until_ok(PATIENCE, async || {
            let mut client = self.cluster.connect(1, 1, TIMEOUT).await?;
            expect_reply(&mut client, words, expected).await
        })
        .await
    }

    /// Writes a key that is on the disk afterwards, and a snapshot.
    async fn fill(&self, round: usize) -> Result<()> {
        let (key, value) = (format!("key {round}"), format!("value {round}"));
        self.until(&["SET", &key, &value], "OK").await?;
        let mut client = self.cluster.connect(1, 1, TIMEOUT).await?;
        let synced = call_text(&mut client, &["WAITAOF", "1", "0", "20000"]).await?;
        ensure!(synced == "1\n0", "{synced}");
        let snapshot = tokio::task::block_in_place(|| self.administrate("snapshot"))?;
        ensure!(snapshot.status.success(), "{snapshot:?}");
        until_ok(PATIENCE, async || {
            let saves = info_field(&mut client, "persistence", "rdb_saves").await?;
            ensure!(saves > 0, "no snapshot");
            Ok(())
        })
        .await?;
        Ok(())
    }

    fn rotate(&self) -> Result<std::process::Output> {
        self.administrate("rotate-master-key")
    }

    /// Runs `fastness cluster`. Its `--dir` does not know this node's process.
    fn administrate(&self, command: &str) -> Result<std::process::Output> {
        let dir = self.cluster.dir();
        let (address, file) = (self.cluster.node(1)?.grpc, |name: &str| dir.join(name));
        let arguments = ["cluster", command, "--address", &address];
        let mut command = Command::new(binary()?);
        command.args(arguments).arg("--ca").arg(file("ca.crt"));
        command.arg("--admin-cert").arg(file("admin.crt")).arg("--admin-key").arg(file("admin.key"));
        Ok(command.output()?)
    }

    /// A start with the old key is refused.
    fn refuses(&self, old_text: &str, new: Fingerprint) -> Result<()> {
        let file = key_file(&self.cluster, 1);
        let new_text = std::fs::read_to_string(&file)?;
        write_secret(&file, old_text)?;
        let config = self.cluster.dir().join("nodes/1/fastness.conf");
        let refused = Command::new(binary()?).args(["server", "--config"]).arg(config).output()?;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(said.contains(&format!("under the master key with fingerprint {new}")), "{said}");
        write_secret(&file, &new_text)
    }

    /// Waits until the process has died by itself.
    fn until_dead(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("no process")?;
        let until = Instant::now() + PATIENCE;
        while process.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "it has not died");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = None;
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("no process")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }
}

/// After each step, whichever files of keys there are: the folder opens, with all data, and in the end under one key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_at_any_step_of_a_rotation_comes_back() -> Result<()> {
    // Failpoints, and whether the new key is in force after the crash.
    let points = [
        ("keys::checked", false),
        ("keys::stored", true),
        ("log::header_stored", true),
        ("log::header_replaced", true),
        ("keys::headers", true),
        ("keys::forgotten", true),
        ("keys::moved", true),
    ];
    let mut node = Alone::start()?;
    for (round, (point, is_new)) in points.into_iter().enumerate() {
        node.run(&format!("{point}=panic"))?;
        node.fill(round).await.context(point)?;
        let old = in_file(&key_file(&node.cluster, 1))?;
        let old_text = std::fs::read_to_string(key_file(&node.cluster, 1))?;
        let new = provide(&node.cluster, 1)?;
        let rotated = tokio::task::block_in_place(|| node.rotate())?;
        ensure!(!rotated.status.success(), "{point}: {rotated:?}");
        tokio::task::block_in_place(|| node.until_dead())?;

        // One of the two keys opens the folder by itself: the other file may be gone.
        let (file, new_file) = (key_file(&node.cluster, 1), new_key_file(&node.cluster, 1));
        if is_new && new_file.exists() && round % 2 == 0 {
            std::fs::rename(&new_file, &file)?;
        }
        node.run("")?;
        for earlier in 0..=round {
            node.until(&["GET", &format!("key {earlier}")], &format!("value {earlier}")).await?;
        }
        // The start completes the rotation; one that had not begun is repeated.
        if !is_new {
            let rotated = tokio::task::block_in_place(|| node.rotate())?;
            ensure!(rotated.status.success(), "{point}: {rotated:?}");
        }
        until_ok(PATIENCE, async || {
            ensure!(in_file(&file)? == new && !new_file.exists(), "{point}: the files were not exchanged");
            let left = under(&node.cluster, 1, old)?;
            ensure!(left.is_empty(), "{point}: under the old key: {left:?}");
            Ok(())
        })
        .await?;
        tokio::task::block_in_place(|| node.cluster.verify_snapshots(1))?;
        node.kill()?;
        node.refuses(&old_text, new).context(point)?;
        println!("{point}: comes back under key {new}");
    }
    Ok(())
}
