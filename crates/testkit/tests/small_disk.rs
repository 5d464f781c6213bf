//! Small disks: real file systems on loop devices, in a sandbox, that a cluster overwrites many times, or that others
//! fill.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Outcome};
use fastness_testkit::chaos::sandbox;
use fastness_testkit::cluster::{Cluster, ClusterOptions, power};
use fastness_testkit::observe::{Digests, Figures};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 160 * MIB;
const SHARDS: u32 = 3;
const VALUE_BYTES: usize = 100_000;
/// Values of all shards together: about 12 MB.
const KEYS: usize = 120;
/// Far more than the disk holds.
const WRITTEN_BYTES: u64 = 240 * MIB;

/// Runs a test of this file in a sandbox.
fn inside(test: &str) -> Result<()> {
    if let Some(why) = power::lacking() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let output = sandbox::command(&[test, "--exact", "--ignored", "--nocapture"])?.output().context("unshare")?;
    eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{test}: {}", output.status);
    Ok(())
}

/// Keys of each shard, with a connection to its primary.
struct Writers {
    shards: Vec<(Connection, Vec<String>)>,
    value: Vec<u8>,
    written: u64,
}

impl Writers {
    async fn new(cluster: &Cluster) -> Result<Writers> {
        let mut shards = Vec::new();
        for shard in 1..=SHARDS {
            let primary = cluster.primary(shard, PATIENCE).await?;
            shards.push((cluster.connect(primary, shard, TIMEOUT).await?, Vec::new()));
        }
        let mut writers = Writers { shards, value: vec![b'x'; VALUE_BYTES], written: 0 };
        for number in 0..KEYS {
            let key = format!("key:{number}");
            for (connection, keys) in &mut writers.shards {
                let reply = connection.call(&[b"SET", key.as_bytes(), b""]).await?;
                if classify(&reply) == Outcome::Acknowledged {
                    keys.push(key);
                    break;
                }
            }
        }
        let found: usize = writers.shards.iter().map(|(_, keys)| keys.len()).sum();
        ensure!(found == KEYS && writers.shards.iter().all(|(_, keys)| !keys.is_empty()), "{found} keys have a shard");
        Ok(writers)
    }

    /// Overwrites every key once; each write must be acknowledged.
    async fn overwrite(&mut self) -> Result<()> {
        for (connection, keys) in &mut self.shards {
            for key in keys {
                // Other values each time, so that replicas that miss one differ.
                self.written += VALUE_BYTES as u64;
                let at = (self.written / VALUE_BYTES as u64) as usize % VALUE_BYTES;
                self.value[at] = self.value[at].wrapping_add(1);
                let reply = connection.call(&[b"SET", key.as_bytes(), &self.value]).await?;
                let written = self.written;
                ensure!(classify(&reply) == Outcome::Acknowledged, "after {written} bytes: SET {key}: {reply:?}");
            }
        }
        Ok(())
    }
}

fn options() -> ClusterOptions {
    ClusterOptions { shards: SHARDS, loses_unsynced: true, disk_bytes: DISK_BYTES, ..ClusterOptions::default() }
}

#[test]
fn a_small_disk_is_overwritten_for_ever_with_default_options() -> Result<()> {
    inside("inside_a_small_disk_is_overwritten_for_ever")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run in a sandbox by the test of this name"]
async fn inside_a_small_disk_is_overwritten_for_ever() -> Result<()> {
    ensure!(sandbox::is_inside(), "it mounts file systems: run the other test");
    let mut cluster = Cluster::start(&options())?;
    cluster.keep_files();
    let mut writers = Writers::new(&cluster).await?;
    let began = Instant::now();
    let mut highest = 0;
    while writers.written < WRITTEN_BYTES {
        writers.overwrite().await?;
        for node in &cluster.file()?.nodes {
            let figures = Figures::of(node).await?;
            let free = figures.node("fastness_disk_free_bytes")?;
            highest = highest.max(DISK_BYTES - free.min(DISK_BYTES));
        }
    }
    let elapsed = began.elapsed();
    eprintln!("{} bytes in {elapsed:?}, at most {highest} of {DISK_BYTES} bytes in use", writers.written);
    // And every node restarts.
    cluster.kill_all()?;
    cluster.start_nodes(&[1, 2, 3])?;
    let mut writers = Writers::new(&cluster).await?;
    writers.overwrite().await?;
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

#[test]
fn a_node_starts_on_a_disk_that_others_have_filled() -> Result<()> {
    inside("inside_a_node_starts_on_a_full_disk")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run in a sandbox by the test of this name"]
async fn inside_a_node_starts_on_a_full_disk() -> Result<()> {
    ensure!(sandbox::is_inside(), "it mounts file systems: run the other test");
    let mut cluster = Cluster::start(&options())?;
    cluster.keep_files();
    let mut writers = Writers::new(&cluster).await?;
    for _ in 0..4 {
        writers.overwrite().await?;
    }
    let victim = 3;
    cluster.kill(victim)?;
    let data = cluster.dir().join(format!("nodes/{victim}/data"));
    // What a process leaves that was killed in the middle of a snapshot.
    std::fs::write(data.join("snapshots/shard-1/writing"), vec![1; 100_000])?;
    let filler = data.join("filler");
    let mut file = std::fs::File::create(&filler)?;
    for block in [vec![1; 1 << 20], vec![1; 4096]] {
        while file.write_all(&block).is_ok() {}
    }
    drop(file);
    let from = cluster.node_log(victim)?.len();
    cluster.start_node(victim)?;
    cluster.wait_for_log(victim, from, "the disk is full: incomplete snapshots", PATIENCE)?;
    cluster.wait_for_log(victim, from, "node started", PATIENCE)?;
    ensure!(!data.join("snapshots/shard-1/writing").exists(), "the draft is still there");
    std::fs::remove_file(&filler)?;
    let mut writers = Writers::new(&cluster).await?;
    writers.overwrite().await?;
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    ensure!(cluster.primary(1, PATIENCE).await? > 0);
    cluster.discard_files();
    Ok(())
}
