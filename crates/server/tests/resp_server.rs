//! The RESP front end over real sockets: what clients send in whatever pieces, what they get and when.

#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::Arc;

use fastness_consensus::observed::Observed;
use fastness_control::SettingsChange;
use fastness_resp::{Value, request};
use fastness_server::settings;
use fastness_types::{BootNs, Clock as _, Durability, SystemClock};
use harness::{FrontEnd, Options, bulk, eventually, simple};

fn asynchronous() -> Options {
    Options { durability: Durability::Async, ..Options::default() }
}

#[test]
fn set_and_get_in_every_form() {
    let server = FrontEnd::open(Options::default());
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
    assert_eq!(client.call(&["get", "k"]), bulk("v"));
    client.send_raw(b"GET k\r\n");
    assert_eq!(client.receive(), bulk("v"));
    client.send_raw(b"\r\n*0\r\nset k \"a \\x41\"\nGET k\r\n");
    assert_eq!(client.receive(), simple("OK"));
    assert_eq!(client.receive(), bulk("a A"));
    assert_eq!(client.call_text(&["nosuch", "a"]), "-ERR unknown command 'nosuch', with args beginning with: 'a' ");
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let mut pipeline = Vec::new();
    for i in 0..10_000 {
        request::encode(&["SET", &format!("k{i}"), &format!("{i}")], &mut pipeline);
        request::encode(&["GET", &format!("k{i}")], &mut pipeline);
    }
    // Written while it is answered: neither side may wait for the other for ever.
    let mut sender = server.connect();
    std::mem::swap(&mut sender, &mut client);
    for chunk in pipeline.chunks(100_000) {
        sender.send_raw(chunk);
    }
    for i in 0..10_000 {
        assert_eq!(sender.receive(), simple("OK"));
        assert_eq!(sender.receive(), bulk(&i.to_string()));
    }
}

#[test]
fn packets_may_be_cut_anywhere() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let mut stream = Vec::new();
    request::encode(&["SET", "key", "a longer value\r\nwith lines"], &mut stream);
    request::encode(&["GET", "key"], &mut stream);
    stream.extend_from_slice(b"PING 'in line'\r\n");
    for byte in stream {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.receive(), simple("OK"));
    assert_eq!(client.receive(), bulk("a longer value\r\nwith lines"));
    assert_eq!(client.receive(), bulk("in line"));
}

#[test]
fn a_large_value_goes_through() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let value = "x".repeat(8 << 20);
    assert_eq!(client.call(&["SET", "k", &value]), simple("OK"));
    assert_eq!(client.call(&["GET", "k"]), bulk(&value));
}

