//! The formats on disk are frozen: the bytes that version 1 writes are compared with files in `tests/golden`, and those
//! files must be readable.
//!
//! A golden file is never changed. A new format version gets a new file beside it, and this test continues to read the
//! old one. `FASTNESS_WRITE_GOLDEN=1` writes files that do not exist.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use common::{CLUSTER, NODE, StillClock, batch_entry, entry, master, other_master, purge, rotate, vote, wait};
use fastness_log::memory::MemoryDisk;
use fastness_log::store::Family;
use fastness_log::{Cipher, EntryKind, Log, LogEntry, LogOptions, WriterDriver};
use fastness_types::{DiskId, GroupId, NodeId, WallMs};

const G: GroupId = GroupId(7);
const FAMILIES: [Family; 2] = [Family::Log, Family::Meta];

/// A constant instead of random bytes, so that the output can be compared.
fn cipher() -> Cipher {
    let mut next = 0u8;
    let random = move |bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|byte| {
            *byte = next;
            next = next.wrapping_add(1);
        });
    };
    Cipher::with_random(master(), Box::new(random))
}

fn open(disk: &MemoryDisk) -> Log {
    // At this time the disk is as the first version wrote it: since when a master key is in force was not stored.
    open_at(disk, 0)
}

fn open_at(disk: &MemoryDisk, wall_s: u64) -> Log {
    let mut options = LogOptions::new(NODE, CLUSTER);
    options.clock = Arc::new(StillClock(WallMs(wall_s * 1000)));
    Log::open(disk.open().unwrap(), cipher(), options, WriterDriver::Thread).unwrap()
}

fn all_entries() -> Vec<LogEntry> {
    let mut all = vec![batch_entry(1, b""), batch_entry(2, b"members"), batch_entry(3, b"effects"), entry(4)];
    all[0].kind = EntryKind::Blank;
    all[1].kind = EntryKind::Membership;
    all[3].term = 0x0102_0304_0506_0708;
    all[3].node = 9;
    all
}

/// Every kind of record.
fn write(disk: &MemoryDisk) {
    let log = open(disk);
    let group = log.group(G);
    let all = all_entries();
    wait(|done| group.append(all[..2].to_vec(), done)).unwrap();
    vote(&group, b"a vote").unwrap();
    wait(|done| log.save_peer(NodeId(2), "a peer".into(), done)).unwrap();
    purge(&group, all[1].id()).unwrap();
    wait(|done| group.append(all[2..].to_vec(), done)).unwrap();
    group.save_committed("a position".into());
    log.close();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn text_of(disk: &MemoryDisk) -> String {
    let mut text = String::new();
    for family in FAMILIES {
        for (key, value) in disk.dump(family) {
            writeln!(text, "{} {} {}", family.name(), hex(&key), hex(&value)).unwrap();
        }
    }
    text
}

fn golden_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn version_1_is_written_as_it_was() {
    let disk = MemoryDisk::new();
    write(&disk);
    compare(&disk, "disk-v1.txt");
}

fn compare(disk: &MemoryDisk, name: &str) {
    let (written, golden) = (text_of(disk), golden_file(name));
    if !golden.exists() && std::env::var_os("FASTNESS_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &written).unwrap();
    }
    assert_eq!(written, std::fs::read_to_string(golden).unwrap());
}

fn read_golden(name: &str) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for line in std::fs::read_to_string(golden_file(name)).unwrap().lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let family = FAMILIES.into_iter().find(|family| family.name() == fields[0]).unwrap();
        disk.edit(family, &unhex(fields[1]), Some(unhex(fields[2])));
    }
    disk
}

#[tokio::test]
async fn version_1_is_read() {
    let log = open(&read_golden("disk-v1.txt"));
    assert_eq!(log.identity().starts, 2);
    assert_eq!(log.identity().disk, DiskId(std::array::from_fn(|i| i as u8)), "drawn first");
    assert_eq!(log.peers()[&NodeId(2)], "a peer");
    let state = log.group(G).state();
    let all = all_entries();
    assert_eq!(state.vote.unwrap(), "a vote");
    assert_eq!(state.committed.unwrap(), "a position");
    assert_eq!(state.purged, Some(all[1].id()));
    assert_eq!(*state.memberships[0], all[1]);
    let read = log.group(G).read(3..5, usize::MAX).await.unwrap();
    assert_eq!(read.iter().map(|entry| (**entry).clone()).collect::<Vec<_>>(), all[2..]);
}

/// A disk whose master key was exchanged, and that still has the record of the key before.
#[test]
fn a_rotated_disk_is_written_as_it_was() {
    let disk = MemoryDisk::new();
    let log = open_at(&disk, 1_800_000_000);
    wait(|done| log.group(G).append(vec![batch_entry(1, b"before")], done)).unwrap();
    rotate(&log, other_master()).unwrap();
    wait(|done| log.group(G).append(vec![batch_entry(2, b"after")], done)).unwrap();
    log.close();
    compare(&disk, "disk-rotated-v1.txt");
}

#[tokio::test]
async fn a_rotated_disk_is_read() {
    let disk = read_golden("disk-rotated-v1.txt");
    let (cipher, options) = (Cipher::new(other_master()), LogOptions::new(NODE, CLUSTER));
    let log = Log::open(disk.open().unwrap(), cipher, options, WriterDriver::Thread).unwrap();
    assert_eq!(log.keys().since_s(), 1_800_000_000);
    assert_eq!(log.keys().retired(), Some(master().fingerprint()));
    let read = log.group(G).read(1..3, usize::MAX).await.unwrap();
    assert_eq!(read.iter().map(|entry| &entry.payload[..]).collect::<Vec<_>>(), [&b"before"[..], b"after"]);
}
