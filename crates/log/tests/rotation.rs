//! The master key is exchanged while the log and its snapshots are in use: at every step a crash leaves a disk that one
//! of the two keys opens alone, and in the end nothing on the disk is under the old key.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{
    CLUSTER, G, NODE, StillClock, append, check, entries, entry, folder, forget, holds, is_used, master, open,
    other_master, reopen, rewrap, rotate, wait, write,
};
use fastness_log::memory::{MemoryDisk, MemoryFault};
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::store::Family;
use fastness_log::{
    Cipher, Draft, Log, LogOptions, MasterKey, OpenError, RecordError, RotateError, SnapshotError, SnapshotFolder,
    WriterDriver, unlock,
};
use fastness_types::{LogIndex, WallMs};

async fn read_all(log: &Log, last: u64) {
    let read = log.group(G).read(1..last + 1, usize::MAX).await.unwrap();
    assert_eq!(read.iter().map(|entry| (**entry).clone()).collect::<Vec<_>>(), entries(1..=last));
}

#[tokio::test]
async fn the_master_key_is_exchanged_while_the_log_is_in_use() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    append(&log.group(G), 1..=2).unwrap();
    let queued = wait(|done| {
        log.group(G).append(entries(3..=4), |_| {});
        log.rotate_master_key(other_master(), |_| {});
        log.group(G).append(entries(5..=6), done);
    });
    queued.unwrap();
    assert_eq!(log.keys().fingerprint(), other_master().fingerprint());
    assert_eq!(log.keys().retired(), Some(master().fingerprint()));
    read_all(&log, 6).await;
    log.close();
    drop(log);

    // The old key does not open the disk, and the message says what to give.
    let error = reopen(&disk, Cipher::new(master())).unwrap_err();
    assert!(matches!(error, OpenError::OtherMasterKey { .. }), "{error}");
    let text = error.to_string();
    for part in [master().fingerprint().to_string(), other_master().fingerprint().to_string()] {
        assert!(text.contains(&part), "{text}");
    }
    assert!(text.contains("After a rotation of the master key only the new key opens it"), "{text}");

    let log = reopen(&disk, Cipher::new(other_master())).unwrap();
    read_all(&log, 6).await;
    assert_eq!(log.keys().retired(), Some(master().fingerprint()), "a restart does not forget it");
    forget(&log);
    assert_eq!(log.keys().retired(), None);
    log.close();
    for (key, value) in disk.dump(Family::Meta) {
        assert!(!holds(&value, master().fingerprint()), "the record {key:?} is under the old key");
    }
}

#[tokio::test]
async fn records_after_a_rotation_have_a_data_key_that_the_old_key_never_wrapped() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    append(&log.group(G), 1..=1).unwrap();
    let before = disk.copy();
    rotate(&log, other_master()).unwrap();
    append(&log.group(G), 2..=2).unwrap();
    log.close();
    // Someone has the old master key and the data keys as they were wrapped by it.
    let stolen: Vec<_> = before.dump(Family::Meta).into_iter().filter(|(key, _)| key[0] <= 2).collect();
    for (key, value) in stolen {
        disk.edit(Family::Meta, &key, Some(value));
    }
    for key in [&[2, 0, 0, 0, 2][..], &[7]] {
        disk.edit(Family::Meta, key, None);
    }
    let error = reopen(&disk, Cipher::new(master())).unwrap_err();
    let OpenError::Record { record, error: RecordError::NoKey(2), .. } = &error else { panic!("{error}") };
    assert_eq!(record, "entry 2 of group 3");
}

#[test]
fn what_cannot_be_rotated_is_refused_and_changes_nothing() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    assert_eq!(rotate(&log, master()), Err(RotateError::Same(master().fingerprint())));
    rotate(&log, other_master()).unwrap();
    let stored = disk.dump(Family::Meta);
    let third = || MasterKey::from_bytes(&[0x33; 32]);
    assert_eq!(rotate(&log, third()), Err(RotateError::Unfinished(master().fingerprint())));
    assert_eq!(disk.dump(Family::Meta), stored);
    forget(&log);
    rotate(&log, third()).unwrap();
    forget(&log);
    log.close();
    drop(log);
    reopen(&disk, Cipher::new(third())).unwrap().close();
    disk.kill();
    // Keys are wrapped as long as the log writes.
    let log = reopen(&disk, Cipher::new(third())).unwrap();
    log.close();
    assert!(matches!(rotate(&log, master()), Err(RotateError::Write(_))));
    assert_eq!(log.keys().fingerprint(), third().fingerprint());
}

