//! The SDK's watches miss nothing and double nothing while nodes are killed under load.
//!
//! Writers append unique numbers to keys of their own. What a watch has shown of a key, put together, must in the end
//! be the key's value: nothing is missing, doubled, out of order, or shown and undone. What was acknowledged must be in
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use fastness_client::{
    ChangeCause, ChangedValue, Client, ClientBuilder, ClientError, Code, CurrentContent, WatchChange, WatchEvent,
    WatchPosition, WatchPositions, key_slot,
};
use fastness_load::outcome::{Outcome, classify, classify_exec};
use fastness_load::{Access, SharedTopology};
use fastness_resp::Protocol;
use fastness_testkit::cluster::{Cluster, ClusterOptions, wait_for_exit};
use fastness_testkit::watching::{self, Followed, SharedFollowed, ShownChanges};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: usize = 6;

fn builder(cluster: &Cluster) -> ClientBuilder {
    Client::builder().cluster_file(cluster.dir().join("cluster.json")).deadline(PATIENCE)
}

/// What was appended to each key, as a watch has shown it.
#[derive(Default)]
struct Appended {
    values: BTreeMap<Bytes, Vec<u8>>,
}

impl ShownChanges for Appended {
    fn add(&mut self, event: WatchEvent) -> Result<()> {
        let is_pair = event.changes.iter().any(|change| change.keys().any(|key| key.starts_with(b"w:{")));
        ensure!(event.changes.len() == if is_pair { 2 } else { 1 }, "not a whole transaction: {event:?}");
        for change in event.changes {
            let WatchChange::StringAppend { key, bytes: ChangedValue::Value(bytes) } = change else {
                bail!("{change:?}")
            };
            self.values.entry(key).or_default().extend_from_slice(&bytes);
        }
        Ok(())
    }
}

type SharedSeen = SharedFollowed<Appended>;

