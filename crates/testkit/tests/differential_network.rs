//! A whole cluster, through its primary's RESP listener, against a real Valkey server: the same random commands, in
//! both protocol versions. Replies must be equal byte for byte, except for the differences in
//! `differential-exclusions.txt`.
//!
//! `FASTNESS_SEED` and `FASTNESS_COMMANDS` as in `differential.rs`, which compares the engine alone.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::time::Duration;

use fastness_engine::command;
use fastness_resp::{Args, Protocol, Value};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::differential::compare::{decode, difference};
use fastness_testkit::differential::exclusions::{Comparison, Exclusions};
use fastness_testkit::differential::generator::{Generator, Request, spelled};
use fastness_testkit::differential::reference::{Reference, ReferenceConnection, words};

/// Number of commands in the message of a failure.
const HISTORY: usize = 25;

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: {text}")))
}

/// Both sides, each with a connection per protocol version.
struct Pair {
    ours: [ReferenceConnection; 2],
    theirs: [ReferenceConnection; 2],
    exclusions: Exclusions,
    history: VecDeque<String>,
}

impl Pair {
    fn step(&mut self, request: &Request, version: usize) {
        self.step_as(request, request, version);
    }

    /// Sends `sent`, whose reply is compared as that of `request`.
    fn step_as(&mut self, request: &Request, sent: &Request, version: usize) {
        self.history.push_back(spelled(request));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        let spec = command::table().look_up(Args::owned(request)).ok();
        let comparison = match spec.map_or(Comparison::Exact, |spec| self.exclusions.comparison(spec.name)) {
            Comparison::Skip => return,
            // A server reads its clock once per turn; `differential.rs` compares these exactly.
            Comparison::Between => Comparison::Kind,
            comparison => comparison,
        };
        let theirs = self.theirs[version].call(sent).unwrap();
        let ours = self.ours[version].call(sent).unwrap();
        if let Some(difference) = difference(comparison, [&ours, &ours], &theirs) {
            let history: Vec<&str> = self.history.iter().map(String::as_str).collect();
            panic!("RESP{} replies differ\n{difference}\nafter\n  {}", version + 2, history.join("\n  "));
        }
    }
}

/// Names of a text's fields, in order: the text before a colon, and titles as they are.
fn fields_of_lines(reply: &[u8]) -> Vec<String> {
    let text = decode(reply).as_bytes().unwrap().to_vec();
    let name = |line: &str| match line.strip_prefix("# ") {
        Some(_) => line.to_owned(),
        None => line.split(':').next().unwrap_or_default().to_owned(),
    };
    String::from_utf8(text).unwrap().lines().filter(|line| !line.is_empty()).map(name).collect()
}

/// The names in a line of CLIENT LIST, in order.
fn fields_of_client(reply: &[u8]) -> Vec<String> {
    let text = String::from_utf8(decode(reply).as_bytes().unwrap().to_vec()).unwrap();
    let line = text.lines().next().unwrap().to_owned();
    line.split(' ').map(|field| field.split('=').next().unwrap().to_owned()).collect()
}

/// The names in a RESP3 map.
fn names_of_map(map: &Value) -> Vec<String> {
    let Value::Map(fields) = map else { panic!("a map: {map:?}") };
    fields.iter().map(|(name, _)| String::from_utf8(name.as_bytes().unwrap().to_vec()).unwrap()).collect()
}

fn first(array: &Value) -> &Value {
    let Value::Array(members) = array else { panic!("an array: {array:?}") };
    &members[0]
}

