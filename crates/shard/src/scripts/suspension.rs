//! Suspended runs: what they hold, what others do meanwhile, and how they end without having ended.

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::command::{CommandSpec, Flags, Run, ScriptCommand, SessionCommand};
use fastness_types::BootNs;

use super::scripting::Suspended;
use super::ticket::{RunEnd, RunTicket};
use crate::execution::Execution;
use crate::outcome::Outcome;
use crate::refusal::Refusal;
use crate::session::WaitsFor;
use crate::state::State;

impl Execution<'_> {
    /// Answers a command that does not run while a script is suspended, or has it wait; `None`: it runs.
    #[inline]
    pub(crate) fn wait_for_script(&mut self, state: &mut State, spec: &CommandSpec) -> Option<Outcome> {
        if state.replica.scripts.suspended.is_none() { None } else { self.meet_script(state, spec) }
    }

    #[cold]
    fn meet_script(&mut self, state: &mut State, spec: &CommandSpec) -> Option<Outcome> {
        let suspended = state.replica.scripts.suspended.as_ref()?;
        let is_own = self.session.script.as_ref().is_some_and(|ticket| Rc::ptr_eq(ticket, &suspended.ticket));
        // As in Valkey, FUNCTION STATS describes functions only.
        let is_stats = matches!(spec.run, Run::Script(ScriptCommand::FunctionStats)) && !suspended.run.is_function;
        if is_own || (spec.flags.has(Flags::ALLOW_BUSY) && !is_stats) {
            return None;
        }
        let scripts = &state.replica.scripts;
        let busy_from = suspended.run.started.plus(scripts.busy_after);
        let may_be_busy = scripts.busy_after > Duration::ZERO && self.session.key_wait.is_none();
        if !may_be_busy || self.now.boot < busy_from {
            self.session.waits_for = WaitsFor::Script(may_be_busy.then_some(busy_from));
            return Some(Outcome::Busy);
        }
        let refusal = Refusal::ScriptRuns { is_function: suspended.run.is_function };
        if matches!(spec.run, Run::Session(SessionCommand::Exec)) {
            return Some(self.abort(&mut state.replica, &refusal));
        }
        if self.session.data.in_multi() {
            self.session.data.fail();
        }
        self.refuse(&state.replica.flow, &refusal);
        Some(Outcome::REPLY)
    }
}

impl State {
    /// Ends a suspended run and rolls its unit back.
    pub(crate) fn end_script(&mut self, end: RunEnd) {
        let Some(suspended) = self.replica.scripts.suspended.take() else { return };
        let Suspended { ticket, run, unit, .. } = *suspended;
        // Its stack is unwound before anything else happens to the data.
        drop(run);
        ticket.end.set(Some(end));
        if let (Some((unit, _)), Some(leader)) = (unit, &mut self.leader) {
            self.replica.data.engine.roll_back(unit.savepoint, &mut leader.stage.effects);
            leader.stage.resume_unit();
        }
        self.replica.scripts.ended.notify_waiters();
    }

    /// Abandons a suspended run, if there is one.
    pub(crate) fn abandon_script(&mut self) {
        self.end_script(RunEnd::Abandoned);
    }

    /// Abandons the run of a session whose command will not run again.
    pub(crate) fn abandon_script_of(&mut self, ticket: &Rc<RunTicket>) {
        if self.replica.scripts.suspended.as_ref().is_some_and(|suspended| Rc::ptr_eq(&suspended.ticket, ticket)) {
            self.abandon_script();
        }
    }

    /// Abandons a suspended run that the role of this replica does not allow any more.
    pub(crate) fn fit_script_to_role(&mut self) {
        let Some(suspended) = &self.replica.scripts.suspended else { return };
        let fits = match suspended.is_reading() {
            true => self.replica.role.is_follower(),
            false => self.leader.as_ref().is_some_and(|leader| !leader.deposed),
        };
        if !fits {
            self.abandon_script();
        }
    }

    /// Ends a suspended run that takes too long, or that a hand-over cannot wait for; returns when to check again.
    pub(crate) fn follow_script(&mut self, now: BootNs) -> Option<Duration> {
        let scripts = &self.replica.scripts;
        let until = scripts.suspended.as_ref()?.run.started.plus(scripts.time_max);
        if self.replica.flow.is_draining() {
            self.abandon_script();
            return Some(Duration::ZERO);
        }
        if now >= until {
            self.replica.counters.units_too_slow += 1;
            self.end_script(RunEnd::TooLong);
            return Some(Duration::ZERO);
        }
        Some(until.since(now))
    }
}
