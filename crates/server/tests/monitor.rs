//! MONITOR, MEMORY, and how commands and the loop are counted.

#![allow(clippy::unwrap_used)]

mod harness;

use fastness_resp::Value;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(config: &str) -> FrontEnd {
    let server = FrontEnd::open(Options { config: config.into(), ..Options::default() });
    server.connect();
    server
}

fn monitor(server: &FrontEnd) -> Client {
    let mut monitor = server.connect_raw();
    assert_eq!(monitor.call(&["MONITOR"]), simple("OK"));
    monitor
}

/// The command of the next line, after its time and address.
fn shown(monitor: &mut Client) -> String {
    let line = match monitor.receive() {
        Value::Simple(line) => String::from_utf8(line.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    let (time, rest) = line.split_once(' ').unwrap();
    let (seconds, micros) = time.split_once('.').unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000 && micros.len() == 6, "{line}");
    let (client, command) = rest.split_once("] ").unwrap();
    assert!(client.starts_with("[0 127.0.0.1:"), "{line}");
    command.to_owned()
}

#[test]
fn commands_are_shown_as_they_run_and_secrets_never() {
    let server = open("");
    let (mut monitor, mut client) = (monitor(&server), server.connect_raw());
    client.call(&["SET", "k", "a\"\n"]);
    client.call(&["ACL", "SETUSER", "bob", ">secret"]);
    client.call(&["CONFIG", "SET", "timeout", "0"]);
    client.call(&["AUTH", "nobody", "secret"]);
    client.call(&["HELLO", "2", "AUTH", "nobody", "secret"]);
    client.call(&["AUTH", "nobody", "secret", "more"]);
    client.call(&["SET", "k"]);
    client.call(&["NOSUCH"]);
    client.call(&["GETRANGE", "k", "x", "1"]);
    client.call(&["MULTI"]);
    client.call(&["AUTH", "nobody", "secret"]);
    client.call(&["EXEC"]);
    for command in [
        r#""SET" "k" "a\"\n""#,
        r#""AUTH" "(redacted)" "(redacted)""#,
        r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)""#,
        r#""AUTH" "(redacted)" "(redacted)" "(redacted)""#,
        r#""GETRANGE" "k" "x" "1""#,
        r#""MULTI""#,
        r#""AUTH" "(redacted)" "(redacted)""#,
        r#""EXEC""#,
    ] {
        assert_eq!(shown(&mut monitor), command);
    }
}

#[test]
fn commands_of_a_transaction_are_shown_when_they_run() {
    let server = open("");
    let (mut monitor, mut client) = (monitor(&server), server.connect_raw());
    for command in [&["MULTI"][..], &["SET", "k", "1"], &["LPUSH", "k", "1"], &["MONITOR"]] {
        client.call(command);
    }
    let Value::Array(replies) = client.call(&["EXEC"]) else { panic!("EXEC runs") };
    assert_eq!(replies[2], Value::Error("ERR MONITOR isn't allowed for DENY BLOCKING client".into()));
    for command in [r#""MULTI""#, r#""SET" "k" "1""#, r#""LPUSH" "k" "1""#, r#""EXEC""#] {
        assert_eq!(shown(&mut monitor), command);
    }
}

