//! Whatever a client makes a shard stage is replicated or refused: no unit stops a shard.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use fastness_load::Connection;
use fastness_load::connection::encode;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::Figures;
use fastness_testkit::payload;
use fastness_testkit::reply_text::{expect_reply, text};

use super::wire::{PATIENCE, eventually, insist, repeated, start, takes_writes};

const MIB: usize = 1 << 20;
/// A write is accepted again within this time after something large; found were 60 s and more, and never.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
/// Time in which a command that was sent arrives.
const ARRIVES_WITHIN: Duration = Duration::from_millis(100);
/// Length of the long string.
const LEN: &str = "70000001";
/// Number of fields of the long hash, of 500 bytes each, and how many one command sets.
const FIELDS: usize = 140_000;
const FIELDS_AT_ONCE: usize = 1_000;

async fn call(client: &mut Connection, command: &[&[u8]]) -> Result<String> {
    Ok(text(client.call(command).await?))
}

/// Found: three names of 31 MiB that expire at the same moment; from then on the shard took no writes, neither under
/// other primaries nor after a restart of all nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_with_long_names_that_expire_together_do_not_stop_a_shard() -> Result<()> {
    let (cluster, primary, mut client) = start(&ClusterOptions::default()).await?;
    let name = |number: u32| format!("{{b}}{}{number}", "x".repeat(31 * MIB)).into_bytes();
    let began = Instant::now();
    ensure!(call(&mut client, &[b"SET", &name(1), b"v"]).await? == "OK");
    // Time enough to write all three before the deadline.
    let lead = Duration::from_secs(2) + 6 * began.elapsed();
    let deadline = (SystemTime::now().duration_since(UNIX_EPOCH)? + lead).as_millis();
    let at = Instant::now() + lead;
    for number in 1..=3 {
        let reply = call(&mut client, &[b"SET", &name(number), b"v", b"PXAT", deadline.to_string().as_bytes()]).await?;
        ensure!(reply == "OK", "{reply}");
    }
    ensure!(Instant::now() < at, "the keys were not written before their deadline, {lead:?}: the test shows nothing");
    tokio::time::sleep(at - Instant::now() + Duration::from_secs(1)).await;
    takes_writes(&cluster, ACCEPTED_WITHIN, "the deadline").await?;
    eventually(&cluster, primary, &["DBSIZE"], "1", ACCEPTED_WITHIN).await?;
    cluster.kill_all()?;
    cluster.start_again()?;
    takes_writes(&cluster, ACCEPTED_WITHIN, "a restart").await
}

/// Found: 930,024 bytes of LZF that expand to 78 MiB; in `sync` no write succeeded for 62 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_expands_to_more_than_a_message_does_not_stop_a_shard() -> Result<()> {
    let (cluster, _, client) = start(&ClusterOptions::default()).await?;
    bomb(&cluster, client, true).await
}

/// Found: in `async` the reply was OK, and then all writes were refused for 60 s and more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_expands_is_acknowledged_in_async_and_writes_go_on() -> Result<()> {
    let (cluster, _, client) = start(&ClusterOptions { durability: "async", ..ClusterOptions::default() }).await?;
    bomb(&cluster, client, false).await
}

async fn bomb(cluster: &Cluster, mut client: Connection, is_sync: bool) -> Result<()> {
    const EXPANDED: usize = 310_000 * 264;
    let payload = payload::bomb(EXPANDED);
    ensure!(payload.len() < MIB, "{} bytes", payload.len());
    let mut restore = Vec::new();
    encode(&[b"RESTORE", b"k", b"0", &payload], &mut restore);
    client.send_raw(&restore).await?;
    tokio::time::sleep(ARRIVES_WITHIN).await;
    takes_writes(cluster, ACCEPTED_WITHIN, "the payload").await?;
    let reply = client.receive().await.map(text);
    // On a slow machine there may have been an election; then the value exists or not, and equally on all replicas.
    let stored = insist(cluster, &["STRLEN", "k"]).await?;
    eprintln!("RESTORE: {reply:?}; STRLEN {stored}");
    let len = payload::bomb_len(EXPANDED).to_string();
    let is_acknowledged = is_sync && reply.is_ok_and(|reply| reply == "OK");
    ensure!(stored == len || (stored == "0" && !is_acknowledged));
    for node in 1..=3 {
        eventually(cluster, node, &["STRLEN", "k"], &stored, ACCEPTED_WITHIN).await?;
        let log = cluster.node_log(node)?;
        ensure!(!log.contains("violates the protocol"), "{log}");
    }
    Ok(())
}

