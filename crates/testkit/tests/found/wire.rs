//! Shared by these tests: commands as words, replies as text, and connections that regular clients never open.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_load::{Connection, Endpoint};
use fastness_resp::request;
use fastness_resp::value::{Value, parse};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::{call_text, expect_reply};
use fastness_testkit::wait::until_ok;
use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};

pub const PATIENCE: Duration = Duration::from_secs(60);
/// No single reply takes so long, unless something is broken.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of one attempt at something that is repeated.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The system gives at least more than this.
const NARROW_BYTES: usize = 8 * 1024;

/// Starts a cluster of three nodes and one shard, and connects to its primary.
pub async fn start(options: &ClusterOptions) -> Result<(Cluster, u64, Connection)> {
    let cluster = Cluster::start(options)?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let client = cluster.connect(primary, 1, TIMEOUT).await?;
    Ok((cluster, primary, client))
}

/// A pipeline in which every command is `words`.
pub fn repeated(words: &[&str], count: usize) -> Vec<u8> {
    let mut one = Vec::new();
    request::encode(words, &mut one);
    one.repeat(count)
}

/// Repeats a command over new connections until the answer is this one.
pub async fn eventually(cluster: &Cluster, node: u64, words: &[&str], answer: &str, within: Duration) -> Result<()> {
    let answered = until_ok(within, async || {
        let mut client = cluster.connect(node, 1, ATTEMPT).await?;
        call_text(&mut client, &["READONLY"]).await?;
        expect_reply(&mut client, words, answer).await
    });
    answered.await.with_context(|| format!("node {node} does not answer {words:?} with {answer:?} after {within:?}"))
}

/// Waits until a write is acknowledged, on any primary.
pub async fn takes_writes(cluster: &Cluster, within: Duration, after: &str) -> Result<()> {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < within {
        let written = async {
            let primary = cluster.primary(1, ATTEMPT).await?;
            let mut client = cluster.connect(primary, 1, ATTEMPT).await?;
            expect_reply(&mut client, &["SET", "written", after], "OK").await
        };
        match tokio::time::timeout(within.saturating_sub(began.elapsed()), written).await {
            Ok(Ok(())) => {
                eprintln!("a write is accepted {:?} after {after}", began.elapsed());
                return Ok(());
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("no write is accepted for {within:?} after {after}: {last:?}")
}

/// Repeats a command on the current primary until the answer is no error: on a slow machine something large may cause
/// an election.
pub async fn insist(cluster: &Cluster, words: &[&str]) -> Result<String> {
    until_ok(PATIENCE, async || {
        let primary = cluster.primary(1, PATIENCE).await?;
        let reply = call_text(&mut cluster.connect(primary, 1, TIMEOUT).await?, words).await?;
        ensure!(!reply.starts_with('-'), "{:?}: {reply}", words.first());
        Ok(reply)
    })
    .await
}

/// Opens a blocking connection.
pub fn open(front_end: &Endpoint) -> Result<TcpStream> {
    let stream = TcpStream::connect((front_end.host.as_str(), front_end.port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Opens a blocking connection with a small receive buffer, so that replies wait on the other side unless they are read
/// soon.
pub fn open_narrow(front_end: &Endpoint) -> Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, NARROW_BYTES)?;
    connect(&socket, &SocketAddrV4::new(front_end.host.parse()?, front_end.port))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Reads everything until the end.
pub fn read_all(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut received = Vec::new();
    let read = stream.read_to_end(&mut received);
    read.with_context(|| format!("after {} bytes", received.len()))?;
    Ok(received)
}

/// Reads whatever arrives until the connection is closed, cleanly or not.
pub fn read_until_closed(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => Ok(received),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(received),
        Err(error) => bail!("the connection is not closed: {error}, after {}", received.escape_ascii()),
    }
}

/// The replies in these bytes.
pub fn replies(mut bytes: &[u8]) -> Result<Vec<Value>> {
    let mut replies = Vec::new();
    while let Some((reply, used)) = parse(bytes)? {
        replies.push(reply);
        bytes = &bytes[used..];
    }
    ensure!(bytes.is_empty(), "{} bytes are left after {} replies", bytes.len(), replies.len());
    Ok(replies)
}
