//! The execution of one command that was found and permitted: admission, the engine, effects into the open batch, and
//! what the reply depends on.
//!
//! Functions that run a command as the primary take a [`Primary`], which only admission provides. So they cannot be
//! called without a valid lease.

use std::fmt::Display;
use std::time::Duration;

use fastness_engine::command::{CommandSpec, Flags, Run, Scope, SessionCommand};
use fastness_engine::{Blocking, Env, Key};
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{BootNs, Durability, FormatLevel, Plant, Seq, limits, slot_of};

use crate::admit::{Admitted, Denied, Request};
use crate::batch::UnitKind;
use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::data::Data;
use crate::edges::Edges;
use crate::flow::FlowControl;
use crate::front_end::FrontEnd;
use crate::idempotency::IdempotencyKey;
use crate::idempotency::attempt::{Attempt, payload_of_command};
use crate::key_waiter::Asked;
use crate::lag::GateState;
use crate::memory_check::{MadeRoom, MemoryCheck};
use crate::now::Now;
use crate::outcome::{Outcome, PendingReply, WrittenAt};
use crate::refusal::Refusal;
use crate::session::{Session, SlotsSeen, WaitsFor};
use crate::stage::StagedUnit;
use crate::state::{Primary, Replica, State};
use crate::unit::UnitInProgress;

/// One command in execution, with everything but the replica's state.
pub(crate) struct Execution<'a> {
    pub(crate) edges: &'a Edges,
    pub(crate) session: &'a mut Session,
    pub(crate) now: Now,
    pub(crate) out: &'a mut ReplyBuf,
    pub(crate) front_end: &'a mut dyn FrontEnd,
    /// The override of the command, or else of its connection.
    pub(crate) durability_override: DurabilityOverride,
    /// How a read is confirmed: set by the command, or else by its connection.
    pub(crate) reads: ReadConfirmation,
    /// By what a write is recognised when it is sent again.
    pub(crate) idempotency: Option<IdempotencyKey<'a>>,
    /// How old the data may be from which a replica answers; absent: any.
    pub(crate) staleness_max: Option<Duration>,
    /// After this time the command is refused instead of run.
    pub(crate) deadline: Option<BootNs>,
    /// The mode in force.
    pub(crate) mode: Durability,
    /// Set while a command runs that may wait for keys.
    pub(crate) asked: Option<Box<Asked>>,
}

