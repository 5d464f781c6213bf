//! The one queue of a node's log: every group's appends, truncations, purges and votes, in the order of their calls.
//!
//! Bounded by bytes: [`Queue::room`] resolves once less than the bound waits, and whoever brings entries awaits it
//! before they are handed to a Raft core: a group's proposer before each batch, a peer's stream before each frame. A
//! push itself never waits and never refuses for lack of room (a Raft core must not block, and a caller that was let in
//! goes on), so the bound is exceeded by at most one batch per group and one frame, or one append request, per peer.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use bytes::Bytes;
use fastness_types::NodeId;

use crate::entry::{LogEntry, PurgeRecord};
use crate::error::WriteError;
use crate::group::Group;

/// What is called once an operation is on stable storage, or has failed. Runs on the writer: it must not block.
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
    /// Stores the committed positions that wait to ride along.
    WriteCommitted,
    Peer {
        node: NodeId,
        record: Bytes,
        done: Done,
    },
    RotateKey {
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
            Op::Truncate { .. } | Op::Purge { .. } | Op::RotateKey { .. } | Op::WriteCommitted => 0,
        }
    }

    pub(crate) fn into_done(self) -> Option<Done> {
        match self {
            Op::Append { done, .. }
            | Op::Truncate { done, .. }
            | Op::Purge { done, .. }
            | Op::Vote { done, .. }
            | Op::Peer { done, .. }
            | Op::RotateKey { done } => Some(done),
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
    /// Bytes waiting, and being written.
    bytes: usize,
    bytes_peak: usize,
    pushed: u64,
    closed: bool,
}

/// How much waits for the writer.
pub(crate) struct Depth {
    pub(crate) ops: usize,
    /// Waiting, and being written.
    pub(crate) bytes: usize,
    /// The most that ever were.
    pub(crate) bytes_peak: usize,
}

pub(crate) struct Queue {
    state: Mutex<QueueState>,
    bytes_max: usize,
    ready: Condvar,
    ready_task: Notify,
    room: Notify,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Queue {
        Queue {
            state: Mutex::new(QueueState::default()),
            bytes_max,
            ready: Condvar::new(),
            ready_task: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Adds an operation and tells its number; gives it back if the queue is closed.
    pub(crate) fn push(&self, op: Op) -> Result<u64, Op> {
        let bytes = op.bytes();
        // A committed position is never written by itself: the writer is not woken for one.
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

    /// Resolves once there is room for more.
    pub(crate) async fn room(&self) {
        loop {
            let waiting = self.room.notified();
            tokio::pin!(waiting);
            waiting.as_mut().enable();
            if self.has_room() {
                return;
            }
            waiting.await;
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.bytes < self.bytes_max || state.closed
    }

    /// How much waits.
    pub(crate) fn depth(&self) -> Depth {
        let state = self.state.lock();
        Depth { ops: state.ops.len(), bytes: state.bytes, bytes_peak: state.bytes_peak }
    }

    /// No more is accepted; what is queued is still handed out.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
        self.ready_task.notify_one();
        self.room.notify_waiters();
    }

    /// Takes the oldest operations, about `bytes_max`. `None` once closed and empty.
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

    /// The same for a task.
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

    /// What was taken has been written.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes -= bytes;
        let has_room = state.bytes < self.bytes_max;
        drop(state);
        if has_room {
            self.room.notify_waiters();
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
