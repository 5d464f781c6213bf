//! Execution of commands that may wait for keys; `key_waits.rs` has the rules.
//!
//! Such a command waits like one whose outcome is [`Outcome::Busy`] for any other reason: nothing was replied, the
//! connection runs nothing else, and the same command runs again. The session keeps the wait in between: the place in
//! the queues, and the deadline from the first run.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_engine::command::CommandSpec;
use fastness_engine::{Key, KeyWait};
use fastness_resp::Args;
use fastness_types::{BootNs, Durability, Seq};

use crate::execution::{Execution, depends_on};
use crate::idempotency::attempt::{Attempt, payload_of_command};
use crate::key_waiter::{Asked, KeyWaiter, WaitEnd};
use crate::key_waits::KeyRequest;
use crate::memory_check::MemoryCheck;
use crate::outcome::{Outcome, WaitAnswer};
use crate::session::WaitsFor;
use crate::state::{Primary, Replica, State};

/// The longest span that the clock can represent.
const SPAN_MAX: Duration = Duration::from_nanos(u64::MAX);

impl Execution<'_> {
    /// Runs a command that may wait for keys, as the primary.
    pub(crate) fn data_blocking(
        &mut self,
        primary: &mut Primary<'_>,
        spec: &'static CommandSpec,
        args: Args<'_>,
        first: Option<Key<'_>>,
        memory: MemoryCheck,
    ) -> Outcome {
        let attempt = match self.attempt(primary, || payload_of_command(args)) {
            Attempt::Runs(attempt) => attempt,
            Attempt::Answered(outcome) => return outcome,
        };
        let recording = self.record(attempt);
        let unit = self.begin_unit(primary);
        self.asked = Some(Box::new(self.ask(primary.replica, spec, args)));
        self.execute(primary, spec, args, first, memory);
        let Some(wait) = self.asked.take().and_then(|asked| asked.wait) else {
            let wrote = self.end_recorded(primary, unit, recording);
            return self.reply(primary, wrote, |primary| depends_on(primary, spec, args, first));
        };
        let before = self.out.len();
        // It may have removed expired keys. That is not what its idempotency key stands for.
        self.end_unit(primary, unit, None);
        let is_refused = self.out.len() > before;
        match recording {
            Some(recording) if is_refused => self.stop_recording(recording),
            Some(recording) => *self.out = recording.replies,
            None => {}
        }
        if is_refused {
            return Outcome::REPLY;
        }
        self.block(primary, wait, spec, args, first)
    }

    fn ask(&self, replica: &Replica, spec: &CommandSpec, args: Args<'_>) -> Asked {
        let before = self.session.key_wait.clone();
        let has_place = before.as_ref().is_some_and(|before| before.is_queued.get());
        let mut behind = Vec::new();
        if !has_place && !replica.key_waits.is_empty() {
            for name in spec.keys(args) {
                let hash = replica.data.engine.hash_key(name);
                behind.extend(replica.key_waits.types_at(hash, name).map(|of| (hash, of)));
            }
        }
        Asked { behind, before, wait: None }
    }

    /// Queues the client, which has found nothing.
    fn block(
        &mut self,
        primary: &mut Primary<'_>,
        wait: KeyWait,
        spec: &'static CommandSpec,
        args: Args<'_>,
        first: Option<Key<'_>>,
    ) -> Outcome {
        let (before, replica) = (self.session.key_wait.clone(), &mut *primary.replica);
        if before.as_ref().is_some_and(|before| before.deadline.is_some_and(|at| at <= self.now.boot)) {
            return self.reply_end(primary, WaitEnd::TimedOut, spec, args, first);
        }
        let waiter = match before {
            Some(waiter) if waiter.is_queued.get() => {
                let engine = &replica.data.engine;
                replica.key_waits.resume(&waiter, engine);
                waiter
            }
            before => {
                let KeyWait { of, keys, timeout, on_any_change, note } = wait;
                let keys = names(args, keys).map(|name| (replica.data.engine.hash_key(name), Rc::from(name))).collect();
                let (deadline, note) = match &before {
                    Some(before) => (before.deadline, before.note.clone()),
                    None => (self.deadline_after(timeout), note),
                };
                replica.key_waits.start(KeyRequest { of, keys, on_any_change, deadline, note })
            }
        };
        self.session.key_wait = Some(waiter);
        self.session.waits_for = WaitsFor::Keys;
        // What it meets when it runs again is decided then.
        self.session.tried_at = None;
        self.session.kept_gate = None;
        // The loop sets its timer.
        self.edges.work.notify_one();
        Outcome::Busy
    }

    fn deadline_after(&self, timeout: Option<Duration>) -> Option<BootNs> {
        let over = timeout.map(|timeout| self.now.boot.plus(timeout.min(SPAN_MAX)));
        [over, self.deadline].into_iter().flatten().min()
    }

    /// What the command that has waited replies instead of running again.
    pub(crate) fn reply_ended(
        &mut self,
        state: &mut State,
        end: WaitEnd,
        spec: &'static CommandSpec,
        args: Args<'_>,
        first: Option<Key<'_>>,
    ) -> Outcome {
        match state.primary() {
            Some(mut primary) => {
                // The same write may have run meanwhile, sent by another connection.
                if let Attempt::Answered(outcome) = self.attempt(&mut primary, || payload_of_command(args)) {
                    return outcome;
                }
                self.reply_end(&mut primary, end, spec, args, first)
            }
            None => {
                self.write_end(end);
                Outcome::REPLY
            }
        }
    }

    /// The reply says that the keys had nothing, so it depends on their last changes.
    fn reply_end(
        &mut self,
        primary: &mut Primary<'_>,
        end: WaitEnd,
        spec: &'static CommandSpec,
        args: Args<'_>,
        first: Option<Key<'_>>,
    ) -> Outcome {
        self.write_end(end);
        self.reply(primary, false, |primary| depends_on(primary, spec, args, first))
    }

    fn write_end(&mut self, end: WaitEnd) {
        match end {
            WaitEnd::TimedOut => self.out.null_array(),
            WaitEnd::UnblockedWithError => self.out.error(WaitAnswer::UNBLOCKED_ERROR),
        }
    }
}

