//! The interface of the log for consensus: [`Log`], the log of one node, and [`GroupLog`], the log of one group.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fastness_types::{GroupId, NodeId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cipher::{Cipher, MasterKeys};
use crate::entry::{EntryId, LogEntry};
use crate::error::{OpenError, ReadError, RotateError, WriteError};
use crate::group::{Group, GroupMemory, GroupState};
use crate::identity::Identity;
use crate::master_key::MasterKey;
use crate::options::LogOptions;
use crate::queue::{Op, Queue};
use crate::reader::{DiskRead, DiskReader, Reader};
use crate::recover::{Recovered, recover};
use crate::stats::LogStats;
use crate::store::{OrderedStore, StoreError};
use crate::writer::{Failure, Writer, WriterDriver};

struct Shared {
    identity: Identity,
    /// Directory of the store, for messages.
    place: String,
    keys: MasterKeys,
    /// Whether a rotation of the master key is queued.
    rotating: AtomicBool,
    peers: Mutex<BTreeMap<NodeId, Bytes>>,
    options: LogOptions,
    queue: Arc<Queue>,
    /// `None` once the log is closed.
    reader: Mutex<Option<Arc<Reader>>>,
    stats: Arc<LogStats>,
    failure: Arc<Failure>,
    groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer still writes what is queued, then stops.
        self.queue.close();
    }
}

