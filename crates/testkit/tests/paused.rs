//! A primary that was stopped for longer than its lease, with pipelined reads and writes in its socket: when it
//! resumes, it answers no read with stale data, and acknowledges no write that is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};

const PATIENCE: Duration = Duration::from_secs(60);
/// Keys of each kind.
const KEYS: usize = 50;

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

async fn set(connection: &mut Connection, key: &str, value: &str) -> Result<()> {
    let reply = connection.call(&[b"SET", key.as_bytes(), value.as_bytes()]).await?;
    ensure!(classify(&reply) == Outcome::Acknowledged, "SET {key} {value}: {reply:?}");
    Ok(())
}

async fn set_all(connection: &mut Connection, value: &str) -> Result<()> {
    for i in 0..KEYS {
        set(connection, &format!("read:{i}"), value).await?;
        set(connection, &format!("write:{i}"), value).await?;
    }
    Ok(())
}

/// Reads and writes in turn, in one piece.
fn pipeline() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |command: &[&[u8]]| fastness_load::connection::encode(command, &mut bytes);
    for i in 0..KEYS {
        add(&[b"GET", format!("read:{i}").as_bytes()]);
        add(&[b"SET", format!("write:{i}").as_bytes(), b"late"]);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_in_the_socket_of_a_paused_primary_is_neither_stale_nor_lost() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let old = cluster.primary(1, PATIENCE).await?;
    let mut known = cluster.connect(old, 1, PATIENCE).await?;
    let mut over_tls = cluster.connect_tls(old, 1, PATIENCE).await?;
    set_all(&mut known, "old").await?;
    ensure!(over_tls.call(&[b"GET", b"read:0"]).await? == bulk("old"));

    cluster.pause(old)?;
    known.send_raw(&pipeline()).await?;
    over_tls.send_raw(&pipeline()).await?;
    // The kernel accepts new connections for a stopped process, too.
    let mut new_client = cluster.connect(old, 1, PATIENCE).await?;
    new_client.send_raw(&pipeline()).await?;

    let next = cluster.primary_other_than(old, 1, PATIENCE).await?;
    let mut current = cluster.connect(next, 1, PATIENCE).await?;
    set_all(&mut current, "new").await?;
    ensure!(cluster.is_stopped(old)?, "node {old} must not have run until now");

    cluster.resume(old)?;
    let (mut refused, mut served) = (0, 0);
    let mut acknowledged = [false; KEYS];
    let mut possible = [false; KEYS];
    for (name, client) in [("plaintext", &mut known), ("TLS", &mut over_tls), ("new", &mut new_client)] {
        for i in 0..KEYS {
            let read = client.receive().await.with_context(|| format!("{name}: GET read:{i}"))?;
            match classify(&read) {
                Outcome::Acknowledged => {
                    // The node may have become primary again; then its answers must be current.
                    ensure!(read == bulk("new"), "{name}: GET read:{i} answered {read:?}, it is \"new\"");
                    served += 1;
                }
                _ => refused += 1,
            }
            let write = client.receive().await.with_context(|| format!("{name}: SET write:{i}"))?;
            match classify(&write) {
                Outcome::Acknowledged => acknowledged[i] = true,
                Outcome::Unknown => possible[i] = true,
                Outcome::Refused => {}
            }
        }
    }
    eprintln!("{refused} reads refused, {served} served, writes acknowledged: {:?}", acknowledged.contains(&true));

    let primary = cluster.primary(1, PATIENCE).await?;
    let mut last = cluster.connect(primary, 1, PATIENCE).await?;
    for i in 0..KEYS {
        ensure!(last.call(&[b"GET", format!("read:{i}").as_bytes()]).await? == bulk("new"), "read:{i}");
        let value = last.call(&[b"GET", format!("write:{i}").as_bytes()]).await?;
        let late = value == bulk("late");
        ensure!(late || value == bulk("new"), "write:{i} holds {value:?}");
        ensure!(late || !acknowledged[i], "write:{i} was acknowledged and is lost");
        ensure!(!late || acknowledged[i] || possible[i], "write:{i} was refused, and exists");
    }
    cluster.discard_files();
    Ok(())
}