#[test]
fn protocol_errors_are_told_and_close() {
    let server = FrontEnd::open(asynchronous());
    for (bytes, error) in [
        (&b"*1\r\nPING\r\n"[..], "ERR Protocol error: expected '$', got 'P'"),
        (b"*x\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$-5\r\n", "ERR Protocol error: invalid bulk length"),
        (b"set \"a\n", "ERR Protocol error: unbalanced quotes in request"),
    ] {
        let mut client = server.connect();
        client.send_raw(b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n");
        client.send_raw(bytes);
        assert_eq!(client.receive(), bulk("a"), "what came before is answered");
        assert_eq!(client.receive(), Value::Error(error.into()));
        assert_eq!(client.try_receive(), None);
    }
}

#[test]
fn a_sync_write_is_answered_after_its_commit() {
    let server = FrontEnd::open(Options::default());
    let mut writer = server.connect();
    let mut reader = server.connect();
    assert_eq!(writer.call(&["SET", "k", "old"]), simple("OK"));
    server.set_commits(false);
    writer.send(&["SET", "k", "new"]);
    writer.send(&["PING"]);
    // Another key is not held; and it is answered after the write has been executed.
    eventually("the write is staged", || {
        reader.call_text(&["INFO", "durability"]).contains("durability_uncommitted_batches:1")
    });
    assert_eq!(reader.call(&["GET", "other"]), Value::Null);
    reader.send(&["GET", "k"]);
    let mut third = server.connect();
    let held = third.call_text(&["CLIENT", "LIST"]);
    assert_eq!(held.lines().filter(|line| !line.contains(" omem=0 ")).count(), 2, "{held}");
    server.set_commits(true);
    assert_eq!(writer.receive(), simple("OK"));
    assert_eq!(writer.receive(), simple("PONG"));
    assert_eq!(reader.receive(), bulk("new"));
}

#[test]
fn what_looks_into_a_slot_is_held_like_a_read() {
    let server = FrontEnd::open(Options::default());
    let (mut writer, mut reader) = (server.connect(), server.connect());
    server.set_commits(false);
    writer.send(&["SET", "foo", "new"]);
    eventually("the write is staged", || {
        reader.call_text(&["INFO", "durability"]).contains("durability_uncommitted_batches:1")
    });
    let mut queued = server.connect_raw();
    assert_eq!(queued.call(&["MULTI"]), simple("OK"));
    assert_eq!(queued.call(&["CLUSTER", "COUNTKEYSINSLOT", "12182"]), simple("QUEUED"));
    queued.send(&["EXEC"]);
    reader.send(&["CLUSTER", "GETKEYSINSLOT", "12182", "10"]);
    let mut third = server.connect_raw();
    eventually("all three wait", || {
        third.call_text(&["CLIENT", "LIST"]).lines().filter(|line| !line.contains(" omem=0 ")).count() == 3
    });
    server.set_commits(true);
    assert_eq!(writer.receive(), simple("OK"));
    assert_eq!(reader.receive(), Value::Array(vec![bulk("foo")]));
    assert_eq!(queued.receive(), Value::Array(vec![Value::Integer(1)]));
}

#[test]
fn an_async_write_is_answered_before_its_commit() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    server.set_commits(false);
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
    assert_eq!(client.call(&["GET", "k"]), bulk("v"));
}

#[test]
fn a_write_that_is_lost_is_unknown_and_a_read_of_it_may_be_retried() {
    let server = FrontEnd::open(Options::default());
    let mut writer = server.connect();
    let mut reader = server.connect();
    server.set_commits(false);
    writer.send(&["SET", "k", "lost"]);
    writer.send(&["PING"]);
    eventually("the write is staged", || {
        reader.call_text(&["INFO", "durability"]).contains("durability_uncommitted_batches:1")
    });
    reader.send(&["GET", "k"]);
    let mut third = server.connect_raw();
    eventually("the read is held", || {
        third.call_text(&["CLIENT", "LIST"]).lines().filter(|line| !line.contains(" omem=0 ")).count() == 2
    });
    server.lose(2);
    let unknown = writer.receive();
    assert!(unknown.as_error().unwrap().starts_with(b"UNKNOWN "), "{unknown:?}");
    assert_eq!(writer.receive(), simple("PONG"));
    let refused = reader.receive();
    assert!(refused.as_error().unwrap().starts_with(b"CLUSTERDOWN "), "{refused:?}");
    // The new primary is named from then on.
    assert_eq!(writer.call_text(&["GET", "k"]), "-MOVED 7629 127.0.0.1:1");
    assert_eq!(reader.call(&["READONLY"]), simple("OK"));
    eventually("the replica shows what was committed", || reader.call(&["GET", "k"]) == Value::Null);
}

