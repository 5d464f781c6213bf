//! Attacks by the way in which bytes are sent and read, or not read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastness_load::Connection;
use fastness_load::connection::encode;
use fastness_load::outcome::{Outcome, classify};
use fastness_resp::value::{self, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::outcome::AttackOutcome;
use super::target::{OWED_WITHIN, Target};
use crate::observe::page;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// How long idle connections are held open.
const HELD: Duration = Duration::from_secs(3);

/// Reads replies until there are `count`, the peer closes, or nothing arrives for too long. Returns the number of
/// replies, and whether the peer closed.
async fn replies(stream: &mut TcpStream, count: usize) -> Result<(usize, bool)> {
    let (mut input, mut seen, mut at) = (Vec::with_capacity(64 * KIB), 0, 0);
    while seen < count {
        while let Some((_, used)) = value::parse(&input[at..]).map_err(|error| anyhow::anyhow!("{error}"))? {
            at += used;
            seen += 1;
        }
        input.drain(..at);
        at = 0;
        if seen < count {
            let read = timeout(OWED_WITHIN, stream.read_buf(&mut input)).await;
            match read.context("nothing arrived")? {
                Ok(0) | Err(_) => return Ok((seen, true)),
                Ok(_) => {}
            }
        }
    }
    Ok((seen, false))
}

/// Sends a whole pipeline before reading: the replies, or an end of the connection, must follow.
pub(super) async fn unread_pipeline(target: &Target) -> Result<AttackOutcome> {
    let count = target.size.pick(9_000, 30_000);
    let text = vec![b'e'; 1_000];
    let mut bytes = Vec::new();
    (0..count).for_each(|_| encode(&[b"ECHO", &text], &mut bytes));
    let mut stream = target.raw().await?;
    match timeout(OWED_WITHIN, stream.write_all(&bytes)).await {
        Err(_) => return Ok(AttackOutcome::broken("a pipeline that is written before anything is read hangs")),
        Ok(Err(_)) => return Ok(AttackOutcome::effect("the connection was closed")),
        Ok(Ok(())) => {}
    }
    Ok(match replies(&mut stream, count).await {
        Err(_) => AttackOutcome::broken(format!(
            "after {} bytes of pipeline some of {count} replies are missing",
            bytes.len()
        )),
        Ok((seen, _)) => {
            AttackOutcome::effect(format!("{seen} of {count} replies after the whole pipeline was written"))
        }
    })
}

/// Sends writes and then the end of the stream: every write is answered, in every mode.
pub(super) async fn half_closed(target: &Target) -> Result<AttackOutcome> {
    let count = 2_000;
    let mut bytes = Vec::new();
    (0..count).for_each(|n| encode(&[b"SET", &target.key(n), b"v"], &mut bytes));
    let mut stream = target.raw().await?;
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    Ok(match replies(&mut stream, count).await {
        Err(_) => AttackOutcome::broken("a half-closed connection is not closed"),
        Ok((seen, _)) if seen < count => {
            AttackOutcome::broken(format!("half closed: {seen} of {count} replies, then the end"))
        }
        Ok(_) => AttackOutcome::effect(format!("{count} replies after the end of the stream")),
    })
}

/// Large replies that are never read.
pub(super) async fn never_reads(target: &Target) -> Result<AttackOutcome> {
    let mut client = target.connect().await?;
    let key = target.key("large");
    client.call(&[b"SET", &key, &vec![b'v'; MIB]]).await?;
    let mut gets = Vec::new();
    (0..100).for_each(|_| encode(&[b"GET", &key], &mut gets));
    let mut deaf = Vec::new();
    for _ in 0..target.size.pick(20, 100) {
        let mut stream = target.raw().await?;
        stream.write_all(&gets).await?;
        deaf.push(stream);
    }
    tokio::time::sleep(HELD).await;
    Ok(AttackOutcome::effect(format!("{} connections held {} MiB of replies each", deaf.len(), 100)))
}

/// Opens connections until one is refused.
pub(super) async fn connection_flood(target: &Target) -> Result<AttackOutcome> {
    let mut client = target.connect().await?;
    let Value::Array(parts) = client.call(&[b"CONFIG", b"GET", b"maxclients"]).await? else {
        return Ok(AttackOutcome::broken("CONFIG GET maxclients"));
    };
    let limit = parts.get(1).and_then(Value::as_bytes).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let limit: usize = limit.context("maxclients is a number")?;
    let most = (limit + 50).min(target.size.pick(3_000, 15_000));
    let mut open = Vec::new();
    while open.len() < most {
        match timeout(Duration::from_secs(2), target.raw()).await {
            Ok(Ok(stream)) => open.push(stream),
            // The backlog is full, or this process has no descriptors left.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let begun = Instant::now();
    while begun.elapsed() < HELD {
        // Clients that were connected before are served, with commits.
        let said = client.call(&[b"SET", &target.key("served"), b"v"]).await?;
        if classify(&said) == Outcome::Unknown {
            return Ok(AttackOutcome::broken(format!("beside {} connections SET answered {said:?}", open.len())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(AttackOutcome::effect(format!("{} connections, maxclients {limit}", open.len())))
}

/// Requests that a browser can be made to send. Nothing in their bodies may be executed.
pub(super) async fn http(target: &Target) -> Result<AttackOutcome> {
    let key = target.key("http");
    let name = String::from_utf8_lossy(&key).into_owned();
    let mut client = target.connect().await?;
    for head in ["POST / HTTP/1.1\r\nHost: shard\r\n\r\n", "GET / HTTP/1.1\r\nhost: shard\r\n\r\n"] {
        let mut stream = target.raw().await?;
        stream.write_all(format!("{head}SET {name} v\r\n").as_bytes()).await?;
        let mut input = Vec::new();
        let closed = timeout(OWED_WITHIN, stream.read_to_end(&mut input)).await.is_ok();
        if !closed {
            return Ok(AttackOutcome::broken("an HTTP request does not end its connection"));
        }
        if client.call(&[b"GET", &key]).await? != Value::Null {
            return Ok(AttackOutcome::broken(format!("the body of {head:?} was executed")));
        }
    }
    Ok(AttackOutcome::effect("2 requests were closed"))
}

/// WAIT without a timeout, for more replicas than there are.
pub(super) async fn wait_flood(target: &Target) -> Result<AttackOutcome> {
    let mut waiting = Vec::new();
    for n in 0..target.size.pick(300, 1_000) {
        let mut stream = target.raw().await?;
        let mut bytes = Vec::new();
        encode(&[b"SET", &target.key(n), b"v"], &mut bytes);
        encode(&[b"WAIT", b"9", b"0"], &mut bytes);
        stream.write_all(&bytes).await?;
        waiting.push(stream);
    }
    let cpu = cpu_seconds(target).await;
    tokio::time::sleep(HELD).await;
    let used = cpu_seconds(target).await.zip(cpu).map_or(String::new(), |(after, before)| {
        format!(", {:.0} % of a core", (after - before) / HELD.as_secs_f64() * 100.0)
    });
    Ok(AttackOutcome::effect(format!("{} clients waited{used}", waiting.len())))
}

/// From the node's INFO, if available.
async fn cpu_seconds(target: &Target) -> Option<f64> {
    let mut client = target.connect().await.ok()?;
    let text = client.call(&[b"INFO", b"cpu"]).await.ok()?;
    let text = String::from_utf8_lossy(text.as_bytes()?).into_owned();
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
    Some(of("used_cpu_user:")? + of("used_cpu_sys:")?)
}

/// Requests for digests of all data, whose senders disconnect before they have them.
pub(super) async fn digest_flood(target: &Target) -> Result<AttackOutcome> {
    let requested = target.size.pick(16, 64);
    for _ in 0..requested {
        let mut stream = TcpStream::connect(&target.metrics).await?;
        stream.write_all(b"GET /digest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    }
    let begun = Instant::now();
    let mut client = Connection::open(&target.front_end, None, OWED_WITHIN).await?;
    client.call(&[b"GET", &target.key("none")]).await?;
    let took = begun.elapsed();
    // Read one answer: the endpoint still serves, or reports that it does not.
    let answered = page(&target.metrics, "/digest").await.is_ok();
    Ok(AttackOutcome::effect(format!(
        "{requested} requested and disconnected, a read took {} ms, answered {answered}",
        took.as_millis()
    )))
}
