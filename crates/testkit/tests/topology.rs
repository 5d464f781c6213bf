//! The stream of the topology, and reads on replicas over gRPC and with the SDK, on real clusters.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use fastness_client::{CallSettings, Client, ClientBuilder, ClientError, Operation, ReadConsistency, Txn};
use fastness_resp::Value as Reply;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::wait::until_ok;
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::topology_service_client::TopologyServiceClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a stream is silent.
const SILENCE: Duration = Duration::from_secs(15);

type Kv = KvServiceClient<Channel>;

async fn channel(cluster: &Cluster, node: u64) -> Result<Channel> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.node(node)?.grpc))?;
    Ok(endpoint.tls_config(tls)?.connect().await?)
}

async fn kv(cluster: &Cluster, node: u64) -> Result<Kv> {
    Ok(KvServiceClient::new(channel(cluster, node).await?))
}

fn builder(cluster: &Cluster) -> ClientBuilder {
    Client::builder().cluster_file(cluster.dir().join("cluster.json")).deadline(PATIENCE)
}

fn reading(client: &Client, consistency: ReadConsistency) -> Client {
    client.with_options(CallSettings { consistency, ..CallSettings::default() })
}

const ANY_AGE: ReadConsistency = ReadConsistency::Replica { max_staleness: None };

fn at_most(max_staleness: Duration) -> ReadConsistency {
    ReadConsistency::Replica { max_staleness: Some(max_staleness) }
}

/// A read on the called node, of data of any age (0), or at most this old.
fn get_on_replica(key: &str, max_staleness_ms: u64) -> v1::GetRequest {
    let consistency = v1::Consistency::Replica.into();
    let options = v1::CallOptions { consistency, max_staleness_ms, ..Default::default() };
    v1::GetRequest { key: key.as_bytes().to_vec().into(), options: Some(options), ..Default::default() }
}

/// Code and reason of a refusal, and whether it may be tried again.
fn seen(status: &Status) -> (Code, String, bool) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), reason, details.retry_info().is_some())
}

type Watch = Streaming<v1::WatchTopologyResponse>;

async fn watch(cluster: &Cluster, node: u64, user: Option<&str>) -> Result<Result<Watch, Status>> {
    let mut client = TopologyServiceClient::new(channel(cluster, node).await?);
    let mut request = Request::new(v1::WatchTopologyRequest {});
    if let Some(user) = user {
        let pair = base64::engine::general_purpose::STANDARD.encode(user);
        request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Basic {pair}"))?);
    }
    Ok(client.watch_topology(request).await.map(tonic::Response::into_inner))
}

async fn next(stream: &mut Watch) -> Result<Option<v1::Topology>> {
    let message = tokio::time::timeout(SILENCE, stream.message()).await.context("the stream is silent")?;
    Ok(message?.context("the stream has ended")?.topology)
}

/// Reads the stream until a topology is as it should be.
async fn until(stream: &mut Watch, what: &str, is: impl Fn(&v1::Topology) -> bool) -> Result<v1::Topology> {
    let end = Instant::now() + PATIENCE;
    let mut last = None;
    while Instant::now() < end {
        let Some(topology) = next(stream).await? else { continue };
        if is(&topology) {
            return Ok(topology);
        }
        last = Some(topology);
    }
    bail!("{what}: not seen, but {last:?}")
}

