//! APPEND, SETRANGE.

use super::check_length;
use crate::command::parse::integer;
use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use crate::keyspace::Key;
use fastness_resp::Args;

/// APPEND
pub const APPEND: Command = Command::data(
    "append",
    "<key> <value>",
    "Appends a string to the value of a key. Creates the key if it doesn't exist.",
    append,
);
/// SETRANGE
pub const SETRANGE: Command = Command::data(
    "setrange",
    "<key> <offset> <value>",
    "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist.",
    setrange,
);

/// The string's length; `None` if the key is missing.
fn length(engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) -> Result<Option<usize>, CommandError> {
    engine.value(key, env).map(|value| value.text_len().ok_or(CommandError::WrongType)).transpose()
}

fn append(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (key, tail) = (engine.key(args.get(1)), args.get(2));
    let len = length(engine, &key, env)?;
    if let Some(len) = len {
        check_length(len, tail.len())?;
    }
    engine.append(&key, tail, env);
    env.reply.integer((len.unwrap_or(0) + tail.len()) as i64);
    Ok(())
}

fn setrange(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let offset = usize::try_from(integer(args.get(2))?).map_err(|_| CommandError::OffsetOutOfRange)?;
    let (key, bytes) = (engine.key(args.get(1)), args.get(3));
    let len = length(engine, &key, env)?.unwrap_or(0);
    if bytes.is_empty() {
        env.reply.integer(len as i64);
        return Ok(());
    }
    check_length(offset, bytes.len())?;
    engine.set_range(&key, offset as u64, bytes, env);
    env.reply.integer(len.max(offset + bytes.len()) as i64);
    Ok(())
}
