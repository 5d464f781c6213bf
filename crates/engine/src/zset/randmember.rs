//! ZRANDMEMBER: one random member, or several; distinct, or drawn independently of each other.

use super::look_up::{read, reply_head, reply_member, reply_members};
use super::members::Member;
use super::view::SortedSet;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::random::Random;
use fastness_resp::Args;
use fastness_types::limits::ENTRY_BYTES_MAX;
use std::collections::BTreeSet;

/// ZRANDMEMBER key \[count \[WITHSCORES]]
pub const ZRANDMEMBER: Command = Command::data(
    "zrandmember",
    "<key> [<count> [WITHSCORES]]",
    "Returns one or more random members of a sorted set.",
    zrandmember,
);

/// Longest reply of independently drawn members, bytes; their count has no other bound.
const REPLY_BYTES_MAX: usize = ENTRY_BYTES_MAX;
/// Drawing is faster than a walk through the whole sorted set while less than one member in this many is requested.
const DRAW_MAX: usize = 3;

fn zrandmember(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let options = args.try_get(2).map(|count| parse(count, args.skip(3))).transpose()?;
    let key = engine.first_key(args, env);
    let set = read(engine, &key, env)?;
    let Some((count, with_scores)) = options else {
        match set.and_then(|set| set.random(env.random)) {
            Some((name, _)) => env.reply.bulk(name),
            None => env.reply.null(),
        }
        return Ok(());
    };
    let Some(set) = set else {
        env.reply.array(0);
        return Ok(());
    };
    match usize::try_from(count) {
        Ok(count) => {
            let members = different(set, count, env.random);
            reply_members(members.len(), members.into_iter(), with_scores, env.reply);
            Ok(())
        }
        Err(_) => any(set, count.unsigned_abs(), with_scores, env),
    }
}

/// The count, and whether scores are requested.
fn parse(count: &[u8], options: Args<'_>) -> Result<(i64, bool), CommandError> {
    const RANGE: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(CommandError::Fixed(RANGE));
    }
    let Some(option) = options.try_get(0) else { return Ok((count, false)) };
    if options.len() > 1 || !option.eq_ignore_ascii_case(b"withscores") {
        return Err(CommandError::Syntax);
    }
    if count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::Fixed("ERR value is out of range"));
    }
    Ok((count, true))
}

/// Replies with independently drawn members.
fn any(set: SortedSet<'_>, count: u64, with_scores: bool, env: &mut Env<'_>) -> Result<(), CommandError> {
    let start = env.reply.len();
    let is_huge = CommandError::Fixed("ERR the reply would be too large");
    let count = usize::try_from(count).map_err(|_| is_huge.clone())?;
    reply_head(count, with_scores, env.reply);
    for _ in 0..count {
        let Some(member) = set.random(env.random) else { break };
        reply_member(member, with_scores, env.reply);
        if env.reply.len() - start > REPLY_BYTES_MAX {
            return Err(is_huge);
        }
    }
    Ok(())
}

/// Up to `count` distinct members.
fn different<'s>(set: SortedSet<'s>, count: usize, random: &mut dyn Random) -> Vec<Member<'s>> {
    let len = set.len();
    if count >= len {
        return set.unordered().collect();
    }
    if count < len / DRAW_MAX {
        return drawn(set, count, random);
    }
    // One walk: each member is taken with the probability `wanted / left`, so that every sample is equally likely.
    let (mut wanted, mut left) = (count as u64, len as u64);
    let is_taken = |_: &Member<'s>| {
        let taken = random.below(left) < wanted;
        left -= 1;
        wanted -= u64::from(taken);
        taken
    };
    set.unordered().filter(is_taken).collect()
}

fn drawn<'s>(set: SortedSet<'s>, count: usize, random: &mut dyn Random) -> Vec<Member<'s>> {
    let mut seen = BTreeSet::new();
    let mut members = Vec::new();
    while members.len() < count {
        let Some(member) = set.random(random) else { break };
        if seen.insert(member.0) {
            members.push(member);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::{Protocol, Value, value};
    use std::collections::BTreeSet;

    fn names(reply: &[u8]) -> Vec<Vec<u8>> {
        let (Value::Array(names), _) = value::parse(reply).unwrap().unwrap() else { panic!("an array") };
        names.iter().map(|name| name.as_bytes().unwrap().to_vec()).collect()
    }

    #[test]
    fn returns_the_requested_count() {
        for size in [100usize, 700] {
            let mut bench = Bench::new();
            for i in 0..size {
                bench.run(&[b"ZADD", b"z", b"1", format!("m{i}").as_bytes()]);
            }
            for count in [0, 1, 5, 30, 60, size - 1, size, 9_999] {
                let drawn = names(&bench.run(&[b"ZRANDMEMBER", b"z", count.to_string().as_bytes()]));
                assert_eq!(drawn.len(), count.min(size));
                assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len(), "all different");
            }
            let anew = names(&bench.run(&[b"ZRANDMEMBER", b"z", b"-2000"]));
            assert_eq!(anew.len(), 2_000);
            assert!(anew.iter().collect::<BTreeSet<_>>().len() > size * 8 / 10, "most of them");
        }
    }

    #[test]
    fn shapes() {
        check("ZRANDMEMBER z => $-1 | ZRANDMEMBER z 2 => *0 | ZADD z 1 a => :1 | ZRANDMEMBER z => $1 a");
        check("ZADD z 1 a => :1 | ZRANDMEMBER z 2 WITHSCORES => *2 $1 a $1 1 | ZRANDMEMBER z 0 => *0");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("ZADD z 1 a => :1 | ZRANDMEMBER z -2 WITHSCORES => *2 *2 $1 a ,1 *2 $1 a ,1");
    }

    #[test]
    fn refusals() {
        check(
            "ZRANDMEMBER z x => -ERR value is not an integer or out of range | ZRANDMEMBER z 1 FOO => -ERR syntax error",
        );
        check("ZRANDMEMBER z 9223372036854775807 WITHSCORES => -ERR value is out of range");
        check(
            "ZRANDMEMBER z -9223372036854775808 => -ERR value is out of range, \
             value must between -9223372036854775807 and 9223372036854775807",
        );
        check("ZADD z 1 a => :1 | ZRANDMEMBER z -9223372036854775807 => -ERR the reply would be too large");
    }
}