/// The disk is under one of the two keys, whichever way the write of the rotation fails.
#[tokio::test]
async fn a_write_that_fails_leaves_a_disk_that_one_key_opens() {
    for (fault, survive, new_is_in_force) in
        [(MemoryFault::Write, usize::MAX, false), (MemoryFault::Sync, 0, false), (MemoryFault::Sync, usize::MAX, true)]
    {
        let disk = MemoryDisk::new();
        let log = open(&disk);
        append(&log.group(G), 1..=3).unwrap();
        disk.inject(fault);
        assert!(matches!(rotate(&log, other_master()), Err(RotateError::Write(_))));
        assert_eq!(log.keys().fingerprint(), master().fingerprint(), "not before it is known to be stored");
        log.close();
        drop(log);
        disk.crash(survive);
        let (opens, does_not) = if new_is_in_force { (other_master(), master()) } else { (master(), other_master()) };
        let error = reopen(&disk, Cipher::new(does_not)).unwrap_err();
        assert!(matches!(error, OpenError::OtherMasterKey { .. }), "{error}");
        disk.kill();
        let log = reopen(&disk, Cipher::new(opens)).unwrap();
        read_all(&log, 3).await;
        log.close();
        drop(log);
        // A start that has both files needs not know.
        for cipher in [
            Cipher::new(master()).with_alternative(other_master()),
            Cipher::new(other_master()).with_alternative(master()),
        ] {
            let log = reopen(&disk, cipher).unwrap();
            assert_eq!(log.keys().fingerprint() == other_master().fingerprint(), new_is_in_force);
            log.close();
        }
    }
}

#[test]
fn a_changed_record_of_a_retired_key_is_found() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    rotate(&log, other_master()).unwrap();
    log.close();
    drop(log);
    let record = disk.dump(Family::Meta).into_iter().find(|(key, _)| key == &[7]).unwrap().1;
    for at in 0..record.len() {
        let (copy, mut changed) = (disk.copy(), record.clone());
        changed[at] ^= 1 << (at % 8);
        copy.edit(Family::Meta, &[7], Some(changed));
        let error = reopen(&copy, Cipher::new(other_master())).expect_err(&format!("byte {at}"));
        let named = match &error {
            OpenError::Record { record, .. } => record == "retired master key",
            OpenError::OtherMasterKey { .. } => (12..20).contains(&at),
            _ => false,
        };
        assert!(named, "byte {at}: {error}");
    }
}

#[test]
fn since_when_a_key_is_in_force_is_stored() {
    let disk = MemoryDisk::new();
    let open_at = |wall_s: u64, master: MasterKey| {
        let mut options = LogOptions::new(NODE, CLUSTER);
        options.clock = Arc::new(StillClock(WallMs(wall_s * 1000)));
        Log::open(disk.open().unwrap(), Cipher::new(master), options, WriterDriver::Thread).unwrap()
    };
    let log = open_at(1_000, master());
    assert_eq!(log.keys().since_s(), 1_000);
    log.close();
    drop(log);
    let log = open_at(2_000, master());
    assert_eq!(log.keys().since_s(), 1_000, "a restart changes nothing");
    rotate(&log, other_master()).unwrap();
    assert_eq!(log.keys().since_s(), 2_000);
    log.close();
    drop(log);
    assert_eq!(open_at(3_000, other_master()).keys().since_s(), 2_000);
}

