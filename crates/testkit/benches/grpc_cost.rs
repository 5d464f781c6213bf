//! What a call over gRPC costs beside the same command over the protocol: operations per second, and processor time of
//! the node per operation. One node, so that nothing but the front ends differs; both in turns, on the same connections
//! all the time. Prints medians.
//!
//! `make bench-grpc`, with `ARGS='[SECONDS [ROUNDS]]'`. Measure while nothing else runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastness_load::Connection;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const CLIENTS: usize = 50;
const PIPELINE: usize = 16;
const VALUE_BYTES: usize = 100;
const KEYS: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(20);

type Kv = KvServiceClient<Channel>;

/// What one client does, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Get,
    Set,
    PipelinedGet,
    PipelinedSet,
}

const WORKS: [Work; 4] = [Work::Get, Work::Set, Work::PipelinedGet, Work::PipelinedSet];

fn key(i: usize) -> Vec<u8> {
    format!("key:{:08}", i % KEYS).into_bytes()
}

/// Does it over the protocol until `until`; returns how many operations that were.
async fn over_resp(client: &mut Connection, work: Work, start: usize, until: Instant) -> Result<usize> {
    let value = [b'v'; VALUE_BYTES];
    let (mut done, mut buffer) = (0, Vec::new());
    let per_turn = if matches!(work, Work::PipelinedGet | Work::PipelinedSet) { PIPELINE } else { 1 };
    while Instant::now() < until {
        buffer.clear();
        for i in 0..per_turn {
            let key = key(start + done + i);
            match work {
                Work::Get | Work::PipelinedGet => fastness_load::connection::encode(&[b"GET", &key], &mut buffer),
                Work::Set | Work::PipelinedSet => {
                    fastness_load::connection::encode(&[b"SET", &key, &value], &mut buffer)
                }
            }
        }
        client.send_raw(&buffer).await?;
        for _ in 0..per_turn {
            client.receive().await?;
        }
        done += per_turn;
    }
    Ok(done)
}

fn get(i: usize) -> v1::GetRequest {
    v1::GetRequest { key: key(i).into(), ..Default::default() }
}

fn set(i: usize) -> v1::SetRequest {
    v1::SetRequest { key: key(i).into(), value: vec![b'v'; VALUE_BYTES].into(), ..Default::default() }
}

/// The same over gRPC; pipelined operations on one stream, as many ahead.
async fn over_grpc(kv: &mut Kv, work: Work, start: usize, until: Instant) -> Result<usize> {
    let mut done = 0;
    let operation = |i| match work {
        Work::PipelinedGet => Operation::Get(get(i)),
        _ => Operation::Set(set(i)),
    };
    match work {
        Work::Get => {
            while Instant::now() < until {
                kv.get(get(start + done)).await?;
                done += 1;
            }
        }
        Work::Set => {
            while Instant::now() < until {
                kv.set(set(start + done)).await?;
                done += 1;
            }
        }
        Work::PipelinedGet | Work::PipelinedSet => {
            let (to, requests) = tokio::sync::mpsc::channel(PIPELINE);
            let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
            let mut responses = kv.pipeline(requests).await?.into_inner();
            while Instant::now() < until {
                for i in 0..PIPELINE {
                    to.send(v1::PipelineRequest { operation: Some(operation(start + done + i)) }).await?;
                }
                for _ in 0..PIPELINE {
                    responses.message().await?.context("the stream has ended")?;
                }
                done += PIPELINE;
            }
        }
    }
    Ok(done)
}

/// Processor time of a process so far.
fn cpu(pid: i32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a name")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Operations per second, and processor time per operation in microseconds.
type Figures = (f64, f64);

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn measure(pid: i32, span: Duration, clients: Vec<tokio::task::JoinHandle<Result<usize>>>) -> Result<Figures> {
    let (before, began) = (cpu(pid)?, Instant::now());
    let mut done = 0;
    for client in clients {
        done += client.await??;
    }
    let used = cpu(pid)?.saturating_sub(before);
    let spent = began.elapsed().max(span);
    Ok((done as f64 / spent.as_secs_f64(), used.as_secs_f64() * 1e6 / done as f64))
}

async fn run(span: Duration, rounds: usize) -> Result<()> {
    let options = ClusterOptions { azs: vec!["a"], replicas: 0, durability: "disabled", ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    cluster.primary(1, TIMEOUT).await?;
    let pid = cluster.pid(1)?.as_raw_nonzero().get();
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.node(1)?.grpc))?;
    let endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)))?;
    let mut figures: BTreeMap<(Work, &str), Vec<Figures>> = BTreeMap::new();
    for _ in 0..rounds {
        for work in WORKS {
            for way in ["RESP", "RESP over TLS", "gRPC"] {
                let mut clients = Vec::new();
                let until = Instant::now() + span;
                for i in 0..CLIENTS {
                    let start = i * KEYS / CLIENTS;
                    clients.push(match way {
                        "gRPC" => {
                            let mut kv = KvServiceClient::new(endpoint.connect().await?);
                            tokio::spawn(async move { over_grpc(&mut kv, work, start, until).await })
                        }
                        "RESP" => {
                            let mut client = cluster.connect(1, 1, TIMEOUT).await?;
                            tokio::spawn(async move { over_resp(&mut client, work, start, until).await })
                        }
                        _ => {
                            let mut client = cluster.connect_tls(1, 1, TIMEOUT).await?;
                            tokio::spawn(async move { over_resp(&mut client, work, start, until).await })
                        }
                    });
                }
                figures.entry((work, way)).or_default().push(measure(pid, span, clients).await?);
            }
        }
    }
    println!("| {CLIENTS} clients | | operations per second | CPU of the node per operation, us |\n|---|---|---|---|");
    for ((work, way), all) in figures {
        let (mut rates, mut costs): (Vec<f64>, Vec<f64>) = all.into_iter().unzip();
        println!("| {work:?} | {way} | {:.0} | {:.1} |", median(&mut rates), median(&mut costs));
    }
    Ok(())
}

fn main() -> Result<()> {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (seconds, rounds) = (numbers.first().copied().unwrap_or(3), numbers.get(1).copied().unwrap_or(5));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(Duration::from_secs(seconds), rounds as usize))
}
