//! A connection's life over real sockets: clients that write before they read, that close their side early, that speak
//! something else, that are too many.

#![allow(clippy::unwrap_used)]

mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use fastness_resp::{Value, request, value};
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, PATIENCE, bulk, eventually, simple};

fn open(durability: Durability, config: &str) -> FrontEnd {
    let server = FrontEnd::open(Options { config: config.into(), durability, ..Options::default() });
    if !config.contains("requirepass") {
        server.connect();
    }
    server
}

fn figure(client: &mut Client, name: &str) -> u64 {
    let info = client.call_text(&["INFO", "stats"]);
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().parse().unwrap()
}

/// A socket of which the system keeps little for the receiver.
fn narrow(server: &FrontEnd) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    tcp
}

/// Everything until the end.
fn read_all(tcp: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    tcp.read_to_end(&mut received).unwrap_or_else(|error| panic!("{error} after {} bytes", received.len()));
    received
}

/// Writes all of a pipeline, then reads its replies, then the end.
fn written_before_anything_is_read(server: &FrontEnd, pipeline: &[u8]) -> Vec<u8> {
    let mut tcp = narrow(server);
    tcp.write_all(pipeline).expect("it is read although nothing is taken");
    tcp.write_all(b"QUIT\r\n").unwrap();
    let mut received = read_all(&mut tcp);
    assert!(received.ends_with(b"+OK\r\n"), "{}", received.len());
    received.truncate(received.len() - 5);
    received
}

/// Found: both sides waited for ever.
#[test]
fn a_pipeline_written_before_anything_is_read_gets_every_reply() {
    for durability in [Durability::Sync, Durability::Async] {
        let server = open(durability, "");
        let text = "x".repeat(1_000);
        let mut pipeline = Vec::new();
        (0..9_000).for_each(|_| request::encode(&["ECHO", &text], &mut pipeline));
        let replies = written_before_anything_is_read(&server, &pipeline);
        assert!(replies == format!("$1000\r\n{text}\r\n").repeat(9_000).as_bytes(), "{}", replies.len());
    }
}

/// Found: the same, with values of 10 MiB.
#[test]
fn large_values_written_before_anything_is_read_are_answered() {
    let server = open(Durability::Sync, "");
    let value = "v".repeat(10 << 20);
    let mut pipeline = Vec::new();
    for _ in 0..3 {
        request::encode(&["SET", "k", &value], &mut pipeline);
        request::encode(&["GET", "k"], &mut pipeline);
    }
    let replies = written_before_anything_is_read(&server, &pipeline);
    assert!(replies == format!("+OK\r\n${}\r\n{value}\r\n", value.len()).repeat(3).as_bytes(), "{}", replies.len());
}

/// Found: the same, with 300,000 GETs, as redis-py sends them.
#[test]
fn three_hundred_thousand_gets_written_before_anything_is_read_are_answered() {
    let server = open(Durability::Async, "");
    assert_eq!(server.connect().call(&["SET", "k", &"v".repeat(40)]), simple("OK"));
    let mut pipeline = Vec::new();
    request::encode(&["GET", "k"], &mut pipeline);
    let replies = written_before_anything_is_read(&server, &pipeline.repeat(300_000));
    assert!(replies == format!("$40\r\n{}\r\n", "v".repeat(40)).repeat(300_000).as_bytes(), "{}", replies.len());
}

/// What a client does not read is bounded: over it the connection is closed, counted.
#[test]
fn more_unread_replies_than_the_hard_limit_close_the_connection() {
    let server = open(Durability::Async, "client-output-buffer-limit normal 2mb 0 0");
    let mut client = server.connect();
    let mut pipeline = Vec::new();
    request::encode(&["ECHO", &"x".repeat(100_000)], &mut pipeline);
    let mut tcp = narrow(&server);
    // It may be closed while it writes.
    let _ = tcp.write_all(&pipeline.repeat(200));
    eventually("it is closed", || figure(&mut client, "client_output_buffer_limit_disconnections") == 1);
    let mut received = Vec::new();
    let _ = tcp.read_to_end(&mut received);
    assert!(received.len() < 200 * 100_000, "{}", received.len());
}

