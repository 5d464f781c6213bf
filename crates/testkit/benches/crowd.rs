//! What a crowd of connections costs a node and its other clients: thousands that are idle, over RESP, RESP over TLS
//! and gRPC, and a thousand that request large values and never read a reply.
//!
//! `make bench-crowd`, with `ARGS='--help'`. A few well-behaved clients measure their latency all the time: while
//! nothing else happens, while the idle connections are opened, beside them, beside the readers, and after them. The
//! latencies are printed, and depend on what else the machine runs: compare the phases of one run.
//!
//! The verdict is about memory and service alone (exit status 1):
//! - the primary's resident size stays within what it had before, five quarters of `maxmemory` (fragmentation of the
//!   allocator), `grpc-memory`, and [`OVERHEAD`];
//! - no idle connection is closed or left without an answer;
//! - the well-behaved clients are answered: what they read is right, and a write is refused by `maxmemory` alone;
//! - once the readers are closed, what was kept for them is free again, and writes are accepted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use fastness_load::connection::encode;
use fastness_load::{Connection, Endpoint, IoError, Tls};
use fastness_testkit::bench::machine;
use fastness_testkit::chaos::adversary::OVERHEAD;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::{call_text, expect_reply, info_field};
use fastness_testkit::wait::until_ok;
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

const PATIENCE: Duration = Duration::from_secs(120);
const TIMEOUT: Duration = Duration::from_secs(60);
/// Request interval of the clients that measure.
const REQUEST_EVERY: Duration = Duration::from_millis(2);
/// How often the resident size is read.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Idle connections over gRPC: of the 384 that the port takes from clients by default, with room for the others.
const GRPC_IDLE: usize = 360;
/// Idle connections that are opened at a time.
const OPENED_AT_ONCE: usize = 64;
/// Of the readers, one in ten is a stream over gRPC; so many streams share a connection.
const STREAMS_PER_CONNECTION: usize = 10;
/// The value that is requested and never read, bytes, and how often each reader requests it.
const VALUE_BYTES: usize = 1 << 20;
const REQUESTS: usize = 64;
/// `grpc-memory` by default, bytes.
const GRPC_MEMORY: u64 = 512 << 20;
/// What may be kept for connections once the readers are closed, bytes, beside what was kept for the idle ones before.
const KEPT_MAX: u64 = 16 << 20;

/// Measures what a crowd costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Idle connections: 360 over gRPC, half of the others over TLS.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Clients that never read.
    #[arg(long, default_value_t = 1_000)]
    readers: usize,
    /// Length of each phase, seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// `maxmemory` of each replica, bytes.
    #[arg(long, default_value_t = 1 << 30)]
    maxmemory: u64,
    /// `maxmemory-clients` of each replica.
    #[arg(long, default_value = "25%")]
    maxmemory_clients: String,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The phases of a run, in their order.
const PHASES: [&str; 5] =
    ["nothing else", "the idle are opened", "beside the idle", "beside the readers", "after the readers"];

