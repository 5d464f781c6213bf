//! LPOP, RPOP, LMPOP.

use super::change::ListEnd;
use super::look_up::look_up;
use super::view::{List, reply_element};
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Key;
use fastness_resp::{Args, ReplyBuf};
use std::ops::Range;

/// LPOP key \[count]
pub const LPOP: Command = Command::data(
    "lpop",
    "<key> [<count>]",
    "Removes and returns elements from the head of a list; a list without elements is deleted.",
    |engine, args, env| pop(engine, args, env, ListEnd::Head, "lpop"),
);
/// RPOP key \[count]
pub const RPOP: Command = Command::data(
    "rpop",
    "<key> [<count>]",
    "Removes and returns elements from the tail of a list; a list without elements is deleted.",
    |engine, args, env| pop(engine, args, env, ListEnd::Tail, "rpop"),
);
/// LMPOP numkeys key \[key ...] LEFT | RIGHT \[COUNT count]
pub const LMPOP: Command = Command::data(
    "lmpop",
    "<numkeys> <key> [<key> ...] (LEFT|RIGHT) [COUNT <count>]",
    "Removes and returns elements from the first of several lists that exists.",
    lmpop,
);

/// A number that is at least `least`, or the error with this text.
pub(super) fn at_least(text: &[u8], least: i64, error: &'static str) -> Result<i64, CommandError> {
    integer(text).ok().filter(|number| *number >= least).ok_or(CommandError::Fixed(error))
}

fn pop(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    end: ListEnd,
    name: &'static str,
) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Arity(name));
    }
    let count = args.try_get(2).map(|count| at_least(count, 0, "ERR value is out of range, must be positive"));
    let count = count.transpose()?;
    let key = engine.first_key(args, env);
    let Some(list) = look_up(engine, &key, env)? else {
        match count {
            None => env.reply.null(),
            Some(_) => env.reply.null_array(),
        }
        return Ok(());
    };
    let removed = match count {
        None => {
            in_order(list, end).next().into_iter().for_each(|element| reply_element(element, env.reply));
            1
        }
        Some(count) => reply_popped(list, end, count, env.reply),
    };
    engine.pop_elements(&key, end, removed, env);
    Ok(())
}

