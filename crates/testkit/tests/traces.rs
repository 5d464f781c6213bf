//! OpenTelemetry traces: what a collector receives of sampled writes, and that one which never answers disturbs
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::page;
use fastness_testkit::reply_text::expect_reply;
use fastness_testkit::wait::until_ok;
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Server};
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
/// The client's span, and its trace.
const PARENT: &str = "00-0123456789abcdef0123456789abcdef-00f067aa0ba902b7-01";
const TRACE_ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
const CLIENT_SPAN: u64 = 0x00f0_67aa_0ba9_02b7;
/// Must not be in a trace.
const SECRETS: [&str; 2] = ["canary-key", "canary-value"];

/// A collector that keeps everything.
#[derive(Debug, Clone, Default)]
struct Collector {
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    /// Received before.
    seen: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.received.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves it; returns it with its URL.
    async fn start() -> Result<(Collector, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let collector = Collector::default();
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(
            async move { Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener)).await },
        );
        Ok((collector, url))
    }

    /// Waits for the trace of the client, and forgets it. There must be no other one.
    async fn take_only_trace(&self) -> Result<Vec<Span>> {
        let traces = until_ok(PATIENCE, async || Some(self.traces()).filter(|all| !all.is_empty()).context("no trace"));
        let mut traces = traces.await?;
        self.seen.lock().append(&mut self.received.lock());
        ensure!(traces.len() == 1, "{traces:#?}");
        traces.remove(&TRACE_ID).with_context(|| format!("another trace: {traces:#?}"))
    }

    /// The spans of each trace.
    fn traces(&self) -> BTreeMap<u128, Vec<Span>> {
        let mut traces: BTreeMap<u128, Vec<Span>> = BTreeMap::new();
        let received = self.received.lock().clone();
        let scopes = received.into_iter().flat_map(|request| request.resource_spans).flat_map(|one| one.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let id: [u8; 16] = span.trace_id.as_slice().try_into().expect("16 bytes");
            traces.entry(u128::from_be_bytes(id)).or_default().push(span);
        }
        traces
    }
}

fn id(bytes: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(bytes.try_into().context("8 bytes")?))
}

/// The only span of this name.
fn one<'a>(spans: &'a [Span], name: &str) -> Result<&'a Span> {
    let mut named = spans.iter().filter(|span| span.name == name);
    let span = named.next().with_context(|| format!("no span {name} in {spans:#?}"))?;
    ensure!(named.next().is_none(), "two spans {name}");
    Ok(span)
}

/// Checks the tree and the times of a sampled SET on a cluster of three nodes in `sync`.
fn check_set(spans: &[Span]) -> Result<()> {
    let root = one(spans, "SET")?;
    ensure!(id(&root.parent_span_id)? == CLIENT_SPAN, "{root:#?}");
    let mut at = root.start_time_unix_nano;
    // Each starts where the one before it has ended.
    for name in ["queue", "execute", "batch", "commit", "reply"] {
        let span = one(spans, name)?;
        ensure!(span.parent_span_id == root.span_id, "{name} is no child of SET: {spans:#?}");
        ensure!(span.start_time_unix_nano == at, "{name} does not start at {at}: {spans:#?}");
        ensure!(span.end_time_unix_nano >= at, "{name} ends before it starts: {spans:#?}");
        at = span.end_time_unix_nano;
    }
    ensure!(root.end_time_unix_nano == at, "SET does not end with its reply: {spans:#?}");
    let commit = one(spans, "commit")?;
    let below: Vec<_> = spans.iter().filter(|span| span.parent_span_id == commit.span_id).collect();
    let named = |name: &str| below.iter().filter(|span| span.name == name).count();
    ensure!((named("log append"), named("replicate"), below.len()) == (1, 2, 3), "{spans:#?}");
    ensure!(below.iter().all(|span| span.start_time_unix_nano == commit.start_time_unix_nano), "{spans:#?}");
    // A commit needs a second node, and learns of it before it commits. The rounding of the two clocks is allowed for.
    let first = below.iter().map(|span| span.end_time_unix_nano).min().unwrap_or_default();
    ensure!(first <= commit.end_time_unix_nano + 50_000_000, "{spans:#?}");
    let shown = format!("{root:?}");
    for attribute in ["fastness.shard", "fastness.slot", "fastness.log.index", "fastness.request.bytes"] {
        ensure!(shown.contains(attribute), "no {attribute}: {root:#?}");
    }
    Ok(())
}

