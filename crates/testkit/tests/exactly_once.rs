//! Idempotency keys on real clusters: whatever happens to the primary, a write that is sent until it is answered takes
//! effect once, over the protocol, over gRPC and through the SDK, on the same keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use fastness_client::{Client, ClientError, Operation, RetryOptions, Txn, key_slot};
use fastness_load::connection::{Connection, Endpoint};
use fastness_resp::{Value, request};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation as Request;
use fastness_wire::v1::{self, compare};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const TRY: Duration = Duration::from_secs(2);
const COUNTERS: usize = 4;

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

/// What a task has to know to count.
#[derive(Clone)]
struct Counting {
    cluster: Arc<Cluster>,
    ends: Arc<AtomicBool>,
    nodes: Vec<u64>,
}

impl Counting {
    fn goes_on(&self) -> bool {
        !self.ends.load(Ordering::Relaxed)
    }

    /// An open connection to a node, after `failures`; waits a little where it cannot be opened.
    async fn connect(&self, failures: usize) -> Option<Connection> {
        let node = self.nodes[failures % self.nodes.len()];
        let endpoint: Endpoint = self.cluster.front_end(node, 1).ok()?;
        let connection = Connection::open(&endpoint, None, TRY).await;
        if connection.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        connection.ok()
    }
}

/// The counter of this number: all tasks add to all counters.
fn counter(number: u64) -> String {
    format!("{{t}}n{}", number % COUNTERS as u64)
}

/// A client of the protocol that sends a command with an attribute until it is answered.
async fn count_by_attribute(counting: Counting) -> Result<u64> {
    let (mut connection, mut failures, mut done, base) = (None, 0, 0, now_us());
    while counting.goes_on() {
        let mut bytes = Vec::new();
        request::encode_attribute(&[("idempotency-key", &*format!("attribute:{}", base + done))], &mut bytes);
        request::encode(&["INCR", &*counter(done)], &mut bytes);
        loop {
            if connection.is_none() {
                connection = counting.connect(failures).await;
            }
            let reply = async {
                let connection = connection.as_mut()?;
                connection.send_raw(&bytes).await.ok()?;
                connection.receive().await.ok()
            };
            match reply.await {
                Some(Value::Integer(_)) => break,
                Some(Value::Error(text)) if text.starts_with(b"IDEMPOTENCY") => {
                    bail!("{}", String::from_utf8_lossy(&text))
                }
                _ => (connection, failures) = (None, failures + 1),
            }
        }
        done += 1;
    }
    Ok(done)
}

/// A client of the protocol that cannot send attributes: it says at which number its connection begins.
async fn count_by_connection(counting: Counting) -> Result<u64> {
    let (mut connection, mut failures, mut done, base) = (None, 0, 0, now_us());
    while counting.goes_on() {
        loop {
            if connection.is_none() {
                connection = counting.connect(failures).await;
                let next = (base + done).to_string();
                if let Some(opened) = &mut connection
                    && opened.call(&[b"CLIENT", b"IDEMPOTENCY", b"counter", next.as_bytes()]).await.is_err()
                {
                    connection = None;
                }
            }
            let reply = async { connection.as_mut()?.call(&[b"INCR", counter(done).as_bytes()]).await.ok() };
            match reply.await {
                Some(Value::Integer(_)) => break,
                Some(Value::Error(text)) if text.starts_with(b"IDEMPOTENCY") => {
                    bail!("{}", String::from_utf8_lossy(&text))
                }
                _ => (connection, failures) = (None, failures + 1),
            }
        }
        done += 1;
    }
    Ok(done)
}

