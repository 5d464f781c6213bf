//! CLIENT PAUSE, UNPAUSE and UNBLOCK over real sockets; and clients that go away while their command waits.

#![allow(clippy::unwrap_used)]

mod harness;

use std::time::{Duration, Instant};

use fastness_resp::Value;
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open() -> FrontEnd {
    FrontEnd::open(Options { durability: Durability::Async, ..Options::default() })
}

/// The lines of CLIENT LIST with this flag.
fn flagged(client: &mut Client, flag: char) -> usize {
    let list = client.call_text(&["CLIENT", "LIST"]);
    let has = |line: &&str| line.split(' ').any(|word| word.strip_prefix("flags=").is_some_and(|f| f.contains(flag)));
    list.lines().filter(has).count()
}

#[test]
fn paused_writers_wait_and_readers_do_not() {
    let server = open();
    let (mut client, mut writer) = (server.connect(), server.connect());
    assert_eq!(client.call(&["SET", "k", "before"]), simple("OK"));
    assert_eq!(client.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), simple("OK"));
    writer.send(&["SET", "k", "after"]);
    writer.send(&["GET", "k"]);
    eventually("the writer waits", || flagged(&mut client, 'b') == 1);
    assert_eq!(client.call(&["GET", "k"]), bulk("before"));
    let info = client.call_text(&["INFO", "clients"]);
    for line in ["blocked_clients:1\r\n", "paused_reason:client_pause\r\n", "paused_actions:write\r\n"] {
        assert!(info.contains(line), "no {line:?} in {info}");
    }
    assert_eq!(client.call(&["CLIENT", "UNPAUSE"]), simple("OK"));
    assert_eq!(writer.receive(), simple("OK"));
    assert_eq!(writer.receive(), bulk("after"));
    assert_eq!(flagged(&mut client, 'b'), 0);
    assert!(
        client.call_text(&["INFO", "clients"]).contains("paused_actions:none\r\npaused_timeout_milliseconds:0\r\n")
    );
}

#[test]
fn a_pause_of_everything_ends_with_its_time_alone() {
    let server = open();
    let (mut client, mut other) = (server.connect(), server.connect());
    let began = Instant::now();
    assert_eq!(client.call(&["CLIENT", "PAUSE", "300"]), simple("OK"));
    assert_eq!(other.call(&["CLIENT", "UNPAUSE"]), simple("OK"));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(client.call(&["PING"]), simple("PONG"));
}

#[test]
fn refusals_do_not_wait() {
    let server = open();
    let (mut client, mut other) = (server.connect(), server.connect());
    assert_eq!(client.call(&["CLIENT", "PAUSE", "60000", "ALL"]), simple("OK"));
    assert_eq!(other.call_text(&["GET"]), "-ERR wrong number of arguments for 'get' command");
    assert!(other.call_text(&["NOSUCH"]).starts_with("-ERR unknown command "));
    assert!(other.call_text(&["MGET", "a", "b"]).starts_with("-CROSSSLOT "));
}

#[test]
fn transactions_are_paused_by_what_they_write() {
    let server = open();
    let (mut client, mut writer, mut reader) = (server.connect(), server.connect(), server.connect());
    assert_eq!(writer.call(&["MULTI"]), simple("OK"));
    assert_eq!(writer.call(&["INCR", "k"]), simple("QUEUED"));
    assert_eq!(client.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), simple("OK"));
    writer.send(&["EXEC"]);
    eventually("EXEC waits", || flagged(&mut client, 'b') == 1);
    assert_eq!(reader.call(&["MULTI"]), simple("OK"));
    assert_eq!(reader.call(&["GET", "k"]), simple("QUEUED"));
    assert_eq!(reader.call(&["EXEC"]), Value::Array(vec![Value::Null]));
    assert_eq!(reader.call(&["MULTI"]), simple("OK"));
    reader.send(&["INCR", "k"]);
    eventually("so does a write that is to be queued", || flagged(&mut client, 'b') == 2);
    assert_eq!(client.call(&["CLIENT", "UNPAUSE"]), simple("OK"));
    assert_eq!(writer.receive(), Value::Array(vec![Value::Integer(1)]));
    assert_eq!(reader.receive(), simple("QUEUED"));
    assert_eq!(reader.call(&["EXEC"]), Value::Array(vec![Value::Integer(2)]));
}

#[test]
fn nothing_expires_while_clients_are_paused() {
    let server = open();
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "k", "v", "PX", "30"]), simple("OK"));
    assert_eq!(client.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), simple("OK"));
    std::thread::sleep(Duration::from_millis(120));
    // Valkey hides it. Here a reply that saw it expire would depend on an effect that is not staged, and a failover
    // could bring the key back.
    assert_eq!(client.call(&["GET", "k"]), Value::Bulk(b"v".to_vec()), "time stands still for reads");
    assert_eq!(client.call(&["DBSIZE"]), Value::Integer(1), "and still there");
    assert_eq!(client.call(&["CLIENT", "UNPAUSE"]), simple("OK"));
    eventually("it is removed", || client.call(&["DBSIZE"]) == Value::Integer(0));
}

