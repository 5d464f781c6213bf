//! SET, SETNX, SETEX, PSETEX.

use super::look_up::{check_string, reply_string_or_null, text_of};
use super::options::{Allowed, LEAST_TIME, SetCondition, SetOptions};
use crate::command::spec::key_flag;
use crate::command::{Command, KeyFlags};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::{Expiry, TimeUnit};
use crate::keyspace::{ExpiryChange, Key};
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// SET
pub const SET: Command = Command::data(
    "set",
    "<key> <value> [NX|XX|IFEQ <comparison-value>] [GET] \
     [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|KEEPTTL]",
    "Sets the string value of a key, whatever type of value it held before.",
    set,
)
.with_key_flags(key_flags);
/// SETNX
pub const SETNX: Command = Command::data(
    "setnx",
    "<key> <value>",
    "Sets the string value of a key, but only if the key does not exist.",
    setnx,
);
/// SETEX
pub const SETEX: Command = Command::data(
    "setex",
    "<key> <seconds> <value>",
    "Sets the string value of a key and its expiration time in seconds.",
    |engine, args, env| set_with_ttl(engine, args, env, TimeUnit::Seconds, "setex"),
);
/// PSETEX
pub const PSETEX: Command = Command::data(
    "psetex",
    "<key> <milliseconds> <value>",
    "Sets the string value of a key and its expiration time in milliseconds.",
    |engine, args, env| set_with_ttl(engine, args, env, TimeUnit::Milliseconds, "psetex"),
);

/// SET with GET reads what it overwrites.
fn key_flags(args: Args<'_>) -> KeyFlags {
    let gets = args.skip(3).iter().any(|arg| arg.eq_ignore_ascii_case(b"get"));
    KeyFlags(key_flag::UPDATE | if gets { key_flag::RW | key_flag::ACCESS } else { key_flag::OW })
}