/// Once memory is full: before, its replies are kept, up to its own limit.
#[test]
fn a_slow_reader_costs_no_more_than_the_bound() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "k", &"x".repeat(100_000)]), simple("OK"));
    let mut slow = server.connect();
    assert_eq!(client.call(&["CONFIG", "SET", "maxmemory", "100kb"]), simple("OK"));
    const REPLIES: usize = 2_000;
    for _ in 0..REPLIES {
        slow.send(&["GET", "k"]);
    }
    let unsent = |line: &str| -> u64 {
        let field = line.split(' ').find_map(|field| field.strip_prefix("omem=")).unwrap();
        field.parse().unwrap()
    };
    let mut most = 0;
    for _ in 0..50 {
        let list = client.call_text(&["CLIENT", "LIST"]);
        most = most.max(list.lines().map(unsent).max().unwrap());
    }
    assert!(most > 0, "nothing waited");
    assert!(most < 16 * 1024 + 101_000, "{most} bytes waited");
    for _ in 0..REPLIES {
        assert!(matches!(slow.receive(), Value::Bulk(value) if value.len() == 100_000));
    }
}

#[test]
fn a_reader_over_the_hard_limit_is_closed() {
    let config = "client-output-buffer-limit normal 1mb 0 0".to_owned();
    let server = FrontEnd::open(Options { config, ..asynchronous() });
    let mut client = server.connect();
    // More than fits into the sockets' buffers on the way.
    assert_eq!(client.call(&["SET", "k", &"x".repeat(60 << 20)]), simple("OK"));
    client.send(&["GET", "k"]);
    eventually("the slow reader is closed", || {
        let mut other = server.connect_raw();
        other.call_text(&["INFO", "stats"]).contains("client_output_buffer_limit_disconnections:1")
    });
}

#[test]
fn too_many_clients_are_refused() {
    let server = FrontEnd::open(Options { config: "maxclients 2".into(), ..asynchronous() });
    let mut one = server.connect();
    let _two = server.connect();
    let mut three = server.connect_raw();
    assert_eq!(three.receive(), Value::Error("ERR max number of clients reached".into()));
    assert_eq!(three.try_receive(), None);
    assert!(one.call_text(&["INFO", "stats"]).contains("rejected_connections:1"));
}

