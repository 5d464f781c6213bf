//! What a node knows of the streams to readers outside of the cluster: how many there may be, and how far each is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use fastness_types::ShardId;
use fastness_types::limits::{OUTBOUND_LARGE_BATCHES_MAX, OUTBOUND_STREAMS_MAX};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundState {
    /// A snapshot is awaited.
    WaitsForSnapshot,
    /// The RDB file is being sent.
    SendsFile,
    /// It was sent, and the reader has not confirmed it.
    AwaitsReader,
    /// Commands are sent.
    Online,
}

impl OutboundState {
    /// As Valkey's INFO names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OutboundState::WaitsForSnapshot => "wait_bgsave",
            OutboundState::SendsFile | OutboundState::AwaitsReader => "send_bulk",
            OutboundState::Online => "online",
        }
    }
}

/// One reader: what its connection, its stream and INFO share.
#[derive(Debug)]
pub struct OutboundReader {
    /// The shard that it reads.
    pub shard: ShardId,
    /// Its address.
    pub ip: String,
    /// The port on which it listens, as it has said; 0: none.
    pub port: u16,
    state: Mutex<OutboundState>,
    /// Bytes of commands that were made.
    offset: AtomicU64,
    /// The offset that it has confirmed last, and when; `None`: it has confirmed none.
    acknowledged: Mutex<Option<(u64, Instant)>>,
    /// Why its stream is over; the first reason counts.
    end: Mutex<Option<String>>,
}

impl OutboundReader {
    fn new(shard: ShardId, ip: String, port: u16) -> OutboundReader {
        OutboundReader {
            shard,
            ip,
            port,
            state: Mutex::new(OutboundState::WaitsForSnapshot),
            offset: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            end: Mutex::default(),
        }
    }

    /// How far its stream is.
    #[must_use]
    pub fn state(&self) -> OutboundState {
        *self.state.lock()
    }

    pub(super) fn set_state(&self, state: OutboundState) {
        *self.state.lock() = state;
    }

    /// Bytes of commands that were made for it: its replication offset, once it has received them.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    pub(super) fn add_to_offset(&self, bytes: usize) {
        self.offset.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The offset that it has confirmed last, and when.
    #[must_use]
    pub fn acknowledged(&self) -> Option<(u64, Instant)> {
        *self.acknowledged.lock()
    }

    /// It has confirmed an offset (`REPLCONF ACK`).
    pub fn acknowledge(&self, offset: u64) {
        *self.acknowledged.lock() = Some((offset, Instant::now()));
    }

    /// Notes why its stream is over.
    pub fn end(&self, reason: impl Into<String>) {
        self.end.lock().get_or_insert_with(|| reason.into());
    }

    pub(super) fn end_reason(&self) -> Option<String> {
        self.end.lock().clone()
    }

    /// Its address in log lines and events.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }
}

/// All streams of a node.
#[derive(Debug)]
pub struct OutboundReaders {
    places: Arc<Semaphore>,
    /// Permits to have a batch of several log entries in memory.
    pub(super) large: Arc<Semaphore>,
    readers: Mutex<Vec<Weak<OutboundReader>>>,
    started: AtomicU64,
    cut_off: AtomicU64,
}

impl Default for OutboundReaders {
    fn default() -> OutboundReaders {
        OutboundReaders {
            places: Arc::new(Semaphore::new(OUTBOUND_STREAMS_MAX)),
            large: Arc::new(Semaphore::new(OUTBOUND_LARGE_BATCHES_MAX)),
            readers: Mutex::default(),
            started: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
        }
    }
}

impl OutboundReaders {
    /// A place for one more stream, if there is one.
    pub(crate) fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Enters a reader; it leaves when it is dropped.
    pub(crate) fn enter(&self, shard: ShardId, ip: String, port: u16) -> Arc<OutboundReader> {
        let reader = Arc::new(OutboundReader::new(shard, ip, port));
        let mut readers = self.readers.lock();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&reader));
        self.started.fetch_add(1, Ordering::Relaxed);
        reader
    }

    /// The readers of a shard, in the order in which they came.
    #[must_use]
    pub fn of_shard(&self, shard: ShardId) -> Vec<Arc<OutboundReader>> {
        let readers = self.readers.lock();
        readers.iter().filter_map(Weak::upgrade).filter(|reader| reader.shard == shard).collect()
    }

    /// Streams now.
    #[must_use]
    pub fn count(&self) -> usize {
        OUTBOUND_STREAMS_MAX - self.places.available_permits()
    }

    /// Streams that were started since the process started.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn count_cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    /// Streams that were ended because their reader was too slow, since the process started.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_known_as_long_as_they_exist() {
        let readers = OutboundReaders::default();
        let one = readers.enter(ShardId(1), "10.0.0.1".to_owned(), 7000);
        let other = readers.enter(ShardId(2), "10.0.0.2".to_owned(), 0);
        assert_eq!(readers.of_shard(ShardId(1)).len(), 1);
        one.acknowledge(12);
        one.end("first");
        one.end("second");
        assert_eq!(
            (one.acknowledged().map(|(offset, _)| offset), one.end_reason().as_deref()),
            (Some(12), Some("first"))
        );
        drop((one, other));
        assert!(readers.of_shard(ShardId(1)).is_empty());
        assert_eq!((readers.started(), readers.count()), (2, 0));
    }

    #[test]
    fn places_are_bounded() {
        let readers = OutboundReaders::default();
        let places: Vec<_> = std::iter::from_fn(|| readers.take_place()).collect();
        assert_eq!((places.len(), readers.count()), (OUTBOUND_STREAMS_MAX, OUTBOUND_STREAMS_MAX));
        drop(places);
        assert!(readers.take_place().is_some());
    }
}