#[test]
fn a_command_that_waits_is_shown_once_when_it_starts_to_wait() {
    let server = open("");
    let (mut monitor, mut client, mut waiting) = (monitor(&server), server.connect_raw(), server.connect_raw());
    waiting.send(&["BLPOP", "list", "0"]);
    assert_eq!(shown(&mut monitor), r#""BLPOP" "list" "0""#);
    client.call(&["LPUSH", "list", "1"]);
    waiting.receive();
    waiting.call(&["PING"]);
    assert_eq!(shown(&mut monitor), r#""LPUSH" "list" "1""#);
    assert_eq!(shown(&mut monitor), r#""PING""#);
}

#[test]
fn a_monitor_uses_no_data_until_reset() {
    let server = open("");
    let (mut monitor, mut client) = (monitor(&server), server.connect_raw());
    for command in [&["GET", "k"][..], &["SET", "k", "1"], &["PUBLISH", "c", "m"]] {
        assert_eq!(monitor.call_text(command), "-ERR Replica can't interact with the keyspace");
    }
    assert_eq!(monitor.call(&["PING"]), simple("PONG"));
    assert_eq!(shown(&mut monitor), r#""PING""#);
    let list = client.call_text(&["CLIENT", "LIST", "FLAGS", "O"]);
    assert_eq!(list.lines().filter(|line| line.contains(" flags=O ")).count(), 1, "{list}");
    assert_eq!(monitor.call(&["RESET"]), simple("RESET"));
    client.call(&["PING"]);
    assert_eq!(monitor.call(&["GET", "k"]), Value::Null);
}

#[test]
fn a_monitor_that_does_not_read_is_closed() {
    let server = open("client-output-buffer-limit normal 1mb 0 0\n");
    let (_monitor, mut client) = (monitor(&server), server.connect_raw());
    let text = "x".repeat(100_000);
    let is_closed = || {
        client.call(&["SET", "k", &text]);
        !client.call_text(&["CLIENT", "LIST"]).contains(" flags=O ")
    };
    eventually("the monitor is closed", is_closed);
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(members) => members,
        other => panic!("{other:?}"),
    }
}

/// One line of INFO.
fn line(client: &mut Client, section: &str, name: &str) -> Option<String> {
    let info = client.call_text(&["INFO", section]);
    let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.map(str::to_owned)
}

/// Calls, rejected calls and failed calls of a command.
fn counts(client: &mut Client, command: &str) -> Option<[u64; 3]> {
    let line = line(client, "commandstats", &format!("cmdstat_{command}"))?;
    let of = |name: &str| {
        line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')).unwrap().parse().unwrap()
    };
    Some([of("calls"), of("rejected_calls"), of("failed_calls")])
}

#[test]
fn commands_of_a_transaction_are_counted_when_they_run() {
    let server = open("slowlog-log-slower-than 0\n");
    let mut client = server.connect();
    client.call(&["SET", "k", "text"]);
    client.call(&["CONFIG", "RESETSTAT"]);
    client.call(&["SLOWLOG", "RESET"]);
    client.call(&["MULTI"]);
    client.call(&["LPUSH", "k", "1"]);
    assert_eq!(counts(&mut server.connect_raw(), "lpush"), None, "it has not run");
    client.call(&["EXEC"]);
    assert_eq!(counts(&mut client, "lpush"), Some([1, 0, 1]));
    assert_eq!(counts(&mut client, "exec"), Some([1, 0, 0]));
    assert_eq!(line(&mut client, "errorstats", "errorstat_WRONGTYPE").as_deref(), Some("count=1"));
    let logged: Vec<_> = array(client.call(&["SLOWLOG", "GET", "-1"])).into_iter().map(array).collect();
    let names: Vec<_> = logged.iter().map(|entry| array(entry[3].clone())[0].clone()).collect();
    assert!(names.contains(&bulk("LPUSH")) && !names.contains(&bulk("EXEC")), "{names:?}");
}

#[test]
fn a_wrong_number_of_arguments_is_a_rejected_call() {
    let server = open("");
    let mut client = server.connect();
    client.call(&["CONFIG", "RESETSTAT"]);
    client.call(&["SET", "k"]);
    assert_eq!(counts(&mut client, "set"), Some([0, 1, 0]));
    client.call(&["MULTI"]);
    client.call(&["SET", "k"]);
    client.call(&["EXEC"]);
    assert_eq!(counts(&mut client, "set"), Some([0, 2, 0]));
    client.call(&["OBJECT", "ENCODING"]);
    assert_eq!(counts(&mut client, "object|encoding"), Some([0, 1, 0]));
}

#[test]
fn memory_answers_without_an_allocator_that_it_knows() {
    let server = open("");
    let mut client = server.connect();
    client.call(&["SET", "k", "text"]);
    assert_eq!(client.call(&["MEMORY", "PURGE"]), simple("OK"));
    let text = client.call_text(&["MEMORY", "MALLOC-STATS"]);
    assert_eq!(text, "Stats not supported for the current allocator");
    let stats = array(client.call(&["MEMORY", "STATS"]));
    let of = |name: &str| stats[stats.iter().position(|one| *one == bulk(name)).unwrap() + 1].clone();
    assert_eq!(of("keys.count"), Value::Integer(1));
    assert_eq!(of("dataset.bytes"), of("keys.bytes-per-key"));
    assert!(!stats.contains(&bulk("allocator.allocated")));
}

#[test]
fn the_loop_is_counted() {
    let server = open("");
    let mut client = server.connect();
    let mut number = |name: &str| line(&mut client, "stats", name).unwrap().parse::<u64>().unwrap();
    assert!(number("eventloop_cycles") > 0 && number("eventloop_duration_sum") > 0);
    assert!(number("eventloop_duration_cmd_sum") > 0);
    number("instantaneous_eventloop_cycles_per_sec");
    number("instantaneous_eventloop_duration_usec");
}

#[test]
fn a_percentage_over_100_is_refused_in_valkeys_words() {
    let server = open("");
    let refused = "-ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be \
                   less or equal to 100";
    assert_eq!(server.connect().call_text(&["CONFIG", "SET", "maxmemory-clients", "200%"]), refused);
}
