//! Operations that a node passes on to the one that serves them, for clients that know no shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastness_resp::Value as Reply;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::topology_service_client::TopologyServiceClient;
use futures::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);

async fn channel(cluster: &Cluster, node: u64) -> Result<Channel> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.node(node)?.grpc))?;
    Ok(endpoint.tls_config(tls)?.connect().await?)
}

async fn kv(cluster: &Cluster, node: u64) -> Result<KvServiceClient<Channel>> {
    Ok(KvServiceClient::new(channel(cluster, node).await?))
}

fn set(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> v1::SetRequest {
    v1::SetRequest { key: key.into().into(), value: value.into().into(), ..Default::default() }
}

fn get(key: impl Into<Vec<u8>>) -> v1::GetRequest {
    v1::GetRequest { key: key.into().into(), ..Default::default() }
}

fn operation(operation: Operation) -> v1::PipelineRequest {
    v1::PipelineRequest { operation: Some(operation) }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, reason: &str) -> Result<Status> {
    match outcome {
        Ok(response) => bail!("{reason} was expected: {response:?}"),
        Err(status) => {
            ensure!(seen(&status) == (code, reason.to_owned(), false), "{status:?}");
            Ok(status)
        }
    }
}

/// Code and reason of a refusal, and whether it may be tried again.
fn seen(status: &Status) -> (Code, String, bool) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), reason, details.retry_info().is_some())
}

/// A client that knows no shards sends everything to one node, as another user than the node's own, in every kind of
/// call; it is answered as if it had called the primary, and keeps its rights, its deadline and its idempotency key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_passes_on_what_it_does_not_serve() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let leader = cluster.primary(1, PATIENCE).await?;
    let other = cluster.others(leader)?[0];
    let mut admin = cluster.connect(leader, 1, PATIENCE).await?;
    let set_user: [&[u8]; 7] = [b"ACL", b"SETUSER", b"limited", b"on", b">pass", b"~open:*", b"+@all"];
    ensure!(admin.call(&set_user).await? == Reply::Simple(b"OK".to_vec()));
    let mut node = kv(&cluster, other).await?;
    let forward = || Some(v1::CallOptions { forward: true, ..v1::CallOptions::default() });
    let as_limited = |message: v1::SetRequest| {
        let mut request = Request::new(message);
        // limited:pass
        let basic = MetadataValue::from_static("Basic bGltaXRlZDpwYXNz");
        request.metadata_mut().insert("authorization", basic);
        request
    };

    let keys: Vec<String> = (0..30).map(|i| format!("open:{i}")).collect();
    let mut moved = 0;
    for key in &keys {
        let plain = node.set(set(key.as_str(), "1")).await;
        moved += usize::from(plain.as_ref().is_err_and(|status| seen(status).1 == "MOVED"));
        let passed = v1::SetRequest { options: forward(), ..set(key.as_str(), "2") };
        ensure!(node.set(as_limited(passed)).await?.into_inner().applied);
        let read = v1::GetRequest { options: forward(), ..get(key.as_str()) };
        ensure!(node.get(read).await?.into_inner().value.as_deref() == Some(&b"2"[..]));
    }
    ensure!(moved > 0, "the node is the primary of every shard");

    // Rights are those of the caller, checked where the operation runs.
    for key in ["closed:1", "closed:2", "closed:3", "closed:4", "closed:5"] {
        let passed = v1::SetRequest { options: forward(), ..set(key, "1") };
        refused(node.set(as_limited(passed)).await, Code::PermissionDenied, "NOPERM")?;
    }
    // Nobody but a node may speak for another user.
    let mut forged = Request::new(set("open:1", "3"));
    forged.metadata_mut().insert_bin("fastness-user-bin", tonic::metadata::MetadataValue::from_bytes(b"default"));
    refused(node.set(forged).await, Code::PermissionDenied, "DENIED")?;

    // In a batch, a pipeline and a transaction, in order, once for each idempotency key.
    let increment = |key: &str, sequence: u64| {
        let idempotency_key = Some(v1::IdempotencyKey { client: "forwarded".into(), sequence });
        let options = Some(v1::CallOptions { forward: true, idempotency_key, ..v1::CallOptions::default() });
        operation(Operation::Increment(v1::IncrementRequest { key: key.to_owned().into(), by: 1, options }))
    };
    let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros() as u64;
    let counters: Vec<String> = (0..6).map(|i| format!("n{i}")).collect();
    let operations: Vec<_> = (0..18).map(|i| increment(&counters[i % 6], start + i as u64)).collect();
    for _ in 0..2 {
        let responses = node.batch(v1::BatchRequest { operations: operations.clone() }).await?.into_inner().responses;
        for (i, response) in responses.iter().enumerate() {
            let expect = Outcome::Increment(v1::IncrementResponse { value: i as i64 / 6 + 1 });
            ensure!(response.outcome.as_ref() == Some(&expect), "{i}: {response:?}");
        }
        let stream = node.pipeline(futures::stream::iter(operations.clone())).await?.into_inner();
        let streamed: Vec<_> = stream.collect::<Vec<_>>().await.into_iter().collect::<Result<_, Status>>()?;
        ensure!(streamed == responses, "{streamed:?}");
    }
    for key in &counters {
        let add = Operation::Increment(v1::IncrementRequest { key: key.clone().into(), by: 10, options: None });
        let compares = vec![v1::Compare {
            key: key.clone().into(),
            field: None,
            condition: Some(v1::compare::Condition::Equals("3".into())),
        }];
        let request =
            v1::TxnRequest { compares, operations: vec![operation(add)], otherwise: vec![], options: forward() };
        ensure!(node.txn(request).await?.into_inner().succeeded, "{key}");
    }
    Ok(())
}

