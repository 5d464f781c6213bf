//! The verbs of `fastness lab` on real processes: each has the effect that its table shows, and can be repeated.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

fn lab(cluster: &Cluster, verb: &str) -> Result<Output> {
    Ok(Command::new(binary()?).arg("lab").args(verb.split(' ')).arg("--dir").arg(cluster.dir()).output()?)
}

/// The output of a verb that must succeed.
fn succeed(cluster: &Cluster, verb: &str) -> Result<String> {
    let output = lab(cluster, verb)?;
    ensure!(output.status.success(), "lab {verb}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn refused(cluster: &Cluster, verb: &str, reason: &str) -> Result<()> {
    let output = lab(cluster, verb)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && error.contains(reason), "lab {verb}: {error}");
    Ok(())
}

/// The cells of a table's rows below its header, which begins with this word. Columns are two spaces apart.
fn rows(text: &str, header: &str) -> Vec<Vec<String>> {
    let below = text.lines().skip_while(|line| !line.starts_with(header)).skip(1);
    let cells =
        |line: &str| line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect();
    below.take_while(|line| !line.is_empty()).map(cells).collect()
}

/// The cell of a node in a column: process, primary of, replica of, faults.
fn cell(text: &str, node: u64, column: usize) -> Result<String> {
    let rows = rows(text, "NODE");
    let row = rows.iter().find(|row| row[0] == node.to_string()).with_context(|| format!("no node {node}: {text}"))?;
    Ok(row.get(column).with_context(|| format!("no column {column}: {text}"))?.clone())
}

