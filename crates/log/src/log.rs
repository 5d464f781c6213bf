//! The log of one node and the logs of its groups: what consensus sees.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fastness_types::{GroupId, NodeId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cipher::Cipher;
use crate::entry::{EntryId, LogEntry};
use crate::error::{OpenError, ReadError, WriteError};
use crate::group::{Group, GroupMemory, GroupState};
use crate::identity::Identity;
use crate::options::LogOptions;
use crate::queue::{Op, Queue};
use crate::reader::{DiskRead, DiskReader, Reader};
use crate::recover::{Recovered, recover};
use crate::stats::LogStats;
use crate::store::{OrderedStore, StoreError};
use crate::writer::{Failure, Writer, WriterDriver};

struct Shared {
    identity: Identity,
    /// The store, for messages.
    place: String,
    peers: Mutex<BTreeMap<NodeId, Bytes>>,
    options: LogOptions,
    queue: Arc<Queue>,
    /// Gone once the log is closed.
    reader: Mutex<Option<Arc<Reader>>>,
    stats: Arc<LogStats>,
    failure: Arc<Failure>,
    groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What is queued is still written; the writer ends by itself.
        self.queue.close();
    }
}

/// One node's log. Cheap to clone; the writer ends when all clones and all [`GroupLog`]s are gone, or on
/// [`Log::close`].
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

impl Log {
    /// Reads and checks everything stored, raises the start counter, and starts the writer. Blocks; with
    /// [`WriterDriver::Task`] it must be called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is changed then.
    pub fn open(
        store: Arc<dyn OrderedStore>,
        cipher: Cipher,
        options: LogOptions,
        driver: WriterDriver,
    ) -> Result<Log, OpenError> {
        let Recovered { identity, peers, ring, sealer, groups } = recover(store.as_ref(), cipher, &options)?;
        let place = store.place();
        let queue = Arc::new(Queue::new(options.queue_bytes_max));
        let stats = Arc::new(LogStats::default());
        let failure = Arc::new(watch::Sender::new(None));
        let writer = Writer {
            store: store.clone(),
            queue: queue.clone(),
            sealer,
            stats: stats.clone(),
            failure: failure.clone(),
            clock: options.clock.clone(),
            pending_committed: BTreeMap::new(),
            purged: false,
        };
        let reader = DiskReader { store, ring };
        let (reader, threads) = start(writer, reader, driver).map_err(|error| OpenError::Thread(error.to_string()))?;
        let groups =
            groups.into_iter().map(|(id, memory)| (id, Arc::new(Group { id, memory: Mutex::new(memory) }))).collect();
        let groups = Mutex::new(groups);
        let reader = Mutex::new(Some(Arc::new(reader)));
        let (threads, peers) = (Mutex::new(threads), Mutex::new(peers));
        let shared = Shared { identity, place, peers, options, queue, reader, stats, failure, groups, threads };
        Ok(Log { shared: Arc::new(shared) })
    }

