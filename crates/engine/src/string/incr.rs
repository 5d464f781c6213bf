//! INCR, DECR, INCRBY, DECRBY.

use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{TypeNumber, ValueRef};
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use fastness_resp::number;

/// INCR
pub const INCR: Command = Command::data(
    "incr",
    "<key>",
    "Increments the integer value of a key by one; a missing key counts as 0.",
    |engine, args, env| add(engine, args, env, 1),
);
/// DECR
pub const DECR: Command = Command::data(
    "decr",
    "<key>",
    "Decrements the integer value of a key by one; a missing key counts as 0.",
    |engine, args, env| add(engine, args, env, -1),
);
/// INCRBY
pub const INCRBY: Command = Command::data(
    "incrby",
    "<key> <increment>",
    "Increments the integer value of a key by a number; a missing key counts as 0.",
    |engine, args, env| add(engine, args, env, integer(args.get(2))?),
);
/// DECRBY
pub const DECRBY: Command = Command::data(
    "decrby",
    "<key> <decrement>",
    "Decrements the integer value of a key by a number; a missing key counts as 0.",
    |engine, args, env| {
        let decrement = integer(args.get(2))?;
        add(engine, args, env, decrement.checked_neg().ok_or(CommandError::DecrementOverflow)?)
    },
);

fn add(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, by: i64) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let old = match engine.value(&key, env) {
        None => 0,
        Some(ValueRef::Int(number)) => number,
        Some(value) => parsed(value)?,
    };
    let new = old.checked_add(by).ok_or(CommandError::Overflow)?;
    engine.set_int(&key, new, env);
    engine.notify(NotifyClasses::STRING, "incrby", &key);
    env.reply.integer(new);
    Ok(())
}

/// Parses the text of a string.
fn parsed(value: ValueRef<'_>) -> Result<i64, CommandError> {
    if value.of() != TypeNumber::STRING {
        return Err(CommandError::WrongType);
    }
    let mut buffer = itoa::Buffer::new();
    value.text(&mut buffer).and_then(number::parse_int).ok_or(CommandError::NotAnInteger)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn counts() {
        check("INCR k => :1 | INCRBY k 5 => :6 | DECR k => :5 | DECRBY k 7 => :-2 | GET k => $2 -2");
        check("SET k 5 EX 9 => +OK | INCR k => :6 | PTTL k => :9000 | OBJECT ENCODING k => $3 int");
        check("SET k 1 => +OK | APPEND k 2 => :2 | INCR k => :13");
    }

    #[test]
    fn refusals() {
        check("SET k 9223372036854775807 => +OK | INCR k => -ERR increment or decrement would overflow");
        check("SET k -9223372036854775808 => +OK | DECR k => -ERR increment or decrement would overflow");
        check("DECRBY k -9223372036854775808 => -ERR decrement would overflow");
        check("SET k 01 => +OK | INCR k => -ERR value is not an integer or out of range");
        check("INCRBY k 1.5 => -ERR value is not an integer or out of range");
    }
}
