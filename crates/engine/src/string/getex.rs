//! GETEX.

use super::options::{Allowed, Expiry, Options};
use super::reply_string;
use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use crate::keyspace::Entry;
use fastness_resp::Args;

/// GETEX
pub const GETEX: Command = Command::data(
    "getex",
    "<key> [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|PERSIST]",
    "Returns the string value of a key after setting its expiration time.",
    getex,
);

fn getex(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args.skip(2), Allowed::Getex)?;
    let expiry = options.expiry.resolve(env.now, "getex")?;
    let key = engine.key(args.get(1));
    let Some(entry) = engine.read(&key, env) else {
        env.reply.null();
        return Ok(());
    };
    reply_string(entry, env.reply)?;
    match expiry {
        Expiry::At(at) if at <= env.now => {
            engine.unlink(&key, env);
        }
        Expiry::At(at) => engine.expire_at(&key, at, env),
        Expiry::Persist if engine.keyspace().find(&key).and_then(Entry::deadline).is_some() => {
            engine.persist(&key, env);
        }
        Expiry::Persist | Expiry::None | Expiry::Keep => {}
    }
    Ok(())
}