#[test]
fn snapshots_are_put_under_the_new_key_and_can_be_read_all_the_while() {
    let (disk, dir) = (MemoryDisk::new(), tempfile::tempdir().unwrap());
    let log = open(&disk);
    let snapshots = folder(dir.path(), Cipher::sharing(log.keys()));
    write(&snapshots, 5);
    write(&snapshots, 8);
    let before = std::fs::read(snapshots.file(LogIndex(5))).unwrap();
    let mut open_reader = snapshots.read(LogIndex(8)).unwrap();
    let mut under_way = snapshots.create(Draft::Own, b"head").unwrap();
    let received = snapshots.create(Draft::Received(1), b"head").unwrap();
    assert_eq!(rewrap(&snapshots), 0, "there is nothing to do");

    rotate(&log, other_master()).unwrap();
    [5, 8].iter().for_each(|index| check(&snapshots, *index).unwrap());
    assert_eq!(rewrap(&snapshots), 2);
    assert_eq!(rewrap(&snapshots), 0);
    forget(&log);
    // Snapshots that were started under the old key end under the new one.
    under_way.chunk(b"13").unwrap();
    under_way.finish(LogIndex(13), b"tail").unwrap();
    drop(received);
    snapshots.discard(Draft::Received(1)).unwrap();
    assert_eq!(open_reader.next_chunk().unwrap().unwrap(), b"8", "a file that is being read can be read on");
    [5, 8, 13].iter().for_each(|index| check(&snapshots, *index).unwrap());
    assert!(!is_used(dir.path(), &master()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "only snapshots are left");
    let after = std::fs::read(snapshots.file(LogIndex(5))).unwrap();
    assert!(before[..12] == after[..12] && before[12..80] != after[12..80] && before[80..] == after[80..]);

    let fresh = |key| SnapshotFolder::open(dir.path(), CLUSTER, NODE, G, Cipher::new(key));
    assert!(matches!(check(&fresh(master()), 5), Err(SnapshotError::OtherMaster { .. })));
    check(&fresh(other_master()), 13).unwrap();
}

#[test]
fn a_header_beside_a_removed_or_replaced_snapshot_does_no_harm() {
    let (disk, dir) = (MemoryDisk::new(), tempfile::tempdir().unwrap());
    let log = open(&disk);
    let snapshots = folder(dir.path(), Cipher::sharing(log.keys()));
    let beside = |index: u64| dir.path().join(format!("{index:020}.header"));
    write(&snapshots, 5);
    let header = std::fs::read(snapshots.file(LogIndex(5))).unwrap()[..80].to_vec();
    // Another file of the same name: it has a key of its own.
    std::fs::write(beside(5), &header).unwrap();
    write(&snapshots, 5);
    check(&snapshots, 5).unwrap();
    assert!(!beside(5).exists());
    std::fs::write(beside(5), &header).unwrap();
    snapshots.remove(LogIndex(5)).unwrap();
    assert!(!beside(5).exists());
    std::fs::write(beside(7), &header).unwrap();
    snapshots.prepare().unwrap();
    assert!(!beside(7).exists(), "the snapshot does not exist");
    // A damaged one is reported and changes nothing.
    write(&snapshots, 9);
    std::fs::write(beside(9), &header[..40]).unwrap();
    assert!(matches!(check(&snapshots, 9), Err(SnapshotError::Damaged { .. })));
    snapshots.prepare().unwrap();
    std::fs::remove_file(beside(9)).unwrap();
    check(&snapshots, 9).unwrap();
}

#[test]
fn a_snapshot_that_cannot_be_read_is_named_and_the_others_are_rotated() {
    let (disk, dir) = (MemoryDisk::new(), tempfile::tempdir().unwrap());
    let log = open(&disk);
    let snapshots = folder(dir.path(), Cipher::sharing(log.keys()));
    write(&snapshots, 5);
    write(&snapshots, 8);
    let mut damaged = std::fs::read(snapshots.file(LogIndex(8))).unwrap();
    damaged[40] ^= 1;
    std::fs::write(snapshots.file(LogIndex(8)), damaged).unwrap();
    rotate(&log, other_master()).unwrap();
    let (replaced, failed) = snapshots.rewrap_all().unwrap();
    assert_eq!(replaced, 1);
    let [SnapshotError::Damaged { path, .. }] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(*path, snapshots.file(LogIndex(8)));
    check(&snapshots, 5).unwrap();
}

/// On RocksDB: what its files keep of overwritten values is gone, too.
#[tokio::test]
async fn no_file_of_the_store_holds_a_key_under_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(&RocksOptions::new(dir.path())).unwrap();
    let options = LogOptions::new(NODE, CLUSTER);
    let log = Log::open(store.clone(), Cipher::new(master()), options.clone(), WriterDriver::Thread).unwrap();
    append(&log.group(G), 1..=20).unwrap();
    // So that some are in tables and others in write-ahead files.
    store.flush().unwrap();
    wait(|done| log.rotate_data_key(done)).unwrap();
    append(&log.group(G), 21..=30).unwrap();
    let under_old = || {
        let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
        let contents = files.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap()));
        contents.filter(|(_, bytes)| holds(bytes, master().fingerprint())).map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert!(under_old().len() >= 2, "{:?}", under_old());
    rotate(&log, other_master()).unwrap();
    forget(&log);
    assert!(!under_old().is_empty(), "overwritten values remain in the files");
    store.forget_overwritten().unwrap();
    // Files that are no longer needed are removed in the background.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !under_old().is_empty() {
        assert!(std::time::Instant::now() < until, "{:?}", under_old());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    read_all(&log, 30).await;
    log.close();
    drop((log, store));

    let store = RocksStore::open_read_only(&RocksOptions::new(dir.path())).unwrap();
    let mut cipher = Cipher::new(master()).with_alternative(other_master());
    unlock(store.as_ref(), &mut cipher, &options).unwrap();
    drop(store);
    let store = RocksStore::open(&RocksOptions::new(dir.path())).unwrap();
    let log = Log::open(store, cipher, options, WriterDriver::Thread).unwrap();
    assert_eq!(log.group(G).state().last, Some(entry(30).id()));
    log.close();
}