/// A forwarded write whose primary does not answer in time may have happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_write_that_is_not_answered_has_an_unknown_outcome() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let leader = cluster.primary(1, PATIENCE).await?;
    let mut node = kv(&cluster, cluster.others(leader)?[0]).await?;
    let options = || Some(v1::CallOptions { forward: true, ..v1::CallOptions::default() });
    ensure!(node.set(v1::SetRequest { options: options(), ..set("k", "1") }).await?.into_inner().applied);
    tokio::task::block_in_place(|| cluster.pause(leader))?;
    let mut late = Request::new(v1::SetRequest { options: options(), ..set("k", "2") });
    late.set_timeout(Duration::from_millis(150));
    let status = node.set(late).await.err().context("the primary is paused")?;
    tokio::task::block_in_place(|| cluster.resume(leader))?;
    let unknown = matches!(status.code(), Code::Unknown | Code::DeadlineExceeded | Code::Cancelled);
    ensure!(unknown, "{status:?}");
    Ok(())
}

/// Operations for a shard of which the node has no replica wait for their turn to be passed on: the node takes no more
/// of them than of those that it serves itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_passed_on_keeps_little() -> Result<()> {
    const MIB: usize = 1024 * 1024;
    let options = ClusterOptions { shards: 3, replicas: 1, ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    let mut topology = TopologyServiceClient::new(channel(&cluster, 1).await?);
    let mut stream = topology.watch_topology(v1::WatchTopologyRequest {}).await?.into_inner();
    let topology = stream.message().await?.and_then(|response| response.topology).context("no topology")?;
    let has_own = |shard: &&v1::TopologyShard| shard.members.iter().any(|member| member.node == 1);
    let shard = topology.shards.iter().find(|shard| !has_own(shard)).context("node 1 has all shards")?;
    let slots = shard.first_slot..=shard.last_slot;
    let key =
        (0..).map(|i| format!("k{i}")).find(|key| slots.contains(&fastness_client::key_slot(key.as_bytes()).into()));
    let key = key.context("no key")?;
    let primary = cluster.primary(shard.id, PATIENCE).await?;
    let mut node = kv(&cluster, 1).await?;
    let set = move || {
        let options = Some(v1::CallOptions { forward: true, ..v1::CallOptions::default() });
        operation(Operation::Set(v1::SetRequest { options, ..set(key.as_str(), vec![b'x'; MIB]) }))
    };
    let first = node.batch(v1::BatchRequest { operations: vec![set()] }).await?.into_inner();
    ensure!(matches!(first.responses[0].outcome, Some(Outcome::Set(_))), "{first:?}");

    tokio::task::block_in_place(|| cluster.pause(primary))?;
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let requests = futures::stream::iter((0..100).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        set()
    }));
    let responses = tokio::spawn(async move { node.pipeline(requests).await?.into_inner().next().await.transpose() });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let taken = taken.load(Ordering::Relaxed);
    println!("{taken} of 100 were taken");
    tokio::task::block_in_place(|| cluster.resume(primary))?;
    ensure!((1..=8).contains(&taken), "{taken} operations of 1 MiB were taken");
    let response = responses.await??.context("no response")?;
    println!("{:?}", response.outcome.map(|outcome| matches!(outcome, Outcome::Set(_))));
    Ok(())
}
