//! A whole cluster, asked through its primary's RESP door, against a real Valkey server: the same random commands, in
//! both protocol versions. Replies must be equal byte for byte, but for what `differential-exclusions.txt` lists.
//!
//! `FASTNESS_SEED` and `FASTNESS_COMMANDS` as in `differential.rs`, which says how the engine alone is compared.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::time::Duration;

use fastness_engine::command;
use fastness_resp::{Args, Protocol};
use fastness_testkit::cluster::{Cluster, Options};
use fastness_testkit::differential::compare::difference;
use fastness_testkit::differential::exclusions::{Comparison, Exclusions};
use fastness_testkit::differential::generator::{Generator, Request, spelled};
use fastness_testkit::differential::reference::{Connection, Reference, words};

/// Commands that a failure's message shows.
const HISTORY: usize = 25;

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: {text}")))
}

/// Both sides, each with a connection per protocol version.
struct Pair {
    ours: [Connection; 2],
    theirs: [Connection; 2],
    exclusions: Exclusions,
    history: VecDeque<String>,
}

impl Pair {
    fn step(&mut self, request: &Request, version: usize) {
        self.history.push_back(spelled(request));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        let spec = command::lookup(Args::owned(request)).ok();
        let comparison = match spec.map_or(Comparison::Exact, |spec| self.exclusions.comparison(spec.name)) {
            Comparison::Skip => return,
            // A server reads its clock once per turn; `differential.rs` compares these exactly.
            Comparison::Between => Comparison::Kind,
            comparison => comparison,
        };
        let theirs = self.theirs[version].call(request).unwrap();
        let ours = self.ours[version].call(request).unwrap();
        if let Some(difference) = difference(comparison, [&ours, &ours], &theirs) {
            let history: Vec<&str> = self.history.iter().map(String::as_str).collect();
            panic!("RESP{} replies differ\n{difference}\nafter\n  {}", version + 2, history.join("\n  "));
        }
    }
}

/// Deadlines told as spans end at slightly different times on both sides.
fn tells_no_span(shape: &str) -> bool {
    !shape.split([' ', ':']).any(|word| word == "t" || word == "m")
}

#[tokio::test]
async fn random_commands_through_the_door_have_equal_replies() {
    let reference = Reference::start().unwrap();
    let cluster = Cluster::start(&Options::default()).unwrap();
    let primary = cluster.primary(1, Duration::from_secs(30)).await.unwrap();
    let door = cluster.door(primary, 1).unwrap();
    let versions = [Protocol::Resp2, Protocol::Resp3];
    let mut pair = Pair {
        ours: versions.map(|version| Connection::open(&door.host, door.port, version).unwrap()),
        theirs: versions.map(|version| reference.connect(version).unwrap()),
        exclusions: Exclusions::parse(include_str!("differential-exclusions.txt")),
        history: VecDeque::new(),
    };
    let seed = number_from("FASTNESS_SEED", 1);
    eprintln!("FASTNESS_SEED={seed}");
    // What INCRBYFLOAT leaves is encoded otherwise until it is written again.
    let mut generator = Generator::new(seed, |shape| tells_no_span(shape) && !shape.starts_with("INCRBYFLOAT"));
    for _ in 0..number_from("FASTNESS_COMMANDS", 3_000) {
        let request = generator.command();
        let version = generator.rng().below(2);
        pair.step(&request, version);
    }
    pair.step(&words(&["KEYS", "*"]), 0);
}
