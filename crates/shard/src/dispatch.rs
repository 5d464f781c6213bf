//! One command from its arguments to its outcome: look-up, transaction, admission, execution, hold.

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::command::{self, CommandSpec, Flags, FrontEndCommand, Run, SessionCommand};
use fastness_engine::transaction::{Exec, Queued};
use fastness_engine::{Env, Key, Savepoint};
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{BootNs, Durability, Plant, Seq, limits, slot_of};

use crate::admit::{Denied, Request, Standing};
use crate::batch::UnitKind;
use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::front_end::{Call, FrontEnd, FrontEndOutcome, ShardView};
use crate::inner::Inner;
use crate::lag::GateState;
use crate::now::Now;
use crate::outcome::{Outcome, PendingReply, WrittenAt};
use crate::refusal::Refusal;
use crate::session::{QueuedFacts, Session, SlotsSeen, WaitsFor};
use crate::state::State;
use crate::waits::Acknowledged;

/// An attribute would be lost on a command of a transaction, whose replies leave with EXEC's.
const MISPLACED_ATTRIBUTE: &str =
    "ERR a transaction's attribute stands in front of its EXEC: neither MULTI nor a command that is queued takes one";

/// Runs one command.
pub(crate) fn run(
    inner: &Rc<Inner>,
    session: &mut Session,
    call: Call<'_>,
    out: &mut ReplyBuf,
    front_end: &mut dyn FrontEnd,
) -> Outcome {
    let Call { args, at, first, durability_override, reads } = call;
    if args.is_empty() {
        return Outcome::REPLY;
    }
    let spec = match command::lookup(args) {
        Ok(spec) => spec,
        Err(error) => {
            session.data.fail();
            out.error(&error);
            return Outcome::REPLY;
        }
    };
    if session.data.in_multi() && spec.flags.has(Flags::NO_MULTI) {
        session.data.fail();
        out.error(format!("ERR Command '{}' not allowed inside a transaction", spec.name));
        return Outcome::REPLY;
    }
    if (durability_override.is_some() || reads.is_some())
        && (matches!(spec.run, Run::Session(SessionCommand::Multi)) || (session.data.in_multi() && is_queued(spec)))
    {
        session.data.fail();
        out.error(MISPLACED_ATTRIBUTE);
        return Outcome::REPLY;
    }
    if !front_end.permit(spec, args, session, out) {
        session.data.fail();
        return Outcome::REPLY;
    }
    inner.edges.handle.report_running(Some(spec.index));
    session.waits_for = WaitsFor::Shard;
    let mut state = inner.state.borrow_mut();
    let now = Now { wall: state.replica.data.timestamp(at), ..at };
    let durability_override = durability_override.unwrap_or(session.durability_override);
    let reads = reads.unwrap_or(session.reads);
    let mode = state.replica.settings.mode.in_force();
    state.count_memory();
    let mut turn = Turn { inner, state: &mut state, session, now, out, front_end, durability_override, reads, mode };
    if turn.session.data.in_multi() && is_queued(spec) {
        return turn.queue(spec, args);
    }
    match spec.run {
        Run::Data(_) => turn.data(spec, args, first),
        run if turn.is_paused(turn.runs_writes(run)) => Outcome::Busy,
        Run::Session(command) => turn.session(command, spec, args),
        Run::FrontEnd(command) => turn.front_end(command, spec, args),
        Run::Refused(_) | Run::Absent => unreachable!("no look-up returns such a command"),
    }
}

/// Whether a command inside of MULTI waits for EXEC.
fn is_queued(spec: &CommandSpec) -> bool {
    !matches!(
        spec.run,
        Run::Session(SessionCommand::Exec | SessionCommand::Discard | SessionCommand::Multi | SessionCommand::Watch)
            | Run::FrontEnd(FrontEndCommand::Quit | FrontEndCommand::Reset)
    )
}

/// One command with everything that it is run with.
struct Turn<'a> {
    inner: &'a Rc<Inner>,
    state: &'a mut State,
    session: &'a mut Session,
    now: Now,
    out: &'a mut ReplyBuf,
    front_end: &'a mut dyn FrontEnd,
    /// What the command asks for, or else its connection.
    durability_override: DurabilityOverride,
    /// The same of how a read is confirmed.
    reads: ReadConfirmation,
    /// In force.
    mode: Durability,
}

