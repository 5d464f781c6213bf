//! Runs one command against memory: a reply and effects come out.

use super::Engine;
use crate::command::{CommandSpec, Flags, Run};
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

impl Engine {
    /// Runs one command that touches data and appends its reply, or why it is refused. Its arity has been checked.
    ///
    /// A command that is not [`Run::Data`] is none of the engine's and is answered with an error: callers dispatch on
    /// `spec.run` first.
    #[inline]
    pub fn execute(&mut self, spec: &'static CommandSpec, args: Args<'_>, env: &mut Env<'_>) {
        if env.may_write
            && let Err(error) = self.admit(spec)
        {
            return env.reply.error(error.line());
        }
        self.execute_admitted(spec, args, env);
    }

    /// As [`Engine::execute`], for what was admitted before: the commands that EXEC runs.
    #[inline]
    pub fn execute_admitted(&mut self, spec: &'static CommandSpec, args: Args<'_>, env: &mut Env<'_>) {
        let Run::Data(run) = spec.run else {
            env.reply.error("ERR this command is not run by the data engine");
            return;
        };
        let before = env.reply.len();
        if let Err(error) = run(self, args, env) {
            env.reply.truncate(before);
            env.reply.error(error.line());
        }
    }

    /// Refuses what needs memory while there is none. To be asked when a command is run or queued; replicas do not ask.
    ///
    /// # Errors
    /// [`CommandError::OutOfMemory`].
    #[inline]
    pub fn admit(&self, spec: &CommandSpec) -> Result<(), CommandError> {
        if self.maxmemory() > 0 && spec.flags.has(Flags::DENYOOM) && self.is_out_of_memory() {
            return Err(CommandError::OutOfMemory);
        }
        Ok(())
    }
}
