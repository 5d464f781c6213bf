//! HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME: -2 for a field that is not there, -1 for one that does not expire.

use super::look_up::read;
use super::options::{counted, expect_fields};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

const SYNTAX: &str = "<key> FIELDS <numfields> <field> [<field> ...]";

/// HTTL key FIELDS numfields field \[field ...]
pub const HTTL: Command =
    Command::data("httl", SYNTAX, "Tells in how many seconds fields of a hash expire.", |engine, args, env| {
        run(engine, args, env, |at, now| seconds(at.saturating_sub(now)))
    });
/// HPTTL key FIELDS numfields field \[field ...]
pub const HPTTL: Command =
    Command::data("hpttl", SYNTAX, "Tells in how many milliseconds fields of a hash expire.", |engine, args, env| {
        run(engine, args, env, u64::saturating_sub)
    });
/// HEXPIRETIME key FIELDS numfields field \[field ...]
pub const HEXPIRETIME: Command = Command::data(
    "hexpiretime",
    SYNTAX,
    "Tells the Unix time in seconds at which fields of a hash expire.",
    |engine, args, env| run(engine, args, env, |at, _| seconds(at)),
);
/// HPEXPIRETIME key FIELDS numfields field \[field ...]
pub const HPEXPIRETIME: Command = Command::data(
    "hpexpiretime",
    SYNTAX,
    "Tells the Unix time in milliseconds at which fields of a hash expire.",
    |engine, args, env| run(engine, args, env, |at, _| at),
);

fn seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

/// `answer` makes the number from deadline and time.
fn run(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    answer: impl Fn(u64, u64) -> u64,
) -> Result<(), CommandError> {
    expect_fields(args.get(2))?;
    let fields = counted(args.skip(3), 1, CommandError::Syntax)?;
    let key = engine.first_key(args, env);
    let hash = read(engine, &key, env)?;
    env.reply.array(fields.len());
    for field in fields.iter() {
        let number = match hash.and_then(|hash| hash.deadline(field)) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => i64::try_from(answer(at.0, env.now.0)).unwrap_or(i64::MAX),
        };
        env.reply.integer(number);
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