#[test]
fn a_password_is_required() {
    let server = FrontEnd::open(Options { config: "requirepass secret".into(), ..asynchronous() });
    let mut client = server.connect_raw();
    assert_eq!(client.call_text(&["GET", "k"]), "-NOAUTH Authentication required.");
    assert!(client.call_text(&["HELLO", "3"]).starts_with("-NOAUTH HELLO must be called with"));
    assert_eq!(client.call_text(&["AUTH", "wrong"]), "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(client.call(&["AUTH", "default", "secret"]), simple("OK"));
    eventually("the replica serves", || client.call(&["GET", "k"]) == Value::Null);
    assert_eq!(client.call(&["RESET"]), simple("RESET"));
    assert_eq!(client.call_text(&["GET", "k"]), "-NOAUTH Authentication required.");
    let mut other = server.connect_raw();
    assert!(matches!(other.call(&["HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me"]), Value::Map(_)));
    assert_eq!(other.call(&["CLIENT", "GETNAME"]), bulk("me"));
    let mut greedy = server.connect_raw();
    greedy.send_raw(b"*11\r\n");
    assert_eq!(greedy.receive(), Value::Error("ERR Protocol error: unauthenticated multibulk length".into()));
}

/// Schedule 50: the password may have been changed on all nodes but this one.
#[test]
fn a_node_that_has_not_heard_group_0_lets_nobody_in_by_a_password() {
    const UNSURE: &str = "-LOADING This node has not heard the cluster's control plane";
    for config in ["requirepass secret", ""] {
        let server = FrontEnd::open(Options { config: config.into(), ..asynchronous() });
        let observed = Arc::new(Observed::new(Arc::new(SystemClock)));
        server.node.set_observed(observed.clone());
        let mut client = server.connect_raw();
        // It has just started.
        let refused = if config.is_empty() { UNSURE } else { "-NOAUTH " };
        assert!(client.call_text(&["GET", "k"]).starts_with(refused));
        assert!(client.call_text(&["AUTH", "default", "secret"]).starts_with(UNSURE));
        assert!(client.call_text(&["HELLO", "3", "AUTH", "default", "secret"]).starts_with(UNSURE));
        // It was sure once, long ago: a cluster without a password can be used still.
        observed.set_control_heard(BootNs(1));
        assert!(client.call_text(&["AUTH", "default", "secret"]).starts_with(UNSURE));
        if config.is_empty() {
            eventually("the replica serves", || client.call(&["GET", "k"]) == Value::Null);
            continue;
        }
        assert!(client.call_text(&["GET", "k"]).starts_with("-NOAUTH "));
        // From the moment on that it is sure, the password counts, and for some seconds only.
        observed.set_control_heard(SystemClock.boot());
        assert!(client.call_text(&["AUTH", "wrong"]).starts_with("-WRONGPASS "));
        assert_eq!(client.call(&["AUTH", "secret"]), simple("OK"));
    }
}

/// The cluster's password heartbeats the config file's, and is known by its hash alone.
#[test]
fn the_clusters_password_counts_wherever_the_map_has_one() {
    let server = FrontEnd::open(Options { config: "requirepass file".into(), ..asynchronous() });
    let map = server.node.map.load_full().unwrap();
    let change = SettingsChange { password: Some(settings::password("cluster")), max_lag: None };
    server.node.map.store(Some(Arc::new(map.with_settings(&change).unwrap())));
    server.node.follow_users();
    let mut client = server.connect_raw();
    assert!(client.call_text(&["AUTH", "file"]).starts_with("-WRONGPASS "));
    assert_eq!(client.call(&["AUTH", "cluster"]), simple("OK"));
    assert_eq!(client.call(&["CONFIG", "GET", "requirepass"]), Value::Array(vec![bulk("requirepass"), bulk("*****")]));
    let map = server.node.map.load_full().unwrap();
    let change = SettingsChange { password: Some(settings::password("")), max_lag: None };
    server.node.map.store(Some(Arc::new(map.with_settings(&change).unwrap())));
    server.node.follow_users();
    let mut other = server.connect_raw();
    eventually("the replica serves", || other.call(&["GET", "k"]) == Value::Null);
    assert_eq!(other.call(&["CONFIG", "GET", "requirepass"]), Value::Array(vec![bulk("requirepass"), bulk("")]));
}

#[test]
fn hello_tells_who_is_there() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let Value::Map(fields) = client.call(&["HELLO", "3"]) else { panic!("not a map") };
    let names: Vec<_> = fields.iter().map(|(name, _)| String::from_utf8_lossy(name.as_bytes().unwrap())).collect();
    assert_eq!(names, ["server", "version", "proto", "id", "mode", "role", "modules", "availability_zone"]);
    assert_eq!(fields[4].1, bulk("cluster"));
    assert_eq!(fields[5].1, bulk("master"));
    assert_eq!(fields[7].1, bulk("a"));
    assert_eq!(client.call_text(&["HELLO", "4"]), "-NOPROTO unsupported protocol version");
    assert_eq!(client.call_text(&["HELLO", "3", "foo"]), "-ERR Syntax error in HELLO option 'foo'");
    assert_eq!(client.call(&["GET", "none"]), Value::Null);
    assert!(matches!(client.call(&["HELLO", "2"]), Value::Array(fields) if fields.len() == 16));
}