fn set(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    if args.len() == 3 {
        // The common case needs no look-up: an expired value is replaced like any other.
        engine.expire_replaced(&key, env);
        engine.set(&key, args.get(2), ExpiryChange::Drop, env);
        engine.notify(NotifyClasses::STRING, "set", &key);
        env.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(args.skip(3), Allowed::Set)?;
    let expiry = options.expiry.resolve(LEAST_TIME, env.now, "set")?;
    if options.get {
        let entry = engine.read(&key, env);
        reply_string_or_null(entry, env.reply)?;
    }
    if holds(engine, &key, options.condition, env)? {
        store(engine, &key, args.get(2), expiry, env);
        if !options.get {
            env.reply.ok();
        }
    } else if !options.get {
        env.reply.null();
    }
    Ok(())
}

/// Whether the condition holds for the key.
fn holds(
    engine: &mut Engine,
    key: &Key<'_>,
    condition: Option<SetCondition<'_>>,
    env: &mut Env<'_>,
) -> Result<bool, CommandError> {
    let Some(condition) = condition else { return Ok(true) };
    let entry = engine.look_up(key, env);
    Ok(match (condition, entry) {
        (SetCondition::IfMissing, entry) => entry.is_none(),
        (SetCondition::IfExists, entry) => entry.is_some(),
        (SetCondition::IfEqual(_), None) => false,
        (SetCondition::IfEqual(text), Some(entry)) => {
            check_string(entry)?;
            text_of(entry, &mut itoa::Buffer::new())? == text
        }
    })
}

/// Sets a string, or removes the key if the deadline has passed.
pub(super) fn store(engine: &mut Engine, key: &Key<'_>, value: &[u8], expiry: Expiry, env: &mut Env<'_>) {
    let change = match expiry {
        Expiry::At(at) if at <= env.now => {
            if engine.unlink(key, env) {
                engine.notify(NotifyClasses::EXPIRED, "expired", key);
            }
            return;
        }
        Expiry::At(at) => ExpiryChange::At(at),
        Expiry::Keep => {
            // A deadline that has passed is not kept: this removes the expired key.
            engine.is_alive(key, env);
            ExpiryChange::Keep
        }
        Expiry::None | Expiry::Persist => ExpiryChange::Drop,
    };
    engine.expire_replaced(key, env);
    engine.set(key, value, change, env);
    engine.notify(NotifyClasses::STRING, "set", key);
    if matches!(change, ExpiryChange::At(_)) {
        engine.notify(NotifyClasses::GENERIC, "expire", key);
    }
}

fn setnx(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let missing = engine.look_up(&key, env).is_none();
    if missing {
        engine.set(&key, args.get(2), ExpiryChange::Drop, env);
        engine.notify(NotifyClasses::STRING, "set", &key);
    }
    env.reply.integer(i64::from(missing));
    Ok(())
}

fn set_with_ttl(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    unit: TimeUnit,
    name: &'static str,
) -> Result<(), CommandError> {
    let at = unit.deadline(args.get(2), LEAST_TIME, env.now, name)?;
    let key = engine.first_key(args, env);
    store(engine, &key, args.get(3), Expiry::At(at), env);
    env.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn conditions() {
        check("SET k v XX => $-1 | SET k v NX => +OK | SET k w NX => $-1 | SET k w XX => +OK | GET k => $1 w");
        check("SET k 10 => +OK | SET k 11 IFEQ 10 => +OK | SET k 12 IFEQ 10 => $-1 | GET k => $2 11");
        check("SET k v IFEQ v => $-1 | EXISTS k => :0");
        check("SETNX k v => :1 | SETNX k w => :0 | GET k => $1 v");
    }

    #[test]
    fn get_returns_what_was() {
        check("SET k v GET => $-1 | SET k w GET => $1 v | SET k x NX GET => $1 w | GET k => $1 w");
        check("SET k v XX GET => $-1 | EXISTS k => :0 | SET k v NX GET => $-1 | GET k => $1 v");
        check("SET k a => +OK | SET k b IFEQ x GET => $1 a | SET k b IFEQ a GET => $1 a | GET k => $1 b");
    }

    #[test]
    fn deadlines() {
        check("SET k v EX 10 => +OK | PTTL k => :10000 | SET k w KEEPTTL => +OK | PTTL k => :10000");
        check("SET k v PX 10 => +OK | SET k w => +OK | PTTL k => :-1 | SETEX k 5 v => +OK | PTTL k => :5000");
        check("PSETEX k 5 v => +OK | PTTL k => :5 | wait 6 | SET k w KEEPTTL => +OK | PTTL k => :-1");
        check("SET k v PXAT 1700000000500 => +OK | PTTL k => :500 | SET k v EXAT 1700000002 => +OK | PTTL k => :2000");
    }

    #[test]
    fn a_deadline_in_the_past_removes() {
        check("SET k v PXAT 1 => +OK | EXISTS k => :0 | SET k a => +OK | SET k b PXAT 1 GET => $1 a | EXISTS k => :0");
    }

    #[test]
    fn refusals() {
        check("SET k v NX XX => -ERR syntax error | SET k v NX IFEQ a => -ERR syntax error");
        check("SET k v EX 1 PX 1 => -ERR syntax error | SET k v EX 1 KEEPTTL => -ERR syntax error");
        check("SET k v EX => -ERR syntax error | SET k v PERSIST => -ERR syntax error | SET k v => +OK");
        check("SET k v IFEQ a IFEQ a => -ERR syntax error | SET k v NX NX => +OK | SET k v EX 1 EX 2 => +OK");
        check("SET k v EX 0 => -ERR invalid expire time in 'set' command");
        check("SET k v EX 9223372036854775807 => -ERR invalid expire time in 'set' command");
        check("SET k v PX 9223372036854775807 => -ERR invalid expire time in 'set' command");
        check("SET k v EX a => -ERR value is not an integer or out of range");
        check("SETEX k 0 v => -ERR invalid expire time in 'setex' command");
        check("PSETEX k -1 v => -ERR invalid expire time in 'psetex' command");
    }

    #[test]
    fn encodings() {
        check("SET k 12 => +OK | OBJECT ENCODING k => $3 int | SET k 012 => +OK | OBJECT ENCODING k => $6 embstr");
        check(
            "SET k v => +OK | APPEND k w => :2 | OBJECT ENCODING k => $3 raw | SET k vw => +OK | \
               OBJECT ENCODING k => $6 embstr",
        );
        let (fits, over) = ("v".repeat(112), "v".repeat(113));
        check(&format!("SET k {fits} => +OK | OBJECT ENCODING k => $6 embstr"));
        check(&format!("SET k {over} => +OK | OBJECT ENCODING k => $3 raw"));
        check(&format!("SET k v EX 9 => +OK | SET k {fits} => +OK | OBJECT ENCODING k => $3 raw"));
    }
}
