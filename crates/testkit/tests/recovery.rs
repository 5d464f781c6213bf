//! A node with changed disk or keys: each case ends with an error that names the file and the remedy, or with all of
//! the data; the other replicas continue.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_load::Outcome;
use fastness_load::outcome::classify;
use fastness_testkit::cluster::{self, Cluster, ClusterOptions};
use fastness_testkit::observe::Digests;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster with one stopped node, whose data is kept aside.
struct Bench {
    cluster: Cluster,
    node: u64,
    writes: u32,
}

impl Bench {
    /// The node's data has table files, a write-ahead log and two snapshots, and is that of a killed process.
    async fn start() -> Result<Bench> {
        let mut cluster = Cluster::start(&ClusterOptions::default())?;
        cluster.keep_files();
        let primary = cluster.primary(1, PATIENCE).await?;
        let node = cluster.others(primary)?[0];
        let mut bench = Bench { cluster, node, writes: 0 };
        for _ in 0..2 {
            bench.write(300).await?;
            bench.cluster.make_snapshots()?;
            bench.wait_for_snapshot().await?;
        }
        // A start moves the content of the write-ahead log into tables.
        bench.cluster.kill(node)?;
        bench.cluster.start_node(node)?;
        bench.write(300).await?;
        Digests::default().wait_until_equal(&bench.cluster, PATIENCE).await?;
        bench.cluster.kill(node)?;
        bench.copy("data", "kept")?;
        Ok(bench)
    }

    /// Checks that the other nodes serve.
    async fn write(&mut self, count: u32) -> Result<()> {
        let primary = self.cluster.primary(1, PATIENCE).await?;
        let mut client = self.cluster.connect(primary, 1, TIMEOUT).await?;
        for _ in 0..count {
            let key = format!("key:{}", self.writes);
            let reply = client.call(&[b"SET", key.as_bytes(), &[b'v'; 200]]).await?;
            ensure!(classify(&reply) == Outcome::Acknowledged, "SET {key}: {reply:?}");
            self.writes += 1;
        }
        Ok(())
    }

    async fn wait_for_snapshot(&self) -> Result<()> {
        let before = self.snapshots()?.len();
        let until = Instant::now() + PATIENCE;
        while self.snapshots()?.iter().filter(|path| path.extension().is_some_and(|e| e == "snapshot")).count() < 1
            || self.snapshots()?.len() < before
        {
            ensure!(Instant::now() < until, "no snapshot was made");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Snapshots of all replicas; a second one starts after the first.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.dir().join(format!("nodes/{}/{name}", self.node))
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        let _ = std::fs::remove_dir_all(&to);
        let status = Command::new("cp").arg("-a").args([&from, &to]).status()?;
        ensure!(status.success(), "cp {} {}", from.display(), to.display());
        Ok(())
    }

    /// Restores the node's data as it was kept.
    fn restore(&self) -> Result<()> {
        self.copy("kept", "data")
    }

    fn files(&self, folder: &str, ending: &str) -> Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(self.path(folder))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        found.sort();
        Ok(found)
    }

    fn snapshots(&self) -> Result<Vec<PathBuf>> {
        self.files("data/snapshots/shard-1", ".snapshot").or(Ok(Vec::new()))
    }

    /// Starts the node as a child of this test.
    fn spawn(&self) -> Result<(Child, PathBuf)> {
        let said = self.path("said");
        let file = File::create(&said)?;
        let child = Command::new(cluster::binary()?)
            .args(["server", "--config"])
            .arg(self.path("fastness.conf"))
            .current_dir(self.path(""))
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok((child, said))
    }

    /// The last log messages of a start that must fail.
    fn refused(&self) -> Result<String> {
        let (mut child, said) = self.spawn()?;
        let until = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                bail!("it runs: {}", std::fs::read_to_string(said)?);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let said = std::fs::read_to_string(said)?;
        ensure!(status.code() == Some(1), "{status}: {said}");
        let last = said.lines().rev().find(|line| line.starts_with("fastness: ")).context("no last words")?;
        Ok(last.to_owned())
    }

    /// Checks that a start fails, with all of these in its last messages, while the others serve.
    async fn must_refuse(&mut self, case: &str, parts: &[&str]) -> Result<()> {
        let last = self.refused().with_context(|| case.to_owned())?;
        for part in parts {
            ensure!(last.contains(part), "{case}: {part:?} is not in: {last}");
        }
        eprintln!("{case}: {last}\n");
        self.write(20).await.with_context(|| format!("{case}: the others"))?;
        self.restore()
    }

    /// Checks that the node starts and has all of the data. Afterwards it is stopped, and its data is kept.
    async fn must_recover(&mut self, case: &str) -> Result<()> {
        self.cluster.start_node(self.node).with_context(|| case.to_owned())?;
        self.write(20).await?;
        Digests::default().wait_until_equal(&self.cluster, PATIENCE).await.with_context(|| case.to_owned())?;
        self.cluster.kill(self.node)?;
        self.copy("data", "kept")?;
        eprintln!("{case}: recovered");
        Ok(())
    }
}