#[test]
fn topology_and_zones() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let Value::Array(slots) = client.call(&["CLUSTER", "SLOTS"]) else { panic!("not an array") };
    let Value::Array(shard) = &slots[0] else { panic!("not an array") };
    let Value::Array(primary) = &shard[2] else { panic!("not an array") };
    assert_eq!(primary[1], Value::Integer(i64::from(server.address.port())));
    assert_eq!(primary[3], Value::Array(vec![bulk("availability-zone"), bulk("a")]));
    let id = client.call_text(&["CLUSTER", "MYID"]);
    assert_eq!(primary[2], bulk(&id));
    assert!(client.call_text(&["CLUSTER", "NODES"]).starts_with(&format!("{id} 127.0.0.1:")));
    assert!(client.call_text(&["CLUSTER", "INFO"]).starts_with("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
    assert_eq!(client.call(&["CLUSTER", "KEYSLOT", "foo"]), Value::Integer(12182));
    assert_eq!(client.call(&["CLUSTER", "COUNT-FAILURE-REPORTS", &id]), Value::Integer(0));
    assert_eq!(client.call_text(&["CLUSTER", "COUNT-FAILURE-REPORTS", "x"]), "-ERR Unknown node x");
    assert_eq!(client.call(&["CLUSTER", "GETSLOTMIGRATIONS"]), Value::Array(Vec::new()));
    assert_eq!(client.call(&["CLUSTER", "SAVECONFIG"]), simple("OK"));
    let refused = client.call_text(&["CLUSTER", "MEET", "127.0.0.1", "1"]);
    assert!(refused.starts_with("-ERR ") && refused.contains("fastness cluster"), "{refused}");
    let info = client.call_text(&["INFO"]);
    for line in
        ["availability_zone:a", "role:master", "cluster_enabled:1", "loading:0", "redis_mode:cluster", "# Durability"]
    {
        assert!(info.contains(line), "no {line} in {info}");
    }
    assert!(!info.contains("cmdstat_"));
    assert!(client.call_text(&["INFO", "ALL"]).contains("cmdstat_info:calls=1,"));
}

#[test]
fn config_is_shown_and_changed() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let pair = |name: &str, value: &str| Value::Array(vec![bulk(name), bulk(value)]);
    for (name, value) in [("save", ""), ("appendonly", "no"), ("databases", "1"), ("cluster-enabled", "yes")] {
        assert_eq!(client.call(&["CONFIG", "GET", name]), pair(name, value));
    }
    assert_eq!(client.call(&["CONFIG", "GET", "maxmemory-p*"]), pair("maxmemory-policy", "noeviction"));
    assert_eq!(client.call(&["CONFIG", "SET", "timeout", "77", "maxclients", "5"]), simple("OK"));
    assert_eq!(client.call(&["CONFIG", "GET", "timeout"]), pair("timeout", "77"));
    for (args, error) in [
        (vec!["nosuch", "1"], "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        (
            vec!["dir", "/tmp"],
            "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set immutable config",
        ),
        (
            vec!["timeout", "1", "timeout", "2"],
            "-ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter",
        ),
        (
            vec!["timeout", "1", "maxclients", "0"],
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - expected a number from 1 to 1000000, not '0'",
        ),
    ] {
        assert_eq!(client.call_text(&[&["CONFIG", "SET"], args.as_slice()].concat()), error);
    }
    assert_eq!(client.call(&["CONFIG", "GET", "timeout"]), pair("timeout", "77"), "all or nothing");
    assert_eq!(client.call(&["CONFIG", "SET", "maxmemory", "1"]), simple("OK"));
    assert!(
        client.call_text(&["SET", "k", "v"]).starts_with("-OOM ") || {
            // The first one may still fit: the bound is compared before a command runs.
            client.call_text(&["SET", "k2", "v"]).starts_with("-OOM ")
        }
    );
    assert_eq!(client.call(&["CONFIG", "RESETSTAT"]), simple("OK"));
    assert!(!client.call_text(&["INFO", "commandstats"]).contains("cmdstat_set:"));
}

