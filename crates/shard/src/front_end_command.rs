//! Commands that the connection's front end runs, and WAIT and WAITAOF, which it awaits.

use fastness_engine::command::{CommandSpec, FrontEndCommand};
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
    pub(crate) fn front_end(
        &mut self,
        state: &mut State,
        command: FrontEndCommand,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Outcome {
        if matches!(command, FrontEndCommand::Wait | FrontEndCommand::Waitaof) {
            return match wait::parse(spec, args, self.session.written, &state.replica.role) {
                Ok(request) => {
                    self.hurry(state.leader.as_mut());
                    Outcome::Wait(request)
                }
                Err(error) => self.answer(Err(error)),
            };
        }
        match self.run_front_end(state.leader.as_ref(), &mut state.replica, command, args, true) {
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
        command: FrontEndCommand,
        args: Args<'_>,
        may_block: bool,
    ) -> FrontEndOutcome {
        let mut view = ShardView { leader, replica, now: self.now, handle: &self.edges.handle, may_block };
        self.front_end.run(command, args, self.session, &mut view, self.out)
    }

    /// WAIT and WAITAOF inside of EXEC: the answer as it is now.
    pub(crate) fn wait_in_exec(
        &mut self,
        leader: Option<&Leader>,
        replica: &Replica,
        spec: &CommandSpec,
        args: Args<'_>,
    ) {
        match wait::parse(spec, args, self.session.written, &replica.role) {
            Ok(request) => {
                let copies = &*self.edges.copies;
                Acknowledged { leader, tenures: &replica.tenures, copies }.answer(&request).write(self.out);
            }
            Err(error) => self.out.error(error.to_string()),
        }
    }

    /// Somebody waits for what is staged: the batch is closed at the end of the turn.
    fn hurry(&mut self, leader: Option<&mut Leader>) {
        if let Some(leader) = leader {
            leader.stage.hurry();
            self.edges.work.notify_one();
        }
    }
}
