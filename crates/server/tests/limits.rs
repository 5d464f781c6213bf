//! What one connection can make the server hold or allocate, over real sockets.

#![allow(clippy::unwrap_used)]

mod harness;

use fastness_resp::Value;
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(config: &str) -> FrontEnd {
    FrontEnd::open(Options { config: config.into(), durability: Durability::Async, ..Options::default() })
}

/// A field of the line of CLIENT LIST that has most of it.
fn most(client: &mut Client, field: &str) -> u64 {
    let list = client.call_text(&["CLIENT", "LIST"]);
    let of = |line: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('=')).unwrap().parse::<u64>().unwrap()
    };
    list.lines().map(of).max().unwrap()
}

fn refused(server: &FrontEnd, bytes: &[u8], error: &str) {
    let mut client = server.connect_raw();
    client.send_raw(bytes);
    assert_eq!(client.receive(), Value::Error(format!("ERR Protocol error: {error}").into_bytes()));
    assert_eq!(client.try_receive(), None, "it is closed");
}

#[test]
fn requests_have_limits() {
    let server = open("proto-max-bulk-len 1mb");
    refused(&server, &[b'x'; 70_000], "too big inline request");
    refused(&server, format!("*{}", "1".repeat(70_000)).as_bytes(), "too big mbulk count string");
    refused(&server, format!("*1\r\n${}", "1".repeat(70_000)).as_bytes(), "too big bulk count string");
    refused(&server, b"*2147483648\r\n", "invalid multibulk length");
    refused(&server, b"*1\r\n$1048577\r\n", "invalid bulk length");
}

#[test]
fn strangers_have_lower_limits() {
    let server = open("requirepass secret");
    refused(&server, b"*11\r\n", "unauthenticated multibulk length");
    refused(&server, b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length");
    let mut client = server.connect_raw();
    assert!(client.call_text(&["AUTH", &"x".repeat(16_384)]).starts_with("-WRONGPASS "));
    assert_eq!(client.call(&["AUTH", "secret"]), simple("OK"));
    let many: Vec<String> = (0..10).map(|i| format!("{{t}}{i}")).collect();
    let mget: Vec<&str> = std::iter::once("MGET").chain(many.iter().map(String::as_str)).collect();
    eventually("the replica serves", || matches!(client.call(&mget), Value::Array(_)));
}

#[test]
fn strangers_that_do_not_read_cost_next_to_nothing() {
    let server = open("requirepass secret");
    let mut known = server.connect_raw();
    assert_eq!(known.call(&["AUTH", "secret"]), simple("OK"));
    let mut stranger = std::net::TcpStream::connect(server.address).unwrap();
    stranger.set_nonblocking(true).unwrap();
    // As much as the sockets on the way take; each request's error is four times as long.
    let requests = b"GET a\r\n".repeat(1_000);
    let mut sent = 0;
    for _ in 0..2_000 {
        match std::io::Write::write(&mut stranger, &requests) {
            Ok(len) => sent += len,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    assert!(sent > 100_000, "{sent}");
    let mut held = 0;
    eventually("its replies wait", || {
        held = held.max(most(&mut known, "omem"));
        held > 0
    });
    for _ in 0..50 {
        held = held.max(most(&mut known, "omem"));
    }
    assert!(held < 2_048, "{held} bytes wait for a stranger");
}

#[test]
fn nothing_is_allocated_for_what_is_only_announced() {
    let server = open("");
    let mut client = server.connect();
    let mut announcers: Vec<Client> = (0..20).map(|_| server.connect_raw()).collect();
    for announcer in &mut announcers {
        announcer.send_raw(b"*2147483647\r\n$536870912\r\nabc");
    }
    eventually("it is received", || most(&mut client, "qbuf") > 0);
    assert!(most(&mut client, "tot-mem") < 40_000);
    assert_eq!(client.call(&["ECHO", "a"]), bulk("a"));
}

#[test]
fn more_than_the_query_buffer_limit_closes_the_connection() {
    let server = open("client-query-buffer-limit 1mb");
    let mut client = server.connect();
    let mut sender = server.connect_raw();
    let id = sender.call_text(&["CLIENT", "ID"]);
    sender.send_raw(format!("*2\r\n$4\r\nECHO\r\n${}\r\n", 8 << 20).as_bytes());
    let part = vec![b'x'; 64 * 1024];
    eventually("it is closed", || {
        let sent = sender.stream.write_all(&part).is_ok();
        let held = most(&mut client, "qbuf");
        assert!(held < 1_300_000, "{held} bytes of a command are held");
        !sent || client.call_text(&["CLIENT", "LIST", "ID", &id]).is_empty()
    });
    assert!(client.call_text(&["INFO", "stats"]).contains("client_query_buffer_limit_disconnections:1"));
    assert!(client.call_text(&["CLIENT", "LIST", "ID", &id]).is_empty());
}

#[test]
fn a_reader_that_stays_over_the_soft_limit_is_closed() {
    let server = open("client-output-buffer-limit normal 0 1mb 1");
    let mut client = server.connect();
    // More than fits into the sockets' buffers on the way.
    assert_eq!(client.call(&["SET", "k", &"x".repeat(60 << 20)]), simple("OK"));
    client.send(&["GET", "k"]);
    eventually("the slow reader is closed", || {
        let mut other = server.connect_raw();
        other.call_text(&["INFO", "stats"]).contains("client_output_buffer_limit_disconnections:1")
    });
}

/// `maxmemory-clients`: whoever takes most is closed, and nobody else.
#[test]
fn the_largest_clients_are_evicted() {
    let server = open("maxmemory-clients 0");
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "small", &"v".repeat(1 << 20)]), simple("OK"));
    assert_eq!(client.call(&["SET", "large", &"v".repeat(24 << 20)]), simple("OK"));
    assert_eq!(client.call(&["CONFIG", "SET", "maxmemory-clients", "8mb"]), simple("OK"));
    let mut kept = server.connect();
    assert_eq!(kept.call(&["CLIENT", "NO-EVICT", "ON"]), simple("OK"));
    let (mut modest, mut greedy) = (server.connect(), server.connect());
    for (unread, key, count) in [(&mut kept, "large", 2), (&mut greedy, "large", 1), (&mut modest, "small", 4)] {
        (0..count).for_each(|_| unread.send(&["GET", key]));
    }
    eventually("one is evicted", || client.call_text(&["INFO", "stats"]).contains("evicted_clients:1\r\n"));
    // Replies that are on their way arrive.
    let read = |client: &mut Client, count| (0..count).take_while(|_| client.try_receive().is_some()).count();
    assert_eq!((read(&mut greedy, 1), read(&mut kept, 2), read(&mut modest, 4)), (0, 2, 4));
    assert!(client.call_text(&["INFO", "stats"]).contains("evicted_clients:1\r\n"));
}

