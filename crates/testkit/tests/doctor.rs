//! `fastness doctor` on real processes: a healthy cluster has no problem; a lost AZ, a node that hangs and a
//! certificate that expires soon are named, and the commands that it names repair them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use fastness_testkit::wait::until_ok;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// Each node has 7 s to answer, all at once.
const EXAMINATION_TIME_MAX: Duration = Duration::from_secs(30);
/// The only node of its AZ, which is killed, and that AZ.
const KILLED: (u64, &str) = (2, "b");
/// The node that is paused.
const PAUSED: u64 = 3;
/// The node whose certificate expires soon.
const EXPIRING: u64 = 1;

/// Runs the program; returns its exit status and output.
fn run(arguments: &[String]) -> Result<(Option<i32>, String)> {
    let output = tokio::task::block_in_place(|| Command::new(binary()?).args(arguments).output().context("fastness"))?;
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), format!("{text}{said}")))
}

/// The findings of `fastness doctor` with these arguments, and its exit status.
struct Report {
    status: i32,
    page: Value,
}

impl Report {
    fn of(arguments: &[&str]) -> Result<Report> {
        let all: Vec<String> = ["doctor", "--json"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        let began = Instant::now();
        let (status, text) = run(&all)?;
        ensure!(began.elapsed() < EXAMINATION_TIME_MAX, "it took {:?}", began.elapsed());
        let page = serde_json::from_str(&text).with_context(|| text.clone())?;
        Ok(Report { status: status.context("killed")?, page })
    }

    fn of_cluster(cluster: &Cluster) -> Result<Report> {
        Report::of(&["--dir", dir(cluster)?])
    }

    fn findings(&self) -> Result<&Vec<Value>> {
        self.page["findings"].as_array().context("no findings")
    }

    /// The finding of a check about a subject that is not `ok`.
    fn bad(&self, check: &str, subject: &str) -> Result<&Value> {
        let is_it = |found: &&Value| {
            found["check"] == json!(check) && found["subject"] == json!(subject) && found["result"] != json!("ok")
        };
        self.findings()?.iter().find(is_it).with_context(|| format!("{check} of {subject} is well: {:#}", self.page))
    }

    fn ensure_no_problem(&self) -> Result<()> {
        ensure!(self.page["problems"] == json!(0) && self.status != 11, "status {}: {:#}", self.status, self.page);
        Ok(())
    }
}

fn dir(cluster: &Cluster) -> Result<&str> {
    cluster.dir().to_str().context("a folder whose name is not UTF-8")
}

/// Runs the command that a finding names.
fn follow(finding: &Value) -> Result<()> {
    let arguments = finding["next_arguments"].as_array().with_context(|| format!("no command: {finding}"))?;
    let arguments: Vec<_> = arguments.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
    let (status, said) = run(&arguments)?;
    ensure!(status == Some(0), "{arguments:?}: {said}");
    Ok(())
}

/// Puts a certificate of the node into the place of its present one.
fn exchange(cluster: &Cluster, made: &str) -> Result<()> {
    for name in ["node.key", "node.crt"] {
        std::fs::rename(cluster.dir().join(made).join(name), cluster.dir().join(format!("nodes/{EXPIRING}/{name}")))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named_with_the_command_that_repairs_it() -> Result<()> {
    let node_options = vec![("tls-auto-reload-interval", "1".to_owned())];
    let mut cluster = Cluster::start(&ClusterOptions { node_options, ..ClusterOptions::default() })?;
    cluster.keep_files();
    healthy(&cluster).await?;
    this_machine(&cluster)?;
    an_az_is_lost(&cluster).await?;
    a_node_hangs(&cluster)?;
    a_certificate_expires(&cluster).await?;
    cluster.stop()?;
    let silent = Report::of_cluster(&cluster)?;
    ensure!(silent.status == 11, "{:#}", silent.page);
    silent.bad("reachability", "the cluster")?;
    cluster.discard_files();
    Ok(())
}

/// Every check has been made, and none has found a problem.
async fn healthy(cluster: &Cluster) -> Result<()> {
    until_ok(PATIENCE, async || {
        let report = Report::of_cluster(cluster)?;
        report.ensure_no_problem()?;
        let of =
            |check: &str| report.findings().map(|all| all.iter().filter(|one| one["check"] == json!(check)).count());
        for (check, count) in [
            ("reachability", 3),
            ("versions", 1),
            ("clocks", 4),
            ("AZ placement", 1),
            ("membership", 1),
            ("primary", 2),
            ("replicas", 1),
            ("quorum margin", 1),
            ("durability", 1),
            ("certificate", 4),
            ("disks", 6),
            ("users", 3),
        ] {
            ensure!(of(check)? == count, "{check}: {} instead of {count}: {:#}", of(check)?, report.page);
        }
        let unknown = report.page["not_checked"].as_u64();
        ensure!(unknown == Some(0), "{:#}", report.page);
        Ok(())
    })
    .await
}

/// The machine of a node that runs: its ports are its own, its keys private, its certificate good.
fn this_machine(cluster: &Cluster) -> Result<()> {
    let config = format!("{}/nodes/{EXPIRING}/fastness.conf", dir(cluster)?);
    let report = Report::of(&["--config", &config])?;
    let pid = format!("process {}", cluster.pid(EXPIRING)?.as_raw_nonzero());
    let (mut ports, mut checked) = (0, 0);
    for found in report.findings()? {
        if ["ports", "files", "certificate", "config"].iter().any(|check| found["check"] == json!(check)) {
            ensure!(found["result"] == json!("ok"), "{found:#}");
            checked += 1;
        }
        ports += usize::from(found["observed"].as_str().is_some_and(|observed| observed.contains(&pid)));
    }
    ensure!(ports >= 5 && checked >= 12, "{ports} ports, {checked} findings: {:#}", report.page);
    let (_, text) = run(&["doctor".to_owned(), "--config".to_owned(), config])?;
    ensure!(text.contains("sync time") && text.contains(" not checked\n"), "{text}");
    Ok(())
}

async fn an_az_is_lost(cluster: &Cluster) -> Result<()> {
    let (node, az) = KILLED;
    tokio::task::block_in_place(|| cluster.kill(node))?;
    until_ok(PATIENCE, async || {
        let report = Report::of_cluster(cluster)?;
        ensure!(report.status == 11, "{:#}", report.page);
        report.bad("reachability", &format!("node {node}"))?;
        let margin = report.bad("quorum margin", "shard 1")?;
        ensure!(margin["result"] == json!("warning"), "{margin:#}");
        Ok(())
    })
    .await?;
    follow(Report::of_cluster(cluster)?.bad("reachability", &format!("AZ {az}"))?)?;
    until_ok(PATIENCE, async || Report::of_cluster(cluster)?.ensure_no_problem()).await
}

fn a_node_hangs(cluster: &Cluster) -> Result<()> {
    cluster.pause(PAUSED)?;
    let report = Report::of_cluster(cluster);
    let repaired = report.and_then(|report| follow(report.bad("reachability", &format!("node {PAUSED}"))?));
    // Without effect if the command has resumed it.
    cluster.resume(PAUSED)?;
    repaired
}

async fn a_certificate_expires(cluster: &Cluster) -> Result<()> {
    let (ca, id, made) = (dir(cluster)?.to_owned(), EXPIRING.to_string(), format!("{}/short", dir(cluster)?));
    let words =
        ["certs", "node", "--lab", "--days", "2", "--host", "127.0.0.1", "--host", "localhost", "--node-id", &id];
    let words = [&words[..], &["--ca", &ca, "--out", &made]].concat();
    let (status, said) = run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())?;
    ensure!(status == Some(0), "{said}");
    exchange(cluster, "short")?;
    let subject = format!("node {EXPIRING}");
    until_ok(PATIENCE, async || Report::of_cluster(cluster)?.bad("certificate", &subject).map(drop)).await?;
    let report = Report::of_cluster(cluster)?;
    let found = report.bad("certificate", &subject)?;
    let next = found["next"].as_str().unwrap_or_default();
    ensure!(next.contains("--host 127.0.0.1 --host localhost --lab"), "{next}");
    follow(found)?;
    exchange(cluster, &format!("renewed-{EXPIRING}"))?;
    until_ok(PATIENCE, async || Report::of_cluster(cluster)?.ensure_no_problem()).await
}
