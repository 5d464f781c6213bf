//! MSETEX.

use super::options::{Allowed, LEAST_TIME, SetCondition, SetOptions};
use super::set::store;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::Expiry;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use fastness_resp::number;

/// MSETEX
pub const MSETEX: Command = Command::data(
    "msetex",
    "<numkeys> <key> <value> [<key> <value> ...] [NX|XX] \
     [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|KEEPTTL]",
    "Sets the string values of several keys atomically, with one expiration time for all of them.",
    msetex,
);

/// The pairs, and the options after them.
fn split<'a>(args: Args<'a>) -> Result<(Args<'a>, Args<'a>), CommandError> {
    let count = number::parse_int(args.get(1)).and_then(|count| i32::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::Fixed("ERR invalid numkeys value or out of range"))? as usize;
    let rest = args.skip(2);
    if count > rest.len() / 2 {
        return Err(CommandError::Syntax);
    }
    Ok((rest.take(2 * count), rest.skip(2 * count)))
}

fn msetex(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (pairs, options) = split(args)?;
    let options = SetOptions::parse(options, Allowed::Msetex)?;
    let expiry = options.expiry.resolve(LEAST_TIME, env.now, "msetex")?;
    let mut keys = (0..pairs.len()).step_by(2).map(|i| pairs.get(i));
    let mut exists = |key| {
        let key = engine.key(key);
        engine.look_up(&key, env).is_some()
    };
    let holds = match options.condition {
        Some(SetCondition::IfMissing) => !keys.any(&mut exists),
        Some(SetCondition::IfExists) => keys.all(&mut exists),
        Some(SetCondition::IfEqual(_)) | None => true,
    };
    if holds {
        for i in (0..pairs.len()).step_by(2) {
            let key = engine.key(pairs.get(i));
            if matches!(expiry, Expiry::At(at) if at <= env.now) {
                note_set(engine, &key, env);
            }
            store(engine, &key, pairs.get(i + 1), expiry, env);
        }
    }
    env.reply.integer(i64::from(holds));
    Ok(())
}

/// Notes what Valkey does with a deadline that has passed: it sets the key, which then expires.
fn note_set(engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) {
    let is_new = !engine.is_alive(key, env);
    if is_new {
        engine.notify(NotifyClasses::NEW, "new", key);
    }
    engine.notify(NotifyClasses::STRING, "set", key);
    engine.notify(NotifyClasses::GENERIC, "expire", key);
    if is_new {
        engine.notify(NotifyClasses::EXPIRED, "expired", key);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn sets_all_or_none() {
        check(
            "MSETEX 2 a 1 b 2 EX 9 => :1 | PTTL a => :9000 | PTTL b => :9000 | MSETEX 1 a 3 KEEPTTL => :1 | PTTL a => :9000",
        );
        check(
            "MSETEX 2 a 1 b 2 XX => :0 | MSETEX 2 a 1 b 2 NX => :1 | MSETEX 2 a 3 c 4 NX => :0 | MGET a c => *2 $1 1 $-1",
        );
        check("SET a 1 => +OK | MSETEX 2 a 2 b 2 PXAT 1 => :1 | EXISTS a b => :0");
    }

    #[test]
    fn refusals() {
        check("MSETEX 0 a 1 => -ERR invalid numkeys value or out of range");
        check("MSETEX 2147483648 a 1 => -ERR invalid numkeys value or out of range");
        check("MSETEX 2147483647 a 1 => -ERR syntax error | MSETEX 1 a 1 IFEQ 1 => -ERR syntax error");
        check(
            "MSETEX 1 a 1 GET => -ERR syntax error | MSETEX 1 a 1 EX 0 => -ERR invalid expire time in 'msetex' command",
        );
    }
}