#[test]
fn pauses_are_refused_as_valkey_refuses_them() {
    let server = open();
    let mut client = server.connect();
    for (args, error) in [
        (&["x"][..], "-ERR timeout is not an integer or out of range"),
        (&["-1"], "-ERR timeout is negative"),
        (&["9223372036854775807"], "-ERR timeout is out of range"),
        (&["x", "foo"], "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
    ] {
        assert_eq!(client.call_text(&[&["CLIENT", "PAUSE"], args].concat()), error);
    }
    assert_eq!(client.call(&["CLIENT", "PAUSE", "0"]), simple("OK"));
    assert_eq!(client.call(&["PING"]), simple("PONG"));
}

#[test]
fn a_wait_is_ended_by_another_client() {
    let server = open();
    let (mut client, mut waiting) = (server.connect(), server.connect());
    let id = waiting.call_text(&["CLIENT", "ID"]);
    let unblocked = "-UNBLOCKED client unblocked via CLIENT UNBLOCK";
    for (how, answer) in [(&[][..], "0"), (&["TIMEOUT"], "0"), (&["error"], unblocked)] {
        server.set_commits(false);
        assert_eq!(waiting.call(&["SET", "k", "v"]), simple("OK"));
        waiting.send(&["WAIT", "1", "0"]);
        waiting.send(&["PING"]);
        eventually("it waits", || flagged(&mut client, 'b') == 1);
        assert_eq!(client.call_text(&[&["CLIENT", "UNBLOCK", id.as_str()], how].concat()), "1");
        let answered = match waiting.receive() {
            Value::Error(text) => format!("-{}", String::from_utf8_lossy(&text)),
            Value::Integer(count) => count.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(answered, answer, "{how:?}");
        assert_eq!(waiting.receive(), simple("PONG"));
        assert_eq!(client.call_text(&["CLIENT", "UNBLOCK", &id]), "0", "it waits for nothing");
        server.set_commits(true);
    }
    for (args, reply) in [
        (&["x", "foo"][..], "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        (&["x"], "-ERR value is not an integer or out of range"),
        (&["999999"], "0"),
        (&["-1"], "0"),
    ] {
        assert_eq!(client.call_text(&[&["CLIENT", "UNBLOCK"], args].concat()), reply);
    }
}

#[test]
fn a_paused_client_cannot_be_unblocked() {
    let server = open();
    let (mut client, mut writer) = (server.connect(), server.connect());
    let id = writer.call_text(&["CLIENT", "ID"]);
    assert_eq!(client.call(&["CLIENT", "PAUSE", "60000", "WRITE"]), simple("OK"));
    writer.send(&["SET", "k", "v"]);
    eventually("it waits", || flagged(&mut client, 'b') == 1);
    assert_eq!(client.call_text(&["CLIENT", "UNBLOCK", &id]), "0");
    assert_eq!(client.call_text(&["CLIENT", "KILL", "ID", &id]), "1");
    assert_eq!(writer.try_receive(), None);
}

#[test]
fn a_client_that_goes_while_its_command_waits_is_noticed() {
    let server = open();
    let (mut client, mut waiting) = (server.connect(), server.connect());
    server.set_commits(false);
    assert_eq!(waiting.call(&["SET", "k", "v"]), simple("OK"));
    waiting.send(&["WAIT", "9", "0"]);
    eventually("it waits", || flagged(&mut client, 'b') == 1);
    // Something that was sent before is never read.
    waiting.send(&["PING"]);
    drop(waiting);
    eventually("its connection is closed", || client.call_text(&["CLIENT", "LIST"]).lines().count() == 1);
}

#[test]
fn no_touch_keeps_access_times() {
    let server = open();
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
    let mut watching = server.connect();
    assert_eq!(client.call(&["CLIENT", "NO-TOUCH", "ON"]), simple("OK"));
    assert_eq!(client.call_text(&["CLIENT", "NO-TOUCH", "x"]), "-ERR syntax error");
    assert_eq!(flagged(&mut client, 'T'), 1);
    // Idle for two seconds at least, however often it is read meanwhile.
    eventually("it grows idle", || {
        assert_eq!(client.call(&["GET", "k"]), bulk("v"));
        watching.call(&["OBJECT", "IDLETIME", "k"]) == Value::Integer(2)
    });
    assert_eq!(client.call(&["CLIENT", "NO-TOUCH", "OFF"]), simple("OK"));
    assert_eq!(client.call(&["GET", "k"]), bulk("v"));
    assert_eq!(watching.call(&["OBJECT", "IDLETIME", "k"]), Value::Integer(0));
}