/// How values are stored follows from options, within Valkey's ranges.
#[test]
fn options_of_representations_apply_at_once() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let pair = |name: &str, value: &str| Value::Array(vec![bulk(name), bulk(value)]);
    for (name, alias, default, value) in [
        ("list-max-listpack-size", "list-max-ziplist-size", "-2", "3"),
        ("hash-max-listpack-entries", "hash-max-ziplist-entries", "512", "1000000000"),
        ("hash-max-listpack-value", "hash-max-ziplist-value", "64", "1000000000"),
        ("stream-node-max-entries", "stream-node-max-entries", "100", "2"),
        ("stream-node-max-bytes", "stream-node-max-bytes", "4096", "0"),
        ("hll-sparse-max-bytes", "hll-sparse-max-bytes", "3000", "30"),
    ] {
        assert_eq!(client.call(&["CONFIG", "GET", alias]), pair(alias, default));
        assert_eq!(client.call(&["CONFIG", "SET", alias, value]), simple("OK"));
        assert_eq!(client.call(&["CONFIG", "GET", name]), pair(name, value));
    }
    client.call(&["RPUSH", "l", "a", "b", "c"]);
    assert_eq!(client.call(&["OBJECT", "ENCODING", "l"]), bulk("listpack"));
    client.call(&["RPUSH", "l", "d"]);
    assert_eq!(client.call(&["OBJECT", "ENCODING", "l"]), bulk("quicklist"));
    for id in ["1", "2", "3"] {
        client.call(&["XADD", "s", id, "a", "1"]);
    }
    assert_eq!(client.call(&["XTRIM", "s", "MAXLEN", "~", "1"]), Value::Integer(2));
    let lowest = client.call_text(&["CONFIG", "SET", "list-max-listpack-size", "-2147483649"]);
    assert!(lowest.starts_with("-ERR CONFIG SET failed (possibly related to argument 'list-max-listpack-size')"));
    let depth = client.call_text(&["CONFIG", "SET", "list-compress-depth", "1"]);
    assert!(depth.contains("is always '0' here"), "{depth}");
    client.call(&["GET", "k"]);
    assert!(client.call_text(&["INFO", "latencystats"]).contains("latency_percentiles_usec_get:p50="));
    assert_eq!(client.call(&["CONFIG", "SET", "latency-tracking-info-percentiles", "0.5 100"]), simple("OK"));
    let stats = client.call_text(&["INFO", "latencystats"]);
    assert!(stats.contains("latency_percentiles_usec_get:p0.5=") && stats.contains(",p100="), "{stats}");
    assert_eq!(client.call(&["CONFIG", "SET", "latency-tracking-info-percentiles", ""]), simple("OK"));
    assert_eq!(client.call_text(&["INFO", "latencystats"]), "# Latencystats\r\n");
}

#[test]
fn a_slot_is_flushed_and_a_snapshot_requested() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    for key in ["foo", "{foo}2", "bar"] {
        assert_eq!(client.call(&["SET", key, "1"]), simple("OK"));
    }
    assert_eq!(client.call(&["CLUSTER", "FLUSHSLOT", "12182", "ASYNC"]), simple("OK"));
    assert_eq!(client.call(&["DBSIZE"]), Value::Integer(1));
    let idle = "-ERR Background saving is currently not in progress or scheduled";
    assert_eq!(client.call_text(&["BGSAVE", "CANCEL"]), idle);
    // What these tests start has no folder for snapshots; the shard's tests make one.
    assert_eq!(client.call_text(&["BGSAVE"]), "-ERR this replica stores no snapshots");
    assert_eq!(client.call_text(&["BGSAVE", "SCHEDULE"]), "-ERR this replica stores no snapshots");
    assert_eq!(client.call_text(&["BGSAVE", "now"]), "-ERR syntax error");
}

#[test]
fn clients_are_listed_named_and_closed() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let mut other = server.connect();
    assert_eq!(client.call(&["CLIENT", "SETNAME", "me"]), simple("OK"));
    assert_eq!(client.call(&["CLIENT", "SETINFO", "LIB-NAME", "test"]), simple("OK"));
    assert!(client.call_text(&["CLIENT", "SETNAME", "a b"]).starts_with("-ERR Client names cannot"));
    let own = client.call_text(&["CLIENT", "INFO"]);
    assert!(own.contains(" name=me ") && own.contains(" lib-name=test ") && own.contains(" cmd=client|info "), "{own}");
    let id = other.call_text(&["CLIENT", "ID"]);
    assert_eq!(client.call_text(&["CLIENT", "LIST", "ID", &id]).lines().count(), 1);
    assert_eq!(client.call_text(&["CLIENT", "KILL", "ID", &id]), "1");
    assert_eq!(other.try_receive(), None);
    assert_eq!(client.call_text(&["CLIENT", "KILL", "1.2.3.4:5"]), "-ERR No such client");
    assert_eq!(client.call_text(&["CLIENT", "KILL", "SKIPME", "no"]), "1");
    assert_eq!(client.try_receive(), None);
}

