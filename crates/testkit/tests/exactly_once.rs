//! Idempotency keys on real clusters: whatever happens to the primary, a write that is sent until it is answered takes
//! effect once, over the protocol, over gRPC and through the SDK, on the same keys.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fastness_load::Access;
use fastness_resp::{Protocol, Value, request};
use fastness_testkit::clients::GrpcApi;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::counting::{self, CountingOptions, RunningCounters};
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation as Request;
use fastness_wire::v1::{self, compare};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const TRY: Duration = Duration::from_secs(2);

type Kv = KvServiceClient<Channel>;

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

async fn kv(cluster: &Cluster, node: u64) -> Result<Kv> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("https://{}", cluster.node(node)?.grpc))?;
    Ok(KvServiceClient::new(endpoint.tls_config(tls)?.connect_timeout(TRY).timeout(TRY).connect_lazy()))
}

fn key(client: &'static str, sequence: u64) -> Option<v1::CallOptions> {
    let idempotency_key = Some(v1::IdempotencyKey { client: client.into(), sequence });
    Some(v1::CallOptions { idempotency_key, ..v1::CallOptions::default() })
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map_or(String::new(), |info| info.reason.clone())
}

fn increment(key: &'static str, options: Option<v1::CallOptions>) -> v1::IncrementRequest {
    v1::IncrementRequest { key: key.into(), by: 1, options }
}

/// The key travels with every kind of call, and is one over gRPC and the protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_has_its_first_response() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let node = cluster.primary(1, PATIENCE).await?;
    let (mut kv, base) = (kv(&cluster, node).await?, now_us());
    for _ in 0..3 {
        ensure!(kv.increment(increment("n", key("c", base))).await?.into_inner().value == 1);
    }
    let other = v1::IncrementRequest { by: 2, ..increment("n", key("c", base)) };
    let reused = kv.increment(other).await.err().context("another write")?;
    ensure!(reason(&reused) == "IDEMPOTENCYREUSED", "{reused:?}");
    let past = kv.increment(increment("n", key("c", 0))).await.err().context("an old key")?;
    ensure!(
        reason(&past) == "IDEMPOTENCYPAST"
            && past.get_error_details().error_info().is_some_and(|info| info.metadata.contains_key("above")),
        "{past:?}"
    );
    let nameless = kv.increment(increment("n", key("", base))).await.err().context("no client")?;
    ensure!(reason(&nameless) == "INVALID_REQUEST", "{nameless:?}");

    // Over the protocol: another connection, the other version, the same user.
    let mut connection = cluster.connect(node, 1, PATIENCE).await?;
    let mut keyed = Vec::new();
    request::encode_attribute(&[("idempotency-key", &*format!("c:{base}"))], &mut keyed);
    request::encode(&["INCRBY", "n", "1"], &mut keyed);
    connection.send_raw(&keyed).await?;
    ensure!(connection.receive().await? == Value::Integer(1), "the gateway sends the same command");
    let next = connection.call(&[b"CLIENT", b"IDEMPOTENCY", b"c", (base + 1).to_string().as_bytes()]).await?;
    ensure!(next == Value::Integer(base as i64 + 1), "{next:?}");
    ensure!(connection.call(&[b"INCR", b"n"]).await? == Value::Integer(2));
    ensure!(connection.call(&[b"CLIENT", b"IDEMPOTENCY"]).await? == Value::Integer(base as i64 + 2));
    ensure!(connection.call(&[b"CLIENT", b"IDEMPOTENCY", b"c", (base + 1).to_string().as_bytes()]).await? == next);
    ensure!(connection.call(&[b"INCR", b"n"]).await? == Value::Integer(2), "it was sent before");
    ensure!(connection.call(&[b"CLIENT", b"IDEMPOTENCY", b"OFF"]).await? == Value::Simple(b"OK".to_vec()));
    ensure!(connection.call(&[b"CLIENT", b"IDEMPOTENCY"]).await? == Value::Null);
    ensure!(connection.call(&[b"GET", b"n"]).await? == Value::Bulk(b"2".to_vec()));

    // A transaction that compares with what its own first attempt has changed, in a batch and alone.
    let compares =
        vec![v1::Compare { key: "n".into(), field: None, condition: Some(compare::Condition::Equals("2".into())) }];
    let operation = |operation| v1::PipelineRequest { operation: Some(operation) };
    let txn = v1::TxnRequest {
        compares,
        operations: vec![operation(Request::Increment(increment("n", None)))],
        otherwise: vec![operation(Request::Increment(v1::IncrementRequest { by: 100, ..increment("n", None) }))],
        options: key("c", base + 5),
    };
    let first = kv.txn(txn.clone()).await?.into_inner();
    ensure!(first.succeeded && kv.txn(txn.clone()).await?.into_inner() == first);
    let otherwise = v1::TxnRequest { options: key("c", base + 6), ..txn.clone() };
    let second = kv.txn(otherwise.clone()).await?.into_inner();
    ensure!(!second.succeeded && kv.txn(otherwise).await?.into_inner() == second);
    let reused = kv.txn(v1::TxnRequest { compares: vec![], ..txn }).await.err().context("another transaction")?;
    ensure!(reason(&reused) == "IDEMPOTENCYREUSED", "{reused:?}");
    let batch = v1::BatchRequest {
        operations: (7..9)
            .map(|number| operation(Request::Increment(increment("n", key("c", base + number)))))
            .collect(),
    };
    let first = kv.batch(batch.clone()).await?.into_inner();
    ensure!(kv.batch(batch).await?.into_inner() == first);
    ensure!(connection.call(&[b"GET", b"n"]).await? == Value::Bulk(b"105".to_vec()));
    Ok(())
}

