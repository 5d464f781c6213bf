//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT.
//!
//! A deadline that has passed removes the key at once; the effect is then its removal, never a deadline in the past.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::{Decision, ExpiryCondition, ExpiryRequest, TimeUnit};
use crate::notify::NotifyClasses;
use fastness_resp::Args;

const SYNTAX_S: &str = "<key> <seconds> [NX|XX|GT|LT]";
const SYNTAX_MS: &str = "<key> <milliseconds> [NX|XX|GT|LT]";
const SYNTAX_AT_S: &str = "<key> <unix-time-seconds> [NX|XX|GT|LT]";
const SYNTAX_AT_MS: &str = "<key> <unix-time-milliseconds> [NX|XX|GT|LT]";

/// EXPIRE key seconds
pub const EXPIRE: Command =
    Command::data("expire", SYNTAX_S, "Sets the expiration time of a key in seconds from now.", |engine, args, env| {
        run(engine, args, env, TimeUnit::Seconds, "expire")
    });
/// PEXPIRE key milliseconds
pub const PEXPIRE: Command = Command::data(
    "pexpire",
    SYNTAX_MS,
    "Sets the expiration time of a key in milliseconds from now.",
    |engine, args, env| run(engine, args, env, TimeUnit::Milliseconds, "pexpire"),
);
/// EXPIREAT key unix-time-seconds
pub const EXPIREAT: Command = Command::data(
    "expireat",
    SYNTAX_AT_S,
    "Sets the expiration time of a key to a Unix time in seconds.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtSeconds, "expireat"),
);
/// PEXPIREAT key unix-time-milliseconds
pub const PEXPIREAT: Command = Command::data(
    "pexpireat",
    SYNTAX_AT_MS,
    "Sets the expiration time of a key to a Unix time in milliseconds.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtMilliseconds, "pexpireat"),
);

fn run(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    unit: TimeUnit,
    name: &'static str,
) -> Result<(), CommandError> {
    let condition = ExpiryCondition::parse(args.skip(3))?;
    let at_ms = unit.point_ms(args.get(2), env.now, name)?;
    let request = ExpiryRequest { at_ms, condition, now: env.now };
    let key = engine.first_key(args, env);
    let decision = request.decide(engine.look_up(&key, env).map(|entry| entry.deadline()));
    match decision {
        Decision::Missing | Decision::Unchanged => {}
        Decision::Expires(at) => {
            engine.expire_at(&key, at, env);
            engine.notify(NotifyClasses::GENERIC, "expire", &key);
        }
        Decision::Removed => {
            engine.unlink(&key, env);
            engine.notify(NotifyClasses::EXPIRED, "expired", &key);
        }
    }
    let is_changed = matches!(decision, Decision::Expires(_) | Decision::Removed);
    env.reply.integer(is_changed.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn a_deadline_belongs_to_the_life() {
        check("SET a 1 => +OK | EXPIRE a 1 => :1 | wait 1000 | GET a => $1 1 | wait 1 | GET a => $-1");
    }

    #[test]
    fn a_point_that_has_passed_removes() {
        check(
            "SET a 1 => +OK | PEXPIREAT a 5 => :1 | EXISTS a => :0 | SET a 1 => +OK | EXPIRE a 0 => :1 | GET a => $-1",
        );
        check("SET a 1 => +OK | EXPIRE a -1 => :1 | GET a => $-1");
    }

    #[test]
    fn conditions() {
        check(
            "SET a 1 => +OK | EXPIRE a 10 XX => :0 | EXPIRE a 10 GT => :0 | EXPIRE a 10 LT => :1 | EXPIRE a 9 NX => :0",
        );
        check(
            "SET a 1 EX 10 => +OK | EXPIRE a 10 GT => :0 | EXPIRE a 11 GT => :1 | EXPIRE a 11 LT => :0 | TTL a => :11",
        );
        check("EXPIRE a 1 NX LT => -ERR NX and XX, GT or LT options at the same time are not compatible");
        check("EXPIRE a 1 GT LT => -ERR GT and LT options at the same time are not compatible");
        check("EXPIRE a x FOO => -ERR Unsupported option FOO");
    }

    #[test]
    fn times_that_do_not_fit() {
        check("EXPIRE a 9223372036854775807 => -ERR invalid expire time in 'expire' command");
        check("PEXPIRE a 9223372036854775807 => -ERR invalid expire time in 'pexpire' command");
        check("EXPIREAT a -9223372036854775808 => -ERR invalid expire time in 'expireat' command");
        check("SET a 1 => +OK | PEXPIREAT a 9223372036854775807 => :1 | PEXPIRETIME a => :9223372036854775807");
    }
}
