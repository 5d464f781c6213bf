//! Encryption at rest: nothing on disk is readable, and every change of a stored byte or of its place is detected.

#![allow(clippy::unwrap_used)]

mod common;

use common::{CLUSTER, NODE, append, batch_entry, entries, entry, master, open, purge, vote, wait};
use fastness_log::memory::MemoryDisk;
use fastness_log::store::Family;
use fastness_log::{Cipher, Log, LogOptions, OpenError, RecordError, WriterDriver};
use fastness_types::{GroupId, NodeId};

const G: GroupId = GroupId(3);
const H: GroupId = GroupId(4);
const FAMILIES: [Family; 2] = [Family::Log, Family::Meta];

/// A disk with two groups, a purge, votes and committed positions, and two starts.
fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    for index in [1, 4] {
        let log = open(&disk);
        for group in [G, H] {
            append(&log.group(group), index..=index + 2).unwrap();
            vote(&log.group(group), b"the vote").unwrap();
            log.group(group).save_committed("the committed".into());
        }
        purge(&log.group(H), entry(index).id()).unwrap();
        log.close();
    }
    disk
}

fn reopen(disk: &MemoryDisk) -> Result<Log, OpenError> {
    reopen_with(disk, Cipher::new(master()))
}

fn reopen_with(disk: &MemoryDisk, cipher: Cipher) -> Result<Log, OpenError> {
    Log::open(disk.open().unwrap(), cipher, LogOptions::new(NODE, CLUSTER), WriterDriver::Thread)
}

fn value(disk: &MemoryDisk, family: Family, key: &[u8]) -> Vec<u8> {
    disk.dump(family).into_iter().find(|(k, _)| k == key).unwrap().1
}

fn entry_key(group: GroupId, index: u64) -> Vec<u8> {
    fastness_log::key::Key::Entry { group, index }.encode()
}

#[test]
fn no_payload_is_readable_on_the_disk() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let secret = b"a secret that must not be readable";
    wait(|done| log.group(G).append(vec![batch_entry(1, secret)], done)).unwrap();
    vote(&log.group(G), secret).unwrap();
    log.group(G).save_committed(secret[..].into());
    purge(&log.group(G), entry(1).id()).unwrap();
    log.close();
    for family in FAMILIES {
        for (_, value) in disk.dump(family) {
            assert!(!value.windows(8).any(|part| part == &secret[..8]));
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_stored_value_is_found_and_named() {
    let disk = disk();
    for family in FAMILIES {
        for (key, value) in disk.dump(family) {
            for at in 0..value.len() {
                let copy = disk.copy();
                let mut changed = value.clone();
                changed[at] ^= 1 << (at % 8);
                copy.edit(family, &key, Some(changed));
                let error = reopen(&copy).expect_err(&format!("byte {at} of {key:?}"));
                let named = match &error {
                    OpenError::Record { record, .. } => match (family, key[0]) {
                        (Family::Log, _) => record.starts_with(&format!("entry {} of group", key[11])),
                        (Family::Meta, 1) => record == "identity record",
                        (Family::Meta, 2) => record.starts_with("data key"),
                        (Family::Meta, 3) => record.starts_with("vote of group"),
                        (Family::Meta, 4) => record.starts_with("committed position of group"),
                        (Family::Meta, _) => record.starts_with("purge record of group"),
                    },
                    // The fingerprint of the master key is part of these two records.
                    OpenError::OtherMasterKey { .. } => family == Family::Meta && key[0] <= 2,
                    _ => false,
                };
                assert!(named, "byte {at} of {key:?}: {error}");
            }
        }
    }
}

#[test]
fn a_shortened_value_is_found() {
    let disk = disk();
    for family in FAMILIES {
        for (key, value) in disk.dump(family) {
            for len in [0, 1, value.len() / 2, value.len() - 1] {
                let copy = disk.copy();
                copy.edit(family, &key, Some(value[..len].to_vec()));
                reopen(&copy).expect_err(&format!("{len} bytes of {key:?}"));
            }
        }
    }
}

fn assert_tag(result: Result<Log, OpenError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, OpenError::Record { error: RecordError::Tag, .. }), "{error}");
}

