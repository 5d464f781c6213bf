//! LLEN, LINDEX, LRANGE.

use super::look_up::read;
use super::view::reply_element;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// LLEN key
pub const LLEN: Command =
    Command::data("llen", "<key>", "Returns the number of elements in a list.", |engine, args, env| {
        let key = engine.first_key(args, env);
        let len = read(engine, &key, env)?.map_or(0, |list| list.len());
        env.reply.integer(len as i64);
        Ok(())
    });
/// LINDEX key index
pub const LINDEX: Command =
    Command::data("lindex", "<key> <index>", "Returns an element of a list by its position.", lindex);
/// LRANGE key start stop
pub const LRANGE: Command =
    Command::data("lrange", "<key> <start> <stop>", "Returns the elements of a list in a range of positions.", lrange);

fn lindex(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let Some(list) = read(engine, &key, env)? else {
        env.reply.null();
        return Ok(());
    };
    match list.index(integer(args.get(2))?).and_then(|index| list.get(index)) {
        Some(element) => reply_element(element, env.reply),
        None => env.reply.null(),
    }
    Ok(())
}

fn lrange(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (start, end) = (integer(args.get(2))?, integer(args.get(3))?);
    let key = engine.first_key(args, env);
    let list = read(engine, &key, env)?;
    let Some((list, (from, to))) = list.and_then(|list| Some((list, list.range(start, end)?))) else {
        env.reply.array(0);
        return Ok(());
    };
    env.reply.array(to - from);
    list.iter_from(from).take(to - from).for_each(|element| reply_element(element, env.reply));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn positions_count_from_either_end() {
        check(
            "RPUSH l a b c => :3 | LLEN l => :3 | LINDEX l 0 => $1 a | LINDEX l -1 => $1 c | \
            LINDEX l 3 => $-1 | LINDEX l -4 => $-1",
        );
        check(
            "RPUSH l a b c => :3 | LRANGE l 1 -1 => *2 $1 b $1 c | LRANGE l -100 100 => *3 $1 a $1 b $1 c | \
            LRANGE l 2 1 => *0",
        );
        check(
            "LLEN l => :0 | LINDEX l x => $-1 | LRANGE l 0 -1 => *0 | \
            LRANGE l x 1 => -ERR value is not an integer or out of range",
        );
        check(
            "RPUSH l 1 => :1 | LINDEX l x => -ERR value is not an integer or out of range | \
            LINDEX l -9223372036854775808 => $-1",
        );
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!("SET s 1 => +OK | LLEN s => {wrong} | LINDEX s 0 => {wrong} | LRANGE s 0 1 => {wrong}"));
    }

    #[test]
    fn elements_of_a_large_list_are_found() {
        let mut bench = Bench::new();
        for n in 0..9_000 {
            bench.run(&[b"RPUSH", b"l", format!("element-{n}").as_bytes()]);
        }
        for n in [0, 1, 4_499, 4_500, 8_998, 8_999] {
            let text = format!("element-{n}");
            bench.script(&format!(
                "LINDEX l {n} => ${0} {text} | \
            LINDEX l {1} => ${0} {text}",
                text.len(),
                n - 9_000
            ));
        }
        bench.script(
            "LRANGE l 8998 -1 => *2 $12 element-8998 $12 element-8999 | LRANGE l 700 700 => *1 $11 element-700",
        );
    }
}
