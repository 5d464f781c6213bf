//! Channels and their subscribers on one replica, over real sockets.

#![allow(clippy::unwrap_used)]

mod harness;

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_control::Users;
use fastness_resp::{Value, request};
use fastness_server::publications::message::{Lost, Publication};
use fastness_types::Durability;
use harness::{Client, FrontEnd, Options, bulk, eventually, simple};

fn open(durability: Durability, config: &str) -> FrontEnd {
    FrontEnd::open(Options { durability, config: config.to_owned(), ..Options::default() })
}

fn items(words: &[&str]) -> Vec<Value> {
    words.iter().map(|word| word.parse().map_or_else(|_| bulk(word), Value::Integer)).collect()
}

/// A message or confirmation in RESP2; numbers are integers.
fn array(words: &[&str]) -> Value {
    Value::Array(items(words))
}

/// The same in RESP3.
fn push(words: &[&str]) -> Value {
    Value::Push(items(words))
}

fn resp3(client: &mut Client) {
    assert!(matches!(client.call(&["HELLO", "3"]), Value::Map(_)));
}

fn figure(client: &mut Client, name: &str) -> i64 {
    let info = client.call_text(&["INFO"]);
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    line.unwrap().parse().unwrap()
}

#[test]
fn messages_reach_channels_patterns_and_channels_of_the_shard() {
    let server = open(Durability::Sync, "");
    let (mut publisher, mut second, mut third) = (server.connect(), server.connect(), server.connect());
    assert_eq!(second.call(&["SUBSCRIBE", "news", "other"]), array(&["subscribe", "news", "1"]));
    assert_eq!(second.receive(), array(&["subscribe", "other", "2"]));
    assert_eq!(second.call(&["PSUBSCRIBE", "n*"]), array(&["psubscribe", "n*", "3"]));
    assert_eq!(second.call(&["SSUBSCRIBE", "news"]), array(&["ssubscribe", "news", "1"]));
    resp3(&mut third);
    assert_eq!(third.call(&["SUBSCRIBE", "news"]), push(&["subscribe", "news", "1"]));
    assert_eq!(publisher.call(&["PUBLISH", "news", "hi"]), Value::Integer(3));
    assert_eq!(second.receive(), array(&["message", "news", "hi"]));
    assert_eq!(second.receive(), array(&["pmessage", "n*", "news", "hi"]));
    assert_eq!(third.receive(), push(&["message", "news", "hi"]));
    assert_eq!(publisher.call(&["SPUBLISH", "news", "only here"]), Value::Integer(1));
    assert_eq!(second.receive(), array(&["smessage", "news", "only here"]));
    let large = "x".repeat(100_000);
    assert_eq!(publisher.call(&["PUBLISH", "other", &large]), Value::Integer(1));
    assert_eq!(second.receive(), array(&["message", "other", &large]));

    assert_eq!(publisher.call(&["PUBSUB", "CHANNELS"]), array(&["news", "other"]));
    assert_eq!(publisher.call(&["PUBSUB", "CHANNELS", "o*"]), array(&["other"]));
    assert_eq!(publisher.call(&["PUBSUB", "NUMSUB", "news", "x"]), array(&["news", "2", "x", "0"]));
    assert_eq!(publisher.call(&["PUBSUB", "NUMPAT"]), Value::Integer(1));
    assert_eq!(publisher.call(&["PUBSUB", "SHARDCHANNELS"]), array(&["news"]));
    assert_eq!(publisher.call(&["PUBSUB", "SHARDNUMSUB", "news"]), array(&["news", "1"]));
    assert_eq!(
        publisher.call_text(&["PUBSUB", "CHANNELS", "a", "b"]),
        "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP."
    );
    let list = publisher.call_text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert_eq!(list.lines().count(), 2);
    assert!(list.contains(" sub=2 psub=1 ssub=1 ") && list.contains(" flags=P "), "{list}");
    for (name, count) in
        [("pubsub_clients", 2), ("pubsub_channels", 2), ("pubsub_patterns", 1), ("pubsubshard_channels", 1)]
    {
        assert_eq!(figure(&mut publisher, name), count, "{name}");
    }
    assert_eq!(publisher.call(&["CLIENT", "KILL", "TYPE", "pubsub"]), Value::Integer(2));
    assert_eq!((second.try_receive(), third.try_receive()), (None, None));
    eventually("nobody is subscribed", || figure(&mut publisher, "pubsub_channels") == 0);
    assert_eq!(publisher.call(&["PUBLISH", "news", "hi"]), Value::Integer(0));
}

