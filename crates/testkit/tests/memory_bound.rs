//! `maxmemory` on real processes: clients that do not read their replies, and missing commits, push a primary over it.
//! Writes are then refused while reads and deletes continue, and are accepted again when the cause has ended.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fastness_load::Connection;
use fastness_resp::request;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::{bound_memory, info_field, text};
use fastness_testkit::wait::until_ok;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS: usize = 5;
const MIB: usize = 1 << 20;

async fn call(client: &mut Connection, command: &[&[u8]]) -> Result<String> {
    Ok(text(client.call(command).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_have_writes_refused_until_they_leave() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    let value = vec![b'x'; MIB];
    ensure!(call(&mut client, &[b"SET", b"big", &value]).await? == "OK");
    bound_memory(&mut client, 32 << 20, PATIENCE).await?;
    ensure!(call(&mut client, &[b"SET", b"k", b"1"]).await? == "OK", "there is space");
    let base = info_field(&mut client, "memory", "mem_clients_normal").await?;

    let front_end = cluster.front_end(primary, 1)?;
    let mut gets = Vec::new();
    (0..16).for_each(|_| request::encode(&["GET", "big"], &mut gets));
    let mut readers = Vec::new();
    let until = Instant::now() + PATIENCE;
    while !call(&mut client, &[b"SET", b"k", b"2"]).await?.starts_with("-OOM ") {
        ensure!(Instant::now() < until, "{} clients do not read, and writes are accepted", readers.len());
        let mut reader = TcpStream::connect((front_end.host.as_str(), front_end.port))?;
        reader.write_all(&gets)?;
        readers.push(reader);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let held = info_field(&mut client, "memory", "mem_clients_normal").await?;
    eprintln!("{} clients that do not read hold {} MiB of replies", readers.len(), held >> 20);
    ensure!(held > 30 << 20, "{held} bytes");
    ensure!(call(&mut client, &[b"GET", b"k"]).await? == "2", "reads go on");
    ensure!(call(&mut client, &[b"DEL", b"k"]).await? == "1", "deletes continue");
    ensure!(call(&mut client, &[b"SET", b"k", b"3"]).await?.starts_with("-OOM "));

    drop(readers);
    until_ok(PATIENCE, async || {
        let reply = call(&mut client, &[b"SET", b"k", b"4"]).await?;
        ensure!(reply == "OK", "writes are refused although the clients have left: {reply}");
        let held = info_field(&mut client, "memory", "mem_clients_normal").await?;
        ensure!(held <= base + 100_000, "the memory of closed clients still counts: {held} bytes");
        Ok(())
    })
    .await
}

/// With both followers stopped for less than a lease nothing commits, and the primary keeps serving. False if its lease
/// ran out before the bound was reached (a slow machine).
async fn open_effects_count(cluster: &Cluster) -> Result<bool> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    let value = vec![b'x'; 256 * 1024];
    ensure!(call(&mut client, &[b"SET", b"k", &value]).await? == "OK");
    tokio::time::sleep(Duration::from_millis(200)).await;
    bound_memory(&mut client, 2 << 20, PATIENCE).await?;
    let others = cluster.others(primary)?;
    others.iter().try_for_each(|node| cluster.pause(*node))?;
    // The same key repeatedly: the data does not grow.
    let mut replies = Vec::new();
    for _ in 0..20 {
        replies.push(call(&mut client, &[b"SET", b"k", &value]).await?);
        if replies.last().is_some_and(|reply| reply != "OK") {
            break;
        }
    }
    let open = info_field(&mut client, "memory", "mem_uncommitted_effects").await?;
    let read = call(&mut client, &[b"STRLEN", b"k"]).await?;
    others.iter().try_for_each(|node| cluster.resume(*node))?;
    eprintln!("{} writes, then {:?}, with {open} bytes of open effects", replies.len() - 1, replies.last());
    if replies.iter().chain([&read]).any(|reply| reply.starts_with("-CLUSTERDOWN ")) {
        return Ok(false);
    }
    ensure!(replies.last().is_some_and(|reply| reply.starts_with("-OOM ")), "{replies:?}");
    ensure!(replies.len() > 2 && open > MIB as u64, "{} writes, {open} bytes", replies.len());
    ensure!(read == value.len().to_string(), "reads continue: {read}");
    until_ok(PATIENCE, async || {
        // The lease may have run out on a slow machine; then another node is the primary.
        let primary = cluster.primary(1, PATIENCE).await?;
        let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
        let reply = call(&mut client, &[b"SET", b"k", b"v"]).await?;
        ensure!(reply == "OK", "writes are not accepted again: {reply}");
        let open = info_field(&mut client, "memory", "mem_uncommitted_effects").await?;
        ensure!(open < 1024, "{open} bytes of open effects");
        Ok(true)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_that_do_not_commit_count_until_they_do() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    for _ in 0..ATTEMPTS {
        if open_effects_count(&cluster).await? {
            return Ok(());
        }
    }
    bail!("the lease ran out in each of {ATTEMPTS} attempts: the test shows nothing");
}
