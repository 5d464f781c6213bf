//! Compares the cost of a synced append with the machine's own fdatasync.
//!
//! `cargo run --release -p fastness-log --example commit [-- DIR [SECONDS]]`
//!
//! Prints one table: fdatasync of a file that grows by the same bytes, then appends through the log with 1, 8, 64 and
//! 256 proposers, each waiting for its own append, over 16 groups.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::{Cipher, EntryKind, GroupLog, Log, LogEntry, LogOptions, MasterKey, WriterDriver};
use fastness_types::{ClusterId, GroupId, NodeId};
use parking_lot::{Condvar, Mutex};

const GROUPS: u32 = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let root = args.next().map_or_else(|| std::env::temp_dir().join("fastness-log-commit"), PathBuf::from);
    let span = Duration::from_secs_f64(args.next().map_or(Ok(2.0), |seconds| seconds.parse())?);
    std::fs::create_dir_all(&root)?;
    println!("{:>10} {:>7} {:>10} {:>10} {:>10} {:>12}", "", "bytes", "appends/s", "p50 us", "p99 us", "per fsync");
    for bytes in [128, 4096, 65_536] {
        raw(&root, bytes, span)?;
        for proposers in [1, 8, 64, 256] {
            through_log(&root, proposers, bytes, span)?;
        }
    }
    std::fs::remove_dir_all(&root)?;
    Ok(())
}

fn row(name: &str, bytes: usize, mut took: Vec<Duration>, span: Duration, per_sync: f64) {
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).map_or(0, Duration::as_micros);
    let rate = took.len() as f64 / span.as_secs_f64();
    println!("{name:>10} {bytes:>7} {rate:>10.0} {:>10} {:>10} {per_sync:>12.1}", at(0.5), at(0.99));
}

fn raw(root: &Path, bytes: usize, span: Duration) -> std::io::Result<()> {
    let path = root.join("raw");
    let mut file = File::create(&path)?;
    let data = vec![7; bytes];
    let mut took = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        let begin = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        took.push(begin.elapsed());
    }
    row("fdatasync", bytes, took, span, 1.0);
    std::fs::remove_file(path)
}

/// Where a proposer waits for its append.
#[derive(Default)]
struct Waiter {
    done: Mutex<bool>,
    wake: Condvar,
}

fn through_log(root: &Path, proposers: usize, bytes: usize, span: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let dir = root.join("log");
    let store = RocksStore::open(&RocksOptions::new(&dir))?;
    let options = LogOptions::new(NodeId(1), ClusterId([1; 16]));
    let log = Log::open(store, Cipher::new(MasterKey::from_bytes(&[1; 32])), options, WriterDriver::Thread)?;
    let stop = Arc::new(AtomicBool::new(false));
    let next: Arc<Vec<Mutex<()>>> = Arc::new((0..GROUPS).map(|_| Mutex::new(())).collect());
    let payload = Bytes::from(vec![7; bytes]);
    let threads: Vec<_> = (0..proposers)
        .map(|number| {
            let group = log.group(GroupId(number as u32 % GROUPS));
            let (stop, next, payload) = (stop.clone(), next.clone(), payload.clone());
            std::thread::spawn(move || {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    took.push(one_append(&group, &next[number % GROUPS as usize], &payload));
                }
                took
            })
        })
        .collect();
    std::thread::sleep(span);
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for thread in threads {
        took.extend(thread.join().map_err(|_| "a proposer panicked")?);
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let per_sync = count(&log.stats().appends) / count(&log.stats().syncs).max(1.0);
    row(&format!("log, {proposers}"), bytes, took, span, per_sync);
    log.close();
    drop(log);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn one_append(group: &GroupLog, order: &Mutex<()>, payload: &Bytes) -> Duration {
    let waiter = Arc::new(Waiter::default());
    let begin = Instant::now();
    {
        let _guard = order.lock();
        let index = group.state().last.map_or(1, |id| id.index + 1);
        let entry = LogEntry { index, term: 1, node: 1, kind: EntryKind::Batch, payload: payload.clone() };
        let waiter = waiter.clone();
        group.append(vec![entry], move |result| {
            if let Err(error) = result {
                eprintln!("{error}");
            }
            *waiter.done.lock() = true;
            waiter.wake.notify_one();
        });
    }
    let mut done = waiter.done.lock();
    while !*done {
        waiter.wake.wait(&mut done);
    }
    begin.elapsed()
}