#[test]
fn a_subscriber_in_resp2_uses_few_commands() {
    let server = open(Durability::Async, "");
    let mut client = server.connect();
    assert_eq!(client.call(&["UNSUBSCRIBE"]), Value::Array(vec![bulk("unsubscribe"), Value::Null, Value::Integer(0)]));
    assert_eq!(client.call(&["SUBSCRIBE", "a"]), array(&["subscribe", "a", "1"]));
    for (command, name) in [(&["GET", "x"][..], "get"), (&["CLIENT", "LIST"], "client|list"), (&["MULTI"], "multi")] {
        let expected = format!(
            "-ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        );
        assert_eq!(client.call_text(command), expected);
    }
    assert_eq!(client.call(&["PING"]), array(&["pong", ""]));
    assert_eq!(client.call(&["PING", "x"]), array(&["pong", "x"]));
    assert_eq!(client.call_text(&["PING", "x", "y"]), "-ERR wrong number of arguments for 'ping' command");
    assert_eq!(client.call(&["UNSUBSCRIBE", "b", "a"]), array(&["unsubscribe", "b", "1"]));
    assert_eq!(client.receive(), array(&["unsubscribe", "a", "0"]));
    assert_eq!(client.call(&["PING"]), simple("PONG"));
    assert_eq!(client.call(&["SUBSCRIBE", "a"]), array(&["subscribe", "a", "1"]));
    assert_eq!(client.call(&["RESET"]), simple("RESET"));
    assert_eq!(client.call(&["GET", "x"]), Value::Null);
    assert_eq!(client.call(&["PUBLISH", "a", "x"]), Value::Integer(0));
}

/// In RESP3 every command is allowed, and messages stand between replies: one that the client publishes itself, after
/// the reply.
#[test]
fn a_subscriber_in_resp3_uses_every_command() {
    let server = open(Durability::Sync, "");
    let mut client = server.connect();
    resp3(&mut client);
    let mut pipeline = Vec::new();
    for command in [&["SUBSCRIBE", "a"][..], &["PING"], &["PUBLISH", "a", "m1"], &["GET", "k"], &["UNSUBSCRIBE"]] {
        request::encode(command, &mut pipeline);
    }
    client.send_raw(&pipeline);
    assert_eq!(client.receive(), push(&["subscribe", "a", "1"]));
    assert_eq!(client.receive(), simple("PONG"));
    assert_eq!(client.receive(), Value::Integer(1));
    assert_eq!(client.receive(), push(&["message", "a", "m1"]));
    assert_eq!(client.receive(), Value::Null);
    assert_eq!(client.receive(), push(&["unsubscribe", "a", "0"]));
    client.send(&["CLIENT", "REPLY", "OFF"]);
    client.send(&["SUBSCRIBE", "a"]);
    client.send(&["PUBLISH", "a", "m2"]);
    client.send(&["CLIENT", "REPLY", "ON"]);
    assert_eq!(client.receive(), push(&["subscribe", "a", "1"]), "push messages are no replies");
    assert_eq!(client.receive(), push(&["message", "a", "m2"]));
    assert_eq!(client.receive(), simple("OK"));
}

#[test]
fn channels_of_the_shard_have_slots() {
    let server = open(Durability::Async, "");
    let mut client = server.connect();
    let cross = "-CROSSSLOT Keys in request don't hash to the same slot";
    assert_eq!(client.call_text(&["SSUBSCRIBE", "a", "b"]), cross);
    assert_eq!(client.call(&["SSUBSCRIBE", "{x}a", "{x}b"]), array(&["ssubscribe", "{x}a", "1"]));
    assert_eq!(client.receive(), array(&["ssubscribe", "{x}b", "2"]));
    assert_eq!(client.call_text(&["SUNSUBSCRIBE", "a", "b"]), cross);
    assert_eq!(client.call(&["SUNSUBSCRIBE"]), array(&["sunsubscribe", "{x}a", "1"]));
    assert_eq!(client.receive(), array(&["sunsubscribe", "{x}b", "0"]));
}

/// The replica is not this node's any more.
#[test]
fn subscribers_are_told_that_the_shard_has_gone() {
    let server = open(Durability::Async, "");
    let (mut client, mut other) = (server.connect(), server.connect());
    assert_eq!(client.call(&["SSUBSCRIBE", "{x}a", "{x}b"]), array(&["ssubscribe", "{x}a", "1"]));
    assert_eq!(client.receive(), array(&["ssubscribe", "{x}b", "2"]));
    assert_eq!(client.call(&["SUBSCRIBE", "kept"]), array(&["subscribe", "kept", "1"]));
    let mut map = (**server.node.map.load().as_ref().unwrap()).clone();
    map.shards[0].members = vec![fastness_types::NodeId(2)];
    server.node.map.store(Some(Arc::new(map)));
    assert_eq!(client.receive(), array(&["sunsubscribe", "{x}a", "1"]));
    assert_eq!(client.receive(), array(&["sunsubscribe", "{x}b", "0"]));
    assert_eq!(other.call(&["PUBLISH", "kept", "x"]), Value::Integer(1));
    assert_eq!(client.receive(), array(&["message", "kept", "x"]));
}

#[test]
fn a_message_of_a_transaction_leaves_with_its_commit() {
    let server = open(Durability::Async, "");
    let (mut client, mut subscriber) = (server.connect(), server.connect());
    assert_eq!(subscriber.call(&["SUBSCRIBE", "a"]), array(&["subscribe", "a", "1"]));
    let transaction = |client: &mut Client, message: &str| {
        client.send(&["MULTI"]);
        client.send(&["SET", "k", message]);
        client.send(&["PUBLISH", "a", message]);
        client.send(&["EXEC"]);
        let replies: Vec<Value> = (0..4).map(|_| client.receive()).collect();
        replies[3].clone()
    };
    server.set_commits(false);
    // In async the reply does not wait for the commit, and the message does.
    let done = Value::Array(vec![simple("OK"), Value::Integer(1)]);
    assert_eq!(transaction(&mut client, "in"), done);
    assert_eq!(client.call(&["PUBLISH", "a", "after it"]), Value::Integer(1), "the order of one publisher is kept");
    let mut other = server.connect_raw();
    assert_eq!(other.call(&["PUBLISH", "a", "of another"]), Value::Integer(1));
    assert_eq!(subscriber.receive(), array(&["message", "a", "of another"]));
    server.set_commits(true);
    assert_eq!(subscriber.receive(), array(&["message", "a", "in"]));
    assert_eq!(subscriber.receive(), array(&["message", "a", "after it"]));

    // Nothing of a transaction that is undone leaves.
    server.set_commits(false);
    assert_eq!(transaction(&mut client, "undone"), done);
    server.lose(2);
    eventually("it is undone", || server.node.publications.lost(Lost::Undone) == 1);
    assert_eq!(other.call(&["PUBLISH", "a", "next"]), Value::Integer(1));
    assert_eq!(subscriber.receive(), array(&["message", "a", "next"]));
}

#[test]
fn exec_confirms_subscriptions_and_refuses_those_of_the_shard() {
    let server = open(Durability::Async, "");
    let mut client = server.connect();
    resp3(&mut client);
    for command in [&["MULTI"][..], &["SSUBSCRIBE", "a"], &["SUBSCRIBE", "a"], &["PUBLISH", "a", "1"]] {
        assert!(matches!(client.call(command), Value::Simple(_)));
    }
    client.send(&["EXEC"]);
    let text = "*3\r\n-ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client\r\n\
                >3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n";
    let mut received = vec![0; text.len()];
    client.stream.read_exact(&mut received).unwrap();
    assert_eq!(String::from_utf8(received).unwrap(), text);
}

/// As in Valkey, a pause of writes delays messages.
#[test]
fn a_pause_of_writes_delays_messages() {
    let server = open(Durability::Async, "");
    let (mut client, mut other) = (server.connect(), server.connect());
    assert_eq!(other.call(&["CLIENT", "PAUSE", "100000", "WRITE"]), simple("OK"));
    client.send(&["PUBLISH", "a", "x"]);
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    assert_eq!(other.call(&["CLIENT", "UNPAUSE"]), simple("OK"));
    assert_eq!(client.receive(), Value::Integer(0));
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// What comes from other replicas and nodes reaches subscribers, in order; a sharded message is its shard's.
#[test]
fn messages_of_other_replicas_arrive() {
    let server = open(Durability::Sync, "");
    let mut client = server.connect();
    assert_eq!(client.call(&["SUBSCRIBE", "a"]), array(&["subscribe", "a", "1"]));
    assert_eq!(client.call(&["SSUBSCRIBE", "a"]), array(&["ssubscribe", "a", "1"]));
    let message = |payload: &str, shard: Option<u32>| {
        let shard = shard.map(fastness_types::ShardId);
        Arc::new(Publication { channel: "a".into(), payload: payload.to_owned().into(), shard })
    };
    for (payload, shard) in [("m1", None), ("m2", Some(1)), ("not here", Some(2)), ("m3", None)] {
        server.node.publications.deliver(&message(payload, shard));
    }
    assert_eq!(client.receive(), array(&["message", "a", "m1"]));
    assert_eq!(client.receive(), array(&["smessage", "a", "m2"]));
    assert_eq!(client.receive(), array(&["message", "a", "m3"]));
}

/// A connection whose socket takes little.
fn narrow(server: &FrontEnd) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    socket.into()
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_delays_nobody() {
    let server = open(Durability::Async, "client-output-buffer-limit pubsub 4mb 0 0");
    let (mut publisher, mut reader) = (server.connect(), server.connect());
    let mut slow = Client::new(narrow(&server));
    assert_eq!(slow.call(&["SUBSCRIBE", "a"]), array(&["subscribe", "a", "1"]));
    assert_eq!(reader.call(&["SUBSCRIBE", "a"]), array(&["subscribe", "a", "1"]));
    let payload = "x".repeat(200_000);
    let mut published = 0;
    eventually("it is closed", || {
        publisher.send(&["PUBLISH", "a", &payload]);
        published += 1;
        assert_eq!(reader.receive(), array(&["message", "a", &payload]));
        matches!(publisher.receive(), Value::Integer(1))
    });
    assert!(published > 4 * 1024 * 1024 / 200_000, "{published}");
    assert_eq!(figure(&mut publisher, "client_output_buffer_limit_disconnections"), 1);
}

/// Many receivers: the publisher is answered at once, everybody gets the messages in order, and a later message to few
/// does not overtake.
#[test]
fn many_subscribers_get_messages_in_order() {
    const COUNT: usize = 300;
    let server = open(Durability::Async, "");
    let mut publisher = server.connect();
    let mut subscribers: Vec<Client> = (0..COUNT).map(|_| server.connect_raw()).collect();
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.call(&["SUBSCRIBE", "all"]), array(&["subscribe", "all", "1"]));
    }
    assert_eq!(subscribers[COUNT - 1].call(&["SUBSCRIBE", "one"]), array(&["subscribe", "one", "2"]));
    let mut pipeline = Vec::new();
    for i in 0..20 {
        request::encode(&["PUBLISH", "all", &i.to_string()], &mut pipeline);
    }
    request::encode(&["PUBLISH", "one", "last"], &mut pipeline);
    publisher.send_raw(&pipeline);
    for _ in 0..20 {
        assert_eq!(publisher.receive(), Value::Integer(COUNT as i64));
    }
    assert_eq!(publisher.receive(), Value::Integer(1));
    for subscriber in &mut subscribers {
        for i in 0..20 {
            let expected = Value::Array(vec![bulk("message"), bulk("all"), bulk(&i.to_string())]);
            assert_eq!(subscriber.receive(), expected);
        }
    }
    assert_eq!(subscribers[COUNT - 1].receive(), array(&["message", "one", "last"]));
}

