//! Secrets leave no trace: passwords, and the data itself. Canaries are put in wherever a secret can come in, then
//! everything that a node writes or shows is looked through.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use fastness_load::Connection;
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use fastness_testkit::observe::page;
use fastness_testkit::reply_text::{call_text, expect_reply};
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use tonic::Request;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Passwords, each of which comes in by another way.
const PASSWORDS: [&str; 8] = [
    "canary-requirepass",
    "canary-setuser",
    "canary-removed",
    "canary-auth-wrong",
    "canary-hello-wrong",
    "canary-grpc-wrong",
    "canary-syntax",
    "canary-queued",
];
const VALUE: &str = "canary-value-of-a-string";
const FIELD: &str = "canary-value-of-a-field";

async fn use_passwords(client: &mut Connection) -> Result<()> {
    expect_reply(client, &["ACL", "SETUSER", "alice", "on", ">canary-setuser", ">canary-removed", "~*", "+@all"], "OK")
        .await?;
    expect_reply(client, &["ACL", "SETUSER", "alice", "<canary-removed"], "OK").await?;
    expect_reply(client, &["AUTH", "alice", "canary-setuser"], "OK").await?;
    let wrong: [&[&str]; 7] = [
        &["AUTH", "alice", "canary-auth-wrong"],
        &["AUTH", "canary-auth-wrong"],
        &["HELLO", "3", "AUTH", "alice", "canary-hello-wrong"],
        &["ACL", "SETUSER", "alice", "<canary-removed"],
        &["ACL", "SETUSER", "alice", ">canary-syntax", "+nothing"],
        &["AUTH", "alice", "canary-syntax", "more"],
        &["CONFIG", "SET", "requirepass", "canary-syntax", "nothing", "more"],
    ];
    for words in wrong {
        let reply = call_text(client, words).await?;
        ensure!(reply.starts_with('-'), "{words:?}: {reply}");
    }
    expect_reply(client, &["MULTI"], "OK").await?;
    expect_reply(client, &["AUTH", "alice", "canary-queued"], "QUEUED").await?;
    call_text(client, &["EXEC"]).await?;
    expect_reply(client, &["CONFIG", "SET", "requirepass", "canary-requirepass"], "OK").await
}

async fn use_password_over_grpc(cluster: &Cluster, node: u64) -> Result<()> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let address = cluster.node(node)?.grpc;
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
    let channel =
        endpoint.tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)))?.connect().await?;
    let mut kv = KvServiceClient::new(channel);
    for (password, expected) in [("canary-setuser", true), ("canary-grpc-wrong", false)] {
        let mut request = Request::new(v1::GetRequest { key: "k".into(), ..Default::default() });
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("alice:{password}"));
        request.metadata_mut().insert("authorization", format!("Basic {pair}").parse()?);
        ensure!(kv.get(request).await.is_ok() == expected, "{password}");
    }
    Ok(())
}

/// What a client can ask a node.
async fn shown(client: &mut Connection) -> Result<String> {
    let mut all = String::new();
    let questions: [&[&str]; 16] = [
        &["INFO", "everything"],
        &["SLOWLOG", "GET", "-1"],
        &["COMMANDLOG", "GET", "-1", "slow"],
        &["COMMANDLOG", "GET", "-1", "large-request"],
        &["COMMANDLOG", "GET", "-1", "large-reply"],
        &["LATENCY", "LATEST"],
        &["LATENCY", "DOCTOR"],
        &["ACL", "LOG", "-1"],
        &["ACL", "LOG", "100"],
        &["CLIENT", "LIST"],
        &["CLIENT", "INFO"],
        &["CONFIG", "GET", "*"],
        &["CLUSTER", "NODES"],
        &["CLUSTER", "SHARDS"],
        &["COMMAND", "LIST"],
        &["INFO", "errorstats"],
    ];
    for words in questions {
        all += &call_text(client, words).await?;
    }
    Ok(all)
}

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
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

