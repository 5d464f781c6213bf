//! Channels over three nodes with two shards: a message published at any replica reaches the subscribers of all,
//! a sharded one those of its shard; slow subscribers are closed; a dead node stops nobody; messages of EXEC.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fastness_load::Connection;
use fastness_resp::{Protocol, Value, request};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::call_text;
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use futures::StreamExt as _;
use redis::cluster::ClusterClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
const NODES: std::ops::RangeInclusive<u64> = 1..=3;

fn options() -> ClusterOptions {
    let limit = ("client-output-buffer-limit", "pubsub 4mb 0 0".to_owned());
    ClusterOptions { shards: 2, durability: "async", node_options: vec![limit], ..ClusterOptions::default() }
}

async fn send(connection: &mut Connection, words: &[&str]) -> Result<()> {
    let mut bytes = Vec::new();
    request::encode(words, &mut bytes);
    Ok(connection.send_raw(&bytes).await?)
}

async fn call(connection: &mut Connection, words: &[&str]) -> Result<Value> {
    send(connection, words).await?;
    Ok(connection.receive().await?)
}

/// The words of a message, whichever the version of the protocol.
fn words(value: Value) -> Result<Vec<String>> {
    let (Value::Array(items) | Value::Push(items)) = value else { bail!("{value:?} is no message") };
    let text = |item: &Value| match item {
        Value::Integer(number) => number.to_string(),
        other => String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned(),
    };
    Ok(items.iter().map(text).collect())
}

async fn next(connection: &mut Connection) -> Result<Vec<String>> {
    words(tokio::time::timeout(TIMEOUT, connection.receive()).await.context("no message")??)
}

/// A subscriber at one replica.
async fn subscriber(
    cluster: &Cluster,
    node: u64,
    shard: u32,
    speaks: Protocol,
    command: &[&str],
) -> Result<Connection> {
    let mut connection = cluster.connect(node, shard, TIMEOUT).await?;
    connection.speak(speaks).await?;
    let confirmed = words(call(&mut connection, command).await?)?;
    ensure!(confirmed[..2] == [command[0].to_lowercase(), command[1].to_owned()], "{confirmed:?}");
    Ok(connection)
}

/// Publishes until the links between the nodes are open: messages for a node that is not connected yet are dropped.
async fn until_linked(cluster: &Cluster) -> Result<()> {
    for from in NODES {
        let mut publisher = cluster.connect(from, 1, TIMEOUT).await?;
        for to in NODES {
            let channel = format!("link {from} {to}");
            let mut receiver = subscriber(cluster, to, 2, Protocol::Resp2, &["SUBSCRIBE", &channel]).await?;
            let until = Instant::now() + PATIENCE;
            loop {
                call(&mut publisher, &["PUBLISH", &channel, "x"]).await?;
                if tokio::time::timeout(Duration::from_millis(200), receiver.receive()).await.is_ok() {
                    break;
                }
                ensure!(Instant::now() < until, "no message from node {from} reaches node {to}");
            }
        }
    }
    Ok(())
}

