//! Debian's redis_exporter scrapes every listener without an error, and what newer versions of it ask for is answered.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_resp::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::page;
use fastness_testkit::reply_text::{call_text, expect_reply};
use fastness_testkit::wait::until_ok;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Keys that each shard gets.
const KEYS: usize = 5;
/// Metrics that dashboards use; each has a sample from every listener.
const EXPECTED: &[&str] = &[
    "redis_blocked_clients",
    "redis_cluster_enabled",
    "redis_cluster_known_nodes",
    "redis_cluster_size",
    "redis_cluster_slots_ok",
    "redis_cluster_state",
    "redis_commands_duration_seconds_total",
    "redis_commands_processed_total",
    "redis_commands_total",
    "redis_config_maxclients",
    "redis_connected_clients",
    "redis_connected_clients_details",
    "redis_db_keys",
    "redis_db_keys_expiring",
    "redis_evicted_keys_total",
    "redis_expired_keys_total",
    "redis_instance_info",
    "redis_keyspace_hits_total",
    "redis_keyspace_misses_total",
    "redis_latency_percentiles_usec",
    "redis_mem_fragmentation_ratio",
    "redis_memory_max_bytes",
    "redis_memory_used_bytes",
    "redis_memory_used_rss_bytes",
    "redis_net_input_bytes_total",
    "redis_net_output_bytes_total",
    "redis_slowlog_last_id",
    "redis_slowlog_length",
    "redis_uptime_in_seconds",
];

/// A running exporter. Dropping it ends it.
struct Exporter {
    process: Child,
    address: String,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Exporter {
    /// `None`: it is not installed.
    fn start(cluster: &Cluster) -> Result<Option<Exporter>> {
        let file = cluster.file()?;
        let address = format!("127.0.0.1:{}", cluster.first_port() + 98);
        let log = std::fs::File::create(cluster.dir().join("exporter.log"))?;
        let mut command = Command::new("prometheus-redis-exporter");
        command.args(["-redis.addr", "", "-export-client-list", "-include-config-metrics", "-ping-on-connect"]);
        // Its log then has what it could not parse.
        command.arg("-debug");
        command.args(["-web.listen-address", &address]).arg("-tls-ca-cert-file").arg(&file.ca);
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let why = "prometheus-redis-exporter is not installed (deploy/setup/system.sh test unpacks it)";
                ensure!(std::env::var_os("CI").is_none(), "{why}");
                eprintln!("SKIPPED: {why}");
                Ok(None)
            }
            process => Ok(Some(Exporter { process: process.context("prometheus-redis-exporter")?, address })),
        }
    }

    /// What it exports of a listener, samples with their labels.
    async fn scrape(&self, target: &str) -> Result<BTreeMap<String, f64>> {
        let text = page(&self.address, &format!("/scrape?target={target}")).await?;
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("{target}: {line:?}"))?;
            anyhow::Ok((name.to_owned(), value.parse::<f64>().with_context(|| format!("{target}: {line:?}"))?))
        });
        samples.collect()
    }
}

fn sum(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    samples.iter().filter(|(sample, _)| is_of(sample, name)).map(|(_, value)| value).sum()
}

fn is_of(sample: &str, name: &str) -> bool {
    sample.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
}

fn check(target: &str, samples: &BTreeMap<String, f64>) -> Result<()> {
    let is = |name: &str, expected: f64| {
        let found = sum(samples, name);
        ensure!(found == expected, "{target}: {name} is {found}, not {expected}");
        Ok(())
    };
    is("redis_up", 1.0)?;
    is("redis_exporter_last_scrape_error", 0.0)?;
    let missing: Vec<_> = EXPECTED.iter().filter(|name| !samples.keys().any(|sample| is_of(sample, name))).collect();
    ensure!(missing.is_empty(), "{target}: no sample of {missing:?}");
    is("redis_db_keys", KEYS as f64)?;
    is("redis_db_keys_expiring", 1.0)?;
    is("redis_cluster_state", 1.0)?;
    is("redis_cluster_slots_ok", 16_384.0)?;
    is("redis_cluster_known_nodes", 6.0)?;
    is("redis_cluster_size", 2.0)?;
    is("redis_config_maxclients", 10_000.0)?;
    ensure!(sum(samples, "redis_memory_used_bytes") > 0.0, "{target}: no memory");
    ensure!(sum(samples, "redis_connected_clients") >= 1.0, "{target}: no clients");
    ensure!(sum(samples, "redis_commands_total{cmd=\"ping\"}") >= 1.0, "{target}: no PING was counted");
    Ok(())
}

/// `KEYS` keys in each shard, one of which expires.
async fn fill(cluster: &Cluster) -> Result<()> {
    for shard in 1..=2 {
        let primary = cluster.primary(shard, PATIENCE).await?;
        let mut client = cluster.connect(primary, shard, TIMEOUT).await?;
        expect_reply(&mut client, &["CONFIG", "SET", "slowlog-log-slower-than", "0"], "OK").await?;
        let mut written = 0;
        for name in 0.. {
            let name = format!("key-{name}");
            let reply = match written {
                0 => call_text(&mut client, &["SET", &name, "v", "EX", "100000"]).await?,
                _ => call_text(&mut client, &["SET", &name, "v"]).await?,
            };
            // The other half of the names belongs to the other shard.
            written += usize::from(reply == "OK");
            if written == KEYS {
                break;
            }
        }
    }
    Ok(())
}