/// The fields that clients and tools read from descriptions exist under the names that Valkey gives them.
#[tokio::test]
async fn descriptions_have_the_references_fields() {
    let reference = Reference::start().unwrap();
    let cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    let primary = cluster.primary(1, Duration::from_secs(30)).await.unwrap();
    let front_end = cluster.front_end(primary, 1).unwrap();
    let mut ours = ReferenceConnection::open(&front_end.host, front_end.port, Protocol::Resp3).unwrap();
    let mut theirs = reference.connect(Protocol::Resp3).unwrap();
    let mut call = |request: &[&str]| [&mut ours, &mut theirs].map(|side| side.call(&words(request)).unwrap());

    // Data and clients to describe.
    call(&["SET", "k", "v", "EX", "1000"]);
    call(&["GET", "k"]);
    let zone = call(&["CONFIG", "SET", "availability-zone", "x"]);
    assert!(zone[1].starts_with(b"+OK"), "the reference has a zone, too");

    let exclusions = Exclusions::parse(include_str!("differential-exclusions.txt"));
    let [has, wanted] = call(&["INFO", "EVERYTHING"]).map(|reply| fields_of_lines(&reply));
    let missing: Vec<&String> = wanted.iter().filter(|field| !has.contains(field)).collect();
    let unexcused: Vec<_> = missing.iter().filter(|field| exclusions.absent_field(field).is_none()).collect();
    assert!(unexcused.is_empty(), "INFO lacks {unexcused:?}");
    let used: Vec<_> = missing.iter().filter_map(|field| exclusions.absent_field(field)).collect();
    let needless: Vec<_> = exclusions.absent_fields().filter(|line| !used.contains(line)).collect();
    assert!(needless.is_empty(), "these lines excuse nothing: {needless:?}");

    let [has, wanted] = call(&["CLIENT", "LIST"]).map(|reply| fields_of_client(&reply));
    assert_eq!(has, wanted, "CLIENT LIST");
    let [has, wanted] = call(&["HELLO", "3"]).map(|reply| names_of_map(&decode(&reply)));
    assert_eq!(has, wanted, "HELLO");
    let [has, wanted] = call(&["CLUSTER", "INFO"]).map(|reply| fields_of_lines(&reply));
    let gossip = |field: &&String| field.starts_with("cluster_stats_");
    let missing: Vec<_> = wanted.iter().filter(|field| !gossip(field) && !has.contains(field)).collect();
    assert!(missing.is_empty(), "CLUSTER INFO lacks {missing:?}");
    let [has, wanted] = call(&["CLUSTER", "SHARDS"]).map(|reply| {
        let shards = decode(&reply);
        let Value::Map(fields) = first(&shards) else { panic!("a map: {shards:?}") };
        let nodes = fields.iter().find(|(name, _)| name.as_bytes() == Some(b"nodes")).map(|(_, nodes)| nodes).unwrap();
        [names_of_map(first(&shards)), names_of_map(first(nodes))]
    });
    assert_eq!(has[0], wanted[0], "CLUSTER SHARDS");
    // Our nodes have a TLS port as well.
    let missing: Vec<_> = wanted[1].iter().filter(|field| !has[1].contains(field)).collect();
    assert!(missing.is_empty(), "a node of CLUSTER SHARDS lacks {missing:?}");
}

/// Deadlines given as spans end at slightly different times on both sides.
fn tells_no_span(shape: &str) -> bool {
    !shape.split([' ', ':']).any(|word| word == "t" || word == "m")
}

#[tokio::test]
async fn random_commands_over_the_network_have_equal_replies() {
    random_commands(|request, _| request.clone()).await;
}

/// The same, each from within a script, whose conversions of replies are compared with it. Only commands whose keys are
/// in the script's slot: after one whose keys are not, the reference refuses those that follow, too.
#[tokio::test]
async fn random_commands_of_scripts_have_equal_replies() {
    random_commands(|request, _| {
        let slot = fastness_types::slot_of(b"{t}");
        let args = Args::owned(request);
        let is_elsewhere = |key: &[u8]| fastness_types::slot_of(key) != slot;
        if command::table().look_up(args).is_ok_and(|spec| spec.keys(args).any(is_elsewhere)) {
            return words(&["PING"]);
        }
        // Maps of RESP3 have no order in Lua.
        let mut sent = words(&["EVAL", "return redis.pcall(unpack(ARGV))", "1", "{t}"]);
        sent.extend(request.iter().cloned());
        sent
    })
    .await;
}

/// Random commands, each sent in the form that `form` gives it for a protocol version.
async fn random_commands(form: impl Fn(&Request, usize) -> Request) {
    let reference = Reference::start().unwrap();
    let cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    let primary = cluster.primary(1, Duration::from_secs(30)).await.unwrap();
    let front_end = cluster.front_end(primary, 1).unwrap();
    let versions = [Protocol::Resp2, Protocol::Resp3];
    let mut pair = Pair {
        ours: versions.map(|version| ReferenceConnection::open(&front_end.host, front_end.port, version).unwrap()),
        theirs: versions.map(|version| reference.connect(version).unwrap()),
        exclusions: Exclusions::parse(include_str!("differential-exclusions.txt")),
        history: VecDeque::new(),
    };
    let seed = number_from("FASTNESS_SEED", 1);
    eprintln!("FASTNESS_SEED={seed}");
    // INCRBYFLOAT, BITFIELD, BITOP and SETBIT may leave a value in another encoding until it is written again, LSET and
    // LINSERT may convert the reference's list although they fail, and SPOP removes other members.
    const DIFFER: [&str; 7] = ["BITFIELD ", "BITOP", "INCRBYFLOAT", "LSET", "LINSERT", "SETBIT", "SPOP"];
    let differs = |shape: &str| DIFFER.iter().any(|name| shape.starts_with(name));
    let mut generator = Generator::new(seed, |shape| tells_no_span(shape) && !differs(shape));
    for _ in 0..number_from("FASTNESS_COMMANDS", 3_000) {
        let request = generator.command();
        let version = generator.rng().below(2);
        let sent = form(&request, version);
        let compared = if sent.len() == 1 { &sent } else { &request };
        pair.step_as(compared, &sent, version);
    }
    pair.step(&words(&["KEYS", "*"]), 0);
}
