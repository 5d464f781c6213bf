//! The loss of availability zones: with one lost, writes continue; with two lost, every write is refused and none
//! acknowledged, while the remaining replica answers READONLY clients with committed data.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::wait::until_ok;

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: usize = 30;

/// The errors of a node without a quorum.
const COMMANDS: [&[&[u8]]; 4] =
    [&[b"SET", b"k0", b"alone"], &[b"INCR", b"counter"], &[b"DEL", b"k1"], &[b"GET", b"k1"]];

async fn write_all(cluster: &Cluster, value: &str) -> Result<()> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, PATIENCE).await?;
    for i in 0..KEYS {
        let reply = client.call(&[b"SET", format!("k{i}").as_bytes(), value.as_bytes()]).await?;
        ensure!(classify(&reply) == Outcome::Acknowledged, "SET k{i} {value}: {reply:?}");
    }
    Ok(())
}

/// The remaining node knows that there is no quorum, or that its primary is silent, and redirects no client.
fn refuses(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"CLUSTERDOWN"))
}

/// Waits until the only node left refuses, then sees it refuse for longer than leases and elections take.
async fn refuses_everything(client: &mut Connection) -> Result<()> {
    until_ok(PATIENCE, async || {
        // A read: a write could be staged while the lease still runs, and would then be of unknown outcome.
        let reply = client.call(&[b"GET", b"k0"]).await?;
        ensure!(refuses(&reply), "it does not notice that it is alone: {reply:?}");
        Ok(())
    })
    .await?;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for command in COMMANDS {
            let reply = client.call(command).await?;
            ensure!(refuses(&reply), "{:?} answered {reply:?}", String::from_utf8_lossy(command[0]));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A READONLY client gets every key's committed value, and may not write.
async fn answers_read_only_clients(cluster: &Cluster, node: u64, value: &str) -> Result<()> {
    let mut client = cluster.connect(node, 1, PATIENCE).await?;
    let reply = client.call(&[b"READONLY"]).await?;
    ensure!(classify(&reply) == Outcome::Acknowledged, "READONLY: {reply:?}");
    for i in 0..KEYS {
        until_ok(PATIENCE, async || {
            // The old primary's next message reports the last commit; if none arrived, the node learns of that commit
            // with the next message of another node.
            let reply = client.call(&[b"GET", format!("k{i}").as_bytes()]).await?;
            let is_current = matches!(&reply, Value::Bulk(found) if found == value.as_bytes());
            ensure!(is_current, "node {node}: GET k{i} answered {reply:?}, expected {value:?}");
            Ok(())
        })
        .await?;
    }
    let reply = client.call(&[b"SET", b"k0", b"read-only"]).await?;
    ensure!(refuses(&reply), "SET of a READONLY client answered {reply:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_zone_dead_writes_go_on_two_zones_dead_nothing_is_acknowledged() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    write_all(&cluster, "three zones").await?;

    // The primary's zone dies, then that of the next primary: a replica is left.
    let first = cluster.primary(1, PATIENCE).await?;
    cluster.kill(first)?;
    let second = cluster.primary_other_than(first, 1, PATIENCE).await?;
    write_all(&cluster, "two zones").await?;
    // So that the replica, too, knows that all is committed before it is alone.
    let mut positions = fastness_testkit::observe::Digests::default();
    let third = 6 - first - second;
    let until = Instant::now() + PATIENCE;
    loop {
        let positions = positions.poll(&cluster).await?;
        if let (Some(a), Some(b)) = (positions.get(&(second, 1)), positions.get(&(third, 1)))
            && a == b
        {
            break;
        }
        ensure!(Instant::now() < until, "the replica does not catch up: {positions:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.kill(second)?;
    let mut alone = cluster.connect(third, 1, PATIENCE).await?;
    refuses_everything(&mut alone).await?;
    answers_read_only_clients(&cluster, third, "two zones").await?;

    // One zone returns: writes resume, and no refused write exists.
    cluster.start_node(second)?;
    write_all(&cluster, "two zones again").await?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, PATIENCE).await?;
    ensure!(client.call(&[b"EXISTS", b"counter"]).await? == Value::Integer(0), "a refused INCR was done");
    cluster.start_node(first)?;

    // Both other zones die at once: the primary is left.
    let primary = cluster.primary(1, PATIENCE).await?;
    for other in (1..=3).filter(|node| *node != primary) {
        cluster.kill(other)?;
    }
    let mut alone = cluster.connect(primary, 1, PATIENCE).await?;
    refuses_everything(&mut alone).await?;
    answers_read_only_clients(&cluster, primary, "two zones again").await?;
    cluster.discard_files();
    Ok(())
}