#[test]
fn replies_can_be_switched_off() {
    let server = FrontEnd::open(Options::default());
    let mut client = server.connect();
    client.send(&["CLIENT", "REPLY", "OFF"]);
    client.send(&["SET", "k", "v"]);
    client.send(&["CLIENT", "REPLY", "ON"]);
    assert_eq!(client.receive(), simple("OK"));
    client.send(&["CLIENT", "REPLY", "SKIP"]);
    client.send(&["GET", "k"]);
    client.send(&["ECHO", "after"]);
    assert_eq!(client.receive(), bulk("after"));
}

#[test]
fn wait_counts_copies_and_lets_others_go_on() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    let mut other = server.connect();
    server.set_commits(false);
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
    client.send(&["WAIT", "1", "0"]);
    client.send(&["ECHO", "later"]);
    eventually("it waits", || other.call_text(&["INFO", "clients"]).contains("blocked_clients:1"));
    server.set_commits(true);
    assert_eq!(client.receive(), Value::Integer(2));
    assert_eq!(client.receive(), bulk("later"));
}

#[test]
fn transactions_are_one_unit() {
    let server = FrontEnd::open(Options::default());
    let mut client = server.connect();
    assert_eq!(client.call(&["MULTI"]), simple("OK"));
    assert_eq!(client.call(&["SET", "{a}1", "x"]), simple("QUEUED"));
    assert_eq!(client.call(&["INCR", "{a}2"]), simple("QUEUED"));
    assert_eq!(client.call(&["EXEC"]), Value::Array(vec![simple("OK"), Value::Integer(1)]));
}

#[test]
fn quit_and_shutdown() {
    let server = FrontEnd::open(asynchronous());
    let mut client = server.connect();
    assert_eq!(client.call(&["QUIT"]), simple("OK"));
    assert_eq!(client.try_receive(), None);
}

/// Newer rules are known to exist, and this node does not get them.
#[test]
fn nothing_runs_by_rules_that_are_outdated() {
    let server = FrontEnd::open(asynchronous());
    let (mut client, mut queued) = (server.connect(), server.connect());
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"));
    assert_eq!(queued.call(&["MULTI"]), simple("OK"));
    assert_eq!(queued.call(&["SET", "k", "w"]), simple("QUEUED"));
    assert!(server.node.accounts.set_outdated(true));
    let mut new = server.connect_raw();
    for client in [&mut client, &mut new] {
        for args in [&["GET", "k"][..], &["READONLY"], &["ACL", "WHOAMI"], &["CONFIG", "GET", "port"], &["MULTI"]] {
            let reply = client.call_text(args);
            assert!(reply.starts_with("-LOADING This node does not have the newest rules"), "{args:?}: {reply}");
        }
        let reply = client.call_text(&["AUTH", "default", "x"]);
        assert!(reply.starts_with("-LOADING This node does not have the newest rules"), "{reply}");
    }
    let reply = queued.call_text(&["EXEC"]);
    assert!(reply.starts_with("-LOADING This node does not have the newest rules"), "{reply}");
    assert!(server.node.accounts.set_outdated(false) && !server.node.accounts.set_outdated(false));
    assert_eq!(client.call(&["GET", "k"]), bulk("v"));
    assert_eq!(new.call(&["GET", "k"]), bulk("v"));
}