/// Sends a command with the client's span before it, as an attribute.
async fn set_traced(client: &mut Connection, value: &str) -> Result<()> {
    let attribute = format!("|1\r\n$11\r\ntraceparent\r\n${}\r\n{PARENT}\r\n", PARENT.len());
    let command = format!("*3\r\n$3\r\nSET\r\n$10\r\ncanary-key\r\n${}\r\n{value}\r\n", value.len());
    client.send_raw(format!("{attribute}{command}").as_bytes()).await?;
    let reply = client.receive().await?;
    ensure!(reply == fastness_resp::Value::Simple(b"OK".to_vec()), "{reply:?}");
    Ok(())
}

async fn set_traced_over_grpc(cluster: &Cluster, node: u64) -> Result<()> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.node(node)?.grpc))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let mut kv = KvServiceClient::new(endpoint.tls_config(tls)?.connect().await?);
    let set = v1::SetRequest { key: "canary-key".into(), value: "canary-value".into(), ..Default::default() };
    let mut request = Request::new(set);
    request.metadata_mut().insert("traceparent", PARENT.parse()?);
    kv.set(request).await?;
    Ok(())
}

fn options(url: &str, sample: &str) -> ClusterOptions {
    let node_options = vec![("otlp-endpoint", url.to_owned()), ("trace-sample", sample.to_owned())];
    ClusterOptions { node_options, ..ClusterOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_the_spans_of_sampled_writes() -> Result<()> {
    let (collector, url) = Collector::start().await?;
    let mut cluster = Cluster::start(&options(&url, "0"))?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    // Neither reads nor writes that nobody traces.
    for _ in 0..20 {
        expect_reply(&mut client, &["SET", "canary-key", "canary-value"], "OK").await?;
        expect_reply(&mut client, &["GET", "canary-key"], "canary-value").await?;
    }
    // Repeated, because an acknowledgement that takes a second is missing.
    until_ok(PATIENCE, async || {
        set_traced(&mut client, "canary-value").await?;
        check_set(&collector.take_only_trace().await?)
    })
    .await?;
    until_ok(PATIENCE, async || {
        set_traced_over_grpc(&cluster, primary).await?;
        check_set(&collector.take_only_trace().await?)
    })
    .await?;
    // Sampled by chance, each in a trace of its own without a parent.
    expect_reply(&mut client, &["CONFIG", "SET", "trace-sample", "1"], "OK").await?;
    for _ in 0..5 {
        expect_reply(&mut client, &["SET", "canary-key", "canary-value"], "OK").await?;
    }
    until_ok(PATIENCE, async || {
        let traces = collector.traces();
        let roots = traces.values().map(|spans| one(spans, "SET")).collect::<Result<Vec<_>>>()?;
        ensure!(roots.len() == 5 && roots.iter().all(|root| root.parent_span_id.is_empty()), "{traces:#?}");
        Ok(())
    })
    .await?;
    let all = format!("{:?}{:?}", collector.seen.lock(), collector.received.lock());
    for secret in SECRETS {
        ensure!(!all.contains(secret), "{secret} is in a trace");
    }
    cluster.discard_files();
    Ok(())
}

/// The value of a metric, its samples summed.
async fn metric(cluster: &Cluster, node: u64, name: &str) -> Result<u64> {
    let text = page(&cluster.node(node)?.metrics, "/metrics").await?;
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
    Ok(values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_disturbs_nothing() -> Result<()> {
    // Connections are accepted by the system, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let mut cluster = Cluster::start(&options(&format!("http://{}", silent.local_addr()?), "1"))?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    until_ok(PATIENCE, async || {
        for _ in 0..200 {
            expect_reply(&mut client, &["SET", "k", "v"], "OK").await?;
        }
        let dropped = metric(&cluster, primary, "fastness_traces_dropped_total").await?;
        ensure!(dropped > 0, "nothing was dropped");
        Ok(())
    })
    .await?;
    ensure!(metric(&cluster, primary, "fastness_traces_exported_total").await? == 0, "something was exported");
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_nothing_is_traced() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions {
        azs: vec!["a"],
        replicas: 0,
        durability: "disabled",
        node_options: vec![("trace-sample", "1".to_owned())],
        ..ClusterOptions::default()
    })?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut client = cluster.connect(primary, 1, TIMEOUT).await?;
    set_traced(&mut client, "canary-value").await?;
    for name in ["fastness_traces_exported_total", "fastness_traces_dropped_total"] {
        ensure!(metric(&cluster, primary, name).await? == 0, "{name} is not 0");
    }
    cluster.discard_files();
    Ok(())
}