async fn array(client: &mut Connection, words: &[&str]) -> Result<Vec<Value>> {
    let arguments: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    match client.call(&arguments).await? {
        Value::Array(members) => Ok(members),
        other => anyhow::bail!("{words:?}: {other:?}"),
    }
}

/// What versions of the exporter after Debian's ask for.
async fn check_newer(client: &mut Connection) -> Result<()> {
    let known = array(client, &["COMMAND", "INFO", "COMMANDLOG"]).await?;
    ensure!(matches!(known.as_slice(), [Value::Array(facts)] if !facts.is_empty()), "COMMAND INFO: {known:?}");
    for log in ["slow", "large-request", "large-reply"] {
        let len = call_text(client, &["COMMANDLOG", "LEN", log]).await?;
        ensure!(len.parse::<u64>().is_ok(), "COMMANDLOG LEN {log}: {len}");
    }
    let options = array(client, &["CONFIG", "GET", "commandlog-*"]).await?;
    ensure!(options.len() == 12, "CONFIG GET commandlog-*: {options:?}");
    ensure!(array(client, &["MODULE", "LIST"]).await?.is_empty(), "there are no modules");
    let slow = array(client, &["SLOWLOG", "GET", "1"]).await?;
    ensure!(matches!(slow.as_slice(), [Value::Array(entry)] if entry.len() == 6), "SLOWLOG GET 1: {slow:?}");
    ensure!(!array(client, &["LATENCY", "HISTOGRAM"]).await?.is_empty(), "LATENCY HISTOGRAM is empty");
    for (words, expected) in [
        (&["INFO", "ALL"][..], "\r\ncluster_enabled:1\r\n"),
        (&["CLUSTER", "INFO"][..], "cluster_state:ok\r\n"),
        (&["CLUSTER", "NODES"][..], "myself,"),
        (&["CLIENT", "LIST"][..], " tot-mem="),
    ] {
        let text = call_text(client, words).await?;
        ensure!(text.contains(expected), "{words:?}: no {expected:?} in {text}");
    }
    Ok(())
}

/// What only a node with a log of its own has.
async fn check_latency(cluster: &Cluster) -> Result<()> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let client = &mut cluster.connect(primary, 1, TIMEOUT).await?;
    tokio::task::block_in_place(|| cluster.disk_fault(primary, "slow 20"))?;
    expect_reply(client, &["CONFIG", "SET", "latency-monitor-threshold", "1"], "OK").await?;
    until_ok(PATIENCE, async || {
        // Half of the names belong to this shard.
        for number in 0..10 {
            call_text(client, &["SET", &format!("latency-{number}"), "v"]).await?;
        }
        let events = array(client, &["LATENCY", "LATEST"]).await?;
        let has = |name: &str| {
            let named =
                |event: &Value| matches!(event, Value::Array(parts) if parts[0].as_bytes() == Some(name.as_bytes()));
            events.iter().any(named)
        };
        ensure!(has("log-fsync"), "{events:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exporter_scrapes_every_listener() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions { shards: 2, ..ClusterOptions::default() })?;
    cluster.keep_files();
    fill(&cluster).await?;
    for shard in 1..=2 {
        let primary = cluster.primary(shard, PATIENCE).await?;
        check_newer(&mut cluster.connect(primary, shard, TIMEOUT).await?).await?;
    }
    let Some(exporter) = Exporter::start(&cluster)? else {
        cluster.discard_files();
        return Ok(());
    };
    until_ok(PATIENCE, async || page(&exporter.address, "/metrics").await.map(drop)).await?;
    let listeners = cluster.file()?.nodes.into_iter().flat_map(|node| node.resp);
    let targets: Vec<String> = listeners
        .flat_map(|resp| {
            [format!("redis://{}:{}", resp.host, resp.port), format!("rediss://{}:{}", resp.host, resp.tls_port)]
        })
        .collect();
    ensure!(targets.len() == 12, "{targets:?}");
    for target in targets {
        // Replicas follow, and the statistics of a listener start with its first scrape.
        until_ok(PATIENCE, async || check(&target, &exporter.scrape(&target).await?)).await?;
    }
    let log = std::fs::read_to_string(cluster.dir().join("exporter.log"))?;
    ensure!(log.contains("CLUSTER INFO") || log.contains("cluster_state"), "the log of the exporter is not complete");
    let bad = |line: &&str| ["level=err", "level=warn", "couldn't parse"].iter().any(|word| line.contains(word));
    let bad: Vec<_> = log.lines().filter(bad).collect();
    ensure!(bad.is_empty(), "the exporter complains: {bad:#?}");
    check_latency(&cluster).await?;
    cluster.discard_files();
    Ok(())
}
