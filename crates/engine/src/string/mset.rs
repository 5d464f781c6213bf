//! MSET, MSETNX.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::ExpiryChange;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// MSET
pub const MSET: Command = Command::data(
    "mset",
    "<key> <value> [<key> <value> ...]",
    "Sets the string values of several keys atomically.",
    |engine, args, env| {
        check_pairs(args, "mset")?;
        set_all(engine, args, env);
        env.reply.ok();
        Ok(())
    },
);
/// MSETNX
pub const MSETNX: Command = Command::data(
    "msetnx",
    "<key> <value> [<key> <value> ...]",
    "Sets the string values of several keys atomically, but only if none of the keys exists.",
    msetnx,
);

fn check_pairs(args: Args<'_>, name: &'static str) -> Result<(), CommandError> {
    if args.len() % 2 == 1 { Ok(()) } else { Err(CommandError::Arity(name)) }
}

fn set_all(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) {
    for i in (1..args.len()).step_by(2) {
        let key = engine.key(args.get(i));
        engine.expire_replaced(&key, env);
        engine.set(&key, args.get(i + 1), ExpiryChange::Drop, env);
        engine.notify(NotifyClasses::STRING, "set", &key);
    }
}

fn msetnx(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    check_pairs(args, "msetnx")?;
    let one_exists = (1..args.len()).step_by(2).any(|i| {
        let key = engine.key(args.get(i));
        engine.look_up(&key, env).is_some()
    });
    if !one_exists {
        set_all(engine, args, env);
    }
    env.reply.integer(i64::from(!one_exists));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn sets_all_or_none() {
        check("MSET a 1 b 2 a 3 => +OK | MGET a b => *2 $1 3 $1 2");
        check("MSETNX a 1 b 2 => :1 | MSETNX c 3 b 4 => :0 | EXISTS c => :0");
        check("MSET a => -ERR wrong number of arguments for 'mset' command");
        check("MSET a 1 b => -ERR wrong number of arguments for 'mset' command");
        check("MSETNX a 1 b => -ERR wrong number of arguments for 'msetnx' command");
    }
}
