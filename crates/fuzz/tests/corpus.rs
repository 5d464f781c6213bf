//! Replays the corpus of every target, and some thousand inputs that are made from it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use fastness_fuzz::run::{self, Budget};
use fastness_fuzz::{Target, seeds, targets};

/// Executions of each target, of which the engine's take a millisecond in a debug build.
const EXECUTIONS: u64 = 3_000;
/// Inputs of each target that are decoded at least; the others are refused.
const DECODED_MIN: u64 = 5;
/// Bytes of all files.
const CORPUS_BYTES_MAX: usize = 2 << 20;

fn replay(target: &Target) {
    let corpus = seeds::all(target).unwrap();
    let budget = Budget { executions: EXECUTIONS.max(corpus.len() as u64), time: Duration::from_secs(20) };
    let given = corpus.len() as u64;
    let report = run::run(target, corpus, 1, budget);
    if let Some(finding) = report.finding {
        panic!("{}: {}: {}", target.name, finding.input.escape_ascii(), finding.what);
    }
    println!("{}: {} of {} inputs decoded", target.name, report.decoded, report.executions);
    assert!(report.executions > given, "{}: the corpus alone takes too long", target.name);
    assert!(report.decoded >= DECODED_MIN, "{}: {} decoded", target.name, report.decoded);
}

macro_rules! replays {
    ($($test:ident = $name:literal,)*) => {
        $(#[test]
        fn $test() {
            replay(fastness_fuzz::target($name).unwrap());
        })*

        const REPLAYED: &[&str] = &[$($name,)*];
    };
}

replays! {
    resp_request = "resp-request",
    resp_reply = "resp-reply",
    glob = "glob",
    number = "number",
    effects = "effects",
    commands = "commands",
    restore = "restore",
    batch = "batch",
    fragments = "fragments",
    image = "image",
    snapshot = "snapshot",
    snapshot_file = "snapshot-file",
    log_record = "log-record",
    write_ahead = "write-ahead",
    peer_message = "peer-message",
    peer_frames = "peer-frames",
    control = "control",
    control_snapshot = "control-snapshot",
    acl_rules = "acl-rules",
    acl_stored = "acl-stored",
    acl_file = "acl-file",
    certificate = "certificate",
    config_file = "config-file",
    config_value = "config-value",
    grpc_request = "grpc-request",
    grpc_replies = "grpc-replies",
    script_json = "script-json",
    script_msgpack = "script-msgpack",
    script_struct = "script-struct",
    script_pattern = "script-pattern",
}

#[test]
fn every_target_is_replayed_and_has_a_folder() {
    let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED);
    let mut bytes = 0;
    for target in targets::ALL {
        let files = seeds::files(target).unwrap();
        assert!(!files.is_empty(), "{} has no files", target.name);
        bytes += files.iter().map(|(_, file)| file.len()).sum::<usize>();
    }
    assert!(bytes < CORPUS_BYTES_MAX, "the corpus has {bytes} bytes");
    let folders = std::fs::read_dir(seeds::folder(&targets::ALL[0]).parent().unwrap()).unwrap().count();
    assert_eq!(folders, targets::ALL.len(), "a folder belongs to no target");
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let target = fastness_fuzz::target("batch").unwrap();
    let budget = Budget { executions: 2_000, time: Duration::MAX };
    let [first, second] = [7, 7].map(|seed| run::run(target, seeds::all(target).unwrap(), seed, budget).decoded);
    assert_eq!(first, second);
}

#[test]
fn what_does_not_hold_is_found_and_shortened() {
    let target = Target {
        name: "planted",
        what: "an x must not occur",
        bytes_max: 64,
        share: 1,
        seeds: || vec![b"abcdefgh".to_vec()],
        words: || vec![b"x".to_vec()],
        memory: |_| 1 << 20,
        run: |input| {
            assert!(!input.contains(&b'x'), "an x");
            true
        },
    };
    let budget = Budget { executions: 100_000, time: Duration::MAX };
    let finding = run::run(&target, (target.seeds)(), 1, budget).finding.unwrap();
    let shortest = run::shortened(&target, finding);
    assert_eq!(shortest.input, b"x");
    assert!(shortest.what.ends_with("an x"), "{}", shortest.what);

    let greedy = Target { run: |input| Vec::<u8>::with_capacity(input.len() << 24).is_empty(), ..target };
    let finding = run::execute(&greedy, b"abc").unwrap_err();
    assert!(finding.what.contains("requested from the allocator"), "{}", finding.what);
}
