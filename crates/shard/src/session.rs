//! The shard's state of one connection: the transaction and READONLY (the engine's part), the slots of its queued keys,
//! its last write, and its place in the queue of waiting connections.
//!
//! Everything else of a connection (name, user, protocol) belongs to the front end.

use std::rc::{Rc, Weak};
use std::time::Duration;

use fastness_types::BootNs;

use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::idempotency::IdempotencyCounter;
use crate::inner::Inner;
use crate::key_waiter::KeyWaiter;
use crate::outcome::WrittenAt;
use crate::reply_queue::Waiter;
use crate::scripts::ticket::RunTicket;
pub(crate) use crate::slots_seen::SlotsSeen;

/// One connection's state. Made by [`crate::Shard::session`]; what it watches is forgotten when it is dropped.
pub struct Session {
    pub(crate) data: fastness_engine::TransactionState,
    pub(crate) queued: QueuedFacts,
    /// The generation of memory in which keys were watched. If memory was restored since, all watched keys count as
    /// changed.
    pub(crate) watched_in: u64,
    pub(crate) written: Option<WrittenAt>,
    /// Why its last command was [`crate::Outcome::Busy`].
    pub(crate) waits_for: WaitsFor,
    /// When the write that the lag gate has slowed may run.
    pub(crate) slowed_until: Option<BootNs>,
    /// When the first command of the current pipeline was tried and had to wait for a primary.
    pub(crate) tried_at: Option<BootNs>,
    /// Whether the lag gate was closed for the first command of a pipeline that takes several turns of the loop.
    pub(crate) kept_gate: Option<bool>,
    /// CLIENT NO-TOUCH.
    pub(crate) no_touch: bool,
    /// CLIENT DURABILITY.
    pub(crate) durability_override: DurabilityOverride,
    /// How its reads are confirmed.
    pub(crate) reads: ReadConfirmation,
    /// CLIENT IDEMPOTENCY.
    pub(crate) idempotency: Option<IdempotencyCounter>,
    pub(crate) waiter: Rc<Waiter>,
    /// The wait of its last command for keys, until that command has replied.
    pub(crate) key_wait: Option<Rc<KeyWaiter>>,
    /// Its script that is suspended.
    pub(crate) script: Option<Rc<RunTicket>>,
    /// How long its last command has run, if that is a script that was suspended.
    pub(crate) run_time: Option<Duration>,
    pub(crate) shard: Weak<Inner>,
}

/// What a command with the outcome [`crate::Outcome::Busy`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitsFor {
    /// The log, or a hand-over: [`crate::Shard::unblocked`].
    #[default]
    Shard,
    /// The end of CLIENT PAUSE: [`crate::Shard::unpaused`].
    Pause,
    /// The durability lag nears its bound, and writes are slowed: [`crate::Shard::slowed`].
    Lag(BootNs),
    /// The lease has lapsed and no other primary is known: [`crate::Shard::primary_found`].
    Primary(BootNs),
    /// Memory is full, and what was evicted has not committed: [`crate::Shard::room_made`].
    Room,
    /// None of its keys has what it removes or reads: [`KeyWaiter::ready`] of [`Session::key_wait`].
    Keys,
    /// A script of another connection runs: [`crate::Shard::script_ended`], with the time from which on the command is
    /// answered BUSY.
    Script(Option<BootNs>),
    /// Its own script has run for a slice: it resumes after others had their turn.
    Turn,
}

/// What admission needs to know of the commands between MULTI and EXEC.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QueuedFacts {
    pub(crate) slots: SlotsSeen,
    /// One of them may change data.
    pub(crate) writes: bool,
    /// One of them changes no data, and is delayed like a write while clients are paused that write.
    pub(crate) replicated: bool,
    /// One of them needs memory.
    pub(crate) needs_memory: bool,
    /// One of them reads or changes the whole keyspace.
    pub(crate) whole: bool,
}

impl Session {
    /// After READONLY: a replica serves this connection's reads.
    #[must_use]
    pub fn is_readonly(&self) -> bool {
        self.data.readonly
    }

    /// READONLY and READWRITE.
    pub fn set_readonly(&mut self, readonly: bool) {
        self.data.readonly = readonly;
    }