/// Appends numbers, each once; returns those that were acknowledged.
async fn write(cluster: Access, topology: SharedTopology, writer: usize, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut client = fastness_load::Client::new(cluster, topology);
    let mut acknowledged = Vec::new();
    let pair = [format!("w:{{{writer}}}a"), format!("w:{{{writer}}}b")];
    let key = format!("w:{writer}");
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let text = format!(";{number}");
        let outcome = if writer.is_multiple_of(2) {
            let reply = client.call(&[b"APPEND", key.as_bytes(), text.as_bytes()]).await;
            reply.map_or_else(|outcome| outcome, |reply| classify(&reply))
        } else {
            match client.primary(pair[0].as_bytes()).await {
                None => Outcome::Refused,
                Some(primary) => {
                    let appends = pair.each_ref().map(|key| [b"APPEND", key.as_bytes(), text.as_bytes()]);
                    let reply = client.transaction(&primary, &[&appends[0], &appends[1]]).await;
                    reply.map_or_else(|outcome| outcome, |reply| classify_exec(&reply))
                }
            }
        };
        match outcome {
            Outcome::Acknowledged => acknowledged.push(number),
            Outcome::Refused => tokio::time::sleep(Duration::from_millis(20)).await,
            Outcome::Unknown => {}
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    acknowledged
}

/// The numbers in a value.
fn numbers(value: &[u8]) -> Result<Vec<u64>> {
    let text = std::str::from_utf8(value)?;
    text.split(';').skip(1).map(|number| Ok(number.parse::<u64>()?)).collect()
}

/// What is stored in the end at the keys of the writers. In `sync` it has everything that was acknowledged.
async fn read_stored(client: &Client, acknowledged: &[Vec<u64>], is_sync: bool) -> Result<BTreeMap<Bytes, Vec<u8>>> {
    let mut stored = BTreeMap::new();
    for (writer, acknowledged) in acknowledged.iter().enumerate() {
        let own = if writer.is_multiple_of(2) {
            vec![format!("w:{writer}")]
        } else {
            vec![format!("w:{{{writer}}}a"), format!("w:{{{writer}}}b")]
        };
        for key in own {
            let value = client.get(&key).await?.unwrap_or_default();
            let numbers = numbers(&value)?;
            ensure!(numbers.is_sorted() && numbers.len() > 10, "{key}: {} numbers", numbers.len());
            if is_sync {
                let lost: Vec<_> =
                    acknowledged.iter().filter(|number| numbers.binary_search(number).is_err()).collect();
                ensure!(lost.is_empty(), "{key}: lost {lost:?}");
            }
            stored.insert(Bytes::from(key), value.to_vec());
        }
    }
    Ok(stored)
}

/// Waits until a watch has shown what is stored.
async fn await_all(
    name: &str,
    seen: &SharedSeen,
    stored: &BTreeMap<Bytes, Vec<u8>>,
    watches: &mut tokio::task::JoinSet<Result<()>>,
) -> Result<()> {
    let since = Instant::now();
    while seen.lock().shown.values != *stored {
        if let Some(ended) = watches.try_join_next() {
            ended?.context("a watch has failed")?;
        }
        if since.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let seen = seen.lock();
        for (key, value) in stored {
            let shown = seen.shown.values.get(key).map_or(&[][..], Vec::as_slice);
            let (shown, value) = (numbers(shown)?, numbers(value)?);
            let same = shown.iter().zip(&value).take_while(|(a, b)| a == b).count();
            let around = |all: &[u64]| format!("{:?}", &all[same.saturating_sub(2)..all.len().min(same + 5)]);
            if shown != value {
                println!("{name} {key:?}: shown {}, stored {}", around(&shown), around(&value));
            }
        }
        bail!("{name}: what was shown is not what is stored");
    }
    Ok(())
}

/// Kills nodes while writers and watches run, and compares what was shown with what is stored.
async fn run(options: ClusterOptions, faults: usize) -> Result<()> {
    let is_sync = options.durability == "sync";
    let mut cluster = Cluster::start(&options)?;
    for shard in 1..=options.shards {
        cluster.primary(shard, PATIENCE).await?;
    }
    let client = builder(&cluster).build()?;
    let names = ["all", "prefix", "restarted", "keys"];
    let keys = (0..WRITERS).fold(client.watch(), |watch, writer| {
        watch.key(format!("w:{writer}")).key(format!("w:{{{writer}}}a")).key(format!("w:{{{writer}}}b"))
    });
    let all = [client.watch(), client.watch().prefix("w:"), client.watch().prefix("w:"), keys];
    let seen: [SharedSeen; 4] = std::array::from_fn(|_| Arc::new(Followed::new(Appended::default()).into()));
    let mut watches = tokio::task::JoinSet::new();
    for ((name, watch), seen) in names.iter().zip(all).zip(&seen) {
        let (stream, seen) = (watch.clone().start().await?, seen.clone());
        match *name {
            "restarted" => watches.spawn(watching::follow_with_restarts(watch, stream, seen)),
            _ => watches.spawn(watching::follow(watch, stream, seen)),
        };
    }

    let access =
        Access { seeds: cluster.listeners()?, tls: None, protocol: Protocol::Resp3, timeout: Duration::from_secs(5) };
    let (topology, stop) = (SharedTopology::default(), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(access.clone(), topology.clone(), writer, stop.clone())))
        .collect();
    strike(&cluster, &options, faults).await?;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await?);
    }

    let stored = read_stored(&client, &acknowledged, is_sync).await?;
    for (name, seen) in names.iter().zip(&seen) {
        await_all(name, seen, &stored, &mut watches).await?;
    }
    // Nothing is shown again later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (name, seen) in names.iter().zip(&seen) {
        ensure!(seen.lock().shown.values == stored, "{name}: shown again");
    }
    let total: usize = acknowledged.iter().map(Vec::len).sum();
    println!("{faults} faults, {total} acknowledged, {} events of all keys", seen[0].lock().events);
    cluster.discard_files();
    Ok(())
}

