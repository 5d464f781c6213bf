//! The Rust SDK on a real cluster: its calls show the protocol's data, and a primary that is killed costs no error and
//! no acknowledged write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use fastness_client::{
    BitJoin, CallSettings, Client, ClientBuilder, ClientError, Code, GeoArea, GeoCenter, GeoPosition, ListSide,
    NOT_CONNECTED, Operation, OperationResult, RankedMember, ReadConsistency, ReplyValue, RetryOptions, ScoredMember,
    SetExpiry, SetIf, SetOptions, SetOutcome, SortedSetOptions, StreamAddOptions, StreamEntry, StreamId,
    StreamTakeOver, StreamTrim, Txn, key_slot,
};
use fastness_testkit::cluster::{Cluster, ClusterOptions};

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: usize = 300;

fn builder(cluster: &Cluster) -> ClientBuilder {
    Client::builder().cluster_file(cluster.dir().join("cluster.json")).deadline(PATIENCE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_costs_no_error_and_no_acknowledged_write() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    for shard in 1..=3 {
        cluster.primary(shard, PATIENCE).await?;
    }
    let client = builder(&cluster).build()?;
    for i in 0..KEYS {
        client.set(format!("k{i}"), format!("v{i}")).await.with_context(|| format!("k{i}"))?;
    }

    let killed = cluster.primary(1, PATIENCE).await?;
    tokio::task::block_in_place(|| cluster.kill(killed))?;
    for i in 0..KEYS {
        let value = client.get(format!("k{i}")).await.with_context(|| format!("k{i} after the kill"))?;
        ensure!(value.as_deref() == Some(format!("v{i}").as_bytes()), "k{i}: {value:?}");
    }
    for i in 0..KEYS {
        client.set(format!("k{i}"), format!("w{i}")).await.with_context(|| format!("k{i} again"))?;
    }
    let results = client.batch((0..KEYS).map(|i| Operation::get(format!("k{i}")))).await;
    for (i, result) in results.into_iter().enumerate() {
        ensure!(result?.as_value() == Some(format!("w{i}").as_bytes()), "k{i}");
    }
    Ok(())
}

/// Batches go on while a primary is killed: every result says what has happened to its operation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_survives_a_killed_primary() -> Result<()> {
    const ROUNDS_AFTER: usize = 3;
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).retries(RetryOptions { budget: 200, ..RetryOptions::default() }).build()?;
    let increments = || (0..KEYS).map(|i| Operation::increment(format!("n{i}"), 1));
    for result in client.batch(increments()).await {
        ensure!(result? == OperationResult::Sum(1));
    }

    let killed = cluster.primary(1, PATIENCE).await?;
    tokio::task::block_in_place(|| cluster.kill(killed))?;
    let (mut acknowledged, mut unknown) = (vec![1_i64; KEYS], vec![0_i64; KEYS]);
    for _ in 0..ROUNDS_AFTER {
        for (i, result) in client.batch(increments()).await.into_iter().enumerate() {
            match result {
                Ok(_) => acknowledged[i] += 1,
                Err(ClientError::OutcomeUnknown { .. }) => unknown[i] += 1,
                Err(error) => bail!("n{i}: {error}"),
            }
        }
    }
    println!("{} of {} with an unknown outcome", unknown.iter().sum::<i64>(), ROUNDS_AFTER * KEYS);
    let results = client.batch((0..KEYS).map(|i| Operation::increment(format!("n{i}"), 0))).await;
    for (i, result) in results.into_iter().enumerate() {
        let counted = result?.as_sum().context("no sum")?;
        ensure!((acknowledged[i]..=acknowledged[i] + unknown[i]).contains(&counted), "n{i}: {counted}");
    }
    Ok(())
}