/// Many clients that read nothing take no more together than the ceiling above `maxmemory-clients`: their commands
/// wait, so that nobody's write is refused for them.
#[test]
fn clients_that_do_not_read_wait_at_the_bound() {
    let server = open("maxmemory 100mb\nmaxmemory-clients 25%");
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "k", &"v".repeat(1 << 20)]), simple("OK"));
    let mut readers: Vec<_> = (0..150).map(|_| server.connect_raw()).collect();
    for reader in &mut readers {
        (0..8).for_each(|_| reader.send(&["GET", "k"]));
    }
    let taken = |client: &mut Client| {
        let memory = client.call_text(&["INFO", "memory"]);
        let line = memory.lines().find_map(|line| line.strip_prefix("mem_clients_normal:")).unwrap().trim().to_owned();
        line.parse::<u64>().unwrap()
    };
    let mut largest = 0;
    eventually("some are evicted", || {
        largest = largest.max(taken(&mut client));
        assert_eq!(client.call(&["SET", "small", "v"]), simple("OK"));
        client.call_text(&["INFO", "stats"]).lines().any(|line| {
            line.strip_prefix("evicted_clients:").is_some_and(|count| count.trim().parse::<u64>().unwrap() > 0)
        })
    });
    // Those that have never read wait at the ceiling, an eighth above the bound, and one turn may exceed it by 256 KiB
    // and one reply. The first replies of all readers are more than `maxmemory`.
    let (bound, turn) = (25 << 20, (256 << 10) + (1 << 20));
    assert!(largest < bound + bound / 8 + turn, "{largest}");
}