fn flip(path: &Path, at: impl FnOnce(usize) -> usize) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let at = at(bytes.len());
    *bytes.get_mut(at).context("the file is too short")? ^= 0x10;
    Ok(std::fs::write(path, bytes)?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("UTF-8")
}

const REPLACE: &str = "fastness cluster replace-replica";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_missing_or_wrong() -> Result<()> {
    let mut bench = Bench::start().await?;
    let (key, log) = (bench.path("master.key"), bench.path("data/log"));
    let good = std::fs::read(&key)?;
    let (key_text, log) = (text(&key)?.to_owned(), text(&log)?.to_owned());

    std::fs::write(&key, "7".repeat(64))?;
    let wrong =
        [log.as_str(), "encrypted under the master key with fingerprint", "give the key file that this node had"];
    bench.must_refuse("another master key", &wrong).await?;
    std::fs::write(&key, "not a key")?;
    bench.must_refuse("a key file of rubbish", &[&key_text, "must hold 32 bytes"]).await?;
    std::fs::remove_file(&key)?;
    bench.must_refuse("no key file", &[&key_text, "No such file"]).await?;
    std::fs::write(&key, &good)?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
    bench.must_refuse("a key file that others may read", &[&key_text, "chmod 600"]).await?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    bench.must_recover("the right key").await?;
    bench.cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_damaged_or_torn() -> Result<()> {
    let mut bench = Bench::start().await?;
    let wal = bench.files("data/log", ".log")?.pop().context("a write-ahead log")?;
    let wal_text = text(&wal)?.to_owned();
    let len = std::fs::metadata(&wal)?.len() as usize;
    for (case, at) in
        [("the first byte of the log", 0), ("the middle of the log", len / 2), ("the end of the log", len - 1)]
    {
        flip(&wal, |_| at)?;
        bench.must_refuse(case, &[&wal_text, "at byte", "nothing was changed", REPLACE]).await?;
    }
    let table = bench.files("data/log", ".sst")?.pop().context("a table")?;
    flip(&table, |len| len / 3)?;
    let table = table.file_name().and_then(|name| name.to_str()).context("UTF-8")?.to_owned();
    bench.must_refuse("a table", &[text(&bench.path("data/log"))?, &table, REPLACE]).await?;
    let manifest = std::fs::read_to_string(bench.path("data/log/CURRENT"))?.trim().to_owned();
    for part in [3, 1] {
        flip(&bench.path(&format!("data/log/{manifest}")), |len| len / part - 1)?;
        bench.must_refuse("the manifest", &[&manifest, REPLACE]).await?;
    }
    std::fs::remove_file(bench.path("data/log/CURRENT"))?;
    bench.must_refuse("no CURRENT", &["CURRENT", REPLACE]).await?;
    // State after a kill: a batch that was never acknowledged exists in part. A record's header (a checksum, a length
    // of 64 bytes, the whole of a batch) and some of these bytes.
    let torn = [&[7; 4], &64u16.to_le_bytes()[..], &[1], &[0; 10]].concat();
    std::io::Write::write_all(&mut File::options().append(true).open(&wal)?, &torn)?;
    bench.must_recover("a torn end").await?;
    bench.cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_wiped_or_older_than_its_node() -> Result<()> {
    let mut bench = Bench::start().await?;
    let log = bench.path("data/log");
    std::fs::remove_dir_all(bench.path("data"))?;
    std::fs::create_dir(bench.path("data"))?;
    let wiped = [text(&log)?, "is not this node's disk", "The folder was wiped or exchanged", REPLACE];
    bench.must_refuse("a wiped disk", &wiped).await?;
    // Another start, in which something was acknowledged; then the copy made before.
    bench.copy("data", "old")?;
    bench.must_recover("its own disk").await?;
    bench.copy("old", "data")?;
    bench.must_refuse("an old copy", &[text(&log)?, "is an old copy of this node's disk", REPLACE]).await?;
    bench.must_recover("its newest disk").await?;
    bench.cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_damaged_is_told_and_an_older_one_or_the_log_is_read() -> Result<()> {
    let mut bench = Bench::start().await?;
    let newest = bench.snapshots()?.pop().context("a snapshot")?;
    let logged = bench.cluster.node_log(bench.node)?.len();
    flip(&newest, |len| len / 2)?;
    bench.must_recover("a damaged snapshot").await?;
    let said = bench.cluster.node_log(bench.node)?.split_off(logged);
    let line = said.lines().find(|line| line.contains("byte") && line.contains(text(&newest).unwrap_or("")));
    ensure!(line.is_some(), "the damaged snapshot is not named: {said}");
    bench.cluster.discard_files();
    Ok(())
}
