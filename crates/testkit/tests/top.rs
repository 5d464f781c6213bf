//! `fastness top` on real processes: what it shows of a cluster, of one with a lost AZ, and on a terminal, which it
//! gives back however it ends.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::{Connection, Outcome, outcome::classify};
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use fastness_testkit::keys::key_in_shard;
use fastness_testkit::terminal::OnTerminal;
use fastness_testkit::wait::until_ok;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// One frame takes two samples; a node that does not answer costs 2 s each.
const FRAME_TIME_MAX: Duration = Duration::from_secs(20);
const SHARDS: u32 = 3;
const ZONES: [&str; 3] = ["a", "b", "c"];
/// The node that is killed.
const KILLED: u64 = 2;
/// The node that is paused.
const PAUSED: u64 = 3;
const SECRET: &str = "very-secret-value";

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// One frame as JSON.
fn frame(cluster: &Cluster) -> Result<Value> {
    let began = Instant::now();
    let text = blocking(|| cluster.top(&["--once", "--json", "--interval", "500ms"]))?;
    ensure!(began.elapsed() < FRAME_TIME_MAX, "a frame took {:?}", began.elapsed());
    serde_json::from_str(&text).with_context(|| text.clone())
}

fn items<'a>(frame: &'a Value, list: &str) -> Result<&'a Vec<Value>> {
    frame[list].as_array().with_context(|| format!("no {list}: {frame}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_and_the_loss_of_an_az_are_shown() -> Result<()> {
    let options = ClusterOptions { shards: SHARDS, durability: "async", ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&options)?;
    cluster.keep_files();
    for shard in 1..=SHARDS {
        cluster.primary(shard, PATIENCE).await?;
    }
    check_frame(&cluster).await?;
    check_text(&cluster)?;
    on_a_terminal(&cluster)?;
    check_killed(&cluster).await?;
    blocking(|| cluster.start_node(KILLED))?;
    until_ok(PATIENCE, async || all_up(&frame(&cluster)?)).await?;
    check_paused(&cluster)?;
    let refused = blocking(|| cluster.top(&[])).err().context("a frame without a terminal")?.to_string();
    ensure!(refused.contains("standard output is not a terminal"), "{refused}");
    let refused = blocking(|| cluster.top(&["--json"])).err().context("JSON without --once")?.to_string();
    ensure!(refused.contains("--once"), "{refused}");
    cluster.discard_files();
    Ok(())
}

fn all_up(frame: &Value) -> Result<()> {
    ensure!(items(frame, "nodes")?.iter().all(|node| node["up"] == json!(true)), "{frame:#}");
    Ok(())
}

/// Writes to a shard until it is told to stop.
async fn write(mut client: Connection, shard: u32, stop: Arc<AtomicBool>) -> Result<()> {
    let key = key_in_shard(shard, SHARDS, "top:");
    while !stop.load(Ordering::Relaxed) {
        let reply = client.call(&[b"SET", key.as_bytes(), SECRET.as_bytes()]).await?;
        ensure!(classify(&reply) == Outcome::Acknowledged, "{reply:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// A frame of a cluster of which a shard is written to, by a client whose every command is slow.
async fn frame_under_load(cluster: &Cluster, shard: u32) -> Result<Value> {
    let primary = cluster.primary(shard, PATIENCE).await?;
    let mut client = cluster.connect(primary, shard, PATIENCE).await?;
    let slow: [&[u8]; 4] = [b"CONFIG", b"SET", b"slowlog-log-slower-than", b"0"];
    ensure!(classify(&client.call(&slow).await?) == Outcome::Acknowledged, "CONFIG SET");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(client, shard, stop.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let frame = frame(cluster);
    stop.store(true, Ordering::Relaxed);
    writer.await??;
    frame
}

/// A frame under load has every figure.
async fn check_frame(cluster: &Cluster) -> Result<()> {
    let frame = frame_under_load(cluster, 1).await?;
    all_up(&frame)?;
    let zones: Vec<_> = items(&frame, "zones")?.iter().filter_map(|zone| zone["name"].as_str()).collect();
    ensure!(zones == ZONES, "{zones:?}");
    let shards = items(&frame, "shards")?;
    ensure!(shards.len() == SHARDS as usize, "{frame:#}");
    for shard in shards {
        ensure!(shard["durability"] == json!("async") && shard["quorum_margin"] == json!(1), "{shard:#}");
        ensure!(shard["lag"]["bound_us"] == json!(10_000_000) && shard["lag"]["gate"] == json!("open"), "{shard:#}");
        let roles = shard["copies"].as_array().context("no copies")?;
        let primaries = roles.iter().filter(|copy| copy["role"] == json!("primary")).count();
        ensure!(roles.len() == 3 && primaries == 1 && shard["memory_bytes"].is_u64(), "{shard:#}");
    }
    let written = &shards[0];
    ensure!(written["ops"].as_f64() > Some(0.0) && written["commit_p99_us"].is_u64(), "{written:#}");
    ensure!(written["keys"].as_u64() > Some(0), "{written:#}");
    ensure!(written["fullest_slots"][0]["keys"].as_u64() > Some(0), "{written:#}");
    let slow = items(&frame, "slow_commands")?;
    ensure!(slow.iter().any(|slow| slow["command"] == json!("set") && slow["arguments"] == json!(3)), "{slow:#?}");
    ensure!(items(&frame, "events")?.iter().any(|event| event["kind"] == json!("elected")), "{frame:#}");
    ensure!(!frame.to_string().contains(SECRET), "data of clients: {frame:#}");
    Ok(())
}

/// The text has every shard and every AZ.
fn check_text(cluster: &Cluster) -> Result<()> {
    let text = blocking(|| cluster.top(&["--once"]))?;
    for zone in ZONES {
        let up = |line: &str| line.split_whitespace().next() == Some(zone) && line.contains(" up ");
        ensure!(text.lines().any(up), "AZ {zone}:\n{text}");
    }
    for shard in 1..=SHARDS {
        let shown = |line: &str| line.split_whitespace().next() == Some(&*shard.to_string()) && line.contains("/10s");
        ensure!(text.lines().any(shown), "shard {shard}:\n{text}");
    }
    ensure!(text.contains("PRIMARY") && !text.contains('\u{1b}'), "{text}");
    Ok(())
}

/// The node that does not answer, and whatever the others have to say.
fn down(frame: &Value, node: u64) -> Result<&Value> {
    let nodes = items(frame, "nodes")?;
    let (down, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|line| line["node"] == json!(node));
    ensure!(others.len() == 2 && others.iter().all(|line| line["up"] == json!(true)), "{frame:#}");
    ensure!(down.len() == 1 && down[0]["up"] == json!(false) && down[0]["reason"].is_string(), "{frame:#}");
    let zones_down: Vec<_> = items(frame, "zones")?.iter().filter(|zone| zone["down"] == json!(true)).collect();
    ensure!(zones_down.len() == 1 && zones_down[0]["name"] == down[0]["az"], "{frame:#}");
    for shard in items(frame, "shards")? {
        let copies = shard["copies"].as_array().context("no copies")?;
        let copy = copies.iter().find(|copy| copy["node"] == json!(node)).context("no copy")?;
        ensure!(copies.len() == 3 && copy["role"] == json!("down"), "{shard:#}");
    }
    Ok(down[0])
}

/// An AZ is lost: the first frame says so, and soon every shard has a primary elsewhere.
async fn check_killed(cluster: &Cluster) -> Result<()> {
    blocking(|| cluster.kill(KILLED))?;
    down(&frame(cluster)?, KILLED)?;
    let text = blocking(|| cluster.top(&["--once"]))?;
    ensure!(text.contains("AZ DOWN"), "{text}");
    until_ok(PATIENCE, async || {
        let frame = frame(cluster)?;
        let lost = down(&frame, KILLED)?;
        ensure!(lost["unreachable_since_ms"].is_u64(), "the peers have not missed it: {lost}");
        for shard in items(&frame, "shards")? {
            let primary = shard["primary"].as_u64().context("no primary")?;
            ensure!(primary != KILLED && shard["quorum_margin"] == json!(0), "{shard:#}");
        }
        Ok(())
    })
    .await?;
    // Any node can be named, in any order.
    let file = cluster.file()?;
    let address = |node: u64| Ok::<_, anyhow::Error>(cluster.node(node)?.grpc);
    let mut command = Command::new(binary()?);
    command.args(["top", "--once", "--address", &address(KILLED)?, "--address", &address(1)?]);
    command.arg("--ca").arg(&file.ca).arg("--admin-cert").arg(&file.admin_cert);
    command.arg("--admin-key").arg(file.admin_cert.with_extension("key"));
    let output = blocking(|| command.output())?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && text.contains("AZ DOWN"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A node that hangs delays nobody.
fn check_paused(cluster: &Cluster) -> Result<()> {
    cluster.pause(PAUSED)?;
    let shown = frame(cluster);
    cluster.resume(PAUSED)?;
    let frame = shown?;
    let reason = down(&frame, PAUSED)?["reason"].as_str().unwrap_or_default().to_owned();
    ensure!(reason.contains("did not answer in time"), "{reason}");
    Ok(())
}

fn start(cluster: &Cluster) -> Result<OnTerminal> {
    let mut command = Command::new(binary()?);
    command.args(["top", "--interval", "200ms", "--dir"]).arg(cluster.dir());
    OnTerminal::start(&mut command, PATIENCE)
}

/// Waits until the program has ended, and checks that the terminal is as it was.
fn ended(mut top: OnTerminal) -> Result<()> {
    let status = top.ended()?;
    ensure!(status.success(), "{status}");
    top.wait_for("\u{1b}[?1049l")?;
    top.wait_for("\u{1b}[?25h")?;
    let text = top.text();
    ensure!(text.rfind("\u{1b}[?25h") > text.rfind("\u{1b}[?25l"), "the cursor is hidden: {text:?}");
    ensure!(!top.has_other_modes()?, "the modes of the terminal are not as they were");
    Ok(())
}

/// The screen is shown, keys are obeyed, and the terminal is given back at the end and after a signal.
fn on_a_terminal(cluster: &Cluster) -> Result<()> {
    blocking(|| {
        for by_signal in [false, true] {
            let mut top = start(cluster)?;
            for text in ["\u{1b}[?1049h", "PRIMARY", "replica", "quit"] {
                top.wait_for(text)?;
            }
            ensure!(top.has_other_modes()?, "not in raw mode");
            top.press("?")?;
            top.wait_for("Help")?;
            if by_signal {
                let pid = Pid::from_raw(top.child.id() as i32).context("no process")?;
                kill_process(pid, Signal::TERM)?;
            } else {
                top.press("q")?;
            }
            ended(top)?;
        }
        Ok(())
    })
}
