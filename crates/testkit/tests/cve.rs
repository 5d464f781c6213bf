//! Inputs that once crashed, exhausted or misled Redis, Valkey or a library for gRPC, sent to real processes, over RESP
//! and over gRPC's `Execute`. Each must be answered exactly as the table says; the node must serve afterwards, be the
//! same process, never have taken more than [`PEAK_MAX`] beyond what it had before, and give back all but
//! [`GROWTH_MAX`].
//!
//! - `commands.rs`: whole commands, the same table on both front ends.
//! - `bytes.rs`: what a connection sends before it is authenticated, or that is no command.
//! - `connections.rs`: connections that are killed, evicted, unblocked, or lose their user at a bad moment.
//!
//! Tested elsewhere, because they need more than an input:
//!
//! - CVE-2023-44487, CVE-2024-27316, RUSTSEC-2024-0332, RUSTSEC-2024-0003 and RUSTSEC-2026-0258 (floods of HTTP/2
//!   frames): `http2.rs`.
//! - CVE-2026-21863 (a length that lies in a message of the cluster bus): nodes speak another protocol, see
//!   `fuzz/src/targets/peers.rs`.
//! - CVE-2026-21864 and CVE-2026-25243 (RESTORE): beside `commands.rs`, byte by byte against a real Valkey, in
//!   `restore.rs`; `fuzz/src/targets/payloads.rs`.
//! - A truncated MULTI in the append-only file: `shard/src/fragment_tests.rs`, `recovery.rs`.
//!
//! Concern nothing that exists here:
//!
//! - Scripts: CVE-2022-24735, 24736 and 24834, CVE-2024-31449 and 46981, CVE-2025-46817, 46818, 46819 and 49844,
//!   CVE-2026-23631. (CVE-2025-67733 is a script's error; here errors of commands quote the same bytes.)
//! - Unix sockets: CVE-2023-45145.
//! - A tool that reads an append-only file: CVE-2025-27151.
//! - Slots that move: the fix of slot import.
//!
//! `commands.rs` checks that the commands of this list are still unknown: whoever implements one of them has to add its
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
use fastness_testkit::wait::until_ok;
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::value::Kind;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const PATIENCE: Duration = Duration::from_secs(60);
/// What a test may leave behind in the node, bytes: buffers of connections, pages of the allocator.
const GROWTH_MAX: u64 = 64 << 20;
/// What a test may take for a moment: the longest reply of one command, or what clients do not read.
const PEAK_MAX: u64 = 768 << 20;

/// One node under test.
struct Target {
    cluster: Cluster,
    pid: i32,
    resident_before: u64,
}

/// The resident size of a process, now (`VmRSS`) or at most so far (`VmHWM`), bytes.
fn resident_bytes(pid: i32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).context("VmRSS")?;
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
        Ok(Target { resident_before: resident_bytes(pid, "VmRSS")?, ..target })
    }

    async fn resp(&self) -> Result<Connection> {
        self.cluster.connect(1, 1, PATIENCE).await
    }

    async fn grpc(&self) -> Result<KvServiceClient<Channel>> {
        let ca = std::fs::read(self.cluster.dir().join("ca.crt"))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.cluster.node(1)?.grpc))?;
        let endpoint = endpoint.tls_config(tls)?;
        // While too many handshakes are in progress, further connections are closed.
        let channel = until_ok(PATIENCE, async || Ok(endpoint.connect().await?)).await?;
        Ok(KvServiceClient::new(channel).max_decoding_message_size(64 << 20))
    }

    /// The node serves, is the process that was started, has reported no panic, and takes no more memory than allowed.
    async fn check(&self, after: &str) -> Result<()> {
        let pong = call_text(&mut self.resp().await?, &["PING"]).await?;
        ensure!(pong == "PONG", "after {after}: {pong}");
        // The allocator gives pages back after a while.
        until_ok(PATIENCE, async || {
            call_text(&mut self.resp().await?, &["PING"]).await?;
            self.check_process(after)
        })
        .await
    }

    fn check_process(&self, after: &str) -> Result<()> {
        let pid = self.cluster.pid(1)?.as_raw_nonzero().get();
        ensure!(pid == self.pid, "after {after}: another process runs");
        let log = self.cluster.node_log(1)?;
        ensure!(!log.contains("panicked"), "after {after}: {log}");
        let peak = resident_bytes(pid, "VmHWM")?.saturating_sub(self.resident_before);
        ensure!(peak < PEAK_MAX, "after {after}: the node has taken {peak} bytes");
        let grown = resident_bytes(pid, "VmRSS")?.saturating_sub(self.resident_before);
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
        // As RESP2 has it.
        Some(Kind::Map(map)) => {
            let parts = map.entries.into_iter().flat_map(|entry| [entry.key, entry.value]);
            parts.map(|part| part.map_or_else(String::new, value_text)).collect::<Vec<_>>().join("\n")
        }
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
