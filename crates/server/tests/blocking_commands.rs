//! Commands that wait for keys, over real sockets.

#![allow(clippy::unwrap_used)]

mod harness;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use fastness_resp::Value;
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(durability: Durability) -> FrontEnd {
    FrontEnd::open(Options { durability, ..Options::default() })
}

fn blocked(client: &mut Client) -> usize {
    let info = client.call_text(&["INFO", "clients"]);
    let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap();
    line.parse().unwrap()
}

fn popped(key: &str, element: &str) -> Value {
    Value::Array(vec![bulk(key), bulk(element)])
}

#[test]
fn a_push_serves_who_waits_and_what_was_sent_after_the_command_follows() {
    for durability in [Durability::Sync, Durability::Async] {
        let server = open(durability);
        let (mut client, mut first, mut second) = (server.connect(), server.connect(), server.connect());
        first.send(&["BLPOP", "l", "0"]);
        first.send(&["PING"]);
        eventually("it waits", || blocked(&mut client) == 1);
        second.send(&["BRPOP", "k{l}", "l", "10"]);
        eventually("both wait", || blocked(&mut client) == 2);
        let info = client.call_text(&["INFO", "clients"]);
        for line in ["total_blocking_keys:2\r\n", "clients_in_timeout_table:1\r\n"] {
            assert!(info.contains(line), "no {line:?} in {info}");
        }
        assert!(client.call_text(&["CLIENT", "LIST"]).contains("flags=b capa= db=0"));
        assert!(client.call_text(&["CLIENT", "LIST"]).contains("cmd=blpop"));
        assert_eq!(client.call(&["RPUSH", "l", "a", "b", "c"]), Value::Integer(3));
        assert_eq!(first.receive(), popped("l", "a"));
        assert_eq!(first.receive(), simple("PONG"));
        assert_eq!(second.receive(), popped("l", "c"));
        eventually("nobody waits", || blocked(&mut client) == 0);
        assert_eq!(client.call(&["LLEN", "l"]), Value::Integer(1));
    }
}

