//! What an operator asks a replica about slow and large commands and about delays: COMMANDLOG, SLOWLOG and LATENCY.

#![allow(clippy::unwrap_used)]

mod harness;

use std::time::Duration;

use fastness_resp::Value;
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(config: &str) -> FrontEnd {
    let server = FrontEnd::open(Options { config: config.into(), durability: Durability::Sync, ..Options::default() });
    server.connect();
    server
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(members) => members,
        other => panic!("{other:?}"),
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("{other:?}"),
    }
}

/// Id, value and arguments of each entry of a log.
fn entries(client: &mut Client, log: &str) -> Vec<(i64, i64, Vec<Value>)> {
    let all = array(client.call(&["COMMANDLOG", "GET", "-1", log])).into_iter().map(|entry| {
        let entry = array(entry);
        assert_eq!(entry.len(), 6);
        assert!(number(&entry[1]) > 1_700_000_000, "seconds since the epoch");
        (number(&entry[0]), number(&entry[2]), array(entry[3].clone()))
    });
    all.collect()
}

#[test]
fn large_requests_and_replies_are_logged_from_their_thresholds_on() {
    let server = open(
        "commandlog-execution-slower-than -1\ncommandlog-request-larger-than 1000\ncommandlog-reply-larger-than 1000\n",
    );
    let mut client = server.connect();
    let text = "x".repeat(993);
    assert_eq!(client.call(&["SET", "k", &text]), simple("OK"));
    assert_eq!(client.call(&["GET", "k"]), bulk(&text));
    // The request is longer than its value; the reply has 993 bytes and 8 around them.
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$993\r\n{text}\r\n").len() as i64;
    let shown = format!("{}... (865 more bytes)", "x".repeat(128));
    assert_eq!(entries(&mut client, "large-request"), [(0, request, vec![bulk("SET"), bulk("k"), bulk(&shown)])]);
    assert_eq!(entries(&mut client, "Large-Reply"), [(0, 1001, vec![bulk("GET"), bulk("k")])]);
    assert_eq!(entries(&mut client, "slow"), []);
    let wide = client.call(&["CONFIG", "SET", "commandlog-reply-larger-than", "1002"]);
    assert_eq!(wide, simple("OK"));
    client.call(&["GET", "k"]);
    assert_eq!(client.call(&["COMMANDLOG", "LEN", "large-reply"]), Value::Integer(1));
    let one = client.call(&["CONFIG", "SET", "commandlog-large-request-max-len", "1"]);
    assert_eq!(one, simple("OK"));
    client.call(&["SET", "k2", &text]);
    assert_eq!(entries(&mut client, "large-request").iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [1]);
    assert_eq!(client.call(&["COMMANDLOG", "RESET", "large-request"]), simple("OK"));
    assert_eq!(client.call(&["COMMANDLOG", "LEN", "large-request"]), Value::Integer(0));
    assert_eq!(client.call(&["COMMANDLOG", "LEN", "large-reply"]), Value::Integer(1));
    let off = client.call(&["CONFIG", "SET", "commandlog-request-larger-than", "-1"]);
    assert_eq!(off, simple("OK"));
    client.call(&["SET", "k2", &text]);
    assert_eq!(client.call(&["COMMANDLOG", "LEN", "large-request"]), Value::Integer(0));
    let refused = "-ERR type should be one of the following: slow, large-request, large-reply";
    assert_eq!(client.call_text(&["COMMANDLOG", "LEN", "large"]), refused);
    let refused = "-ERR count should be greater than or equal to -1";
    assert_eq!(client.call_text(&["COMMANDLOG", "GET", "-2", "slow"]), refused);
}

