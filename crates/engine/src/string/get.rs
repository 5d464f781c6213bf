//! GET, MGET, STRLEN, GETSET, GETDEL.

use super::look_up::{check_string, reply_string, reply_string_or_null};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::ExpiryChange;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// GET
pub const GET: Command = Command::data("get", "<key>", "Returns the string value of a key.", get);
/// MGET
pub const MGET: Command =
    Command::data("mget", "<key> [<key> ...]", "Returns the string values of several keys.", mget);
/// STRLEN
pub const STRLEN: Command = Command::data("strlen", "<key>", "Returns the length of a string value, in bytes.", strlen);
/// GETSET
pub const GETSET: Command =
    Command::data("getset", "<key> <value>", "Sets the string value of a key and returns the previous value.", getset);
/// GETDEL
pub const GETDEL: Command =
    Command::data("getdel", "<key>", "Returns the string value of a key and deletes the key.", getdel);

fn get(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let entry = engine.read(&key, env);
    reply_string_or_null(entry, env.reply)
}

fn mget(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    env.reply.array(args.len() - 1);
    for key in args.skip(1).iter() {
        let key = engine.key(key);
        match engine.read(&key, env) {
            Some(entry) if check_string(entry).is_ok() => reply_string(entry, env.reply)?,
            _ => env.reply.null(),
        }
    }
    Ok(())
}

fn strlen(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let len = match engine.read(&key, env) {
        Some(entry) => entry.value().text_len().ok_or(CommandError::WrongType)?,
        None => 0,
    };
    env.reply.integer(len as i64);
    Ok(())
}

fn getset(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let entry = engine.read(&key, env);
    reply_string_or_null(entry, env.reply)?;
    engine.set(&key, args.get(2), ExpiryChange::Drop, env);
    engine.notify(NotifyClasses::STRING, "set", &key);
    Ok(())
}

fn getdel(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let entry = engine.read(&key, env);
    reply_string_or_null(entry, env.reply)?;
    if engine.unlink(&key, env) {
        engine.notify(NotifyClasses::GENERIC, "del", &key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn reads_strings_and_numbers() {
        check("GET k => $-1 | SET k v => +OK | GET k => $1 v | SET k 12 => +OK | GET k => $2 12");
        check("SET a 1 => +OK | MGET a b a => *3 $1 1 $-1 $1 1");
        check("STRLEN k => :0 | SET k -1234 => +OK | STRLEN k => :5 | SET k text => +OK | STRLEN k => :4");
    }

    #[test]
    fn reads_and_changes() {
        check("GETSET k a => $-1 | GETSET k b => $1 a | GET k => $1 b");
        check("SET k v EX 10 => +OK | GETSET k w => $1 v | TTL k => :-1");
        check("GETDEL k => $-1 | SET k v => +OK | GETDEL k => $1 v | EXISTS k => :0");
    }

    #[test]
    fn an_expired_key_does_not_exist() {
        check("SET k v PX 10 => +OK | wait 10 | GET k => $1 v | wait 1 | GET k => $-1 | DBSIZE => :0");
        check("SET k v PX 10 => +OK | wait 11 | GETDEL k => $-1");
    }
}
