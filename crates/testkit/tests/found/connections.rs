//! What unusual clients may expect of a connection: every reply, an error before it is closed, and no effect of a
//! refused command.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_resp::request;
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::payload;
use fastness_testkit::reply_text::{call_text, expect_reply, text};
use rustls::{ClientConnection, StreamOwned};

use super::wire::{PATIENCE, TIMEOUT, open, open_narrow, read_all, read_until_closed, repeated, replies, start};

/// Writes a whole pipeline before reading, then reads as many replies.
fn written_before_read(
    cluster: &Cluster,
    node: u64,
    what: &str,
    pipeline: &[u8],
    expected: usize,
) -> Result<Vec<Value>> {
    let mut stream = open_narrow(&cluster.front_end(node, 1)?)?;
    stream.write_all(pipeline).with_context(|| format!("{what}: the server does not read"))?;
    stream.write_all(b"QUIT\r\n")?;
    let received = read_all(&mut stream).with_context(|| format!("{what}: the server does not answer"))?;
    let mut replies = replies(&received)?;
    ensure!(replies.pop() == Some(Value::Simple(b"OK".to_vec())), "{what}: no reply to QUIT");
    ensure!(replies.len() == expected, "{what}: {} replies to {expected} commands", replies.len());
    Ok(replies)
}

/// Found: both sides waited forever. 9,000 × `ECHO <1,000 bytes>`; `GET` and `SET` of 10 MiB with a small receive
/// buffer; 300,000 GETs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_is_written_before_anything_is_read_gets_every_reply() -> Result<()> {
    const GETS: usize = 300_000;
    let (cluster, primary, mut client) = start(&ClusterOptions::default()).await?;
    let line = "e".repeat(1_000);
    let echoed = written_before_read(&cluster, primary, "ECHO", &repeated(&["ECHO", &line], 9_000), 9_000)?;
    ensure!(echoed.iter().all(|reply| reply.as_bytes() == Some(line.as_bytes())), "another line");

    let (first, second) = ("1".repeat(10 << 20), "2".repeat(10 << 20));
    expect_reply(&mut client, &["SET", "k", &first], "OK").await?;
    let mut pipeline = Vec::new();
    for words in [&["GET", "k"][..], &["SET", "k", &second], &["GET", "k"], &["SET", "k", &first]] {
        request::encode(words, &mut pipeline);
    }
    let shown = written_before_read(&cluster, primary, "10 MiB", &pipeline, 4)?;
    let ok = Value::Simple(b"OK".to_vec());
    ensure!(shown == [Value::Bulk(first.into()), ok.clone(), Value::Bulk(second.into()), ok], "other values");

    expect_reply(&mut client, &["SET", "k", "value"], "OK").await?;
    let read = written_before_read(&cluster, primary, "GET", &repeated(&["GET", "k"], GETS), GETS)?;
    ensure!(read.iter().all(|reply| reply.as_bytes() == Some(b"value")), "another value");
    Ok(())
}

