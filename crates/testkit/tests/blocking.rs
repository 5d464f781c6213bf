//! Workers that wait in BLPOP on a real cluster, through kills of the primary: every element whose push was
//! acknowledged is delivered at most once, and none is lost, except by a pop whose outcome is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, Endpoint, Outcome};
use fastness_resp::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::value::Kind;
use fastness_wire::v1::{ExecuteRequest, Value as CallValue};
use parking_lot::Mutex;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as GrpcEndpoint};
use tonic::{Code, Request};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than the wait of one pop.
const TRY: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(20);
const WORKERS: usize = 8;
const PUSHERS: usize = 3;
const KILLS: usize = 4;
/// Each worker waits at both, in this order.
const QUEUES: [&[u8]; 2] = [b"{q}urgent", b"{q}jobs"];

/// What clients have seen.
#[derive(Default)]
struct Seen {
    pushed: BTreeSet<Vec<u8>>,
    /// The outcome of their push is unknown.
    doubtful: BTreeSet<Vec<u8>>,
    /// How often each was delivered.
    delivered: BTreeMap<Vec<u8>, u64>,
    /// Waits that ended with their time.
    empty: u64,
}

struct Run {
    endpoints: Vec<Endpoint>,
    seen: Mutex<Seen>,
    /// Pops whose outcome is unknown.
    unknown: AtomicU64,
    pushes: AtomicBool,
    pops: AtomicBool,
}

/// A client that asks one node after the other until one serves it.
struct Client {
    run: Arc<Run>,
    next: usize,
    connection: Option<Connection>,
}

impl Client {
    fn new(run: &Arc<Run>, next: usize) -> Client {
        Client { run: run.clone(), next, connection: None }
    }

    /// The reply to a command; `None`: no connection, so that nothing was sent, or a refusal.
    async fn call(&mut self, command: &[&[u8]]) -> Option<Result<Value>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.next += 1;
                let endpoint = &self.run.endpoints[self.next % self.run.endpoints.len()];
                match Connection::open(endpoint, None, TRY).await {
                    Ok(connection) => connection,
                    Err(_) => return later().await,
                }
            }
        };
        match connection.call(command).await {
            Err(error) => Some(Err(error.into())),
            Ok(reply) => match classify(&reply) {
                Outcome::Refused => later().await,
                Outcome::Unknown => Some(Err(anyhow::anyhow!("{reply:?}"))),
                Outcome::Acknowledged => {
                    self.connection = Some(connection);
                    Some(Ok(reply))
                }
            },
        }
    }
}

/// Nothing was sent: it may be tried again.
async fn later() -> Option<Result<Value>> {
    tokio::time::sleep(RETRY_AFTER).await;
    None
}

async fn push(run: Arc<Run>, number: usize) {
    let mut client = Client::new(&run, number);
    for sequence in 0.. {
        if !run.pushes.load(Ordering::Relaxed) {
            return;
        }
        let element = format!("{number}:{sequence}").into_bytes();
        // Now and then several at once, which serve several workers.
        let queue = QUEUES[usize::from(sequence % 7 > 0)];
        let second = [&*element, b"b"].concat();
        let mut command: Vec<&[u8]> = vec![b"RPUSH", queue, &element];
        if sequence % 5 == 0 {
            command.push(&second);
        }
        let reply = loop {
            if let Some(reply) = client.call(&command).await {
                break reply;
            }
            if !run.pushes.load(Ordering::Relaxed) {
                return;
            }
        };
        let mut seen = run.seen.lock();
        let elements = command[2..].iter().map(|element| element.to_vec());
        match reply {
            Ok(_) => seen.pushed.extend(elements),
            Err(_) => seen.doubtful.extend(elements),
        }
    }
}