/// A channel whose slot the shard has.
async fn channel_of(connection: &mut Connection) -> Result<String> {
    for i in 0..100 {
        let channel = format!("sharded {i}");
        if matches!(call(connection, &["SPUBLISH", &channel, "x"]).await?, Value::Integer(_)) {
            return Ok(channel);
        }
    }
    bail!("no channel is the shard's")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_reach_the_subscribers_of_all_nodes_in_order() -> Result<()> {
    // redis-rs uses the process's provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = Cluster::start(&options())?;
    until_linked(&cluster).await?;
    let mut subscribers = Vec::new();
    for node in NODES {
        for shard in [1, 2] {
            let speaks = if node == 1 { Protocol::Resp3 } else { Protocol::Resp2 };
            let command = if shard == 1 { ["SUBSCRIBE", "news"] } else { ["PSUBSCRIBE", "n?ws"] };
            subscribers.push((shard, subscriber(&cluster, node, shard, speaks, &command).await?));
        }
    }
    for (from, shard) in [(1, 1), (2, 2), (3, 1)] {
        let mut publisher = cluster.connect(from, shard, TIMEOUT).await?;
        for i in 0..100 {
            // One subscriber is at the publisher's own replica: only that one is counted.
            let reply = call(&mut publisher, &["PUBLISH", "news", &format!("{from} {i}")]).await?;
            ensure!(reply == Value::Integer(1), "{reply:?}");
        }
        for (shard, subscriber) in &mut subscribers {
            for i in 0..100 {
                let kind: &[&str] = if *shard == 1 { &["message"] } else { &["pmessage", "n?ws"] };
                let message = next(subscriber).await?;
                let payload = format!("{from} {i}");
                let expected = [kind, &["news", &payload]].concat();
                ensure!(message == expected, "{message:?} instead of {expected:?}");
            }
        }
    }

    // A client that knows nothing of nodes.
    let nodes: Vec<String> = cluster.listeners()?.iter().map(|listener| format!("redis://{listener}")).collect();
    let client = ClusterClient::new(nodes.clone())?;
    let mut connection = client.get_async_connection().await?;
    let mut pubsub = redis::Client::open(nodes[0].clone())?.get_async_pubsub().await?;
    pubsub.subscribe("of redis-rs").await?;
    let _: i64 = redis::cmd("PUBLISH").arg("of redis-rs").arg("hello").query_async(&mut connection).await?;
    let message = tokio::time::timeout(TIMEOUT, pubsub.on_message().next()).await?.context("no message")?;
    ensure!(message.get_payload::<String>()? == "hello");

    // Over gRPC messages are published, and nothing is subscribed to.
    let mut waiting = subscriber(&cluster, 3, 1, Protocol::Resp2, &["SUBSCRIBE", "of grpc"]).await?;
    let ca = Certificate::from_pem(std::fs::read(cluster.dir().join("ca.crt"))?);
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.node(1)?.grpc))?;
    let channel = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca))?.connect().await?;
    let mut kv = KvServiceClient::new(channel);
    let execute = |words: &[&str]| v1::ExecuteRequest {
        args: words.iter().map(|word| word.as_bytes().to_vec().into()).collect(),
        ..v1::ExecuteRequest::default()
    };
    kv.execute(execute(&["PUBLISH", "of grpc", "hi"])).await?;
    ensure!(next(&mut waiting).await? == ["message", "of grpc", "hi"]);
    let refused = kv.execute(execute(&["SUBSCRIBE", "x"])).await.err().context("it is refused")?;
    ensure!(refused.message().contains("Watch"), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_messages_stay_in_their_shard() -> Result<()> {
    let cluster = Cluster::start(&options())?;
    until_linked(&cluster).await?;
    let mut publisher = cluster.connect(1, 1, TIMEOUT).await?;
    let channel = channel_of(&mut publisher).await?;
    let mut subscribers = Vec::new();
    for node in NODES {
        subscribers.push(subscriber(&cluster, node, 1, Protocol::Resp2, &["SSUBSCRIBE", &channel]).await?);
    }
    let mut elsewhere = cluster.connect(1, 2, TIMEOUT).await?;
    let moved = call_text(&mut elsewhere, &["SSUBSCRIBE", &channel]).await?;
    ensure!(moved.starts_with("-MOVED "), "{moved}");
    let moved = call_text(&mut elsewhere, &["SPUBLISH", &channel, "x"]).await?;
    ensure!(moved.starts_with("-MOVED "), "{moved}");
    // Subscribers of the channel of the same name, which is another one.
    let mut classic = subscriber(&cluster, 2, 1, Protocol::Resp2, &["SUBSCRIBE", &channel]).await?;
    for i in 0..100 {
        ensure!(call(&mut publisher, &["SPUBLISH", &channel, &i.to_string()]).await? == Value::Integer(1));
    }
    call(&mut publisher, &["PUBLISH", &channel, "classic"]).await?;
    for subscriber in &mut subscribers {
        for i in 0..100 {
            ensure!(next(subscriber).await? == ["smessage", &channel, &i.to_string()]);
        }
    }
    ensure!(next(&mut classic).await? == ["message", &channel, "classic"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_and_a_dead_node_stop_nobody() -> Result<()> {
    let cluster = Cluster::start(&options())?;
    until_linked(&cluster).await?;
    let mut reader = subscriber(&cluster, 2, 1, Protocol::Resp2, &["SUBSCRIBE", "all"]).await?;
    let mut slow = subscriber(&cluster, 2, 1, Protocol::Resp2, &["SUBSCRIBE", "all"]).await?;
    let mut publisher = cluster.connect(1, 1, TIMEOUT).await?;
    let payload = "x".repeat(256 * 1024);
    // More than its socket's buffers and its limit hold together.
    for _ in 0..200 {
        call(&mut publisher, &["PUBLISH", "all", &payload]).await?;
        ensure!(next(&mut reader).await?.len() == 3);
    }
    let mut watcher = cluster.connect(2, 1, TIMEOUT).await?;
    let closed = call_text(&mut watcher, &["INFO", "stats"]).await?;
    ensure!(closed.contains("client_output_buffer_limit_disconnections:1"), "{closed}");
    let mut received = 0;
    while slow.receive().await.is_ok() {
        received += 1;
    }
    ensure!(received < 200, "it was not closed");

    cluster.kill(3)?;
    let began = Instant::now();
    for i in 0..1000 {
        call(&mut publisher, &["PUBLISH", "all", &i.to_string()]).await?;
        ensure!(next(&mut reader).await? == ["message", "all", &i.to_string()]);
    }
    ensure!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // It takes part again once it is back.
    tokio::task::block_in_place(|| cluster.start_node(3))?;
    until_linked(&cluster).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_exec_leaves_with_its_commit() -> Result<()> {
    let cluster = Cluster::start(&options())?;
    until_linked(&cluster).await?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut writer = cluster.connect(primary, 1, TIMEOUT).await?;
    let key = channel_of(&mut writer).await?;
    let other = cluster.others(primary)?[0];
    let mut subscriber = subscriber(&cluster, other, 1, Protocol::Resp2, &["SUBSCRIBE", "changed"]).await?;
    for i in 0..50 {
        let value = i.to_string();
        for command in [&["MULTI"][..], &["SET", &key, &value], &["PUBLISH", "changed", &value]] {
            ensure!(matches!(call(&mut writer, command).await?, Value::Simple(_)));
        }
        let done = call(&mut writer, &["EXEC"]).await?;
        ensure!(done == Value::Array(vec![Value::Simple(b"OK".to_vec()), Value::Integer(0)]), "{done:?}");
        ensure!(next(&mut subscriber).await? == ["message", "changed", &value]);
    }
    Ok(())
}