/// One fault after the other for the primary: killed and started, paused for longer than a term, its role handed over.
async fn strike(cluster: &Cluster, round: usize) -> Result<()> {
    let primary = cluster.primary(1, PATIENCE).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let blocking = |strike: &dyn Fn() -> Result<()>| tokio::task::block_in_place(strike);
    match round % 3 {
        0 => {
            blocking(&|| cluster.kill(primary))?;
            cluster.primary_other_than(primary, 1, PATIENCE).await?;
            blocking(&|| cluster.start_node(primary))
        }
        1 => {
            blocking(&|| cluster.pause(primary))?;
            cluster.primary_other_than(primary, 1, PATIENCE).await?;
            blocking(&|| cluster.resume(primary))
        }
        _ => blocking(&|| cluster.hand_over(1)),
    }
}

async fn start_counting(cluster: &Cluster) -> Result<RunningCounters> {
    let access = Access { seeds: cluster.listeners()?, tls: None, protocol: Protocol::Resp3, timeout: TRY };
    let options = CountingOptions::new(access, Arc::new(GrpcApi::of(cluster)?), cluster.file()?.shards);
    counting::start(options).await
}

/// Clients of all kinds add to the same counters, with keys and without, and watches see each increment once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_exact_after_every_fault_of_the_primary() -> Result<()> {
    const ROUNDS: usize = 6;
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.primary(1, PATIENCE).await?;
    let counting = start_counting(&cluster).await?;
    let started = Instant::now();
    for round in 0..ROUNDS {
        strike(&cluster, round).await.with_context(|| format!("round {round}"))?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let verdict = counting.stop_and_check().await?;
    for (name, counts) in &verdict.by_name {
        println!("{name}: {counts:?}");
    }
    println!("{} counted, {ROUNDS} faults in {:?}", verdict.counted, started.elapsed());
    ensure!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    ensure!(verdict.undecided.is_empty(), "nothing is proven: {:#?}", verdict.undecided);
    ensure!(verdict.events >= 2 * verdict.counted, "each of two watches shows each increment: {verdict:?}");
    ensure!(verdict.by_name.len() == 15 && verdict.by_client.len() == 3, "{:?}", verdict.by_name);
    let unknown: u64 = verdict.by_name.values().map(|counts| counts.unknown).sum();
    ensure!(unknown > 0, "no attempt was interrupted: {:?}", verdict.by_name);
    Ok(())
}

/// Acknowledged increments that an `async` cluster loses are found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_that_are_lost_are_found() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions { durability: "async", ..ClusterOptions::default() })?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let counting = start_counting(&cluster).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Increments acknowledged from now on reach no other node, until the lease has run out.
    let others: Vec<u64> = cluster.node_ids()?.into_iter().filter(|node| *node != primary).collect();
    others.iter().try_for_each(|other| cluster.link_fault(primary, *other, "cut"))?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.kill(primary)?;
    cluster.primary_other_than(primary, 1, PATIENCE).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let verdict = counting.stop_and_check().await?;
    ensure!(verdict.lost > 0 && verdict.violations.len() as u64 == verdict.lost, "{verdict:#?}");
    Ok(())
}
