//! Keyspace notifications of one replica, over real sockets. What each command notifies of is the engine's tests'.

#![allow(clippy::unwrap_used)]

mod harness;

use fastness_resp::Value;
use fastness_server::publications::message::Lost;
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(durability: Durability, config: &str) -> FrontEnd {
    FrontEnd::open(Options { durability, config: config.to_owned(), ..Options::default() })
}

fn array(words: &[&str]) -> Value {
    let item = |word: &&str| word.parse().map_or_else(|_| bulk(word), Value::Integer);
    Value::Array(words.iter().map(item).collect())
}

/// A subscriber to these channels of events.
fn subscriber(server: &FrontEnd, events: &[&str]) -> Client {
    let mut client = server.connect();
    for (i, event) in events.iter().enumerate() {
        let channel = format!("__keyevent@0__:{event}");
        assert_eq!(client.call(&["SUBSCRIBE", &channel]), array(&["subscribe", &channel, &(i + 1).to_string()]));
    }
    client
}

fn event(name: &str, key: &str) -> Value {
    Value::Array(vec![bulk("message"), bulk(&format!("__keyevent@0__:{name}")), bulk(key)])
}

#[test]
fn both_channels_and_the_option() {
    let server = open(Durability::Async, "");
    let (mut client, mut all) = (server.connect(), server.connect());
    assert_eq!(all.call(&["PSUBSCRIBE", "__key*__:*"]), array(&["psubscribe", "__key*__:*", "1"]));
    assert_eq!(client.call(&["SET", "k", "silent"]), simple("OK"));
    let option = "notify-keyspace-events";
    assert_eq!(client.call(&["CONFIG", "GET", option]), array(&[option, ""]));
    assert_eq!(client.call(&["CONFIG", "SET", option, "KE$gmn"]), simple("OK"));
    assert_eq!(client.call(&["CONFIG", "GET", option]), array(&[option, "g$nKEm"]));
    assert_eq!(
        client.call_text(&["CONFIG", "SET", option, "KEq"]),
        "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class character. \
         Use 'Ag$lshzxeKEtmdn'."
    );
    assert_eq!(client.call(&["SET", "k", "1"]), simple("OK"));
    assert_eq!(client.call(&["GET", "none"]), Value::Null);
    assert_eq!(client.call(&["RPUSH", "list", "1"]), Value::Integer(1), "lists are not wanted, new keys are");
    for (event, key) in [("set", "k"), ("keymiss", "none"), ("new", "list")] {
        let (keyspace, keyevent) = (format!("__keyspace@0__:{key}"), format!("__keyevent@0__:{event}"));
        assert_eq!(all.receive(), array(&["pmessage", "__key*__:*", &keyspace, event]));
        assert_eq!(all.receive(), array(&["pmessage", "__key*__:*", &keyevent, key]));
    }
    assert_eq!(client.call(&["CONFIG", "SET", option, ""]), simple("OK"));
    assert_eq!(client.call(&["SET", "k", "silent"]), simple("OK"));
    assert_eq!(client.call(&["PUBLISH", "__keyend__:", "x"]), Value::Integer(1));
    assert_eq!(all.receive(), array(&["pmessage", "__key*__:*", "__keyend__:", "x"]));
}

