//! Files that are written, read, sent, received and given up.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::snapshot::{
    IncomingSnapshot, OutgoingSnapshot, SnapshotFileError, SnapshotFiles as _, SnapshotPiece,
};
use fastness_log::{Cipher, MasterKey, SnapshotFolder};
use fastness_shard::{SnapshotPart, SnapshotSource, SnapshotStore as _};
use fastness_types::limits::SNAPSHOT_QUEUE_BYTES_MAX;
use fastness_types::{ClusterId, GroupId, LogIndex, NodeId};

use super::files::{KEPT, SnapshotFiles};
use crate::testing::until;

fn files(path: &Path) -> SnapshotFiles {
    let cipher = Cipher::new(MasterKey::from_bytes(&[7; 32]));
    let folder = SnapshotFolder::open(path, ClusterId([1; 16]), NodeId(1), GroupId(1), cipher);
    folder.prepare().unwrap();
    SnapshotFiles::new(folder, None)
}

fn write(files: &SnapshotFiles, index: u64) {
    let mut sink = files.create(b"head".to_vec());
    for chunk in 0..50u8 {
        while !sink.has_room() {
            std::thread::sleep(Duration::from_millis(1));
        }
        sink.push(vec![chunk; 10]);
    }
    assert!(sink.failure().is_none());
    sink.finish(LogIndex(index), b"tail".to_vec());
    until(|| sink.finished().is_some());
    assert_eq!(files.folder.list().unwrap().first(), Some(&LogIndex(index)));
}

async fn received(
    files: &SnapshotFiles,
    pieces: Vec<SnapshotPiece>,
) -> Result<Box<dyn IncomingSnapshot>, SnapshotFileError> {
    let mut incoming = files.receive().await?;
    for piece in pieces {
        incoming.push(piece).await?;
    }
    Ok(incoming)
}

/// A chunk larger than any message between nodes, which older versions wrote for a large value.
#[tokio::test]
async fn a_chunk_larger_than_a_message_is_sent_and_stored_in_pieces() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [there, here] = [files(dirs[0].path()), files(dirs[1].path())];
    let large: Vec<u8> = (0..70u32 << 20).map(|at| (at >> 12) as u8).collect();
    let mut sink = there.create(b"head".to_vec());
    sink.push(large.clone());
    sink.push(b"small".to_vec());
    sink.finish(LogIndex(10), b"tail".to_vec());
    until(|| sink.finished().is_some());

    let mut source = there.open(LogIndex(10)).await.unwrap();
    let mut incoming = here.receive().await.unwrap();
    while let Some(piece) = source.next().await.unwrap() {
        assert!(piece.part.bytes().len() <= 16 << 20, "a piece of {} bytes", piece.part.bytes().len());
        incoming.push(piece).await.unwrap();
    }
    incoming.publish(LogIndex(10)).await.unwrap();
    let (index, restored) = parts(&here, None).await;
    let restored = restored.unwrap();
    assert_eq!((index, restored.len()), (10, 4));
    assert!(restored[1].bytes()[..] == large[..], "the large chunk is another one");
    assert_eq!(restored[2], SnapshotPart::Chunk("small".into()));

    // Cut off within a chunk: nothing is left of it.
    let head = SnapshotPiece::whole(SnapshotPart::Head("head".into()));
    let started = SnapshotPiece { part: SnapshotPart::Chunk("started".into()), continues: true };
    let tail = SnapshotPiece::whole(SnapshotPart::Tail("tail".into()));
    let error = match received(&here, vec![head, started, tail]).await {
        Ok(incoming) => incoming.publish(LogIndex(20)).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, SnapshotFileError::Order), "{error}");
    assert_eq!(here.folder.list().unwrap(), [LogIndex(10)]);
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[tokio::test]
async fn one_from_another_node_is_kept_once_it_is_published() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [there, here] = [files(dirs[0].path()), files(dirs[1].path())];
    write(&there, 10);
    write(&here, 5);
    let mut source = there.open(LogIndex(10)).await.unwrap();
    assert_eq!(
        OutgoingSnapshot::bytes(source.as_ref()),
        std::fs::metadata(there.folder.file(LogIndex(10))).unwrap().len()
    );
    let mut sent = Vec::new();
    while let Some(part) = OutgoingSnapshot::next(source.as_mut()).await.unwrap() {
        sent.push(part);
    }
    assert!(there.open(LogIndex(9)).await.is_err(), "there is none of that position");

    let incoming = received(&here, sent.clone()).await.unwrap();
    assert_eq!(here.folder.list().unwrap(), [LogIndex(5)], "not before it is published");
    incoming.publish(LogIndex(10)).await.unwrap();
    assert_eq!(here.folder.list().unwrap(), [LogIndex(10), LogIndex(5)]);
    let stored = sent.iter().map(|piece| piece.part.clone()).collect::<Vec<_>>();
    assert_eq!(parts(&here, None).await, (10, Ok(stored)));

    // Given up, without a tail, in a wrong order: nothing is left of it.
    drop(received(&here, sent[..3].to_vec()).await.unwrap());
    let unfinished = received(&here, sent[..3].to_vec()).await.unwrap();
    let error = unfinished.publish(LogIndex(20)).await.unwrap_err();
    assert!(matches!(error, SnapshotFileError::Order), "{error}");
    let headless = received(&here, sent[1..].to_vec()).await;
    let error = match headless {
        Ok(headless) => headless.publish(LogIndex(20)).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, SnapshotFileError::NoHead), "{error}");
    until(|| entries(dirs[1].path()) == 2);
    assert_eq!(here.folder.list().unwrap(), [LogIndex(10), LogIndex(5)]);
}

