//! DEBUG: who may use it, and what its subcommands do, over a socket.

#![allow(clippy::unwrap_used)]

mod harness;

use std::io::Read as _;
use std::time::{Duration, Instant};

use fastness_resp::Value;
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, eventually, simple};

fn open(config: &str) -> FrontEnd {
    FrontEnd::open(Options { config: config.into(), durability: Durability::Sync, ..Options::default() })
}

fn allowed() -> FrontEnd {
    open("enable-debug-command local\nloop-stall-max 500ms\n")
}

/// The bytes of a reply.
fn check_bytes(client: &mut Client, args: &[&str], expected: &[u8]) {
    client.send(args);
    let mut received = vec![0; expected.len()];
    client.stream.read_exact(&mut received).unwrap();
    assert_eq!(received.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{args:?}");
}

const NOT_ALLOWED: &str = "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
                           run it from a local connection, otherwise you need to set this option in the configuration \
                           file, and then restart the server.";

#[test]
fn it_is_off_by_default() {
    let server = open("");
    let mut client = server.connect();
    for args in [&["DEBUG", "HELP"][..], &["DEBUG", "SLEEP", "0"], &["debug", "no such subcommand"]] {
        assert_eq!(client.call_text(args), NOT_ALLOWED);
    }
    let set = client.call_text(&["CONFIG", "SET", "enable-debug-command", "yes"]);
    assert!(set.starts_with("-ERR"), "{set}");
    assert_eq!(client.call(&["MULTI"]), simple("OK"));
    assert_eq!(client.call_text(&["DEBUG", "SLEEP", "0"]), NOT_ALLOWED);
    assert!(client.call_text(&["EXEC"]).starts_with("-EXECABORT"));
}

#[test]
fn a_reply_of_each_type() {
    let server = allowed();
    let mut client = server.connect();
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "string"], b"$11\r\nHello World\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "integer"], b":12345\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "double"], b"$5\r\n3.141\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "null"], b"$-1\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "set"], b"*3\r\n:0\r\n:1\r\n:2\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "map"], b"*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n");
    let reply = b"$39\r\nSome real reply following the attribute\r\n";
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "attrib"], reply);
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "push"], b"-ERR RESP2 is not supported by this command\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "true"], b":1\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "verbatim"], b"$25\r\nThis is a verbatim\nstring\r\n");
    client.call(&["HELLO", "3"]);
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "double"], b",3.141\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "bignum"], b"(1234567999999999999999999999999999999\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "null"], b"_\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "array"], b"*3\r\n:0\r\n:1\r\n:2\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "set"], b"~3\r\n:0\r\n:1\r\n:2\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "map"], b"%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n");
    let before = b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n";
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "attrib"], &[&before[..], reply].concat());
    let push = b">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n";
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "push"], push);
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "false"], b"#f\r\n");
    check_bytes(&mut client, &["DEBUG", "PROTOCOL", "verbatim"], b"=29\r\ntxt:This is a verbatim\nstring\r\n");
    let wrong = client.call_text(&["DEBUG", "PROTOCOL", "float"]);
    assert!(wrong.starts_with("-ERR Wrong protocol type name."), "{wrong}");
}

#[test]
fn active_expiry_stops_and_resumes() {
    let server = allowed();
    let mut client = server.connect();
    assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]), simple("OK"));
    assert_eq!(client.call(&["SET", "k", "v", "PX", "20"]), simple("OK"));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(client.call(&["DBSIZE"]), Value::Integer(1));
    assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]), simple("OK"));
    eventually("the key is removed", || client.call(&["DBSIZE"]) == Value::Integer(0));
    assert_eq!(client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]), simple("OK"));
    assert_eq!(client.call(&["SET", "k", "v", "PX", "20"]), simple("OK"));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client.call(&["GET", "k"]), Value::Null, "a command that meets the key does not show it");
    assert_eq!(client.call(&["DBSIZE"]), Value::Integer(0));
    assert_eq!(client.call_text(&["DEBUG", "SET-ACTIVE-EXPIRE", "2"]), "-ERR argument must be 0 or 1");
}

#[test]
fn a_sleep_blocks_the_shard_for_at_most_half_of_the_longest_stall() {
    let server = allowed();
    let (mut sleeper, mut other) = (server.connect(), server.connect());
    let start = Instant::now();
    sleeper.send(&["DEBUG", "SLEEP", "0.2"]);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(other.call(&["PING"]), simple("PONG"));
    assert!(start.elapsed() >= Duration::from_millis(180), "{:?}", start.elapsed());
    assert_eq!(sleeper.receive(), simple("OK"));
    // Two of one pipeline: the second one waits for a turn of the loop.
    sleeper.send(&["DEBUG", "SLEEP", "0.05"]);
    sleeper.send(&["DEBUG", "SLEEP", "0.05"]);
    assert_eq!((sleeper.receive(), sleeper.receive()), (simple("OK"), simple("OK")));
    let refused = sleeper.call_text(&["DEBUG", "SLEEP", "0.3"]);
    assert!(refused.starts_with("-ERR DEBUG SLEEP may take at most 250 ms here"), "{refused}");
    assert_eq!(sleeper.call_text(&["DEBUG", "SLEEP", "-1"]), "-ERR value is not a valid float");
    assert_eq!(other.call(&["SET", "k", "v"]), simple("OK"));
}