    /// Whether commands are being queued.
    #[must_use]
    pub fn in_multi(&self) -> bool {
        self.data.in_multi()
    }

    /// Commands queued so far; `None` outside MULTI. As CLIENT LIST shows it.
    #[must_use]
    pub fn queued(&self) -> Option<usize> {
        self.data.in_multi().then(|| self.data.queued())
    }

    /// After [`crate::Outcome::Busy`]: what the command waits for.
    #[must_use]
    pub fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    /// The wait of its last command for keys, until that command has replied.
    #[must_use]
    pub fn key_wait(&self) -> Option<Rc<KeyWaiter>> {
        self.key_wait.clone()
    }

    /// Takes how long its last command has run, over all its slices, if it is a script that was suspended.
    #[must_use]
    pub fn take_run_time(&mut self) -> Option<Duration> {
        self.run_time.take()
    }

    /// Whether its last command is a script that is suspended.
    #[must_use]
    pub fn runs_script(&self) -> bool {
        self.script.is_some()
    }

    /// Gives up what its command holds, the place in the queues of keys or the run of a script: the command has
    /// replied, or will not run again.
    pub fn stop_waiting(&mut self) {
        self.abandon_script();
        let Some(waiter) = self.key_wait.take() else { return };
        // Borrowed only if a session is dropped inside of a command, which no front end does.
        if let Some(inner) = self.shard.upgrade()
            && let Ok(mut state) = inner.state.try_borrow_mut()
        {
            state.replica.stop_waiting(&waiter);
        }
    }

    /// Starts a new pipeline: the wait for a primary counts from its own first attempt.
    pub fn arrived(&mut self) {
        self.tried_at = None;
    }

    /// Ends the effect of [`crate::Shard::keep_gate`].
    pub fn release_gate(&mut self) {
        self.kept_gate = None;
    }

    /// CLIENT NO-TOUCH: whether reads keep access times unchanged.
    pub fn set_no_touch(&mut self, no_touch: bool) {
        self.no_touch = no_touch;
    }

    /// CLIENT DURABILITY: the override of the connection.
    #[must_use]
    pub fn durability_override(&self) -> DurabilityOverride {
        self.durability_override
    }

    /// CLIENT DURABILITY SYNC and DEFAULT, for the commands that follow.
    pub fn set_durability_override(&mut self, durability_override: DurabilityOverride) {
        self.durability_override = durability_override;
    }

    /// CLIENT READS: how its reads are confirmed.
    #[must_use]
    pub fn reads(&self) -> ReadConfirmation {
        self.reads
    }

    /// See [`Session::reads`].
    pub fn set_reads(&mut self, reads: ReadConfirmation) {
        self.reads = reads;
    }

    /// CLIENT IDEMPOTENCY: the keys of the writes that follow.
    #[must_use]
    pub fn idempotency(&self) -> Option<&IdempotencyCounter> {
        self.idempotency.as_ref()
    }

    /// See [`Session::idempotency`].
    pub fn set_idempotency(&mut self, counter: Option<IdempotencyCounter>) {
        self.idempotency = counter;
    }

    /// Number of watched keys.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.data.watched()
    }

    /// Memory of queued commands, bytes.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.data.queued_bytes()
    }

    /// Memory of queued commands, watched keys and a wait for keys, bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.data.held_bytes() + self.key_wait.as_ref().map_or(0, |wait| wait.bytes())
    }

    /// Whether keys are watched.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.data.is_watching()
    }

    /// Records that the front end refused a command: the EXEC of an open transaction will abort.
    pub fn fail_transaction(&mut self) {
        self.data.fail();
    }
}

impl Session {
    fn abandon_script(&mut self) {
        let Some(ticket) = self.script.take() else { return };
        if let Some(inner) = self.shard.upgrade()
            && let Ok(mut state) = inner.state.try_borrow_mut()
        {
            state.abandon_script_of(&ticket);
            inner.edges.work.notify_one();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop_waiting();
        if !self.data.is_watching() {
            return;
        }
        // Borrowed only if a session is dropped inside of a command, which no front end does; then the engine keeps a
        // token that nobody uses.
        if let Some(inner) = self.shard.upgrade()
            && let Ok(mut state) = inner.state.try_borrow_mut()
        {
            self.data.end(&mut state.replica.data.engine);
        }
    }
}