/// Found: `HELLO 3 AUTH default s3 SETNAME "a b"` and `HELLO 3 AUTH default s3 FOO` gave an error and had authenticated
/// the connection; of two pairs the first one counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_that_is_refused_has_not_authenticated() -> Result<()> {
    let (cluster, primary, mut client) = start(&ClusterOptions::default()).await?;
    expect_reply(&mut client, &["CONFIG", "SET", "requirepass", "s3"], "OK").await?;
    let hello = ["HELLO", "3", "AUTH", "default", "s3"];
    let mut wrong = Vec::new();
    for rest in [&["SETNAME", "a b"][..], &["FOO"], &["AUTH", "default", "no"]] {
        let mut stranger = cluster.connect(primary, 1, TIMEOUT).await?;
        let reply = call_text(&mut stranger, &[&hello, rest].concat()).await?;
        let after = call_text(&mut stranger, &["PING"]).await?;
        if !reply.starts_with('-') || !after.starts_with("-NOAUTH") {
            wrong.push(format!("{rest:?}: {reply}, then PING: {after}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let mut stranger = cluster.connect(primary, 1, TIMEOUT).await?;
    let last_counts = ["HELLO", "2", "AUTH", "default", "no", "AUTH", "default", "s3"];
    let reply = call_text(&mut stranger, &last_counts).await?;
    ensure!(!reply.starts_with('-'), "{reply}");
    expect_reply(&mut stranger, &["PING"], "PONG").await
}

/// Found: the commands in the body of an HTTP request were run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_request_runs_nothing_of_its_body() -> Result<()> {
    let (cluster, primary, mut client) = start(&ClusterOptions::default()).await?;
    let body = "SET http 1\r\nSET http 2\r\n";
    let mut wrong = Vec::new();
    for head in [
        "POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n",
        "GET / HTTP/1.1\r\nhOsT: localhost\r\n\r\n",
        "*2\r\n$4\r\npost\r\n$1\r\n/\r\n",
        "*2\r\n$5\r\nHOST:\r\n$1\r\nx\r\n",
    ] {
        expect_reply(&mut client, &["SET", "http", "0"], "OK").await?;
        let mut stream = open(&cluster.front_end(primary, 1)?)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let closed = read_until_closed(&mut stream);
        let left = call_text(&mut client, &["GET", "http"]).await?;
        if closed.is_err() || left != "0" {
            wrong.push(format!("{head:?}: {closed:?}, and the key is {left}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let log = cluster.node_log(primary)?;
    ensure!(log.to_lowercase().contains("cross protocol scripting"), "it is not logged: {log}");
    Ok(())
}

/// Found: a client that had closed its half received no reply at all in `sync`, or 1,958 of 20,000; one that did so
/// over TLS alone was never closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_client_gets_every_reply_and_then_the_end() -> Result<()> {
    const MANY: usize = 20_000;
    let (cluster, primary, _) = start(&ClusterOptions::default()).await?;
    let front_end = cluster.front_end(primary, 1)?;
    let mut wrong = Vec::new();
    for count in [1, MANY] {
        let mut stream = open(&front_end)?;
        stream.write_all(&repeated(&["SET", "k", "v"], count))?;
        stream.shutdown(Shutdown::Write)?;
        let received = read_all(&mut stream)?;
        if received != b"+OK\r\n".repeat(count) {
            wrong.push(format!("{} replies to {count} commands", received.len() / 5));
        }
    }
    let node = cluster.node(primary)?;
    let tcp = TcpStream::connect((front_end.host.as_str(), node.resp[0].tls_port))?;
    tcp.set_read_timeout(Some(Duration::from_secs(15)))?;
    let tls = ClientConnection::new(cluster.tls()?.0, front_end.host.clone().try_into()?)?;
    let mut stream = StreamOwned::new(tls, tcp);
    stream.write_all(&repeated(&["SET", "k", "v"], 1_000))?;
    // The connection itself stays open on this side.
    stream.conn.send_close_notify();
    stream.flush()?;
    let mut received = Vec::new();
    let ended = stream.read_to_end(&mut received);
    if ended.is_err() || received != b"+OK\r\n".repeat(1_000) {
        wrong.push(format!("over TLS: {} replies to 1000 commands, then {ended:?}", received.len() / 5));
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Found: accepted were a wrong checksum, version 0 in the footer, a listpack whose header lies about its elements, and
/// a field's deadline before 1970.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_lies_is_refused() -> Result<()> {
    let (_cluster, _, mut client) = start(&ClusterOptions::default()).await?;
    // A hash of a field and its value: one listpack, and one with deadlines.
    let listpack =
        |elements: u16| [&b"\x10\x0d\x0d\0\0\0"[..], &elements.to_le_bytes(), b"\x81a\x02\x81v\x02\xff"].concat();
    let deadline = |at: i64| [&b"\x16\x01\x01a\x01v"[..], &at.to_le_bytes()].concat();
    let sealed = payload::sealed(&b"\x00\x01a"[..], payload::VERSION);
    let mut damaged = sealed.clone();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
    }
    let bare = [&sealed[..sealed.len() - 8], &[0; 8]].concat();
    let cases = [
        ("a string", sealed, true),
        ("a hash", payload::sealed(&listpack(2), payload::VERSION), true),
        ("a hash with deadlines", payload::sealed(&deadline(4_102_444_800_000), payload::VERSION), true),
        ("a wrong checksum", damaged, false),
        ("a checksum of 0", bare, false),
        ("version 0", payload::sealed(&b"\x00\x01a"[..], 0), false),
        ("a listpack of 3 elements", payload::sealed(&listpack(3), payload::VERSION), false),
        ("a negative deadline", payload::sealed(&deadline(-2), payload::VERSION), false),
    ];
    let mut wrong = Vec::new();
    for (what, payload, is_taken) in cases {
        let reply = text(client.call(&[b"RESTORE", b"k", b"0", &payload, b"REPLACE"]).await?);
        if (reply == "OK") != is_taken {
            wrong.push(format!("{what}: {reply}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Found: nothing was logged when `maxclients` was reached, and TLS clients saw the connection end without an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_over_the_maximum_are_told_over_tls_too_and_logged() -> Result<()> {
    let (cluster, primary, mut client) = start(&ClusterOptions::default()).await?;
    expect_reply(&mut client, &["CONFIG", "SET", "maxclients", "1"], "OK").await?;
    let mut plain = cluster.connect(primary, 1, PATIENCE).await?;
    let refused = text(plain.receive().await?);
    ensure!(refused == "-ERR max number of clients reached", "{refused}");
    let over_tls = async {
        let mut over_tls = cluster.connect_tls(primary, 1, PATIENCE).await?;
        anyhow::Ok(text(over_tls.receive().await?))
    };
    let told_over_tls = over_tls.await;
    let log = cluster.node_log(primary)?;
    let logged = log.lines().any(|line| line.contains("maxclients") && line.contains("WARN"));
    ensure!(
        logged && told_over_tls.as_ref().is_ok_and(|reply| *reply == refused),
        "logged: {logged}; over TLS: {told_over_tls:?}"
    );
    Ok(())
}
