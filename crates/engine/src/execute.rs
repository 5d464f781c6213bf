//! Runs one command against memory: a reply and effects come out.

use crate::command::{CommandSpec, Flags, Run};
use crate::effect::EffectBuf;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::keyspace::Key;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::WallMs;

/// Where the engine's randomness comes from. The primary's choices become effects; replicas make none.
pub trait Random {
    /// 64 uniformly random bits.
    fn next_u64(&mut self) -> u64;

    /// Uniform below `bound`, which is not 0. The bias is below `bound / 2^64`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// What a command is given besides data and arguments.
pub struct Env<'a> {
    /// The primary: the batch's stamp. A replica: the newest applied stamp.
    pub now: WallMs,
    /// False on replicas: nothing is written, expired keys are hidden and not deleted.
    pub may_write: bool,
    /// Where random choices come from.
    pub random: &'a mut dyn Random,
    /// Where the reply goes.
    pub reply: &'a mut ReplyBuf,
    /// Where effects go; its length is unchanged if nothing was written.
    pub effects: &'a mut EffectBuf,
    /// The argument behind the name with its place, if the caller has worked that out already.
    pub first: Option<Key<'a>>,
}

impl Env<'_> {
    /// The key that stands behind the name.
    #[inline]
    pub fn first_key<'k>(&self, engine: &Engine, args: Args<'k>) -> Key<'k> {
        let bytes = args.get(1);
        match self.first {
            Some(Key { bytes: known, slot, hash }) if std::ptr::eq(known, bytes) => Key { bytes, slot, hash },
            _ => engine.key(bytes),
        }
    }
}

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