#[test]
fn bounds_are_named() {
    let server = open(Durability::Async, "");
    let mut client = server.connect();
    let (channel, pattern) = ("c".repeat(4097), "p".repeat(1025));
    assert_eq!(client.call_text(&["SUBSCRIBE", "a", &channel]), "-ERR channel name is longer than 4096 bytes");
    assert_eq!(client.call_text(&["PUBLISH", &channel, "x"]), "-ERR channel name is longer than 4096 bytes");
    assert_eq!(client.call_text(&["PSUBSCRIBE", &pattern]), "-ERR pattern of channels is longer than 1024 bytes");
    let message = "m".repeat((16 << 20) + 1);
    assert_eq!(client.call_text(&["PUBLISH", "a", &message]), "-ERR message is longer than 16777216 bytes");
    assert_eq!(client.call(&["PUBSUB", "CHANNELS"]), Value::Array(Vec::new()), "nothing was subscribed");
}

/// CVE-2022-36021: a pattern that a naive matcher compares for ever, with the longest name.
#[test]
fn a_pattern_is_compared_in_bounded_time() {
    let server = open(Durability::Async, "");
    let (mut client, mut publisher) = (server.connect(), server.connect());
    let pattern = "a*".repeat(511) + "b";
    assert_eq!(client.call(&["PSUBSCRIBE", &pattern]), array(&["psubscribe", &pattern, "1"]));
    let began = Instant::now();
    assert_eq!(publisher.call(&["PUBLISH", &"a".repeat(4096), "x"]), Value::Integer(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(publisher.call(&["PUBLISH", &("a".repeat(4095) + "b"), "x"]), Value::Integer(1));
}

/// A user that may use fewer channels than before loses the connections that use the others.
#[test]
fn rights_to_channels_are_checked_and_withdrawn() {
    let server = open(Durability::Async, "");
    let (mut keeps, mut loses, mut pattern) = (server.connect(), server.connect(), server.connect());
    assert_eq!(keeps.call(&["SUBSCRIBE", "a1"]), array(&["subscribe", "a1", "1"]));
    assert_eq!(loses.call(&["SSUBSCRIBE", "b1"]), array(&["ssubscribe", "b1", "1"]));
    assert_eq!(pattern.call(&["PSUBSCRIBE", "a1*"]), array(&["psubscribe", "a1*", "1"]));
    let rules = "on nopass sanitize-payload ~* resetchannels &a* +@all".to_owned();
    let users = Users { version: 1, rules: [("default".to_owned(), rules)].into() };
    server.node.accounts.follow(&users, &server.node.password());
    assert_eq!((loses.try_receive(), pattern.try_receive()), (None, None));
    let mut client = server.connect_raw();
    let refused = "-NOPERM No permissions to access a channel";
    for command in [&["SUBSCRIBE", "b"][..], &["PSUBSCRIBE", "a1*"], &["PUBLISH", "b", "x"], &["SPUBLISH", "b", "x"]] {
        assert_eq!(client.call_text(command), refused, "{command:?}");
    }
    assert_eq!(client.call(&["PUBLISH", "a1", "x"]), Value::Integer(1));
    assert_eq!(keeps.receive(), array(&["message", "a1", "x"]));
    assert_eq!(client.call(&["PSUBSCRIBE", "a*"]), array(&["psubscribe", "a*", "1"]));
}

/// Subscriptions count as memory of their connection.
#[test]
fn subscriptions_take_memory() {
    let server = open(Durability::Async, "");
    let (mut client, mut other) = (server.connect(), server.connect());
    let memory = |other: &mut Client| -> usize {
        let line = other.call_text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        line.split(" tot-mem=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(client.call(&["SUBSCRIBE", "first"]), array(&["subscribe", "first", "1"]));
    let before = memory(&mut other);
    let names: Vec<String> = (0..1000).map(|i| format!("{i:0>100}")).collect();
    let words: Vec<&str> = ["SUBSCRIBE"].into_iter().chain(names.iter().map(String::as_str)).collect();
    client.send(&words);
    (0..1000).for_each(|_| drop(client.receive()));
    eventually("they are counted", || memory(&mut other) > before + 1000 * 300);
}

/// The deliveries of a flood leave time for others.
#[test]
fn a_flood_of_messages_stalls_nobody() {
    let server = open(Durability::Async, "");
    let mut other = server.connect();
    let mut subscribers: Vec<Client> = (0..200).map(|_| server.connect_raw()).collect();
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.call(&["PSUBSCRIBE", "*"]), array(&["psubscribe", "*", "1"]));
    }
    let mut publisher = server.connect();
    let mut pipeline = Vec::new();
    for i in 0..500 {
        request::encode(&["PUBLISH", "c", &i.to_string()], &mut pipeline);
    }
    publisher.send_raw(&pipeline);
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(other.call(&["PING"]), simple("PONG"));
        longest = longest.max(began.elapsed());
    }
    // Far more than a slice, for machines with other work.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    (0..500).for_each(|_| assert_eq!(publisher.receive(), Value::Integer(200)));
    for subscriber in &mut subscribers {
        (0..500).for_each(|_| drop(subscriber.receive()));
    }
}