/// A pipeline continues while a primary is killed: results come in order, operations of one key happen in theirs, and
/// each result says what has happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_survives_a_killed_primary() -> Result<()> {
    const OPERATIONS: usize = 30_000;
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).retries(RetryOptions { budget: 200, ..RetryOptions::default() }).build()?;
    let killed = cluster.primary(1, PATIENCE).await?;
    let (mut sender, mut results) = client.pipeline().split();
    let sending = tokio::spawn(async move {
        for number in 0..OPERATIONS {
            sender.send(Operation::increment(format!("n{}", number % KEYS), 1)).await?;
        }
        anyhow::Ok(())
    });
    let (mut acknowledged, mut unknown, mut latest) = (vec![0_i64; KEYS], vec![0_i64; KEYS], vec![0_i64; KEYS]);
    let (mut not_happened, mut taken) = (0, 0);
    while let Some(result) = results.next().await {
        let key = taken % KEYS;
        match result {
            Ok(sum) => {
                let sum = sum.as_sum().context("no sum")?;
                ensure!(sum > latest[key], "n{key}: {sum} after {}", latest[key]);
                (acknowledged[key], latest[key]) = (acknowledged[key] + 1, sum);
            }
            Err(ClientError::OutcomeUnknown { .. }) => unknown[key] += 1,
            Err(ClientError::Unavailable { .. }) => not_happened += 1,
            Err(error) => bail!("n{key}: {error}"),
        }
        taken += 1;
        if taken == OPERATIONS / 3 {
            tokio::task::block_in_place(|| cluster.kill(killed))?;
        }
    }
    sending.await??;
    println!("{} unknown, {not_happened} not happened, of {taken}", unknown.iter().sum::<i64>());
    ensure!(taken == OPERATIONS, "{taken} results");
    let results = client.batch((0..KEYS).map(|i| Operation::increment(format!("n{i}"), 0))).await;
    for (i, result) in results.into_iter().enumerate() {
        let counted = result?.as_sum().context("no sum")?;
        ensure!((acknowledged[i]..=acknowledged[i] + unknown[i]).contains(&counted), "n{i}: {counted}");
    }
    Ok(())
}

/// Many tasks increment one counter of a shard whose primary is killed: each increment that was acknowledged counts
/// once, each that failed with an unknown outcome at most once, and no other at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_count_once_whatever_happens_to_the_primary() -> Result<()> {
    const TASKS: usize = 8;
    const ROUNDS: usize = 2;
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).retries(RetryOptions { budget: 200, ..RetryOptions::default() }).build()?;
    let key = (0..).map(|i| format!("n{i}")).find(|key| key_slot(key.as_bytes()) < 5_000).context("no key")?;
    client.set(&key, "0").await?;

    let ends = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (client, key, ends) = (client.clone(), key.clone(), ends.clone());
        tasks.spawn(async move {
            let (mut acknowledged, mut unknown) = (0_i64, 0_i64);
            while !ends.load(Ordering::Relaxed) {
                match client.increment(&key, 1).await {
                    Ok(_) => acknowledged += 1,
                    Err(ClientError::OutcomeUnknown { .. }) => unknown += 1,
                    Err(error) => bail!("{error}"),
                }
            }
            Ok((acknowledged, unknown))
        });
    }
    for _ in 0..ROUNDS {
        let killed = cluster.primary(1, PATIENCE).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| cluster.kill(killed))?;
        let next = cluster.primary_other_than(killed, 1, PATIENCE).await?;
        let before = client.get(&key).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        ensure!(client.get(&key).await? != before, "nothing was counted with node {next} as the primary");
        tokio::task::block_in_place(|| cluster.start_node(killed))?;
    }
    ends.store(true, Ordering::Relaxed);

    let (mut acknowledged, mut unknown) = (0, 0);
    while let Some(counts) = tasks.join_next().await {
        let counts = counts??;
        acknowledged += counts.0;
        unknown += counts.1;
    }
    let counted = client.increment(&key, 0).await?;
    println!("{acknowledged} acknowledged, {unknown} unknown, {counted} counted");
    ensure!(acknowledged > 0 && (acknowledged..=acknowledged + unknown).contains(&counted));
    Ok(())
}

