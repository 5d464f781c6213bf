//! CLIENT DURABILITY and the attribute `durability` over real sockets: who asks for commit on an `async` cluster.

#![allow(clippy::unwrap_used)]

mod harness;

use fastness_resp::{Value, request};
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(durability: Durability) -> FrontEnd {
    FrontEnd::open(Options { durability, ..Options::default() })
}

fn error(text: &str) -> Value {
    Value::Error(text.into())
}

/// A command with an attribute in front.
fn with_attribute(pairs: &[(&str, &str)], args: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    request::encode_attribute(pairs, &mut bytes);
    request::encode(args, &mut bytes);
    bytes
}

const SYNC: &[(&str, &str)] = &[("durability", "sync")];

/// A field of the line of CLIENT LIST with this id.
fn field(client: &mut Client, id: &str, field: &str) -> String {
    let line = client.call_text(&["CLIENT", "LIST", "ID", id]);
    line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('=')).unwrap().to_owned()
}

/// Waits until so many replies' bytes are held for the client of this id.
fn held(client: &mut Client, id: &str, bytes: usize) {
    eventually("its replies are held", || field(client, id, "omem") == bytes.to_string());
}

#[test]
fn the_option_is_the_connections() {
    let server = open(Durability::Async);
    let (mut client, mut other) = (server.connect(), server.connect());
    let id = client.call_text(&["CLIENT", "ID"]);
    assert_eq!(client.call(&["CLIENT", "DURABILITY"]), bulk("default"));
    assert_eq!(client.call(&["client", "durability", "sync"]), simple("OK"));
    assert_eq!(client.call(&["CLIENT", "DURABILITY"]), bulk("sync"));
    assert_eq!(other.call(&["CLIENT", "DURABILITY"]), bulk("default"));
    assert_eq!(field(&mut other, &id, "flags"), "D");
    assert_eq!(other.call_text(&["CLIENT", "LIST", "FLAGS", "D"]).lines().count(), 1);
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
    assert_eq!(client.call(&["GET", "k"]), bulk("v"));
    assert_eq!(client.call(&["CLIENT", "DURABILITY", "DEFAULT"]), simple("OK"));
    assert_eq!(field(&mut other, &id, "flags"), "N");
    assert_eq!(client.call(&["CLIENT", "DURABILITY", "SYNC"]), simple("OK"));
    assert_eq!(client.call(&["RESET"]), simple("RESET"));
    assert_eq!(client.call(&["CLIENT", "DURABILITY"]), bulk("default"));
    for wrong in [&["CLIENT", "DURABILITY", "async"][..], &["CLIENT", "DURABILITY", "SYNC", "x"]] {
        assert_eq!(client.call_text(wrong), "-ERR syntax error");
    }
    assert_eq!(client.call(&["MULTI"]), simple("OK"));
    let refused = "-ERR Command 'client|durability' not allowed inside a transaction";
    assert_eq!(client.call_text(&["CLIENT", "DURABILITY", "SYNC"]), refused);
    assert!(client.call_text(&["EXEC"]).starts_with("-EXECABORT "));
}

#[test]
fn the_option_is_described_like_any_other_command() {
    let server = open(Durability::Async);
    let mut client = server.connect();
    let Value::Array(help) = client.call(&["CLIENT", "HELP"]) else { panic!("lines") };
    assert!(help.contains(&simple("DURABILITY [SYNC|DEFAULT]")), "{help:?}");
    let Value::Array(docs) = client.call(&["COMMAND", "DOCS", "client|durability"]) else { panic!("a map") };
    assert_eq!(docs[0], bulk("client|durability"));
    let Value::Array(names) = client.call(&["ACL", "CAT", "connection"]) else { panic!("names") };
    assert!(names.contains(&bulk("client|durability")));
    let Value::Array(info) = client.call(&["COMMAND", "INFO", "client|durability"]) else { panic!("facts") };
    assert_eq!(info.len(), 1);
    assert_ne!(info[0], Value::NullArray);
}

