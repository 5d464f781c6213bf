//! A real process on RocksDB is killed with SIGKILL again and again while it appends. Every entry and vote that it
//! reported as stored must be found afterwards.
//!
//! The child is this test binary itself; an environment variable selects its role.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use common::{batch_entry, open_store};
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::{EntryKind, Log, LogEntry};
use fastness_types::GroupId;
use rand::{Rng, SeedableRng};

const DIR: &str = "FASTNESS_LOG_KILL_TEST_DIR";
const GROUPS: u32 = 4;
const ROUNDS: usize = 12;

fn payload(group: u32, index: u64) -> Vec<u8> {
    format!("{group}/{index} ").repeat(1 + (index as usize * 7) % 40).into_bytes()
}

fn open(dir: &Path) -> Log {
    let mut options = RocksOptions::new(dir);
    // Small, so that memtables are flushed and write-ahead files are replaced while the child is killed.
    options.memtable_bytes = 64 * 1024;
    options.wal_bytes_max = 256 * 1024;
    let store = RocksStore::open(&options).unwrap();
    open_store(store, |options| options.tail_bytes_max = 10_000)
}

/// Appends forever and prints one line per stored entry and vote: `e <group> <index>` or `v <group> <number>`.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return; // Run by the test below only.
    };
    let log = open(Path::new(&dir));
    let (sent, stored) = mpsc::sync_channel::<String>(64);
    for number in 0..GROUPS {
        let group = log.group(GroupId(number));
        let sent = sent.clone();
        std::thread::spawn(move || {
            for round in 0u64.. {
                let next = group.state().last.map_or(1, |id| id.index + 1);
                let (done, written) = mpsc::channel();
                let entries: Vec<LogEntry> =
                    (next..next + 1 + round % 3).map(|index| batch_entry(index, &payload(number, index))).collect();
                let last = entries.last().unwrap().index;
                let sender = done.clone();
                group.append(entries, move |result| sender.send(result).unwrap());
                group.save_committed(last.to_be_bytes().to_vec().into());
                group.save_vote(last.to_be_bytes().to_vec().into(), move |result| done.send(result).unwrap());
                written.recv().unwrap().unwrap();
                sent.send(format!("e {number} {last}")).unwrap();
                written.recv().unwrap().unwrap();
                sent.send(format!("v {number} {last}")).unwrap();
            }
        });
    }
    let mut out = std::io::stdout().lock();
    for line in stored {
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn what_was_reported_as_stored_survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let mut stored: BTreeMap<(char, u32), u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = rng.random_range(1..400);
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let mut words = line.split(' ');
            let kind = words.next().unwrap();
            if !["e", "v"].contains(&kind) {
                continue; // The test harness says something.
            }
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            let (group, index) = (number() as u32, number());
            stored.insert((kind.chars().next().unwrap(), group), index);
            seen += 1;
            if seen == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= enough, "the child ended by itself in round {round}");
        check(dir.path(), &stored, round).await;
    }
}

async fn check(dir: &Path, stored: &BTreeMap<(char, u32), u64>, round: usize) {
    let log = open(dir);
    assert_eq!(log.identity().starts, 2 * round as u64 + 2);
    for (&(kind, number), &index) in stored {
        let group = log.group(GroupId(number));
        let state = group.state();
        let reached = match kind {
            'e' => state.last.unwrap().index,
            _ => u64::from_be_bytes(state.vote.unwrap()[..].try_into().unwrap()),
        };
        assert!(reached >= index, "{kind} of group {number}: {reached}, and {index} was reported as stored");
        if kind == 'v' {
            assert!(state.last.unwrap().index >= reached, "the vote was saved after its entries");
            continue;
        }
        let mut next = 1;
        while next <= state.last.unwrap().index {
            for entry in group.read(next..u64::MAX, 100_000).await.unwrap() {
                assert_eq!((entry.index, entry.kind), (next, EntryKind::Batch));
                assert_eq!(entry.payload[..], payload(number, next));
                next += 1;
            }
        }
    }
    log.close();
}