/// Found: 15,000 × `INCRBYFLOAT k 1e4900` in MULTI: 115 bytes of each were reserved, and 4,901 staged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_effects_are_far_longer_than_its_commands_does_not_stop_a_shard() -> Result<()> {
    const RAISES: usize = 15_000;
    let (cluster, _, mut client) = start(&ClusterOptions::default()).await?;
    expect_reply(&mut client, &["MULTI"], "OK").await?;
    client.send_raw(&repeated(&["INCRBYFLOAT", "k", "1e4900"], RAISES)).await?;
    ensure!(client.skip_replies(RAISES).await? == 0, "not all are queued");
    client.send_raw(&repeated(&["EXEC"], 1)).await?;
    tokio::time::sleep(ARRIVES_WITHIN).await;
    // It may take so long that another primary is elected.
    takes_writes(&cluster, ACCEPTED_WITHIN, "the transaction").await?;
    let len = insist(&cluster, &["STRLEN", "k"]).await?;
    ensure!(len == "0" || len == "4905", "all of it or nothing: STRLEN {len}");
    Ok(())
}

/// A string of 67 MiB; and a hash of as much, if it is asked for.
async fn write_long(cluster: &Cluster, with_hash: bool) -> Result<()> {
    let len = insist(cluster, &["SETRANGE", "k", "70000000", "x"]).await?;
    ensure!(len == LEN, "{len}");
    if with_hash {
        let value = "v".repeat(500);
        for first in (0..FIELDS).step_by(FIELDS_AT_ONCE) {
            let fields: Vec<String> = (first..first + FIELDS_AT_ONCE).map(|number| format!("field:{number}")).collect();
            let pairs = fields.iter().flat_map(|field| [field.as_str(), &value]);
            insist(cluster, &["HSET", "h"].into_iter().chain(pairs).collect::<Vec<_>>()).await?;
        }
        let fields = insist(cluster, &["HLEN", "h"]).await?;
        ensure!(fields == FIELDS.to_string(), "{fields}");
    }
    Ok(())
}

/// Makes snapshots until the primary's log does not reach back to what it has applied now.
async fn purge(cluster: &Cluster) -> Result<()> {
    let node = cluster.node(cluster.primary(1, PATIENCE).await?)?;
    let applied = Figures::of(&node).await?.shard("fastness_applied_index", 1)?;
    let until = Instant::now() + PATIENCE;
    while Figures::of(&node).await?.shard("fastness_log_purged_index", 1)? < applied {
        ensure!(Instant::now() < until, "the log is not purged");
        insist(cluster, &["SET", "later", "1"]).await?;
        // One that is busy is asked again.
        if let Err(error) = cluster.make_snapshots() {
            eprintln!("{error}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Found: a follower behind the purged log never caught up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_longer_than_a_message_reach_a_follower_behind_the_purged_log() -> Result<()> {
    // Otherwise the log is kept for the stopped node.
    let options =
        ClusterOptions { durability: "async", snapshot_log_bytes: Some(1_000_000), ..ClusterOptions::default() };
    let (cluster, primary, _) = start(&options).await?;
    let away = primary % 3 + 1;
    cluster.kill(away)?;
    write_long(&cluster, true).await?;
    purge(&cluster).await?;
    tokio::task::block_in_place(|| cluster.start_node(away))?;
    let began = Instant::now();
    eventually(&cluster, away, &["STRLEN", "k"], LEN, PATIENCE).await?;
    eventually(&cluster, away, &["HLEN", "h"], &FIELDS.to_string(), PATIENCE).await?;
    eprintln!("the follower has caught up after {:?}", began.elapsed());
    Ok(())
}

/// Found: `replace-replica` reported success after 0.9 s although the new voter was empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_voter_holds_a_value_longer_than_a_message() -> Result<()> {
    // Otherwise the log is kept for watchers.
    let node_options = vec![("watch-log-bytes", "0".to_owned())];
    let options = ClusterOptions { durability: "async", node_options, ..ClusterOptions::default() };
    let (cluster, _, _) = start(&options).await?;
    write_long(&cluster, false).await?;
    purge(&cluster).await?;
    let lost = cluster.primary(1, PATIENCE).await? % 3 + 1;
    cluster.kill(lost)?;
    let az = cluster.node(lost)?.az;
    let new = tokio::task::block_in_place(|| cluster.add_node(&az))?;
    let began = Instant::now();
    let said = tokio::task::block_in_place(|| cluster.replace(lost, new))?;
    eprintln!("{said}after {:?}", began.elapsed());
    // As soon as that is reported.
    eventually(&cluster, new, &["STRLEN", "k"], LEN, Duration::from_secs(10)).await?;
    takes_writes(&cluster, ACCEPTED_WITHIN, "the replacement").await
}
