//! ZPOPMIN, ZPOPMAX, ZMPOP. The effect names the members that were removed.

use super::look_up::{look_up, reply_member};
use super::members::Member;
use super::view::SortedSet;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use crate::pairs::reply_head;
use fastness_resp::number::parse_int;
use fastness_resp::{Args, ReplyBuf};
use std::ops::Range;

/// ZPOPMIN key \[count]
pub const ZPOPMIN: Command = Command::data(
    "zpopmin",
    "<key> [<count>]",
    "Removes and returns the members of a sorted set with the lowest scores.",
    |engine, args, env| zpop(engine, args, env, PopEnd::Min),
);
/// ZPOPMAX key \[count]
pub const ZPOPMAX: Command = Command::data(
    "zpopmax",
    "<key> [<count>]",
    "Removes and returns the members of a sorted set with the highest scores.",
    |engine, args, env| zpop(engine, args, env, PopEnd::Max),
);
/// ZMPOP numkeys key \[key ...] MIN|MAX \[COUNT count]
pub const ZMPOP: Command = Command::data(
    "zmpop",
    "<numkeys> <key> [<key> ...] MIN|MAX [COUNT <count>]",
    "Removes and returns members of the first of several sorted sets that exists.",
    zmpop,
);

/// From which end members are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PopEnd {
    Min,
    Max,
}

impl PopEnd {
    /// The event of a removal here.
    fn popped(self) -> &'static str {
        if self == PopEnd::Min { "zpopmin" } else { "zpopmax" }
    }

    /// The ranks of so many members.
    fn ranks(self, count: usize, len: usize) -> Range<usize> {
        let count = count.min(len);
        match self {
            PopEnd::Min => 0..count,
            PopEnd::Max => len - count..len,
        }
    }
}

/// Replies with members of a sorted set in the order in which they are removed. Returns their ranks and the number of
/// all members.
fn reply_popped(
    set: SortedSet<'_>,
    (end, count): (PopEnd, usize),
    reply: &mut ReplyBuf,
    head: impl Fn(&mut ReplyBuf, usize),
    each: impl Fn(&mut ReplyBuf, Member<'_>),
) -> (Range<usize>, usize) {
    let ranks = end.ranks(count, set.len());
    head(reply, ranks.len());
    set.range(ranks.clone(), end == PopEnd::Max).for_each(|member| each(reply, member));
    (ranks, set.len())
}

fn zpop(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, end: PopEnd) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = args.try_get(2).map(|text| {
        let count = parse_int(text).and_then(|count| usize::try_from(count).ok());
        count.ok_or(CommandError::Fixed("ERR value is out of range, must be positive"))
    });
    let count = count.transpose()?;
    let key = engine.first_key(args, env);
    let Some(set) = look_up(engine, &key, env)?.filter(|_| count != Some(0)) else {
        env.reply.array(0);
        return Ok(());
    };
    let (ranks, len) = match count {
        // One member: an array of name and score in both versions of the protocol.
        None => {
            let flat = |reply: &mut ReplyBuf, (name, score): Member<'_>| {
                reply.bulk(name);
                reply.double(score);
            };
            reply_popped(set, (end, 1), env.reply, |reply, count| reply.array(2 * count), flat)
        }
        Some(count) => {
            let head = |reply: &mut ReplyBuf, count| reply_head(count, true, reply);
            reply_popped(set, (end, count), env.reply, head, |reply, member| reply_member(member, true, reply))
        }
    };
    engine.remove_ranks(&key, ranks, len, env);
    engine.notify_removal(NotifyClasses::ZSET, end.popped(), &key);
    Ok(())
}

fn zmpop(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let MemberPopArguments { keys, end, count } = MemberPopArguments::parse(args, 1)?;
    for name in args.take(keys.end).skip(keys.start).iter() {
        let key: Key<'_> = engine.key(name);
        let Some(set) = look_up(engine, &key, env)? else { continue };
        let popped = reply_of(set, &key, (end, count), env.reply);
        popped.remove(engine, &key, env);
        return Ok(());
    }
    env.reply.null_array();
    Ok(())
}

/// Arguments of ZMPOP and BZMPOP from `numkeys` on.
pub(super) struct MemberPopArguments {
    /// Which arguments are the keys.
    pub(super) keys: Range<usize>,
    pub(super) end: PopEnd,
    pub(super) count: usize,
}

impl MemberPopArguments {
    /// `at`: which argument is `numkeys`.
    pub(super) fn parse(args: Args<'_>, at: usize) -> Result<MemberPopArguments, CommandError> {
        let positive = |text: &[u8], error| {
            let number = parse_int(text).filter(|number| *number > 0).and_then(|number| usize::try_from(number).ok());
            number.ok_or(CommandError::Fixed(error))
        };
        let numkeys = positive(args.get(at), "ERR numkeys should be greater than 0")?;
        let rest = args.skip(at + 1);
        let end = match rest.try_get(numkeys) {
            Some(word) if word.eq_ignore_ascii_case(b"min") => PopEnd::Min,
            Some(word) if word.eq_ignore_ascii_case(b"max") => PopEnd::Max,
            _ => return Err(CommandError::Syntax),
        };
        let options = rest.skip(numkeys).skip(1);
        let count = match options.try_get(0) {
            None => 1,
            Some(word) if word.eq_ignore_ascii_case(b"count") && options.len() >= 2 => {
                positive(options.get(1), "ERR count should be greater than 0")?
            }
            Some(_) => return Err(CommandError::Syntax),
        };
        if options.len() > 2 {
            return Err(CommandError::Syntax);
        }
        Ok(MemberPopArguments { keys: at + 1..at + 1 + numkeys, end, count })
    }
}

