//! Transactions: WATCH, commands between MULTI and EXEC, and EXEC itself, which runs them as one unit.

use std::time::Duration;

use fastness_engine::command::{CommandSpec, Flags, Run, Scope, SessionCommand};
use fastness_engine::transaction::{Exec, Queued};
use fastness_resp::Args;

use crate::admit::{Admitted, Denied, Request};
use crate::data::Data;
use crate::execution::{Execution, depends_on};
use crate::front_end::{ExecutedQueued, FrontEndOutcome};
use crate::idempotency::attempt::{Attempt, FirstAttempt, payload_of_queue};
use crate::leader::Leader;
use crate::memory_check::{MadeRoom, MemoryCheck};
use crate::outcome::Outcome;
use crate::refusal::{self, Refusal};
use crate::scripts::place::RunPlace;
use crate::session::QueuedFacts;
use crate::slots_seen::SlotsSeen;
use crate::state::{Primary, Replica, State};

/// The outcome of one command of a transaction.
struct Ran {
    /// Its reply shows more than its own keys.
    shows_keys: bool,
    /// It is a script that took longer than it may: the transaction is rolled back.
    is_too_slow: bool,
    /// The transaction will be rolled back, and its remaining commands do not run.
    is_over: bool,
}

impl Execution<'_> {
    /// MULTI, DISCARD, UNWATCH, WATCH, EXEC; WAIT and WAITAOF, which the connection awaits.
    pub(crate) fn session(
        &mut self,
        state: &mut State,
        command: SessionCommand,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Outcome {
        let engine = &mut state.replica.data.engine;
        match command {
            SessionCommand::Multi => {
                self.session.queued = QueuedFacts::default();
                let begun = self.session.data.multi();
                self.answer(begun)
            }
            SessionCommand::Discard => {
                let ended = self.session.data.discard(engine);
                self.answer(ended)
            }
            SessionCommand::Unwatch => {
                self.session.data.unwatch(engine);
                self.out.ok();
                Outcome::REPLY
            }
            SessionCommand::Watch => self.watch(state, spec, args),
            SessionCommand::Exec => self.exec(state),
            SessionCommand::Wait | SessionCommand::Waitaof => self.wait(state, command, args),
        }
    }

    fn watch(&mut self, state: &mut State, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        let request = self.request(spec, args, None);
        if let Err(denied) = state.admit(request, self.now, self.front_end) {
            return self.deny(&mut state.replica, denied);
        }
        let data = &mut state.replica.data;
        // Keys that were watched before memory was replaced still count as changed.
        if !self.session.data.is_watching() {
            self.session.watched_in = data.generation;
        }
        let watched = self.session.data.watch(&mut data.engine, args, self.now.wall);
        self.answer(watched)
    }

    /// Queues a command of a transaction, after the same checks as if it ran now.
    pub(crate) fn queue(&mut self, state: &mut State, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        let mut request = self.request(spec, args, None);
        if let Run::Script(command) = spec.run
            && command.runs()
        {
            request.writes = state.replica.may_script_write(command, args);
            // Without keys it may use any.
            request.whole |= request.slots == SlotsSeen::None;
        }
        let admitted = state.admit(request, self.now, self.front_end).map(drop);
        let refusal = match admitted {
            Ok(()) | Err(Denied::Busy) => {
                lacks_memory(state, spec.flags.has(Flags::DENYOOM)).then_some(Refusal::OutOfMemory)
            }
            Err(Denied::NoPrimary) if self.waits_for_primary(&mut state.replica) => return Outcome::Busy,
            Err(Denied::NoPrimary) => Some(Refusal::ClusterDown),
            Err(Denied::Refused(refusal)) => Some(refusal),
        };
        if refusal.is_none() && self.is_paused(&state.replica.flow, request.writes || spec.is_replicated()) {
            return Outcome::Busy;
        }
        if let Some(refusal) = refusal {
            self.session.data.fail();
            self.refuse(&state.replica.flow, &refusal);
            return Outcome::REPLY;
        }
        let facts = &mut self.session.queued;
        facts.slots = facts.slots.merge(request.slots);
        facts.writes |= request.writes;
        facts.replicated |= spec.is_replicated();
        facts.whole |= request.whole;
        facts.needs_memory |= spec.flags.has(Flags::DENYOOM);
        match self.session.data.enqueue(spec, args) {
            Ok(()) => self.out.simple("QUEUED"),
            Err(error) => self.out.error(error.to_string()),
        }
        Outcome::REPLY
    }

    fn exec(&mut self, state: &mut State) -> Outcome {
        if !self.session.data.in_multi() {
            self.out.error(refusal::EXEC_WITHOUT_MULTI);
            return Outcome::REPLY;
        }
        let facts = self.session.queued;
        let (admitted, lacks_memory) = if self.session.data.is_failed() {
            (Ok(Admitted::Free), false)
        } else {
            let lacks_memory = lacks_memory(state, facts.needs_memory);
            (state.admit(self.exec_request(facts), self.now, self.front_end), lacks_memory)
        };
        let admitted = match admitted {
            Ok(_) if lacks_memory => return self.abort(&mut state.replica, &Refusal::OutOfMemory),
            Ok(admitted) => admitted,
            Err(denied) => return self.deny_exec(&mut state.replica, denied),
        };
        match admitted {
            Admitted::Primary(mut primary) => {
                if self.is_slowed(&primary.replica.flow, facts.writes) {
                    return Outcome::Busy;
                }
                match self.make_room(&mut primary, facts.needs_memory) {
                    MadeRoom::Waits => return Outcome::Busy,
                    MadeRoom::Runs(MemoryCheck::Needed)
                        if facts.needs_memory && primary.replica.data.engine.is_out_of_memory() =>
                    {
                        return self.abort(primary.replica, &Refusal::OutOfMemory);
                    }
                    MadeRoom::Runs(_) => {}
                }
                let payload = self.session.data.commands();
                let payload = self.idempotency.map_or(0, |_| payload_of_queue(payload));
                let attempt = match self.attempt(&mut primary, || payload) {
                    Attempt::Runs(attempt) => attempt,
                    Attempt::Answered(outcome) => {
                        self.session.data.end(&mut primary.replica.data.engine);
                        return outcome;
                    }
                };
                match self.take_queue(&mut primary.replica.data) {
                    Exec::Run(queue) => self.exec_as_primary(&mut primary, facts, &queue, attempt),
                    Exec::Touched => self.answer_touched(Some(primary)),
                    Exec::Refused(error) => self.answer(Err(error)),
                }
            }
            Admitted::Replica | Admitted::Free => {
                let is_replica = matches!(admitted, Admitted::Replica);
                match self.take_queue(&mut state.replica.data) {
                    Exec::Run(queue) => self.exec_reading(state, is_replica, facts, &queue),
                    Exec::Touched => self.answer_touched(state.primary()),
                    Exec::Refused(error) => self.answer(Err(error)),
                }
            }
        }
    }

    /// The combined properties of the queued commands.
    fn exec_request(&self, facts: QueuedFacts) -> Request {
        Request {
            slots: facts.slots,
            writes: facts.writes,
            whole: facts.whole,
            readonly: self.session.data.readonly,
            // Each was checked when its command was queued.
            has_long_key: false,
            kept_gate: self.session.kept_gate,
            durability_override: self.durability_override,
            reads: self.reads,
        }
    }

    fn deny_exec(&mut self, replica: &mut Replica, denied: Denied) -> Outcome {
        match denied {
            Denied::Refused(refusal) => self.abort(replica, &refusal),
            Denied::NoPrimary if !self.waits_for_primary(replica) => self.abort(replica, &Refusal::ClusterDown),
            Denied::Busy | Denied::NoPrimary => Outcome::Busy,
        }
    }

    /// Refuses a command whose deadline has passed. EXEC ends its transaction.
    pub(crate) fn refuse_late(&mut self, state: &mut State, spec: &CommandSpec) -> Outcome {
        if matches!(spec.run, Run::Session(SessionCommand::Exec)) && self.session.data.in_multi() {
            return self.abort(&mut state.replica, &Refusal::Late);
        }
        self.refuse(&state.replica.flow, &Refusal::Late);
        Outcome::REPLY
    }

    /// Refuses EXEC: a redirect is returned as it is, any other error inside of Valkey's own text.
    pub(crate) fn abort(&mut self, replica: &mut Replica, refusal: &Refusal) -> Outcome {
        self.session.data.end(&mut replica.data.engine);
        if refusal.is_redirect() {
            self.refuse(&replica.flow, refusal);
        } else {
            self.out.error(refusal.exec_aborted());
        }
        Outcome::REPLY
    }

    /// Ends the transaction; returns what EXEC must run.
    fn take_queue(&mut self, data: &mut Data) -> Exec {
        let forgotten = self.session.data.is_watching() && self.session.watched_in != data.generation;
        match self.session.data.exec(&mut data.engine, self.now.wall) {
            Exec::Run(_) if forgotten => Exec::Touched,
            exec => exec,
        }
    }

    /// Aborts EXEC because a watched key has changed.
    fn answer_touched(&mut self, primary: Option<Primary<'_>>) -> Outcome {
        self.out.null_array();
        self.show_everything(primary)
    }

    /// Runs a transaction as one unit.
    fn exec_as_primary(
        &mut self,
        primary: &mut Primary<'_>,
        facts: QueuedFacts,
        queue: &[Queued],
        attempt: Option<FirstAttempt>,
    ) -> Outcome {
        let recording = self.record(attempt);
        let unit = self.begin_unit(primary);
        let ran = self.run_queue(primary.replica.batching.unit_time_max, queue, |execution, queued| {
            let ran = execution.exec_one_queued(&mut RunPlace::Primary(primary), queued);
            Ran { is_over: primary.leader.stage.effects.has_overflowed(), ..ran }
        });
        let shows_keys = match ran {
            Ok(shows_keys) => shows_keys || facts.whole,
            Err(why) => {
                primary.replica.counters.units_too_slow += 1;
                self.roll_back(primary, unit, &why);
                if let Some(recording) = recording {
                    self.stop_recording(recording);
                }
                return Outcome::REPLY;
            }
        };
        let wrote = self.end_recorded(primary, unit, recording);
        self.reply(primary, wrote, |primary| {
            if shows_keys {
                return primary.leader.stage.last_staged();
            }
            let depends_on = |queued: &Queued| depends_on(primary, queued.spec, queued.args(), None);
            queue.iter().map(depends_on).max().unwrap_or_default()
        })
    }

    /// Runs a transaction that changes nothing.
    fn exec_reading(&mut self, state: &mut State, is_replica: bool, facts: QueuedFacts, queue: &[Queued]) -> Outcome {
        let is_uncertain = |queued: &Queued| {
            let shows_data = matches!(queued.spec.run, Run::Data(_)) && queued.spec.scope != Scope::Nothing;
            shows_data && self.is_uncertain(&state.replica, queued.spec, queued.args())
        };
        if queue.iter().any(is_uncertain) {
            return self.deny(&mut state.replica, Refusal::CutOff.into());
        }
        if is_replica {
            if let Some(refusal) = self.stale(&state.replica) {
                return self.deny(&mut state.replica, refusal.into());
            }
            self.show(&mut state.replica);
        }
        let reply = self.out.len();
        let ran = self.run_queue(state.replica.batching.unit_time_max, queue, |execution, queued| {
            let State { leader, replica } = &mut *state;
            execution.exec_one_queued(&mut RunPlace::Reading(leader.as_ref(), replica), queued)
        });
        state.replica.pass_notifications_of_read();
        match ran {
            Ok(shows_keys) if shows_keys || facts.whole => self.show_everything(state.primary()),
            Ok(_) => Outcome::REPLY,
            Err(why) => {
                state.replica.counters.units_too_slow += 1;
                self.out.truncate(reply);
                self.refuse(&state.replica.flow, &why);
                Outcome::REPLY
            }
        }
    }

    /// Runs the commands of a transaction in order; true if any reply shows more than the command's own keys.
    fn run_queue(
        &mut self,
        time_max: Duration,
        queue: &[Queued],
        mut run: impl FnMut(&mut Self, &Queued) -> Ran,
    ) -> Result<bool, Refusal> {
        let mut began = self.edges.clock.boot();
        let ends = began.plus(time_max);
        self.out.array(queue.len());
        let mut shows_keys = false;
        for (i, queued) in queue.iter().enumerate() {
            if i > 0 && began > ends {
                return Err(Refusal::TooSlow { time_max });
            }
            if !self.front_end.permit_queued(queued.spec, queued.args(), self.out) {
                continue;
            }
            let start = self.out.len();
            let ran = run(self, queued);
            if ran.is_too_slow {
                return Err(Refusal::TooSlow { time_max });
            }
            let ended = self.edges.clock.boot();
            self.front_end.executed_queued(&ExecutedQueued {
                spec: queued.spec,
                args: queued.args(),
                took: ended.since(began),
                reply_bytes: self.out.len() - start,
                reply: self.out.buf().piece_at(start),
            });
            began = ended;
            shows_keys |= ran.shows_keys;
            if ran.is_over {
                break;
            }
        }
        Ok(shows_keys)
    }

    /// Runs one command of a transaction.
    fn exec_one_queued(&mut self, place: &mut RunPlace<'_, '_>, queued: &Queued) -> Ran {
        let (spec, args) = (queued.spec, queued.args());
        if let Run::Script(command) = spec.run {
            let time = place.replica().batching.unit_time_max / 2;
            let is_too_slow = command.runs() && self.script_in_exec(place, (command, time), args).is_none();
            if !command.runs() {
                self.manage_at(place, command, args);
            }
            return Ran { shows_keys: true, is_too_slow, is_over: false };
        }
        let shows_keys = match place {
            // Memory was checked once before the first command, so that no command is refused in the middle.
            RunPlace::Primary(primary) => self.exec_one(primary, spec, args, MemoryCheck::Done),
            RunPlace::Reading(leader, replica) => self.exec_one_reading(*leader, replica, spec, args),
        };
        Ran { shows_keys, is_too_slow: false, is_over: false }
    }

    /// Runs one command of a transaction or script on the primary; true if the reply shows more than the command's own
    /// keys.
    pub(crate) fn exec_one(
        &mut self,
        primary: &mut Primary<'_>,
        spec: &'static CommandSpec,
        args: Args<'_>,
        memory: MemoryCheck,
    ) -> bool {
        if matches!(spec.run, Run::Data(_)) && spec.scope != Scope::Nothing {
            self.execute(primary, spec, args, None, memory);
            return false;
        }
        self.exec_one_reading(Some(primary.leader), primary.replica, spec, args)
    }

    /// Runs one command of a transaction or script that changes no data; true if the reply shows more than the
    /// command's own keys.
    pub(crate) fn exec_one_reading(
        &mut self,
        leader: Option<&Leader>,
        replica: &mut Replica,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> bool {
        match spec.run {
            Run::Data(_) => {
                self.execute_reading(&mut replica.data, spec, args);
                spec.shows_data
            }
            Run::Session(SessionCommand::Unwatch) => {
                self.out.ok();
                false
            }
            Run::Session(command @ (SessionCommand::Wait | SessionCommand::Waitaof)) => {
                self.wait_in_exec(leader, replica, command, args);
                false
            }
            Run::Table(_) => {
                self.table(spec, args);
                false
            }
            Run::FrontEnd => self.run_front_end(leader, replica, (spec, args), false) == FrontEndOutcome::ShowsKeys,
            Run::Session(_) | Run::Script(_) | Run::Refused(_) | Run::Missing => unreachable!("never queued"),
        }
    }
}

/// Whether a command that needs memory is refused because `maxmemory` is exceeded, and no key can be evicted.
fn lacks_memory(state: &State, needs_memory: bool) -> bool {
    let engine = &state.replica.data.engine;
    needs_memory && state.leader.is_some() && engine.is_out_of_memory() && !engine.can_evict()
}
