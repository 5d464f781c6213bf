//! From the command to the end of its script.

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::command::{CommandSpec, ScriptCommand};
use fastness_engine::functions::effect::LIBRARIES_HASH;
use fastness_resp::Args;
use fastness_scripts::{Answer, CallerFacts, Origin, Program, ScriptFlags, Scripts, Sha, StartError, Step};
use fastness_types::{Seq, limits};

use super::place::RunPlace;
use super::script_run::ScriptRun;
use super::scripting::Suspended;
use super::ticket::{RunEnd, RunTicket};
use crate::admit::{Admitted, Request};
use crate::execution::Execution;
use crate::idempotency::attempt::{Attempt, FirstAttempt, payload_of_command};
use crate::memory_check::{MadeRoom, MemoryCheck};
use crate::now::Now;
use crate::outcome::Outcome;
use crate::refusal::Refusal;
use crate::session::WaitsFor;
use crate::slots_seen::SlotsSeen;
use crate::state::{Primary, Replica, State};
use crate::unit::UnitInProgress;

/// Valkey's text.
pub(super) const NO_SCRIPT: &str = "NOSCRIPT No matching script.";
/// How soon a run is tried again that the lapse of the lease has stopped.
const LEASE_CHECK_EVERY: Duration = Duration::from_millis(5);

/// What a command asks to run: checked as far as that needs no data.
pub(super) struct Called {
    program: CalledProgram,
    /// `None`: there is no such script or function.
    flags: Option<ScriptFlags>,
    keys: usize,
    /// Whether memory may be exceeded, because nothing was evicted for it.
    may_lack_memory: bool,
}

/// A script or a function.
enum CalledProgram {
    Script(Sha),
    Function,
    /// The argument is no name of a script.
    Nothing,
}

/// How a slice of a run has ended.
pub(super) enum Driven {
    Done(fastness_scripts::Outcome),
    /// Its time is over; it resumes with this.
    Suspended(Answer),
    /// The unit is longer than a unit may be, and the script was stopped.
    Overflowed,
}