#[test]
fn in_sync_a_notification_leaves_with_the_commit_and_what_is_undone_notifies_nobody() {
    let server = open(Durability::Sync, "notify-keyspace-events EA");
    let (mut writer, mut second) = (server.connect(), server.connect());
    let mut all = subscriber(&server, &["set", "del", "incrby"]);
    server.set_commits(false);
    writer.send(&["MULTI"]);
    writer.send(&["SET", "a", "1"]);
    writer.send(&["DEL", "a"]);
    writer.send(&["EXEC"]);
    second.send(&["INCR", "b"]);
    // Messages of others overtake them: they do not wait.
    let mut other = server.connect_raw();
    assert_eq!(other.call(&["PUBLISH", "__keyevent@0__:set", "not yet"]), Value::Integer(1));
    assert_eq!(all.receive(), event("set", "not yet"));
    server.set_commits(true);
    assert_eq!(all.receive(), event("set", "a"));
    assert_eq!(all.receive(), event("del", "a"));
    assert_eq!(all.receive(), event("incrby", "b"));

    server.set_commits(false);
    second.receive();
    second.send(&["SET", "undone", "1"]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    server.lose(2);
    eventually("it is undone", || server.node.publications.lost(Lost::Undone) == 1);
    assert_eq!(other.call(&["PUBLISH", "__keyevent@0__:set", "next"]), Value::Integer(1));
    assert_eq!(all.receive(), event("set", "next"));
}

#[test]
fn in_async_it_leaves_at_once_and_with_an_override_with_the_commit() {
    let server = open(Durability::Async, "notify-keyspace-events EA");
    let mut client = server.connect();
    let mut all = subscriber(&server, &["set"]);
    server.set_commits(false);
    assert_eq!(client.call(&["SET", "at once", "1"]), simple("OK"));
    assert_eq!(all.receive(), event("set", "at once"));
    let mut careful = server.connect_raw();
    assert_eq!(careful.call(&["CLIENT", "DURABILITY", "SYNC"]), simple("OK"));
    careful.send(&["SET", "careful", "1"]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(client.call(&["SET", "behind", "1"]), simple("OK"), "no write waits for notifications");
    assert_eq!(client.call(&["PUBLISH", "__keyevent@0__:set", "not yet"]), Value::Integer(1));
    assert_eq!(all.receive(), event("set", "not yet"));
    server.set_commits(true);
    assert_eq!(all.receive(), event("set", "careful"));
    assert_eq!(all.receive(), event("set", "behind"));
}

#[test]
fn expiry_notifies_without_a_command_and_a_served_client_after_the_push() {
    let server = open(Durability::Sync, "notify-keyspace-events EA");
    let (mut client, mut waiting) = (server.connect(), server.connect());
    let mut all = subscriber(&server, &["expired", "lpush", "lpop", "del"]);
    assert_eq!(client.call(&["SET", "k", "v", "PX", "20"]), simple("OK"));
    assert_eq!(all.receive(), event("expired", "k"));
    waiting.send(&["BLPOP", "list", "0"]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(client.call(&["LPUSH", "list", "v"]), Value::Integer(1));
    for name in ["lpush", "lpop", "del"] {
        assert_eq!(all.receive(), event(name, "list"));
    }
}

#[test]
fn a_long_unit_reaches_the_subscriber_and_what_exceeds_the_bound_is_counted() {
    let server = open(Durability::Async, "notify-keyspace-events Eg\nclient-output-buffer-limit pubsub 0 0 0");
    let mut client = server.connect();
    let mut all = subscriber(&server, &["del"]);
    let keys: Vec<String> = (0..100_000).map(|i| format!("{{tag}} {i}")).collect();
    let pairs: Vec<&str> = std::iter::once("MSET").chain(keys.iter().flat_map(|key| [&key[..], "v"])).collect();
    assert_eq!(client.call(&pairs), simple("OK"));
    let del: Vec<&str> = std::iter::once("DEL").chain(keys.iter().map(String::as_str)).collect();
    assert_eq!(client.call(&del), Value::Integer(100_000));
    for key in &keys {
        assert_eq!(all.receive(), event("del", key));
    }
    assert_eq!(server.node.publications.lost(Lost::TooManyEvents), 0);

    // Two keys with names of 10 MiB are more than may wait: one of both is dropped.
    let long = ["a", "b"].map(|name| format!("{{tag}}{}", name.repeat(10 << 20)));
    assert_eq!(client.call(&["MSET", &long[0], "v", &long[1], "v"]), simple("OK"));
    assert_eq!(client.call(&["DEL", &long[0], &long[1]]), Value::Integer(2));
    eventually("one is dropped", || server.node.publications.lost(Lost::TooManyEvents) == 1);
    assert_eq!(all.receive(), event("del", &long[0]));
}
