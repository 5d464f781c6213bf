//! Inputs that once crashed, exhausted or misled Redis, Valkey or a library for gRPC, sent to real processes, over RESP
//! and over gRPC's `Execute`. Each must be answered exactly as the table says; the node must serve afterwards, be the
//! same process, and have grown by no more than [`GROWTH_MAX`].
//!
//! - `commands.rs`: whole commands, the same table on both front ends.
//! - `bytes.rs`: what a connection sends before it is authenticated, or that is no command.
//! - `connections.rs`: connections that are killed, evicted, unblocked, or lose their user at a bad moment.
//!
//! Tested elsewhere, because they need more than an input:
//!
//! | CVE | test |
//! |---|---|
//! | CVE-2023-44487, CVE-2024-27316 and RUSTSEC-2024-0332, RUSTSEC-2024-0003, RUSTSEC-2026-0258 (HTTP/2 floods) | `http2.rs` |
//! | CVE-2026-21863 (a message of the cluster bus with a length that lies) | nodes speak another protocol: `fuzz/src/targets/peers.rs` |
//! | CVE-2026-21864, CVE-2026-25243 (RESTORE) | beside `commands.rs`, byte by byte against a real Valkey: `restore.rs`; `fuzz/src/targets/payloads.rs` |
//! | a truncated MULTI in the append-only file | `shard`'s `fragment_tests.rs`, `recovery.rs` |
//!
//! Concern nothing that exists here:
//!
//! | CVE or fix | because |
//! |---|---|
//! | CVE-2022-24735, 24736, 24834; CVE-2024-31449, 46981; CVE-2025-46817, 46818, 46819, 49844; CVE-2026-23631 | scripts are not implemented |
//! | CVE-2022-31144, 35951; CVE-2026-63639 | streams are not implemented |
//! | CVE-2023-41053 | SORT_RO is not implemented |
//! | CVE-2023-45145 | Unix sockets are not implemented |
//! | CVE-2025-27151 | no tool reads an append-only file |
//! | CVE-2025-32023, PFMERGE | HyperLogLog is not implemented |
//! | GEORADIUS with two STORE options, NaN in a sorted set | neither type is implemented |
//! | slot import | slots do not move |
//!
//! `commands.rs` checks that the commands of these rows are still unknown: whoever implements one of them has to add its
//! inputs here.

#![allow(clippy::unwrap_used)]

#[path = "cve/bytes.rs"]
mod bytes;
#[path = "cve/commands.rs"]
mod commands;
#[path = "cve/connections.rs"]
mod connections;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_resp::value::Value as Reply;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::{call_text, text};
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::value::Kind;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const PATIENCE: Duration = Duration::from_secs(60);
/// What a test may leave behind in the node, bytes: buffers of connections, pages of the allocator.
const GROWTH_MAX: u64 = 64 << 20;

/// One node under test.
struct Target {
    cluster: Cluster,
    pid: i32,
    resident_before: u64,
}

fn resident_bytes(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

impl Target {
    async fn start(node_options: Vec<(&'static str, String)>) -> Result<Target> {
        let options = ClusterOptions {
            azs: vec!["a"],
            replicas: 0,
            durability: "disabled",
            node_options,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(&options)?;
        let pid = cluster.pid(1)?.as_raw_nonzero().get();
        let target = Target { cluster, pid, resident_before: 0 };
        // What the first connection of each kind costs is not growth.
        call_text(&mut target.resp().await?, &["SET", "k", "v"]).await?;
        target.grpc().await?.get(v1::GetRequest { key: "k".into(), ..Default::default() }).await?;
        Ok(Target { resident_before: resident_bytes(pid)?, ..target })
    }

    async fn resp(&self) -> Result<Connection> {
        Ok(self.cluster.connect(1, 1, PATIENCE).await?)
    }

    async fn grpc(&self) -> Result<KvServiceClient<Channel>> {
        let ca = std::fs::read(self.cluster.dir().join("ca.crt"))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.cluster.node(1)?.grpc))?;
        let client = KvServiceClient::new(endpoint.tls_config(tls)?.connect().await?);
        Ok(client.max_decoding_message_size(64 << 20))
    }

    /// The node serves, is the process that was started, has reported no panic, and takes no more memory than allowed.
    async fn check(&self, after: &str) -> Result<()> {
        let pong = call_text(&mut self.resp().await?, &["PING"]).await?;
        ensure!(pong == "PONG", "after {after}: {pong}");
        self.check_process(after)
    }

    fn check_process(&self, after: &str) -> Result<()> {
        let pid = self.cluster.pid(1)?.as_raw_nonzero().get();
        ensure!(pid == self.pid, "after {after}: another process runs");
        let log = self.cluster.node_log(1)?;
        ensure!(!log.contains("panicked"), "after {after}: {log}");
        let grown = resident_bytes(pid)?.saturating_sub(self.resident_before);
        ensure!(grown < GROWTH_MAX, "after {after}: the node has grown by {grown} bytes");
        Ok(())
    }
}

/// The value of `Execute` as [`text`] writes replies of the protocol.
fn value_text(value: v1::Value) -> String {
    match value.kind {
        None | Some(Kind::Null(_)) => "nil".to_owned(),
        Some(Kind::Status(text)) => text,
        Some(Kind::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(Kind::Integer(number)) => number.to_string(),
        Some(Kind::Array(array)) => array.values.into_iter().map(value_text).collect::<Vec<_>>().join("\n"),
        Some(other) => format!("{other:?}"),
    }
}

/// A command of the table over gRPC, as text; an error reply as `-` and its text.
async fn execute(client: &mut KvServiceClient<Channel>, args: &[Vec<u8>]) -> String {
    let args = args.iter().map(|arg| arg.clone().into()).collect();
    match client.execute(v1::ExecuteRequest { args, ..Default::default() }).await {
        Ok(response) => response.into_inner().reply.map_or_else(|| "no reply".to_owned(), value_text),
        Err(status) => format!("-{}", status.message()),
    }
}

async fn call(client: &mut Connection, args: &[Vec<u8>]) -> Result<String> {
    let slices: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    let reply: Reply = client.call(&slices).await?;
    Ok(text(reply))
}
