//! Client-side caching over real sockets: who is informed of which change, and when.

#![allow(clippy::unwrap_used)]

mod harness;

use fastness_resp::Value;
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(durability: Durability, config: &str) -> FrontEnd {
    FrontEnd::open(Options { durability, config: config.to_owned(), ..Options::default() })
}

fn ok(client: &mut Client, words: &[&str]) {
    assert_eq!(client.call(words), simple("OK"), "{words:?}");
}

/// A connection in RESP3 that tracks with these options.
fn tracker(server: &FrontEnd, options: &[&str]) -> Client {
    let mut client = server.connect();
    assert!(matches!(client.call(&["HELLO", "3"]), Value::Map(_)));
    ok(&mut client, &[&["CLIENT", "TRACKING", "ON"], options].concat());
    client
}

fn invalid(keys: &[&str]) -> Value {
    Value::Push(vec![bulk("invalidate"), Value::Array(keys.iter().map(|key| bulk(key)).collect())])
}

fn everything() -> Value {
    Value::Push(vec![bulk("invalidate"), Value::Null])
}

/// Nothing has come before the reply to a command that touches no data.
fn expect_nothing(client: &mut Client) {
    // Messages leave in a task of their own, which has its turn between two commands of another connection.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(client.call(&["ECHO", "nothing before"]), bulk("nothing before"));
}

fn id(client: &mut Client) -> String {
    client.call_text(&["CLIENT", "ID"])
}

