//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT: one form each of "this key lives until then".
//!
//! A point that has passed removes the key at once; the effect is then its removal, never a deadline in the past.

use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;
use fastness_types::WallMs;

const SYNTAX_S: &str = "<key> <seconds> [NX|XX|GT|LT]";
const SYNTAX_MS: &str = "<key> <milliseconds> [NX|XX|GT|LT]";
const SYNTAX_AT_S: &str = "<key> <unix-time-seconds> [NX|XX|GT|LT]";
const SYNTAX_AT_MS: &str = "<key> <unix-time-milliseconds> [NX|XX|GT|LT]";

/// EXPIRE key seconds
pub const EXPIRE: Command =
    Command::data("expire", SYNTAX_S, "Lets a key expire in so many seconds.", |engine, args, env| {
        let base = env.now.0;
        run(engine, args, env, Form { name: "expire", unit_ms: 1000, base_ms: base })
    });
/// PEXPIRE key milliseconds
pub const PEXPIRE: Command =
    Command::data("pexpire", SYNTAX_MS, "Lets a key expire in so many milliseconds.", |engine, args, env| {
        let base = env.now.0;
        run(engine, args, env, Form { name: "pexpire", unit_ms: 1, base_ms: base })
    });
/// EXPIREAT key unix-time-seconds
pub const EXPIREAT: Command =
    Command::data("expireat", SYNTAX_AT_S, "Lets a key expire at a Unix time in seconds.", |engine, args, env| {
        run(engine, args, env, Form { name: "expireat", unit_ms: 1000, base_ms: 0 })
    });
/// PEXPIREAT key unix-time-milliseconds
pub const PEXPIREAT: Command = Command::data(
    "pexpireat",
    SYNTAX_AT_MS,
    "Lets a key expire at a Unix time in milliseconds.",
    |engine, args, env| run(engine, args, env, Form { name: "pexpireat", unit_ms: 1, base_ms: 0 }),
);

/// What tells the four commands apart.
struct Form {
    name: &'static str,
    unit_ms: i64,
    base_ms: u64,
}

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, form: Form) -> Result<(), CommandError> {
    let condition = Condition::parse(args.skip(3))?;
    let at_ms = deadline_ms(args.get(2), &form)?;
    let key = engine.first_key(args, env);
    let Some(entry) = engine.look_up(&key, env) else {
        env.reply.integer(0);
        return Ok(());
    };
    if !condition.holds(entry.deadline(), at_ms) {
        env.reply.integer(0);
        return Ok(());
    }
    match u64::try_from(at_ms) {
        Ok(at) if at > env.now.0 => engine.expire_at(&key, WallMs(at), env),
        _ => {
            engine.unlink(&key, env);
        }
    }
    env.reply.integer(1);
    Ok(())
}

/// The point in time, which may lie before 1970.
fn deadline_ms(text: &[u8], form: &Form) -> Result<i64, CommandError> {
    let base = i64::try_from(form.base_ms).map_err(|_| CommandError::InvalidExpire(form.name))?;
    let span = parse::integer(text)?.checked_mul(form.unit_ms);
    span.and_then(|span| span.checked_add(base)).ok_or(CommandError::InvalidExpire(form.name))
}

/// When to change the deadline.
#[derive(Default)]
pub(crate) struct Condition {
    has_none: bool,
    has_one: bool,
    later: bool,
    earlier: bool,
}

impl Condition {
    pub(crate) fn parse(options: Args<'_>) -> Result<Condition, CommandError> {
        let mut condition = Condition::default();
        for option in options.iter() {
            let flag = match option.to_ascii_lowercase().as_slice() {
                b"nx" => &mut condition.has_none,
                b"xx" => &mut condition.has_one,
                b"gt" => &mut condition.later,
                b"lt" => &mut condition.earlier,
                _ => return Err(CommandError::quoting("ERR Unsupported option ", option, "")),
            };
            *flag = true;
        }
        if condition.has_none && (condition.has_one || condition.later || condition.earlier) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(CommandError::Fixed(text));
        }
        if condition.later && condition.earlier {
            return Err(CommandError::Fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// No deadline counts as one that never comes.
    pub(crate) fn holds(&self, current: Option<WallMs>, at_ms: i64) -> bool {
        let current_ms = current.map(|at| i64::try_from(at.0).unwrap_or(i64::MAX));
        !(self.has_none && current.is_some()
            || self.has_one && current.is_none()
            || self.later && current_ms.is_none_or(|current| at_ms <= current)
            || self.earlier && current_ms.is_some_and(|current| at_ms >= current))
    }
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
