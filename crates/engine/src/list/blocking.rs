//! BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH: as the commands without B, and if there is no element they wait for one.

use super::change::ListEnd;
use super::lmove;
use super::look_up::look_up;
use super::packed::NUMBER;
use super::pop::{ListPopArguments, reply_of};
use super::view::reply_element;
use crate::blocking::{KeyWait, timeout_seconds};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};
use std::ops::Range;
use std::time::Duration;

/// BLPOP key \[key ...] timeout
pub const BLPOP: Command = Command::data(
    "blpop",
    "<key> [<key> ...] <timeout>",
    "Removes and returns the first element of the first of several lists that exists; waits for one.",
    |engine, args, env| pop(engine, args, env, ListEnd::Head),
);
/// BRPOP key \[key ...] timeout
pub const BRPOP: Command = Command::data(
    "brpop",
    "<key> [<key> ...] <timeout>",
    "Removes and returns the last element of the first of several lists that exists; waits for one.",
    |engine, args, env| pop(engine, args, env, ListEnd::Tail),
);
/// BLMPOP timeout numkeys key \[key ...] LEFT | RIGHT \[COUNT count]
pub const BLMPOP: Command = Command::data(
    "blmpop",
    "<timeout> <numkeys> <key> [<key> ...] (LEFT|RIGHT) [COUNT <count>]",
    "Removes and returns elements from the first of several lists that exists; waits for one.",
    |engine, args, env| {
        let ListPopArguments { keys, end, count } = ListPopArguments::parse(args, 2)?;
        let timeout = timeout_seconds(args.get(1), env.now)?;
        pop_first(engine, args, env, ListSources { keys, timeout, end, count: Some(count) })
    },
);
/// BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout
pub const BLMOVE: Command = Command::data(
    "blmove",
    "<source> <destination> (LEFT|RIGHT) (LEFT|RIGHT) <timeout>",
    "Moves an element from an end of a list to an end of another one, and returns it; waits for one.",
    |engine, args, env| {
        let (from, to) = (ListEnd::parse(args.get(3))?, ListEnd::parse(args.get(4))?);
        let timeout = timeout_seconds(args.get(5), env.now)?;
        move_element(engine, args, env, (from, to), timeout)
    },
);
/// BRPOPLPUSH source destination timeout
pub const BRPOPLPUSH: Command = Command::data(
    "brpoplpush",
    "<source> <destination> <timeout>",
    "Moves the last element of a list to the head of another one, and returns it; waits for one.",
    |engine, args, env| {
        let timeout = timeout_seconds(args.get(3), env.now)?;
        move_element(engine, args, env, (ListEnd::Tail, ListEnd::Head), timeout)
    },
);

/// From what a command removes elements.
struct ListSources {
    /// Which arguments are the keys.
    keys: Range<usize>,
    timeout: Option<Duration>,
    end: ListEnd,
    /// `None`: one element, which the reply has without an array of its own.
    count: Option<i64>,
}

/// A wait for a list at one of these keys.
fn list_at(keys: Range<usize>, timeout: Option<Duration>) -> KeyWait {
    KeyWait { of: NUMBER, keys, timeout, on_any_change: false, note: Box::default() }
}

fn pop(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, end: ListEnd) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let timeout = timeout_seconds(args.get(last), env.now)?;
    pop_first(engine, args, env, ListSources { keys: 1..last, timeout, end, count: None })
}

fn pop_first(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    ListSources { keys, timeout, end, count }: ListSources,
) -> Result<(), CommandError> {
    for bytes in args.take(keys.end).skip(keys.start).iter() {
        let key = engine.key(bytes);
        let Some(list) = look_up(engine, &key, env)? else { continue };
        if env.is_behind(&key, NUMBER) {
            continue;
        }
        if let Some(count) = count {
            let popped = reply_of(list, &key, (end, count), env.reply);
            popped.remove(engine, &key, env);
            return Ok(());
        }
        env.reply.array(2);
        env.reply.bulk(bytes);
        let element = list.get(if end == ListEnd::Head { 0 } else { list.len() - 1 });
        element.into_iter().for_each(|element| reply_element(element, env.reply));
        engine.pop_elements(&key, end, 1, env);
        return Ok(());
    }
    env.wait_or(list_at(keys, timeout), ReplyBuf::null_array);
    Ok(())
}

