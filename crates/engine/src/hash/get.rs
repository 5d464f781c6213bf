//! HGET, HMGET, HEXISTS, HSTRLEN, HLEN.
//!
//! HLEN counts the fields that can be read. Valkey also counts those past their deadline until it has removed them.

use super::look_up::{read, reply_value, reply_values};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// HGET key field
pub const HGET: Command = Command::data("hget", "<key> <field>", "Returns the value of a hash field.", hget);
/// HMGET key field \[field ...]
pub const HMGET: Command =
    Command::data("hmget", "<key> <field> [<field> ...]", "Returns the values of several hash fields.", hmget);
/// HEXISTS key field
pub const HEXISTS: Command =
    Command::data("hexists", "<key> <field>", "Returns whether a hash field exists.", |engine, args, env| {
        integer(engine, args, env, |value| i64::from(value.is_some()))
    });
/// HSTRLEN key field
pub const HSTRLEN: Command = Command::data(
    "hstrlen",
    "<key> <field>",
    "Returns the length of the value of a hash field, in bytes.",
    |engine, args, env| integer(engine, args, env, |value| value.map_or(0, |value| value.len() as i64)),
);
/// HLEN key
pub const HLEN: Command = Command::data("hlen", "<key>", "Returns the number of fields in a hash.", hlen);

fn hget(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let value = read(engine, &key, env)?.and_then(|hash| hash.get(args.get(2)));
    reply_value(value, env.reply);
    Ok(())
}

fn hmget(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let hash = read(engine, &key, env)?;
    reply_values(hash, args.skip(2), env.reply);
    Ok(())
}

/// Replies with a number that follows from the value of one field.
fn integer(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    number: impl Fn(Option<&[u8]>) -> i64,
) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let value = read(engine, &key, env)?.and_then(|hash| hash.get(args.get(2)));
    env.reply.integer(number(value));
    Ok(())
}

fn hlen(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let len = read(engine, &key, env)?.map_or(0, |hash| hash.len());
    env.reply.integer(len as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn reads_fields() {
        check("HGET h a => $-1 | HSET h a 1 b xy => :2 | HGET h a => $1 1 | HGET h c => $-1");
        check("HMGET h a => *1 $-1 | HSET h a 1 b xy => :2 | HMGET h b c b => *3 $2 xy $-1 $2 xy");
        check("HEXISTS h a => :0 | HSET h a 1 => :1 | HEXISTS h a => :1 | HEXISTS h b => :0");
        check("HSTRLEN h a => :0 | HSET h a 123 => :1 | HSTRLEN h a => :3 | HSTRLEN h b => :0");
        check("HLEN h => :0 | HSET h a 1 b 2 => :2 | HLEN h => :2");
    }

    #[test]
    fn other_types_are_refused() {
        let error = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        for command in ["HGET s a", "HMGET s a", "HEXISTS s a", "HSTRLEN s a", "HLEN s"] {
            check(&format!("SET s 1 => +OK | {command} => {error}"));
        }
        for command in ["GET h", "INCR h", "APPEND h x", "STRLEN h", "GETRANGE h 0 1", "SETRANGE h 0 x", "SET h x GET"]
        {
            check(&format!("HSET h a 1 => :1 | {command} => {error} | HGET h a => $1 1"));
        }
        check("HSET h a 1 => :1 | MGET h => *1 $-1 | SET h x => +OK | GET h => $1 x");
    }
}
