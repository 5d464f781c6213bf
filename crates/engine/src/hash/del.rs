//! HDEL. The key goes with the last field.

use super::{distinct, look_up};
use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use fastness_resp::Args;

/// HDEL key field \[field ...]
pub const HDEL: Command =
    Command::data("hdel", "<key> <field> [<field> ...]", "Removes fields of a hash, and the key with the last.", hdel);

fn hdel(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = env.first_key(engine, args);
    let hash = look_up(engine, &key, env)?;
    let is_there = |field: &[u8]| hash.is_some_and(|hash| hash.get(field).is_some());
    let found = distinct(args.skip(2).iter(), is_there);
    engine.remove_fields(&key, Args::slices(&found), env);
    env.reply.integer(found.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn counts_what_was_there() {
        check("HDEL h a => :0 | HSET h a 1 b 2 c 3 => :3 | HDEL h a a x c => :2 | HGETALL h => *2 $1 b $1 2");
    }

    #[test]
    fn the_key_goes_with_its_last_field() {
        check("HSET h a 1 b 2 => :2 | HDEL h a b => :2 | EXISTS h => :0 | TYPE h => +none");
        let long = "v".repeat(100);
        check(&format!("HSET h a {long} b 2 => :2 | HDEL h a b => :2 | EXISTS h => :0 | DBSIZE => :0"));
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
