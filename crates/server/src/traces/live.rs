//! The sampled write of one connection, if it has one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fastness_connection::attribute::TraceParent;
use fastness_shard::{Shard, StageMark};
use fastness_types::BootNs;

use super::record::TraceOutcome;
use super::write::WriteTrace;

struct Live {
    trace: Rc<WriteTrace>,
    /// What was staged before it ran.
    mark: Option<StageMark>,
    /// How many bytes the connection has sent once the reply was; `None`: not known yet.
    reply_ends: Option<u64>,
}

/// See the module.
#[derive(Default)]
pub struct ConnectionTrace {
    /// Whether there is one: checked for each command and each send.
    is_live: Cell<bool>,
    live: RefCell<Option<Live>>,
    /// The client's span, for the next command.
    parent: Cell<Option<TraceParent>>,
}

impl ConnectionTrace {
    /// Whether a write is traced now.
    #[inline]
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_live.get()
    }

    /// Keeps the client's span for the next command.
    pub fn set_parent(&self, parent: TraceParent) {
        self.parent.set(Some(parent));
    }

    /// The client's span, if the next command has one.
    #[must_use]
    pub fn take_parent(&self) -> Option<TraceParent> {
        self.parent.take()
    }

    /// The command that is traced is about to run again; `false`: it has run, or none is traced.
    pub(crate) fn starts_again(&self, shard: &Shard, now: BootNs) -> bool {
        let mut live = self.live.borrow_mut();
        let Some(live) = live.as_mut().filter(|live| !live.trace.is_executed()) else { return false };
        live.trace.started(now);
        live.mark = shard.stage_mark();
        true
    }

    /// A command that is about to run is traced.
    pub(crate) fn start(&self, trace: WriteTrace, shard: &Shard) {
        let live = Live { trace: Rc::new(trace), mark: shard.stage_mark(), reply_ends: None };
        self.live.replace(Some(live));
        self.is_live.set(true);
    }

    /// A command has run: the one that is traced, unless that has run before.
    pub(crate) fn executed(&self, shard: &Shard, sizes: (usize, usize), outcome: TraceOutcome) {
        let live = self.live.borrow();
        let Some(live) = live.as_ref().filter(|live| !live.trace.is_executed()) else { return };
        live.trace.executed(shard.boot_now(), sizes, outcome);
        if live.mark.is_some_and(|mark| shard.probe_since(mark, live.trace.clone())) {
            live.trace.staged();
        }
    }

    /// The command that is traced was only queued for a transaction: it is not traced.
    pub(crate) fn discard(&self) {
        self.is_live.set(false);
        if let Some(live) = self.live.take() {
            live.trace.discard();
        }
    }

    /// What ran since the last read has written its replies: all of them have left once so many bytes have been sent.
    pub(crate) fn expect_reply(&self, reply_ends: u64) {
        if let Some(live) = self.live.borrow_mut().as_mut().filter(|live| live.trace.is_executed()) {
            live.reply_ends.get_or_insert(reply_ends);
        }
    }

    /// So many bytes have been sent in all, and so many are not sent.
    pub(crate) fn sent(&self, sent: u64, unsent: usize, now: impl FnOnce() -> BootNs) {
        let has_left = |live: &Live| live.reply_ends.is_some_and(|ends| sent >= ends || unsent == 0);
        let is_done = self.live.borrow().as_ref().is_some_and(has_left);
        if is_done && let Some(live) = self.live.take() {
            self.is_live.set(false);
            live.trace.replied(now());
        }
    }
}
