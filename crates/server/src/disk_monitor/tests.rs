//! What is removed when space runs short, and in which order.

#![allow(clippy::unwrap_used)]

use fastness_consensus::handle::{GroupDriver, OwnSnapshot, group_pair};
use fastness_consensus::testing::NoLog;
use fastness_events::Events;
use fastness_log::{Cipher, MasterKey};
use fastness_shard::SnapshotStore;
use fastness_types::{ClusterId, Epoch, GroupId, LogIndex, NodeId};

use super::*;
use crate::ballast;
use crate::testing::until;

fn folder(dir: &Path) -> SnapshotFolder {
    let cipher = Cipher::new(MasterKey::from_bytes(&[7; 32]));
    let path = dir.join("snapshots/shard-1");
    let folder = SnapshotFolder::open(&path, ClusterId([1; 16]), NodeId(1), GroupId(1), cipher);
    folder.prepare().unwrap();
    folder
}

fn write(files: &SnapshotFiles, index: u64) {
    let mut sink = files.create(b"head".to_vec());
    sink.push(vec![index as u8; 100_000]);
    sink.finish(LogIndex(index), b"tail".to_vec());
    until(|| sink.finished().is_some());
}

fn damage(folder: &SnapshotFolder, index: u64) {
    let path = folder.file(LogIndex(index));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn list(dir: &Path) -> Vec<u64> {
    folder_of(dir).list().unwrap().into_iter().map(|index| index.0).collect()
}

/// The folder as it is: opening it leaves its drafts alone.
fn folder_of(dir: &Path) -> SnapshotFolder {
    let cipher = Cipher::new(MasterKey::from_bytes(&[7; 32]));
    let path = dir.join("snapshots/shard-1");
    SnapshotFolder::open(&path, ClusterId([1; 16]), NodeId(1), GroupId(1), cipher)
}

/// A node with one shard, and consensus' side of its group.
fn node(dir: &Path, budget: u64) -> (Arc<DiskMonitor>, SnapshotFiles, GroupDriver) {
    let monitor = DiskMonitor::measure(dir, budget, Events::only_logged());
    let files = SnapshotFiles::new(folder(dir), Some(monitor.disk().clone()));
    let (handle, driver) = group_pair(GroupId(1), Arc::new(NoLog), Events::only_logged());
    monitor.add_group(GroupId(1), files.clone(), handle);
    (monitor, files, driver)
}

fn own(index: u64, purge_upto: u64) -> OwnSnapshot {
    let epoch = Epoch { term: 1, node: NodeId(1) };
    OwnSnapshot { index: LogIndex(index), epoch, purge_upto: LogIndex(purge_upto) }
}

const LARGE: u64 = 1 << 40;

/// Schedule 53.
#[test]
fn nothing_older_is_removed_before_the_newest_was_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (_, files, _) = node(dir.path(), LARGE);
    write(&files, 10);
    write(&files, 20);
    assert_eq!(list(dir.path()), [20, 10], "with enough space two are kept");
    damage(&folder_of(dir.path()), 20);
    let error = files.keep_verified_alone().unwrap_err();
    assert!(error.to_string().contains("its bytes have changed"), "{error}");
    assert_eq!(list(dir.path()), [10], "the older one is kept, the damaged one is of no use");
    assert_eq!(files.keep_verified_alone().unwrap(), Some((LogIndex(10), 0)));
    write(&files, 30);
    assert_eq!(files.keep_verified_alone().unwrap(), Some((LogIndex(30), 1)));
    assert_eq!(list(dir.path()), [30]);
    damage(&folder_of(dir.path()), 30);
    files.keep_verified_alone().expect("it was verified before: it is not read again and again");
    assert_eq!(list(dir.path()), [30], "the last one is never removed");
}

#[test]
fn a_node_over_its_budget_gives_up_drafts_then_old_snapshots_then_the_log_they_cover() {
    let dir = tempfile::tempdir().unwrap();
    let (monitor, files, driver) = node(dir.path(), LARGE);
    write(&files, 10);
    write(&files, 20);
    // The first check makes the ballast, the second measures it.
    monitor.check();
    monitor.check();
    assert_eq!((monitor.disk().info().pressure, monitor.disk().info().given_up), (Pressure::None, 0));
    let used = monitor.disk().info().used;
    assert!(used.snapshots >= 200_000 && used.drafts == 0 && used.ballast > 0, "{used:?}");
    assert!(monitor.disk().admits(1 << 20) && monitor.disk().keeps_two());

    let small = tempfile::tempdir().unwrap();
    let copy = small.path().join("snapshots/shard-1");
    std::fs::create_dir_all(&copy).unwrap();
    for index in [10, 20] {
        let from = folder_of(dir.path()).file(LogIndex(index));
        std::fs::copy(&from, copy.join(from.file_name().unwrap())).unwrap();
    }
    drop((monitor, files, driver));
    let (monitor, files, driver) = node(small.path(), 150_000);
    // A shard reports the snapshot that it restores from to consensus.
    let shared = monitor.groups.lock();
    shared[&GroupId(1)].handle.report_snapshot(own(20, 0));
    drop(shared);
    let mut sink = files.create(b"head".to_vec());
    sink.push(vec![1; 3 << 20]);
    until(|| files.bytes().1 > 0);
    monitor.check();
    assert_eq!(monitor.disk().info().pressure, Pressure::Exceeded);
    assert_eq!(list(small.path()), [20], "the one that covers the other was verified");
    assert_eq!(driver.own_snapshot(), Some(own(20, 20)), "and the log up to it is released");
    sink.push(vec![1; 10]);
    until(|| sink.failure().is_some());
    assert!(sink.failure().unwrap().to_string().contains("no space"), "{:?}", sink.failure());
    assert_eq!(files.bytes().1, 0, "its draft is removed at once, not at the next check");
    assert!(!monitor.disk().admits(1 << 20), "and none is started");
    assert!(!monitor.disk().keeps_two());
    assert!(monitor.disk().info().given_up >= 2);
    drop(sink);
    // While space is short a new snapshot replaces the one before.
    write(&files, 30);
    assert_eq!(list(small.path()), [30]);
}

#[test]
fn a_start_on_a_full_disk_frees_what_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let (monitor, files, _) = node(dir.path(), LARGE);
    write(&files, 10);
    write(&files, 20);
    monitor.check();
    let ballast = dir.path().join(ballast::BALLAST);
    assert!(ballast::bytes_of(&ballast) >= monitor.ballast.bytes(), "its space is allocated");
    // Left behind by a process that was killed.
    let path = folder_of(dir.path()).path().to_owned();
    std::fs::write(path.join("writing"), vec![0; 10_000]).unwrap();
    std::fs::write(path.join("receiving-3"), vec![0; 10_000]).unwrap();
    assert!(monitor.free_for_a_start(&[folder_of(dir.path())]));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    assert_eq!(list(dir.path()), [20]);
    assert!(!ballast.exists());
    assert!(!monitor.free_for_a_start(&[folder_of(dir.path())]), "nothing is left to free");
    assert!(monitor.can_open());
    monitor.check();
    assert!(ballast.exists(), "it is made again once there is space");
}

#[test]
fn write_ahead_files_are_distinguished_from_others() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [("000012.log", 100), ("000013.log", 20), ("LOG", 7), ("old.log", 5), ("000014.sst", 9)] {
        std::fs::write(dir.path().join(name), vec![0; bytes]).unwrap();
    }
    assert_eq!(wal_bytes(dir.path()), 120);
}