const PROCESS: usize = 2;
const PRIMARY_OF: usize = 3;
const FAULTS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_killed_paused_resumed_and_started() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let node = cluster.primary(1, PATIENCE).await?;
    let pid = cluster.pid(node)?;
    let text = succeed(&cluster, &format!("node kill {node}"))?;
    let shown = cell(&text, node, PROCESS)?;
    ensure!(shown == format!("running (pid {}) → down", pid.as_raw_nonzero()), "{text}");
    ensure!(cell(&text, node, PRIMARY_OF)? == "1 → -", "the primary has moved: {text}");
    ensure!(rustix::process::test_kill_process(pid).is_err(), "the process is there");
    let again = succeed(&cluster, &format!("node kill {node}"))?;
    ensure!(again.contains("nothing has changed") && !again.contains('→'), "{again}");
    for verb in ["node pause", "node resume"] {
        refused(&cluster, &format!("{verb} {node}"), "is down: start it")?;
    }
    refused(&cluster, &format!("disk stall --node {node}"), "is down and takes no faults")?;

    let text = succeed(&cluster, &format!("node start {node}"))?;
    ensure!(cell(&text, node, PROCESS)? == format!("down → running (pid {})", cluster.pid(node)?.as_raw_nonzero()));
    let primary = cluster.primary(1, PATIENCE).await?;
    let text = succeed(&cluster, &format!("node pause {primary}"))?;
    ensure!(cell(&text, primary, PROCESS)?.contains("→ paused") && cluster.is_stopped(primary)?, "{text}");
    ensure!(cell(&text, primary, PRIMARY_OF)? == "1 → -", "{text}");
    ensure!(succeed(&cluster, &format!("node pause {primary}"))?.contains("nothing has changed"));
    refused(&cluster, &format!("node start {primary}"), "is paused, not down")?;
    let text = succeed(&cluster, &format!("node resume {primary}"))?;
    ensure!(cell(&text, primary, PROCESS)?.contains("→ running") && !cluster.is_stopped(primary)?, "{text}");
    refused(&cluster, "node kill 9", "there is no node 9: the nodes are 1, 2, 3")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_go_down_and_are_cut_off_and_come_back() -> Result<()> {
    let cluster =
        Cluster::start(&ClusterOptions { azs: vec!["a", "b", "c", "a"], shards: 2, ..ClusterOptions::default() })?;
    let text = succeed(&cluster, "az down a")?;
    for node in [1, 4] {
        ensure!(cell(&text, node, PROCESS)?.ends_with("→ down"), "{text}");
        ensure!(cluster.pid(node).is_err());
    }
    ensure!(!cell(&text, 2, PROCESS)?.contains('→'), "{text}");
    ensure!(succeed(&cluster, "az down a")?.contains("nothing has changed"));
    let text = succeed(&cluster, "az up a")?;
    for node in [1, 4] {
        ensure!(cell(&text, node, PROCESS)?.starts_with("down → running"), "{text}");
    }
    ensure!(succeed(&cluster, "az up a")?.contains("AZ a"));
    refused(&cluster, "az down d", "there is no AZ d: the AZs are a, b, c")?;

    let text = succeed(&cluster, "az partition b")?;
    ensure!(
        cell(&text, 2, FAULTS)?.contains("link to node 1: cut; link to node 3: cut; link to node 4: cut"),
        "{text}"
    );
    for other in [1, 3, 4] {
        ensure!(cell(&text, other, FAULTS)?.ends_with("link to node 2: cut"), "{text}");
    }
    let status = succeed(&cluster, "status")?;
    ensure!(cell(&status, 2, PRIMARY_OF)? == "-", "a node that is cut off leads nothing: {status}");
    let met = cluster.faults_met(2)?;
    ensure!(met > 0, "no frame met the cut");
    let text = succeed(&cluster, "az heal b")?;
    ensure!(cell(&text, 2, FAULTS)?.ends_with("→ -"), "{text}");
    let text = succeed(&cluster, "az slow c 30")?;
    ensure!(cell(&text, 3, FAULTS)?.contains("delay 30 ms"), "{text}");
    succeed(&cluster, "az heal c")?;
    cluster.primary(1, PATIENCE).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_stall_fill_and_heal() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    for (fault, shown) in [("stall", "disk: writes stall"), ("full", "disk: writes fail for lack of space")] {
        let node = cluster.primary(1, PATIENCE).await?;
        let text = succeed(&cluster, &format!("disk {fault} --node {node}"))?;
        ensure!(cell(&text, node, FAULTS)? == format!("- → {shown}"), "{text}");
        ensure!(cell(&text, node, PRIMARY_OF)? == "1 → -", "the leadership was handed over: {text}");
        succeed(&cluster, &format!("disk heal --node {node}"))?;
        let until = Instant::now() + PATIENCE;
        while cell(&succeed(&cluster, "status")?, node, FAULTS)? != "-" {
            ensure!(Instant::now() < until, "the disk of node {node} is not healed");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    refused(&cluster, "disk break --node 1", "is not one of stall, slow MS, full, fail, heal")?;
    Ok(())
}

fn figure(text: &str, name: &str) -> Result<String> {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}  ")));
    Ok(line.with_context(|| format!("no {name}: {text}"))?[name.len()..].trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_proves_that_nothing_is_lost() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 2, ..ClusterOptions::default() })?;
    refused(&cluster, "load stop", "no load is running")?;
    refused(&cluster, "load start --clients 0", "1 to 256")?;
    succeed(&cluster, "load start --clients 4 --rate 200")?;
    refused(&cluster, "load start", "a load is running already")?;
    let node = cluster.primary(1, PATIENCE).await?;
    succeed(&cluster, &format!("node kill {node}"))?;
    succeed(&cluster, &format!("node start {node}"))?;
    let status = succeed(&cluster, "load status --json")?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    ensure!(status["clients"] == 4 && status["mode"] == "writes", "{status}");
    let text = succeed(&cluster, "load stop")?;
    ensure!(figure(&text, "acknowledged writes")?.parse::<u64>()? > 100, "{text}");
    for none in ["lost, made in sync", "lost, made otherwise", "doubled", "refused, yet happened", "keys not read back"]
    {
        ensure!(figure(&text, none)? == "0", "{none}: {text}");
    }
    ensure!(text.contains("verdict: every promise is kept"), "{text}");
    refused(&cluster, "load status", "no load is running")
}

/// The verdict can be a bad one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_notices_that_its_writes_are_gone() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    succeed(&cluster, "load start --clients 4 --rate 200")?;
    std::thread::sleep(Duration::from_secs(2));
    let node = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(node, 1, PATIENCE).await?;
    client.call(&[b"FLUSHALL"]).await?;
    std::thread::sleep(Duration::from_secs(1));
    let output = lab(&cluster, "load stop")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(1) && text.contains("verdict: BROKEN"), "{text}");
    ensure!(figure(&text, "lost, made in sync")?.parse::<u64>()? > 0, "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_was_killed_proves_nothing() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    succeed(&cluster, "load start --clients 2 --rate 50 --mode payments")?;
    let run: serde_json::Value = serde_json::from_slice(&std::fs::read(cluster.dir().join("load/run.json"))?)?;
    let pid = run["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).context("a pid")?;
    kill_process(pid, Signal::KILL)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let error = String::from_utf8_lossy(&lab(&cluster, "load stop")?.stderr).into_owned();
        if error.contains("nothing is proven") {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