/// One command or transaction that runs on the primary.
struct Unit {
    /// Where its effects and its reply begin.
    before: usize,
    reply: usize,
    savepoint: Savepoint,
}

/// Whether a command that needs memory is refused while there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Asked,
    /// It was asked for before.
    Granted,
}

impl Turn<'_> {
    fn data(&mut self, spec: &'static CommandSpec, args: Args<'_>, first: Option<Key<'_>>) -> Outcome {
        let request = self.request(spec, args, first);
        let standing = match self.state.admit(request, self.now, self.front_end) {
            Ok(standing) => standing,
            Err(denied) => return self.deny(denied),
        };
        if self.is_paused(request.writes) || (standing == Standing::Primary && self.is_slowed(request.writes)) {
            return Outcome::Busy;
        }
        match standing {
            Standing::Primary => {
                let unit = self.begin_unit();
                self.execute(spec, args, first, Memory::Asked);
                let wrote = self.end_unit(unit);
                self.reply(wrote, |turn| turn.depends_on(spec, args, first))
            }
            Standing::Replica | Standing::Free => {
                let shows_data = standing == Standing::Replica || self::shows_data(spec);
                if shows_data && self.is_uncertain(spec, args) {
                    return self.deny(Refusal::CutOff.into());
                }
                if shows_data {
                    self.show();
                }
                self.execute_reading(spec, args);
                if self::shows_data(spec) { self.show_everything() } else { Outcome::REPLY }
            }
        }
    }

    /// Whether CLIENT PAUSE holds a command; notes why, since the command will be answered [`Outcome::Busy`].
    #[inline]
    fn is_paused(&mut self, writes: bool) -> bool {
        let holds = self.state.replica.flow.client_pause.holds(self.now.boot, writes);
        if holds {
            self.session.waits_for = WaitsFor::Pause;
        }
        holds
    }

    /// Whether the lag gate holds a write at the front end for a little; notes until when. One that has waited runs.
    #[inline]
    fn is_slowed(&mut self, writes: bool) -> bool {
        match self.state.replica.flow.gate.state() {
            GateState::Slowing(span) if writes => self.slow(span),
            _ => false,
        }
    }

    #[cold]
    fn slow(&mut self, span: Duration) -> bool {
        let until = match self.session.slowed_until {
            Some(until) if until <= self.now.boot => {
                self.session.slowed_until = None;
                return false;
            }
            Some(until) => until,
            None => {
                self.state.replica.flow.gate.count_slowed();
                self.now.boot.plus(span)
            }
        };
        self.session.slowed_until = Some(until);
        self.session.waits_for = WaitsFor::Lag(until);
        true
    }

    /// Whether a command that is none of the data's own runs commands that may change data.
    fn runs_writes(&self, run: Run) -> bool {
        matches!(run, Run::Session(SessionCommand::Exec)) && self.session.queued.writes
    }

    /// What the command is about to do.
    #[inline]
    fn request(&self, spec: &CommandSpec, args: Args<'_>, first: Option<Key<'_>>) -> Request {
        let (slots, has_long_key) = match first {
            Some(key) if spec.key_is_first => (SlotsSeen::One(key.slot), is_long(key.bytes)),
            _ => (slots_of(spec, args), spec.keys(args).any(is_long)),
        };
        let (writes, whole, readonly) = (spec.flags.has(Flags::WRITE), is_whole(spec), self.session.data.readonly);
        Request {
            slots,
            writes,
            whole,
            readonly,
            has_long_key,
            kept_gate: self.session.kept_gate,
            durability_override: self.durability_override,
            reads: self.reads,
        }
    }

    fn deny(&mut self, denied: Denied) -> Outcome {
        match denied {
            Denied::Busy => {
                self.session.tried_at.get_or_insert(self.now.boot);
                return Outcome::Busy;
            }
            Denied::NoPrimary if self.waits_for_primary() => return Outcome::Busy,
            Denied::NoPrimary => self.refuse(&Refusal::ClusterDown),
            Denied::Refused(refusal) => self.refuse(&refusal),
        }
        Outcome::REPLY
    }

    /// Whether the command waits for a primary; notes until when. The time counts from the first attempt of those that
    /// arrived together, so a pipeline waits once.
    #[cold]
    fn waits_for_primary(&mut self) -> bool {
        let is_first = self.session.tried_at.is_none();
        let until = self.session.tried_at.get_or_insert(self.now.boot).plus(self.state.replica.flow.lease_wait_max);
        if until <= self.now.boot {
            self.state.replica.counters.lease_waits_refused += 1;
            return false;
        }
        self.state.replica.counters.lease_waits += u64::from(is_first);
        self.session.waits_for = WaitsFor::Primary(until);
        true
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if *refusal == Refusal::Lagging {
            self.state.replica.flow.gate.count_refused();
        }
        refusal.write(self.out);
    }

    /// Runs a command on the primary; effects go into the open batch.
    #[inline]
    fn execute(&mut self, spec: &'static CommandSpec, args: Args<'_>, first: Option<Key<'_>>, memory: Memory) {
        let state = &mut *self.state;
        let leader = state.leader.as_mut().expect("admitted as primary");
        state.replica.data.engine.leave_access_times(self.session.no_touch);
        // While clients are paused no key is removed. A reply that saw one expire would depend on no effect, so for
        // reads it is the time that has committed, as on a replica.
        let paused = state.replica.flow.client_pause.is_running(self.now.boot);
        let mut env = Env {
            now: if paused && !is_free(spec) { state.replica.committed_time.timestamp } else { self.now.wall },
            may_write: !paused,
            random: &mut state.replica.data.random,
            reply: self.out,
            effects: &mut leader.stage.effects,
            first,
        };
        match memory {
            Memory::Asked => state.replica.data.engine.execute(spec, args, &mut env),
            Memory::Granted => state.replica.data.engine.execute_admitted(spec, args, &mut env),
        }
    }

    /// Runs a command without the right to change anything.
    fn execute_reading(&mut self, spec: &'static CommandSpec, args: Args<'_>) {
        let state = &mut *self.state;
        state.replica.data.engine.leave_access_times(self.session.no_touch);
        let mut env = Env {
            now: state.replica.data.engine.newest_timestamp(),
            may_write: false,
            random: &mut state.replica.data.random,
            reply: self.out,
            effects: &mut state.replica.data.no_effects,
            first: None,
        };
        if is_free(spec) || Plant::ReplicaClock.is_on() {
            // TIME and the like: the replica's own clock, which decides nothing.
            env.now = self.now.wall;
        }
        state.replica.data.engine.execute(spec, args, &mut env);
        debug_assert!(state.replica.data.no_effects.is_empty(), "{} changed data on a replica", spec.name);
    }

    /// A unit begins: what is run until [`Turn::end_unit`].
    #[inline]
    fn begin_unit(&mut self) -> Unit {
        let state = &mut *self.state;
        let stage = &mut state.leader.as_mut().expect("admitted as primary").stage;
        let (before, bytes_max) = (stage.effects.len(), stage.unit_bytes_max());
        let savepoint = state.replica.data.engine.begin_unit(&mut stage.effects, bytes_max);
        Unit { before, reply: self.out.len(), savepoint }
    }

    /// Stages what was appended since; true if anything was. A unit that was too long is taken back, and its reply is
    /// an error.
    #[inline]
    fn end_unit(&mut self, unit: Unit) -> bool {
        if self.state.leader.as_ref().is_some_and(|leader| leader.stage.effects.has_overflowed()) {
            let bytes_max = self.state.leader.as_ref().map_or(0, |leader| leader.stage.unit_bytes_max());
            self.roll_back(unit, &Refusal::TooLarge { bytes_max });
            self.state.replica.counters.units_too_large += 1;
            return false;
        }
        if !self.state.primary().is_some_and(|mut primary| primary.stage(UnitKind::Write, unit.before, self.now)) {
            return false;
        }
        let waits = self.durability() == Durability::Sync;
        let leader = self.state.leader.as_mut().expect("admitted as primary");
        if waits {
            leader.stage.count_waiting();
        }
        if leader.stage.seal_cut() {
            self.inner.edges.work.notify_one();
            leader.stage.propose(&self.inner.edges.handle, self.state.replica.batching.in_flight_max);
        } else if leader.stage.wants_loop(self.mode, &self.state.replica.batching) {
            self.inner.edges.work.notify_one();
            leader.stage.close_if_full(&self.inner.edges.handle, self.mode, &self.state.replica.batching);
        }
        true
    }

    /// Takes back what was run since, and answers with `why`.
    #[cold]
    fn roll_back(&mut self, unit: Unit, why: &Refusal) {
        let state = &mut *self.state;
        let leader = state.leader.as_mut().expect("admitted as primary");
        state.replica.data.engine.roll_back(unit.savepoint, &mut leader.stage.effects);
        self.out.truncate(unit.reply);
        self.refuse(why);
    }

    /// The outcome of what a primary ran.
    #[inline]
    fn reply(&mut self, wrote: bool, depends_on: impl FnOnce(&Self) -> Seq) -> Outcome {
        if self.reads == ReadConfirmation::Quorum {
            let seq = if wrote { self.staged() } else { depends_on(self) };
            return self.confirm(wrote, seq);
        }
        let durability = self.durability();
        let leader = self.state.leader.as_ref().expect("admitted as primary");
        let (tenure, committed) = (leader.tenure, leader.committed);
        let seq = if wrote {
            let seq = leader.stage.last_staged();
            self.session.written = Some(WrittenAt { tenure, seq });
            seq
        } else if durability != Durability::Sync || leader.stage.is_clean() {
            return Outcome::REPLY;
        } else {
            depends_on(self)
        };
        if seq <= committed {
            return Outcome::Reply { pending: None, wrote };
        }
        if durability != self.mode {
            self.await_commit(seq);
        }
        Outcome::Reply { pending: Some(PendingReply { tenure, seq, durability, wrote, arrived: BootNs(0) }), wrote }
    }

    fn staged(&self) -> Seq {
        self.state.leader.as_ref().map_or(Seq(0), |leader| leader.stage.last_staged())
    }

    /// The outcome of a reply that waits for the commit of `seq`, and a read's for a quorum too.
    #[cold]
    fn confirm(&mut self, wrote: bool, seq: Seq) -> Outcome {
        let leader = self.state.leader.as_mut().expect("admitted as primary");
        let (tenure, committed) = (leader.tenure, leader.committed);
        if wrote {
            self.session.written = Some(WrittenAt { tenure, seq });
        } else if leader.confirming.want(self.now.boot) {
            self.inner.edges.work.notify_one();
        }
        if seq > committed && self.mode != Durability::Sync {
            self.await_commit(seq);
        }
        let arrived = if wrote { BootNs(0) } else { self.now.boot };
        Outcome::Reply {
            pending: Some(PendingReply { tenure, seq, durability: Durability::Sync, wrote, arrived }),
            wrote,
        }
    }

    /// What the command's reply goes by.
    #[inline]
    fn durability(&self) -> Durability {
        self.durability_override.within(self.mode)
    }

    /// A reply will wait for the batch `seq` though the mode does not ask for it: the batch is not left open for its
    /// age.
    #[cold]
    fn await_commit(&mut self, seq: Seq) {
        self.state.replica.counters.asked += 1;
        let leader = self.state.leader.as_mut().expect("admitted as primary");
        if leader.stage.await_commit(seq) {
            self.inner.edges.work.notify_one();
        }
    }

    /// The last batch that the command's reply may have seen something of.
    fn depends_on(&self, spec: &CommandSpec, args: Args<'_>, first: Option<Key<'_>>) -> Seq {
        let leader = self.state.leader.as_ref().expect("admitted as primary");
        if let Some(key) = first
            && spec.key_is_first
        {
            return leader.dirty.last_change(key.hash);
        }
        if is_whole(spec) {
            return leader.stage.last_staged();
        }
        let last_change = |key: &[u8]| leader.dirty.last_change(self.state.replica.data.engine.hash_key(key));
        spec.keys(args).map(last_change).max().unwrap_or_default()
    }

    fn session(&mut self, command: SessionCommand, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        match command {
            SessionCommand::Multi => {
                self.session.queued = QueuedFacts::default();
                let begun = self.session.data.multi();
                self.answer(begun.map_err(|error| error.to_string()))
            }
            SessionCommand::Discard => {
                let ended = self.session.data.discard(&mut self.state.replica.data.engine);
                self.answer(ended.map_err(|error| error.to_string()))
            }
            SessionCommand::Unwatch => {
                self.session.data.unwatch(&mut self.state.replica.data.engine);
                self.answer(Ok(()))
            }
            SessionCommand::Watch => self.watch(spec, args),
            SessionCommand::Exec => self.exec(),
        }
    }

    fn answer(&mut self, result: Result<(), String>) -> Outcome {
        match result {
            Ok(()) => self.out.ok(),
            Err(text) => self.out.error(text),
        }
        Outcome::REPLY
    }

    fn watch(&mut self, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        let request = self.request(spec, args, None);
        if let Err(denied) = self.state.admit(request, self.now, self.front_end) {
            return self.deny(denied);
        }
        // Keys that were watched in a memory that is gone keep counting as changed.
        if !self.session.data.is_watching() {
            self.session.watched_in = self.state.replica.data.generation;
        }
        let watched = self.session.data.watch(&mut self.state.replica.data.engine, args, self.now.wall);
        self.answer(watched.map_err(|error| error.to_string()))
    }

    /// Queues a command of a transaction, after the same questions as if it ran now.
    fn queue(&mut self, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        let request = self.request(spec, args, None);
        let refusal = match self.state.admit(request, self.now, self.front_end) {
            Ok(_) | Err(Denied::Busy) => self.refuse_memory(spec.flags.has(Flags::DENYOOM)),
            Err(Denied::NoPrimary) if self.waits_for_primary() => return Outcome::Busy,
            Err(Denied::NoPrimary) => Some(Refusal::ClusterDown),
            Err(Denied::Refused(refusal)) => Some(refusal),
        };
        if refusal.is_none() && self.is_paused(request.writes) {
            return Outcome::Busy;
        }
        if let Some(refusal) = refusal {
            self.session.data.fail();
            self.refuse(&refusal);
            return Outcome::REPLY;
        }
        let facts = &mut self.session.queued;
        facts.slots = facts.slots.merge(request.slots);
        facts.writes |= request.writes;
        facts.whole |= request.whole;
        facts.needs_memory |= spec.flags.has(Flags::DENYOOM);
        match self.session.data.enqueue(spec, args) {
            Ok(()) => self.out.simple("QUEUED"),
            Err(error) => self.out.error(error.to_string()),
        }
        Outcome::REPLY
    }

    fn refuse_memory(&self, needs_memory: bool) -> Option<Refusal> {
        (needs_memory && self.state.leader.is_some() && self.state.replica.data.engine.is_out_of_memory())
            .then_some(Refusal::OutOfMemory)
    }

    fn exec(&mut self) -> Outcome {
        if !self.session.data.in_multi() {
            return self.answer(Err("ERR EXEC without MULTI".into()));
        }
        let facts = self.session.queued;
        let mut standing = Standing::Free;
        if !self.session.data.is_failed() {
            let request = Request {
                slots: facts.slots,
                writes: facts.writes,
                whole: facts.whole,
                readonly: self.session.data.readonly,
                // Each was asked for when its command was queued.
                has_long_key: false,
                kept_gate: self.session.kept_gate,
                durability_override: self.durability_override,
                reads: self.reads,
            };
            match self.state.admit(request, self.now, self.front_end) {
                Ok(admitted) => standing = admitted,
                Err(Denied::Refused(refusal)) => return self.abort(&refusal),
                Err(Denied::NoPrimary) if !self.waits_for_primary() => return self.abort(&Refusal::ClusterDown),
                Err(Denied::Busy | Denied::NoPrimary) => return Outcome::Busy,
            }
            if let Some(refusal) = self.refuse_memory(facts.needs_memory) {
                return self.abort(&refusal);
            }
            if standing == Standing::Primary && self.is_slowed(facts.writes) {
                return Outcome::Busy;
            }
        }
        let forgotten =
            self.session.data.is_watching() && self.session.watched_in != self.state.replica.data.generation;
        match self.session.data.exec(&mut self.state.replica.data.engine, self.now.wall) {
            Exec::Refused(error) => self.answer(Err(error.to_string())),
            Exec::Run(queue) if !forgotten => self.exec_queue(standing, facts, &queue),
            Exec::Touched | Exec::Run(_) => {
                self.out.null_array();
                self.show_everything()
            }
        }
    }

    /// EXEC is refused: redirects as they are, the rest inside of Valkey's own text.
    fn abort(&mut self, refusal: &Refusal) -> Outcome {
        self.session.data.end(&mut self.state.replica.data.engine);
        if refusal.is_redirect() {
            self.refuse(refusal);
        } else {
            self.out.error(format!("EXECABORT Transaction discarded because of: {}", refusal.text()));
        }
        Outcome::REPLY
    }

    /// Runs a transaction as one unit.
    fn exec_queue(&mut self, standing: Standing, facts: QueuedFacts, queue: &[Queued]) -> Outcome {
        let is_uncertain = |queued: &Queued| {
            let shows_data = matches!(queued.spec.run, Run::Data(_)) && !is_free(queued.spec);
            shows_data && self.is_uncertain(queued.spec, queued.args())
        };
        if standing != Standing::Primary && queue.iter().any(is_uncertain) {
            return self.deny(Refusal::CutOff.into());
        }
        if standing == Standing::Replica {
            self.show();
        }
        let reply = self.out.len();
        let unit = (standing == Standing::Primary).then(|| self.begin_unit());
        let time_max = self.state.replica.batching.unit_time_max;
        let ends = self.inner.edges.clock.boot().plus(time_max);
        self.out.array(queue.len());
        let mut shows_keys = facts.whole;
        for (i, queued) in queue.iter().enumerate() {
            if i > 0 && self.inner.edges.clock.boot() > ends {
                let why = Refusal::TooSlow { time_max };
                self.state.replica.counters.units_too_slow += 1;
                match unit {
                    Some(unit) => self.roll_back(unit, &why),
                    None => {
                        self.out.truncate(reply);
                        self.refuse(&why);
                    }
                }
                return Outcome::REPLY;
            }
            shows_keys |= self.exec_one(standing, queued);
            if self.state.leader.as_ref().is_some_and(|leader| leader.stage.effects.has_overflowed()) {
                // It will be taken back: what is left of it is not run.
                break;
            }
        }
        let Some(unit) = unit else {
            return if shows_keys { self.show_everything() } else { Outcome::REPLY };
        };
        let wrote = self.end_unit(unit);
        self.reply(wrote, |turn| {
            let leader = turn.state.leader.as_ref().expect("admitted as primary");
            if shows_keys {
                return leader.stage.last_staged();
            }
            queue.iter().map(|queued| turn.depends_on(queued.spec, queued.args(), None)).max().unwrap_or_default()
        })
    }

    /// One command of a transaction; true if it showed more than its own keys.
    fn exec_one(&mut self, standing: Standing, queued: &Queued) -> bool {
        let (spec, args) = (queued.spec, queued.args());
        match spec.run {
            // Memory was asked for once, before the first of them: none is refused midway.
            Run::Data(_) if standing == Standing::Primary && !is_free(spec) => {
                self.execute(spec, args, None, Memory::Granted);
            }
            Run::Data(_) => {
                self.execute_reading(spec, args);
                return shows_data(spec);
            }
            Run::Session(SessionCommand::Unwatch) => self.out.ok(),
            Run::FrontEnd(FrontEndCommand::Wait | FrontEndCommand::Waitaof) => {
                match crate::wait::parse(spec, args, self.session.written, &self.state.replica.role) {
                    Ok(request) => self.acknowledged().answer(&request).write(self.out),
                    Err(text) => self.out.error(text),
                }
            }
            Run::FrontEnd(command) => return self.run_front_end(command, args, false) == FrontEndOutcome::ShowsKeys,
            Run::Session(_) | Run::Refused(_) | Run::Absent => unreachable!("never queued"),
        }
        false
    }

    fn front_end(&mut self, command: FrontEndCommand, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        if matches!(command, FrontEndCommand::Wait | FrontEndCommand::Waitaof) {
            return match crate::wait::parse(spec, args, self.session.written, &self.state.replica.role) {
                Ok(request) => {
                    self.hurry();
                    Outcome::Wait(request)
                }
                Err(text) => self.answer(Err(text)),
            };
        }
        match self.run_front_end(command, args, true) {
            FrontEndOutcome::Reply => Outcome::REPLY,
            FrontEndOutcome::ShowsKeys => self.show_everything(),
            FrontEndOutcome::Close => Outcome::Close,
            FrontEndOutcome::Again(at) => {
                self.session.waits_for = WaitsFor::Lag(at);
                Outcome::Busy
            }
        }
    }

    fn run_front_end(&mut self, command: FrontEndCommand, args: Args<'_>, may_block: bool) -> FrontEndOutcome {
        let mut view = ShardView {
            leader: self.state.leader.as_ref(),
            replica: &mut self.state.replica,
            now: self.now,
            handle: &self.inner.edges.handle,
            may_block,
        };
        self.front_end.run(command, args, self.session, &mut view, self.out)
    }

    /// Somebody waits for what is staged: the batch is closed at the end of the turn.
    fn hurry(&mut self) {
        if let Some(leader) = &mut self.state.leader {
            leader.stage.hurry();
            self.inner.edges.work.notify_one();
        }
    }

    /// See [`crate::time::CommittedTime::is_uncertain`].
    fn is_uncertain(&self, spec: &CommandSpec, args: Args<'_>) -> bool {
        let (replica, now) = (&self.state.replica, self.now.boot);
        !(replica.role.is_follower() && self.inner.edges.handle.hears_leader(now))
            && replica.committed_time.is_uncertain(&replica.data.engine, spec, args, now)
    }

    /// Committed memory is shown to a READONLY client.
    fn show(&mut self) {
        let replica = &mut self.state.replica;
        replica.served.show(replica.position.applied, &self.inner.edges);
    }

    fn acknowledged(&self) -> Acknowledged<'_> {
        let State { leader, replica } = &*self.state;
        Acknowledged { leader: leader.as_ref(), tenures: &replica.tenures, copies: &*self.inner.edges.copies }
    }

    /// The outcome of a reply that may have seen any effect: in `sync` it waits for everything staged.
    fn show_everything(&mut self) -> Outcome {
        match &self.state.leader {
            Some(_) => self.reply(false, Turn::staged),
            None => Outcome::REPLY,
        }
    }
}