fn serves(topology: &v1::Topology, node: u64) -> bool {
    topology.shards[0].members.iter().any(|member| member.node == node && member.serves_reads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_shows_a_failover_and_a_replaced_node() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let old = cluster.primary(1, PATIENCE).await?;
    let observer = cluster.others(old)?[0];
    let mut stream = watch(&cluster, observer, None).await??;
    let all_serve = |topology: &v1::Topology| (1..=3).all(|node| serves(topology, node));
    let first = next(&mut stream).await?.context("the first message has no topology")?;
    let mut zones: Vec<_> = first.nodes.iter().map(|node| node.availability_zone.as_str()).collect();
    zones.sort_unstable();
    ensure!(zones == ["a", "b", "c"] && first.cluster.len() == 16, "{first:?}");
    for node in &first.nodes {
        ensure!(node.address == cluster.node(node.id)?.grpc, "{first:?}");
    }
    let [shard] = &first.shards[..] else { bail!("{first:?}") };
    ensure!((shard.id, shard.first_slot, shard.last_slot) == (1, 0, 16_383) && shard.members.len() == 3, "{first:?}");
    let before = if shard.primary == old && all_serve(&first) {
        first
    } else {
        until(&mut stream, "all serve", |topology| topology.shards[0].primary == old && all_serve(topology)).await?
    };

    tokio::task::block_in_place(|| cluster.kill(old))?;
    let after = until(&mut stream, "another primary", |topology| ![0, old].contains(&topology.shards[0].primary));
    let after = after.await?;
    ensure!(after.map_version == before.map_version && after.nodes == before.nodes, "{after:?}");
    if serves(&after, old) {
        until(&mut stream, "the killed node does not serve", |topology| !serves(topology, old)).await?;
    }
    tokio::task::block_in_place(|| cluster.start_node(old))?;
    until(&mut stream, "it serves again", |topology| serves(topology, old)).await?;

    // Another node with other addresses takes the place of one.
    let leaving = cluster.others(observer)?[0];
    let zone = cluster.node(leaving)?.az;
    let new = tokio::task::block_in_place(|| {
        cluster.kill(leaving)?;
        let new = cluster.add_node(&zone)?;
        cluster.replace(leaving, new)?;
        anyhow::Ok(new)
    })?;
    let replaced = until(&mut stream, "the new node serves", |topology| {
        serves(topology, new) && topology.nodes.iter().all(|node| node.id != leaving)
    });
    let replaced = replaced.await?;
    ensure!(replaced.map_version > before.map_version, "{replaced:?}");
    let address = replaced.nodes.iter().find(|node| node.id == new).map(|node| node.address.clone());
    ensure!(address.is_some() && address == Some(cluster.node(new)?.grpc), "{replaced:?}");
    Ok(())
}

/// Without a change, messages show that the stream lives. Who may not run CLUSTER SHARDS has no stream, and loses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_lives_as_long_as_its_user_has_the_right() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let node = cluster.primary(1, PATIENCE).await?;
    let mut admin = cluster.connect(node, 1, PATIENCE).await?;
    for rules in ["eve on >pw ~* +get", "ada on >pw ~* +get +cluster|shards"] {
        let words = format!("ACL SETUSER {rules}");
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        ensure!(admin.call(&words).await? == Reply::Simple(b"OK".to_vec()));
    }
    let Err(status) = watch(&cluster, node, Some("eve:pw")).await? else { bail!("eve has no right to the topology") };
    ensure!(seen(&status) == (Code::PermissionDenied, "NOPERM".to_owned(), false), "{status:?}");

    let mut stream = watch(&cluster, node, Some("ada:pw")).await??;
    ensure!(next(&mut stream).await?.is_some());
    let quiet = Instant::now();
    while next(&mut stream).await?.is_some() {}
    ensure!(quiet.elapsed() < PATIENCE, "no message without a topology");
    admin.call(&[b"ACL", b"SETUSER", b"ada", b"-cluster|shards"]).await?;
    let ended = loop {
        match tokio::time::timeout(SILENCE, stream.message()).await.context("the stream is silent")? {
            Ok(Some(_)) => {}
            Ok(None) => bail!("the stream has ended without a status"),
            Err(status) => break status,
        }
    };
    ensure!(seen(&ended).0 == Code::PermissionDenied, "{ended:?}");
    Ok(())
}

/// How many GETs each node has run.
async fn gets(cluster: &Cluster) -> Result<Vec<(u64, u64)>> {
    let mut counts = Vec::new();
    for node in cluster.node_ids()? {
        let mut connection = cluster.connect(node, 1, PATIENCE).await?;
        let reply = connection.call(&[b"INFO", b"commandstats"]).await?;
        let text = String::from_utf8_lossy(reply.as_bytes().context("INFO")?).into_owned();
        let calls =
            text.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls=")?.split(',').next()?.parse().ok());
        counts.push((node, calls.unwrap_or(0)));
    }
    Ok(counts)
}

