//! HSET, HMSET, HSETNX.

use super::look_up::{distinct, fields_of, look_up, note_expired};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::ExpiryChange;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

const SYNTAX: &str = "<key> <field> <value> [<field> <value> ...]";

/// HSET key field value \[field value ...]
pub const HSET: Command =
    Command::data("hset", SYNTAX, "Sets hash fields and returns how many of them are new.", |engine, args, env| {
        let created = set(engine, args, env, "hset")?;
        env.reply.integer(created as i64);
        Ok(())
    });
/// HMSET key field value \[field value ...]
pub const HMSET: Command =
    Command::data("hmset", SYNTAX, "Sets hash fields; the older form of HSET.", |engine, args, env| {
        set(engine, args, env, "hmset")?;
        env.reply.ok();
        Ok(())
    });
/// HSETNX key field value
pub const HSETNX: Command = Command::data(
    "hsetnx",
    "<key> <field> <value>",
    "Sets a hash field, but only if the field does not exist.",
    hsetnx,
);

/// Sets the fields and returns how many of them are new.
fn set(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, name: &'static str) -> Result<usize, CommandError> {
    let pairs = args.skip(2);
    if pairs.len() % 2 == 1 {
        return Err(CommandError::Arity(name));
    }
    let key = engine.first_key(args, env);
    let hash = look_up(engine, &key, env)?;
    let is_new = |field: &[u8]| hash.is_none_or(|hash| hash.get(field).is_none());
    let created = distinct(fields_of(pairs), is_new).len();
    note_expired(engine, &key, fields_of(pairs), env);
    engine.set_fields(&key, pairs, ExpiryChange::Drop, env);
    engine.notify(NotifyClasses::HASH, "hset", &key);
    Ok(created)
}

fn hsetnx(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let missing = look_up(engine, &key, env)?.is_none_or(|hash| hash.get(args.get(2)).is_none());
    if missing {
        note_expired(engine, &key, fields_of(args.skip(2)), env);
        engine.set_fields(&key, args.skip(2), ExpiryChange::Drop, env);
        engine.notify(NotifyClasses::HASH, "hset", &key);
    }
    env.reply.integer(i64::from(missing));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn counts_new_fields() {
        check("HSET h a 1 b 2 => :2 | HSET h a 3 c 4 => :1 | HSET h d 1 d 2 => :1 | HMGET h a d => *2 $1 3 $1 2");
        check("HMSET h a 1 => +OK | HMSET h a 2 b 3 => +OK | HGETALL h => *4 $1 a $1 2 $1 b $1 3");
        check("HSETNX h a 1 => :1 | HSETNX h a 2 => :0 | HGET h a => $1 1");
    }

    #[test]
    fn refusals() {
        check("HSET h a 1 b => -ERR wrong number of arguments for 'hset' command | EXISTS h => :0");
        check("HMSET h a 1 b => -ERR wrong number of arguments for 'hmset' command");
        check("SET s 1 => +OK | HSETNX s a 1 => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn keeps_the_deadline_of_the_key() {
        check("HSET h a 1 => :1 | PEXPIRE h 50 => :1 | HSET h b 2 => :1 | PTTL h => :50 | wait 51 | HSET h c 1 => :1");
        check("HSET h a 1 => :1 | PEXPIRE h 50 => :1 | wait 51 | HLEN h => :0 | HSETNX h b 2 => :1 | PTTL h => :-1");
    }

    #[test]
    fn encodings() {
        let (fits, long) = ("v".repeat(64), "v".repeat(65));
        check(&format!("HSET h {fits} {fits} => :1 | OBJECT ENCODING h => $8 listpack"));
        check(&format!("HSET h a {long} => :1 | OBJECT ENCODING h => $9 hashtable"));
        check(&format!("HSET h {long} a b c => :2 | HDEL h {long} => :1 | OBJECT ENCODING h => $9 hashtable"));
        let mut bench = Bench::new();
        for i in 0..512 {
            bench.run(&[b"HSET", b"h", format!("f{i}").as_bytes(), b"v"]);
        }
        bench.script("OBJECT ENCODING h => $8 listpack | HSET h f0 w => :0 | OBJECT ENCODING h => $8 listpack");
        bench.script("HSET h more v => :1 | OBJECT ENCODING h => $9 hashtable | HLEN h => :513 | HGET h f0 => $1 w");
    }

    #[test]
    fn works_as_other_types_do() {
        check(
            "HSET h a 1 => :1 | TYPE h => +hash | SCAN 0 TYPE hash COUNT 99 => *2 $1 0 *1 $1 h | OBJECT REFCOUNT h => :1",
        );
        check(
            "HSET h a 1 => :1 | COPY h i => :1 | HSET h a 2 => :0 | HGET i a => $1 1 | RENAME i h => +OK | HGET h a => $1 1",
        );
        check("HSET h a 1 => :1 | DEL h => :1 | HSET h a 1 => :1 | UNLINK h => :1 | EXISTS h => :0 | DBSIZE => :0");
    }
}