/// One node's log. Cheap to clone. The writer stops when all clones and all [`GroupLog`]s are dropped, or on
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
    /// See [`OpenError`]. An open that fails changes nothing.
    pub fn open(
        store: Arc<dyn OrderedStore>,
        cipher: Cipher,
        options: LogOptions,
        driver: WriterDriver,
    ) -> Result<Log, OpenError> {
        let Recovered { identity, peers, ring, keys, sealer, groups } = recover(store.as_ref(), cipher, &options)?;
        let place = store.place();
        let queue = Arc::new(Queue::new(options.queue_bytes_max));
        let stats = Arc::new(LogStats::default());
        stats.record_data_keys(sealer.data_keys());
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
        let rotating = AtomicBool::new(false);
        let shared =
            Shared { identity, place, keys, rotating, peers, options, queue, reader, stats, failure, groups, threads };
        Ok(Log { shared: Arc::new(shared) })
    }

    /// Which node and cluster the disk belongs to, and how often the node was started on it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// Directory of the store, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.shared.place
    }

    /// Waits until the writer's queue holds less than its bound; returns at once unless the disk is slow. Callers whose
    /// entries can wait call this first, because `append` accepts any number of entries.
    pub async fn wait_for_capacity(&self) {
        self.shared.queue.wait_for_capacity().await;
    }

    /// Whether the writer's queue holds less than its bound.
    #[must_use]
    pub fn has_capacity(&self) -> bool {
        self.shared.queue.has_capacity()
    }

    /// The record last saved for each peer: opaque bytes of consensus.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<NodeId, Bytes> {
        self.shared.peers.lock().clone()
    }

    /// Stores the record of a peer. `done` is called once it is on stable storage.
    pub fn save_peer(&self, node: NodeId, record: Bytes, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let mut peers = self.shared.peers.lock();
        peers.insert(node, record.clone());
        self.shared.push_under(peers, Op::Peer { node, record, done: Box::new(done) });
    }

    /// The log of a group; empty if nothing is stored for it.
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

    /// Every group that has stored records or for which [`Log::group`] was called.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.groups.lock().keys().copied().collect()
    }

    /// Seals all later records with a new data key.
    pub fn rotate_data_key(&self, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        self.shared.push(Op::RotateKey { done: Box::new(done) });
    }

    /// The master keys, for the snapshot folders of the same node.
    #[must_use]
    pub fn keys(&self) -> &MasterKeys {
        &self.shared.keys
    }

    /// Puts the disk under another master key while it is in use. Nothing is encrypted again: the stored data keys are
    /// wrapped under the new key, and later records are sealed with a new data key. Once `done` was called without an
    /// error, the new key alone opens the log, and [`Log::keys`] are those after the rotation. The headers of snapshot
    /// files are replaced afterwards ([`crate::SnapshotFolder::rewrap_all`]), then [`Log::forget_retired_key`] ends the
    /// rotation.
    pub fn rotate_master_key(&self, master: MasterKey, done: impl FnOnce(Result<(), RotateError>) + Send + 'static) {
        let shared = &self.shared;
        if shared.rotating.swap(true, Ordering::AcqRel) {
            return done(Err(RotateError::InProgress));
        }
        let refused = match shared.keys.retired() {
            Some(retired) => Some(RotateError::Unfinished(retired)),
            None if shared.keys.fingerprint() == master.fingerprint() => Some(RotateError::Same(master.fingerprint())),
            None => None,
        };
        if let Some(refused) = refused {
            shared.rotating.store(false, Ordering::Release);
            return done(Err(refused));
        }
        let (master, since_s) = (Arc::new(master), shared.options.clock.wall().0 / 1000);
        // Not the whole of `shared`, which would keep the log open.
        let (keys, new) = (shared.keys.clone(), master.clone());
        let log = Arc::downgrade(shared);
        let done = Box::new(move |written: Result<(), WriteError>| {
            if written.is_ok() {
                keys.replace(new, since_s);
            }
            if let Some(log) = log.upgrade() {
                log.rotating.store(false, Ordering::Release);
            }
            done(written.map_err(RotateError::Write));
        });
        shared.push(Op::RotateMaster { master, since_s, done });
    }

    /// Removes the record of the master key before: no snapshot file is under it any more.
    pub fn forget_retired_key(&self, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let keys = self.shared.keys.clone();
        let done = Box::new(move |written: Result<(), WriteError>| {
            if written.is_ok() {
                keys.forget_retired();
            }
            done(written);
        });
        self.shared.push(Op::ForgetRetired { done });
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &LogStats {
        let stats = &self.shared.stats;
        stats.record_queue(self.shared.queue.depth());
        stats
    }

    /// How long the current write has been in progress; `None` if there is none. A long time means a stalled disk.
    #[must_use]
    pub fn write_under_way(&self) -> Option<Duration> {
        self.shared.stats.write_under_way(self.shared.options.clock.boot())
    }

    /// The error of the first write that failed; nothing is written after it.
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.shared.failure.borrow().clone()
    }

    /// Waits for the first failed write and returns its error; never returns if no write fails.
    pub async fn failed(&self) -> StoreError {
        let mut watch = self.shared.failure.subscribe();
        loop {
            if let Some(failure) = watch.borrow_and_update().clone() {
                return failure;
            }
            // `self` owns the sender, so this returns with a change only.
            if watch.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes what is queued, then stops writer and reader and releases the store. Blocks until they have stopped,
    /// except in a simulation and when called from a callback. Later operations fail with [`WriteError::Closed`].
    pub fn close(&self) {
        self.shared.queue.close();
        self.shared.reader.lock().take();
        let threads = std::mem::take(&mut *self.shared.threads.lock());
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!(
                    "a thread of the transaction log has panicked: operations that it had not finished failed as closed"
                );
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
        self.push_under((), op);
    }

    /// Queues an operation under the lock that `guard` is of, and releases the lock before a refused operation's
    /// callback is called: the callback may take the lock itself.
    fn push_under(&self, guard: impl Sized, op: Op) {
        let refused = self.queue.push(op).err();
        drop(guard);
        refused.into_iter().for_each(refuse);
    }
}

/// Calls an operation's callback after the queue was closed.
fn refuse(op: Op) {
    if let Some(done) = op.into_done() {
        done(Err(WriteError::Closed));
    }
}

/// One group's log. Cheap to clone. Only one task, the group's Raft core, may change it.
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

    /// The positions of the log.
    #[must_use]
    pub fn state(&self) -> GroupState {
        self.group.memory.lock().state()
    }

    /// Bytes of the entries kept in memory.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.group.memory.lock().tail.bytes()
    }

    /// Payload bytes of the entries after `index`; `None` if not all of them are in memory.
    #[must_use]
    pub fn bytes_after(&self, index: u64) -> Option<u64> {
        self.group.memory.lock().tail.bytes_from(index + 1)
    }

    /// An index after which the log has at least `bytes`, and not many more; `None`: there is none.
    #[must_use]
    pub fn index_before(&self, bytes: u64) -> Option<u64> {
        self.group.memory.lock().sizes.index_before(bytes)
    }

    /// Appends entries. Never blocks. The entries can be read when this returns; `done` is called once they are
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

    /// Removes every entry after `after`. `None` removes all entries; a log that was purged refuses that.
    pub fn truncate_after(&self, after: Option<EntryId>, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let mut memory = self.group.memory.lock();
        match memory.truncate(self.group.id, after) {
            Err(error) => {
                drop(memory);
                done(Err(error));
            }
            Ok((from, to)) => {
                let op = Op::Truncate { group: self.group.clone(), from, to, done: Box::new(done) };
                self.shared.push_under(memory, op);
            }
        }
    }

    /// Removes every entry up to `upto`, which may be beyond the last entry: the log then continues after it. If `upto`
    /// is purged already, nothing is removed. In both cases `done` is called once all operations queued before are on
    /// stable storage.
    pub fn purge(&self, upto: EntryId, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        self.purge_with(upto, None, done);
    }

    /// As [`GroupLog::purge`], for a snapshot of `upto` that another node sent. `membership` is the newest membership
    /// entry that the snapshot covers; this log may never have had it.
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
            // Completes after the purge that is queued already.
            None => Op::Append { group: self.group.clone(), entries: Vec::new(), done: Box::new(done) },
        };
        self.shared.push_under(memory, op);
    }

    /// Stores the vote. `done` is called once it, and everything appended before it, is on stable storage.
    pub fn save_vote(&self, vote: Bytes, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        let mut memory = self.group.memory.lock();
        memory.vote = Some(vote.clone());
        self.shared.push_under(memory, Op::Vote { group: self.group.clone(), vote, done: Box::new(done) });
    }

    /// Saves the committed position, which is stored with the next batch that is written anyway.
    pub fn save_committed(&self, committed: Bytes) {
        let mut memory = self.group.memory.lock();
        memory.committed = Some(committed.clone());
        // A closed log stores nothing more; the position is a hint.
        let _ = self.shared.queue.push(Op::Committed { group: self.group.clone(), committed });
    }

    /// Stores the committed position even if nothing else is written, because clients have seen what it covers and must
    /// find it after a restart. Costs a sync, unless the position is stored already.
    pub fn write_committed(&self) {
        let _ = self.shared.queue.push(Op::WriteCommitted);
    }

    /// Reads entries of the range from its first index on: at least one, about `bytes_max` payload bytes. Empty if the
    /// range starts at the log's end; `None` if the first entry is not in memory ([`GroupLog::read`] reads it from
    /// disk).
    #[must_use]
    pub fn read_cached(&self, range: Range<u64>, bytes_max: usize) -> Option<Vec<Arc<LogEntry>>> {
        self.group.memory.lock().tail.get(range, bytes_max)
    }

    /// As [`GroupLog::read_cached`], and reads from disk if necessary.
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
            // Indexes in memory are not read from disk: their entries may not be written yet, or older ones may still
            // be there.
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
