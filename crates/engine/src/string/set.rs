//! SET, SETNX, SETEX, PSETEX.

use super::options::{Allowed, Condition, Expiry, Options, Unit, deadline};
use super::{check_string, reply_string_or_null, text_of};
use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use crate::keyspace::{ExpiryChange, Key};
use fastness_resp::Args;
use fastness_types::WallMs;

/// SET
pub const SET: Command = Command::data(
    "set",
    "<key> <value> [NX|XX|IFEQ <comparison-value>] [GET] \
     [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|KEEPTTL]",
    "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
    set,
);
/// SETNX
pub const SETNX: Command =
    Command::data("setnx", "<key> <value>", "Set the string value of a key only when the key doesn't exist.", setnx);
/// SETEX
pub const SETEX: Command = Command::data(
    "setex",
    "<key> <seconds> <value>",
    "Sets the string value and expiration time of a key. Creates the key if it doesn't exist.",
    |engine, args, env| set_with_ttl(engine, args, env, Unit::Seconds, "setex"),
);
/// PSETEX
pub const PSETEX: Command = Command::data(
    "psetex",
    "<key> <milliseconds> <value>",
    "Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist.",
    |engine, args, env| set_with_ttl(engine, args, env, Unit::Milliseconds, "psetex"),
);

fn set(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.key(args.get(1));
    if args.len() == 3 {
        // The common case: nothing to look at. An expired value is replaced as any other.
        engine.set(&key, args.get(2), ExpiryChange::Drop, env);
        env.reply.ok();
        return Ok(());
    }
    let options = Options::parse(args.skip(3), Allowed::Set)?;
    let expiry = options.expiry.resolve(env.now, "set")?;
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

/// Whether the key is as the condition asks.
fn holds(
    engine: &mut Engine,
    key: &Key<'_>,
    condition: Option<Condition<'_>>,
    env: &mut Env<'_>,
) -> Result<bool, CommandError> {
    let Some(condition) = condition else { return Ok(true) };
    let entry = engine.look_up(key, env);
    Ok(match (condition, entry) {
        (Condition::IfMissing, entry) => entry.is_none(),
        (Condition::IfThere, entry) => entry.is_some(),
        (Condition::IfEqual(_), None) => false,
        (Condition::IfEqual(text), Some(entry)) => {
            check_string(entry)?;
            text_of(entry, &mut itoa::Buffer::new())? == text
        }
    })
}

/// Sets a string. A deadline that has passed already removes the key instead.
pub(super) fn store(engine: &mut Engine, key: &Key<'_>, value: &[u8], expiry: Expiry, env: &mut Env<'_>) {
    let change = match expiry {
        Expiry::At(at) if at <= env.now => {
            engine.unlink(key, env);
            return;
        }
        Expiry::At(at) => ExpiryChange::At(at),
        Expiry::Keep => {
            // A deadline that has passed is not kept: the key is gone by then.
            engine.is_alive(key, env);
            ExpiryChange::Keep
        }
        Expiry::None | Expiry::Persist => ExpiryChange::Drop,
    };
    engine.set(key, value, change, env);
}

fn setnx(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.key(args.get(1));
    let missing = engine.look_up(&key, env).is_none();
    if missing {
        engine.set(&key, args.get(2), ExpiryChange::Drop, env);
    }
    env.reply.integer(i64::from(missing));
    Ok(())
}

fn set_with_ttl(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    unit: Unit,
    name: &'static str,
) -> Result<(), CommandError> {
    let at: WallMs = deadline(unit, args.get(2), env.now, name)?;
    let key = engine.key(args.get(1));
    store(engine, &key, args.get(3), Expiry::At(at), env);
    env.reply.ok();
    Ok(())
}
