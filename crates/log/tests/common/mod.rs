//! Helpers of this crate's tests: one node, one key, entries whose content follows from their index.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fastness_log::memory::MemoryDisk;
use fastness_log::store::OrderedStore;
use fastness_log::{
    Cipher, Draft, EntryId, EntryKind, Fingerprint, GroupLog, Log, LogEntry, LogOptions, MasterKey, OpenError,
    RotateError, SnapshotError, SnapshotFolder, WriteError, WriterDriver,
};
use fastness_types::{BootNs, Clock, ClusterId, GroupId, LogIndex, NodeId, WallMs};

pub const NODE: NodeId = NodeId(1);
pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

pub fn master() -> MasterKey {
    MasterKey::from_bytes(&[0x11; 32])
}

/// Another master key.
pub fn other_master() -> MasterKey {
    MasterKey::from_bytes(&[0x22; 32])
}

/// A wall clock that shows the same time for ever, where stored bytes are compared.
pub struct StillClock(pub WallMs);

impl Clock for StillClock {
    fn wall(&self) -> WallMs {
        self.0
    }

    fn boot(&self) -> BootNs {
        BootNs(1)
    }
}

pub fn rotate(log: &Log, master: MasterKey) -> Result<(), RotateError> {
    let (sent, received) = std::sync::mpsc::channel();
    log.rotate_master_key(master, move |result| sent.send(result).unwrap());
    received.recv().unwrap()
}

pub fn open(disk: &MemoryDisk) -> Log {
    open_with(disk, |_| {})
}

pub fn open_with(disk: &MemoryDisk, change: impl FnOnce(&mut LogOptions)) -> Log {
    open_store(disk.open().unwrap(), change)
}

pub fn open_store(store: Arc<dyn OrderedStore>, change: impl FnOnce(&mut LogOptions)) -> Log {
    let mut options = LogOptions::new(NODE, CLUSTER);
    change(&mut options);
    Log::open(store, Cipher::new(master()), options, WriterDriver::Thread).unwrap()
}

pub fn batch_entry(index: u64, payload: &[u8]) -> LogEntry {
    LogEntry { index, term: 1, node: 1, kind: EntryKind::Batch, payload: Bytes::copy_from_slice(payload) }
}

pub fn entry(index: u64) -> LogEntry {
    batch_entry(index, format!("payload {index}").as_bytes())
}

pub fn entries(indexes: RangeInclusive<u64>) -> Vec<LogEntry> {
    indexes.map(entry).collect()
}

pub type BoxedDone = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// Waits on this thread for the callback of an operation.
pub fn wait(start: impl FnOnce(BoxedDone)) -> Result<(), WriteError> {
    let (sent, received) = std::sync::mpsc::channel();
    start(Box::new(move |result| sent.send(result).unwrap()));
    received.recv().unwrap()
}

pub fn append(group: &GroupLog, indexes: RangeInclusive<u64>) -> Result<(), WriteError> {
    wait(|done| group.append(entries(indexes), done))
}

pub fn vote(group: &GroupLog, vote: &[u8]) -> Result<(), WriteError> {
    wait(|done| group.save_vote(Bytes::copy_from_slice(vote), done))
}

pub fn truncate(group: &GroupLog, after: Option<EntryId>) -> Result<(), WriteError> {
    wait(|done| group.truncate_after(after, done))
}

pub fn purge(group: &GroupLog, upto: EntryId) -> Result<(), WriteError> {
    wait(|done| group.purge(upto, done))
}

/// The group of the snapshots.
pub const G: GroupId = GroupId(3);

pub fn folder(path: &Path, cipher: Cipher) -> SnapshotFolder {
    let folder = SnapshotFolder::open(path, CLUSTER, NODE, G, cipher);
    folder.prepare().unwrap();
    folder
}

pub fn write(folder: &SnapshotFolder, index: u64) {
    let mut writer = folder.create(Draft::Own, b"head").unwrap();
    writer.chunk(index.to_string().as_bytes()).unwrap();
    writer.finish(LogIndex(index), b"tail").unwrap();
}

pub fn check(folder: &SnapshotFolder, index: u64) -> Result<(), SnapshotError> {
    let mut reader = folder.read(LogIndex(index))?;
    assert_eq!(reader.next_chunk()?.unwrap(), index.to_string().as_bytes());
    assert!(reader.next_chunk()?.is_none());
    Ok(())
}

pub fn rewrap(folder: &SnapshotFolder) -> u64 {
    let (replaced, failed) = folder.rewrap_all().unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    replaced
}

/// Whether any file of a folder has a header under this key.
pub fn is_used(path: &Path, key: &MasterKey) -> bool {
    std::fs::read_dir(path).unwrap().any(|file| holds(&std::fs::read(file.unwrap().path()).unwrap(), key.fingerprint()))
}

pub fn forget(log: &Log) {
    wait(|done| log.forget_retired_key(done)).unwrap();
}

pub fn holds(bytes: &[u8], fingerprint: Fingerprint) -> bool {
    bytes.windows(8).any(|window| window == fingerprint.0)
}

pub fn reopen(disk: &MemoryDisk, cipher: Cipher) -> Result<Log, OpenError> {
    Log::open(disk.open().unwrap(), cipher, LogOptions::new(NODE, CLUSTER), WriterDriver::Thread)
}