async fn parts(files: &SnapshotFiles, below: Option<LogIndex>) -> (u64, Result<Vec<SnapshotPart>, String>) {
    let (index, mut source) = files.open_newest(below).unwrap();
    assert!(SnapshotSource::bytes(source.as_ref()).is_some_and(|bytes| bytes > 500));
    let mut parts = Vec::new();
    loop {
        match source.next().await {
            Ok(Some(part)) => parts.push(part),
            Ok(None) => return (index.0, Ok(parts)),
            Err(error) => return (index.0, Err(error.to_string())),
        }
    }
}

#[tokio::test]
async fn the_two_newest_are_kept_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    assert!(files.open_newest(None).is_none());
    for index in [10, 20, 30] {
        write(&files, index);
    }
    until(|| files.folder.list().unwrap().len() == KEPT);
    let (index, newest) = parts(&files, None).await;
    let newest = newest.unwrap();
    assert_eq!((index, newest.len()), (30, 52));
    assert_eq!(newest[0], SnapshotPart::Head("head".into()));
    assert_eq!(newest[50], SnapshotPart::Chunk(vec![49; 10].into()));
    assert_eq!(newest[51], SnapshotPart::Tail("tail".into()));
    assert_eq!(parts(&files, Some(LogIndex(30))).await.0, 20);
    assert!(files.open_newest(Some(LogIndex(20))).is_none());

    let path = files.folder.file(LogIndex(30));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = parts(&files, None).await.1.unwrap_err();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("its bytes have changed"), "{error}");
}

