//! Commands that the connection's front end runs, those that describe commands, and WAIT and WAITAOF, which the
//! connection awaits.

use fastness_engine::command::{CommandSpec, Run, SessionCommand};
use fastness_resp::Args;

use crate::execution::Execution;
use crate::front_end::{FrontEndOutcome, ShardView};
use crate::leader::Leader;
use crate::outcome::Outcome;
use crate::session::WaitsFor;
use crate::state::{Replica, State};
use crate::wait;
use crate::waits::Acknowledged;

impl Execution<'_> {
    /// Runs one outside of a transaction.
    pub(crate) fn front_end(&mut self, state: &mut State, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        match self.run_front_end(state.leader.as_ref(), &mut state.replica, (spec, args), true) {
            FrontEndOutcome::Reply => Outcome::REPLY,
            FrontEndOutcome::ShowsKeys => self.show_everything(state.primary()),
            FrontEndOutcome::Close => Outcome::Close,
            FrontEndOutcome::Again(at) => {
                self.session.waits_for = WaitsFor::Lag(at);
                Outcome::Busy
            }
        }
    }

    /// Has the front end run one. `may_block` is `false` inside of EXEC.
    pub(crate) fn run_front_end(
        &mut self,
        leader: Option<&Leader>,
        replica: &mut Replica,
        (spec, args): (&'static CommandSpec, Args<'_>),
        may_block: bool,
    ) -> FrontEndOutcome {
        let (handle, work) = (&self.edges.handle, &self.edges.work);
        let mut view = ShardView { leader, replica, now: self.now, handle, work, may_block };
        self.front_end.run(spec, args, self.session, &mut view, self.out)
    }

    /// Runs a command that describes commands.
    pub(crate) fn table(&mut self, spec: &'static CommandSpec, args: Args<'_>) -> Outcome {
        let Run::Table(run) = spec.run else { unreachable!("the caller has matched on it") };
        let before = self.out.len();
        if let Err(error) = run(self.edges.commands, args, self.out) {
            self.out.truncate(before);
            self.out.error(error.line());
        }
        Outcome::REPLY
    }

    /// WAIT and WAITAOF outside of a transaction.
    pub(crate) fn wait(&mut self, state: &mut State, command: SessionCommand, args: Args<'_>) -> Outcome {
        match wait::parse(command, args, self.session.written, &state.replica.role) {
            Ok(request) => {
                self.hurry(state.leader.as_mut());
                Outcome::Wait(request)
            }
            Err(error) => self.answer(Err(error)),
        }
    }

    /// WAIT and WAITAOF inside of EXEC: the answer as it is now.
    pub(crate) fn wait_in_exec(
        &mut self,
        leader: Option<&Leader>,
        replica: &Replica,
        command: SessionCommand,
        args: Args<'_>,
    ) {
        match wait::parse(command, args, self.session.written, &replica.role) {
            Ok(request) => {
                let copies = &*self.edges.copies;
                Acknowledged { leader, tenures: &replica.tenures, copies }.answer(&request).write(self.out);
            }
            Err(error) => self.out.error(error.to_string()),
        }
    }

    /// Closes the open batch at the end of the turn, because a client waits for its commit.
    fn hurry(&mut self, leader: Option<&mut Leader>) {
        if let Some(leader) = leader {
            leader.stage.hurry();
            self.edges.work.notify_one();
        }
    }
}