#[test]
fn the_slow_log_has_two_names() {
    let server = open("slowlog-log-slower-than 0\nslowlog-max-len 3\n");
    let mut client = server.connect();
    let option = |client: &mut Client, name: &str| array(client.call(&["CONFIG", "GET", name]))[1].clone();
    assert_eq!(option(&mut client, "commandlog-execution-slower-than"), bulk("0"));
    assert_eq!(option(&mut client, "commandlog-slow-execution-max-len"), bulk("3"));
    assert_eq!(entries(&mut client, "slow").len(), 3);
    assert_eq!(array(client.call(&["SLOWLOG", "GET", "2"])).len(), 2);
    assert_eq!(client.call(&["CONFIG", "SET", "commandlog-execution-slower-than", "-1"]), simple("OK"));
    assert_eq!(option(&mut client, "slowlog-log-slower-than"), bulk("-1"));
    assert_eq!(client.call(&["COMMANDLOG", "RESET", "slow"]), simple("OK"));
    assert_eq!(client.call(&["SLOWLOG", "LEN"]), Value::Integer(0));
}

/// The names of the events that have samples.
fn latest(client: &mut Client) -> Vec<String> {
    let names = array(client.call(&["LATENCY", "LATEST"])).into_iter().map(|event| {
        let event = array(event);
        assert_eq!(event.len(), 6);
        let [newest, max, sum, count] = [2, 3, 4, 5].map(|at| number(&event[at]));
        assert!(newest > 0 && newest <= max && max <= sum && count >= 1, "{event:?}");
        String::from_utf8(event[0].as_bytes().unwrap().to_vec()).unwrap()
    });
    names.collect()
}

#[test]
fn delays_from_the_threshold_on_become_samples_of_latency() {
    let server = open("");
    let (mut client, mut writer) = (server.connect(), server.connect());
    assert!(client.call_text(&["LATENCY", "DOCTOR"]).contains("disabled"));
    assert_eq!(client.call(&["CONFIG", "SET", "latency-monitor-threshold", "1"]), simple("OK"));
    // It takes a while to copy so much.
    assert_eq!(client.call(&["SET", "long", &"x".repeat(64 << 20)]), simple("OK"));
    assert!(latest(&mut client).contains(&"command".to_owned()));
    server.set_commits(false);
    writer.send(&["SET", "k", "v"]);
    std::thread::sleep(Duration::from_millis(30));
    server.set_commits(true);
    assert_eq!(writer.receive(), simple("OK"));
    eventually("the commit is a sample", || latest(&mut client).contains(&"commit".to_owned()));
    let samples = array(client.call(&["LATENCY", "HISTORY", "commit"]));
    assert!(samples.iter().any(|sample| number(&array(sample.clone())[1]) >= 1), "{samples:?}");
    assert!(client.call_text(&["LATENCY", "GRAPH", "commit"]).starts_with("commit - high "));
    let doctor = client.call_text(&["LATENCY", "DOCTOR"]);
    assert!(doctor.contains(". commit: ") && doctor.contains("\n- commit: "), "{doctor}");
    assert_eq!(client.call(&["LATENCY", "HISTORY", "Commit"]), Value::Array(Vec::new()));
    assert_eq!(client.call_text(&["LATENCY", "GRAPH", "fork"]), "-ERR No samples available for event 'fork'");
    assert_eq!(client.call(&["CONFIG", "SET", "latency-monitor-threshold", "0"]), simple("OK"));
    assert_eq!(client.call(&["LATENCY", "RESET", "COMMIT", "fork"]), Value::Integer(1));
    assert!(!latest(&mut client).contains(&"commit".to_owned()));
    client.call(&["LATENCY", "RESET"]);
    assert_eq!(latest(&mut client), Vec::<String>::new());
}

#[test]
fn help_lists_every_subcommand() {
    let server = open("");
    let mut client = server.connect();
    for (container, subcommands) in [
        ("LATENCY", &["DOCTOR", "GRAPH <event>", "HISTOGRAM", "HISTORY <event>", "LATEST", "RESET", "HELP"][..]),
        ("COMMANDLOG", &["GET <count>", "LEN", "RESET", "HELP"][..]),
    ] {
        let lines = array(client.call(&[container, "HELP"]));
        let lines: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line.as_bytes().unwrap())).collect();
        for subcommand in subcommands {
            assert!(lines.iter().any(|line| line.starts_with(subcommand)), "{container} {subcommand}: {lines:?}");
        }
    }
}
