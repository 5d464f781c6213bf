//! GETEX.

use super::look_up::reply_string;
use super::options::{Allowed, LEAST_TIME, SetOptions};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::Expiry;
use crate::keyspace::Entry;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// GETEX
pub const GETEX: Command = Command::data(
    "getex",
    "<key> [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|PERSIST]",
    "Returns the string value of a key, and sets or removes its expiration time.",
    getex,
);

fn getex(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let options = SetOptions::parse(args.skip(2), Allowed::Getex)?;
    let expiry = options.expiry.resolve(LEAST_TIME, env.now, "getex")?;
    let key = engine.first_key(args, env);
    let Some(entry) = engine.read(&key, env) else {
        env.reply.null();
        return Ok(());
    };
    reply_string(entry, env.reply)?;
    match expiry {
        Expiry::At(at) if at <= env.now => {
            engine.unlink(&key, env);
            engine.notify(NotifyClasses::EXPIRED, "expired", &key);
        }
        Expiry::At(at) => {
            engine.expire_at(&key, at, env);
            engine.notify(NotifyClasses::GENERIC, "expire", &key);
        }
        Expiry::Persist if engine.keyspace().find(&key).and_then(Entry::deadline).is_some() => {
            engine.persist(&key, env);
            engine.notify(NotifyClasses::GENERIC, "persist", &key);
        }
        Expiry::Persist | Expiry::None | Expiry::Keep => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn changes_the_deadline() {
        check(
            "GETEX k EX 1 => $-1 | SET k v => +OK | GETEX k => $1 v | PTTL k => :-1 | GETEX k EX 9 => $1 v | \
               PTTL k => :9000 | GETEX k => $1 v | PTTL k => :9000 | GETEX k PERSIST => $1 v | PTTL k => :-1",
        );
        check("SET k v => +OK | GETEX k PXAT 1 => $1 v | EXISTS k => :0");
    }

    #[test]
    fn refusals() {
        check("GETEX k EX 0 => -ERR invalid expire time in 'getex' command | GETEX k NX => -ERR syntax error");
        check("GETEX k PERSIST EX 1 => -ERR syntax error | GETEX k KEEPTTL => -ERR syntax error");
    }
}