fn move_element(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    (from, to): (ListEnd, ListEnd),
    timeout: Option<Duration>,
) -> Result<(), CommandError> {
    let source = engine.first_key(args, env);
    let exists = look_up(engine, &source, env)?.is_some();
    if exists && !env.is_behind(&source, NUMBER) {
        return lmove::run(engine, args, env, from, to);
    }
    env.wait_or(list_at(1..2, timeout), ReplyBuf::null);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, check};

    #[test]
    fn with_elements_they_are_the_commands_without_b() {
        check(
            "RPUSH l a b c => :3 | BLPOP k l 0 => *2 $1 l $1 a | BRPOP l 1.5 => *2 $1 l $1 c | BLPOP l 0 => *2 $1 l $1 b",
        );
        check(
            "RPUSH l a b c => :3 | BLMPOP 0 2 k l RIGHT COUNT 2 => *2 $1 l *2 $1 c $1 b | BLMPOP 1 1 l LEFT => *2 $1 l *1 $1 a",
        );
        check(
            "RPUSH l a b => :2 | BLMOVE l m LEFT RIGHT 0 => $1 a | BRPOPLPUSH l m 0 => $1 b | LRANGE m 0 -1 => *2 $1 b $1 a",
        );
    }

    /// As inside of EXEC.
    #[test]
    fn without_elements_and_the_right_to_wait_they_reply_nothing() {
        check("BLPOP k l 0 => *-1 | BRPOP k 0 => *-1 | BLMPOP 0 1 k LEFT => *-1 | BLMOVE k l LEFT LEFT 0 => $-1");
        check("BRPOPLPUSH k l 0 => $-1");
    }

    #[test]
    fn refusals() {
        check("BLPOP k x => -ERR timeout is not a float or out of range | BLPOP k -1 => -ERR timeout is negative");
        check(
            "BLMOVE k l x LEFT y => -ERR syntax error | BLMOVE k l LEFT LEFT y => -ERR timeout is not a float or out of range",
        );
        check(
            "BLMPOP x 0 k LEFT => -ERR numkeys should be greater than 0 | BLMPOP x 1 k LEFT => -ERR timeout is not a float or out of range",
        );
        check(
            "BLMPOP 0 2 k LEFT => -ERR syntax error | BLMPOP 0 1 k LEFT COUNT 0 => -ERR count should be greater than 0",
        );
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!(
            "SET s 1 => +OK | BLPOP k s 0 => {wrong} | BLMOVE s l LEFT LEFT 0 => {wrong} | BRPOPLPUSH s l 0 => {wrong}"
        ));
        check(&format!("SET s 1 => +OK | RPUSH l a => :1 | BLMOVE l s LEFT LEFT 0 => {wrong} | LLEN l => :1"));
    }

    #[test]
    fn they_say_what_they_wait_for() {
        let mut bench = Bench::new();
        let (reply, wait) = bench.run_waiting(&[b"BLPOP", b"k", b"l", b"0.5"], false);
        assert!(reply.is_empty());
        assert_eq!(wait, Some(list_at(1..3, Some(Duration::from_millis(500)))));
        assert_eq!(bench.run_waiting(&[b"BLMPOP", b"0", b"1", b"k", b"LEFT"], false).1, Some(list_at(3..4, None)));
        assert_eq!(bench.run_waiting(&[b"BRPOPLPUSH", b"k", b"l", b"0"], false).1, Some(list_at(1..2, None)));
        bench.script("RPUSH l a => :1");
        assert_eq!(
            bench.run_waiting(&[b"BLPOP", b"k", b"l", b"0"], false),
            (b"*2\r\n$1\r\nl\r\n$1\r\na\r\n".to_vec(), None)
        );
    }

    #[test]
    fn nothing_is_taken_from_those_who_wait_longer() {
        let mut bench = Bench::new();
        bench.script("RPUSH l a => :1");
        for words in [&[&b"BLPOP"[..], b"l", b"0"][..], &[b"BLMOVE", b"l", b"m", b"LEFT", b"LEFT", b"0"]] {
            let (reply, wait) = bench.run_waiting(words, true);
            assert!(reply.is_empty() && wait.is_some());
        }
        bench.script("LLEN l => :1");
    }
}