/// Memory is full, and a client that does not read gets no more of it; once there is memory again, it goes on by
/// itself.
#[test]
fn a_client_that_does_not_read_waits_while_memory_is_full() {
    let server = open(Durability::Async, "");
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "k", &"v".repeat(1 << 20)]), simple("OK"));
    assert_eq!(client.call(&["CONFIG", "SET", "maxmemory", "1mb"]), simple("OK"));
    let mut tcp = narrow(&server);
    let mut pipeline = Vec::new();
    request::encode(&["ECHO", &"x".repeat(100_000)], &mut pipeline);
    let mut writer = tcp.try_clone().unwrap();
    let pipeline = std::thread::spawn(move || writer.write_all(&pipeline.repeat(300)).unwrap());
    let unsent = |client: &mut Client| -> Vec<u64> {
        let list = client.call_text(&["CLIENT", "LIST"]);
        list.lines()
            .map(|line| line.split(" omem=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap())
            .collect()
    };
    let mut most = 0;
    eventually("its replies wait", || {
        most = most.max(unsent(&mut client).into_iter().max().unwrap());
        most > 16 * 1024
    });
    std::thread::sleep(Duration::from_millis(300));
    most = most.max(unsent(&mut client).into_iter().max().unwrap());
    assert!(most < 16 * 1024 + 110_000, "{most} bytes are kept");
    assert_eq!(client.call(&["CONFIG", "SET", "maxmemory", "0"]), simple("OK"));
    pipeline.join().unwrap();
    let mut received = 0;
    let mut chunk = vec![0; 1 << 20];
    while received < 300 * (100_000 + 11) {
        received += tcp.read(&mut chunk).unwrap();
    }
    assert_eq!(figure(&mut client, "client_output_buffer_limit_disconnections"), 0);
}

/// Found: in `sync` a client like `printf … | nc` got no reply at all.
#[test]
fn a_client_that_closes_its_side_gets_every_reply_then_the_end() {
    for durability in [Durability::Sync, Durability::Async] {
        let server = open(durability, "");
        let mut tcp = TcpStream::connect(server.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        server.set_commits(durability == Durability::Async);
        tcp.write_all(b"SET k v\r\nGET k\r\nWAIT 1 10000\r\nPING\r\nSET half").unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        server.set_commits(true);
        assert_eq!(read_all(&mut tcp).escape_ascii().to_string(), "+OK\\r\\n$1\\r\\nv\\r\\n:2\\r\\n+PONG\\r\\n");
    }
}

/// Found: of 20,000 commands 1,958 were answered.
#[test]
fn twenty_thousand_commands_before_the_clients_side_is_closed_are_answered() {
    let server = open(Durability::Sync, "");
    let mut tcp = narrow(&server);
    let pipeline: String = (0..20_000).map(|i| format!("SET k{} {i}\r\n", i % 100)).collect();
    tcp.write_all(pipeline.as_bytes()).unwrap();
    tcp.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut tcp) == b"+OK\r\n".repeat(20_000));
}

/// A wait that could be for ever ends with its client's side.
#[test]
fn a_wait_of_a_client_that_closes_its_side_is_answered() {
    let server = open(Durability::Async, "");
    server.set_commits(false);
    let mut tcp = TcpStream::connect(server.address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(b"SET k v\r\nWAIT 9 0\r\nPING\r\n").unwrap();
    tcp.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut tcp).escape_ascii().to_string(), "+OK\\r\\n:0\\r\\n+PONG\\r\\n");
}