/// Kills the primaries of the shards in turn, any node, and now and then all nodes.
async fn strike(cluster: &Cluster, options: &ClusterOptions, faults: usize) -> Result<()> {
    for fault in 0..faults {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let shard = 1 + fault as u32 % options.shards;
        let nodes = cluster.node_ids()?;
        match fault % 4 {
            0 | 2 => {
                let node = cluster.primary(shard, PATIENCE).await?;
                tokio::task::block_in_place(|| cluster.kill(node))?;
                cluster.primary_other_than(node, shard, PATIENCE).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                tokio::task::block_in_place(|| cluster.start_node(node))?;
            }
            1 => {
                let node = nodes[fault % nodes.len()];
                tokio::task::block_in_place(|| cluster.kill(node))?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                tokio::task::block_in_place(|| cluster.start_node(node))?;
            }
            _ => {
                tokio::task::block_in_place(|| cluster.kill_all())?;
                tokio::task::block_in_place(|| cluster.start_nodes(&nodes))?;
            }
        }
        for shard in 1..=options.shards {
            cluster.primary(shard, PATIENCE).await?;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// Snapshots are made often, so that nodes restore from them, but the log is kept.
fn options(durability: &'static str, shards: u32) -> ClusterOptions {
    let (snapshot_log_bytes, watch_log_bytes) = (Some(50_000), 64 << 20);
    ClusterOptions { shards, durability, snapshot_log_bytes, watch_log_bytes, ..ClusterOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_miss_and_double_nothing_through_kills() -> Result<()> {
    run(options("sync", 3), 8).await
}

/// Writes that were acknowledged before they had committed, and are undone, are never shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_async_mode_watches_show_what_is_stored_in_the_end() -> Result<()> {
    run(options("async", 2), 8).await
}

/// What a watch says of changes of every kind, on all shards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_shows_changes_of_all_shards() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).build()?;
    let mut all = client.watch().start().await?;
    let mut one = client.watch().key("k7").key("none").start().await?;
    let mut shards = std::collections::BTreeSet::new();
    for i in 0..50 {
        client.set(format!("k{i}"), format!("v{i}")).await?;
        shards.insert(key_slot(format!("k{i}").as_bytes()) / 5_462);
    }
    ensure!(shards.len() == 3, "{shards:?}");
    client.hash_set("h", [("x", "1")]).await?;
    let mut values = BTreeMap::new();
    for _ in 0..51 {
        let event = all.next().await.context("ended")??;
        ensure!(event.cause == ChangeCause::Command && event.changes.len() == 1, "{event:?}");
        match &event.changes[0] {
            WatchChange::StringSet { key, value: ChangedValue::Value(value), .. } => {
                values.insert(key.clone(), value.clone());
            }
            WatchChange::HashSet { key, fields, .. } => {
                ensure!(key == "h" && *fields == [("x".into(), ChangedValue::Value("1".into()))], "{event:?}");
            }
            other => bail!("{other:?}"),
        }
    }
    ensure!(values.len() == 50 && values.iter().all(|(key, value)| key[1..] == value[1..]), "{values:?}");
    let event = one.next().await.context("ended")??;
    ensure!(event.changes[0].keys().eq([&Bytes::from("k7")]), "{event:?}");
    let nothing = tokio::time::timeout(Duration::from_secs(2), one.next()).await;
    ensure!(nothing.is_err(), "{nothing:?}");

    Ok(())
}

/// Users without rights, and positions that no log has reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_fails_for_good_with_a_reason() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let client = builder(&cluster).build()?;
    client.execute(["ACL", "SETUSER", "some", "on", ">secret", "+@read", "+cluster|shards", "~a*"]).await?;
    let some = builder(&cluster).password("some", "secret").build()?;
    match some.watch().start().await.err().context("it was let in")? {
        ClientError::Refused { code: Code::PermissionDenied, reason, .. } => ensure!(reason == "NOPERM", "{reason}"),
        other => bail!("{other:?}"),
    }
    let mut allowed = some.watch().prefix("a").start().await?;
    client.execute(["ACL", "DELUSER", "some"]).await?;
    match allowed.next().await {
        Some(Err(ClientError::Refused { code: Code::PermissionDenied | Code::Unauthenticated, .. })) => {}
        other => bail!("{other:?}"),
    }
    ensure!(allowed.next().await.is_none(), "an error ends the stream");
    let mut positions = WatchPositions::default();
    positions.set(1, WatchPosition { index: 1 << 40, unit: 1 });
    let hasty = builder(&cluster).deadline(Duration::from_secs(4)).build()?;
    match hasty.watch().after(positions).start().await.err().context("it has started")? {
        ClientError::Unavailable { reason, .. } => ensure!(reason == "POSITION_AHEAD", "{reason}"),
        other => bail!("{other:?}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current_values_come_with_the_events() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let client = builder(&cluster).build()?;
    let mut values = client.watch().prefix("c").with_values().start().await?;
    client.set("c1", "one").await?;
    client.hash_set("c2", [("x", "1")]).await?;
    client.set_add("c3", ["5", "7"]).await?;
    client.set_remove("c3", ["5", "none"]).await?;
    client.delete("c1").await?;
    let mut changes = Vec::new();
    for _ in 0..5 {
        let event = values.next().await.context("ended")??;
        for value in &event.values {
            ensure!(value.position >= event.position && event.changes[0].keys().eq([&value.key]), "{event:?}");
            match &value.content {
                CurrentContent::String(text) => ensure!(value.key == "c1" && text == "one", "{event:?}"),
                CurrentContent::Missing => ensure!(value.key == "c1", "{event:?}"),
                CurrentContent::Hash(fields) => {
                    ensure!(value.key == "c2" && *fields == [("x".into(), "1".into(), None)], "{event:?}");
                }
                CurrentContent::Set(members) => {
                    ensure!(value.key == "c3" && members.last().is_some_and(|last| last == "7"), "{event:?}");
                }
                other => bail!("{other:?}"),
            }
        }
        let is_last = matches!(&event.changes[0], WatchChange::Delete { .. });
        ensure!(!is_last || event.values.len() == 1, "{event:?}");
        changes.extend(event.changes);
    }
    let added = WatchChange::SetAdd { key: "c3".into(), members: vec!["5".into(), "7".into()] };
    let removed = WatchChange::SetRemove { key: "c3".into(), members: vec!["5".into()] };
    ensure!(changes[2..4] == [added, removed], "{changes:?}");
    Ok(())
}

/// A stream that is not read for longer than a node keeps it continues without a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_continues_later() -> Result<()> {
    const WRITES: u64 = 300;
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let client = builder(&cluster).build()?;
    let mut stream = client.watch().start().await?;
    let written = AtomicU64::new(0);
    let since = Instant::now();
    while written.load(Ordering::Relaxed) < WRITES {
        let number = written.fetch_add(1, Ordering::Relaxed);
        client.set(format!("k{number}"), vec![b'x'; 100_000]).await?;
        // Longer than a node waits for its client.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(since.elapsed() > Duration::from_secs(13), "too fast to be cut off");
    for number in 0..WRITES {
        let event = tokio::time::timeout(PATIENCE, stream.next()).await?.context("ended")??;
        ensure!(event.changes[0].keys().eq([&Bytes::from(format!("k{number}"))]), "k{number}: {:?}", event.position);
    }
    Ok(())
}

/// Positions that no node has any more end a watch with an error of its own; it starts as long as one node has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_no_node_has_is_an_error_of_its_own() -> Result<()> {
    let options = ClusterOptions { snapshot_log_bytes: Some(50_000), ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    let client = builder(&cluster).build()?;
    let positions = client.watch().start().await?.positions().clone();
    ensure!(positions.iter().count() == 1, "{positions}");
    let until = Instant::now() + PATIENCE;
    let error = loop {
        for i in 0..20 {
            client.set(format!("k{i}"), vec![b'x'; 10_000]).await?;
        }
        match client.watch().after(positions.clone()).start().await {
            Ok(_) => ensure!(Instant::now() < until, "the log is not purged"),
            Err(error) => break error,
        }
    };
    ensure!(matches!(error, ClientError::PositionPurged { shard: 1, .. }), "{error:?}");
    ensure!(error.reason() == "POSITION_PURGED" && !error.may_have_happened());
    let mut oldest = client.watch().from_oldest().start().await?;
    ensure!(oldest.next().await.context("ended")??.changes.len() == 1);
    Ok(())
}

/// A node that answers nothing and closes nothing does not hold up a watch for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_does_not_hold_up_a_watch() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let client = builder(&cluster).build()?;
    let mut stream = client.watch().start().await?;
    client.set("before", "1").await?;
    ensure!(stream.next().await.context("ended")??.changes[0].keys().eq([&Bytes::from("before")]));
    // The one that serves it.
    let primary = cluster.primary(1, PATIENCE).await?;
    tokio::task::block_in_place(|| cluster.pause(primary))?;
    let other = cluster.primary_other_than(primary, 1, PATIENCE).await?;
    let mut resp = cluster.connect(other, 1, Duration::from_secs(10)).await?;
    resp.call(&[b"SET", b"after", b"1"]).await?;
    let event = tokio::time::timeout(Duration::from_secs(30), stream.next()).await.context("held up")?;
    ensure!(event.context("ended")??.changes[0].keys().eq([&Bytes::from("after")]));
    cluster.resume(primary)?;
    Ok(())
}

/// A planned change of the primary, and nodes that are stopped and started one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_planned_restarts() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let client = builder(&cluster).build()?;
    let mut stream = client.watch().start().await?;
    let mut written = 0;
    for node in cluster.node_ids()? {
        cluster.primary(1, PATIENCE).await?;
        tokio::task::block_in_place(|| cluster.hand_over(1))?;
        for _ in 0..5 {
            client.set(format!("k{written}"), "1").await?;
            written += 1;
        }
        let pid = cluster.pid(node)?;
        cluster.signal(node, Signal::TERM)?;
        tokio::task::block_in_place(|| wait_for_exit(pid))?;
        for _ in 0..5 {
            client.set(format!("k{written}"), "1").await?;
            written += 1;
        }
        tokio::task::block_in_place(|| cluster.start_node(node))?;
    }
    for number in 0..written {
        let event = tokio::time::timeout(PATIENCE, stream.next()).await?.context("ended")??;
        ensure!(event.changes[0].keys().eq([&Bytes::from(format!("k{number}"))]), "k{number}: {event:?}");
    }
    Ok(())
}