fn figure(client: &mut Client, name: &str) -> i64 {
    let info = client.call_text(&["INFO"]);
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_reader_is_informed_once_of_a_change() {
    for durability in [Durability::Sync, Durability::Async, Durability::Disabled] {
        let server = open(durability, "");
        let (mut reader, mut writer) = (tracker(&server, &[]), server.connect());
        ok(&mut writer, &["MSET", "{x}a", "1", "{x}b", "1"]);
        assert_eq!(reader.call(&["MGET", "{x}a", "{x}b"]), Value::Array(vec![bulk("1"), bulk("1")]));
        assert_eq!(reader.call(&["GET", "missing"]), Value::Null);
        assert_eq!((figure(&mut writer, "tracking_clients"), figure(&mut writer, "tracking_total_keys")), (1, 3));
        assert!(figure(&mut writer, "mem_client_tracking") > 3 * 100);
        ok(&mut writer, &["SET", "{x}a", "2"]);
        assert_eq!(reader.receive(), invalid(&["{x}a"]));
        ok(&mut writer, &["SET", "{x}a", "3"]);
        ok(&mut writer, &["SET", "not read", "3"]);
        expect_nothing(&mut reader);
        ok(&mut writer, &["SET", "missing", "3"]);
        assert_eq!(reader.receive(), invalid(&["missing"]));
        assert_eq!(writer.call(&["APPEND", "{x}b", "1"]), Value::Integer(2));
        assert_eq!(reader.receive(), invalid(&["{x}b"]));
        // Its own changes count, too; the message follows the reply.
        assert_eq!(reader.call(&["GET", "{x}a"]), bulk("3"));
        ok(&mut reader, &["SET", "{x}a", "4"]);
        assert_eq!(reader.receive(), invalid(&["{x}a"]));
        // What was refused was not read.
        assert!(reader.call_text(&["MGET", "a", "b"]).starts_with("-CROSSSLOT"));
        assert_eq!(figure(&mut writer, "tracking_total_keys"), 0);
        ok(&mut reader, &["CLIENT", "TRACKING", "OFF"]);
        assert_eq!(figure(&mut writer, "tracking_clients"), 0);
    }
}

/// In `sync` readers are informed when the change has committed, and whoever reads before that hears of the next one.
#[test]
fn in_sync_readers_are_informed_after_the_commit() {
    let server = open(Durability::Sync, "");
    let (mut reader, mut writer) = (tracker(&server, &[]), server.connect());
    let mut wide = tracker(&server, &["BCAST", "PREFIX", "k"]);
    assert_eq!(reader.call(&["GET", "k"]), Value::Null);
    server.set_commits(false);
    writer.send(&["SET", "k", "1"]);
    expect_nothing(&mut reader);
    expect_nothing(&mut wide);
    reader.send(&["GET", "k"]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    server.set_commits(true);
    // The message is due to the first read, and does not end what the second one has entered.
    let both = [reader.receive(), reader.receive()];
    assert!(both.contains(&invalid(&["k"])) && both.contains(&bulk("1")), "{both:?}");
    assert_eq!(wide.receive(), invalid(&["k"]));
    assert_eq!(writer.receive(), simple("OK"));
    ok(&mut writer, &["SET", "k", "2"]);
    assert_eq!(reader.receive(), invalid(&["k"]));
    assert_eq!(wide.receive(), invalid(&["k"]));
}

#[test]
fn a_durability_override_delays_the_message_to_the_commit() {
    let server = open(Durability::Async, "");
    let (mut reader, mut writer) = (tracker(&server, &[]), server.connect());
    ok(&mut writer, &["CLIENT", "DURABILITY", "SYNC"]);
    assert_eq!(reader.call(&["GET", "k"]), Value::Null);
    server.set_commits(false);
    writer.send(&["SET", "k", "1"]);
    expect_nothing(&mut reader);
    server.set_commits(true);
    assert_eq!(reader.receive(), invalid(&["k"]));
    assert_eq!(writer.receive(), simple("OK"));
}

#[test]
fn what_is_undone_invalidates_everything() {
    for durability in [Durability::Sync, Durability::Async] {
        let server = open(durability, "");
        let (mut reader, mut writer) = (tracker(&server, &[]), server.connect());
        let mut wide = tracker(&server, &["BCAST"]);
        assert_eq!(reader.call(&["GET", "other"]), Value::Null);
        server.set_commits(false);
        writer.send(&["SET", "k", "1"]);
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.lose(2);
        for client in [&mut reader, &mut wide] {
            let mut received = client.receive();
            if durability == Durability::Async && received == invalid(&["k"]) {
                received = client.receive();
            }
            assert_eq!(received, everything());
        }
    }
}

#[test]
fn a_flush_and_a_gained_role_invalidate_everything() {
    let server = open(Durability::Async, "");
    let (mut reader, mut writer) = (tracker(&server, &["NOLOOP"]), server.connect());
    let mut wide = tracker(&server, &["BCAST", "PREFIX", "nothing"]);
    assert_eq!(reader.call(&["GET", "k"]), Value::Null);
    ok(&mut writer, &["FLUSHALL"]);
    assert_eq!((reader.receive(), wide.receive()), (everything(), everything()));
    assert_eq!(figure(&mut writer, "tracking_total_keys"), 0);
    ok(&mut reader, &["FLUSHDB"]);
    assert_eq!((reader.receive(), wide.receive()), (everything(), everything()));
    server.follow_nobody();
    server.lead(2);
    assert_eq!((reader.receive(), wide.receive()), (everything(), everything()));
}

#[test]
fn an_expired_key_is_invalid() {
    let server = open(Durability::Sync, "");
    let (mut reader, mut writer) = (tracker(&server, &[]), server.connect());
    ok(&mut writer, &["SET", "k", "1", "PX", "60"]);
    assert_eq!(reader.call(&["GET", "k"]), bulk("1"));
    assert_eq!(reader.receive(), invalid(&["k"]));
    assert_eq!(reader.call(&["GET", "k"]), Value::Null);
}

#[test]
fn noloop_hides_own_changes_alone() {
    let server = open(Durability::Async, "");
    let (mut reader, mut writer) = (tracker(&server, &["NOLOOP"]), server.connect());
    let mut wide = tracker(&server, &["BCAST", "NOLOOP"]);
    assert_eq!(reader.call(&["GET", "k"]), Value::Null);
    ok(&mut reader, &["SET", "k", "1"]);
    assert_eq!(wide.receive(), invalid(&["k"]));
    expect_nothing(&mut reader);
    // It knows its own value, which others may change.
    ok(&mut writer, &["SET", "k", "2"]);
    assert_eq!((reader.receive(), wide.receive()), (invalid(&["k"]), invalid(&["k"])));
    ok(&mut wide, &["SET", "k", "3"]);
    expect_nothing(&mut wide);
    for command in [&["MULTI"][..], &["GET", "{n}k"], &["SET", "{n}k", "4"], &["SET", "{n}j", "4"]] {
        assert!(matches!(reader.call(command), Value::Simple(_)));
    }
    assert!(matches!(reader.call(&["EXEC"]), Value::Array(_)));
    assert_eq!(wide.receive(), invalid(&["{n}j", "{n}k"]));
    expect_nothing(&mut reader);
    // The command that ends NOLOOP is no writer of what follows.
    ok(&mut reader, &["CLIENT", "TRACKING", "OFF"]);
    ok(&mut reader, &["CLIENT", "TRACKING", "ON"]);
    assert_eq!(reader.call(&["GET", "k"]), bulk("3"));
    ok(&mut writer, &["SET", "k", "5"]);
    assert_eq!(reader.receive(), invalid(&["k"]));
}

#[test]
fn with_bcast_a_unit_is_one_message_without_repetitions() {
    let server = open(Durability::Async, "");
    let mut writer = server.connect();
    let mut some = tracker(&server, &["BCAST", "PREFIX", "{x}a", "PREFIX", "{x}bc"]);
    let mut all = tracker(&server, &["BCAST", "PREFIX", "{x}a"]);
    ok(&mut all, &["CLIENT", "TRACKING", "ON", "BCAST"]);
    assert_eq!(figure(&mut writer, "tracking_total_prefixes"), 3);
    ok(&mut writer, &["MULTI"]);
    for name in ["{x}a1", "{x}b", "{x}a1", "{x}bcd", "{x}a0"] {
        assert_eq!(writer.call(&["SET", name, "1"]), simple("QUEUED"));
    }
    assert!(matches!(writer.call(&["EXEC"]), Value::Array(_)));
    let mut some_keys = [some.receive(), some.receive()];
    some_keys.sort_by_key(|value| format!("{value:?}"));
    assert_eq!(some_keys, [invalid(&["{x}a0", "{x}a1"]), invalid(&["{x}bcd"])]);
    let keys = invalid(&["{x}a0", "{x}a1", "{x}b", "{x}bcd"]);
    assert_eq!(all.receive(), keys, "each key once, though two prefixes have it");
    expect_nothing(&mut all);
    ok(&mut all, &["CLIENT", "TRACKING", "OFF"]);
    assert_eq!(figure(&mut writer, "tracking_total_prefixes"), 2);
}

#[test]
fn messages_can_be_redirected() {
    let server = open(Durability::Sync, "");
    let (mut reader, mut writer, mut receiver) = (server.connect(), server.connect(), server.connect());
    let receiver_id = id(&mut receiver);
    ok(&mut reader, &["CLIENT", "TRACKING", "ON", "REDIRECT", &receiver_id]);
    assert_eq!(reader.call_text(&["CLIENT", "GETREDIR"]), receiver_id);
    assert!(reader.call_text(&["CLIENT", "INFO"]).contains(&format!(" redir={receiver_id} ")));
    // In RESP2 nothing reaches a connection without subscriptions.
    reader.call(&["GET", "k"]);
    ok(&mut writer, &["SET", "k", "1"]);
    expect_nothing(&mut receiver);
    assert_eq!(
        receiver.call(&["SUBSCRIBE", "__redis__:invalidate"]),
        Value::Array(vec![bulk("subscribe"), bulk("__redis__:invalidate"), Value::Integer(1)])
    );
    let message = |payload: Value| Value::Array(vec![bulk("message"), bulk("__redis__:invalidate"), payload]);
    reader.call(&["GET", "k"]);
    ok(&mut writer, &["SET", "k", "2"]);
    assert_eq!(receiver.receive(), message(Value::Array(vec![bulk("k")])));
    ok(&mut writer, &["FLUSHALL"]);
    assert_eq!(receiver.receive(), message(Value::Null));
    // A receiver that waits for nothing, in RESP3.
    let mut other = server.connect();
    other.call(&["HELLO", "3"]);
    let other_id = id(&mut other);
    ok(&mut reader, &["CLIENT", "TRACKING", "ON", "REDIRECT", &other_id]);
    reader.call(&["GET", "k"]);
    ok(&mut writer, &["SET", "k", "3"]);
    assert_eq!(other.receive(), invalid(&["k"]));
}

#[test]
fn a_broken_redirection_is_reported() {
    let server = open(Durability::Async, "");
    let (mut reader, mut writer, mut receiver) = (tracker(&server, &[]), server.connect(), server.connect());
    let receiver_id = id(&mut receiver);
    ok(&mut reader, &["CLIENT", "TRACKING", "ON", "REDIRECT", &receiver_id]);
    reader.call(&["GET", "k"]);
    drop(receiver);
    eventually("the receiver has left", || figure(&mut writer, "connected_clients") == 2);
    ok(&mut writer, &["SET", "k", "1"]);
    let number = Value::Integer(receiver_id.parse().unwrap());
    assert_eq!(reader.receive(), Value::Push(vec![bulk("tracking-redir-broken"), number.clone()]));
    assert!(reader.call_text(&["CLIENT", "INFO"]).contains(" flags=tR "));
    let flags = Value::Set(vec![bulk("on"), bulk("broken_redirect")]);
    let shown = vec![(bulk("flags"), flags), (bulk("redirect"), number), (bulk("prefixes"), Value::Array(vec![]))];
    assert_eq!(reader.call(&["CLIENT", "TRACKINGINFO"]), Value::Map(shown));
    assert_eq!(
        reader.call_text(&["CLIENT", "TRACKING", "ON", "REDIRECT", &receiver_id]),
        "-ERR The client ID you want redirect to does not exist"
    );
    ok(&mut reader, &["CLIENT", "TRACKING", "ON"]);
    assert!(reader.call_text(&["CLIENT", "INFO"]).contains(" flags=t "));
}

#[test]
fn optin_and_optout_choose_commands_and_transactions() {
    let server = open(Durability::Async, "");
    let mut writer = server.connect();
    let (mut optin, mut optout) = (tracker(&server, &["OPTIN"]), tracker(&server, &["OPTOUT"]));
    let mut changed = |name: &str| ok(&mut writer, &["SET", name, "1"]);
    optin.call(&["GET", "k"]);
    optout.call(&["GET", "k"]);
    changed("k");
    assert_eq!(optout.receive(), invalid(&["k"]));
    expect_nothing(&mut optin);
    ok(&mut optin, &["CLIENT", "CACHING", "YES"]);
    id(&mut optin);
    optin.call(&["GET", "k"]);
    optin.call(&["GET", "j"]);
    ok(&mut optout, &["CLIENT", "CACHING", "NO"]);
    optout.call(&["GET", "k"]);
    optout.call(&["GET", "j"]);
    changed("k");
    changed("j");
    assert_eq!((optin.receive(), optout.receive()), (invalid(&["k"]), invalid(&["j"])));
    expect_nothing(&mut optin);
    expect_nothing(&mut optout);

    // The whole transaction, and nothing after it.
    ok(&mut optin, &["CLIENT", "CACHING", "YES"]);
    for command in [&["MULTI"][..], &["GET", "{m}1"], &["GET", "{m}2"]] {
        assert!(matches!(optin.call(command), Value::Simple(_)));
    }
    assert_eq!(optin.call(&["EXEC"]), Value::Array(vec![Value::Null, Value::Null]));
    optin.call(&["GET", "{m}3"]);
    for name in ["{m}3", "{m}2", "{m}1"] {
        changed(name);
    }
    assert_eq!((optin.receive(), optin.receive()), (invalid(&["{m}2"]), invalid(&["{m}1"])));
    // Within the transaction.
    for command in [&["MULTI"][..], &["GET", "{m}1"], &["CLIENT", "CACHING", "YES"], &["GET", "{m}2"]] {
        assert!(matches!(optin.call(command), Value::Simple(_)));
    }
    optin.call(&["EXEC"]);
    changed("{m}1");
    changed("{m}2");
    assert_eq!(optin.receive(), invalid(&["{m}2"]));
    expect_nothing(&mut optin);
}

/// A change in a transaction after the read: the message follows the reply of EXEC.
#[test]
fn a_transaction_that_reads_and_writes() {
    let server = open(Durability::Sync, "");
    let mut client = tracker(&server, &[]);
    for command in [&["MULTI"][..], &["GET", "k"], &["SET", "k", "1"], &["GET", "k"]] {
        assert!(matches!(client.call(command), Value::Simple(_)));
    }
    assert_eq!(client.call(&["EXEC"]), Value::Array(vec![Value::Null, simple("OK"), bulk("1")]));
    assert_eq!(client.receive(), invalid(&["k"]));
}

#[test]
fn a_table_at_its_bound_invalidates_random_keys() {
    let server = open(Durability::Async, "tracking-table-max-keys 10");
    let (mut reader, mut writer) = (tracker(&server, &[]), server.connect());
    for i in 0..25 {
        reader.send(&["GET", &format!("key{i}")]);
    }
    let received: Vec<Value> = (0..40).map(|_| reader.receive()).collect();
    assert_eq!(received.iter().filter(|value| matches!(value, Value::Push(_))).count(), 15);
    assert_eq!(figure(&mut writer, "tracking_total_keys"), 10);
    ok(&mut writer, &["CONFIG", "SET", "tracking-table-max-keys", "3"]);
    for _ in 0..7 {
        assert!(matches!(reader.receive(), Value::Push(_)));
    }
    assert_eq!(figure(&mut writer, "tracking_total_keys"), 3);
    ok(&mut writer, &["CONFIG", "SET", "tracking-table-max-keys", "0"]);
    for i in 0..100 {
        reader.call(&["GET", &format!("other{i}")]);
    }
    assert_eq!(figure(&mut writer, "tracking_total_keys"), 103);
    drop(reader);
    eventually("nobody's keys are forgotten", || figure(&mut writer, "tracking_total_keys") == 0);
    eventually("nothing is kept", || figure(&mut writer, "mem_client_tracking") == 0);
}

/// Readers that leave do not stay in the table, also if their keys never change.
#[test]
fn readers_that_leave_are_cleared_up() {
    let server = open(Durability::Async, "");
    let (mut stays, mut other) = (tracker(&server, &[]), server.connect());
    stays.call(&["GET", "hot"]);
    for _ in 0..20 {
        let mut client = tracker(&server, &[]);
        client.call(&["GET", "hot"]);
        client.call(&["GET", "own"]);
    }
    eventually("one reader is left", || {
        figure(&mut other, "tracking_total_items") == 1 && figure(&mut other, "tracking_total_keys") == 1
    });
}

#[test]
fn a_reader_that_takes_no_messages_is_closed() {
    let server = open(Durability::Async, "client-output-buffer-limit normal 1mb 0 0");
    let (mut reader, mut writer) = (tracker(&server, &["BCAST"]), server.connect());
    let name = "k".repeat(100_000);
    let is_closed = |writer: &mut Client| figure(writer, "client_output_buffer_limit_disconnections") > 0;
    let mut writes = 0;
    while !is_closed(&mut writer) {
        ok(&mut writer, &["SET", &name, "1"]);
        writes += 1;
        assert!(writes < 10_000, "it is never closed");
    }
    while reader.try_receive().is_some() {}
    eventually("it does not track any more", || figure(&mut writer, "tracking_clients") == 0);
}

#[test]
fn reset_and_the_end_of_a_connection_end_tracking() {
    let server = open(Durability::Async, "");
    let (mut client, mut other) = (tracker(&server, &["BCAST", "PREFIX", "a"]), server.connect());
    assert!(client.call_text(&["CLIENT", "INFO"]).contains(" flags=tB "));
    assert_eq!(client.call(&["RESET"]), simple("RESET"));
    assert_eq!(figure(&mut other, "tracking_total_prefixes"), 0);
    let info = client.call(&["CLIENT", "TRACKINGINFO"]);
    let array = Value::Array(vec![
        bulk("flags"),
        Value::Array(vec![bulk("off")]),
        bulk("redirect"),
        Value::Integer(-1),
        bulk("prefixes"),
        Value::Array(vec![]),
    ]);
    assert_eq!(info, array);
    // What was read in RESP3 can be redirected after a switch to RESP2.
    let mut receiver = server.connect();
    receiver.call(&["HELLO", "3"]);
    ok(&mut client, &["CLIENT", "TRACKING", "ON"]);
    client.call(&["GET", "k"]);
    let receiver_id = id(&mut receiver);
    ok(&mut client, &["CLIENT", "TRACKING", "ON", "REDIRECT", &receiver_id]);
    ok(&mut other, &["SET", "k", "1"]);
    assert_eq!(receiver.receive(), invalid(&["k"]));
}

/// Valkey 9.1's replies to the same requests, but for the ids.
#[test]
fn mistakes_are_answered_as_in_valkey() {
    let server = open(Durability::Async, "");
    let mut client = server.connect();
    let own = id(&mut client);
    let switched = |what: &str| {
        format!(
            "-ERR You can't switch {what} before disabling tracking for this client, and then re-enabling it with a \
             different mode."
        )
    };
    let overlaps = |own: &str, kind: &str, other: &str| {
        let rule = "Prefixes for a single client must not overlap.";
        format!("-ERR Prefix '{own}' overlaps with {kind} prefix '{other}'. {rule}")
    };
    let caching_off = "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
                       mode enabled";
    let cases: &[(&str, &str)] = &[
        ("TRACKING", "-ERR wrong number of arguments for 'client|tracking' command"),
        ("TRACKING maybe", "-ERR syntax error"),
        ("TRACKING ON foo", "-ERR syntax error"),
        ("TRACKING ON REDIRECT", "-ERR syntax error"),
        ("TRACKING ON PREFIX", "-ERR syntax error"),
        ("TRACKING ON REDIRECT x", "-ERR value is not an integer or out of range"),
        ("TRACKING ON REDIRECT 999999", "-ERR The client ID you want redirect to does not exist"),
        ("TRACKING ON REDIRECT 0", "-ERR The client ID you want redirect to does not exist"),
        ("TRACKING ON REDIRECT OWN REDIRECT OWN", "-ERR A client can only redirect to a single other client"),
        ("TRACKING ON REDIRECT OWN", "OK"),
        ("TRACKING OFF", "OK"),
        ("GETREDIR", "-1"),
        ("TRACKING ON PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"),
        ("TRACKING ON BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("TRACKING ON OPTIN OPTOUT", "-ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("CACHING YES", caching_off),
        ("CACHING", "-ERR wrong number of arguments for 'client|caching' command"),
        ("TRACKING ON", "OK"),
        ("GETREDIR", "0"),
        ("CACHING YES", "-ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."),
        ("CACHING NO", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
        ("CACHING maybe", "-ERR syntax error"),
        ("TRACKING ON BCAST", &switched("BCAST mode on/off")),
        ("TRACKING ON OPTIN", "OK"),
        ("TRACKING ON OPTOUT", &switched("OPTIN/OPTOUT mode")),
        ("TRACKING OFF REDIRECT 999999", "-ERR The client ID you want redirect to does not exist"),
        ("TRACKING OFF", "OK"),
        ("TRACKING ON BCAST PREFIX ab PREFIX x", "OK"),
        ("TRACKING ON BCAST PREFIX a", &overlaps("a", "an existing", "ab")),
        ("TRACKING ON BCAST PREFIX abc", &overlaps("abc", "an existing", "ab")),
        ("TRACKING ON BCAST PREFIX ab", &overlaps("ab", "an existing", "ab")),
        ("TRACKING ON BCAST PREFIX z PREFIX q1 PREFIX q", &overlaps("q1", "another provided", "q")),
        ("TRACKING ON", &switched("BCAST mode on/off")),
        ("TRACKING ON BCAST", "OK"),
        ("GETREDIR x", "-ERR wrong number of arguments for 'client|getredir' command"),
    ];
    for (words, expected) in cases {
        let words: Vec<&str> = words.split(' ').map(|word| if word == "OWN" { &own[..] } else { word }).collect();
        assert_eq!(client.call_text(&[&["CLIENT"][..], &words].concat()), *expected, "{words:?}");
    }
    ok(&mut client, &["CLIENT", "TRACKING", "OFF"]);
    let long = ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", &"p".repeat(1025)];
    assert_eq!(client.call_text(&long), "-ERR prefix is longer than 1024 bytes");
}
