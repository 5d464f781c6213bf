//! The writer of a node's log: it writes the queued operations of all groups in synced batches (group commit).
//!
//! The writer drains the queue, seals the records, puts them into **one** write batch, writes the batch with one sync,
//! and only then runs the callbacks, in order. Operations that arrive during a sync form the next batch, so the writer
//! never waits to fill one.
//!
//! Ordering rules:
//! - Operations of all groups enter batches in queue order, so a vote never overtakes an append, nor an append a vote.
//! - Batch n+1 is written only after batch n is on stable storage. So a power loss can tear only the last batch.
//! - A committed position is a hint: if it is lost, a restarted replica waits for its leader. So it causes neither a
//!   sync nor an unsynced write by itself. The newest position of each group waits in memory and is added to the next
//!   batch that is written anyway, or is written when the log is closed. The exception is
//!   [`crate::GroupLog::write_committed`], for a position that clients have seen; like every batch it is written with a
//!   sync.
//!
//! After a failed write, the writer writes nothing more. It first publishes the failure, then calls every callback of
//! that batch and of all later operations with [`WriteError::Failed`]. Whether the failed batch is on disk is unknown
//! until the log is opened again.
//!
//! Does not know: where the store is, what payloads mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fail::fail_point;
use fastness_types::{Clock, GroupId, Plant};
use tokio::sync::watch;

use crate::error::WriteError;
use crate::group::Group;
use crate::key::{self, Key};
use crate::keyring::Sealer;
use crate::queue::{Done, Op, Queue, Queued};
use crate::stats::LogStats;
use crate::store::{Family, OrderedStore, StoreError, WriteBatch};

/// Size of a write batch: about this many bytes of queued entries, and at least one operation.
pub(crate) const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The size of a batch, from which a simulated latency is computed.
#[derive(Debug, Clone, Copy)]
pub struct WriteLoad {
    /// Operations in it.
    pub ops: usize,
    /// Payload bytes in it.
    pub bytes: usize,
}

/// How long a simulated write takes. A crash in the first part loses the batch; a crash in the second part leaves it
/// stored but not acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub struct DriverLatency {
    /// Time until the store has the batch.
    pub before: Duration,
    /// Time from then until the callbacks run.
    pub after: Duration,
}

/// What runs the writer.
pub enum WriterDriver {
    /// Production: one thread writes, another one reads.
    Thread,
    /// Simulation: a task of the current tokio runtime writes; reads run on the caller.
    Task {
        /// Called for each batch.
        latency: Box<dyn FnMut(WriteLoad) -> DriverLatency + Send>,
    },
}

impl std::fmt::Debug for WriterDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WriterDriver::Thread => "Thread",
            WriterDriver::Task { .. } => "Task",
        })
    }
}

/// The error of the first failed write, published to observers.
pub(crate) type Failure = watch::Sender<Option<StoreError>>;

pub(crate) struct Writer {
    pub(crate) store: Arc<dyn OrderedStore>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) sealer: Sealer,
    pub(crate) stats: Arc<LogStats>,
    pub(crate) failure: Arc<Failure>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pending_committed: BTreeMap<GroupId, Bytes>,
    pub(crate) purged: bool,
}

/// Work that remains once a batch is on stable storage.
#[derive(Default)]
struct Finish {
    dones: Vec<Done>,
    /// Groups with entries in the batch, and the number of the newest append.
    written: Vec<(Arc<Group>, u64)>,
    bytes: usize,
}

impl Writer {
    /// Runs the writer on its thread.
    pub(crate) fn run_thread(mut self) {
        while let Some(ops) = self.queue.take_blocking(BATCH_BYTES_MAX) {
            let (batch, finish) = self.plan(ops);
            self.stats.begin_write(self.clock.boot());
            let result = self.write(batch);
            self.stats.end_write();
            self.finish(finish, result);
        }
        self.flush();
    }

    /// Runs the simulated writer.
    pub(crate) async fn run_task(mut self, mut latency: Box<dyn FnMut(WriteLoad) -> DriverLatency + Send>) {
        while let Some(ops) = self.queue.take(BATCH_BYTES_MAX).await {
            let load = WriteLoad { ops: ops.len(), bytes: ops.iter().map(|op| op.bytes).sum() };
            let (batch, finish) = self.plan(ops);
            let latency = if batch.is_empty() { DriverLatency::default() } else { latency(load) };
            self.stats.begin_write(self.clock.boot());
            sleep(latency.before).await;
            let result = self.write(batch);
            sleep(latency.after).await;
            self.stats.end_write();
            self.finish(finish, result);
        }
        self.flush();
    }

    /// Builds one batch of the operations.
    fn plan(&mut self, ops: Vec<Queued>) -> (WriteBatch, Finish) {
        let mut batch = WriteBatch::new();
        let mut finish = Finish::default();
        if self.sealer.is_worn() {
            let (key, record) = self.sealer.rotate();
            batch.put(key.family(), key.encode(), record);
            self.stats.record_data_keys(self.sealer.data_keys());
        }
        let mut writes_committed = false;
        for Queued { number, bytes, op } in ops {
            finish.bytes += bytes;
            writes_committed |= matches!(op, Op::WriteCommitted);
            self.plan_op(&mut batch, &mut finish, number, &op);
            finish.dones.extend(op.into_done());
        }
        if !batch.is_empty() || writes_committed {
            self.add_committed(&mut batch);
        }
        (batch, finish)
    }

