//! COPY: copies value and deadline to a key that does not exist, or with REPLACE over another.

use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// COPY source destination \[DB destination-db] \[REPLACE]
pub const COPY: Command = Command::data(
    "copy",
    "<source> <destination> [DB <destination-db>] [REPLACE]",
    "Copies the value of a key to another key.",
    run,
);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let replace = parse_options(args.skip(3))?;
    let (from, to) = (engine.first_key(args, env), engine.key(args.get(2)));
    if from.bytes == to.bytes {
        return Err(CommandError::Fixed("ERR source and destination objects are the same"));
    }
    let possible = engine.read(&from, env).is_some() && (engine.look_up(&to, env).is_none() || replace);
    if possible {
        let mark = engine.notified();
        engine.copy(&from, &to, env);
        engine.notify_new_since(mark, &to);
        engine.notify(NotifyClasses::GENERIC, "copy_to", &to);
    }
    env.reply.integer(possible.into());
    Ok(())
}

/// Parses the options; returns whether to replace.
fn parse_options(options: Args<'_>) -> Result<bool, CommandError> {
    let mut replace = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db") {
            parse::database(options.next().ok_or(CommandError::Syntax)?)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(replace)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn value_and_deadline() {
        check("COPY a b => :0 | SET a 1 EX 5 => +OK | COPY a b => :1 | TTL b => :5 | SET a 2 => +OK | GET b => $1 1");
    }

    #[test]
    fn replaces_another_key_only_with_replace() {
        check("SET a 1 => +OK | SET b 2 => +OK | COPY a b => :0 | COPY a b REPLACE => :1 | GET b => $1 1");
    }

    #[test]
    fn refusals() {
        check("COPY a a => -ERR source and destination objects are the same | COPY a b FOO => -ERR syntax error");
        check(
            "COPY a b DB 1 => -ERR DB index is out of range | COPY a b DB => -ERR syntax error | COPY a b DB 0 => :0",
        );
    }
}