#[test]
fn replies_that_wait_keep_their_order_and_hold_nobody_else() {
    let server = open(Durability::Async);
    let (mut client, mut other) = (server.connect(), server.connect());
    let id = client.call_text(&["CLIENT", "ID"]);
    other.call(&["SET", "b", "1"]);
    server.set_commits(false);
    let mut pipeline = Vec::new();
    request::encode(&["PING"], &mut pipeline);
    pipeline.extend(with_attribute(SYNC, &["INCR", "a"]));
    request::encode(&["GET", "b"], &mut pipeline);
    request::encode(&["INCR", "a"], &mut pipeline);
    client.send_raw(&pipeline);
    assert_eq!(client.receive(), simple("PONG"));
    held(&mut other, &id, ":1\r\n$1\r\n1\r\n:2\r\n".len());
    assert_eq!(other.call(&["INCR", "a"]), Value::Integer(3));
    assert_eq!(other.call(&["GET", "a"]), bulk("3"));
    server.set_commits(true);
    assert_eq!(client.receive(), Value::Integer(1));
    assert_eq!(client.receive(), bulk("1"));
    assert_eq!(client.receive(), Value::Integer(2));
    assert!(other.call_text(&["INFO", "durability"]).contains("durability_replies_delayed_by_override:1\r\n"));
}

#[test]
fn a_transactions_reply_is_held_whole() {
    let server = open(Durability::Async);
    let (mut client, mut other) = (server.connect(), server.connect());
    let id = client.call_text(&["CLIENT", "ID"]);
    assert_eq!(client.call(&["MULTI"]), simple("OK"));
    assert_eq!(client.call(&["INCR", "a"]), simple("QUEUED"));
    server.set_commits(false);
    client.send_raw(&with_attribute(SYNC, &["EXEC"]));
    held(&mut other, &id, "*1\r\n:1\r\n".len());
    server.set_commits(true);
    assert_eq!(client.receive(), Value::Array(vec![Value::Integer(1)]));
}

#[test]
fn what_is_lost_is_told_in_its_place() {
    let server = open(Durability::Async);
    let (mut client, mut reader, mut other) = (server.connect(), server.connect(), server.connect());
    let ids = [&mut client, &mut reader].map(|client| client.call_text(&["CLIENT", "ID"]));
    assert_eq!(client.call(&["CLIENT", "DURABILITY", "SYNC"]), simple("OK"));
    assert_eq!(reader.call(&["CLIENT", "DURABILITY", "SYNC"]), simple("OK"));
    server.set_commits(false);
    let mut pipeline = Vec::new();
    request::encode(&["SET", "a", "lost"], &mut pipeline);
    request::encode(&["ECHO", "behind"], &mut pipeline);
    client.send_raw(&pipeline);
    held(&mut other, &ids[0], "+OK\r\n$6\r\nbehind\r\n".len());
    reader.send(&["GET", "a"]);
    held(&mut other, &ids[1], "$4\r\nlost\r\n".len());
    assert_eq!(
        other.call(&["GET", "a"]),
        bulk("lost"),
        "async shows uncommitted effects to clients without an override"
    );
    server.lose(2);
    let Value::Error(text) = client.receive() else { panic!("it was not committed") };
    assert!(text.starts_with(b"UNKNOWN "), "{}", text.escape_ascii());
    assert_eq!(client.receive(), bulk("behind"));
    let Value::Error(text) = reader.receive() else { panic!("it was not committed") };
    assert!(text.starts_with(b"CLUSTERDOWN "), "{}", text.escape_ascii());
}

#[test]
fn attributes_that_are_not_known_are_refused_with_their_command() {
    let server = open(Durability::Async);
    let mut client = server.connect();
    for protocol in ["2", "3"] {
        client.call(&["HELLO", protocol]);
        client.send_raw(&with_attribute(&[("ttl", "5")], &["SET", "k", "v"]));
        let Value::Error(text) = client.receive() else { panic!("refused") };
        let unknown = b"ERR unknown attribute 'ttl' in front of the command: it takes 'durability', 'reads', ";
        assert!(text.starts_with(unknown), "{}", text.escape_ascii());
        client.send_raw(&with_attribute(&[("durability", "quorum")], &["SET", "k", "v"]));
        let Value::Error(text) = client.receive() else { panic!("refused") };
        assert!(text.ends_with(b"takes 'sync' or 'default', not 'quorum'"), "{}", text.escape_ascii());
        assert_eq!(client.call_text(&["GET", "k"]), "(nil)");
        // A line's end in a name does not end the reply.
        client.send_raw(&with_attribute(&[("a\r\n+OK", "")], &["PING"]));
        assert!(matches!(client.receive(), Value::Error(_)));
        assert_eq!(client.call(&["PING"]), simple("PONG"));
        client.send_raw(&with_attribute(&[("DURABILITY", "Sync")], &["SET", "k", "v"]));
        assert_eq!(client.receive(), simple("OK"));
        client.call(&["DEL", "k"]);
    }
    assert_eq!(client.call(&["MULTI"]), simple("OK"));
    client.send_raw(&with_attribute(SYNC, &["SET", "k", "v"]));
    let Value::Error(text) = client.receive() else { panic!("refused") };
    assert!(text.starts_with(b"ERR a transaction's attribute "), "{}", text.escape_ascii());
    assert!(client.call_text(&["EXEC"]).starts_with("-EXECABORT "));
    assert_eq!(client.call(&["MULTI"]), simple("OK"));
    client.send_raw(&with_attribute(&[("ttl", "5")], &["SET", "k", "v"]));
    assert!(matches!(client.receive(), Value::Error(_)));
    assert!(client.call_text(&["EXEC"]).starts_with("-EXECABORT "));
}

