//! TTL, PTTL, EXPIRETIME, PEXPIRETIME: -2 for a key that does not exist, -1 for one without a deadline.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::TimeUnit;
use fastness_resp::Args;

/// TTL key
pub const TTL: Command =
    Command::data("ttl", "<key>", "Returns the time until a key expires, in seconds.", |engine, args, env| {
        run(engine, args, env, TimeUnit::Seconds)
    });
/// PTTL key
pub const PTTL: Command =
    Command::data("pttl", "<key>", "Returns the time until a key expires, in milliseconds.", |engine, args, env| {
        run(engine, args, env, TimeUnit::Milliseconds)
    });
/// EXPIRETIME key
pub const EXPIRETIME: Command = Command::data(
    "expiretime",
    "<key>",
    "Returns the Unix time in seconds at which a key expires.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtSeconds),
);
/// PEXPIRETIME key
pub const PEXPIRETIME: Command = Command::data(
    "pexpiretime",
    "<key>",
    "Returns the Unix time in milliseconds at which a key expires.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtMilliseconds),
);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, unit: TimeUnit) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let found = engine.peek_counted(&key, env).map(|entry| entry.deadline());
    env.reply.integer(unit.report(found, env.now));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn remaining_time() {
        check("TTL a => :-2 | SET a 1 => +OK | TTL a => :-1 | PEXPIRE a 1499 => :1 | TTL a => :1 | PTTL a => :1499");
        check("SET a 1 PX 1500 => +OK | TTL a => :2 | wait 1500 | PTTL a => :0 | wait 1 | PTTL a => :-2");
    }

    #[test]
    fn points_in_time() {
        check("EXPIRETIME a => :-2 | SET a 1 => +OK | PEXPIRETIME a => :-1");
        check("SET a 1 PXAT 9000000001500 => +OK | EXPIRETIME a => :9000000002 | PEXPIRETIME a => :9000000001500");
    }
}
