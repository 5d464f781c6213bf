//! LPUSH, RPUSH, LPUSHX, RPUSHX.

use super::change::ListEnd;
use super::look_up::look_up;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

const SYNTAX: &str = "<key> <element> [<element> ...]";

/// LPUSH key element \[element ...]
pub const LPUSH: Command = Command::data(
    "lpush",
    SYNTAX,
    "Adds elements at the head of a list and returns its length.",
    |engine, args, env| push(engine, args, env, ListEnd::Head, false),
);
/// RPUSH key element \[element ...]
pub const RPUSH: Command = Command::data(
    "rpush",
    SYNTAX,
    "Adds elements at the tail of a list and returns its length.",
    |engine, args, env| push(engine, args, env, ListEnd::Tail, false),
);
/// LPUSHX key element \[element ...]
pub const LPUSHX: Command = Command::data(
    "lpushx",
    SYNTAX,
    "Adds elements at the head of a list, but only if the list exists.",
    |engine, args, env| push(engine, args, env, ListEnd::Head, true),
);
/// RPUSHX key element \[element ...]
pub const RPUSHX: Command = Command::data(
    "rpushx",
    SYNTAX,
    "Adds elements at the tail of a list, but only if the list exists.",
    |engine, args, env| push(engine, args, env, ListEnd::Tail, true),
);

fn push(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    end: ListEnd,
    only_existing: bool,
) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let len = look_up(engine, &key, env)?.map(|list| list.len());
    if len.is_none() && only_existing {
        env.reply.integer(0);
        return Ok(());
    }
    let elements = args.skip(2);
    engine.push_elements(&key, end, elements, env);
    env.reply.integer((len.unwrap_or(0) + elements.len()) as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn adds_at_either_end() {
        check("RPUSH l a b => :2 | LPUSH l c d => :4 | LRANGE l 0 -1 => *4 $1 d $1 c $1 a $1 b");
        check("LPUSHX l a => :0 | RPUSHX l a => :0 | EXISTS l => :0 | RPUSH l a => :1 | LPUSHX l b c => :3");
        check("RPUSH l a => :1 | RPUSHX l b c => :3 | LRANGE l 0 -1 => *3 $1 a $1 b $1 c");
    }

    #[test]
    fn refusals() {
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!("SET s 1 => +OK | LPUSH s a => {wrong} | RPUSHX s a => {wrong}"));
        check("LPUSH l => -ERR wrong number of arguments for 'lpush' command");
    }

    #[test]
    fn keeps_the_deadline_of_the_key() {
        check("RPUSH l a => :1 | PEXPIRE l 50 => :1 | RPUSH l b => :2 | PTTL l => :50 | wait 51 | RPUSH l c => :1");
        check("RPUSH l a => :1 | PEXPIRE l 50 => :1 | wait 51 | RPUSHX l b => :0 | LLEN l => :0");
    }

    #[test]
    fn encodings() {
        let (fits, long) = ("v".repeat(8_000), "v".repeat(8_193));
        check(&format!("RPUSH l {fits} => :1 | OBJECT ENCODING l => $8 listpack"));
        check(&format!("RPUSH l {long} => :1 | OBJECT ENCODING l => $9 quicklist"));
        check(&format!(
            "RPUSH l a {long} => :2 | RPOP l => ${} {long} | \
        OBJECT ENCODING l => $8 listpack",
            long.len()
        ));
        let mut bench = Bench::new();
        // 8,185 bytes of elements fit beside the frame of a listpack.
        for _ in 0..165 {
            bench.run(&[b"RPUSH", b"l", &[b'e'; 47]]);
        }
        bench.script("OBJECT ENCODING l => $8 listpack | LLEN l => :165");
        let last = "e".repeat(101);
        bench.script(&format!("RPUSH l {last} => :166 | OBJECT ENCODING l => $9 quicklist"));
    }

    #[test]
    fn works_as_other_types_do() {
        check(
            "RPUSH l a => :1 | TYPE l => +list | SCAN 0 TYPE list COUNT 99 => *2 $1 0 *1 $1 l | \
            OBJECT REFCOUNT l => :1",
        );
        check(
            "RPUSH l a => :1 | COPY l m => :1 | RPUSH l b => :2 | LRANGE m 0 -1 => *1 $1 a | \
            RENAME m l => +OK | LLEN l => :1",
        );
        check("RPUSH l a => :1 | DEL l => :1 | RPUSH l a => :1 | UNLINK l => :1 | EXISTS l => :0 | DBSIZE => :0");
    }
}