impl Execution<'_> {
    /// Runs a command on data outside of a transaction.
    pub(crate) fn data(
        &mut self,
        state: &mut State,
        spec: &'static CommandSpec,
        args: Args<'_>,
        first: Option<Key<'_>>,
    ) -> Outcome {
        let mut request = self.request(spec, args, first);
        let ended = self.session.key_wait.as_ref().and_then(|wait| wait.end());
        // A wait that has ended only replies.
        request.writes &= ended.is_none();
        let admitted = match state.admit(request, self.now, self.front_end) {
            Ok(admitted) => admitted,
            Err(denied) => return self.deny(&mut state.replica, denied),
        };
        if let Some(end) = ended {
            return self.reply_ended(state, end, spec, args, first);
        }
        let shows_data = match admitted {
            Admitted::Primary(mut primary) => {
                let flow = &primary.replica.flow;
                // One that has waited for keys was slowed at its first run, and holds the turn of others.
                let may_slow = request.writes && self.session.key_wait.is_none();
                if self.is_paused(flow, request.writes || spec.is_replicated()) || self.is_slowed(flow, may_slow) {
                    return Outcome::Busy;
                }
                let MadeRoom::Runs(memory) = self.make_room(&mut primary, spec.flags.has(Flags::DENYOOM)) else {
                    return Outcome::Busy;
                };
                if spec.flags.has(Flags::BLOCKING) {
                    return self.data_blocking(&mut primary, spec, args, first, memory);
                }
                let attempt = match self.attempt(&mut primary, || payload_of_command(args)) {
                    Attempt::Runs(attempt) => attempt,
                    Attempt::Answered(outcome) => return outcome,
                };
                let recording = self.record(attempt);
                let unit = self.begin_unit(&mut primary);
                self.execute(&mut primary, spec, args, first, memory);
                let wrote = self.end_recorded(&mut primary, unit, recording);
                return self.reply(&mut primary, wrote, |primary| depends_on(primary, spec, args, first));
            }
            Admitted::Replica => {
                if let Some(refusal) = self.stale(&state.replica) {
                    return self.deny(&mut state.replica, refusal.into());
                }
                true
            }
            Admitted::Free => spec.shows_data,
        };
        if self.is_paused(&state.replica.flow, request.writes || spec.is_replicated()) {
            return Outcome::Busy;
        }
        self.read(state, spec, args, shows_data)
    }

    /// Runs a command that changes nothing, with the current content of memory.
    fn read(&mut self, state: &mut State, spec: &'static CommandSpec, args: Args<'_>, shows_data: bool) -> Outcome {
        let replica = &mut state.replica;
        if shows_data {
            if self.is_uncertain(replica, spec, args) {
                return self.deny(replica, Refusal::CutOff.into());
            }
            self.show(replica);
        }
        self.execute_reading(&mut replica.data, spec, args);
        replica.pass_notifications_of_read();
        if spec.shows_data { self.show_everything(state.primary()) } else { Outcome::REPLY }
    }

    /// Answers OK, or with the error.
    pub(crate) fn answer(&mut self, result: Result<(), impl Display>) -> Outcome {
        match result {
            Ok(()) => self.out.ok(),
            Err(error) => self.out.error(error.to_string()),
        }
        Outcome::REPLY
    }

    /// Whether CLIENT PAUSE delays a command; records the reason, because the outcome will be [`Outcome::Busy`].
    #[inline]
    pub(crate) fn is_paused(&mut self, flow: &FlowControl, writes: bool) -> bool {
        let holds = flow.client_pause.holds(self.now.boot, writes);
        if holds {
            self.session.waits_for = WaitsFor::Pause;
        }
        holds
    }

    /// Whether the lag gate delays a write at the front end; records until when. A write is delayed only once.
    #[inline]
    pub(crate) fn is_slowed(&mut self, flow: &FlowControl, writes: bool) -> bool {
        match flow.gate.state() {
            GateState::Slowing(span) if writes => self.slow(flow, span),
            _ => false,
        }
    }

    #[cold]
    fn slow(&mut self, flow: &FlowControl, span: Duration) -> bool {
        let until = match self.session.slowed_until {
            Some(until) if until <= self.now.boot => {
                self.session.slowed_until = None;
                return false;
            }
            Some(until) => until,
            None => {
                flow.gate.count_slowed();
                self.now.boot.plus(span)
            }
        };
        self.session.slowed_until = Some(until);
        self.session.waits_for = WaitsFor::Lag(until);
        true
    }

    /// Whether CLIENT PAUSE delays a command that does not access data itself, such as EXEC, which runs commands that
    /// may write. One that runs a script checks it by itself.
    pub(crate) fn is_run_paused(&mut self, flow: &FlowControl, spec: &CommandSpec) -> bool {
        let queued = self.session.queued;
        let is_exec = matches!(spec.run, Run::Session(SessionCommand::Exec));
        self.is_paused(flow, if is_exec { queued.writes || queued.replicated } else { spec.is_replicated() })
    }

    /// The properties of the command on which admission depends.
    #[inline]
    pub(crate) fn request(&self, spec: &CommandSpec, args: Args<'_>, first: Option<Key<'_>>) -> Request {
        let (slots, has_long_key) = match first {
            Some(key) if spec.key_is_first => (SlotsSeen::One(key.slot), is_long(key.bytes)),
            _ => (slots_of(spec, args), spec.keys(args).any(is_long)),
        };
        let (writes, readonly) = (spec.flags.has(Flags::WRITE), self.session.data.readonly);
        // A write in which no key is found is malformed, and its command says so. If it does not, it needs the right to
        // write.
        let is_odd = writes && slots == SlotsSeen::None && matches!(spec.run, Run::Data(_));
        let whole = spec.scope == Scope::Keyspace || is_odd;
        let writes = writes || spec.runs_writing_script();
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

    /// The outcome of a command that admission has refused.
    pub(crate) fn deny(&mut self, replica: &mut Replica, denied: Denied) -> Outcome {
        match denied {
            Denied::Busy => {
                self.session.tried_at.get_or_insert(self.now.boot);
                return Outcome::Busy;
            }
            Denied::NoPrimary if self.waits_for_primary(replica) => return Outcome::Busy,
            Denied::NoPrimary => self.refuse(&replica.flow, &Refusal::ClusterDown),
            Denied::Refused(refusal) => self.refuse(&replica.flow, &refusal),
        }
        Outcome::REPLY
    }

    /// Whether the command waits for a primary; records until when. The time counts from the first attempt of a command
    /// of the same pipeline, so a pipeline waits only once.
    #[cold]
    pub(crate) fn waits_for_primary(&mut self, replica: &mut Replica) -> bool {
        let is_first = self.session.tried_at.is_none();
        let until = self.session.tried_at.get_or_insert(self.now.boot).plus(replica.flow.lease_wait_max);
        if until <= self.now.boot {
            replica.counters.lease_waits_refused += 1;
            return false;
        }
        replica.counters.lease_waits += u64::from(is_first);
        self.session.waits_for = WaitsFor::Primary(until);
        true
    }

    pub(crate) fn refuse(&mut self, flow: &FlowControl, refusal: &Refusal) {
        if *refusal == Refusal::Lagging {
            flow.gate.count_refused();
        }
        refusal.write(self.out);
    }

    /// Runs a command on the primary; effects go into the open batch.
    #[inline]
    pub(crate) fn execute(
        &mut self,
        primary: &mut Primary<'_>,
        spec: &'static CommandSpec,
        args: Args<'_>,
        first: Option<Key<'_>>,
        memory: MemoryCheck,
    ) {
        let Replica { data, flow, committed_time, .. } = &mut *primary.replica;
        data.engine.leave_access_times(self.session.no_touch);
        // While clients are paused no key is removed. A reply that hides an expired key would then depend on an effect
        // that does not exist. So reads use the newest committed time, as on a replica.
        let paused = flow.client_pause.is_running(self.now.boot);
        let mut env = Env {
            now: if paused && spec.scope != Scope::Nothing { committed_time.timestamp } else { self.now.wall },
            may_write: !paused,
            random: &mut data.random,
            reply: self.out,
            effects: &mut primary.leader.stage.effects,
            first,
            blocking: self.asked.as_mut().map(|asked| &mut **asked as &mut dyn Blocking),
        };
        match memory {
            MemoryCheck::Needed => data.engine.execute(spec, args, &mut env),
            MemoryCheck::Done => data.engine.execute_admitted(spec, args, &mut env),
        }
    }

    /// Runs a command without the right to change anything.
    pub(crate) fn execute_reading(&mut self, data: &mut Data, spec: &'static CommandSpec, args: Args<'_>) {
        data.engine.leave_access_times(self.session.no_touch);
        let mut env = Env {
            now: data.engine.newest_timestamp(),
            may_write: false,
            random: &mut data.random,
            reply: self.out,
            effects: &mut data.no_effects,
            first: None,
            blocking: None,
        };
        if spec.scope == Scope::Nothing || Plant::ReplicaClock.is_on() {
            // For TIME and similar commands: the replica's own clock, which decides nothing else.
            env.now = self.now.wall;
        }
        data.engine.execute(spec, args, &mut env);
        debug_assert!(data.no_effects.is_empty(), "{} changed data on a replica", spec.name);
    }

    /// Starts a unit: everything that runs until [`Execution::end_unit`].
    #[inline]
    pub(crate) fn begin_unit(&self, primary: &mut Primary<'_>) -> UnitInProgress {
        let stage = &mut primary.leader.stage;
        let (before, bytes_max) = (stage.effects.len(), stage.unit_bytes_max());
        let savepoint = primary.replica.data.engine.begin_unit(&mut stage.effects, bytes_max);
        UnitInProgress { before, reply: self.out.len(), savepoint }
    }

    /// Stages what was appended since the unit started; true if anything was. A unit that was too long is rolled back,
    /// and its reply is an error.
    #[inline]
    pub(crate) fn end_unit(
        &mut self,
        primary: &mut Primary<'_>,
        unit: UnitInProgress,
        record: Option<Box<[u8]>>,
    ) -> bool {
        if primary.leader.stage.effects.has_overflowed() {
            let bytes_max = primary.leader.stage.unit_bytes_max();
            self.roll_back(primary, unit, &Refusal::TooLarge { bytes_max });
            primary.replica.counters.units_too_large += 1;
            return false;
        }
        let level = primary.leader.stage.effects.unit_level();
        if level > FormatLevel::BASE && level > self.edges.handle.format() {
            self.roll_back(primary, unit, &Refusal::TypeUnknown);
            return false;
        }
        let staged = StagedUnit { kind: UnitKind::Write, before: unit.before, record };
        primary.replica.tracking.awaits_commit = self.durability() == Durability::Sync;
        let has_effects = primary.stage(staged, self.now);
        primary.pass_notifications(self.durability());
        if !has_effects {
            return false;
        }
        let (stage, batching) = (&mut primary.leader.stage, &primary.replica.batching);
        if self.durability() == Durability::Sync {
            stage.count_waiting();
        }
        if stage.seal_cut() {
            self.edges.work.notify_one();
            stage.propose(&self.edges.handle, batching.in_flight_max);
        } else if stage.wants_loop(self.mode, batching) {
            self.edges.work.notify_one();
            stage.close_if_full(&self.edges.handle, self.mode, batching);
        }
        true
    }

    /// Rolls back the unit, and appends the error `why`.
    #[cold]
    pub(crate) fn roll_back(&mut self, primary: &mut Primary<'_>, unit: UnitInProgress, why: &Refusal) {
        primary.replica.data.engine.roll_back(unit.savepoint, &mut primary.leader.stage.effects);
        self.out.truncate(unit.reply);
        self.refuse(&primary.replica.flow, why);
    }

    /// The outcome of a command that ran on the primary.
    #[inline]
    pub(crate) fn reply(
        &mut self,
        primary: &mut Primary<'_>,
        wrote: bool,
        depends_on: impl FnOnce(&Primary<'_>) -> Seq,
    ) -> Outcome {
        if self.reads == ReadConfirmation::Quorum {
            let seq = if wrote { primary.leader.stage.last_staged() } else { depends_on(primary) };
            return self.confirm(primary, wrote, seq);
        }
        let durability = self.durability();
        let leader = &*primary.leader;
        let (tenure, committed) = (leader.tenure, leader.committed);
        let seq = if wrote {
            let seq = leader.stage.last_staged();
            self.session.written = Some(WrittenAt { tenure, seq });
            seq
        } else if durability != Durability::Sync || leader.stage.is_clean() {
            return Outcome::REPLY;
        } else {
            depends_on(primary)
        };
        if seq <= committed {
            return Outcome::Reply { pending: None, wrote };
        }
        if durability != self.mode {
            self.await_commit(primary, seq);
        }
        Outcome::Reply { pending: Some(PendingReply { tenure, seq, durability, wrote, arrived: BootNs(0) }), wrote }
    }

    /// The outcome of a reply that waits for the commit of `seq`, and a read's for a quorum too.
    #[cold]
    fn confirm(&mut self, primary: &mut Primary<'_>, wrote: bool, seq: Seq) -> Outcome {
        let (tenure, committed) = (primary.leader.tenure, primary.leader.committed);
        if wrote {
            self.session.written = Some(WrittenAt { tenure, seq });
        } else if primary.leader.confirming.want(self.now.boot) {
            self.edges.work.notify_one();
        }
        if seq > committed && self.mode != Durability::Sync {
            self.await_commit(primary, seq);
        }
        let arrived = if wrote { BootNs(0) } else { self.now.boot };
        Outcome::Reply {
            pending: Some(PendingReply { tenure, seq, durability: Durability::Sync, wrote, arrived }),
            wrote,
        }
    }

    /// The mode that decides when the reply is released.
    #[inline]
    fn durability(&self) -> Durability {
        self.durability_override.within(self.mode)
    }

    /// Records that a reply waits for batch `seq` because of an override, so that the batch is closed before its
    /// maximum age.
    #[cold]
    pub(crate) fn await_commit(&self, primary: &mut Primary<'_>, seq: Seq) {
        primary.replica.counters.delayed_by_override += 1;
        if primary.leader.stage.await_commit(seq) {
            self.edges.work.notify_one();
        }
    }

    /// Whether a read on a replica that hears no primary could show expired data, or hide data that has not expired.
    pub(crate) fn is_uncertain(&self, replica: &Replica, spec: &CommandSpec, args: Args<'_>) -> bool {
        let hears_leader = replica.role.is_follower() && self.edges.handle.hears_leader(self.now.boot);
        !hears_leader && replica.committed_time.is_uncertain(&replica.data.engine, spec, args, self.now.boot)
    }

    /// The refusal of a read whose client asks for newer data than this replica can show that it has.
    pub(crate) fn stale(&self, replica: &Replica) -> Option<Refusal> {
        let max = self.staleness_max?;
        let as_of = self.edges.handle.fresh_as_of(replica.position.applied);
        let is_fresh = as_of != BootNs(0) && self.now.boot.since(as_of) <= max;
        (!is_fresh).then_some(Refusal::Stale { max })
    }

    /// Records that committed data is shown to a READONLY client.
    pub(crate) fn show(&self, replica: &mut Replica) {
        replica.served.show(replica.position.applied, self.edges);
    }

    /// The outcome of a reply that may have seen any effect: in `sync` it waits for everything staged.
    pub(crate) fn show_everything(&mut self, primary: Option<Primary<'_>>) -> Outcome {
        match primary {
            Some(mut primary) => self.reply(&mut primary, false, |primary| primary.leader.stage.last_staged()),
            None => Outcome::REPLY,
        }
    }
}

/// The last batch whose effects the command's reply may show.
pub(crate) fn depends_on(primary: &Primary<'_>, spec: &CommandSpec, args: Args<'_>, first: Option<Key<'_>>) -> Seq {
    let (leader, engine) = (&*primary.leader, &primary.replica.data.engine);
    if let Some(key) = first
        && spec.key_is_first
    {
        return leader.dirty.last_change(key.hash);
    }
    if spec.scope == Scope::Keyspace || spec.reads_unnamed_keys(args) {
        return leader.stage.last_staged();
    }
    let last_change = |key: &[u8]| leader.dirty.last_change(engine.hash_key(key));
    spec.keys(args).map(last_change).max().unwrap_or_default()
}

/// The slots of a command's keys, and of other arguments by which it is routed.
fn slots_of(spec: &CommandSpec, args: Args<'_>) -> SlotsSeen {
    let keys = spec.keys(args).chain(spec.route(args));
    keys.fold(SlotsSeen::None, |seen, key| seen.and(slot_of(key)))
}

/// Whether a key's name is longer than is allowed.
#[inline]
fn is_long(key: &[u8]) -> bool {
    key.len() > limits::KEY_BYTES_MAX
}
