//! The conformance suite that RocksDB and the simulated disk both pass, and tests of what only RocksDB has: locks, torn
//! and damaged files.

#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use fastness_log::memory::MemoryDisk;
use fastness_log::rocks::{RocksOptions, RocksStore};
use fastness_log::store::{Family, KeyRange, OrderedStore, StoreError, WriteBatch};
use proptest::prelude::*;

/// A disk that can be opened repeatedly.
trait Disk {
    fn open(&self) -> Result<Arc<dyn OrderedStore>, StoreError>;
}

impl Disk for MemoryDisk {
    fn open(&self) -> Result<Arc<dyn OrderedStore>, StoreError> {
        MemoryDisk::open(self).map(|store| store as Arc<dyn OrderedStore>)
    }
}

struct RocksDisk(tempfile::TempDir);

impl RocksDisk {
    fn new() -> RocksDisk {
        RocksDisk(tempfile::tempdir().unwrap())
    }
    fn open_as(&self, boot_id: &str) -> Result<Arc<RocksStore>, StoreError> {
        let mut options = RocksOptions::new(self.0.path());
        options.boot_id = Some(boot_id.into());
        RocksStore::open(&options)
    }
}

impl Disk for RocksDisk {
    fn open(&self) -> Result<Arc<dyn OrderedStore>, StoreError> {
        self.open_as("boot").map(|store| store as Arc<dyn OrderedStore>)
    }
}

fn both(check: impl Fn(&dyn Disk)) {
    check(&MemoryDisk::new());
    check(&RocksDisk::new());
}

fn range(from: &[u8], to: &[u8]) -> KeyRange {
    KeyRange { from: from.to_vec(), to: to.to_vec() }
}