#[test]
fn an_entry_in_the_place_of_another_is_found() {
    let disk = disk();
    let first = value(&disk, Family::Log, &entry_key(G, 1));
    let second = value(&disk, Family::Log, &entry_key(G, 2));
    let copy = disk.copy();
    copy.edit(Family::Log, &entry_key(G, 1), Some(second));
    copy.edit(Family::Log, &entry_key(G, 2), Some(first));
    assert_tag(reopen(&copy));

    let copy = disk.copy();
    copy.edit(Family::Log, &entry_key(G, 6), Some(value(&disk, Family::Log, &entry_key(H, 6))));
    assert_tag(reopen(&copy));

    // A vote as a committed position of the same group.
    let copy = disk.copy();
    copy.edit(Family::Meta, &[4, 0, 0, 0, 3], Some(value(&disk, Family::Meta, &[3, 0, 0, 0, 3])));
    assert_tag(reopen(&copy));
}

#[test]
fn another_nodes_records_are_found_though_the_master_key_is_the_same() {
    let (one, two) = (disk(), MemoryDisk::new());
    let options = LogOptions::new(NodeId(2), CLUSTER);
    let log = Log::open(two.open().unwrap(), Cipher::new(master()), options, WriterDriver::Thread).unwrap();
    append(&log.group(G), 1..=3).unwrap();
    log.close();
    // Its data keys do not open here, even with an id that this node has not used.
    one.edit(Family::Meta, &[2, 0, 0, 0, 9], Some(value(&two, Family::Meta, &[2, 0, 0, 0, 1])));
    assert_tag(reopen(&one));
}

#[test]
fn a_missing_entry_is_found() {
    let disk = disk();
    disk.edit(Family::Log, &entry_key(G, 3), None);
    let error = reopen(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Gap { group: G, expected: 3, found: 4, .. }), "{error}");
    let disk = self::disk();
    disk.edit(Family::Log, &entry_key(G, 1), None);
    let error = reopen(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Gap { group: G, expected: 1, found: 2, .. }), "{error}");
    // After a purge, the first entry must be the one after the purged ones.
    let disk = self::disk();
    disk.edit(Family::Log, &entry_key(H, 5), None);
    let error = reopen(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Gap { group: H, expected: 5, found: 6, .. }), "{error}");
}

#[test]
fn a_missing_data_key_and_an_unknown_record_are_reported() {
    let disk = disk();
    disk.edit(Family::Meta, &[2, 0, 0, 0, 1], None);
    let error = reopen(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Record { error: RecordError::NoKey(1), .. }), "{error}");
    let disk = self::disk();
    disk.edit(Family::Meta, &[77, 0, 0, 0, 1], Some(vec![1]));
    let error = reopen(&disk).unwrap_err();
    assert!(matches!(error, OpenError::UnknownKey { .. }), "{error}");
    let disk = self::disk();
    let mut newer = value(&disk, Family::Log, &entry_key(G, 1));
    newer[0] = 2;
    disk.edit(Family::Log, &entry_key(G, 1), Some(newer));
    let error = reopen(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Record { error: RecordError::Version(2), .. }), "{error}");
}

fn data_keys(disk: &MemoryDisk) -> Vec<u8> {
    disk.dump(Family::Meta).iter().filter(|(key, _)| key[0] == 2).map(|(key, _)| key[4]).collect()
}

#[tokio::test]
async fn data_keys_change_at_every_start_and_on_request_and_unused_ones_are_removed() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    append(&log.group(G), 1..=2).unwrap();
    wait(|done| log.rotate_data_key(done)).unwrap();
    append(&log.group(G), 3..=4).unwrap();
    assert_eq!(data_keys(&disk), [1, 2]);
    log.close();
    drop(log);
    let log = open(&disk);
    append(&log.group(G), 5..=6).unwrap();
    assert_eq!(data_keys(&disk), [1, 2, 3]);
    let read = log.group(G).read(1..7, usize::MAX).await.unwrap();
    assert_eq!(read.iter().map(|e| (**e).clone()).collect::<Vec<_>>(), entries(1..=6));
    purge(&log.group(G), entry(4).id()).unwrap();
    log.close();
    drop(log);
    open(&disk).close();
    assert_eq!(data_keys(&disk), [3, 4]);
}

#[test]
fn two_starts_of_one_copy_never_share_a_key() {
    let one = disk();
    let two = one.copy();
    for disk in [&one, &two] {
        let log = open(disk);
        append(&log.group(G), 7..=7).unwrap();
        log.close();
    }
    let keys = [&one, &two].map(|disk| value(disk, Family::Meta, &[2, 0, 0, 0, 3]));
    assert_ne!(keys[0], keys[1]);
    let records = [&one, &two].map(|disk| value(disk, Family::Log, &entry_key(G, 7)));
    assert_eq!(records[0][..36], records[1][..36], "same key number and nonce");
    assert_ne!(records[0][36..], records[1][36..], "under different keys");
}
