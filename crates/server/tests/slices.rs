//! The loop's time among connections: slow commands of one and what becomes of the others, over real sockets.

#![allow(clippy::unwrap_used)]

mod harness;

use std::time::Duration;

use fastness_resp::{Value, request};
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

/// Each takes some milliseconds.
const SLOW: usize = 300;

fn open(config: &str) -> FrontEnd {
    FrontEnd::open(Options { config: config.into(), durability: Durability::Async, ..Options::default() })
}

/// So many keys that KEYS takes longer than a slice.
fn fill(client: &mut Client) {
    for batch in 0..150 {
        let keys: Vec<String> = (0..1000).map(|key| format!("{{t}}{batch}:{key}")).collect();
        let mut mset = vec!["MSET"];
        keys.iter().for_each(|key| mset.extend([key.as_str(), "v"]));
        assert_eq!(client.call(&mset), simple("OK"));
    }
}

/// How often KEYS has run.
fn calls(client: &mut Client) -> usize {
    let stats = client.call_text(&["INFO", "commandstats"]);
    let keys = stats.lines().find_map(|line| line.strip_prefix("cmdstat_keys:calls="));
    keys.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

fn slow_pipeline() -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..SLOW).for_each(|_| request::encode(&["KEYS", "nomatch"], &mut bytes));
    bytes
}

/// C8: a pipeline of slow commands stops nobody else, and ends with its sender.
#[test]
fn others_are_served_between_two_commands_of_a_pipeline_and_its_rest_is_dropped_with_its_sender() {
    let server = open("");
    let mut other = server.connect();
    fill(&mut other);
    let mut sender = server.connect_raw();
    sender.send_raw(&slow_pipeline());
    let (mut seen, mut longest) = (0, 0);
    while seen < SLOW / 2 {
        let now = calls(&mut other);
        longest = longest.max(now - seen);
        seen = now;
        assert_eq!(other.call(&["GET", "{t}0:0"]), bulk("v"));
    }
    assert!(longest < SLOW / 3, "{longest} of {SLOW} commands ran while another client waited");
    // It has read nothing, so that the system tells the server of the end at once.
    drop(sender);
    eventually("the connection ends", || !other.call_text(&["CLIENT", "LIST"]).contains("cmd=keys"));
    let left = calls(&mut other);
    assert!(left < SLOW, "all commands of a client that has gone were run");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(calls(&mut other), left);
}

/// In slices or not, replies come whole and in order.
#[test]
fn a_sliced_pipeline_keeps_its_order() {
    let server = open("");
    let mut client = server.connect();
    fill(&mut client);
    let mut bytes = Vec::new();
    for turn in 0..40 {
        request::encode(&["INCR", "counter"], &mut bytes);
        request::encode(&["KEYS", "nomatch"], &mut bytes);
        request::encode(&["ECHO", &turn.to_string()], &mut bytes);
    }
    client.send_raw(&bytes);
    for turn in 0..40 {
        assert_eq!(client.receive(), Value::Integer(turn + 1));
        assert_eq!(client.receive(), Value::Array(Vec::new()));
        assert_eq!(client.receive(), bulk(&turn.to_string()));
    }
}

/// Schedule 44, through the front end: without a primary commands wait, and run in order once there is one.
#[test]
fn commands_wait_for_a_primary_that_comes_back_in_time() {
    let config = "lease-wait-max 10s".into();
    let server = FrontEnd::open(Options { config, durability: Durability::Sync, ..Options::default() });
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "a", "1"]), simple("OK"));
    server.follow_nobody();
    eventually("nobody leads", || client.call_text(&["INFO", "replication"]).contains("role:slave"));
    let mut bytes = Vec::new();
    [&["INCR", "a"][..], &["GET", "a"], &["PING"]].iter().for_each(|args| request::encode(args, &mut bytes));
    client.send_raw(&bytes);
    let mut other = server.connect_raw();
    assert_eq!(other.call(&["PING"]), simple("PONG"));
    server.lead(3);
    assert_eq!(client.receive(), Value::Integer(2));
    assert_eq!(client.receive(), bulk("2"));
    assert_eq!(client.receive(), simple("PONG"));
    assert!(other.call_text(&["INFO", "durability"]).contains("durability_lease_waits:1\r\n"));
}

#[test]
fn commands_are_refused_when_no_primary_comes_in_time() {
    let server = open("lease-wait-max 50");
    let mut client = server.connect();
    server.follow_nobody();
    eventually("nobody leads", || client.call_text(&["INFO", "replication"]).contains("role:slave"));
    let began = std::time::Instant::now();
    assert_eq!(client.call_text(&["SET", "a", "1"]), "-CLUSTERDOWN The cluster is down");
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert!(client.call_text(&["INFO", "durability"]).contains("durability_lease_waits_refused:1\r\n"));
}