/// The elements in the order in which they are removed.
fn in_order(list: List<'_>, end: ListEnd) -> impl Iterator<Item = crate::codec::listpack::Packable<'_>> {
    match end {
        ListEnd::Head => list.iter_from(0),
        ListEnd::Tail => list.iter_back(list.len().saturating_sub(1)),
    }
}

/// Replies with up to `count` elements, and returns how many.
fn reply_popped(list: List<'_>, end: ListEnd, count: i64, reply: &mut ReplyBuf) -> usize {
    let count = usize::try_from(count).unwrap_or(0).min(list.len());
    reply.array(count);
    in_order(list, end).take(count).for_each(|element| reply_element(element, reply));
    count
}

fn lmpop(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let ListPopArguments { keys, end, count } = ListPopArguments::parse(args, 1)?;
    for bytes in args.take(keys.end).skip(keys.start).iter() {
        let key = engine.key(bytes);
        let Some(list) = look_up(engine, &key, env)? else { continue };
        let popped = reply_of(list, &key, (end, count), env.reply);
        popped.remove(engine, &key, env);
        return Ok(());
    }
    env.reply.null_array();
    Ok(())
}

/// Arguments of LMPOP and BLMPOP from `numkeys` on.
pub(super) struct ListPopArguments {
    /// Which arguments are the keys.
    pub(super) keys: Range<usize>,
    pub(super) end: ListEnd,
    pub(super) count: i64,
}

impl ListPopArguments {
    /// `at`: which argument is `numkeys`.
    pub(super) fn parse(args: Args<'_>, at: usize) -> Result<ListPopArguments, CommandError> {
        let numkeys = at_least(args.get(at), 1, "ERR numkeys should be greater than 0")?;
        let end_at = usize::try_from(numkeys).ok().and_then(|count| count.checked_add(at + 1));
        let end_at = end_at.ok_or(CommandError::Syntax)?;
        let end = ListEnd::parse(args.try_get(end_at).ok_or(CommandError::Syntax)?)?;
        let count = match args.len() - end_at - 1 {
            0 => 1,
            2 if args.get(end_at + 1).eq_ignore_ascii_case(b"count") => {
                at_least(args.get(end_at + 2), 1, "ERR count should be greater than 0")?
            }
            over => {
                // The first count is parsed before what follows is refused.
                if over > 2 && args.get(end_at + 1).eq_ignore_ascii_case(b"count") {
                    at_least(args.get(end_at + 2), 1, "ERR count should be greater than 0")?;
                }
                return Err(CommandError::Syntax);
            }
        };
        Ok(ListPopArguments { keys: at + 1..end_at, end, count })
    }
}

/// Elements that a reply has, to be removed.
pub(super) struct PoppedElements {
    end: ListEnd,
    count: usize,
}

/// Replies with a key and up to `count` of its elements, as LMPOP does.
pub(super) fn reply_of(
    list: List<'_>,
    key: &Key<'_>,
    (end, count): (ListEnd, i64),
    reply: &mut ReplyBuf,
) -> PoppedElements {
    reply.array(2);
    reply.bulk(key.bytes);
    PoppedElements { end, count: reply_popped(list, end, count, reply) }
}

impl PoppedElements {
    pub(super) fn remove(self, engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) {
        engine.pop_elements(key, self.end, self.count, env);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    #[test]
    fn removes_from_either_end() {
        check("LPOP l => $-1 | RPUSH l a b c d e => :5 | LPOP l => $1 a | RPOP l => $1 e | LPOP l 2 => *2 $1 b $1 c");
        check(
            "RPUSH l a b c => :3 | RPOP l 2 => *2 $1 c $1 b | RPOP l 9 => *1 $1 a | EXISTS l => :0 | RPOP l 9 => *-1",
        );
        check("RPUSH l a => :1 | LPOP l 0 => *0 | LPOP l => $1 a | EXISTS l => :0");
    }

    #[test]
    fn pops_from_the_first_list_that_exists() {
        check("LMPOP 2 l m LEFT => *-1 | RPUSH m a b c => :3 | LMPOP 2 l m RIGHT COUNT 2 => *2 $1 m *2 $1 c $1 b");
        check("RPUSH l a => :1 | LMPOP 1 l left count 9 => *2 $1 l *1 $1 a | EXISTS l => :0");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("LMPOP 1 l LEFT => _ | LPOP l => _ | LPOP l 1 => _ | RPUSH l a => :1 | LPOP l => $1 a");
    }

    #[test]
    fn refusals() {
        check(
            "LPOP l -1 => -ERR value is out of range, must be positive | \
            LPOP l x => -ERR value is out of range, must be positive",
        );
        check(
            "LPOP l 1 2 => -ERR wrong number of arguments for 'lpop' command | \
            LMPOP 0 l LEFT => -ERR numkeys should be greater than 0",
        );
        check(
            "LMPOP 1 l x => -ERR syntax error | LMPOP 2 l LEFT => -ERR syntax error | \
            LMPOP 1 l LEFT FOO 1 => -ERR syntax error",
        );
        check(
            "LMPOP 1 l LEFT COUNT 0 => -ERR count should be greater than 0 | \
            LMPOP 1 l LEFT COUNT 1 COUNT 1 => -ERR syntax error",
        );
        check("LMPOP 9223372036854775807 l LEFT => -ERR syntax error | LMPOP 1 l LEFT COUNT => -ERR syntax error");
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!("SET s 1 => +OK | LPOP s => {wrong} | RPOP s 1 => {wrong} | LMPOP 2 l s LEFT => {wrong}"));
    }

    #[test]
    fn nothing_is_staged_for_nothing() {
        let mut bench = Bench::new();
        bench.run(&[b"RPUSH", b"l", b"a"]);
        bench.effects.clear();
        bench.script(
            "LPOP m => $-1 | LPOP l 0 => *0 | LREM l 0 x => :0 | LTRIM l 0 -1 => +OK | LINSERT l BEFORE x y => :-1",
        );
        assert!(bench.effects.is_empty());
    }
}
