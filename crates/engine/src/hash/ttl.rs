//! HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME: -2 for a field that does not exist, -1 for one without a deadline.

use super::look_up::read;
use super::options::fields_after_key;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::TimeUnit;
use fastness_resp::Args;

const SYNTAX: &str = "<key> FIELDS <numfields> <field> [<field> ...]";

/// HTTL key FIELDS numfields field \[field ...]
pub const HTTL: Command =
    Command::data("httl", SYNTAX, "Returns the time until hash fields expire, in seconds.", |engine, args, env| {
        run(engine, args, env, TimeUnit::Seconds)
    });
/// HPTTL key FIELDS numfields field \[field ...]
pub const HPTTL: Command = Command::data(
    "hpttl",
    SYNTAX,
    "Returns the time until hash fields expire, in milliseconds.",
    |engine, args, env| run(engine, args, env, TimeUnit::Milliseconds),
);
/// HEXPIRETIME key FIELDS numfields field \[field ...]
pub const HEXPIRETIME: Command = Command::data(
    "hexpiretime",
    SYNTAX,
    "Returns the Unix time in seconds at which hash fields expire.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtSeconds),
);
/// HPEXPIRETIME key FIELDS numfields field \[field ...]
pub const HPEXPIRETIME: Command = Command::data(
    "hpexpiretime",
    SYNTAX,
    "Returns the Unix time in milliseconds at which hash fields expire.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtMilliseconds),
);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, unit: TimeUnit) -> Result<(), CommandError> {
    let fields = fields_after_key(args, CommandError::Syntax)?;
    let key = engine.first_key(args, env);
    let hash = read(engine, &key, env)?;
    env.reply.array(fields.len());
    for field in fields.iter() {
        let found = hash.and_then(|hash| hash.deadline(field));
        env.reply.integer(unit.report(found, env.now));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn remaining_time() {
        check(
            "HTTL h FIELDS 1 a => *1 :-2 | HSET h a 1 b 2 => :2 | HPEXPIRE h 1499 FIELDS 1 a => *1 :1 | \
               HTTL h FIELDS 3 a b c => *3 :1 :-1 :-2 | HPTTL h FIELDS 1 a => *1 :1499 | wait 1500 | HPTTL h FIELDS 1 a => *1 :-2",
        );
    }

    #[test]
    fn points_in_time() {
        check(
            "HSET h a 1 => :1 | HPEXPIREAT h 9000000001500 FIELDS 1 a => *1 :1 | \
               HEXPIRETIME h FIELDS 1 a => *1 :9000000002 | HPEXPIRETIME h FIELDS 1 a => *1 :9000000001500",
        );
    }

    #[test]
    fn refusals() {
        check("HTTL h FOO 1 a => -ERR syntax error | HTTL h FIELDS 2 a => -ERR syntax error");
        check("HTTL h FIELDS x a => -ERR value is not an integer or out of range");
        check(
            "SET s 1 => +OK | HTTL s FIELDS 1 a => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