/// The calls on sets, over the commands of the same names.
async fn sets(client: &Client) -> Result<()> {
    let set = |members: &[&'static str]| -> BTreeSet<Bytes> { members.iter().copied().map(Bytes::from).collect() };
    ensure!(client.set_add("{s}a", ["1", "2", "x"]).await? == 3 && client.set_add("{s}a", ["x", "y"]).await? == 1);
    ensure!(client.set_remove("{s}a", ["y", "none"]).await? == 1 && client.set_len("{s}a").await? == 3);
    ensure!(client.set_members("{s}a").await? == set(&["1", "2", "x"]) && client.set_members("none").await?.is_empty());
    ensure!(client.set_contains("{s}a", "2").await? && !client.set_contains("{s}a", "3").await?);
    ensure!(client.set_contains_each("{s}a", ["x", "z"]).await? == [true, false]);
    ensure!(client.set_move("{s}a", "{s}b", "x").await? && !client.set_move("{s}a", "{s}b", "x").await?);
    ensure!(client.set_add("{s}b", ["2"]).await? == 1);
    let keys = ["{s}a", "{s}b"];
    ensure!(client.set_inter(keys).await? == set(&["2"]) && client.set_inter_len(keys).await? == 1);
    ensure!(client.set_union(keys).await? == set(&["1", "2", "x"]) && client.set_diff(keys).await? == set(&["1"]));
    ensure!(client.set_union_store("{s}c", keys).await? == 3 && client.set_diff_store("{s}d", keys).await? == 1);
    ensure!(client.set_inter_store("{s}d", keys).await? == 1 && client.set_members("{s}d").await? == set(&["2"]));
    ensure!(client.set_random("{s}c", 2).await?.len() == 2 && client.set_pop("{s}c", 9).await?.len() == 3);
    ensure!(client.set_len("{s}c").await? == 0);
    match client.set_add("h", ["x"]).await {
        Err(error @ ClientError::Refused { .. }) if error.reason() == "WRONGTYPE" => Ok(()),
        other => bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_does_what_it_says() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).build()?;

    // Strings.
    let absent = || SetOptions { condition: Some(SetIf::Absent), ..SetOptions::default() };
    ensure!(client.set_with("a", "1", absent()).await?.applied);
    ensure!(!client.set_with("a", "2", absent()).await?.applied);
    let options = SetOptions {
        condition: Some(SetIf::Equal("1".into())),
        expiry: Some(SetExpiry::After(Duration::from_secs(60))),
        return_previous: true,
    };
    let outcome = client.set_with("a", "3", options).await?;
    ensure!(outcome == SetOutcome { applied: true, previous: Some("1".into()) }, "{outcome:?}");
    let stored = client.get_with_ttl("a").await?.context("no value")?;
    ensure!(stored.value == "3" && stored.ttl.is_some_and(|ttl| ttl > Duration::from_secs(30)), "{stored:?}");
    ensure!(client.persist("a").await?);
    ensure!(!client.persist("a").await?, "it has no time to live");
    ensure!(client.get_with_ttl("a").await?.is_some_and(|stored| stored.ttl.is_none()));
    ensure!(client.expire("a", Duration::from_secs(60)).await?);
    ensure!(client.expire_at("a", SystemTime::now() + Duration::from_secs(60)).await?);
    ensure!(!client.expire("none", Duration::from_secs(60)).await?);
    ensure!((client.increment("n", 5).await?, client.increment("n", -7).await?) == (5, -2));
    ensure!(client.delete_many(["{t}1", "{t}2"]).await? == 0);
    ensure!(client.delete("a").await? && !client.delete("a").await?);
    ensure!(client.get("a").await?.is_none());

    // Hashes.
    ensure!(client.hash_set("h", [("x", "1"), ("y", "2"), ("z", "3")]).await? == 3);
    ensure!(client.hash_get("h", "y").await?.as_deref() == Some(&b"2"[..]));
    ensure!(client.hash_get("h", "none").await?.is_none());
    ensure!(client.hash_get_many("h", ["z", "none"]).await?.len() == 1);
    ensure!(client.hash_get_many("h", [""; 0]).await?.is_empty());
    ensure!(client.hash_delete("h", ["x", "none"]).await? == 1);
    let all = client.hash_get_all("h").await?;
    ensure!(all.into_iter().eq([("y".into(), "2".into()), ("z".into(), "3".into())]));

    sets(&client).await?;
    lists(&client).await?;
    sorted_sets(&client).await?;
    bitmaps_and_estimates(&client).await?;
    positions(&client).await?;
    streams(&client).await?;

    // Any command, its errors, and options.
    let quorum =
        CallSettings { durability_sync: true, consistency: ReadConsistency::Linearizable, ..CallSettings::default() };
    let quorum = client.with_options(quorum);
    ensure!(quorum.execute(["SET", "s", "text"]).await? == ReplyValue::Status("OK".into()));
    ensure!(quorum.get("s").await?.as_deref() == Some(&b"text"[..]));
    ensure!(client.execute_read(["STRLEN", "s"]).await?.as_integer() == Some(4));
    let reply = client.execute_read(["HMGET", "h", "y", "none"]).await?;
    ensure!(reply == ReplyValue::Array(vec![ReplyValue::Bytes("2".into()), ReplyValue::Null]), "{reply:?}");
    // Its key is not the second word.
    let reply = client.execute_read(["OBJECT", "ENCODING", "s"]).await?;
    ensure!(reply.as_bytes().is_some(), "{reply:?}");
    match client.hash_get("s", "f").await {
        Err(ClientError::Refused { code: Code::FailedPrecondition, reason, .. }) if reason == "WRONGTYPE" => {}
        other => bail!("{other:?}"),
    }
    match client.execute(["MULTI"]).await {
        Err(error @ ClientError::Refused { .. }) if error.reason() == "NEEDS_CONNECTION" => {}
        other => bail!("{other:?}"),
    }
    Ok(())
}

async fn lists(client: &Client) -> Result<()> {
    ensure!(client.list_push("l", ListSide::Tail, ["a", "b", "c"]).await? == 3);
    ensure!(client.list_push("l", ListSide::Head, ["x", "y"]).await? == 5);
    ensure!(client.list_push("l", ListSide::Head, [""; 0]).await.is_err());
    ensure!(client.list_range("l", 0, -2).await? == ["y", "x", "a", "b"]);
    ensure!((client.list_len("l").await?, client.list_len("none").await?) == (5, 0));
    ensure!(client.list_pop("l", ListSide::Head).await?.as_deref() == Some(&b"y"[..]));
    ensure!(client.list_pop("none", ListSide::Tail).await?.is_none());
    ensure!(client.list_pop_many("none", ListSide::Tail, 2).await?.is_empty());
    ensure!(client.list_get("l", -1).await?.as_deref() == Some(&b"c"[..]));
    client.list_set("l", 1, "b").await?;
    ensure!(client.list_set("l", 9, "b").await.is_err_and(|error| error.reason() == "ERR"));
    ensure!(client.list_insert("l", ListSide::Tail, "x", "new").await?);
    ensure!(!client.list_insert("l", ListSide::Head, "none", "new").await?);
    ensure!((client.list_find("l", "b").await?, client.list_find("l", "none").await?) == (Some(2), None));
    ensure!(client.list_remove("l", 0, "b").await? == 2);
    client.list_trim("l", 0, 1).await?;
    ensure!(client.list_move("l", ListSide::Head, "l", ListSide::Tail).await?.as_deref() == Some(&b"x"[..]));
    ensure!(client.list_pop_many("l", ListSide::Tail, 9).await? == ["x", "new"]);
    Ok(())
}

async fn sorted_sets(client: &Client) -> Result<()> {
    let names = |members: Vec<ScoredMember>| members.into_iter().map(|member| (member.name, member.score));
    ensure!(client.sorted_set_add("z", [("a", 1.0), ("b", 2.5), ("c", f64::INFINITY)]).await? == 3);
    let changed = SortedSetOptions { only_greater: true, count_changed: true, ..SortedSetOptions::default() };
    ensure!(client.sorted_set_add_with("z", changed, [("a", 0.5), ("b", 3.0), ("d", -1.0)]).await? == 2);
    ensure!(client.sorted_set_increment("z", "a", 0.25).await? == 1.25);
    ensure!((client.sorted_set_len("z").await?, client.sorted_set_len("none").await?) == (4, 0));
    ensure!(client.sorted_set_score("z", "a").await? == Some(1.25));
    ensure!(client.sorted_set_score("z", "none").await?.is_none());
    ensure!(client.sorted_set_rank("z", "a").await? == Some(RankedMember { rank: 1, score: 1.25 }));
    ensure!(client.sorted_set_rank_from_highest("z", "a").await?.is_some_and(|place| place.rank == 2));
    ensure!(client.sorted_set_rank("z", "none").await?.is_none());
    let range = client.sorted_set_range("z", 0, 1).await?;
    ensure!(names(range).eq([("d".into(), -1.0), ("a".into(), 1.25)]));
    let range = client.sorted_set_range_by_score("z", 1.0..=f64::INFINITY, 2).await?;
    ensure!(names(range).eq([("a".into(), 1.25), ("b".into(), 3.0)]));
    ensure!(names(client.sorted_set_pop_min("z", 1).await?).eq([("d".into(), -1.0)]));
    ensure!(names(client.sorted_set_pop_max("z", 1).await?).eq([("c".into(), f64::INFINITY)]));
    ensure!(client.sorted_set_remove("z", ["a", "b", "none"]).await? == 2);
    ensure!(client.sorted_set_pop_min("z", 1).await?.is_empty());
    ensure!(matches!(client.sorted_set_add("z", [("a", f64::NAN)]).await, Err(ClientError::Invalid { .. })));
    Ok(())
}

async fn bitmaps_and_estimates(client: &Client) -> Result<()> {
    ensure!(!client.bit_set("{b}a", 7, true).await? && client.bit_set("{b}a", 7, true).await?);
    ensure!(client.bit_get("{b}a", 7).await? && !client.bit_get("{b}a", 900).await?);
    client.bit_set("{b}b", 12, true).await?;
    ensure!((client.bit_count("{b}a").await?, client.bit_count_in("{b}b", 1, -1).await?) == (1, 1));
    ensure!((client.bit_find("{b}b", true).await?, client.bit_find("{b}b", false).await?) == (Some(12), Some(0)));
    ensure!(client.bit_find("none", true).await?.is_none());
    ensure!(client.bit_join(BitJoin::Or, "{b}or", ["{b}a", "{b}b"]).await? == 2);
    ensure!(client.bit_count("{b}or").await? == 2);
    ensure!(client.bit_invert("{b}not", "{b}or").await? == 2 && client.bit_count("{b}not").await? == 14);
    ensure!(client.bit_set("{b}a", 1 << 32, true).await.is_err_and(|error| error.reason() == "ERR"));

    ensure!(client.hyperloglog_add("{p}a", ["x", "y"]).await? && !client.hyperloglog_add("{p}a", ["x"]).await?);
    client.hyperloglog_add("{p}b", ["y", "z"]).await?;
    ensure!(client.hyperloglog_count(["{p}a", "{p}b"]).await? == 3);
    client.hyperloglog_merge("{p}a", ["{p}b"]).await?;
    ensure!(client.hyperloglog_count(["{p}a"]).await? == 3 && client.hyperloglog_count(["none"]).await? == 0);
    Ok(())
}

async fn positions(client: &Client) -> Result<()> {
    let palermo = GeoPosition { longitude: 13.361389, latitude: 38.115556 };
    let catania = GeoPosition { longitude: 15.087269, latitude: 37.502669 };
    ensure!(client.geo_add("g", [("Palermo", palermo), ("Catania", catania)]).await? == 2);
    let stored = client.geo_positions("g", ["Palermo", "none"]).await?;
    ensure!(stored[0].is_some_and(|at| (at.longitude - palermo.longitude).abs() < 1e-5) && stored[1].is_none());
    ensure!(client.geo_distance("g", "Palermo", "Catania").await? == Some(166_274.151_6));
    ensure!(client.geo_distance("g", "Palermo", "none").await?.is_none());
    let circle = GeoArea::Circle { radius: 200_000.0 };
    let found = client.geo_search("g", GeoCenter::Member("Catania".into()), circle, 9).await?;
    ensure!(found.iter().map(|one| &one.name[..]).eq([&b"Catania"[..], b"Palermo"]), "{found:?}");
    ensure!(found[0].distance == 0.0 && found[1].distance == 166_274.151_6, "{found:?}");
    let rectangle = GeoArea::Rectangle { width: 1000.0, height: 1000.0 };
    let found = client.geo_search("g", GeoCenter::Position(palermo), rectangle, 9).await?;
    ensure!(found.len() == 1 && found[0].name == "Palermo", "{found:?}");
    Ok(())
}

async fn streams(client: &Client) -> Result<()> {
    let id = |ms| StreamId { ms, sequence: 0 };
    let with_id = |ms| StreamAddOptions { id: Some(id(ms)), ..StreamAddOptions::default() };
    for ms in 1..=5 {
        ensure!(client.stream_add_with("x", with_id(ms), [("n", ms.to_string())]).await? == Some(id(ms)));
    }
    ensure!(client.stream_add_with("x", with_id(5), [("n", "5")]).await.is_err_and(|error| error.reason() == "ERR"));
    let only_existing = StreamAddOptions { only_existing: true, ..StreamAddOptions::default() };
    ensure!(client.stream_add_with("none", only_existing, [("n", "1")]).await?.is_none());
    ensure!(client.stream_add("x", [("n", "6")]).await? > id(5));
    ensure!((client.stream_len("x").await?, client.stream_len("none").await?) == (6, 0));
    let ids = |entries: Vec<StreamEntry>| entries.into_iter().map(|entry| entry.id.ms).collect::<Vec<_>>();
    let range = client.stream_range("x", id(2)..=id(4), 2).await?;
    ensure!(range[0].fields == [("n".into(), "2".into())] && ids(range) == [2, 3]);
    ensure!(ids(client.stream_range_from_newest("x", StreamId::MIN..=id(4), 2).await?) == [4, 3]);
    ensure!(ids(client.stream_read_after("x", id(2), 2).await?) == [3, 4]);
    ensure!(client.stream_read_after("none", StreamId::MIN, 2).await?.is_empty());
    ensure!(client.stream_remove("x", [id(3), id(9)]).await? == 1);
    ensure!(client.stream_trim("x", StreamTrim::Len(4)).await? == 1);

    // Consumers of a group: 2, 4, 5, and the one with an id of the server.
    client.stream_group_create("x", "g", Some(StreamId::MIN)).await?;
    let again = client.stream_group_create("x", "g", None).await;
    ensure!(again.is_err_and(|error| error.reason() == "BUSYGROUP"));
    ensure!(ids(client.stream_group_read("x", "g", "a", 2).await?) == [2, 4]);
    ensure!(ids(client.stream_group_read("x", "g", "b", 1).await?) == [5]);
    ensure!(client.stream_group_acknowledge("x", "g", [id(2), id(2)]).await? == 1);
    ensure!(ids(client.stream_group_history("x", "g", "a", StreamId::MIN, 9).await?) == [4]);
    let pending = client.stream_group_pending("x", "g", Duration::ZERO, StreamId::MIN..=StreamId::MAX, 9).await?;
    let consumers = pending.iter().map(|one| (one.id.ms, &one.consumer[..]));
    ensure!(consumers.eq([(4, &b"a"[..]), (5, b"b")]), "{pending:?}");
    client.stream_remove("x", [id(4)]).await?;
    let all = StreamTakeOver { min_idle: Duration::ZERO, from: StreamId::MIN, most: 9 };
    let taken = client.stream_group_take_over("x", "g", "b", all).await?;
    ensure!(taken.next == StreamId::MIN && taken.removed == [id(4)] && ids(taken.entries) == [5]);
    ensure!(client.stream_group_remove("x", "g").await? && !client.stream_group_remove("x", "g").await?);
    let gone = client.stream_group_read("x", "g", "a", 1).await;
    ensure!(gone.is_err_and(|error| error.reason() == "NOGROUP"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_and_updates_do_what_they_say() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).build()?;
    let create = || {
        let txn = Txn::new().if_absent("{t}s").if_field_absent("{t}h", "f");
        let txn = txn.then(Operation::set("{t}s", "5")).then(Operation::increment("{t}s", 2));
        let txn = txn.then(Operation::hash_set("{t}h", [("f", "1"), ("g", "2")]));
        let txn = txn.then(Operation::increment("{t}h", 1)).then(Operation::get_with_ttl("{t}s"));
        txn.otherwise(Operation::hash_get("{t}h", "g")).otherwise(Operation::execute(["STRLEN", "{t}s"]))
    };
    let outcome = client.txn(create()).await?;
    ensure!(outcome.succeeded && outcome.results.len() == 5, "{outcome:?}");
    ensure!(outcome.results[1].as_ref().is_ok_and(|sum| sum.as_sum() == Some(7)), "{outcome:?}");
    ensure!(outcome.results[2].as_ref().is_ok_and(|added| added.as_count() == Some(2)), "{outcome:?}");
    ensure!(outcome.results[3].as_ref().is_err_and(|error| error.reason() == "WRONGTYPE"), "{outcome:?}");
    ensure!(outcome.results[4].as_ref().is_ok_and(|stored| stored.as_value() == Some(b"7")), "{outcome:?}");
    let outcome = client.txn(create()).await?;
    ensure!(!outcome.succeeded, "{outcome:?}");
    let results = outcome.into_results()?;
    ensure!(results == [OperationResult::Value(Some("2".into())), OperationResult::Reply(ReplyValue::Integer(1))]);
    let holds = Txn::new().if_equal("{t}s", "7").if_exists("{t}h").if_field_equal("{t}h", "f", "1");
    let quorum =
        CallSettings { durability_sync: true, consistency: ReadConsistency::Linearizable, ..CallSettings::default() };
    let quorum = client.with_options(quorum);
    ensure!(quorum.txn(holds.if_field_exists("{t}h", "g").then(Operation::delete("{t}s"))).await?.succeeded);
    ensure!(client.get("{t}s").await?.is_none());

    // An update keeps the time to live.
    let expiry = Some(SetExpiry::After(Duration::from_secs(60)));
    client.set_with("u", "a", SetOptions { expiry, ..SetOptions::default() }).await?;
    let longer = client.update("u", |before| Some([before.unwrap_or_default(), "b".into()].concat().into())).await?;
    ensure!(longer.as_deref() == Some(b"ab"), "{longer:?}");
    ensure!(client.get_with_ttl("u").await?.is_some_and(|stored| stored.value == "ab" && stored.ttl.is_some()));
    ensure!(client.update("none", |before| before).await?.is_none());

    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_runs_operations_of_every_kind_on_all_shards() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).build()?;
    let durable = client.with_options(CallSettings { durability_sync: true, ..CallSettings::default() });
    let sets = (0..KEYS).map(|i| Operation::set(format!("k{i}"), i.to_string()));
    for result in durable.batch(sets).await {
        result?;
    }
    let results = client.batch((0..KEYS).map(|i| Operation::get(format!("k{i}")))).await;
    for (i, result) in results.into_iter().enumerate() {
        ensure!(result?.as_value() == Some(i.to_string().as_bytes()), "k{i}");
    }
    let minute = Duration::from_secs(60);
    let results = client
        .batch([
            Operation::hash_set("h", [("x", "1"), ("y", "2")]),
            Operation::hash_get_many("h", ["x", "none"]),
            Operation::hash_delete("h", ["x"]),
            Operation::hash_get_all("h"),
            Operation::expire("h", minute),
            Operation::expire_at("none", SystemTime::now() + minute),
            Operation::persist("h"),
            Operation::delete_many(["h"]),
            // Its key is not the second word.
            Operation::execute(["OBJECT", "ENCODING", "k7"]),
            Operation::execute_read(["DBSIZE"]),
        ])
        .await;
    let results: Vec<OperationResult> = results.into_iter().collect::<Result<_, _>>()?;
    let fields = |name: &str, value: &str| {
        OperationResult::Fields([(name.to_owned().into(), value.to_owned().into())].into_iter().collect())
    };
    let (one, yes, no) = (OperationResult::Count(1), OperationResult::Applied(true), OperationResult::Applied(false));
    let encoding = OperationResult::Reply(ReplyValue::Bytes("int".into()));
    let expect = [fields("x", "1"), one.clone(), fields("y", "2"), yes.clone(), no, yes, one, encoding];
    ensure!(results[0].as_count() == Some(2) && results[1..9] == expect, "{results:?}");
    ensure!(matches!(results[9], OperationResult::Reply(ReplyValue::Integer(_))), "{results:?}");
    Ok(())
}

/// Operations of every kind in one pipeline, on all shards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_runs_operations_of_every_kind_on_all_shards() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let client = builder(&cluster).build()?;
    let mut pipeline = client.pipeline();
    let mut results = Vec::new();
    let operations = |i: usize| {
        let (text, hash) = (format!("k{i}"), format!("h{i}"));
        [
            Operation::set(&text, i.to_string()),
            Operation::increment(&text, 1),
            Operation::get(&text),
            Operation::hash_set(&hash, [("x", "1"), ("y", "2")]),
            Operation::hash_delete(&hash, ["x"]),
            Operation::hash_get(&hash, "y"),
            Operation::hash_get(&text, "y"),
            Operation::execute_read(["STRLEN", &text]),
            // Its key is not the second word.
            Operation::execute(["OBJECT", "ENCODING", &text]),
        ]
    };
    for operation in (0..KEYS).flat_map(operations) {
        if let Err(full) = pipeline.try_send(operation) {
            results.push(pipeline.next().await.context("no result")?);
            pipeline.try_send(full.into_operation())?;
        }
    }
    while let Some(result) = pipeline.next().await {
        results.push(result);
    }
    for (i, results) in results.chunks_exact(9).enumerate() {
        let ok = |at: usize| results[at].clone().with_context(|| format!("k{i}, operation {at}"));
        let value = (i + 1).to_string();
        ensure!(ok(1)?.as_sum() == Some(i64::try_from(i + 1)?) && ok(2)?.as_value() == Some(value.as_bytes()));
        ensure!(ok(3)?.as_count() == Some(2) && ok(4)?.as_count() == Some(1) && ok(5)?.as_value() == Some(b"2"));
        ensure!(results[6].as_ref().is_err_and(|error| error.reason() == "WRONGTYPE"), "{results:?}");
        ensure!(ok(7)? == OperationResult::Reply(ReplyValue::Integer(i64::try_from(value.len())?)));
        // It has no order among the others: there may have been no such key yet.
        let OperationResult::Reply(encoding) = ok(8)? else { bail!("k{i}: no reply") };
        ensure!(matches!(&encoding, ReplyValue::Null) || encoding.as_bytes() == Some(b"int"), "k{i}: {encoding:?}");
    }
    ensure!(results.len() == 9 * KEYS, "{} results", results.len());
    Ok(())
}