    /// Who this disk belongs to, and how often it was started.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// Where it is, for messages: the store's folder.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.shared.place
    }

    /// Resolves once the writer's queue has room; at once unless the disk is far behind. Whoever brings entries that
    /// can wait awaits it first: `append` itself takes what it is given.
    pub async fn room(&self) {
        self.shared.queue.room().await;
    }

    /// Whether the writer's queue has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared.queue.has_room()
    }

    /// What was last saved about each peer: opaque bytes of consensus.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<NodeId, Bytes> {
        self.shared.peers.lock().clone()
    }

    /// Stores what is known about a peer. `done` is called once it is on stable storage.
    pub fn save_peer(&self, node: NodeId, record: Bytes, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let mut peers = self.shared.peers.lock();
        peers.insert(node, record.clone());
        let refused = self.shared.queue.push(Op::Peer { node, record, done: Box::new(done) }).err();
        drop(peers);
        refused.into_iter().for_each(refuse);
    }

    /// A group's log; an empty one if nothing is stored of it.
    #[must_use]
    pub fn group(&self, id: GroupId) -> GroupLog {
        let tail_bytes_max = self.shared.options.tail_bytes_max;
        let group = self
            .shared
            .groups
            .lock()
            .entry(id)
            .or_insert_with(|| Arc::new(Group { id, memory: Mutex::new(GroupMemory::new(tail_bytes_max)) }))
            .clone();
        GroupLog { shared: self.shared.clone(), group }
    }

    /// Every group of which something is stored or that was asked for.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.groups.lock().keys().copied().collect()
    }

    /// Seals all later records with a new data key.
    pub fn rotate_data_key(&self, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        self.shared.push(Op::RotateKey { done: Box::new(done) });
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &LogStats {
        let stats = &self.shared.stats;
        stats.record_queue(self.shared.queue.depth());
        stats
    }

    /// For how long the write under way has been; `None`: none is. A long one is a disk that stands still.
    #[must_use]
    pub fn write_under_way(&self) -> Option<Duration> {
        self.shared.stats.write_under_way(self.shared.options.clock.boot())
    }

    /// The first failed write; from it on nothing is written.
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.shared.failure.borrow().clone()
    }

    /// Resolves with the first failure; never if there is none.
    pub async fn failed(&self) -> StoreError {
        let mut watch = self.shared.failure.subscribe();
        loop {
            if let Some(failure) = watch.borrow_and_update().clone() {
                return failure;
            }
            // The sender is held by `self`, so this ends with a change.
            if watch.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes what is queued and ends writer and reader; the store is free then. Blocks until they have ended, except
    /// in a simulation and when called from a callback. Later operations fail as closed.
    pub fn close(&self) {
        self.shared.queue.close();
        self.shared.reader.lock().take();
        let threads = std::mem::take(&mut *self.shared.threads.lock());
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the log has panicked");
            }
        }
    }
}

fn start(writer: Writer, reader: DiskReader, driver: WriterDriver) -> std::io::Result<(Reader, Vec<JoinHandle<()>>)> {
    match driver {
        WriterDriver::Thread => {
            let (reader, reading) = Reader::thread(reader)?;
            let writing = std::thread::Builder::new().name("log-writer".into()).spawn(|| writer.run_thread())?;
            Ok((reader, vec![writing, reading]))
        }
        WriterDriver::Task { latency } => {
            tokio::spawn(writer.run_task(latency));
            Ok((Reader::Inline(reader), Vec::new()))
        }
    }
}

impl Shared {
    fn push(&self, op: Op) {
        if let Err(op) = self.queue.push(op) {
            refuse(op);
        }
    }
}

/// Calls an operation's callback after the queue was closed.
fn refuse(op: Op) {
    if let Some(done) = op.into_done() {
        done(Err(WriteError::Closed));
    }
}

/// One group's log. Cheap to clone. Calls that change it are made by one task (the group's Raft core).
#[derive(Clone)]
pub struct GroupLog {
    shared: Arc<Shared>,
    group: Arc<Group>,
}

impl std::fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupLog").field("group", &self.group.id).finish_non_exhaustive()
    }
}

