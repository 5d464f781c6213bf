//! Dispatch of a command: decides whether it may run in the current state of its session, and passes it to the shard
//! (`execution.rs`, `transaction.rs`) or to the connection's front end.

use std::rc::Rc;

use fastness_engine::command::{CommandSpec, Flags, Run, SessionCommand};
use fastness_resp::ReplyBuf;

use crate::execution::Execution;
use crate::front_end::{Call, FrontEnd};
use crate::idempotency::IdempotencyCounter;
use crate::inner::Inner;
use crate::outcome::Outcome;
use crate::refusal;
use crate::session::{Session, WaitsFor};

/// Runs one command.
pub(crate) fn run(
    inner: &Rc<Inner>,
    session: &mut Session,
    call: Call<'_>,
    out: &mut ReplyBuf,
    front_end: &mut dyn FrontEnd,
) -> Outcome {
    let outcome = run_once(inner, session, call, out, front_end);
    if (session.key_wait.is_some() || session.script.is_some()) && outcome != Outcome::Busy {
        session.stop_waiting();
    }
    outcome
}

fn run_once(
    inner: &Rc<Inner>,
    session: &mut Session,
    call: Call<'_>,
    out: &mut ReplyBuf,
    front_end: &mut dyn FrontEnd,
) -> Outcome {
    let Call { spec, args, at, first, durability_override, reads, idempotency, staleness_max, deadline } = call;
    if session.data.in_multi() && spec.flags.has(Flags::NO_MULTI) {
        session.data.fail();
        out.error(refusal::not_in_transaction(spec.name));
        return Outcome::REPLY;
    }
    let has_attribute = durability_override.is_some()
        || reads.is_some()
        || idempotency.is_some()
        || staleness_max.is_some()
        || deadline.is_some();
    if has_attribute
        && (matches!(spec.run, Run::Session(SessionCommand::Multi)) || (session.data.in_multi() && is_queued(spec)))
    {
        session.data.fail();
        out.error(refusal::MISPLACED_ATTRIBUTE);
        return Outcome::REPLY;
    }
    inner.edges.handle.report_running(Some(spec.index));
    session.waits_for = WaitsFor::Shard;
    let writes = spec.is_write() && !(session.data.in_multi() && is_queued(spec));
    let writes = writes || matches!(spec.run, Run::Session(SessionCommand::Exec));
    let counter = if writes && idempotency.is_none() { session.idempotency.clone() } else { None };
    let state = &mut *inner.state.borrow_mut();
    state.count_memory();
    let mut execution = Execution {
        edges: &inner.edges,
        now: state.replica.stamped(at),
        durability_override: durability_override.unwrap_or(session.durability_override),
        reads: reads.unwrap_or(session.reads),
        idempotency: idempotency.filter(|_| writes).or(counter.as_ref().map(IdempotencyCounter::key)),
        staleness_max,
        deadline,
        mode: state.replica.settings.mode.in_force(),
        asked: None,
        session,
        out,
        front_end,
    };
    if let Some(outcome) = execution.wait_for_script(state, spec) {
        return outcome;
    }
    if execution.session.data.in_multi() && is_queued(spec) {
        return execution.queue(state, spec, args);
    }
    let has_started = execution.session.script.is_some();
    if !has_started && deadline.is_some_and(|deadline| execution.now.boot >= deadline) {
        return execution.refuse_late(state, spec);
    }
    let outcome = match spec.run {
        Run::Data(_) => execution.data(state, spec, args, first),
        _ if execution.is_run_paused(&state.replica.flow, spec) => Outcome::Busy,
        Run::Session(command) => execution.session(state, command, spec, args),
        Run::Script(command) => execution.script(state, command, spec, args),
        Run::Table(_) => execution.table(spec, args),
        Run::FrontEnd => execution.front_end(state, spec, args),
        Run::Refused(_) | Run::Missing => unreachable!("no look-up returns such a command"),
    };
    if outcome != Outcome::Busy
        && let (Some(_), Some(counter)) = (counter, &mut session.idempotency)
    {
        counter.next += 1;
    }
    outcome
}

/// Whether a command inside of MULTI is queued until EXEC.
fn is_queued(spec: &CommandSpec) -> bool {
    !spec.runs_while_queueing
}