impl Execution<'_> {
    /// Runs or manages scripts and functions, outside of a transaction.
    pub(crate) fn script(
        &mut self,
        state: &mut State,
        command: ScriptCommand,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Outcome {
        if !command.runs() {
            return self.manage_scripts(state, command, spec, args);
        }
        if let Some(ticket) = self.session.script.take()
            && let Some(outcome) = self.resume(state, ticket)
        {
            return outcome;
        }
        let mut called = match self.called(&mut state.replica, command, args) {
            Ok(called) => called,
            Err(line) => {
                self.out.error(line);
                return Outcome::REPLY;
            }
        };
        let request = self.script_request(&state.replica, command, &called, spec, args);
        let admitted = match state.admit(request, self.now, self.front_end) {
            Ok(admitted) => admitted,
            Err(denied) => return self.deny(&mut state.replica, denied),
        };
        match admitted {
            Admitted::Primary(mut primary) => {
                let flow = &primary.replica.flow;
                if self.is_paused(flow, request.writes) || self.is_slowed(flow, request.writes) {
                    return Outcome::Busy;
                }
                match self.make_room(&mut primary, request.writes) {
                    MadeRoom::Waits => return Outcome::Busy,
                    MadeRoom::Runs(check) => called.may_lack_memory = check == MemoryCheck::Needed,
                }
                self.start_as_primary(&mut primary, command, &called, (spec, args))
            }
            Admitted::Replica | Admitted::Free => {
                if let Some(refusal) = self.stale(&state.replica) {
                    return self.deny(&mut state.replica, refusal.into());
                }
                if self.is_paused(&state.replica.flow, request.writes) {
                    return Outcome::Busy;
                }
                self.show(&mut state.replica);
                self.start_reading(state, command, &called, (spec, args))
            }
        }
    }

    /// What is to run, and its keys.
    fn called(&mut self, replica: &mut Replica, command: ScriptCommand, args: Args<'_>) -> Result<Called, Vec<u8>> {
        if command.is_of_function() {
            replica.install_libraries();
            // As in Valkey, which finds the function first.
            let flags = replica.scripts.runtime.find_function(args.get(1)).map(|(_, flags)| flags);
            let keys = match flags {
                Some(_) => key_count(args, b"ERR Bad number of keys provided")?,
                None => 0,
            };
            return Ok(Called { program: CalledProgram::Function, flags, keys, may_lack_memory: true });
        }
        let keys = key_count(args, b"ERR value is not an integer or out of range")?;
        let runtime = &mut replica.scripts.runtime;
        let sha = match command {
            ScriptCommand::Eval | ScriptCommand::EvalRo => {
                check_length(args.get(1))?;
                Some(runtime.load(args.get(1), Origin::Eval).map_err(|error| error.line)?)
            }
            _ => Sha::from_argument(args.get(1)),
        };
        let flags = sha.and_then(|sha| runtime.find(sha));
        let program = sha.map_or(CalledProgram::Nothing, CalledProgram::Script);
        Ok(Called { program, flags, keys, may_lack_memory: true })
    }

    fn script_request(
        &self,
        replica: &Replica,
        command: ScriptCommand,
        called: &Called,
        spec: &CommandSpec,
        args: Args<'_>,
    ) -> Request {
        let request = self.request(spec, args, None);
        let has_keys = request.slots != SlotsSeen::None;
        let may_write = match called.flags {
            _ if command.is_read_only() => false,
            // Without keys a replica runs it as Valkey does: its commands may not write.
            Some(flags) if flags.is_compatible => has_keys || !replica.role.is_follower(),
            Some(flags) => !flags.no_writes,
            None => has_keys,
        };
        Request { writes: may_write, whole: !has_keys, ..request }
    }

    /// Checks what a script has declared, in Valkey's order.
    fn check_declared(
        &self,
        command: ScriptCommand,
        called: &Called,
        (is_primary, lacks_memory): (bool, bool),
    ) -> Result<ScriptFlags, &'static str> {
        let flags = match called.flags {
            Some(flags) => flags,
            None if command.is_of_function() => return Err("ERR Function not found"),
            None => return Err(NO_SCRIPT),
        };
        if flags.is_compatible {
            return Ok(flags);
        }
        if flags.no_cluster {
            return Err("ERR Can not run script on cluster, 'no-cluster' flag is set.");
        }
        if !flags.no_writes && command.is_read_only() {
            return Err("ERR Can not execute a script with write flag using *_ro command.");
        }
        if !flags.no_writes && !is_primary {
            return Err("READONLY You can not run script with write flag on readonly replica.");
        }
        if lacks_memory && !flags.allow_oom && !flags.no_writes {
            return Err("OOM command not allowed when used memory > 'maxmemory'.");
        }
        Ok(flags)
    }

    /// Starts a run; an error is the line that its command is answered.
    fn start_run(
        &mut self,
        place: &mut RunPlace<'_, '_>,
        command: ScriptCommand,
        called: &Called,
        args: Args<'_>,
    ) -> Result<ScriptRun, &'static str> {
        let is_primary = matches!(place, RunPlace::Primary(_));
        let lacks_memory = is_primary && called.may_lack_memory && place.replica().data.engine.is_out_of_memory();
        let flags = self.check_declared(command, called, (is_primary, lacks_memory))?;
        let keys = args.take(3 + called.keys).skip(3).to_owned_args();
        let slots = keys.iter().fold(SlotsSeen::None, |seen, key| seen.and(fastness_types::slot_of(key)));
        let rest = args.skip(3 + called.keys).to_owned_args();
        let program = match called.program {
            CalledProgram::Script(sha) => Program::Script(sha),
            CalledProgram::Function => Program::Function(args.get(1)),
            CalledProgram::Nothing => return Err(NO_SCRIPT),
        };
        let facts = CallerFacts { protocol: self.out.protocol };
        let run = place.replica().scripts.runtime.start(program, keys, rest, facts).map_err(|error| match error {
            StartError::Busy => "ERR another script is running",
            StartError::Unknown => NO_SCRIPT,
            StartError::OutOfMemory => "ERR not enough memory to run a script",
        })?;
        let depends_on = match place {
            RunPlace::Primary(primary) if command.is_of_function() => primary.leader.dirty.last_change(LIBRARIES_HASH),
            _ => Seq(0),
        };
        Ok(ScriptRun {
            run,
            is_function: command.is_of_function(),
            name: args.get(1).to_vec(),
            command: if command.is_of_function() { args.to_owned_args() } else { Vec::new() },
            read_only: command.is_read_only() || flags.no_writes,
            allow_oom: flags.allow_oom || flags.no_writes || command.is_read_only(),
            cross_slot: flags.is_compatible || flags.allow_cross_slot_keys,
            slots,
            lacks_memory,
            wrote: false,
            depends_on,
            killed: None,
            started: self.edges.clock.boot(),
            now: self.now,
        })
    }

    fn start_as_primary(
        &mut self,
        primary: &mut Primary<'_>,
        command: ScriptCommand,
        called: &Called,
        (spec, args): (&'static CommandSpec, Args<'_>),
    ) -> Outcome {
        let attempt = match self.attempt(primary, || payload_of_command(args)) {
            Attempt::Runs(attempt) => attempt,
            Attempt::Answered(outcome) => return outcome,
        };
        let mut run = match self.start_run(&mut RunPlace::Primary(primary), command, called, args) {
            Ok(run) => run,
            Err(line) => {
                self.out.error(line);
                let depends_on = primary.leader.dirty.last_change(LIBRARIES_HASH);
                return self.reply(primary, false, |_| depends_on);
            }
        };
        self.front_end.script_starts(spec, args);
        let unit = self.begin_unit(primary);
        let driven = self.drive(&mut RunPlace::Primary(primary), &mut run, Answer::Continue, limits::SCRIPT_SLICE);
        self.end_slice(primary, run, (unit, attempt), driven)
    }

    fn start_reading(
        &mut self,
        state: &mut State,
        command: ScriptCommand,
        called: &Called,
        (spec, args): (&'static CommandSpec, Args<'_>),
    ) -> Outcome {
        let State { leader, replica } = &mut *state;
        let mut place = RunPlace::Reading(leader.as_ref(), replica);
        let mut run = match self.start_run(&mut place, command, called, args) {
            Ok(run) => run,
            Err(line) => {
                self.out.error(line);
                return Outcome::REPLY;
            }
        };
        self.front_end.script_starts(spec, args);
        let driven = self.drive(&mut place, &mut run, Answer::Continue, limits::SCRIPT_SLICE);
        self.end_reading_slice(&mut state.replica, run, driven)
    }

    /// Resumes the session's suspended run; `None`: it was abandoned, and its command runs as one that has not run.
    fn resume(&mut self, state: &mut State, ticket: Rc<RunTicket>) -> Option<Outcome> {
        let is_held = |suspended: &Suspended| Rc::ptr_eq(&suspended.ticket, &ticket);
        if !state.replica.scripts.suspended.as_deref().is_some_and(is_held) {
            self.front_end.script_undone();
            return match ticket.end.take() {
                Some(RunEnd::TooLong) => {
                    let time_max = state.replica.scripts.time_max;
                    self.refuse(&state.replica.flow, &Refusal::ScriptTooSlow { time_max });
                    Some(Outcome::REPLY)
                }
                Some(RunEnd::Abandoned) | None => None,
            };
        }
        let acts = state.leader.as_ref().is_none_or(|leader| leader.may_act(self.now.boot)) && self.now.trusted;
        if !acts && !state.replica.scripts.holds_log() {
            self.session.script = Some(ticket);
            self.session.waits_for = WaitsFor::Lag(self.now.boot.plus(LEASE_CHECK_EVERY));
            return Some(Outcome::Busy);
        }
        let Suspended { ticket, mut run, answer, unit } = *state.replica.scripts.suspended.take()?;
        let started = run.started;
        self.session.script = Some(ticket);
        let outcome = if let Some(unit) = unit
            && let Some(mut primary) = state.primary()
        {
            primary.leader.stage.resume_unit();
            let driven = self.drive(&mut RunPlace::Primary(&mut primary), &mut run, answer, limits::SCRIPT_SLICE);
            self.end_slice(&mut primary, run, unit, driven)
        } else {
            let State { leader, replica } = &mut *state;
            let mut place = RunPlace::Reading(leader.as_ref(), replica);
            let driven = self.drive(&mut place, &mut run, answer, limits::SCRIPT_SLICE);
            self.end_reading_slice(&mut state.replica, run, driven)
        };
        if outcome != Outcome::Busy {
            self.session.script = None;
            self.session.run_time = Some(self.edges.clock.boot().since(started));
            state.replica.scripts.ended.notify_waiters();
            // What has waited for the end of the script.
            self.edges.work.notify_one();
        }
        Some(outcome)
    }

    /// Runs a script until it ends or its time is over.
    pub(super) fn drive(
        &mut self,
        place: &mut RunPlace<'_, '_>,
        run: &mut ScriptRun,
        mut answer: Answer,
        time: Duration,
    ) -> Driven {
        let ends = self.edges.clock.boot().plus(time);
        loop {
            if let Some(line) = run.killed {
                answer = Answer::Kill(line.into());
            }
            let step = run.run.step(answer);
            answer = match step {
                Step::Call { args, protocol } => {
                    let reply = self.call(place, run, &args, protocol);
                    if place.has_overflowed() {
                        return Driven::Overflowed;
                    }
                    Answer::Reply(reply)
                }
                Step::MayRun { args } => Answer::MayRun(self.may_run(&args)),
                Step::Log { level, message } => {
                    log_message(level, &message);
                    Answer::Continue
                }
                Step::Slice => Answer::Continue,
                Step::Done(outcome) => return Driven::Done(outcome),
                Step::Library(_) => unreachable!("only the run of a library ends so"),
            };
            if self.edges.clock.boot() >= ends {
                return Driven::Suspended(answer);
            }
        }
    }

    /// Ends a slice of a run on the primary.
    fn end_slice(
        &mut self,
        primary: &mut Primary<'_>,
        run: ScriptRun,
        (mut unit, attempt): (UnitInProgress, Option<FirstAttempt>),
        driven: Driven,
    ) -> Outcome {
        let reply = match driven {
            Driven::Suspended(answer) => {
                let (stage, batching) = (&mut primary.leader.stage, &primary.replica.batching);
                stage.hold_unit(self.mode);
                stage.propose(&self.edges.handle, batching.in_flight_max);
                unit.before = 0;
                return self.suspend(primary.replica, run, answer, Some((unit, attempt)));
            }
            Driven::Done(outcome) => outcome.reply,
            // The reply will be an error.
            Driven::Overflowed => {
                self.front_end.script_undone();
                Vec::new()
            }
        };
        let ScriptRun { depends_on, now, .. } = run;
        // The unit has the time that its commands have seen.
        self.now = Now { wall: now.wall, ..self.now };
        let recording = self.record(attempt);
        unit.reply = self.out.len();
        self.out.raw(&reply);
        let wrote = self.end_recorded(primary, unit, recording);
        self.reply(primary, wrote, |_| depends_on)
    }

    fn end_reading_slice(&mut self, replica: &mut Replica, run: ScriptRun, driven: Driven) -> Outcome {
        match driven {
            Driven::Suspended(answer) => self.suspend(replica, run, answer, None),
            Driven::Done(outcome) => {
                replica.pass_notifications_of_read();
                self.out.raw(&outcome.reply);
                Outcome::REPLY
            }
            Driven::Overflowed => unreachable!("nothing is staged where nothing may change"),
        }
    }

    fn suspend(
        &mut self,
        replica: &mut Replica,
        run: ScriptRun,
        answer: Answer,
        unit: Option<(UnitInProgress, Option<FirstAttempt>)>,
    ) -> Outcome {
        let ticket = self.session.script.take().unwrap_or_default();
        replica.scripts.suspended = Some(Box::new(Suspended { ticket: ticket.clone(), run, answer, unit }));
        self.session.script = Some(ticket);
        self.session.waits_for = WaitsFor::Turn;
        // The loop sets its timer, and closes no batch that has part of the unit.
        self.edges.work.notify_one();
        Outcome::Busy
    }

    /// Runs a script inside of EXEC, within `time`; true if its replies show more than the keys that it names. `None`:
    /// it took longer.
    pub(crate) fn script_in_exec(
        &mut self,
        place: &mut RunPlace<'_, '_>,
        (command, time): (ScriptCommand, Duration),
        args: Args<'_>,
    ) -> Option<bool> {
        let called = self.called(place.replica(), command, args);
        let started = called
            .and_then(|called| self.start_run(place, command, &called, args).map_err(|line| line.as_bytes().to_vec()));
        let mut run = match started {
            Ok(run) => run,
            Err(line) => {
                self.out.error(line);
                return Some(false);
            }
        };
        match self.drive(place, &mut run, Answer::Continue, time) {
            Driven::Done(outcome) => self.out.raw(&outcome.reply),
            Driven::Overflowed => {}
            Driven::Suspended(_) => return None,
        }
        Some(true)
    }
}

