//! BZPOPMIN, BZPOPMAX, BZMPOP: as the commands without B, and if there is no member they wait for one.

use super::look_up::look_up;
use super::packed::NUMBER;
use super::pop::{MemberPopArguments, PopEnd, reply_of, reply_one};
use crate::blocking::{KeyWait, timeout_seconds};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};
use std::ops::Range;
use std::time::Duration;

/// BZPOPMIN key \[key ...] timeout
pub const BZPOPMIN: Command = Command::data(
    "bzpopmin",
    "<key> [<key> ...] <timeout>",
    "Removes and returns the member with the lowest score of the first of several sorted sets that exists; waits for one.",
    |engine, args, env| pop(engine, args, env, PopEnd::Min),
);
/// BZPOPMAX key \[key ...] timeout
pub const BZPOPMAX: Command = Command::data(
    "bzpopmax",
    "<key> [<key> ...] <timeout>",
    "Removes and returns the member with the highest score of the first of several sorted sets that exists; waits for one.",
    |engine, args, env| pop(engine, args, env, PopEnd::Max),
);
/// BZMPOP timeout numkeys key \[key ...] MIN|MAX \[COUNT count]
pub const BZMPOP: Command = Command::data(
    "bzmpop",
    "<timeout> <numkeys> <key> [<key> ...] MIN|MAX [COUNT <count>]",
    "Removes and returns members of the first of several sorted sets that exists; waits for one.",
    |engine, args, env| {
        let MemberPopArguments { keys, end, count } = MemberPopArguments::parse(args, 2)?;
        let timeout = timeout_seconds(args.get(1), env.now)?;
        pop_first(engine, args, env, MemberSources { keys, timeout, end, count: Some(count) })
    },
);

/// From what a command removes members.
struct MemberSources {
    /// Which arguments are the keys.
    keys: Range<usize>,
    timeout: Option<Duration>,
    end: PopEnd,
    /// `None`: one member, which the reply has without an array of its own.
    count: Option<usize>,
}

fn pop(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, end: PopEnd) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let timeout = timeout_seconds(args.get(last), env.now)?;
    pop_first(engine, args, env, MemberSources { keys: 1..last, timeout, end, count: None })
}

fn pop_first(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    MemberSources { keys, timeout, end, count }: MemberSources,
) -> Result<(), CommandError> {
    for name in args.take(keys.end).skip(keys.start).iter() {
        let key = engine.key(name);
        let Some(set) = look_up(engine, &key, env)? else { continue };
        if env.is_behind(&key, NUMBER) {
            continue;
        }
        let popped = match count {
            Some(count) => reply_of(set, &key, (end, count), env.reply),
            None => reply_one(set, &key, end, env.reply),
        };
        popped.remove(engine, &key, env);
        return Ok(());
    }
    let wait = KeyWait { of: NUMBER, keys, timeout, on_any_change: false, note: Box::default() };
    env.wait_or(wait, ReplyBuf::null_array);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;
    use std::time::Duration;

    const THREE: &str = "ZADD z 1 a 2 b 3 c => :3";

    #[test]
    fn with_members_they_are_the_commands_without_b() {
        check(&format!("{THREE} | BZPOPMIN y z 0 => *3 $1 z $1 a $1 1 | BZPOPMAX z 1.5 => *3 $1 z $1 c $1 3"));
        check(&format!(
            "{THREE} | BZMPOP 0 2 y z MAX COUNT 2 => *2 $1 z *2 *2 $1 c $1 3 *2 $1 b $1 2 | \
            BZMPOP 1 1 z MIN => *2 $1 z *1 *2 $1 a $1 1 | EXISTS z => :0"
        ));
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script(&format!("{THREE} | BZPOPMIN z 0 => *3 $1 z $1 a ,1 | BZMPOP 0 1 z MIN => *2 $1 z *1 *2 $1 b ,2"));
    }

    /// As inside of EXEC.
    #[test]
    fn without_members_and_the_right_to_wait_they_reply_nothing() {
        check("BZPOPMIN z 0 => *-1 | BZPOPMAX y z 0 => *-1 | BZMPOP 0 1 z MIN => *-1");
    }

    #[test]
    fn refusals() {
        check(
            "BZPOPMIN z x => -ERR timeout is not a float or out of range | BZPOPMAX z -1 => -ERR timeout is negative",
        );
        check(
            "BZMPOP x 0 z MIN => -ERR numkeys should be greater than 0 | BZMPOP -1 1 z MIN => -ERR timeout is negative",
        );
        check(
            "BZMPOP 0 2 z MIN => -ERR syntax error | BZMPOP 0 1 z MIN COUNT 0 => -ERR count should be greater than 0",
        );
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!("SET s 1 => +OK | BZPOPMIN z s 0 => {wrong} | BZMPOP 0 1 s MAX => {wrong}"));
    }

    #[test]
    fn they_say_what_they_wait_for() {
        let mut bench = Bench::new();
        let wait = bench.run_waiting(&[b"BZMPOP", b"0.25", b"2", b"y", b"z", b"MIN"], false).1.unwrap();
        assert_eq!((wait.of, wait.keys, wait.timeout), (super::NUMBER, 3..5, Some(Duration::from_millis(250))));
        bench.script(THREE);
        assert!(bench.run_waiting(&[b"BZPOPMIN", b"z", b"0"], true).1.is_some(), "others wait longer");
        bench.script("ZCARD z => :3");
        assert_eq!(bench.run_waiting(&[b"BZPOPMIN", b"z", b"0"], false).1, None);
        bench.script("ZCARD z => :2");
    }
}