#[test]
fn equal_data_has_equal_digests() {
    let server = allowed();
    let mut client = server.connect();
    let nothing = "0".repeat(40);
    assert_eq!(client.call(&["DEBUG", "DIGEST"]), simple(&nothing));
    client.call(&["RPUSH", "{a}1", "x", "y"]);
    client.call(&["COPY", "{a}1", "{a}2"]);
    client.call(&["RPUSH", "{a}3", "y", "x"]);
    let Value::Array(digests) = client.call(&["DEBUG", "DIGEST-VALUE", "{a}1", "{a}2", "{a}3", "{a}4"]) else {
        panic!("no array");
    };
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
    assert_eq!(digests[3], simple(&nothing));
    let digest = client.call_text(&["DEBUG", "DIGEST"]);
    assert!(digest.len() == 40 && digest != nothing, "{digest}");
    client.call(&["DEL", "{a}2"]);
    assert_ne!(client.call_text(&["DEBUG", "DIGEST"]), digest);
    client.call(&["COPY", "{a}1", "{a}2"]);
    assert_eq!(client.call_text(&["DEBUG", "DIGEST"]), digest);
}

#[test]
fn a_reload_rebuilds_the_data_once_everything_has_committed() {
    let server = allowed();
    let (mut client, mut writer) = (server.connect(), server.connect());
    client.call(&["SET", "k", "v"]);
    client.call(&["HSET", "h", "f", "v"]);
    let digest = client.call(&["DEBUG", "DIGEST"]);
    for args in [&["DEBUG", "RELOAD"], &["DEBUG", "LOADAOF"]] {
        assert_eq!(client.call(args), simple("OK"));
        assert_eq!(client.call(&["DEBUG", "DIGEST"]), digest);
    }
    server.set_commits(false);
    writer.send(&["SET", "k", "w"]);
    std::thread::sleep(Duration::from_millis(50));
    client.send(&["DEBUG", "RELOAD"]);
    std::thread::sleep(Duration::from_millis(50));
    server.set_commits(true);
    assert_eq!((writer.receive(), client.receive()), (simple("OK"), simple("OK")));
    assert_eq!(client.call_text(&["GET", "k"]), "w");
    let refused = client.call_text(&["DEBUG", "RELOAD", "NOSAVE"]);
    assert!(refused.starts_with("-ERR DEBUG RELOAD takes no options here"), "{refused}");
}

#[test]
fn how_values_are_stored() {
    let server = allowed();
    let mut client = server.connect();
    client.call(&["SET", "k", "hello"]);
    let line = client.call_text(&["DEBUG", "OBJECT", "k"]);
    assert!(line.starts_with("Value at:0x") && line.contains(" encoding:embstr serializedlength:6 lru:"), "{line}");
    assert_eq!(client.call_text(&["DEBUG", "OBJECT", "missing"]), "-ERR no such key");
    let small = client.call_text(&["DEBUG", "HTSTATS-KEY", "k"]);
    assert!(small.starts_with("-ERR The value stored at the specified key"), "{small}");
    for member in 0..300 {
        client.call(&["SADD", "s", &format!("member {member}")]);
    }
    assert!(client.call_text(&["DEBUG", "HTSTATS-KEY", "s"]).starts_with("encoding: hashtable\n"));
    let stats = client.call_text(&["DEBUG", "HTSTATS", "0"]);
    assert_eq!(stats, "[Dictionary HT]\nnumber of elements: 2\n[Expires HT]\nnumber of elements: 0\n");
    assert_eq!(client.call_text(&["DEBUG", "HTSTATS", "1"]), "-ERR Out of range database");
}

#[test]
fn what_is_harmless_is_accepted_and_what_would_be_a_lie_is_refused() {
    let server = allowed();
    let mut client = server.connect();
    for args in [
        &["DEBUG", "JMAP"][..],
        &["DEBUG", "QUICKLIST-PACKED-THRESHOLD", "200b"],
        &["DEBUG", "QUICKLIST-PACKED-THRESHOLD", "1b"],
        &["DEBUG", "REPLYBUFFER", "RESIZING", "0"],
        &["DEBUG", "PAUSE-CRON", "0"],
        &["DEBUG", "LOG", "a test starts"],
    ] {
        assert_eq!(client.call(args), simple("OK"), "{args:?}");
    }
    for args in [
        &["DEBUG", "CHANGE-REPL-ID"][..],
        &["DEBUG", "LISTPACK", "k"],
        &["DEBUG", "PAUSE-CRON", "1"],
        &["DEBUG", "REPLYBUFFER", "PEAK-RESET-TIME", "100"],
        &["DEBUG", "POPULATE", "10"],
    ] {
        let refused = client.call_text(args);
        assert!(refused.contains(" is not implemented: "), "{args:?} {refused}");
    }
    assert_eq!(client.call(&["DEBUG", "STRINGMATCH-LEN", "1000", "a*a*a*"]), Value::Integer(1));
    assert_eq!(client.call(&["DEBUG", "STRINGMATCH-LEN", "1000", "a*b"]), Value::Integer(0));
    assert_eq!(client.call_text(&["DEBUG", "ERROR", "CODE a text"]), "-CODE a text");
    let unknown = "-ERR unknown subcommand or wrong number of arguments for 'foo'. Try DEBUG HELP.";
    assert_eq!(client.call_text(&["DEBUG", "foo"]), unknown);
    let Value::Array(lines) = client.call(&["DEBUG", "HELP"]) else { panic!("no array") };
    assert!(lines.contains(&simple("SLEEP <seconds>")) && lines.len() % 2 == 1, "{lines:?}");
    assert_eq!(lines[lines.len() - 2], simple("HELP"));
}
