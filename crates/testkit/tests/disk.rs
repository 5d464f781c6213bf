//! Disk faults under load in `sync`: an fsync that fails, no space, no progress. No acknowledged write is lost,
//! leadership moves, and the node recovers by opening its log again. And link faults, by the same commands.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::Outcome;
use fastness_load::outcome::classify;
use fastness_testkit::chaos::{self, ChaosFault};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::{Digests, Figures, page};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);

async fn run(faults: &[ChaosFault]) -> Result<(Cluster, Vec<u64>)> {
    let options = ClusterOptions { snapshot_log_bytes: Some(50_000), ..ClusterOptions::default() };
    let (cluster, report) = chaos::run_without_loss(&options, faults, false).await?;
    Ok((cluster, report.injected.iter().flat_map(|injected| injected.nodes.clone()).collect()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_fsync_on_the_primary_stops_it_and_loses_nothing() -> Result<()> {
    let (mut cluster, nodes) = run(&[ChaosFault::FailDisk; 2]).await?;
    for node in nodes {
        let log = cluster.node_log(node)?;
        let last_words = log.lines().find(|line| line.starts_with("fastness: the node must stop"));
        let last_words = last_words.context("the node has not reported why it stops")?;
        let folder = cluster.dir().join(format!("nodes/{node}/data/log"));
        for part in [folder.to_str().context("UTF-8")?, "fsync failed", "start the node again", "replace-replica"] {
            ensure!(last_words.contains(part), "{part:?} is not in: {last_words}");
        }
    }
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_on_the_primary_loses_nothing_and_recovers_by_itself() -> Result<()> {
    let (mut cluster, _) = run(&[ChaosFault::FillDisk; 2]).await?;
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_disk_moves_the_primary_and_loses_nothing() -> Result<()> {
    let (mut cluster, _) = run(&[ChaosFault::StallDisk, ChaosFault::SlowDisk, ChaosFault::StallDisk]).await?;
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_are_cut_or_slow_on_one_side_lose_nothing() -> Result<()> {
    let (mut cluster, _) = run(&[ChaosFault::CutLinks, ChaosFault::SlowLinks, ChaosFault::CutLinks]).await?;
    cluster.discard_files();
    Ok(())
}

/// Messages from one node are delayed as commanded, and only those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_way_out_of_the_primary_slows_writes_by_as_much() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let others = cluster.others(primary)?;
    let all = |fault: &str| others.iter().try_for_each(|other| cluster.link_fault(primary, *other, fault));
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    let value = vec![b'x'; 20_000];
    for (fault, each) in [("rate 200000", Duration::from_millis(100)), ("delay 60", Duration::from_millis(60))] {
        all(fault)?;
        let began = Instant::now();
        for n in 0..10 {
            let reply = client.call(&[b"SET", b"key", &value]).await?;
            ensure!(classify(&reply) == Outcome::Acknowledged, "{fault}: SET {n}: {reply:?}");
        }
        let took = began.elapsed();
        eprintln!("{fault}: ten writes of 20 kB took {took:?}");
        ensure!(took >= each * 10 && took < each * 10 + Duration::from_secs(5), "{fault}: {took:?}");
        all("heal")?;
    }
    // Only this direction: the opposite one is not delayed.
    others.iter().try_for_each(|other| cluster.link_fault(*other, primary, "delay 30"))?;
    let (median, _) = write_for(&cluster, primary, Duration::from_secs(1)).await?;
    ensure!((Duration::from_millis(30)..Duration::from_millis(150)).contains(&median), "{median:?}");
    ensure!(cluster.primary(1, PATIENCE).await? == primary, "the primary has moved");
    cluster.discard_files();
    Ok(())
}

/// Writes for a while, one write at a time; returns the median and the longest time.
async fn write_for(cluster: &Cluster, node: u64, span: Duration) -> Result<(Duration, Duration)> {
    let mut client = cluster.connect(node, 1, TIMEOUT).await?;
    let mut took = Vec::new();
    let until = Instant::now() + span;
    while Instant::now() < until {
        let began = Instant::now();
        let reply = client.call(&[b"SET", b"key", took.len().to_string().as_bytes()]).await?;
        ensure!(classify(&reply) == Outcome::Acknowledged, "SET: {reply:?}");
        took.push(began.elapsed());
    }
    took.sort();
    Ok((took[took.len() / 2], *took.last().context("nothing was written")?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_follower_holds_nobody_up() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let follower = cluster.others(primary)?[0];
    let before = write_for(&cluster, primary, Duration::from_secs(2)).await?;
    cluster.disk_fault(follower, "stall")?;
    let during = write_for(&cluster, primary, Duration::from_secs(6)).await?;
    eprintln!("median and longest write: {before:?} before, {during:?} while a follower's log is stalled");
    ensure!(cluster.primary(1, PATIENCE).await? == primary, "the primary has moved");
    let figures = Figures::of(&cluster.node(follower)?).await?;
    ensure!(figures.node("fastness_log_write_in_progress_seconds")? >= 5, "the follower's log is not stalled");
    ensure!(page(&cluster.node(follower)?.metrics, "/metrics").await?.contains("fault=\"disk: stall\""));
    // Other disks and a busy machine affect the figures: the only check is that no write waited for the stalled disk.
    ensure!(during.1 < Duration::from_secs(2), "a write took {:?}", during.1);
    cluster.disk_fault(follower, "heal")?;
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

/// Commits do not need the leader's own disk: writes continue while it is stalled, and while leadership moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_primary_commits_by_the_others_and_hands_over() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let before = write_for(&cluster, primary, Duration::from_secs(1)).await?;
    cluster.disk_fault(primary, "stall")?;
    let during = write_for(&cluster, primary, Duration::from_millis(1_200)).await?;
    let next = cluster.primary_other_than(primary, 1, PATIENCE).await?;
    let after = write_for(&cluster, next, Duration::from_secs(1)).await?;
    eprintln!("median and longest write: {before:?}; {during:?} on the stalled primary; {after:?} on node {next}");
    let ready = page(&cluster.node(primary)?.metrics, "/readyz").await.err().context("it calls itself ready")?;
    ensure!(ready.to_string().contains("log disk stalled"), "{ready:#}");
    // It is asked to end, and does, though its disk does not answer.
    let pid = cluster.pid(primary)?;
    let requested = Instant::now();
    cluster.signal(primary, rustix::process::Signal::TERM)?;
    while rustix::process::test_kill_process(pid).is_ok() && cluster.pid(primary).is_ok() {
        ensure!(requested.elapsed() < Duration::from_secs(18), "the process does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.start_node(primary)?;
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

/// All disks fill up at once, as disks of equal size do: no node can take over, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_disks_full_at_once_recover_by_themselves() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    let nodes = cluster.node_ids()?;
    let mut acknowledged = 0;
    for n in 0..500 {
        ensure!(classify(&client.call(&[b"INCR", b"count"]).await?) == Outcome::Acknowledged, "INCR {n}");
        acknowledged += 1;
    }
    nodes.iter().try_for_each(|node| cluster.disk_fault(*node, "full"))?;
    // With two of three disks full nothing commits any more; whether the third node still writes does not matter.
    let until = Instant::now() + PATIENCE;
    while nodes.iter().filter(|node| waits_for_space(&cluster, **node)).count() < 2 {
        for front_end in cluster.listeners()? {
            if let Ok(mut client) = fastness_load::Connection::open(&front_end, None, Duration::from_millis(300)).await
                && let Ok(reply) = client.call(&[b"INCR", b"count"]).await
            {
                acknowledged += i64::from(classify(&reply) == Outcome::Acknowledged);
            }
        }
        ensure!(Instant::now() < until, "the nodes do not notice that their disks are full");
    }
    nodes.iter().try_for_each(|node| cluster.disk_fault(*node, "heal"))?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    let found = client.call(&[b"INCR", b"count"]).await?;
    let fastness_resp::value::Value::Integer(found) = found else { anyhow::bail!("INCR: {found:?}") };
    ensure!(found > acknowledged, "{acknowledged} were acknowledged, {} exist", found - 1);
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

fn waits_for_space(cluster: &Cluster, node: u64) -> bool {
    cluster.node_log(node).is_ok_and(|log| log.contains("the disk is full by an injected fault"))
}

/// A file system in memory, over a folder whose content it takes over. Unmounted at the end.
struct Small {
    at: PathBuf,
}

impl Small {
    fn over(folder: PathBuf, megabytes: u32) -> Result<Small> {
        let aside = folder.with_extension("aside");
        std::fs::rename(&folder, &aside)?;
        std::fs::create_dir(&folder)?;
        let size = format!("size={megabytes}m");
        command("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &folder.display().to_string()])?;
        let small = Small { at: folder };
        command("cp", &["-a", &format!("{}/.", aside.display()), &small.at.display().to_string()])?;
        Ok(small)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Leaves this many bytes free.
    fn fill(&self, free: u64) -> Result<()> {
        use std::io::Write;
        let found = rustix::fs::statvfs(&self.at)?;
        let mut left = (found.f_bavail * found.f_frsize).saturating_sub(free);
        let mut file = std::fs::File::create(self.filler())?;
        while left > 0 {
            let part = left.min(1 << 20);
            file.write_all(&vec![1; part as usize])?;
            left -= part;
        }
        Ok(())
    }

    /// Takes all space that becomes free until it is stopped: a database that closes returns the space that it had
    /// reserved.
    fn stay_full(&self) -> Filling {
        let (end, path, at) = (Arc::new(AtomicBool::new(false)), self.at.join("more-filler"), self.at.clone());
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            use std::io::Write;
            let Ok(mut file) = std::fs::File::create(&path) else { return };
            while !ended.load(Ordering::Relaxed) {
                let free = rustix::fs::statvfs(&at).map_or(0, |found| found.f_bavail * found.f_frsize);
                // The rest is written next time, in smaller parts.
                if free == 0 || file.write_all(&vec![1; free.min(64 << 10) as usize]).is_err() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let _ = std::fs::remove_file(&path);
        });
        Filling { end, thread: Some(thread) }
    }

    fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }
}

/// Dropping it frees the space.
struct Filling {
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // The thread does nothing that could panic.
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // A process with open files keeps the file system until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn command(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Why no file system can be mounted here; `None` if one can.
fn cannot_mount() -> Option<String> {
    let dir = tempfile::tempdir().ok()?;
    std::fs::create_dir(dir.path().join("small")).ok()?;
    Small::over(dir.path().join("small"), 1).err().map(|error| format!("no file system can be mounted here: {error:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_is_really_full() -> Result<()> {
    if let Some(why) = cannot_mount() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let node = cluster.primary(1, PATIENCE).await?;
    cluster.kill(node)?;
    let small = Small::over(cluster.dir().join(format!("nodes/{node}/data")), 96)?;
    cluster.start_node(node)?;
    let other = cluster.primary(1, PATIENCE).await?;
    if other != node {
        command_hand_over(&cluster, node)?;
    }
    ensure!(cluster.primary(1, PATIENCE).await? == node, "node {node} does not lead");
    let pid = cluster.pid(node)?;
    let logged = cluster.node_log(node)?.len();

    // Less than a memtable: the write-ahead log reaches the end of the file system.
    small.fill(600_000)?;
    let mut client = cluster.connect(node, 1, TIMEOUT).await?;
    let (mut acknowledged, value) = (0u32, vec![b'x'; 10_000]);
    while let Ok(reply) = client.call(&[b"SET", format!("key:{acknowledged}").as_bytes(), &value]).await {
        if classify(&reply) != Outcome::Acknowledged {
            break;
        }
        acknowledged += 1;
        ensure!(acknowledged < 10_000, "the file system does not fill up");
    }
    let next = cluster.primary_other_than(node, 1, PATIENCE).await?;
    cluster.wait_for_log(node, logged, "No space left on device", PATIENCE)?;
    let filling = small.stay_full();
    cluster.wait_for_log(node, logged, "the node restarts by itself once", PATIENCE)?;
    // It waits, and says so to whoever looks.
    ensure!(cluster.pid(node)? == pid, "the node has ended");
    let health = page(&cluster.node(node)?.metrics, "/healthz").await.err().context("it calls itself healthy")?;
    ensure!(health.to_string().contains("no space left on"), "{health:#}");

    drop(filling);
    small.empty()?;
    cluster.wait_for_log(node, logged, "there is space again", PATIENCE)?;
    cluster.wait_for_log(node, logged, "replica started", PATIENCE)?;
    ensure!(cluster.pid(node)? == pid, "it comes back as the same process");
    // A start that finds no space makes some, by giving up what it does not need.
    cluster.kill(node)?;
    small.fill(0)?;
    cluster.start_node(node)?;
    small.empty()?;
    let mut client = cluster.connect(next, 1, TIMEOUT).await?;
    for n in 0..acknowledged {
        let reply = client.call(&[b"STRLEN", format!("key:{n}").as_bytes()]).await?;
        ensure!(reply == fastness_resp::value::Value::Integer(10_000), "key:{n} was acknowledged: {reply:?}");
    }
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    eprintln!("{acknowledged} writes until the file system was full; node {next} led then");
    drop(client);
    cluster.kill_all()?;
    drop(small);
    cluster.discard_files();
    Ok(())
}

fn command_hand_over(cluster: &Cluster, to: u64) -> Result<()> {
    let binary = fastness_testkit::cluster::binary()?;
    let dir = cluster.dir().display().to_string();
    command(
        binary.to_str().context("UTF-8")?,
        &["cluster", "hand-over", "--shard", "1", "--to", &to.to_string(), "--dir", &dir],
    )
}
