//! RENAME and RENAMENX: move value and deadline; the destination's value is replaced.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// RENAME key newkey
pub const RENAME: Command =
    Command::data("rename", "<key> <newkey>", "Renames a key and overwrites the destination.", |engine, args, env| {
        move_key(engine, args, env, true)?;
        env.reply.ok();
        Ok(())
    });
/// RENAMENX key newkey
pub const RENAMENX: Command = Command::data(
    "renamenx",
    "<key> <newkey>",
    "Renames a key, but only if the destination does not exist.",
    |engine, args, env| {
        let moved = move_key(engine, args, env, false)?;
        env.reply.integer(moved.into());
        Ok(())
    },
);

fn move_key(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, replace: bool) -> Result<bool, CommandError> {
    let (from, to) = (engine.first_key(args, env), engine.key(args.get(2)));
    if engine.look_up(&from, env).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if from.bytes == to.bytes || (engine.look_up(&to, env).is_some() && !replace) {
        return Ok(false);
    }
    let mark = engine.notified();
    engine.rename(&from, &to, env);
    engine.notify_new_since(mark, &to);
    engine.notify(NotifyClasses::GENERIC, "rename_from", &from);
    engine.notify(NotifyClasses::GENERIC, "rename_to", &to);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn value_and_deadline_move() {
        check("RENAME a b => -ERR no such key | SET a 1 EX 5 => +OK | SET b 2 => +OK | RENAME a b => +OK");
        check("SET a 1 EX 5 => +OK | SET b 2 => +OK | RENAME a b => +OK | GET b => $1 1 | TTL b => :5 | GET a => $-1");
    }

    #[test]
    fn to_itself() {
        check("RENAMENX a a => -ERR no such key | SET a 1 => +OK | RENAME a a => +OK | RENAMENX a a => :0");
    }

    #[test]
    fn does_not_replace_another_key() {
        check(
            "SET a 1 => +OK | SET b 2 => +OK | RENAMENX a b => :0 | DEL b => :1 | RENAMENX a b => :1 | GET b => $1 1",
        );
        check("SET a 1 => +OK | SET b 2 PX 1 => +OK | wait 2 | RENAMENX a b => :1");
    }
}
