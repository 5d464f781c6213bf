//! Group commit: the one writer of a node's log.
//!
//! It drains the queue, seals, makes **one** write batch of everything, writes it with one sync, and only then calls
//! back, in order. While it syncs, the next operations gather: the sync itself forms the group, nothing lingers.
//!
//! Ordering rules:
//! - Operations of all groups enter batches in queue order, so a vote never passes an append or the reverse.
//! - Batch n+1 is written only after batch n is on stable storage. So at most one batch is not, the last: that is what
//!   a power loss may tear.
//! - Hence a committed position causes neither a sync nor an unsynced write by itself: the newest one per group waits
//!   in memory and rides in the next batch that is written anyway, or is written on closing, or, with a sync as every
//!   batch, when a group's owner has shown clients what it names ([`crate::GroupLog::write_committed`]). It is a hint;
//!   losing it costs a restarted replica a wait for its leader.
//!
//! After a failed write the writer writes nothing more: the failure is published first, then every callback, of that
//! batch and all later operations, is called with [`WriteError::Failed`]. Whether the failed batch is on the disk is
//! unknown until the log is opened anew.
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

/// One write batch takes about this many bytes of queued entries, and at least one operation.
pub(crate) const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a batch costs, for a simulated latency.
#[derive(Debug, Clone, Copy)]
pub struct WriteLoad {
    /// Operations in it.
    pub ops: usize,
    /// Payload bytes in it.
    pub bytes: usize,
}

/// How long a simulated write takes. A crash in the first part loses the batch; one in the second part finds it
/// stored and not yet acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub struct DriverLatency {
    /// Before the store has it.
    pub before: Duration,
    /// After it has, before callbacks.
    pub after: Duration,
}

/// What the writer runs on.
pub enum WriterDriver {
    /// Production: a thread that writes, and one that reads.
    Thread,
    /// Simulation: a task of the current tokio runtime writes; reads happen on the caller.
    Task {
        /// Asked for each batch.
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

/// The first failure, for observers.
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

/// What to do after a batch is on stable storage.
#[derive(Default)]
struct Finish {
    dones: Vec<Done>,
    /// Groups with entries in the batch, and the number of the newest append.
    written: Vec<(Arc<Group>, u64)>,
    bytes: usize,
}

impl Writer {
    /// The body of the writer's thread.
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

    /// The body of the simulated writer.
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

    /// Turns operations into one batch.
    fn plan(&mut self, ops: Vec<Queued>) -> (WriteBatch, Finish) {
        let mut batch = WriteBatch::new();
        let mut finish = Finish::default();
        if self.sealer.is_worn() {
            let (key, record) = self.sealer.rotate();
            batch.put(key.family(), key.encode(), record);
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
                // One range tombstone, however much is purged; in one batch with the record that tells of it.
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
            }
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
                self.stats.record_sync(self.clock.boot().since(started));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the transaction log has failed; this node must stop");
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

    /// Writes what only waited to ride along. The log is being closed.
    fn flush(&mut self) {
        let mut batch = WriteBatch::new();
        self.add_committed(&mut batch);
        // A failure is published; nobody waits for a committed position.
        let _ = self.write(batch);
    }
}

async fn sleep(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

impl Drop for Writer {
    /// However the writer ends, nobody waits for it for ever: after a panic what was queued fails as closed.
    fn drop(&mut self) {
        self.queue.close();
        while let Some(ops) = self.queue.take_blocking(usize::MAX) {
            self.queue.release(ops.iter().map(|op| op.bytes).sum());
            ops.into_iter().filter_map(|op| op.op.into_done()).for_each(|done| done(Err(WriteError::Closed)));
        }
    }
}