impl Replica {
    /// Whether a script that a transaction queues may write, as far as is known of it.
    pub(crate) fn may_script_write(&mut self, command: ScriptCommand, args: Args<'_>) -> bool {
        let flags = match command {
            _ if command.is_read_only() => return false,
            ScriptCommand::Eval => Scripts::flags(args.get(1)).ok(),
            ScriptCommand::Evalsha => Sha::from_argument(args.get(1)).and_then(|sha| self.scripts.runtime.find(sha)),
            _ => {
                self.install_libraries();
                self.scripts.runtime.find_function(args.get(1)).map(|(_, flags)| flags)
            }
        };
        flags.is_none_or(|flags| !flags.no_writes)
    }
}

/// How many of the arguments are keys.
fn key_count(args: Args<'_>, not_a_number: &[u8]) -> Result<usize, Vec<u8>> {
    let number = fastness_resp::number::parse_int(args.get(2)).ok_or(not_a_number)?;
    match usize::try_from(number) {
        Err(_) => Err(b"ERR Number of keys can't be negative".to_vec()),
        Ok(count) if count > args.len() - 3 => Err(b"ERR Number of keys can't be greater than number of args".to_vec()),
        Ok(count) => Ok(count),
    }
}

/// Whether a script or library is as short as it must be.
pub(super) fn check_length(code: &[u8]) -> Result<(), Vec<u8>> {
    if code.len() <= limits::SCRIPT_BYTES_MAX {
        return Ok(());
    }
    Err(format!("ERR a script or library is longer than {} bytes", limits::SCRIPT_BYTES_MAX).into_bytes())
}

/// Writes a message of `redis.log` to the log.
fn log_message(level: u8, message: &[u8]) {
    const SHOWN: usize = 1024;
    let message = String::from_utf8_lossy(&message[..message.len().min(SHOWN)]);
    match level {
        0 => tracing::trace!(target: "fastness::script", "{message}"),
        1 => tracing::debug!(target: "fastness::script", "{message}"),
        2 => tracing::info!(target: "fastness::script", "{message}"),
        _ => tracing::warn!(target: "fastness::script", "{message}"),
    }
}
