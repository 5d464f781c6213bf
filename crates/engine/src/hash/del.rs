//! HDEL, HGETDEL. The key is removed with its last field.

use super::look_up::{distinct, look_up, reply_removed};
use super::options::{fields_after_key, numfields};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// HDEL key field \[field ...]
pub const HDEL: Command = Command::data(
    "hdel",
    "<key> <field> [<field> ...]",
    "Deletes hash fields; a hash without fields is deleted.",
    hdel,
);

/// HGETDEL key FIELDS numfields field \[field ...]
pub const HGETDEL: Command = Command::data(
    "hgetdel",
    "<key> FIELDS <numfields> <field> [<field> ...]",
    "Returns the values of hash fields and deletes the fields.",
    hgetdel,
);

fn hdel(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let hash = look_up(engine, &key, env)?;
    let exists = |field: &[u8]| hash.is_some_and(|hash| hash.get(field).is_some());
    let found = distinct(args.skip(2).iter(), exists);
    if !found.is_empty() {
        engine.remove_fields(&key, Args::slices(&found), env);
        engine.notify_removal(NotifyClasses::HASH, "hdel", &key);
    }
    env.reply.integer(found.len() as i64);
    Ok(())
}

fn hgetdel(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let fields = fields_after_key(args, numfields())?;
    let key = engine.first_key(args, env);
    let hash = look_up(engine, &key, env)?;
    let removed = reply_removed(hash, fields, env.reply);
    if !removed.is_empty() {
        engine.remove_fields(&key, Args::slices(&removed), env);
        engine.notify_removal(NotifyClasses::HASH, "hdel", &key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn counts_what_it_removed() {
        check("HDEL h a => :0 | HSET h a 1 b 2 c 3 => :3 | HDEL h a a x c => :2 | HGETALL h => *2 $1 b $1 2");
    }

    #[test]
    fn the_key_is_removed_with_its_last_field() {
        check("HSET h a 1 b 2 => :2 | HDEL h a b => :2 | EXISTS h => :0 | TYPE h => +none");
        let long = "v".repeat(100);
        check(&format!("HSET h a {long} b 2 => :2 | HDEL h a b => :2 | EXISTS h => :0 | DBSIZE => :0"));
    }

    #[test]
    fn values_are_returned_once() {
        check("HSET h a 1 b 2 => :2 | HGETDEL h FIELDS 3 a a c => *3 $1 1 $-1 $-1 | HGETALL h => *2 $1 b $1 2");
        check("HGETDEL h FIELDS 1 a => *1 $-1 | HSET h a 1 => :1 | HGETDEL h fields 1 a => *1 $1 1 | EXISTS h => :0");
        check(
            "HGETDEL h FOO 1 a => -ERR syntax error | HGETDEL h FIELDS x a => -ERR value is not an integer or out of range",
        );
        let error = "-ERR numfields should be greater than 0 and match the provided number of fields";
        check(&format!("HGETDEL h FIELDS 2 a => {error} | HGETDEL h FIELDS 0 a => {error}"));
    }

    #[test]
    fn nothing_is_staged_for_nothing() {
        let mut bench = Bench::new();
        bench.run(&[b"HSET", b"h", b"a", b"1"]);
        bench.effects.clear();
        bench.script("HDEL h b => :0 | HDEL i a => :0");
        assert!(bench.effects.is_empty());
    }
}