/// Whether a command touches no data: PING, ECHO, TIME. Valkey marks everything else that runs on data as reading or
/// writing.
#[inline]
fn is_free(spec: &CommandSpec) -> bool {
    !spec.flags.has_any(Flags(Flags::WRITE.0 | Flags::READONLY.0)) && !spec.has_keys()
}

/// Whether a command shows data though Valkey does not mark it as reading: it runs on any replica, and on a primary its
/// reply waits for everything staged.
fn shows_data(spec: &CommandSpec) -> bool {
    matches!(spec.name, "cluster|countkeysinslot" | "cluster|getkeysinslot" | "cluster|slot-stats")
}

/// Whether a command reads or changes the whole keyspace: DBSIZE, KEYS, SCAN, RANDOMKEY, FLUSHALL.
#[inline]
fn is_whole(spec: &CommandSpec) -> bool {
    matches!(spec.run, Run::Data(_)) && !spec.has_keys() && !is_free(spec)
}

/// The slots of a command's keys, and of what it names to be routed by.
fn slots_of(spec: &CommandSpec, args: Args<'_>) -> SlotsSeen {
    let keys = spec.keys(args).chain(spec.route(args));
    keys.fold(SlotsSeen::None, |seen, key| seen.and(slot_of(key)))
}

/// Whether a name is longer than a key's may be.
#[inline]
fn is_long(key: &[u8]) -> bool {
    key.len() > limits::KEY_BYTES_MAX
}
