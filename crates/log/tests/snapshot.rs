//! Snapshot files: reading returns what was written, or an error that says where the damage is.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use fastness_log::{Cipher, Draft, MasterKey, SnapshotError, SnapshotFolder};
use fastness_types::{ClusterId, GroupId, LogIndex, NodeId};

/// Counted bytes instead of random ones, because golden files need the same bytes.
fn cipher(key: u8) -> Cipher {
    let mut next = 0u8;
    let random = move |bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|byte| {
            next = next.wrapping_add(1);
            *byte = next;
        });
    };
    Cipher::with_random(MasterKey::from_bytes(&[key; 32]), Box::new(random))
}

fn folder(path: &Path) -> SnapshotFolder {
    let folder = SnapshotFolder::open(path, ClusterId([1; 16]), NodeId(2), GroupId(3), cipher(7));
    folder.prepare().unwrap();
    folder
}

fn write(folder: &SnapshotFolder, index: u64) {
    let mut writer = folder.create(Draft::Own, b"head").unwrap();
    writer.chunk(b"first").unwrap();
    writer.chunk(b"").unwrap();
    writer.chunk(b"third").unwrap();
    writer.finish(LogIndex(index), b"tail").unwrap();
}

/// Head, all chunks concatenated, tail.
type Content = [Vec<u8>; 3];

fn read(folder: &SnapshotFolder, index: u64) -> Result<Content, SnapshotError> {
    let mut reader = folder.read(LogIndex(index))?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.extend(chunk);
    }
    assert!(reader.next_chunk()?.is_none());
    Ok([reader.head().to_vec(), chunks, reader.tail().unwrap().to_vec()])
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    write(&folder, 70);
    write(&folder, 800);
    std::fs::write(dir.path().join("notes.snapshot"), "not a snapshot").unwrap();
    assert_eq!(folder.list().unwrap(), [LogIndex(800), LogIndex(70)]);
    assert_eq!(read(&folder, 70).unwrap(), [b"head".to_vec(), b"firstthird".to_vec(), b"tail".to_vec()]);
    folder.remove(LogIndex(800)).unwrap();
    assert_eq!(folder.list().unwrap(), [LogIndex(70)]);
}

/// A value may be longer than a frame.
#[test]
fn a_long_chunk_is_one_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    for length in [16 << 20, (16 << 20) + 1, 40 << 20] {
        let chunk: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut writer = folder.create(Draft::Own, b"head").unwrap();
        writer.chunk(&chunk).unwrap();
        writer.chunk(b"next").unwrap();
        writer.finish(LogIndex(5), b"tail").unwrap();
        let mut reader = folder.read(LogIndex(5)).unwrap();
        assert!(reader.next_chunk().unwrap().unwrap() == chunk, "{length}");
        assert_eq!(reader.next_chunk().unwrap().unwrap(), b"next");
        assert_eq!(reader.next_chunk().unwrap(), None);
    }
}

#[test]
fn an_unfinished_snapshot_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    {
        let folder = folder(dir.path());
        folder.create(Draft::Own, b"head").unwrap().chunk(b"chunk").unwrap();
        assert_eq!(folder.list().unwrap(), []);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    assert_eq!(folder(dir.path()).list().unwrap(), []);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "removed at the next start");
}

/// The bytes that version 1 writes. If this test fails, the format has changed and existing snapshots could not be
/// read.
#[test]
fn the_format_is_frozen() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshot-v1");
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    write(&folder, 5);
    let written = std::fs::read(folder.file(LogIndex(5))).unwrap();
    if std::env::var_os("FASTNESS_UPDATE").is_some() && !golden.exists() {
        std::fs::write(&golden, &written).unwrap();
    }
    assert_eq!(written, std::fs::read(&golden).unwrap());
    std::fs::copy(&golden, folder.file(LogIndex(6))).unwrap();
    assert_eq!(read(&folder, 6).unwrap(), read(&folder, 5).unwrap());
}

#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    write(&folder, 5);
    let good = std::fs::read(folder.file(LogIndex(5))).unwrap();
    let path = folder.file(LogIndex(6));
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            std::fs::write(&path, &bad).unwrap();
            let error = read(&folder, 6).expect_err(&format!("byte {at} was flipped"));
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        std::fs::write(&path, &good[..at]).unwrap();
        assert!(matches!(read(&folder, 6), Err(SnapshotError::Damaged { .. })), "cut to {at}");
    }
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    let error = read(&folder, 6).unwrap_err().to_string();
    assert!(error.contains("does not end after its tail"), "{error}");
}

#[test]
fn a_file_of_another_place_or_key_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    write(&folder(dir.path()), 5);
    let open = |cluster, node, group, key| {
        let folder =
            SnapshotFolder::open(dir.path(), ClusterId([cluster; 16]), NodeId(node), GroupId(group), cipher(key));
        read(&folder, 5).map(drop)
    };
    assert!(open(1, 2, 3, 7).is_ok());
    for (cluster, node, group) in [(9, 2, 3), (1, 9, 3), (1, 2, 9)] {
        assert!(matches!(open(cluster, node, group, 7), Err(SnapshotError::Damaged { at: 20, .. })));
    }
    let error = open(1, 2, 3, 8).unwrap_err();
    assert!(matches!(error, SnapshotError::OtherMaster { .. }), "{error}");
    assert!(error.to_string().contains("master-key-file"), "{error}");
}

#[test]
fn an_alternative_master_key_opens_as_well() {
    let dir = tempfile::tempdir().unwrap();
    write(&folder(dir.path()), 5);
    let both = cipher(8).with_alternative(MasterKey::from_bytes(&[7; 32]));
    let folder = SnapshotFolder::open(dir.path(), ClusterId([1; 16]), NodeId(2), GroupId(3), both);
    assert!(read(&folder, 5).is_ok());
}

#[test]
fn a_long_file_is_synced_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    let mut writer = folder.create(Draft::Own, b"head").unwrap();
    let bytes = vec![7; 3 << 20];
    let mut highest = 0;
    for number in 0..24 {
        match number % 3 {
            0 => writer.chunk(&bytes).unwrap(),
            1 => writer.piece(&bytes, true).unwrap(),
            // Larger than a frame may be.
            _ => writer.chunk(&bytes.repeat(6)).unwrap(),
        }
        highest = highest.max(writer.unsynced());
        assert!(writer.unsynced() < 4 << 20, "{} bytes of {} wait for the end", writer.unsynced(), writer.bytes());
        // The newest sync has written everything out of the writer's buffer.
        let length = std::fs::metadata(dir.path().join("writing")).unwrap().len();
        assert!(length >= writer.bytes() - writer.unsynced(), "{length} of {} bytes are in the file", writer.bytes());
    }
    assert!(highest > 1 << 20, "it is not synced with every frame: at most {highest} bytes waited");
    writer.finish(LogIndex(9), b"tail").unwrap();
    assert_eq!(read(&folder, 9).unwrap()[1].len(), 8 * 8 * (3 << 20));
}