/// Found: HELLO authenticated before it had read all of its arguments, and of two pairs the first counted.
#[test]
fn hello_reads_everything_before_it_does_anything() {
    let server = open(Durability::Async, "requirepass s3");
    for (hello, error) in [
        (&["HELLO", "3", "AUTH", "default", "s3", "FOO"][..], "-ERR Syntax error in HELLO option 'FOO'"),
        (&["HELLO", "3", "AUTH", "default", "s3", "AUTH", "x"], "-ERR Syntax error in HELLO option 'AUTH'"),
        (
            &["HELLO", "3", "AUTH", "default", "s3", "SETNAME", "a b"],
            "-ERR Client names cannot contain spaces, newlines or special characters.",
        ),
        (
            &["HELLO", "3", "AUTH", "default", "s3", "AUTH", "default", "wrong"],
            "-WRONGPASS invalid username-password pair or user is disabled.",
        ),
        (&["HELLO", "4", "AUTH", "default", "s3"], "-NOPROTO unsupported protocol version"),
    ] {
        let mut client = server.connect_raw();
        assert_eq!(client.call_text(hello), error);
        assert_eq!(client.call_text(&["PING"]), "-NOAUTH Authentication required.", "{hello:?} has authenticated");
        assert_eq!(client.call_text(&["AUTH", "s3"]), "OK");
        // RESP2 still, and no name.
        assert_eq!(client.call(&["CLIENT", "GETNAME"]), Value::Null, "{hello:?}");
        assert!(client.call_text(&["CLIENT", "INFO"]).contains(" resp=2 "));
    }
    let mut client = server.connect_raw();
    // Ten arguments are what a stranger may send.
    let twice = ["HELLO", "2", "AUTH", "default", "wrong", "AUTH", "default", "s3", "SETNAME", "y"];
    assert!(matches!(client.call(&twice), Value::Array(_)), "the last pair counts");
    assert_eq!(client.call(&["CLIENT", "GETNAME"]), bulk("y"));
}

/// Found: the commands in an HTTP request's body were run.
#[test]
fn an_http_request_closes_the_connection() {
    let server = open(Durability::Async, "");
    let mut client = server.connect();
    let body = "SET http 1\r\nSET http 2\r\n";
    let requests = [
        format!("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n{body}"),
        format!("post / HTTP/1.1\r\n\r\n{body}"),
        format!("GET / HTTP/1.1\r\nhOsT: localhost\r\n\r\n{body}"),
        format!("*2\r\n$4\r\nPoSt\r\n$1\r\n/\r\n{body}"),
        format!("*2\r\n$5\r\nHOST:\r\n$1\r\nx\r\n{body}"),
        format!("|1\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n$4\r\nPOST\r\n{body}"),
        format!("MULTI\r\nHost: a\r\n{body}EXEC\r\n"),
    ];
    for (i, request) in requests.iter().enumerate() {
        let mut tcp = TcpStream::connect(server.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(request.as_bytes()).unwrap();
        let mut received = Vec::new();
        match tcp.read_to_end(&mut received) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{request}"),
        }
        assert_eq!(client.call(&["GET", "http"]), Value::Null, "{request}");
        assert_eq!(figure(&mut client, "cross_protocol_disconnections"), i as u64 + 1);
    }
    // Neither is a name that only starts like one.
    assert!(client.call_text(&["POSTS"]).starts_with("-ERR unknown command"));
}

/// Over `maxclients` a client is told, and counted; one that leaves makes room.
#[test]
fn clients_over_the_maximum_are_told_and_counted() {
    let server = open(Durability::Async, "maxclients 3");
    eventually("there is room", || server.node.connected.load(std::sync::atomic::Ordering::Relaxed) == 0);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    let mut refused = server.connect_raw();
    assert_eq!(refused.receive(), Value::Error(b"ERR max number of clients reached".to_vec()));
    assert_eq!(refused.try_receive(), None);
    assert_eq!(figure(&mut clients[0], "rejected_connections"), 1);
    clients.pop();
    eventually("there is room", || server.connect_raw().call(&["PING"]) == simple("PONG"));
}