/// These arguments.
fn names<'a>(args: Args<'a>, places: Range<usize>) -> impl Iterator<Item = &'a [u8]> {
    args.take(places.end).skip(places.start).iter()
}

impl Replica {
    /// Serves the clients that wait at changed keys, now or when batch `seq` has committed.
    #[cold]
    pub(crate) fn serve_changed(&mut self, hashes: &[u64], seq: Seq) {
        let after = (self.settings.mode.in_force() == Durability::Sync).then_some(seq);
        let engine = &self.data.engine;
        self.key_waits.change(hashes, after, engine);
    }

    /// Serves the clients that wait for the commit of a change.
    pub(crate) fn serve_committed(&mut self, seq: Seq) {
        if !self.key_waits.is_empty() {
            let engine = &self.data.engine;
            self.key_waits.commit(seq, engine);
        }
    }

    /// Removes a client that waits no longer.
    pub(crate) fn stop_waiting(&mut self, waiter: &KeyWaiter) {
        let engine = &self.data.engine;
        self.key_waits.remove(waiter, engine);
    }
}

impl State {
    /// Ends the waits for keys whose time is over, and releases all clients when the tenure has ended; returns when to
    /// check again.
    pub(crate) fn follow_key_waits(&mut self, now: BootNs) -> Option<Duration> {
        if self.replica.key_waits.is_empty() {
            return None;
        }
        match self.leader.as_ref().filter(|leader| !leader.deposed) {
            Some(leader) => self.replica.key_waits.follow(leader.may_act(now), now),
            None => {
                self.replica.key_waits.release_all();
                None
            }
        }
    }
}
