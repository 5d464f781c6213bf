//! The queue of a node's log: appends, truncations, purges and votes of all groups, in the order of their calls.
//!
//! The queue is bounded in bytes. [`Queue::wait_for_capacity`] waits until it holds less than the bound. Callers that
//! produce entries wait for it before they pass entries to a Raft core: a group's proposer before each batch, a peer's
//! stream before each frame. A push itself neither waits nor is refused for lack of capacity, because a Raft core must
//! not block and a caller that was admitted continues. The bound is therefore exceeded by at most one batch per group
//! and one frame, or one append request, per peer.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use bytes::Bytes;
use fastness_types::NodeId;

use crate::entry::{LogEntry, PurgeRecord};
use crate::error::WriteError;
use crate::group::Group;
use crate::master_key::MasterKey;

/// Callback of an operation, called once it is on stable storage or has failed. It runs on the writer and must not
/// block.
pub type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send + 'static>;

pub(crate) enum Op {
    Append {
        group: Arc<Group>,
        entries: Vec<Arc<LogEntry>>,
        done: Done,
    },
    /// Removes entries `from..to`.
    Truncate {
        group: Arc<Group>,
        from: u64,
        to: u64,
        done: Done,
    },
    /// Removes entries `from..=record.upto`.
    Purge {
        group: Arc<Group>,
        from: u64,
        record: PurgeRecord,
        done: Done,
    },
    Vote {
        group: Arc<Group>,
        vote: Bytes,
        done: Done,
    },
    Committed {
        group: Arc<Group>,
        committed: Bytes,
    },
    /// Writes the committed positions that wait for the next batch.
    WriteCommitted,
    Peer {
        node: NodeId,
        record: Bytes,
        done: Done,
    },
    RotateKey {
        done: Done,
    },
    /// Puts the disk under another master key, from this time on.
    RotateMaster {
        master: Arc<MasterKey>,
        since_s: u64,
        done: Done,
    },
    /// Removes the record of the master key before.
    ForgetRetired {
        done: Done,
    },
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Op::Append { entries, .. } => entries.iter().map(|e| e.memory_bytes()).sum(),
            Op::Vote { vote, .. } => vote.len(),
            Op::Peer { record, .. } => record.len(),
            Op::Committed { committed, .. } => committed.len(),
            Op::Truncate { .. } | Op::Purge { .. } | Op::WriteCommitted => 0,
            Op::RotateKey { .. } | Op::RotateMaster { .. } | Op::ForgetRetired { .. } => 0,
        }
    }

    pub(crate) fn into_done(self) -> Option<Done> {
        match self {
            Op::Append { done, .. }
            | Op::Truncate { done, .. }
            | Op::Purge { done, .. }
            | Op::Vote { done, .. }
            | Op::Peer { done, .. }
            | Op::RotateKey { done }
            | Op::RotateMaster { done, .. }
            | Op::ForgetRetired { done } => Some(done),
            Op::Committed { .. } | Op::WriteCommitted => None,
        }
    }
}

/// An operation with its number, counted from 1 over all groups.
pub(crate) struct Queued {
    pub(crate) number: u64,
    pub(crate) bytes: usize,
    pub(crate) op: Op,
}

#[derive(Default)]
struct QueueState {
    ops: VecDeque<Queued>,
    /// Bytes queued or being written.
    bytes: usize,
    bytes_peak: usize,
    pushed: u64,
    closed: bool,
}

/// How much is queued for the writer.
pub(crate) struct Depth {
    pub(crate) ops: usize,
    /// Bytes queued or being written.
    pub(crate) bytes: usize,
    /// Highest value of `bytes` so far.
    pub(crate) bytes_peak: usize,
}

pub(crate) struct Queue {
    state: Mutex<QueueState>,
    bytes_max: usize,
    ready: Condvar,
    ready_task: Notify,
    capacity_freed: Notify,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Queue {
        Queue {
            state: Mutex::new(QueueState::default()),
            bytes_max,
            ready: Condvar::new(),
            ready_task: Notify::new(),
            capacity_freed: Notify::new(),
        }
    }

    /// Adds an operation and returns its number; returns the operation if the queue is closed.
    pub(crate) fn push(&self, op: Op) -> Result<u64, Op> {
        let bytes = op.bytes();
        // A committed position is never written by itself, so it does not wake the writer.
        let wakes = !matches!(op, Op::Committed { .. });
        let number = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(op);
            }
            state.pushed += 1;
            state.bytes += bytes;
            state.bytes_peak = state.bytes_peak.max(state.bytes);
            let number = state.pushed;
            state.ops.push_back(Queued { number, bytes, op });
            number
        };
        if wakes {
            self.ready.notify_one();
            self.ready_task.notify_one();
        }
        Ok(number)
    }

    /// Waits until the queue holds less than its bound.
    pub(crate) async fn wait_for_capacity(&self) {
        loop {
            let waiting = self.capacity_freed.notified();
            tokio::pin!(waiting);
            waiting.as_mut().enable();
            if self.has_capacity() {
                return;
            }
            waiting.await;
        }
    }

    pub(crate) fn has_capacity(&self) -> bool {
        let state = self.state.lock();
        state.bytes < self.bytes_max || state.closed
    }

    /// How much is queued.
    pub(crate) fn depth(&self) -> Depth {
        let state = self.state.lock();
        Depth { ops: state.ops.len(), bytes: state.bytes, bytes_peak: state.bytes_peak }
    }

    /// Closes the queue: it accepts no more operations, and still returns those that it holds.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
        self.ready_task.notify_one();
        self.capacity_freed.notify_waiters();
    }

    /// Removes and returns the oldest operations, about `bytes_max` of them; blocks while there are none. `None` once
    /// the queue is closed and empty.
    pub(crate) fn take_blocking(&self, bytes_max: usize) -> Option<Vec<Queued>> {
        let mut state = self.state.lock();
        loop {
            if !state.ops.is_empty() {
                return Some(take(&mut state, bytes_max));
            }
            if state.closed {
                return None;
            }
            self.ready.wait(&mut state);
        }
    }

    /// As [`Queue::take_blocking`], for a task.
    pub(crate) async fn take(&self, bytes_max: usize) -> Option<Vec<Queued>> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.ops.is_empty() {
                    return Some(take(&mut state, bytes_max));
                }
                if state.closed {
                    return None;
                }
            }
            self.ready_task.notified().await;
        }
    }

    /// Returns the capacity of operations that have been written.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes -= bytes;
        let has_capacity = state.bytes < self.bytes_max;
        drop(state);
        if has_capacity {
            self.capacity_freed.notify_waiters();
        }
    }
}

fn take(state: &mut QueueState, bytes_max: usize) -> Vec<Queued> {
    let mut taken = Vec::with_capacity(state.ops.len().min(1024));
    let mut bytes = 0;
    while let Some(next) = state.ops.front() {
        if bytes > 0 && bytes + next.bytes > bytes_max {
            break;
        }
        bytes += next.bytes;
        taken.extend(state.ops.pop_front());
    }
    taken
}
