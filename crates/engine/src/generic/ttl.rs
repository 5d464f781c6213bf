//! TTL, PTTL, EXPIRETIME, PEXPIRETIME: -2 for a key that is not there, -1 for one that does not expire.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// TTL key
pub const TTL: Command =
    Command::data("ttl", "<key>", "Tells in how many seconds a key expires.", |engine, args, env| {
        run(engine, args, env, |at, now| seconds(at.saturating_sub(now)))
    });
/// PTTL key
pub const PTTL: Command =
    Command::data("pttl", "<key>", "Tells in how many milliseconds a key expires.", |engine, args, env| {
        run(engine, args, env, u64::saturating_sub)
    });
/// EXPIRETIME key
pub const EXPIRETIME: Command = Command::data(
    "expiretime",
    "<key>",
    "Tells the Unix time in seconds at which a key expires.",
    |engine, args, env| run(engine, args, env, |at, _| seconds(at)),
);
/// PEXPIRETIME key
pub const PEXPIRETIME: Command = Command::data(
    "pexpiretime",
    "<key>",
    "Tells the Unix time in milliseconds at which a key expires.",
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
    let key = engine.first_key(args, env);
    let number = match engine.peek_counted(&key, env).map(|entry| entry.deadline()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => i64::try_from(answer(at.0, env.now.0)).unwrap_or(i64::MAX),
    };
    env.reply.integer(number);
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