/// How many of `reads` reads each node has answered, in the order of `nodes`.
async fn answered_by(cluster: &Cluster, client: &Client, nodes: &[u64], reads: u64) -> Result<Vec<u64>> {
    let before = gets(cluster).await?;
    for _ in 0..reads {
        ensure!(client.get("k").await?.as_deref() == Some(&b"v"[..]));
    }
    let after = gets(cluster).await?;
    let of = |counts: &[(u64, u64)], node| counts.iter().find(|(of, _)| *of == node).map_or(0, |(_, count)| *count);
    Ok(nodes.iter().map(|node| of(&after, *node) - of(&before, *node)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_to_replicas_and_to_the_own_zone() -> Result<()> {
    const READS: u64 = 60;
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let replicas = cluster.others(primary)?;
    let nodes = [primary, replicas[0], replicas[1]];
    let zone = |node: u64| anyhow::Ok(cluster.node(node)?.az);
    let client = builder(&cluster).build()?;
    client.set("k", "v").await?;

    // The topology arrives soon after the first call; a replica serves once it has heard of the primary.
    let spread = reading(&client, ANY_AGE);
    until_ok(PATIENCE, async || {
        let counts = answered_by(&cluster, &spread, &nodes, 10).await?;
        ensure!(counts == [0, 5, 5], "{counts:?}");
        Ok(())
    })
    .await?;
    let counts = answered_by(&cluster, &spread, &nodes, READS).await?;
    ensure!(counts == [0, READS / 2, READS / 2], "spread over replicas: {counts:?}");
    let fresh = reading(&client, at_most(Duration::from_secs(5)));
    let counts = answered_by(&cluster, &fresh, &nodes, READS).await?;
    ensure!(counts == [0, READS / 2, READS / 2], "at most 5 s old, without any write: {counts:?}");
    for consistency in [ReadConsistency::Primary, ReadConsistency::Linearizable, ReadConsistency::AzLocal] {
        let counts = answered_by(&cluster, &reading(&client, consistency), &nodes, READS).await?;
        ensure!(counts == [READS, 0, 0], "{consistency:?} of a client without a zone: {counts:?}");
    }
    for (at, expect) in [(0, [READS, 0, 0]), (1, [0, READS, 0]), (2, [0, 0, READS])] {
        let own = reading(&builder(&cluster).az(zone(nodes[at])?).build()?, ReadConsistency::AzLocal);
        until_ok(PATIENCE, async || {
            let counts = answered_by(&cluster, &own, &nodes, READS).await?;
            ensure!(counts == expect, "in the zone of node {}: {counts:?}", nodes[at]);
            Ok(())
        })
        .await?;
    }

    // The local replica is lost, and comes back.
    let own = reading(&builder(&cluster).az(zone(nodes[1])?).build()?, ReadConsistency::AzLocal);
    tokio::task::block_in_place(|| cluster.kill(nodes[1]))?;
    for _ in 0..READS {
        ensure!(own.get("k").await?.is_some(), "the primary answers instead");
    }
    tokio::task::block_in_place(|| cluster.start_node(nodes[1]))?;
    until_ok(PATIENCE, async || {
        let counts = answered_by(&cluster, &own, &nodes, READS).await?;
        ensure!(counts == [0, READS, 0], "{counts:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_primary_can_do_is_refused_or_goes_there() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 2, ..ClusterOptions::default() })?;
    let client = builder(&cluster).build()?;
    for consistency in [ReadConsistency::Primary, ReadConsistency::Linearizable] {
        let (writer, reader) = (reading(&client, ANY_AGE), reading(&client, consistency));
        for i in 0..200 {
            let (key, value) = (format!("k{}", i % 7), i.to_string());
            writer.set(&key, value.clone()).await?;
            ensure!(reader.get(&key).await?.as_deref() == Some(value.as_bytes()), "{consistency:?}: {key}");
        }
    }
    // Operations on one slot keep their order.
    let any = reading(&client, ANY_AGE);
    for i in 0..50 {
        let value = format!("b{i}");
        let results = any.batch([Operation::set("k", value.clone()), Operation::get("k")]).await;
        let read = results.into_iter().nth(1).context("two results")??;
        ensure!(read.as_value() == Some(value.as_bytes()), "{read:?}");
        let outcome = any.txn(Txn::new().if_equal("k", value.clone()).then(Operation::get("k"))).await?;
        ensure!(outcome.succeeded, "{outcome:?}");
        let updated = any.update("k", |before| before.map(|before| [before, "x".into()].concat().into())).await?;
        ensure!(updated.as_deref() == Some(format!("{value}x").as_bytes()), "{updated:?}");
    }

    let primary = cluster.primary(1, PATIENCE).await?;
    let mut kv = kv(&cluster, primary).await?;
    let options = get_on_replica("k", 0).options;
    let set = v1::SetRequest { key: "k".into(), value: "v".into(), options: options.clone(), ..Default::default() };
    let args = ["DEL", "k"].map(Into::into).to_vec();
    let execute = v1::ExecuteRequest { args, options: options.clone(), ..Default::default() };
    let compare = v1::Compare { key: "k".into(), field: None, condition: Some(v1::compare::Condition::Exists(true)) };
    let txn = v1::TxnRequest { compares: vec![compare], options, ..Default::default() };
    let late = v1::CallOptions { max_staleness_ms: 5, ..Default::default() };
    let late = v1::GetRequest { options: Some(late), ..get_on_replica("k", 0) };
    let refusals =
        [kv.set(set).await.err(), kv.execute(execute).await.err(), kv.txn(txn).await.err(), kv.get(late).await.err()];
    for refusal in refusals {
        let status = refusal.context("refused")?;
        ensure!(seen(&status) == (Code::InvalidArgument, "INVALID_REQUEST".to_owned(), false), "{status:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_hears_nothing_refuses_what_may_be_too_old() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let [replica, other] = cluster.others(primary)?[..] else { bail!("three nodes") };
    let client = builder(&cluster).az(cluster.node(replica)?.az).build()?;
    client.set("k", "old").await?;
    let mut kv = kv(&cluster, replica).await?;
    until_ok(PATIENCE, async || {
        let read = kv.get(get_on_replica("k", 2_000)).await?.into_inner();
        ensure!(read.value.as_deref() == Some(&b"old"[..]), "{read:?}");
        Ok(())
    })
    .await?;
    // Idle: nothing is written, and the replica still knows that it has everything.
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        let read = kv.get(get_on_replica("k", 2_000)).await?.into_inner();
        ensure!(read.value.as_deref() == Some(&b"old"[..]), "{read:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    cluster.pause(primary)?;
    cluster.pause(other)?;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let stale = kv.get(get_on_replica("k", 2_000)).await.err().context("it hears nobody")?;
    ensure!(seen(&stale) == (Code::Unavailable, "STALE".to_owned(), true), "{stale:?}");
    let multi = v1::GetRequest { with_ttl: true, ..get_on_replica("k", 2_000) };
    let stale = kv.get(multi).await.err().context("as a transaction, too")?;
    ensure!(seen(&stale) == (Code::Unavailable, "STALE".to_owned(), true), "{stale:?}");
    let old = kv.get(get_on_replica("k", 0)).await?.into_inner();
    ensure!(old.value.as_deref() == Some(&b"old"[..]), "{old:?}");

    let short = |consistency| {
        let deadline = Some(Duration::from_secs(3));
        client.with_options(CallSettings { consistency, deadline, ..CallSettings::default() })
    };
    let (begin, strict) = (Instant::now(), short(at_most(Duration::from_secs(1))));
    let error = strict.get("k").await.err().context("nobody can answer")?;
    println!("after {:?}: {error}", begin.elapsed());
    ensure!(matches!(error, ClientError::Unavailable { .. } | ClientError::DeadlineExceeded { .. }), "{error}");
    ensure!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let any = short(ReadConsistency::AzLocal);
    let old = any.get("k").await.context("of any age, from the own zone")?;
    ensure!(old.as_deref() == Some(&b"old"[..]), "{old:?}");

    cluster.resume(primary)?;
    cluster.resume(other)?;
    until_ok(PATIENCE, async || {
        ensure!(kv.get(get_on_replica("k", 1_000)).await?.into_inner().value.is_some());
        Ok(())
    })
    .await?;
    // There may be an election under way.
    until_ok(PATIENCE, async || {
        let read = strict.get("k").await.context("after all nodes run again")?;
        ensure!(read.as_deref() == Some(&b"old"[..]), "{read:?}");
        Ok(())
    })
    .await
}

/// What waited in the socket of a stopped replica is answered with data that are not older than it asks for, although
/// heartbeats waited there as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_does_not_take_its_data_for_new() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let replica = cluster.others(primary)?[0];
    let client = builder(&cluster).build()?;
    client.set("k", "0").await?;
    let mut kv = kv(&cluster, replica).await?;
    let (mut stale, mut current) = (0, 0);
    for round in 1..=5 {
        until_ok(PATIENCE, async || {
            kv.get(get_on_replica("k", 1_000)).await?;
            Ok(())
        })
        .await?;
        cluster.pause(replica)?;
        let value = round.to_string();
        client.set("k", value.clone()).await?;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let mut waiting = kv.clone();
        let read = tokio::spawn(async move { waiting.get(get_on_replica("k", 1_000)).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.resume(replica)?;
        match read.await? {
            Ok(response) => {
                let found = response.into_inner().value;
                ensure!(found.as_deref() == Some(value.as_bytes()), "{found:?} in round {round}");
                current += 1;
            }
            Err(status) if seen(&status).0 == Code::Unavailable => stale += 1,
            Err(status) => bail!("{status:?}"),
        }
    }
    println!("{stale} refused, {current} answered with the newest value");
    Ok(())
}