fn ensure_free(place: &str, bytes: &[u8], canaries: &[Vec<u8>]) -> Result<()> {
    let has = |canary: &[u8]| bytes.windows(canary.len()).any(|window| window == canary);
    let found = canaries.iter().find(|canary| has(canary));
    ensure!(found.is_none(), "{place} has {}", String::from_utf8_lossy(found.map_or(&[][..], Vec::as_slice)));
    Ok(())
}

/// Every line of a node's log in JSON is an object with the members that are documented.
fn check_json(log: &Path) -> Result<()> {
    let text = std::fs::read_to_string(log)?;
    ensure!(text.lines().count() > 50, "{} has few lines", log.display());
    for line in text.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let is_text = |name: &str| parsed[name].is_string();
        ensure!(is_text("timestamp") && is_text("level") && is_text("target"), "{line}");
        ensure!(parsed["fields"].is_object(), "{line}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_nowhere_to_be_read() -> Result<()> {
    look_everywhere("text").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_nowhere_to_be_read_with_logs_in_json() -> Result<()> {
    look_everywhere("json").await
}

async fn look_everywhere(log_format: &str) -> Result<()> {
    let node_options = vec![
        ("loglevel", "debug".to_owned()),
        ("log-format", log_format.to_owned()),
        ("log-lines-per-second", "0".to_owned()),
        ("slowlog-log-slower-than", "0".to_owned()),
        ("commandlog-request-larger-than", "0".to_owned()),
        ("commandlog-reply-larger-than", "0".to_owned()),
        ("latency-monitor-threshold", "1".to_owned()),
    ];
    let cluster = Cluster::start(&ClusterOptions { node_options, ..ClusterOptions::default() })?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    expect_reply(&mut client, &["SET", "canary-key-name", VALUE], "OK").await?;
    expect_reply(&mut client, &["HSET", "h", "f", FIELD], "1").await?;
    tokio::task::block_in_place(|| cluster.make_snapshots())?;
    use_passwords(&mut client).await?;
    use_password_over_grpc(&cluster, primary).await?;

    let hash = |text: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut secrets: Vec<Vec<u8>> = PASSWORDS.iter().map(|password| password.as_bytes().to_vec()).collect();
    secrets.extend(PASSWORDS.iter().map(|password| hash(password).into_bytes()));
    for node in 1..=3 {
        let mut asked = cluster.connect(node, 1, TIMEOUT).await?;
        expect_reply(&mut asked, &["AUTH", "alice", "canary-setuser"], "OK").await?;
        ensure_free(&format!("node {node}'s answers"), shown(&mut asked).await?.as_bytes(), &secrets)?;
        let metrics = page(&cluster.node(node)?.metrics, "/metrics").await?;
        ensure_free(&format!("node {node}'s metrics"), metrics.as_bytes(), &secrets)?;
    }
    // On disk there is no data either.
    secrets.extend([VALUE, FIELD, "canary-key-name"].map(|text| text.as_bytes().to_vec()));
    tokio::task::block_in_place(|| cluster.stop())?;
    if log_format == "json" {
        check_json(&cluster.dir().join("nodes/1/node.log"))?;
    }
    let mut all = Vec::new();
    files(cluster.dir(), &mut all)?;
    ensure!(all.len() > 30, "{all:?}");
    for path in all {
        ensure_free(&path.display().to_string(), &std::fs::read(&path)?, &secrets)?;
    }
    Ok(())
}

/// Memory holds what the disk does not: a node that crashes leaves no core file unless the operator wants one.
#[test]
fn a_crash_leaves_no_core_file() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions {
        azs: vec!["a"],
        replicas: 0,
        durability: "disabled",
        ..ClusterOptions::default()
    })?;
    cluster.stop()?;
    let config = cluster.dir().join("nodes/1/fastness.conf");
    ensure!(config.exists(), "{}", config.display());
    let script = format!("ulimit -c unlimited; exec {} server --config {}", binary()?.display(), config.display());
    let mut node = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(node.try_wait()?.is_none(), "the node has ended");
    let pid = rustix::process::Pid::from_raw(node.id() as i32).context("its id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT)?;
    let status = node.wait()?;
    ensure!(status.signal() == Some(6) && !status.core_dumped(), "{status}");
    Ok(())
}
