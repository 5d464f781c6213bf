//! A data type that is one folder of the engine and three lines (`engine/src/stack`) needs nothing else: its values
//! pass through the log, replication, snapshot files, a restart, the transfer to a new node, and a failover.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::connection::Connection;
use fastness_resp::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::{Digests, Figures};

const PATIENCE: Duration = Duration::from_secs(60);
const STACKS: usize = 200;
/// The tallest stack; one of more than four texts is an object outside of its entry.
const HEIGHT: usize = 12;

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

async fn call(client: &mut Connection, line: &str) -> Result<Value> {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    let reply = client.call(&words).await.with_context(|| line.to_owned())?;
    ensure!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    Ok(reply)
}

async fn primary(cluster: &Cluster) -> Result<Connection> {
    let node = cluster.primary(1, PATIENCE).await?;
    cluster.connect(node, 1, Duration::from_secs(5)).await
}

/// Pushes stacks of 1 to [`HEIGHT`] texts, and changes some of them in the ways that other commands have.
async fn fill(client: &mut Connection, round: usize) -> Result<()> {
    let text = "x".repeat(100);
    for number in 0..STACKS {
        for item in 0..=number % HEIGHT {
            call(client, &format!("STACK.PUSH r{round}:{number} {number}/{item}/{text}")).await?;
        }
    }
    for number in (0..STACKS).step_by(5) {
        call(client, &format!("STACK.POP r{round}:{number}")).await?;
        call(client, &format!("COPY r{round}:{number} {{r{round}:{number}}}:copy")).await?;
        call(client, &format!("PEXPIRE r{round}:{} 100000000", number + 1)).await?;
    }
    call(client, "MULTI").await?;
    call(client, &format!("STACK.PUSH r{round}:7 in-a-transaction")).await?;
    call(client, "EXEC").await?;
    Ok(())
}

/// What a client sees of some keys: in the order of the lines.
async fn seen(client: &mut Connection) -> Result<Vec<Value>> {
    let mut seen = Vec::new();
    for line in ["DBSIZE", "TYPE r0:3", "OBJECT ENCODING r0:3", "OBJECT ENCODING r0:11", "DUMP r1:7", "DUMP r0:11"] {
        seen.push(call(client, line).await?);
    }
    Ok(seen)
}

async fn figure(cluster: &Cluster, node: u64, name: &str) -> Result<u64> {
    Figures::of(&cluster.node(node)?).await?.shard(name, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_in_its_folder_is_logged_replicated_restored_and_transferred() -> Result<()> {
    let env = vec![("FASTNESS_TEST_TYPE", "1".to_owned())];
    let options = ClusterOptions { snapshot_log_bytes: Some(50_000), env, ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&options)?;
    cluster.keep_files();
    let mut digests = Digests::default();
    let mut client = primary(&cluster).await?;
    fill(&mut client, 0).await?;
    blocking(|| cluster.make_snapshots())?;
    fill(&mut client, 1).await?;
    let before = seen(&mut client).await?;
    let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
    ensure!(before[1] == Value::Simple("stack".into()), "{before:?}");
    ensure!(before[2..4] == [text("listpack"), text("stack")], "one of each form: {before:?}");

    // Every replica applied the effects; then snapshot files and the log after them are all that is left.
    let applied = digests.wait_until_equal(&cluster, PATIENCE).await?;
    cluster.kill_all()?;
    cluster.start_again()?;
    let restored = digests.wait_until_equal(&cluster, PATIENCE).await?;
    ensure!(applied[&1].digest == restored[&1].digest, "{applied:?}, then {restored:?}");
    ensure!(seen(&mut primary(&cluster).await?).await? == before);
    for node in 1..=3 {
        let log = cluster.node_log(node)?;
        ensure!(log.contains("memory is restored from a snapshot"), "node {node} did not read a snapshot file");
    }

    // A new node with an empty disk receives a snapshot, because the log no longer begins with the first entry.
    let old = cluster.primary(1, PATIENCE).await? % 3 + 1;
    let az = cluster.node(old)?.az;
    blocking(|| cluster.kill(old))?;
    let new = blocking(|| cluster.add_node(&az))?;
    blocking(|| cluster.replace(old, new))?;
    let transferred = digests.wait_until_equal(&cluster, PATIENCE).await?;
    ensure!(transferred[&1].digest == restored[&1].digest, "{restored:?}, then {transferred:?}");
    ensure!(figure(&cluster, new, "fastness_snapshots_received_total").await? > 0, "it was sent the log alone");

    // The new node's data serve clients.
    let until = Instant::now() + PATIENCE;
    while cluster.primary(1, PATIENCE).await? != new {
        ensure!(Instant::now() < until, "the new node does not become the primary");
        blocking(|| cluster.hand_over(1))?;
    }
    let mut client = primary(&cluster).await?;
    ensure!(seen(&mut client).await? == before);
    let popped = call(&mut client, "STACK.POP r1:7").await?;
    ensure!(popped == text("in-a-transaction"), "{popped:?}");
    digests.wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}
