//! Helpers of this crate's tests: one node, one key, entries whose content follows from their index.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use fastness_log::memory::MemoryDisk;
use fastness_log::store::OrderedStore;
use fastness_log::{
    Cipher, EntryId, EntryKind, GroupLog, Log, LogEntry, LogOptions, MasterKey, WriteError, WriterDriver,
};
use fastness_types::{ClusterId, NodeId};

pub const NODE: NodeId = NodeId(1);
pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

pub fn master() -> MasterKey {
    MasterKey::from_bytes(&[0x11; 32])
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