/// A gRPC client of its own.
async fn count_by_grpc(counting: Counting) -> Result<u64> {
    let (mut failures, mut done, base) = (0, 0, now_us());
    let mut nodes = Vec::new();
    for node in &counting.nodes {
        nodes.push(kv(&counting.cluster, *node).await?);
    }
    while counting.goes_on() {
        let request = v1::IncrementRequest { key: counter(done).into(), by: 1, options: key("grpc", base + done) };
        let at = |failures: usize| failures % 3;
        while let Err(status) = nodes[at(failures)].increment(request.clone()).await {
            ensure!(!reason(&status).starts_with("IDEMPOTENCY"), "{status:?}");
            failures += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        done += 1;
    }
    Ok(done)
}

async fn count_by_sdk(counting: Counting, client: Client) -> Result<u64> {
    let mut done = 0;
    while counting.goes_on() {
        client.increment(counter(done), 1).await?;
        done += 1;
    }
    Ok(done)
}

/// Transactions that read what others change: each adds one, whichever branch it takes.
async fn count_by_txn(counting: Counting, client: Client) -> Result<u64> {
    let mut done = 0;
    while counting.goes_on() {
        let txn = Txn::new()
            .if_equal("{t}flag", "1")
            .then(Operation::increment(counter(done), 1))
            .then(Operation::set("{t}flag", "0"))
            .otherwise(Operation::increment(counter(done), 1))
            .otherwise(Operation::set("{t}flag", "1"));
        client.txn(txn).await?.into_results()?;
        done += 1;
    }
    Ok(done)
}

async fn count_by_pipeline(counting: Counting, client: Client) -> Result<u64> {
    let (mut pipeline, mut done) = (client.pipeline(), 0);
    let mut sent = 0;
    while counting.goes_on() || done < sent {
        while counting.goes_on() && sent < done + 32 {
            pipeline.try_send(Operation::increment(counter(sent), 1)).ok().context("there is room")?;
            sent += 1;
        }
        match pipeline.next().await.context("a result is due")? {
            Ok(_) => done += 1,
            // Not sent again because a later one on its slot has happened: nothing has happened.
            Err(ClientError::Unavailable { .. }) => sent -= 1,
            Err(error) => bail!("{error}"),
        }
    }
    Ok(done)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_exact_after_every_fault_of_the_primary() -> Result<()> {
    const ROUNDS: usize = 6;
    let cluster = Arc::new(Cluster::start(&ClusterOptions::default())?);
    cluster.primary(1, PATIENCE).await?;
    let counting =
        Counting { cluster: cluster.clone(), ends: Arc::new(AtomicBool::new(false)), nodes: cluster.node_ids()? };
    let retries = RetryOptions { budget: 10_000, ..RetryOptions::default() };
    let file = cluster.dir().join("cluster.json");
    let client = Client::builder().cluster_file(file).deadline(PATIENCE).retries(retries).build()?;
    ensure!(key_slot(counter(0).as_bytes()) == key_slot(counter(1).as_bytes()));
    let mut tasks: JoinSet<Result<(&str, u64)>> = JoinSet::new();
    let (one, two, three) = (client.clone(), client.clone(), client.clone());
    let of = |counting: &Counting| counting.clone();
    let (a, b, c, d, e, f) = (of(&counting), of(&counting), of(&counting), of(&counting), of(&counting), of(&counting));
    tasks.spawn(async move { Ok(("attribute", count_by_attribute(a).await?)) });
    tasks.spawn(async move { Ok(("CLIENT IDEMPOTENCY", count_by_connection(b).await?)) });
    tasks.spawn(async move { Ok(("gRPC", count_by_grpc(c).await?)) });
    tasks.spawn(async move { Ok(("SDK", count_by_sdk(d, one).await?)) });
    tasks.spawn(async move { Ok(("SDK transactions", count_by_txn(e, two).await?)) });
    tasks.spawn(async move { Ok(("SDK pipeline", count_by_pipeline(f, three).await?)) });

    let started = Instant::now();
    for round in 0..ROUNDS {
        strike(&cluster, round).await.with_context(|| format!("round {round}"))?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    counting.ends.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    while let Some(task) = tasks.join_next().await {
        let (name, count) = task??;
        println!("{name}: {count}");
        ensure!(count > 0, "{name} has counted nothing");
        acknowledged += count;
    }
    let mut counted = 0;
    for number in 0..COUNTERS {
        counted += client.increment(counter(number as u64), 0).await? as u64;
    }
    println!("{acknowledged} acknowledged, {counted} counted, {ROUNDS} faults in {:?}", started.elapsed());
    ensure!(counted == acknowledged, "{acknowledged} acknowledged, {counted} counted");
    Ok(())
}
