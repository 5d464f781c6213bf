//! The Rust SDK on a real cluster: its calls show the protocol's data, and a primary that is killed costs no error and
//! no acknowledged write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use fastness_client::{
    CallSettings, Client, ClientBuilder, ClientError, Code, NOT_CONNECTED, ReplyValue, RetryOptions, SetExpiry, SetIf,
    SetOptions, SetOutcome, key_slot,
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
    for i in 0..KEYS {
        let value = client.get(format!("k{i}")).await?;
        ensure!(value.as_deref() == Some(format!("w{i}").as_bytes()), "k{i}: {value:?}");
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

    // Any command, its errors, and options.
    let quorum = CallSettings { durability_sync: true, consistency_quorum: true, ..CallSettings::default() };
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