fn scan(store: &dyn OrderedStore, family: Family, range: &KeyRange, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .scan(family, range, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    found
}

fn keys(store: &dyn OrderedStore, family: Family, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    scan(store, family, &range(from, to), usize::MAX).into_iter().map(|(key, _)| key).collect()
}

fn put(store: &dyn OrderedStore, family: Family, key: &[u8], value: &[u8], sync: bool) {
    let mut batch = WriteBatch::new();
    batch.put(family, key.to_vec(), value.to_vec());
    store.write(batch, sync).unwrap();
}

#[test]
fn a_value_is_found_in_its_family_and_after_a_reopen() {
    both(|disk| {
        let store = disk.open().unwrap();
        put(&*store, Family::Log, b"k", b"log", true);
        put(&*store, Family::Meta, b"k", b"meta", true);
        put(&*store, Family::Meta, b"k", b"newer", true);
        put(&*store, Family::Meta, b"empty", b"", true);
        for _ in 0..2 {
            let store = disk.open();
            assert!(matches!(store, Err(StoreError::Locked { .. })), "one opening at a time");
        }
        drop(store);
        let store = disk.open().unwrap();
        assert_eq!(store.get(Family::Log, b"k").unwrap().unwrap(), b"log");
        assert_eq!(store.get(Family::Meta, b"k").unwrap().unwrap(), b"newer");
        assert_eq!(store.get(Family::Meta, b"empty").unwrap().unwrap(), b"");
        assert_eq!(store.get(Family::Meta, b"none").unwrap(), None);
    });
}

#[test]
fn a_batch_applies_in_order() {
    both(|disk| {
        let store = disk.open().unwrap();
        let mut batch = WriteBatch::new();
        for key in [b"a", b"b", b"c", b"d"] {
            batch.put(Family::Log, key.to_vec(), key.to_vec());
        }
        batch.delete_range(Family::Log, b"b".to_vec(), b"d".to_vec());
        batch.put(Family::Log, b"c".to_vec(), b"again".to_vec());
        batch.delete(Family::Log, b"a".to_vec());
        batch.delete(Family::Log, b"none".to_vec());
        store.write(batch, false).unwrap();
        assert_eq!(keys(&*store, Family::Log, b"", b"z"), [b"c", b"d"]);
        assert_eq!(store.get(Family::Log, b"c").unwrap().unwrap(), b"again");
        store.write(WriteBatch::new(), true).unwrap();
    });
}

#[test]
fn a_range_deletion_stays_in_its_range_and_family() {
    both(|disk| {
        let store = disk.open().unwrap();
        for key in [&b"a"[..], b"b", b"b\0", b"bb", b"c", b"c\0"] {
            put(&*store, Family::Log, key, b"", false);
            put(&*store, Family::Meta, key, b"", false);
        }
        let mut batch = WriteBatch::new();
        batch.delete_range(Family::Log, b"b".to_vec(), b"c".to_vec());
        batch.delete_range(Family::Log, b"x".to_vec(), b"a".to_vec());
        store.write(batch, true).unwrap();
        drop(store);
        let store = disk.open().unwrap();
        assert_eq!(keys(&*store, Family::Log, b"", b"z"), [&b"a"[..], b"c", b"c\0"]);
        assert_eq!(keys(&*store, Family::Meta, b"", b"z").len(), 6);
        store.reclaim(Family::Log);
        assert_eq!(keys(&*store, Family::Log, b"", b"z").len(), 3);
    });
}

#[test]
fn scans_are_ordered_bounded_and_can_be_stopped() {
    both(|disk| {
        let store = disk.open().unwrap();
        for n in (0..200u8).rev() {
            put(&*store, Family::Log, &[1, n], &[n], false);
            put(&*store, Family::Log, &[2, n], &[n], false);
        }
        let found = keys(&*store, Family::Log, &[1, 50], &[1, 60]);
        assert_eq!(found, (50..60).map(|n| vec![1, n]).collect::<Vec<_>>());
        assert_eq!(scan(&*store, Family::Log, &range(&[1], &[3]), 3).len(), 3);
        assert_eq!(keys(&*store, Family::Log, &[1], &[2]).len(), 200);
        assert!(keys(&*store, Family::Log, &[2], &[1]).is_empty());
        assert!(keys(&*store, Family::Meta, &[], &[9]).is_empty());
    });
}

#[test]
fn the_last_key_of_a_range() {
    both(|disk| {
        let store = disk.open().unwrap();
        assert_eq!(store.last(Family::Log, &range(b"", b"z")).unwrap(), None);
        for key in [b"b", b"d", b"f"] {
            put(&*store, Family::Log, key, key, false);
        }
        let last = |from: &[u8], to: &[u8]| store.last(Family::Log, &range(from, to)).unwrap().map(|(key, _)| key);
        assert_eq!(last(b"", b"z").unwrap(), b"f");
        assert_eq!(last(b"", b"f").unwrap(), b"d");
        assert_eq!(last(b"", b"f\0").unwrap(), b"f");
        assert_eq!(last(b"c", b"d"), None);
        assert_eq!(last(b"z", b"a"), None);
    });
}

#[test]
fn a_scan_sees_one_moment_and_may_call_the_store() {
    both(|disk| {
        let store = disk.open().unwrap();
        put(&*store, Family::Log, b"a", b"1", false);
        put(&*store, Family::Log, b"b", b"1", false);
        let mut seen = 0;
        store
            .scan(Family::Log, &range(b"", b"z"), &mut |_, value| {
                seen += 1;
                assert_eq!(value, b"1");
                put(&*store, Family::Log, b"b", b"2", false);
                put(&*store, Family::Log, b"c", b"2", false);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, 2);
    });
}

fn ops() -> impl Strategy<Value = Vec<Vec<(u8, u8, u8)>>> {
    prop::collection::vec(prop::collection::vec((0..4u8, 0..24u8, 0..24u8), 1..6), 1..24)
}

fn batch_of(ops: &[(u8, u8, u8)], number: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for &(kind, a, b) in ops {
        match kind {
            0 | 1 => batch.put(Family::Log, vec![a], vec![b, number as u8]),
            2 => batch.delete(Family::Log, vec![a]),
            _ => batch.delete_range(Family::Log, vec![a.min(b)], vec![a.max(b)]),
        }
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_stores_agree_after_any_batches(batches in ops()) {
        let (memory, rocks) = (MemoryDisk::new(), RocksDisk::new());
        let (mut m, mut r) = (Disk::open(&memory).unwrap(), Disk::open(&rocks).unwrap());
        for (number, ops) in batches.iter().enumerate() {
            let batch = batch_of(ops, number);
            m.write(batch.clone(), number % 3 == 0).unwrap();
            r.write(batch, number % 3 == 0).unwrap();
            if number % 7 == 6 {
                drop((m, r));
                (m, r) = (Disk::open(&memory).unwrap(), Disk::open(&rocks).unwrap());
            }
        }
        let all = range(&[], &[255]);
        prop_assert_eq!(scan(&*m, Family::Log, &all, usize::MAX), scan(&*r, Family::Log, &all, usize::MAX));
        for n in 0..24 {
            let part = range(&[n], &[n + 5]);
            prop_assert_eq!(m.last(Family::Log, &part).unwrap(), r.last(Family::Log, &part).unwrap());
            prop_assert_eq!(m.get(Family::Log, &[n]).unwrap(), r.get(Family::Log, &[n]).unwrap());
        }
    }
}

/// Copies the files of an open store, as another process would find them after a kill.
fn image(of: &Path) -> RocksDisk {
    let copy = RocksDisk::new();
    for file in std::fs::read_dir(of).unwrap() {
        let file = file.unwrap();
        if !["LOCK", "store.lock"].contains(&file.file_name().to_str().unwrap()) {
            std::fs::copy(file.path(), copy.0.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

fn newest_wal(dir: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files.pop().unwrap()
}

/// Opens, as `boot_id`, a store with ten synced batches whose write-ahead log `change` has altered.
fn opened_after(boot_id: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<usize, StoreError> {
    let disk = RocksDisk::new();
    let store = disk.open_as("boot").unwrap();
    for n in 0..10u8 {
        put(&*store, Family::Log, &[n], &[n; 100], true);
    }
    let copy = image(disk.0.path());
    let wal = newest_wal(copy.0.path());
    let mut bytes = std::fs::read(&wal).unwrap();
    change(&mut bytes);
    std::fs::write(&wal, bytes).unwrap();
    let store = copy.open_as(boot_id)?;
    let found = keys(&*store, Family::Log, &[], &[99]);
    assert_eq!(found, (0..found.len() as u8).map(|n| vec![n]).collect::<Vec<_>>(), "a prefix");
    Ok(found.len())
}

#[test]
fn real_write_ahead_files_check() {
    assert_eq!(opened_after("boot", |_| {}), Ok(10));
    assert_eq!(opened_after("other boot", |_| {}), Ok(10));
}

#[test]
fn a_batch_that_was_half_written_is_cut() {
    for boot_id in ["boot", "other boot"] {
        for lost in [1, 50, 100] {
            assert_eq!(opened_after(boot_id, |wal| wal.truncate(wal.len() - lost)), Ok(9), "{lost} bytes on {boot_id}");
        }
    }
}

#[test]
fn a_torn_last_batch_is_cut_after_a_machine_crash_only() {
    // All bytes of the batch exist, but some are wrong.
    let tear = |wal: &mut Vec<u8>| {
        let end = wal.len();
        wal[end - 60..end - 20].fill(0);
    };
    assert_eq!(opened_after("other boot", tear), Ok(9));
    let error = opened_after("boot", tear).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { place, .. } if place.ends_with(".log")), "{error}");
    assert!(error.to_string().contains("at byte"), "{error}");
}

#[test]
fn a_damaged_acknowledged_batch_is_refused_on_any_boot() {
    for boot_id in ["boot", "other boot"] {
        for at in [0, 4, 5, 6, 200, 600] {
            let error = opened_after(boot_id, |wal| wal[at] ^= 0x10).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "byte {at} on {boot_id}: {error}");
        }
    }
}

#[test]
fn only_the_first_opening_after_a_crash_cuts_a_torn_batch() {
    let disk = RocksDisk::new();
    let store = disk.open_as("boot").unwrap();
    put(&*store, Family::Log, b"a", b"1", true);
    drop(store);
    drop(disk.open_as("next boot").unwrap());
    let store = disk.open_as("next boot").unwrap();
    put(&*store, Family::Log, b"b", b"2", true);
    let copy = image(disk.0.path());
    let wal = newest_wal(copy.0.path());
    let mut bytes = std::fs::read(&wal).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&wal, bytes).unwrap();
    assert!(matches!(copy.open_as("next boot"), Err(StoreError::Corrupt { .. })));
}

#[test]
fn reclaiming_frees_space_and_loses_nothing() {
    let disk = RocksDisk::new();
    let store = disk.open_as("boot").unwrap();
    for round in 0..4u8 {
        for n in 0..50u8 {
            put(&*store, Family::Log, &[round, n], &[n; 4096], false);
        }
        store.flush().unwrap();
    }
    let size = || -> u64 {
        let files = std::fs::read_dir(disk.0.path()).unwrap().map(|file| file.unwrap());
        let tables = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "sst"));
        tables.map(|file| file.metadata().unwrap().len()).sum()
    };
    let before = size();
    let mut batch = WriteBatch::new();
    batch.delete_range(Family::Log, vec![0], vec![3]);
    store.write(batch, true).unwrap();
    store.reclaim(Family::Log);
    // Closing waits for the compaction, or cancels it; so poll until it has finished.
    while store.is_reclaiming() {
        std::thread::yield_now();
    }
    assert_eq!(keys(&*store, Family::Log, &[], &[9]).len(), 50);
    drop(store);
    let store = disk.open_as("boot").unwrap();
    assert_eq!(keys(&*store, Family::Log, &[], &[9]).len(), 50);
    assert!(size() < before / 2, "{} of {before} bytes", size());
}

#[test]
fn space_purged_during_a_compaction_is_freed_as_well() {
    let disk = RocksDisk::new();
    let store = disk.open_as("boot").unwrap();
    for round in 0..8u8 {
        for n in 0..50u8 {
            put(&*store, Family::Log, &[round, n], &[n; 4096], false);
        }
        store.flush().unwrap();
    }
    for round in [3, 7] {
        let mut batch = WriteBatch::new();
        batch.delete_range(Family::Log, vec![0], vec![round]);
        store.write(batch, true).unwrap();
        store.reclaim(Family::Log);
    }
    while store.is_reclaiming() {
        std::thread::yield_now();
    }
    assert_eq!(keys(&*store, Family::Log, &[], &[9]).len(), 50);
    drop(store);
    let files = std::fs::read_dir(disk.0.path()).unwrap().map(|file| file.unwrap());
    let tables = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "sst"));
    let left: u64 = tables.map(|file| file.metadata().unwrap().len()).sum();
    assert!(left < 2 * 50 * 4096, "{left} bytes for one round of eight");
}