/// Members that a reply has, to be removed.
pub(super) struct PoppedMembers {
    end: PopEnd,
    ranks: Range<usize>,
    /// The number of all members.
    len: usize,
}

impl PoppedMembers {
    pub(super) fn remove(self, engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) {
        engine.remove_ranks(key, self.ranks, self.len, env);
        engine.notify_removal(NotifyClasses::ZSET, self.end.popped(), key);
    }
}

/// Replies with a key and up to `count` of its members, as ZMPOP does.
pub(super) fn reply_of(
    set: SortedSet<'_>,
    key: &Key<'_>,
    from: (PopEnd, usize),
    reply: &mut ReplyBuf,
) -> PoppedMembers {
    reply.array(2);
    reply.bulk(key.bytes);
    let each = |reply: &mut ReplyBuf, (name, score): Member<'_>| {
        reply.array(2);
        reply.bulk(name);
        reply.double(score);
    };
    let (ranks, len) = reply_popped(set, from, reply, |reply, count| reply.array(count), each);
    PoppedMembers { end: from.0, ranks, len }
}

/// Replies with a key, its first or last member and the score, as BZPOPMIN does.
pub(super) fn reply_one(set: SortedSet<'_>, key: &Key<'_>, end: PopEnd, reply: &mut ReplyBuf) -> PoppedMembers {
    reply.array(3);
    reply.bulk(key.bytes);
    let each = |reply: &mut ReplyBuf, (name, score): Member<'_>| {
        reply.bulk(name);
        reply.double(score);
    };
    let (ranks, len) = reply_popped(set, (end, 1), reply, |_, _| {}, each);
    PoppedMembers { end, ranks, len }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    const FIVE: &str = "ZADD z 1 a 2 b 3 c 4 d 5 e => :5";

    #[test]
    fn pops() {
        check(&format!(
            "ZPOPMIN z => *0 | {FIVE} | ZPOPMIN z => *2 $1 a $1 1 | ZPOPMAX z => *2 $1 e $1 5 | ZCARD z => :3"
        ));
        check(&format!(
            "{FIVE} | ZPOPMIN z 2 => *4 $1 a $1 1 $1 b $1 2 | ZPOPMAX z 9 => *6 $1 e $1 5 $1 d $1 4 $1 c $1 3 | EXISTS z => :0"
        ));
        check(&format!("{FIVE} | ZPOPMAX z 0 => *0 | ZCARD z => :5 | ZPOPMIN nosuch 3 => *0"));
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script(&format!(
            "{FIVE} | ZPOPMIN z => *2 $1 a ,1 | ZPOPMIN z 1 => *1 *2 $1 b ,2 | ZPOPMAX z 1 => *1 *2 $1 e ,5"
        ));
    }

    #[test]
    fn pops_of_the_first_that_exists() {
        check(&format!(
            "{FIVE} | ZMPOP 2 y z MIN => *2 $1 z *1 *2 $1 a $1 1 | ZMPOP 1 z max COUNT 2 => *2 $1 z *2 *2 $1 e $1 5 *2 $1 d $1 4"
        ));
        check(
            "ZMPOP 2 y z MIN => *-1 | SET s x => +OK | ZMPOP 2 y s MIN => -WRONGTYPE Operation against a key holding the \
               wrong kind of value",
        );
        check(&format!(
            "{FIVE} | ZMPOP 1 z MIN COUNT 99 => *2 $1 z *5 *2 $1 a $1 1 *2 $1 b $1 2 *2 $1 c $1 3 *2 $1 d $1 4 *2 $1 e $1 5 | EXISTS z => :0"
        ));
    }

    #[test]
    fn refusals() {
        for count in ["-1", "x", "9223372036854775808"] {
            check(&format!("ZPOPMIN z {count} => -ERR value is out of range, must be positive"));
        }
        check(
            "ZPOPMIN z 1 2 => -ERR syntax error | SET s x => +OK | ZPOPMIN s 0 => -WRONGTYPE Operation against a key \
               holding the wrong kind of value",
        );
        for numkeys in ["0", "x", "99999999999999999999"] {
            check(&format!("ZMPOP {numkeys} z MIN => -ERR numkeys should be greater than 0"));
        }
        for wrong in ["2 z MIN", "1 z FOO", "1 z MIN COUNT", "1 z MIN COUNT 1 COUNT 1", "9223372036854775807 z MIN"] {
            check(&format!("ZMPOP {wrong} => -ERR syntax error"));
        }
        check("ZMPOP 1 z MIN COUNT 0 => -ERR count should be greater than 0");
    }
}
