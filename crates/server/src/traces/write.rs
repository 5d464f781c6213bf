//! A sampled write on the loop's thread: points in time, and what the exporter makes a trace of.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fastness_connection::attribute::TraceParent;
use fastness_engine::command::CommandSpec;
use fastness_shard::CommitProbe;
use fastness_types::{BootNs, LogIndex, ShardId, Slot};

use super::record::{TraceOutcome, TraceRecord};
use super::replication::Followed;
use super::tracer::{DropReason, ToExporter};
use crate::group_view::GroupView;
use crate::shared::NodeShared;

/// Where a write is sampled.
pub struct TracePlace<'a> {
    /// The node.
    pub node: &'a Arc<NodeShared>,
    /// The shard.
    pub shard: ShardId,
    /// Its group.
    pub group: &'a Arc<dyn GroupView>,
}

/// See the module. Shared by the connection, until the reply was sent, and by the shard, until the commit.
pub struct WriteTrace {
    node: Arc<NodeShared>,
    group: Arc<dyn GroupView>,
    /// Taken when it is finished.
    record: RefCell<Option<Box<TraceRecord>>>,
    is_executed: Cell<bool>,
}

impl WriteTrace {
    /// Starts to trace a write; `None`: too many are.
    pub(crate) fn begin(
        place: &TracePlace<'_>,
        parent: Option<TraceParent>,
        (spec, slot): (&CommandSpec, Option<Slot>),
        now: BootNs,
        received: Instant,
    ) -> Option<WriteTrace> {
        if !place.node.tracer.enter() {
            return None;
        }
        let wall_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let record = TraceRecord {
            trace_id: parent.map_or_else(|| rand::random_range(1..=u128::MAX), |parent| parent.trace_id),
            parent: parent.map_or(0, |parent| parent.span_id),
            wall_ns,
            began: now,
            command: spec.name,
            family: spec.group.name(),
            shard: place.shard,
            slot,
            request_bytes: 0,
            reply_bytes: 0,
            outcome: TraceOutcome::NotRun,
            received: BootNs(now.0.saturating_sub(received.elapsed().as_nanos() as u64)),
            started: now,
            executed: None,
            is_staged: false,
            proposed: None,
            committed: None,
            index: None,
            replied: None,
            stored: Arc::default(),
        };
        let (node, group) = (place.node.clone(), place.group.clone());
        Some(WriteTrace { node, group, record: RefCell::new(Some(Box::new(record))), is_executed: Cell::new(false) })
    }

    fn with(&self, note: impl FnOnce(&mut TraceRecord)) {
        if let Some(record) = self.record.borrow_mut().as_deref_mut() {
            note(record);
        }
    }

    /// Whether it has run.
    pub(crate) fn is_executed(&self) -> bool {
        self.is_executed.get()
    }

    /// It runs, maybe again.
    pub(crate) fn started(&self, now: BootNs) {
        self.with(|record| record.started = now);
    }

    /// It has run.
    pub(crate) fn executed(&self, now: BootNs, (request_bytes, reply_bytes): (usize, usize), outcome: TraceOutcome) {
        self.is_executed.set(true);
        self.with(|record| {
            record.executed = Some(now);
            (record.request_bytes, record.reply_bytes, record.outcome) = (request_bytes, reply_bytes, outcome);
        });
    }

    /// It has staged something.
    pub(crate) fn staged(&self) {
        self.with(|record| record.is_staged = true);
    }

    /// It leaves no record.
    pub(crate) fn discard(&self) {
        self.record.take();
    }

    /// Its reply was passed to the socket.
    pub(crate) fn replied(&self, now: BootNs) {
        self.with(|record| record.replied = Some(now));
    }
}

impl CommitProbe for WriteTrace {
    fn proposed(&self, index: LogIndex, at: BootNs) {
        self.with(|record| {
            (record.proposed, record.index) = (Some(at), Some(index));
            let followed = Followed { stored: record.stored.clone(), group: self.group.clone(), index };
            // Without room the trace has no times of the disks.
            let _ = self.node.tracer.send(ToExporter::Follow(followed));
        });
    }

    fn committed(&self, index: LogIndex, at: BootNs) {
        self.with(|record| (record.committed, record.index) = (Some(at), Some(index)));
    }
}

impl Drop for WriteTrace {
    fn drop(&mut self) {
        let tracer = &self.node.tracer;
        tracer.leave();
        if let Some(record) = self.record.take()
            && !tracer.send(ToExporter::Finished(record))
        {
            tracer.count_dropped(DropReason::Queue, 1);
        }
    }
}