/// Many tasks change one value: no change is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_of_many_tasks_all_count() -> Result<()> {
    const TASKS: u64 = 8;
    const CHANGES: u64 = 10;
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let client = builder(&cluster).build()?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..CHANGES {
                let count = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
                let add = |value: Option<bytes::Bytes>| {
                    let before = value.map_or(Some(0), |value| count(&value))?;
                    Some((before + 1).to_string().into())
                };
                client.update("n", add).await?.context("no number")?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let value = client.get("n").await?;
    ensure!(value.as_deref() == Some((TASKS * CHANGES).to_string().as_bytes()), "{value:?}");
    Ok(())
}

/// Builds the examples of the SDK; returns their programs.
fn build_examples() -> Result<Vec<PathBuf>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no parent")?;
    // This program is TARGET/PROFILE/deps/sdk-HASH, whatever CARGO_TARGET_DIR is.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("not a target directory")?;
    let mut cargo = Command::new(env!("CARGO"));
    // With the features of the whole workspace, as it was built for the tests: nothing is compiled twice.
    cargo.args(["build", "--locked", "--workspace", "--examples", "--target-dir"]).arg(target);
    let built = cargo.current_dir(crates.parent().context("no workspace")?).output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(crates.join("client/examples"))? {
        let source = entry?.path();
        programs.push(target.join("debug/examples").join(source.file_stem().context("no name")?));
    }
    ensure!(!programs.is_empty(), "no examples");
    programs.sort();
    Ok(programs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_checks_out() -> Result<()> {
    let programs = tokio::task::block_in_place(build_examples)?;
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    for program in programs {
        let mut command = Command::new(&program);
        command.env("FASTNESS_CLUSTER", cluster.dir().join("cluster.json"));
        let output = tokio::task::block_in_place(|| command.output()).with_context(|| program.display().to_string())?;
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{}:\n{text}{errors}", program.display());
        ensure!(output.status.success() && text.lines().any(|line| line == "ok"), "{}", program.display());
    }
    Ok(())
}

fn one_node() -> ClusterOptions {
    ClusterOptions { azs: vec!["a"], replicas: 0, durability: "disabled", ..ClusterOptions::default() }
}

/// A client shows its certificate, and talks to nobody whom its CA does not vouch for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_and_checked() -> Result<()> {
    let cluster = Cluster::start(&one_node())?;
    let read = |name: &str| std::fs::read(cluster.dir().join(name)).with_context(|| name.to_owned());
    let client = builder(&cluster).identity(read("client.crt")?, read("client.key")?).build()?;
    client.set("a", "1").await?;

    // A certificate of the same form that vouches for nobody.
    let stranger = Client::builder().address(cluster.node(1)?.grpc).ca_certificate(read("client.crt")?);
    match stranger.deadline(Duration::from_secs(2)).build()?.set("a", "2").await {
        Err(error @ ClientError::Unavailable { .. }) => ensure!(error.reason() == NOT_CONNECTED, "{error}"),
        other => bail!("{other:?}"),
    }
    ensure!(client.get("a").await?.as_deref() == Some(&b"1"[..]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_goes_with_the_calls() -> Result<()> {
    let cluster = Cluster::start(&one_node())?;
    let client = builder(&cluster).build()?;
    client.execute(["CONFIG", "SET", "requirepass", "secret"]).await?;
    for (builder, reason) in [
        (builder(&cluster), "NOAUTH"),
        (builder(&cluster).password("default", "wrong"), "WRONGPASS"),
        (builder(&cluster).password("default", "secret"), ""),
    ] {
        match builder.build()?.set("a", "1").await {
            Ok(()) => ensure!(reason.is_empty(), "it was let in: {reason}"),
            Err(error) => ensure!(error.reason() == reason, "{error}"),
        }
    }
    Ok(())
}