/// What follows QUIT is not run, and does not keep the replies before it from leaving.
#[test]
fn replies_before_quit_leave_whatever_follows_it() {
    let server = open(Durability::Async, "");
    let mut tcp = narrow(&server);
    let text = "x".repeat(3 << 20);
    let mut pipeline = Vec::new();
    request::encode(&["ECHO", &text], &mut pipeline);
    pipeline.extend_from_slice(b"QUIT\r\nSET after 1\r\n");
    tcp.write_all(&pipeline).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    tcp.write_all(b"SET after 2\r\n").unwrap();
    let received = read_all(&mut tcp);
    let (first, consumed) = value::parse(&received).unwrap().unwrap();
    assert!(first == bulk(&text));
    assert_eq!(&received[consumed..], b"+OK\r\n");
    assert_eq!(server.connect().call(&["GET", "after"]), Value::Null);
}

/// Found: the slow log showed passwords.
#[test]
fn passwords_are_not_in_the_slow_log() {
    let server = open(Durability::Async, "slowlog-log-slower-than 0");
    let mut client = server.connect();
    assert_eq!(client.call(&["CONFIG", "SET", "requirepass", "s3cret"]), simple("OK"));
    assert_eq!(client.call(&["AUTH", "s3cret"]), simple("OK"));
    assert!(client.call_text(&["AUTH", "default", "wrong-s3cret"]).starts_with("-WRONGPASS"));
    assert!(matches!(client.call(&["HELLO", "2", "AUTH", "default", "s3cret", "SETNAME", "me"]), Value::Array(_)));
    assert!(client.call_text(&["HELLO", "2", "AUTH", "default", "s3cret", "FOO"]).starts_with("-ERR Syntax error"));
    client.call_text(&["CONFIG", "SET", "timeout", "0", "requirepass", "s3cret"]);
    let shown = format!("{:?}", client.call(&["SLOWLOG", "GET", "-1"]));
    let shown: Vec<u8> = shown.bytes().collect();
    let text = |bytes: &[u8]| format!("{:?}", Value::Bulk(bytes.to_vec()));
    assert!(!String::from_utf8_lossy(&shown).contains(&text(b"s3cret")), "a password is shown");
    assert!(!String::from_utf8_lossy(&shown).contains(&text(b"wrong-s3cret")), "a password is shown");
    let redacted = String::from_utf8_lossy(&shown).matches(&text(b"(redacted)")).count();
    assert_eq!(redacted, 1 + 1 + 2 + 2 + 2 + 1);
}

/// What a system with few descriptors leaves for clients is what is shown and what can be set.
#[test]
fn maxclients_is_what_descriptors_allow() {
    let server = open(Durability::Async, "");
    server.node.budget_descriptors(1, 2);
    let mut client = server.connect();
    let shown = |client: &mut Client| match client.call(&["CONFIG", "GET", "maxclients"]) {
        Value::Array(pair) => String::from_utf8(pair[1].as_bytes().unwrap().to_vec()).unwrap().parse::<u64>().unwrap(),
        other => panic!("{other:?}"),
    };
    let max = server.node.clients_max();
    assert!(max < u64::MAX);
    assert_eq!(shown(&mut client), max.min(10_000));
    assert!(client.call_text(&["INFO", "clients"]).contains(&format!("\r\nmaxclients:{}\r\n", max.min(10_000))));
    if max < 1_000_000 {
        let refused = client.call_text(&["CONFIG", "SET", "maxclients", &(max + 1).to_string()]);
        let why = "The operating system is not able to handle the specified number of clients, try with";
        assert_eq!(
            refused,
            format!("-ERR CONFIG SET failed (possibly related to argument 'maxclients') - {why} {max}")
        );
    }
    assert_eq!(client.call(&["CONFIG", "SET", "maxclients", "7"]), simple("OK"));
    assert_eq!(shown(&mut client), 7);
}
