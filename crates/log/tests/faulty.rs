//! Injected disk faults below the log as it ships.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{CLUSTER, NODE, append, batch_entry, entry, master, open_store};
use fastness_log::faulty::{DiskFault, DiskFaults, FaultyStore};
use fastness_log::memory::MemoryDisk;
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::store::StoreError;
use fastness_log::{Cipher, GroupLog, Log, LogOptions, OpenError, WriteError, WriterDriver};
use fastness_types::GroupId;

const G: GroupId = GroupId(3);

fn log(disk: &MemoryDisk) -> (Log, Arc<DiskFaults>) {
    let faults = Arc::new(DiskFaults::default());
    (open_store(FaultyStore::new(disk.open().unwrap(), faults.clone()), |_| {}), faults)
}

/// Starts an append; its result arrives on the receiver.
fn begin(group: &GroupLog, index: u64) -> Receiver<Result<(), WriteError>> {
    let (sender, result) = channel();
    group.append(vec![batch_entry(index, b"x")], move |outcome| sender.send(outcome).unwrap());
    result
}

#[test]
fn a_stalled_write_waits_until_it_is_healed_and_is_no_failure() {
    let (log, faults) = log(&MemoryDisk::new());
    let group = log.group(G);
    append(&group, 1..=1).unwrap();
    assert_eq!(log.write_under_way(), None);
    faults.set(Some(DiskFault::Stall));
    let result = begin(&group, 2);
    assert!(result.recv_timeout(Duration::from_millis(200)).is_err());
    assert!(log.write_under_way().unwrap() >= Duration::from_millis(150));
    assert_eq!(log.failure(), None);
    faults.set(None);
    result.recv().unwrap().unwrap();
    assert_eq!(faults.met(), 1);
    faults.set(Some(DiskFault::Slow(Duration::ZERO)));
    assert_eq!(faults.met(), 0, "no write has met the new fault");
    append(&group, 3..=3).unwrap();
    log.close();
}

#[test]
fn a_slow_write_takes_longer() {
    let (log, faults) = log(&MemoryDisk::new());
    faults.set(Some(DiskFault::Slow(Duration::from_millis(80))));
    let began = Instant::now();
    append(&log.group(G), 1..=1).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(80));
    log.close();
}

#[test]
fn a_full_disk_fails_the_log_and_a_new_open_until_it_is_healed() {
    let disk = MemoryDisk::new();
    let (log, faults) = log(&disk);
    append(&log.group(G), 1..=1).unwrap();
    faults.set(Some(DiskFault::Fill));
    let error = append(&log.group(G), 2..=2).unwrap_err();
    assert!(matches!(error, WriteError::Failed(StoreError::NoSpace { .. })), "{error}");
    faults.set(None);
    // This opening does not write again, even after the disk is healed.
    assert!(append(&log.group(G), 3..=3).is_err());
    log.close();
    drop(log);
    faults.set(Some(DiskFault::Fill));
    let open = || {
        let store = FaultyStore::new(disk.open().unwrap(), faults.clone());
        Log::open(store, Cipher::new(master()), LogOptions::new(NODE, CLUSTER), WriterDriver::Thread)
    };
    assert!(matches!(open().unwrap_err(), OpenError::Store(StoreError::NoSpace { .. })));
    faults.set(None);
    let log = open().unwrap();
    assert_eq!(log.group(G).state().last, Some(entry(1).id()));
    log.close();
}

#[test]
fn a_failed_fsync_fails_the_log_for_good_though_the_next_would_succeed() {
    let disk = MemoryDisk::new();
    let (log, faults) = log(&disk);
    append(&log.group(G), 1..=1).unwrap();
    let syncs = disk.syncs();
    faults.set(Some(DiskFault::Fail));
    assert!(matches!(append(&log.group(G), 2..=2), Err(WriteError::Failed(StoreError::Io { .. }))));
    assert_eq!(faults.get(), None, "it fails once");
    assert!(append(&log.group(G), 3..=3).is_err());
    assert_eq!(disk.syncs(), syncs, "nothing is synced after a failed fsync");
    log.close();
    drop(log);
    // The machine crashes: what was written and not synced is lost, and was never acknowledged.
    disk.crash(0);
    let log = common::open(&disk);
    assert_eq!(log.group(G).state().last, Some(entry(1).id()));
    log.close();
}

fn files(dir: &std::path::Path, ending: &str) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(ending)).collect()
}

/// A failed fsync may leave pages in the page cache that the system takes for written. So nothing may depend on them:
/// an open writes everything that the write-ahead log holds into new, synced tables before the log is used.
#[test]
fn after_a_failed_fsync_an_open_writes_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = |faults: &Arc<DiskFaults>| {
        let store = RocksStore::open(&RocksOptions::new(dir.path())).unwrap();
        open_store(FaultyStore::new(store, faults.clone()), |_| {})
    };
    let faults = Arc::new(DiskFaults::default());
    let failed = open(&faults);
    append(&failed.group(G), 1..=3).unwrap();
    faults.set(Some(DiskFault::Fail));
    append(&failed.group(G), 4..=4).unwrap_err();
    failed.close();
    drop(failed);
    let (wal, tables) = (files(dir.path(), ".log"), files(dir.path(), ".sst"));
    assert!(!wal.is_empty() && tables.is_empty(), "{wal:?} {tables:?}");
    let log = open(&faults);
    let last = log.group(G).state().last.unwrap().index;
    assert!(last == 3 || last == 4, "what was acknowledged is there, the last entry may be");
    assert!(!files(dir.path(), ".sst").is_empty(), "the entries are in tables");
    let left: Vec<String> = files(dir.path(), ".log").into_iter().filter(|name| wal.contains(name)).collect();
    assert!(left.is_empty(), "{left:?} is still relied on");
    log.close();
}