impl GroupLog {
    /// The group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.group.id
    }

    /// Where the log stands.
    #[must_use]
    pub fn state(&self) -> GroupState {
        self.group.memory.lock().state()
    }

    /// Bytes of the entries in memory.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.group.memory.lock().tail.bytes()
    }

    /// Bytes of payload of the entries after `index`; `None` if they are more than what is in memory.
    #[must_use]
    pub fn bytes_after(&self, index: u64) -> Option<u64> {
        self.group.memory.lock().tail.bytes_from(index + 1)
    }

    /// Adds entries after the last one. Never blocks. They can be read when it returns; `done` is called once they are
    /// on stable storage.
    pub fn append(&self, entries: Vec<LogEntry>, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let mut memory = self.group.memory.lock();
        if let Err(error) = memory.check_append(self.group.id, &entries) {
            drop(memory);
            return done(Err(error));
        }
        let entries: Vec<Arc<LogEntry>> = entries.into_iter().map(Arc::new).collect();
        let op = Op::Append { group: self.group.clone(), entries: entries.clone(), done: Box::new(done) };
        match self.shared.queue.push(op) {
            Ok(number) => entries.into_iter().for_each(|entry| memory.push(number, entry)),
            Err(op) => {
                drop(memory);
                refuse(op);
            }
        }
    }

    /// Removes every entry after `after`; all with `None`, which a log that was purged refuses.
    pub fn truncate_after(&self, after: Option<EntryId>, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let mut memory = self.group.memory.lock();
        match memory.truncate(self.group.id, after) {
            Err(error) => {
                drop(memory);
                done(Err(error));
            }
            Ok((from, to)) => {
                let op = Op::Truncate { group: self.group.clone(), from, to, done: Box::new(done) };
                let refused = self.shared.queue.push(op).err();
                drop(memory);
                refused.into_iter().for_each(refuse);
            }
        }
    }

    /// Removes every entry up to `upto`, which may lie beyond the last one: the log then goes on after it. Nothing
    /// happens if that much is purged already; then, too, `done` is called once all that was queued before is on stable
    /// storage.
    pub fn purge(&self, upto: EntryId, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        self.purge_with(upto, None, done);
    }

    /// The same for a snapshot of `upto` that comes from elsewhere: `membership` is the newest membership entry that it
    /// covers, which this log may never have held.
    pub fn install(
        &self,
        upto: EntryId,
        membership: LogEntry,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        self.purge_with(upto, Some(membership), done);
    }

    fn purge_with(
        &self,
        upto: EntryId,
        membership: Option<LogEntry>,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        let mut memory = self.group.memory.lock();
        let op = match memory.purge(upto, membership) {
            Some((from, record)) => Op::Purge { group: self.group.clone(), from, record, done: Box::new(done) },
            // In line behind the purge that did it.
            None => Op::Append { group: self.group.clone(), entries: Vec::new(), done: Box::new(done) },
        };
        let refused = self.shared.queue.push(op).err();
        drop(memory);
        refused.into_iter().for_each(refuse);
    }

    /// Stores the vote. `done` is called once it, and everything appended before it, is on stable storage.
    pub fn save_vote(&self, vote: Bytes, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let mut memory = self.group.memory.lock();
        memory.vote = Some(vote.clone());
        let refused = self.shared.queue.push(Op::Vote { group: self.group.clone(), vote, done: Box::new(done) }).err();
        drop(memory);
        refused.into_iter().for_each(refuse);
    }

    /// Notes the committed position; it is stored with the next batch that is written anyway.
    pub fn save_committed(&self, committed: Bytes) {
        let mut memory = self.group.memory.lock();
        memory.committed = Some(committed.clone());
        // A closed log stores nothing more; the position is a hint.
        let _ = self.shared.queue.push(Op::Committed { group: self.group.clone(), committed });
    }

    /// Has the committed position stored though nothing else is written: what it names was shown to clients, and is not
    /// to be missing after a restart. Costs a sync, unless it is stored already.
    pub fn write_committed(&self) {
        let _ = self.shared.queue.push(Op::WriteCommitted);
    }

    /// Entries from the range's first on, at least one and about `bytes_max` bytes of payload, if the first is in
    /// memory. Empty if the range starts at the log's end. `None`: use [`GroupLog::read`].
    #[must_use]
    pub fn read_cached(&self, range: Range<u64>, bytes_max: usize) -> Option<Vec<Arc<LogEntry>>> {
        self.group.memory.lock().tail.get(range, bytes_max)
    }

    /// The same, from disk if need be.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Arc<LogEntry>>, ReadError> {
        let wanted = {
            let memory = self.group.memory.lock();
            if range.is_empty() || range.start >= memory.end() {
                return Ok(Vec::new());
            }
            if let Some(purged) = memory.purged.filter(|purged| range.start <= purged.index) {
                return Err(ReadError::Purged(purged));
            }
            if let Some(found) = memory.tail.get(range.clone(), bytes_max) {
                return Ok(found);
            }
            // What is in memory may not be on disk yet, and what is on disk there may be truncated.
            let range = range.start..range.end.min(memory.tail.start());
            DiskRead { group: self.group.id, range, bytes_max }
        };
        LogStats::add(&self.shared.stats.disk_reads, 1);
        let start = wanted.range.start;
        let reader = self.shared.reader.lock().clone().ok_or(ReadError::Closed)?;
        let result = reader.read(wanted).await;
        match (result, self.group.memory.lock().purged) {
            (Err(_), Some(purged)) if start <= purged.index => Err(ReadError::Purged(purged)),
            (result, _) => result,
        }
    }
}
