//! Bytes that are no command, and what a connection may send before it is authenticated.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_testkit::reply_text::{call_text, expect_reply};
use fastness_wire::v1;
use tonic::Code;

use super::{PATIENCE, Target, execute};

/// Connections of one flood.
const CONNECTIONS: usize = 300;
/// What each of them sends without reading, at most, bytes.
const UNREAD_BYTES: usize = 4 << 20;
const NO_AUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl Target {
    fn plain(&self) -> Result<String> {
        Ok(self.cluster.front_end(1, 1)?.to_string())
    }

    /// Sends bytes, then the end of the stream; returns all that comes back until the server closes.
    fn exchange(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut stream = connect(&self.plain()?)?;
        stream.write_all(bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies)?;
        Ok(replies)
    }

    fn expect(&self, what: &str, rows: &[(&[u8], &[u8])]) -> Result<()> {
        for (bytes, expected) in rows {
            let replies = self.exchange(bytes).with_context(|| bytes.escape_ascii().to_string())?;
            ensure!(
                replies == *expected,
                "{what}: {}: {}, expected {}",
                bytes.escape_ascii(),
                replies.escape_ascii(),
                expected.escape_ascii()
            );
        }
        Ok(())
    }
}

/// CVE-2026-27623: an empty request leaves the parser in a state that the next request must not meet. CVE-2025-21605:
/// strangers read no replies, which must not pile up. CVE-2025-48367: strangers cause protocol errors all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_answered_and_cost_next_to_nothing() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let mut operator = target.resp().await?;
    expect_reply(&mut operator, &["CONFIG", "SET", "requirepass", "secret"], "OK").await?;
    expect_reply(&mut operator, &["AUTH", "secret"], "OK").await?;
    let unauthenticated_count: &[u8] = b"-ERR Protocol error: unauthenticated multibulk length\r\n";
    let unauthenticated_length: &[u8] = b"-ERR Protocol error: unauthenticated bulk length\r\n";
    target.expect(
        "CVE-2026-27623",
        &[
            (b"*0\r\n*1\r\n$4\r\nPING\r\n", NO_AUTH),
            (b"*-1\r\n*0\r\n\r\n\n*1\r\n$4\r\nPING\r\n", NO_AUTH),
            (b"*0\r\n*11\r\n$4\r\nMSET\r\n", unauthenticated_count),
            (b"\r\n*1000000000\r\n$4\r\nMSET\r\n", unauthenticated_count),
            (b"*0\r\n*1\r\n$16385\r\n", unauthenticated_length),
            (b"*0\r\n*1\r\n$536870912\r\n", unauthenticated_length),
            (b"*0\r\n*1\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
            (b"*0\r\n*9223372036854775808\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
            (b"*0\r\n*1\r\n+PING\r\n", b"-ERR Protocol error: expected '$', got '+'\r\n"),
            (b"*0\r\n\"unbalanced\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
            (b"*0\r\n*0\r\n*0\r\n", b""),
        ],
    )?;
    target.check_process("empty requests of strangers")?;

    let garbage = &[(&b"*1\r\n:1\r\n"[..], &b"-ERR Protocol error: expected '$', got ':'\r\n"[..])];
    for _ in 0..CONNECTIONS {
        target.expect("CVE-2025-48367", garbage)?;
    }
    expect_reply(&mut operator, &["PING"], "PONG").await?;
    target.check_process("protocol errors of strangers")?;

    let requests = b"GET a\r\n".repeat(1_000);
    let mut strangers = Vec::new();
    for _ in 0..CONNECTIONS / 10 {
        let mut stranger = connect(&target.plain()?)?;
        stranger.set_nonblocking(true)?;
        let mut sent = 0;
        while sent < UNREAD_BYTES {
            match stranger.write(&requests) {
                Ok(len) => sent += len,
                Err(_) => break,
            }
        }
        strangers.push(stranger);
    }
    expect_reply(&mut operator, &["PING"], "PONG").await?;
    let list = call_text(&mut operator, &["CLIENT", "LIST"]).await?;
    let held = list.split_whitespace().filter_map(|word| word.strip_prefix("omem=")?.parse::<u64>().ok()).max();
    ensure!(held.is_some_and(|held| held < 4_096), "CVE-2025-21605: {held:?} bytes wait for one stranger");
    target.check_process("strangers that do not read")?;
    drop(strangers);

    let mut grpc = target.grpc().await?;
    for _ in 0..CONNECTIONS {
        for args in [&[b"GET".to_vec(), b"a".to_vec()][..], &[], &[b"GET".repeat(100_000)]] {
            let args = args.iter().map(|arg| arg.clone().into()).collect();
            let status = grpc.execute(v1::ExecuteRequest { args, ..Default::default() }).await.unwrap_err();
            ensure!(status.code() == Code::Unauthenticated, "{status:?}");
        }
    }
    expect_reply(&mut operator, &["PING"], "PONG").await?;
    target.check_process("strangers over gRPC")
}

/// Requests of no length and no name, and line ends that are none (fixed in Valkey in 2026).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_no_commands_are_refused_or_skipped() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let line_end: &[u8] = b"-ERR Protocol error: invalid CRLF in request\r\n";
    let no_name: &[u8] = b"-ERR unknown command '', with args beginning with: \r\n";
    target.expect(
        "line ends",
        &[
            (b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", line_end),
            (b"*1\r\n$4\r\nPING\n\n*1\r\n$4\r\nPING\r\n", line_end),
            (b"*1\r\n$4\r\nPING\r\r*1\r\n$4\r\nPING\r\n", line_end),
            (b"*2\r\n$4\r\nECHO\r\n$3\r\nabcd\r\n", line_end),
            (b"*1\rX$4\r\nPING\r\n", line_end),
            (b"*1\r\n$4\rXPING\r\n", line_end),
            (b"*0\rX*1\r\n$4\r\nPING\r\n", line_end),
            (b"*0\r*1\r\n$4\r\nPING\r\n", line_end),
            // No line ends at all: the rest of the command is still awaited.
            (b"*1\n$4\nPING\n", b""),
            (b"*1\r\n$4\r\nPING\r", b""),
            (b"*1\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n", &[no_name, b"+PONG\r\n"].concat()),
            (b"*0\r\n\r\n*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
        ],
    )?;
    let announced = b"*2147483647\r\n$536870912\r\nabc".to_vec();
    let mut announcers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(&target.plain()?)?;
        stream.write_all(&announced)?;
        announcers.push(stream);
    }
    target.check("lengths that are only announced").await?;
    drop(announcers);
    let mut grpc = target.grpc().await?;
    ensure!(execute(&mut grpc, &[]).await == "-args: at least the command's name");
    let unknown = execute(&mut grpc, &[Vec::new()]).await;
    ensure!(unknown == "-ERR unknown command '', with args beginning with: ", "{unknown}");
    let long = execute(&mut grpc, &vec![b"PING".to_vec(); 100_000]).await;
    ensure!(long == "-ERR wrong number of arguments for 'ping' command", "{long}");
    target.check("requests without a name over gRPC").await
}

/// RUSTSEC-2024-0376: a connection that breaks before or in its handshake ended the whole server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_in_their_handshake_end_alone() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let node = target.cluster.node(1)?;
    let tls = format!("127.0.0.1:{}", node.resp.first().context("a replica")?.tls_port);
    for address in [&node.grpc, &tls, &node.peer] {
        for i in 0..CONNECTIONS {
            let mut stream = connect(address)?;
            // Closed by a reset: at once, after garbage, after the head of a record that never comes.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            match i % 3 {
                0 => {}
                1 => drop(stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
                _ => drop(stream.write_all(b"\x16\x03\x01\xff\xff\x01")),
            }
        }
    }
    let mut grpc = target.grpc().await?;
    ensure!(execute(&mut grpc, &[b"GET".to_vec(), b"k".to_vec()]).await == "v");
    let mut over_tls = target.cluster.connect_tls(1, 1, PATIENCE).await?;
    expect_reply(&mut over_tls, &["GET", "k"], "v").await?;
    target.check("connections that break").await
}