#[test]
fn attributes_that_are_none_end_the_connection() {
    let server = open(Durability::Async);
    server.connect();
    for (bytes, text) in [
        (&b"|0\r\n"[..], "invalid attribute count"),
        (b"|1\r\n$65\r\n", "too big attribute"),
        (b"|1\r\n$1\r\na\r\n$1\r\nb\r\nPING\r\n", "expected '*' after an attribute, got 'P'"),
    ] {
        let mut client = server.connect_raw();
        client.send_raw(bytes);
        assert_eq!(client.receive(), error(&format!("ERR Protocol error: {text}")));
        assert_eq!(client.try_receive(), None);
    }
}

#[test]
fn a_cluster_without_durability_refuses() {
    let server = open(Durability::Disabled);
    let mut client = server.connect();
    let text = "ERR this cluster's durability is disabled: no reply can be made to wait for a commit";
    assert_eq!(client.call(&["CLIENT", "DURABILITY", "SYNC"]), error(text));
    assert_eq!(client.call(&["CLIENT", "DURABILITY"]), bulk("default"));
    assert_eq!(client.call(&["CLIENT", "DURABILITY", "DEFAULT"]), simple("OK"));
    client.send_raw(&with_attribute(SYNC, &["SET", "k", "v"]));
    assert_eq!(client.receive(), error(text));
    assert_eq!(client.call_text(&["GET", "k"]), "(nil)");
}

/// A connection that never asked, and one in `sync`: an attribute changes neither what is run nor how.
#[test]
fn in_sync_it_changes_nothing() {
    let server = open(Durability::Sync);
    let (mut client, mut other) = (server.connect(), server.connect());
    let id = client.call_text(&["CLIENT", "ID"]);
    server.set_commits(false);
    client.send_raw(&with_attribute(&[("durability", "default")], &["SET", "k", "v"]));
    held(&mut other, &id, "+OK\r\n".len());
    server.set_commits(true);
    assert_eq!(client.receive(), simple("OK"));
    assert_eq!(client.call(&["CLIENT", "DURABILITY", "SYNC"]), simple("OK"));
    assert_eq!(client.call(&["SET", "k", "w"]), simple("OK"));
}

/// CLIENT READS and the attribute `reads`. Nobody answers heartbeats here, so what asks for a quorum is refused, and
/// nothing else.
#[test]
fn reads_that_a_quorum_confirms() {
    let server = open(Durability::Async);
    let (mut client, mut other) = (server.connect(), server.connect());
    let id = client.call_text(&["CLIENT", "ID"]);
    assert_eq!(client.call(&["CLIENT", "READS"]), bulk("default"));
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
    client.send_raw(&with_attribute(&[("reads", "quorum")], &["GET", "k"]));
    assert_eq!(client.receive(), error("CLUSTERDOWN The cluster is down"));
    assert_eq!(client.call(&["GET", "k"]), bulk("v"));
    assert_eq!(client.call(&["client", "reads", "quorum"]), simple("OK"));
    assert_eq!(client.call(&["CLIENT", "READS"]), bulk("quorum"));
    assert_eq!(field(&mut other, &id, "flags"), "Q");
    assert_eq!(client.call(&["GET", "k"]), error("CLUSTERDOWN The cluster is down"));
    assert_eq!(client.call(&["INCR", "n"]), Value::Integer(1), "its commit confirms it");
    assert_eq!(client.call(&["PING"]), simple("PONG"));
    client.send_raw(&with_attribute(&[("reads", "default")], &["GET", "k"]));
    assert_eq!(client.receive(), bulk("v"));
    assert_eq!(client.call(&["RESET"]), simple("RESET"));
    assert_eq!(client.call(&["CLIENT", "READS"]), bulk("default"));
    assert_eq!(client.call_text(&["CLIENT", "READS", "lease"]), "-ERR syntax error");
}
