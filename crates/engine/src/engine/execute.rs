//! Executes one command against memory, which produces a reply and effects.

use super::Engine;
use crate::command::{CommandSpec, Flags, Run};
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

impl Engine {
    /// Executes one command on data and appends its reply or error. Its arity has been checked.
    ///
    /// A command that is not [`Run::Data`] is not executed here, and the reply is an error: callers dispatch on
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

    /// As [`Engine::execute`], for commands that were admitted before: those that EXEC runs.
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

    /// Refuses commands that may need memory while too much is in use. Called when a command is executed or queued, on
    /// primaries only.
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