/// What waits between the shard's loop, a file's thread and whoever reads is bounded in bytes: each chunk may be large.
#[tokio::test]
async fn what_waits_is_bounded_in_bytes() {
    const CHUNK: usize = 200 * 1024;
    const COUNT: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    // The thread of a file waits while another one is written.
    let busy = files.writing.lock();
    let mut sink = files.create(b"head".to_vec());
    let mut pushed = 0;
    while sink.has_room() {
        sink.push(vec![pushed as u8; CHUNK]);
        pushed += 1;
    }
    assert_eq!(pushed, SNAPSHOT_QUEUE_BYTES_MAX.div_ceil(CHUNK));
    assert_eq!(sink.waiting_bytes(), (pushed * CHUNK) as u64, "and counted");
    drop(busy);
    for chunk in pushed..COUNT {
        until(|| sink.has_room());
        sink.push(vec![chunk as u8; CHUNK]);
    }
    sink.finish(LogIndex(1), b"tail".to_vec());
    until(|| sink.finished().is_some());
    assert_eq!(sink.waiting_bytes(), 0);

    let mut source = files.parts(LogIndex(1));
    let ahead = source.ahead.clone();
    let is_ahead = || ahead.bytes.lock().unwrap();
    let mut chunks = 0;
    loop {
        until(|| is_ahead() + CHUNK > SNAPSHOT_QUEUE_BYTES_MAX || chunks + SNAPSHOT_QUEUE_BYTES_MAX / CHUNK >= COUNT);
        assert!(is_ahead() <= SNAPSHOT_QUEUE_BYTES_MAX);
        match source.take().await.unwrap() {
            Some(SnapshotPart::Chunk(_)) => chunks += 1,
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(chunks, COUNT);
    let source = files.parts(LogIndex(1));
    let ahead = source.ahead.clone();
    until(|| ahead.bytes.lock().unwrap() > SNAPSHOT_QUEUE_BYTES_MAX / 2);
    drop(source);
    until(|| Arc::strong_count(&ahead) == 1);
}

#[test]
fn an_abandoned_snapshot_leaves_nothing_and_a_failure_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let mut sink = files.create(b"head".to_vec());
    sink.push(vec![1; 10]);
    drop(sink);
    until(|| std::fs::read_dir(dir.path()).unwrap().count() == 0 && files.writing.try_lock().is_some());
    std::fs::remove_dir(dir.path()).unwrap();
    let sink = files.create(b"head".to_vec());
    until(|| sink.failure().is_some());
    assert!(sink.failure().unwrap().to_string().contains(dir.path().to_str().unwrap()));
    std::fs::create_dir(dir.path()).unwrap();
}

/// Group 0's: written, read and listed by the task that owns its state, on threads for blocking work.
#[test]
fn snapshots_of_group_0_are_kept_twice_and_damage_is_noticed() {
    use fastness_control::{ControlState, SnapshotStore, snapshot};
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let store: &dyn SnapshotStore = &files;
    let map = fastness_control::fixtures::three_nodes();
    let state = |index| ControlState {
        index: LogIndex(index),
        map: (index > 10).then(|| Arc::new(map.clone())),
        ..ControlState::default()
    };
    let read = |index| -> Result<ControlState, String> {
        let parts = store.read(LogIndex(index)).map_err(|error| error.to_string())?;
        let parts: Result<Vec<_>, _> = parts.collect();
        snapshot::decode(&parts.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    };
    for (index, before) in [(10, 0), (20, 10), (30, 20)] {
        let parts = snapshot::encode(&state(index)).unwrap();
        assert_eq!(store.write(LogIndex(index), parts).unwrap(), LogIndex(before));
        assert_eq!(read(index), Ok(state(index)));
    }
    assert_eq!(store.list().unwrap(), [LogIndex(30), LogIndex(20)]);
    assert!(read(10).unwrap_err().contains("00000000000000000010.snapshot"));
    let damaged = files.folder.file(LogIndex(30));
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let error = read(30).unwrap_err();
    assert!(error.contains("30.snapshot, byte ") && error.contains("its bytes have changed"), "{error}");
    assert_eq!(read(20), Ok(state(20)));

    // Without a tail, or given up because the disk is short: nothing is left of it.
    let mut parts = snapshot::encode(&state(40)).unwrap();
    parts.pop();
    assert!(matches!(store.write(LogIndex(40), parts), Err(SnapshotFileError::Order)));
    assert_eq!((store.list().unwrap(), files.bytes().1), (vec![LogIndex(30), LogIndex(20)], 0));
}
