//! Clients of the gRPC port that misuse HTTP/2: each flood is answered or ends its own connection; the node's memory
//! stays bounded, and others are served meanwhile.
//!
//! Sources: CVE-2019-9512 (PING), 9515 (SETTINGS), 9518 (empty DATA), 9516 (empty header names), CVE-2023-44487 (rapid
//! reset), CVE-2024-27316 and its like (CONTINUATION), RFC 9113 sections 6.5 to 6.10 and 10.5.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many frames a flood has, if the connection takes them all.
const FRAMES: usize = 60_000;
/// What a flood may cost the node, bytes.
const GROWTH_MAX: u64 = 96 * 1024 * 1024;
/// How long others may wait meanwhile: two nodes' cores are shared with the flood.
const WAIT_MAX: Duration = Duration::from_secs(5);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header field as HPACK has it without any table (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

/// The header fields of a call.
fn call() -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/fastness.v1.KvService/Get"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// The frames of one flood, one after the other.
type Flood = fn(u32) -> Vec<u8>;

fn stream_id(i: u32) -> u32 {
    2 * i + 1
}

const FLOODS: [(&str, Flood); 10] = [
    ("rapid reset", |i| {
        [frame(HEADERS, END_HEADERS, stream_id(i), &call()), frame(RST_STREAM, 0, stream_id(i), &8u32.to_be_bytes())]
            .concat()
    }),
    ("streams that are opened and left", |i| frame(HEADERS, END_HEADERS, stream_id(i), &call())),
    ("continuations without an end", |i| match i {
        0 => frame(HEADERS, 0, 1, &call()),
        _ => frame(CONTINUATION, 0, 1, &field("x", "y").repeat(1000)),
    }),
    ("empty data", |i| match i {
        0 => frame(HEADERS, END_HEADERS, 1, &call()),
        _ => frame(DATA, 0, 1, &[]),
    }),
    ("settings", |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
    ("pings", |i| frame(PING, 0, 0, &u64::from(i).to_be_bytes())),
    ("priorities", |i| frame(PRIORITY, 0, stream_id(i), &[0, 0, 0, 0, 1])),
    ("windows of nothing", |i| match i {
        0 => frame(HEADERS, END_HEADERS, 1, &call()),
        _ => frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes()),
    }),
    ("headers that are too long", |i| {
        let long = field("x", &"y".repeat(100)).repeat(150);
        frame(HEADERS, END_HEADERS, stream_id(i), &[call(), long].concat())
    }),
    ("unknown frames", |i| frame(99, i as u8, i & 0x7fff_ffff, b"what?")),
];

fn connect(cluster: &Cluster) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cluster.dir().join("ca.crt"))?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    let tcp = TcpStream::connect(&cluster.node(1)?.grpc)?;
    tcp.set_write_timeout(Some(Duration::from_secs(2)))?;
    tcp.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(StreamOwned::new(tls, tcp))
}

/// Sends a flood until it is over, or the connection takes no more; returns how many frames it took.
fn flood(cluster: &Cluster, frames: Flood) -> Result<usize> {
    let mut stream = connect(cluster)?;
    stream.write_all(PREFACE)?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    for i in 0..FRAMES {
        if stream.write_all(&frames(i as u32)).is_err() {
            return Ok(i);
        }
    }
    let _ = stream.flush();
    // Whatever the node says to it; it says nothing for ever.
    let mut answer = [0; 4096];
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until && stream.read(&mut answer).is_ok_and(|len| len > 0) {}
    Ok(FRAMES)
}

fn resident_bytes(cluster: &Cluster) -> Result<u64> {
    let pid = cluster.pid(1)?.as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

async fn kv(cluster: &Cluster) -> Result<KvServiceClient<Channel>> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.node(1)?.grpc))?;
    Ok(KvServiceClient::new(endpoint.tls_config(tls)?.connect().await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn floods_cost_their_own_connection_only() -> Result<()> {
    let options = ClusterOptions { azs: vec!["a"], replicas: 0, durability: "disabled", ..ClusterOptions::default() };
    let cluster = Arc::new(Cluster::start(&options)?);
    let mut kv = kv(&cluster).await?;
    let get = || v1::GetRequest { key: "k".into(), ..Default::default() };
    for (name, frames) in FLOODS {
        let before = resident_bytes(&cluster)?;
        let attacked = cluster.clone();
        let attack = tokio::task::spawn_blocking(move || {
            let attackers: Vec<_> = (0..3)
                .map(|_| {
                    let attacked = attacked.clone();
                    std::thread::spawn(move || flood(&attacked, frames))
                })
                .collect();
            let joined = attackers.into_iter().map(|attacker| attacker.join().map_err(|_| anyhow::anyhow!("panic"))?);
            joined.collect::<Result<Vec<usize>>>()
        });
        let (mut slowest, mut calls) = (Duration::ZERO, 0);
        while !attack.is_finished() {
            let began = Instant::now();
            kv.get(get()).await.with_context(|| name.to_owned())?;
            slowest = slowest.max(began.elapsed());
            calls += 1;
        }
        let taken = attack.await?.with_context(|| name.to_owned())?;
        let grown = resident_bytes(&cluster)?.saturating_sub(before);
        println!("{name}: {taken:?} frames, others: {calls} calls, slowest {slowest:?}, memory +{} KiB", grown / 1024);
        ensure!(slowest < WAIT_MAX, "{name}: others waited for {slowest:?}");
        ensure!(grown < GROWTH_MAX, "{name}: the node has grown by {grown} bytes");
        let log = cluster.node_log(1)?;
        ensure!(!log.contains("panicked"), "{name}: {log}");
    }
    Ok(())
}