async fn pop(run: Arc<Run>, number: usize) {
    let mut client = Client::new(&run, number);
    while run.pops.load(Ordering::Relaxed) {
        match client.call(&[b"BLPOP", QUEUES[0], QUEUES[1], b"0.5"]).await {
            None => {}
            Some(Err(_)) => {
                run.unknown.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(Value::Array(mut reply))) if reply.len() == 2 => {
                let element =
                    reply.pop().and_then(|element| element.as_bytes().map(<[u8]>::to_vec)).unwrap_or_default();
                *run.seen.lock().delivered.entry(element).or_default() += 1;
            }
            Some(Ok(_)) => run.seen.lock().empty += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_element_is_delivered_once_through_kills_of_the_primary() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.primary(1, PATIENCE).await?;
    let endpoints: Result<Vec<_>> = cluster.node_ids()?.into_iter().map(|node| cluster.front_end(node, 1)).collect();
    let run = Arc::new(Run {
        endpoints: endpoints?,
        seen: Mutex::default(),
        unknown: AtomicU64::new(0),
        pushes: AtomicBool::new(true),
        pops: AtomicBool::new(true),
    });
    let pushers: Vec<_> = (0..PUSHERS).map(|number| tokio::spawn(push(run.clone(), number))).collect();
    let workers: Vec<_> = (0..WORKERS).map(|number| tokio::spawn(pop(run.clone(), number))).collect();
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let primary = cluster.primary(1, PATIENCE).await?;
        tokio::task::block_in_place(|| cluster.kill(primary))?;
        cluster.primary_other_than(primary, 1, PATIENCE).await.with_context(|| format!("kill {kill}"))?;
        tokio::task::block_in_place(|| cluster.start_node(primary))?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    run.pushes.store(false, Ordering::Relaxed);
    for pusher in pushers {
        pusher.await?;
    }
    // The workers empty the queues.
    let mut client = Client::new(&run, 0);
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        ensure!(std::time::Instant::now() < until, "the queues are not emptied");
        if let Some(Ok(left)) = client.call(&[b"EXISTS", QUEUES[0], QUEUES[1]]).await
            && left == Value::Integer(0)
        {
            break;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    run.pops.store(false, Ordering::Relaxed);
    for worker in workers {
        worker.await?;
    }

    let (seen, unknown) = (run.seen.lock(), run.unknown.load(Ordering::Relaxed));
    let twice: Vec<_> = seen.delivered.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "delivered more than once: {twice:?}");
    let is_known = |element: &&Vec<u8>| seen.pushed.contains(*element) || seen.doubtful.contains(*element);
    let invented: Vec<_> = seen.delivered.keys().filter(|element| !is_known(element)).collect();
    ensure!(invented.is_empty(), "delivered and never pushed: {invented:?}");
    let lost = seen.pushed.iter().filter(|element| !seen.delivered.contains_key(*element)).count() as u64;
    println!(
        "{} pushed, {} in doubt, {} delivered, {lost} lost, {unknown} pops in doubt, {} waits without an element",
        seen.pushed.len(),
        seen.doubtful.len(),
        seen.delivered.len(),
        seen.empty
    );
    ensure!(lost <= unknown, "{lost} lost, and only {unknown} pops in doubt");
    ensure!(seen.delivered.len() > 100, "too few: {}", seen.delivered.len());
    Ok(())
}

async fn kv(cluster: &Cluster, node: u64) -> Result<KvServiceClient<Channel>> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = GrpcEndpoint::from_shared(format!("https://{}", cluster.node(node)?.grpc))?;
    Ok(KvServiceClient::new(endpoint.tls_config(tls)?.connect().await?))
}

fn execute(line: &str) -> ExecuteRequest {
    let args = line.split_whitespace().map(|word| word.as_bytes().to_vec().into()).collect();
    ExecuteRequest { args, ..Default::default() }
}

/// A call waits as long as its command says, and not longer than its deadline. One that has ended takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_until_its_deadline() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let node = cluster.primary(1, PATIENCE).await?;
    let (mut kv, mut resp) = (kv(&cluster, node).await?, cluster.connect(node, 1, TRY).await?);
    let reply = kv.execute(execute("BLPOP l 0.05")).await?.into_inner().reply;
    ensure!(matches!(reply, Some(CallValue { kind: Some(Kind::Null(_)) })), "{reply:?}");
    for _ in 0..3 {
        let mut request = Request::new(execute("BLPOP l 0"));
        request.set_timeout(Duration::from_millis(200));
        let status = kv.execute(request).await.err().context("there is no element")?;
        // The client's own timer is a cancellation.
        ensure!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    }
    let waiting = tokio::spawn({
        let mut kv = kv.clone();
        async move { kv.execute(execute("BLPOP l 0")).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    ensure!(resp.call(&[b"RPUSH", b"l", b"a", b"b"]).await? == Value::Integer(2));
    let reply = waiting.await??.into_inner().reply;
    ensure!(matches!(reply, Some(CallValue { kind: Some(Kind::Array(_)) })), "{reply:?}");
    ensure!(resp.call(&[b"LRANGE", b"l", b"0", b"-1"]).await? == Value::Array(vec![Value::Bulk(b"b".to_vec())]));
    Ok(())
}