/// What the well-behaved clients have seen.
#[derive(Debug, Default)]
struct Seen {
    /// By client and phase.
    took: BTreeMap<(&'static str, usize), Vec<Duration>>,
    /// Writes that `maxmemory` refused, by phase.
    refused: BTreeMap<usize, usize>,
    /// Largest resident size of the primary by phase, bytes.
    resident: BTreeMap<usize, u64>,
    wrong: Vec<String>,
}

/// What all tasks of a run share.
struct Run {
    front_end: Endpoint,
    tls_front_end: Endpoint,
    tls: Tls,
    grpc: tonic::transport::Endpoint,
    pid: i32,
    phase: AtomicUsize,
    stop: AtomicBool,
    readers_stop: AtomicBool,
    /// Readers that were closed and came back.
    reopened: AtomicU64,
    seen: Mutex<Seen>,
}

fn resident_bytes(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn get(key: &'static str) -> v1::GetRequest {
    v1::GetRequest { key: key.into(), ..Default::default() }
}

impl Run {
    async fn kv(&self) -> Result<KvServiceClient<Channel>> {
        Ok(KvServiceClient::new(self.grpc.connect().await?))
    }

    /// Notes one request of a well-behaved client. A wrong reply is remembered, up to a few.
    fn note(&self, client: &'static str, took: Duration, reply: Result<(), String>) {
        let phase = self.phase.load(Ordering::Relaxed);
        let mut seen = self.seen.lock();
        seen.took.entry((client, phase)).or_default().push(took);
        match reply {
            Ok(()) => {}
            Err(text) if text.starts_with("-OOM ") => *seen.refused.entry(phase).or_default() += 1,
            Err(text) if seen.wrong.len() < 10 => seen.wrong.push(format!("{client}, {}: {text}", PHASES[phase])),
            Err(_) => {}
        }
    }

    async fn measure_resp(self: Arc<Self>, name: &'static str, request: &[&str], expected: &str) -> Result<()> {
        let mut client = Connection::open(&self.front_end, None, TIMEOUT).await?;
        while !self.stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            let reply = call_text(&mut client, request).await?;
            let took = sent.elapsed();
            self.note(name, took, if reply == expected { Ok(()) } else { Err(reply) });
            tokio::time::sleep(REQUEST_EVERY.saturating_sub(took)).await;
        }
        Ok(())
    }

    async fn measure_grpc(self: Arc<Self>, name: &'static str, expected: &str) -> Result<()> {
        let mut kv = self.kv().await?;
        while !self.stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            let reply = kv.get(get("small")).await;
            let took = sent.elapsed();
            let reply = match reply.map(|response| response.into_inner().value) {
                Ok(Some(value)) if value == expected.as_bytes() => Ok(()),
                other => Err(format!("{other:?}")),
            };
            self.note(name, took, reply);
            tokio::time::sleep(REQUEST_EVERY.saturating_sub(took)).await;
        }
        Ok(())
    }