    fn plan_op(&mut self, batch: &mut WriteBatch, finish: &mut Finish, number: u64, op: &Op) {
        match op {
            Op::Append { group, entries, .. } => {
                for entry in entries {
                    let key = Key::Entry { group: group.id, index: entry.index };
                    LogStats::add(&self.stats.payload_bytes, entry.payload.len());
                    batch.put(Family::Log, key.encode(), self.sealer.seal_entry(group.id, entry));
                }
                LogStats::add(&self.stats.appends, 1);
                LogStats::add(&self.stats.entries, entries.len());
                match finish.written.iter_mut().find(|(other, _)| other.id == group.id) {
                    Some((_, newest)) => *newest = number,
                    None => finish.written.push((group.clone(), number)),
                }
            }
            Op::Truncate { .. } if Plant::TruncateNotStored.is_on() => {}
            Op::Truncate { group, from, to, .. } => {
                let range = key::entries(group.id, *from, *to);
                batch.delete_range(Family::Log, range.from, range.to);
            }
            Op::Purge { group, from, record, .. } => {
                // One range tombstone, however much is purged, in the same batch as the purge record.
                let key = Key::Purged { group: group.id };
                batch.put(Family::Meta, key.encode(), self.sealer.seal_meta(key, &record.encode()));
                let range = key::entries(group.id, *from, record.upto.index.saturating_add(1));
                batch.delete_range(Family::Log, range.from, range.to);
                self.purged |= record.upto.index >= *from;
            }
            Op::Vote { .. } if Plant::VoteNotStored.is_on() => {}
            Op::Vote { group, vote, .. } => {
                let key = Key::Vote { group: group.id };
                LogStats::add(&self.stats.votes, 1);
                batch.put(Family::Meta, key.encode(), self.sealer.seal_meta(key, vote));
            }
            Op::Peer { node, record, .. } => {
                let key = Key::Peer { node: *node };
                batch.put(Family::Meta, key.encode(), self.sealer.seal_meta(key, record));
            }
            Op::Committed { group, committed } => {
                self.pending_committed.insert(group.id, committed.clone());
            }
            // Added to the batch once all operations are in it.
            Op::WriteCommitted => {}
            Op::RotateKey { .. } => {
                let (key, record) = self.sealer.rotate();
                batch.put(key.family(), key.encode(), record);
                self.stats.record_data_keys(self.sealer.data_keys());
            }
            Op::RotateMaster { master, since_s, .. } => {
                for (key, record) in self.sealer.rotate_master(master.clone(), *since_s) {
                    batch.put(key.family(), key.encode(), record);
                }
                self.stats.record_data_keys(self.sealer.data_keys());
            }
            Op::ForgetRetired { .. } => batch.delete(Family::Meta, Key::RetiredMaster.encode()),
        }
    }

    fn add_committed(&mut self, batch: &mut WriteBatch) {
        for (group, committed) in std::mem::take(&mut self.pending_committed) {
            let key = Key::Committed { group };
            batch.put(Family::Meta, key.encode(), self.sealer.seal_meta(key, &committed));
        }
    }

    fn write(&mut self, batch: WriteBatch) -> Result<(), WriteError> {
        if let Some(failure) = self.failure.borrow().clone() {
            return Err(WriteError::Failed(failure));
        }
        if batch.is_empty() {
            return Ok(());
        }
        LogStats::add(&self.stats.writes, 1);
        LogStats::add(&self.stats.stored_bytes, batch.size_bytes());
        let started = self.clock.boot();
        fail_point!("log::write");
        match self.store.write(batch, !Plant::SkipFsync.is_on()) {
            Ok(()) => {
                fail_point!("log::written");
                let now = self.clock.boot();
                self.stats.record_sync(now.since(started), now);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the transaction log has failed: nothing more is written, and this node must stop");
                self.failure.send_replace(Some(error.clone()));
                Err(WriteError::Failed(error))
            }
        }
    }

    fn finish(&mut self, finish: Finish, result: Result<(), WriteError>) {
        if result.is_ok() {
            for (group, number) in finish.written {
                group.memory.lock().tail.evict(number);
            }
            // Purges are rare, and each frees a large part of the log.
            if std::mem::take(&mut self.purged) {
                self.store.reclaim(Family::Log);
            }
        }
        self.queue.release(finish.bytes);
        for done in finish.dones {
            done(result.clone());
        }
    }

    /// Writes the committed positions that no batch has taken along. Called when the log is closed.
    fn flush(&mut self) {
        let mut batch = WriteBatch::new();
        self.add_committed(&mut batch);
        // A failure is published by `write`; nobody waits for a committed position.
        let _ = self.write(batch);
    }
}

async fn sleep(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

impl Drop for Writer {
    /// Ensures that nobody waits forever, however the writer stops: after a panic, queued operations fail as closed.
    fn drop(&mut self) {
        self.queue.close();
        while let Some(ops) = self.queue.take_blocking(usize::MAX) {
            self.queue.release(ops.iter().map(|op| op.bytes).sum());
            ops.into_iter().filter_map(|op| op.op.into_done()).for_each(|done| done(Err(WriteError::Closed)));
        }
    }
}