#[test]
fn waits_end_with_their_time_or_by_another_client() {
    let server = open(Durability::Async);
    let (mut client, mut waiting) = (server.connect(), server.connect());
    let began = Instant::now();
    assert_eq!(waiting.call(&["BLPOP", "l", "0.05"]), Value::NullArray);
    assert!(began.elapsed() >= Duration::from_millis(50));
    let id = waiting.call_text(&["CLIENT", "ID"]);
    let unblocked = "-UNBLOCKED client unblocked via CLIENT UNBLOCK";
    for (how, answer) in [(&[][..], "(nil)"), (&["TIMEOUT"], "(nil)"), (&["error"], unblocked)] {
        waiting.send(&["BZPOPMIN", "z", "0"]);
        eventually("it waits", || blocked(&mut client) == 1);
        assert_eq!(client.call_text(&[&["CLIENT", "UNBLOCK", id.as_str()], how].concat()), "1");
        let answered = match waiting.receive() {
            Value::Error(text) => format!("-{}", String::from_utf8_lossy(&text)),
            Value::NullArray | Value::Null => "(nil)".to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(answered, answer, "{how:?}");
        assert_eq!(client.call_text(&["CLIENT", "UNBLOCK", &id]), "0", "it waits for nothing");
    }
    assert_eq!(waiting.call(&["PING"]), simple("PONG"));
}

/// The element is there a moment after the client has gone, long before the connection is polled.
#[test]
fn a_client_that_has_gone_takes_nothing() {
    let server = open(Durability::Sync);
    let mut client = server.connect();
    for round in 0..20 {
        let mut gone = TcpStream::connect(server.address).unwrap();
        gone.write_all(b"BLPOP l 0\r\n").unwrap();
        // It has sent more, which is never read.
        if round % 2 == 0 {
            gone.write_all(b"PING\r\n").unwrap();
        }
        eventually("it waits", || blocked(&mut client) == 1);
        drop(gone);
        assert_eq!(client.call(&["RPUSH", "l", "a"]), Value::Integer(1));
        eventually("nobody waits", || blocked(&mut client) == 0);
        assert_eq!(client.call(&["LPOP", "l"]), bulk("a"), "round {round}");
    }
    let mut killed = server.connect();
    let id = killed.call_text(&["CLIENT", "ID"]);
    killed.send(&["BLPOP", "l", "0"]);
    eventually("it waits", || blocked(&mut client) == 1);
    assert_eq!(client.call_text(&["CLIENT", "KILL", "ID", &id]), "1");
    assert_eq!(client.call(&["RPUSH", "l", "a"]), Value::Integer(1));
    assert_eq!(killed.try_receive(), None);
    assert_eq!(client.call(&["LPOP", "l"]), bulk("a"));
}

/// A wait that could be for ever ends with its client's side, and so does the next one.
#[test]
fn waits_of_a_client_that_closes_its_side_are_answered() {
    let server = open(Durability::Async);
    let mut tcp = TcpStream::connect(server.address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    tcp.write_all(b"BLPOP l 0\r\nBLMOVE l {l}m LEFT LEFT 0\r\nPING\r\n").unwrap();
    tcp.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    tcp.read_to_end(&mut received).unwrap();
    assert_eq!(received.escape_ascii().to_string(), "*-1\\r\\n*-1\\r\\n+PONG\\r\\n");
}

#[test]
fn a_primary_that_loses_its_role_redirects_who_waits() {
    let server = open(Durability::Sync);
    let (mut client, mut waiting) = (server.connect(), server.connect());
    waiting.send(&["BLPOP", "l", "0"]);
    waiting.send(&["PING"]);
    eventually("it waits", || blocked(&mut client) == 1);
    server.lose(2);
    let reply = waiting.receive();
    assert!(matches!(&reply, Value::Error(text) if text.starts_with(b"MOVED ")), "{reply:?}");
    assert_eq!(waiting.receive(), simple("PONG"));
}

/// Nothing is taken then, so there is nothing to hold.
#[test]
fn a_pause_does_not_hold_the_end_of_a_wait() {
    let server = open(Durability::Async);
    let (mut client, mut waiting) = (server.connect(), server.connect());
    let id = waiting.call_text(&["CLIENT", "ID"]);
    waiting.send(&["BLPOP", "l", "0"]);
    eventually("it waits", || blocked(&mut client) == 1);
    assert_eq!(client.call_text(&["CLIENT", "PAUSE", "100", "WRITE"]), "OK");
    assert_eq!(client.call_text(&["CLIENT", "UNBLOCK", &id]), "1");
    assert_eq!(waiting.receive(), Value::NullArray);
}

/// Who waits is not idle.
#[test]
fn a_client_that_waits_is_not_idle() {
    let server =
        FrontEnd::open(Options { durability: Durability::Async, config: "timeout 1".to_owned(), ..Options::default() });
    let mut waiting = server.connect();
    waiting.send(&["BLPOP", "l", "2.5"]);
    assert_eq!(waiting.receive(), Value::NullArray);
}

/// Every reader gets an entry, and one consumer of a group.
#[test]
fn an_entry_of_a_stream_serves_all_who_read_it_and_one_of_a_group() {
    for durability in [Durability::Sync, Durability::Async] {
        let server = open(durability);
        let mut client = server.connect();
        assert_eq!(client.call(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]), simple("OK"));
        let mut readers: Vec<_> = (0..2).map(|_| server.connect()).collect();
        let mut consumers: Vec<_> = (0..2).map(|_| server.connect()).collect();
        for (waiting, reader) in readers.iter_mut().enumerate() {
            reader.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
            eventually("it waits", || blocked(&mut client) == waiting + 1);
        }
        for (waiting, consumer) in consumers.iter_mut().enumerate() {
            let name = format!("c{waiting}");
            consumer.send(&["XREADGROUP", "GROUP", "g", &name, "BLOCK", "0", "STREAMS", "s", ">"]);
            eventually("it waits", || blocked(&mut client) == waiting + 3);
        }
        let entry = |id: &str| {
            let fields = Value::Array(vec![bulk("f"), bulk("v")]);
            let entries = Value::Array(vec![Value::Array(vec![bulk(id), fields])]);
            Value::Array(vec![Value::Array(vec![bulk("s"), entries])])
        };
        assert_eq!(client.call(&["XADD", "s", "1-1", "f", "v"]), bulk("1-1"));
        for reader in &mut readers {
            assert_eq!(reader.receive(), entry("1-1"));
        }
        assert_eq!(consumers[0].receive(), entry("1-1"), "the first that came");
        eventually("one waits", || blocked(&mut client) == 1);
        assert_eq!(client.call(&["XADD", "s", "2-1", "f", "v"]), bulk("2-1"));
        assert_eq!(consumers[1].receive(), entry("2-1"));
        consumers[0].send(&["XREADGROUP", "GROUP", "g", "c0", "BLOCK", "0", "STREAMS", "s", ">"]);
        eventually("one waits", || blocked(&mut client) == 1);
        assert_eq!(client.call(&["DEL", "s"]), Value::Integer(1));
        let reply = consumers[0].receive();
        assert!(matches!(&reply, Value::Error(text) if text.starts_with(b"NOGROUP ")), "{reply:?}");
    }
}