    async fn watch_memory(self: Arc<Self>) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let (resident, phase) = (resident_bytes(self.pid)?, self.phase.load(Ordering::Relaxed));
            self.seen
                .lock()
                .resident
                .entry(phase)
                .and_modify(|largest| *largest = resident.max(*largest))
                .or_insert(resident);
            tokio::time::sleep(SAMPLE_EVERY).await;
        }
        Ok(())
    }

    /// A reader over RESP: requests and never reads. If it is closed it comes back.
    async fn read_nothing(self: Arc<Self>, over_tls: bool) -> Result<()> {
        let mut requests = Vec::new();
        (0..REQUESTS).for_each(|_| encode(&[b"GET", b"big"], &mut requests));
        let (front_end, tls) = match over_tls {
            true => (&self.tls_front_end, Some(&self.tls)),
            false => (&self.front_end, None),
        };
        while !self.readers_stop.load(Ordering::Relaxed) {
            let Ok(mut client) = Connection::open(front_end, tls, TIMEOUT).await else { continue };
            let mut sent = client.send_raw(&requests).await;
            while sent.is_ok() && !self.readers_stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                sent = match client.send_raw(b"PING\r\n").await {
                    // Nobody takes it, and the connection is open.
                    Err(IoError::TimedOut(_)) => Ok(()),
                    sent => sent,
                };
            }
            self.reopened.fetch_add(u64::from(sent.is_err()), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same as streams over one connection.
    async fn read_nothing_over_grpc(self: Arc<Self>, streams: usize) -> Result<()> {
        while !self.readers_stop.load(Ordering::Relaxed) {
            let Ok(kv) = self.kv().await else { continue };
            let mut open = Vec::new();
            for _ in 0..streams {
                let (to, requests) = tokio::sync::mpsc::channel(REQUESTS);
                for _ in 0..REQUESTS {
                    to.send(v1::PipelineRequest { operation: Some(Operation::Get(get("big"))) }).await?;
                }
                let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
                let Ok(responses) = kv.clone().pipeline(requests).await else { break };
                open.push((to, responses));
            }
            // A stream that has ended takes no more requests.
            while open.iter().any(|(to, _)| !to.is_closed()) && !self.readers_stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            self.reopened.fetch_add(open.iter().filter(|(to, _)| to.is_closed()).count() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn phase(&self, phase: usize, length: Duration) {
        self.phase.store(phase, Ordering::Relaxed);
        tokio::time::sleep(length).await;
    }
}

/// The idle connections.
#[derive(Default)]
struct Idle {
    resp: Vec<Connection>,
    grpc: Vec<KvServiceClient<Channel>>,
}

impl Idle {
    /// Opens them, a few at a time. Each sends one request, as clients do when they connect.
    async fn open(run: &Arc<Run>, count: usize) -> Result<Idle> {
        let mut idle = Idle::default();
        let mut grpc = JoinSet::new();
        for _ in 0..GRPC_IDLE.min(count) {
            let run = run.clone();
            grpc.spawn(async move {
                let mut kv = run.kv().await?;
                kv.get(get("small")).await?;
                anyhow::Ok(kv)
            });
            while grpc.len() >= OPENED_AT_ONCE {
                idle.grpc.push(grpc.join_next().await.context("a task")???);
            }
        }
        while let Some(opened) = grpc.join_next().await {
            idle.grpc.push(opened??);
        }
        let mut resp = JoinSet::new();
        for i in 0..count.saturating_sub(GRPC_IDLE) {
            let run = run.clone();
            resp.spawn(async move {
                let mut client = match i % 2 {
                    0 => Connection::open(&run.front_end, None, TIMEOUT).await?,
                    _ => Connection::open(&run.tls_front_end, Some(&run.tls), TIMEOUT).await?,
                };
                expect_reply(&mut client, &["CLIENT", "SETNAME", "idle"], "OK").await?;
                anyhow::Ok(client)
            });
            while resp.len() >= OPENED_AT_ONCE {
                idle.resp.push(resp.join_next().await.context("a task")???);
            }
        }
        while let Some(opened) = resp.join_next().await {
            idle.resp.push(opened??);
        }
        Ok(idle)
    }

    /// Every one of them is still served.
    async fn check(&mut self) -> Result<()> {
        for client in &mut self.resp {
            expect_reply(client, &["PING"], "PONG").await.context("an idle connection")?;
        }
        for kv in &mut self.grpc {
            kv.get(get("small")).await.context("an idle connection over gRPC")?;
        }
        Ok(())
    }
}

async fn prepare(cluster: &Cluster, arguments: &Arguments) -> Result<(Arc<Run>, Connection)> {
    let primary = cluster.primary(1, PATIENCE).await?;
    let node = cluster.node(primary)?;
    let mut operator = cluster.connect(primary, 1, TIMEOUT).await?;
    for id in cluster.node_ids()? {
        let mut client = cluster.connect(id, 1, TIMEOUT).await?;
        // Each call over gRPC runs on a connection of its own to the replica.
        let clients = arguments.idle + arguments.readers + 2_000;
        for (name, value) in [
            ("maxclients", clients.to_string()),
            ("maxmemory", arguments.maxmemory.to_string()),
            ("maxmemory-clients", arguments.maxmemory_clients.clone()),
        ] {
            expect_reply(&mut client, &["CONFIG", "SET", name, &value], "OK").await?;
        }
    }
    expect_reply(&mut operator, &["SET", "big", &"x".repeat(VALUE_BYTES)], "OK").await?;
    expect_reply(&mut operator, &["SET", "small", "value"], "OK").await?;
    let ca = Certificate::from_pem(std::fs::read(cluster.dir().join("ca.crt"))?);
    let grpc = tonic::transport::Endpoint::from_shared(format!("https://{}", node.grpc))?;
    let resp = node.resp.first().context("a replica")?;
    let run = Run {
        front_end: cluster.front_end(primary, 1)?,
        tls_front_end: Endpoint::new(&resp.host, resp.tls_port),
        tls: cluster.tls()?,
        grpc: grpc.tls_config(ClientTlsConfig::new().ca_certificate(ca))?,
        pid: node.pid.context("the primary does not run")?,
        phase: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        readers_stop: AtomicBool::new(false),
        reopened: AtomicU64::new(0),
        seen: Mutex::default(),
    };
    Ok((Arc::new(run), operator))
}

fn start_readers(run: &Arc<Run>, count: usize) -> JoinSet<Result<()>> {
    let mut readers = JoinSet::new();
    let streams = count / 10;
    for _ in 0..streams / STREAMS_PER_CONNECTION {
        readers.spawn(run.clone().read_nothing_over_grpc(STREAMS_PER_CONNECTION));
    }
    for i in 0..count - streams {
        readers.spawn(run.clone().read_nothing(i % 2 == 0));
    }
    readers
}

/// Runs the phases; returns the primary's resident size before, bytes.
async fn run_phases(run: &Arc<Run>, operator: &mut Connection, arguments: &Arguments) -> Result<u64> {
    let length = Duration::from_secs(arguments.seconds);
    let before = resident_bytes(run.pid)?;
    let mut clients = JoinSet::new();
    clients.spawn(run.clone().measure_resp("GET", &["GET", "small"], "value"));
    clients.spawn(run.clone().measure_resp("SET", &["SET", "written", "value"], "OK"));
    clients.spawn(run.clone().measure_grpc("gRPC Get", "value"));
    clients.spawn(run.clone().watch_memory());
    run.phase(0, length).await;
    run.phase.store(1, Ordering::Relaxed);
    let began = Instant::now();
    let mut idle = Idle::open(run, arguments.idle).await.context("the idle connections")?;
    let (resp, grpc) = (idle.resp.len(), idle.grpc.len());
    println!(
        "{resp} connections over RESP and {grpc} over gRPC were opened in {:.1} s.",
        began.elapsed().as_secs_f64()
    );
    run.phase(2, length).await;
    let kept = info_field(operator, "memory", "mem_clients_normal").await?;
    let mut readers = start_readers(run, arguments.readers);
    run.phase(3, length).await;
    let held = info_field(operator, "memory", "mem_clients_normal").await?;
    println!("Kept for connections: {} MB beside the idle, {} MB beside the readers.", kept >> 20, held >> 20);
    run.readers_stop.store(true, Ordering::Relaxed);
    readers.shutdown().await;
    until_ok(PATIENCE, async || {
        let held = info_field(operator, "memory", "mem_clients_normal").await?;
        ensure!(held < kept + KEPT_MAX, "{held} bytes are still kept for closed connections");
        expect_reply(operator, &["SET", "written", "value"], "OK").await
    })
    .await?;
    run.phase(4, length).await;
    idle.check().await?;
    run.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(before)
}

/// Prints a row for each phase, with each client's p50 and p99 and their ratio to those of the first phase.
fn print(seen: &mut Seen) {
    println!();
    println!(
        "| phase | GET: p50, p99, ms | SET: p50, p99, ms | gRPC Get: p50, p99, ms | writes refused | resident, MB |"
    );
    println!("|---|---|---|---|---|---|");
    seen.took.values_mut().for_each(|took| took.sort_unstable());
    let at = |client, phase, percent: usize| {
        let took = seen.took.get(&(client, phase)).map_or(&[][..], Vec::as_slice);
        took.get(took.len() * percent / 100).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    for (phase, name) in PHASES.iter().enumerate() {
        let cells = ["GET", "SET", "gRPC Get"].map(|client| {
            let [p50, p99] = [50, 99].map(|percent| (at(client, phase, percent), at(client, 0, percent)));
            format!("{:.2} ({:.1}x), {:.1} ({:.1}x)", p50.0, p50.0 / p50.1, p99.0, p99.0 / p99.1)
        });
        let refused = seen.refused.get(&phase).copied().unwrap_or_default();
        let resident = seen.resident.get(&phase).copied().unwrap_or_default() >> 20;
        println!("| {name} | {} | {refused} | {resident} |", cells.join(" | "));
    }
    println!();
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, maximum: own.maximum })?;
    let wanted = (arguments.idle + arguments.readers + 200) as u64;
    if own.maximum.is_some_and(|maximum| maximum < wanted) {
        bail!("this process may open {:?} files and needs {wanted}: raise the limit (ulimit -Hn)", own.maximum);
    }
    println!("machine: {}", machine::describe()?);
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let (run, mut operator) = prepare(&cluster, &arguments).await?;
    let before = run_phases(&run, &mut operator, &arguments).await?;
    let mut seen = run.seen.lock();
    print(&mut seen);
    let bound = before + arguments.maxmemory + arguments.maxmemory / 4 + GRPC_MEMORY + OVERHEAD;
    let largest = seen.resident.values().copied().max().unwrap_or_default();
    let reopened = run.reopened.load(Ordering::Relaxed);
    println!("Resident: {} MB before, at most {} MB, of {} MB.", before >> 20, largest >> 20, bound >> 20);
    println!("Readers were closed and came back {reopened} times.");
    ensure!(largest <= bound, "the primary has taken more memory than it may");
    ensure!(seen.wrong.is_empty(), "well-behaved clients were not answered:\n{}", seen.wrong.join("\n"));
    println!("verdict: memory within its bound, and everybody else was served");
    Ok(())
}
