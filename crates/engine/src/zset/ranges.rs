//! ZRANGE, ZRANGESTORE, and the older commands of one kind of range each: ZREVRANGE, ZRANGEBYSCORE, ZREVRANGEBYSCORE,
//! ZRANGEBYLEX, ZREVRANGEBYLEX.

use super::look_up::{read, reply_members};
use super::range::{NameRange, RankRange, ScoreRange};
use super::view::SortedSet;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use std::ops::Range;

/// ZRANGE key start stop \[BYSCORE|BYLEX] \[REV] \[LIMIT offset count] \[WITHSCORES]
pub const ZRANGE: Command = Command::data(
    "zrange",
    "<key> <start> <stop> [BYSCORE|BYLEX] [REV] [LIMIT <offset> <count>] [WITHSCORES]",
    "Returns the members of a sorted set within a range of ranks, scores or names.",
    |engine, args, env| range(engine, args, env, RangeForm::default()),
);
/// ZREVRANGE key start stop \[WITHSCORES]
pub const ZREVRANGE: Command = Command::data(
    "zrevrange",
    "<key> <start> <stop> [WITHSCORES]",
    "Returns the members of a sorted set within a range of ranks, in reverse order; an old form of ZRANGE.",
    |engine, args, env| range(engine, args, env, RangeForm::of(RangeKind::Ranks, true)),
);
/// ZRANGEBYSCORE key min max \[WITHSCORES] \[LIMIT offset count]
pub const ZRANGEBYSCORE: Command = Command::data(
    "zrangebyscore",
    "<key> <min> <max> [WITHSCORES] [LIMIT <offset> <count>]",
    "Returns the members of a sorted set with scores in a range; an old form of ZRANGE.",
    |engine, args, env| range(engine, args, env, RangeForm::of(RangeKind::Scores, false)),
);
/// ZREVRANGEBYSCORE key max min \[WITHSCORES] \[LIMIT offset count]
pub const ZREVRANGEBYSCORE: Command = Command::data(
    "zrevrangebyscore",
    "<key> <max> <min> [WITHSCORES] [LIMIT <offset> <count>]",
    "Returns the members of a sorted set with scores in a range, in reverse order; an old form of ZRANGE.",
    |engine, args, env| range(engine, args, env, RangeForm::of(RangeKind::Scores, true)),
);
/// ZRANGEBYLEX key min max \[LIMIT offset count]
pub const ZRANGEBYLEX: Command = Command::data(
    "zrangebylex",
    "<key> <min> <max> [LIMIT <offset> <count>]",
    "Returns the members of a sorted set with names in a range; an old form of ZRANGE.",
    |engine, args, env| range(engine, args, env, RangeForm::of(RangeKind::Names, false)),
);
/// ZREVRANGEBYLEX key max min \[LIMIT offset count]
pub const ZREVRANGEBYLEX: Command = Command::data(
    "zrevrangebylex",
    "<key> <max> <min> [LIMIT <offset> <count>]",
    "Returns the members of a sorted set with names in a range, in reverse order; an old form of ZRANGE.",
    |engine, args, env| range(engine, args, env, RangeForm::of(RangeKind::Names, true)),
);
/// ZRANGESTORE destination source start stop \[BYSCORE|BYLEX] \[REV] \[LIMIT offset count]
pub const ZRANGESTORE: Command = Command::data(
    "zrangestore",
    "<destination> <source> <start> <stop> [BYSCORE|BYLEX] [REV] [LIMIT <offset> <count>]",
    "Stores the members of a sorted set within a range of ranks, scores or names in another one.",
    zrangestore,
);

/// What a range is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RangeKind {
    Ranks,
    Scores,
    Names,
}

/// What the name of a command fixes; options fix the rest.
#[derive(Debug, Clone, Copy, Default)]
struct RangeForm {
    kind: Option<RangeKind>,
    reverse: Option<bool>,
    is_stored: bool,
}

impl RangeForm {
    fn of(kind: RangeKind, reverse: bool) -> RangeForm {
        RangeForm { kind: Some(kind), reverse: Some(reverse), is_stored: false }
    }
}

/// The limits of a range.
#[derive(Debug, Clone, Copy)]
enum Limits<'a> {
    Ranks(RankRange),
    Scores(ScoreRange),
    Names(NameRange<'a>),
}

/// A parsed range.
#[derive(Debug, Clone, Copy)]
struct RangeRequest<'a> {
    limits: Limits<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    count: i64,
}

impl<'a> RangeRequest<'a> {
    /// Parses the limits and the options after them.
    fn parse(args: Args<'a>, form: RangeForm) -> Result<RangeRequest<'a>, CommandError> {
        let (mut kind, mut reverse) = (form.kind, form.reverse);
        let (mut with_scores, mut offset, mut count) = (false, 0, -1);
        let options = args.skip(2);
        let mut at = 0;
        while let Some(option) = options.try_get(at) {
            match option.to_ascii_lowercase().as_slice() {
                b"withscores" if !form.is_stored => with_scores = true,
                b"limit" if at + 2 < options.len() => {
                    offset = integer(options.get(at + 1))?;
                    count = integer(options.get(at + 2))?;
                    at += 2;
                }
                b"rev" if reverse.is_none() => reverse = Some(true),
                b"bylex" if kind.is_none() => kind = Some(RangeKind::Names),
                b"byscore" if kind.is_none() => kind = Some(RangeKind::Scores),
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        let (kind, reverse) = (kind.unwrap_or(RangeKind::Ranks), reverse.unwrap_or(false));
        if count != -1 && kind == RangeKind::Ranks {
            let text = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
            return Err(CommandError::Fixed(text));
        }
        if with_scores && kind == RangeKind::Names {
            return Err(CommandError::Fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (first, second) = (args.get(0), args.get(1));
        // Reversed limits of scores and names start with the higher one.
        let (min, max) = if reverse { (second, first) } else { (first, second) };
        let limits = match kind {
            RangeKind::Ranks => Limits::Ranks(RankRange::parse(first, second)?),
            RangeKind::Scores => Limits::Scores(ScoreRange::parse(min, max)?),
            RangeKind::Names => Limits::Names(NameRange::parse(min, max)?),
        };
        Ok(RangeRequest { limits, reverse, with_scores, offset, count })
    }

    /// The ranks of the members in the range.
    fn ranks(&self, set: SortedSet<'_>) -> Range<usize> {
        let len = set.len();
        let found = match &self.limits {
            Limits::Ranks(range) => {
                let ranks = range.of(len);
                return if self.reverse { len - ranks.end..len - ranks.start } else { ranks };
            }
            Limits::Scores(range) => set.with_scores(range),
            Limits::Names(range) => set.with_names(range, self.reverse),
        };
        let first = match usize::try_from(self.offset) {
            Ok(offset) => offset,
            // As in Valkey, a negative offset counts from the other end of the range of a large sorted set.
            Err(_) if set.is_packed() => return 0..0,
            Err(_) => match usize::try_from(self.offset.unsigned_abs()) {
                Ok(back) if back <= found.len() => found.len() - back,
                _ => return 0..0,
            },
        };
        if first >= found.len() {
            return 0..0;
        }
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(found.len() - first);
        if self.reverse {
            let end = found.end - first;
            end - count..end
        } else {
            let start = found.start + first;
            start..start + count
        }
    }
}

fn range(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, form: RangeForm) -> Result<(), CommandError> {
    let request = RangeRequest::parse(args.skip(2), form)?;
    let key = engine.first_key(args, env);
    let Some(set) = read(engine, &key, env)? else {
        env.reply.array(0);
        return Ok(());
    };
    let ranks = request.ranks(set);
    if ranks.len() == set.len() {
        // One allocation: growing costs a copy, and memory touched for the first time, at every doubling.
        env.reply.reserve(set.heap_bytes());
    }
    reply_members(ranks.len(), set.range(ranks, request.reverse), request.with_scores, env.reply);
    Ok(())
}

fn zrangestore(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let request = RangeRequest::parse(args.skip(3), RangeForm { is_stored: true, ..RangeForm::default() })?;
    let (to, from) = (engine.first_key(args, env), engine.key(args.get(2)));
    let found: Vec<(Vec<u8>, f64)> = read(engine, &from, env)?.map_or_else(Vec::new, |set| {
        set.range(request.ranks(set), false).map(|(name, score)| (name.to_vec(), score)).collect()
    });
    let existed = engine.put_scores(&to, &found, env);
    engine.notify_stored(NotifyClasses::ZSET, "zrangestore", &to, existed);
    env.reply.integer(found.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    const FIVE: &str = "ZADD z 1 a 2 b 3 c 4 d 5 e => :5";

    #[test]
    fn ranks() {
        check(&format!("ZRANGE z 0 -1 => *0 | {FIVE} | ZRANGE z 1 2 => *2 $1 b $1 c | ZRANGE z -2 -1 => *2 $1 d $1 e"));
        check(&format!("{FIVE} | ZRANGE z 0 1 REV WITHSCORES => *4 $1 e $1 5 $1 d $1 4 | ZREVRANGE z 4 9 => *1 $1 a"));
        check(&format!("{FIVE} | ZRANGE z 3 1 => *0 | ZRANGE z 9 9 => *0 | ZRANGE z 0 0 LIMIT 0 -1 => *1 $1 a"));
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench
            .script(&format!("{FIVE} | ZRANGE z 0 1 WITHSCORES => *2 *2 $1 a ,1 *2 $1 b ,2 | ZRANGE z 0 0 => *1 $1 a"));
    }

    #[test]
    fn scores() {
        check(&format!("{FIVE} | ZRANGE z (1 3 BYSCORE => *2 $1 b $1 c | ZRANGE z 3 (1 REV BYSCORE => *2 $1 c $1 b"));
        check(&format!(
            "{FIVE} | ZRANGEBYSCORE z 2 +inf LIMIT 1 2 => *2 $1 c $1 d | ZRANGEBYSCORE z 2 9 LIMIT 4 1 => *0"
        ));
        check(&format!("{FIVE} | ZREVRANGEBYSCORE z 4 -inf WITHSCORES LIMIT 1 -1 => *6 $1 c $1 3 $1 b $1 2 $1 a $1 1"));
        check(&format!("{FIVE} | ZRANGEBYSCORE z 1 5 LIMIT 0 0 => *0 | ZRANGEBYSCORE z 1 5 LIMIT -1 9 => *0"));
    }

    #[test]
    fn a_negative_offset_counts_from_the_end_of_a_large_one() {
        let long = "x".repeat(65);
        let five = format!("ZADD z 9 {long} => :1 | {FIVE}");
        check(&format!(
            "{five} | ZRANGEBYSCORE z 1 5 LIMIT -2 9 => *2 $1 d $1 e | ZRANGEBYSCORE z 1 5 LIMIT -5 1 => *1 $1 a"
        ));
        check(&format!(
            "{five} | ZRANGEBYSCORE z 1 5 LIMIT -6 9 => *0 | ZREVRANGEBYSCORE z 5 1 LIMIT -2 9 => *2 $1 b $1 a"
        ));
    }

    #[test]
    fn names() {
        let four = "ZADD z 0 a 0 b 0 c 0 d => :4";
        check(&format!("{four} | ZRANGE z [b + BYLEX => *3 $1 b $1 c $1 d | ZRANGEBYLEX z - (b => *1 $1 a"));
        check(&format!(
            "{four} | ZREVRANGEBYLEX z + [b LIMIT 1 1 => *1 $1 c | ZRANGE z (c - BYLEX REV => *2 $1 b $1 a"
        ));
        check(&format!("{four} | ZRANGEBYLEX z + - => *0 | ZRANGEBYLEX z [c [b => *0"));
        // Of different scores: where the search starts decides.
        check("ZADD z 1 b 2 a 3 c => :3 | ZRANGEBYLEX z [b + => *3 $1 b $1 a $1 c | ZREVRANGEBYLEX z + [b => *1 $1 c");
    }

    #[test]
    fn stores() {
        check(&format!("{FIVE} | ZRANGESTORE y z 1 2 => :2 | ZRANGE y 0 -1 WITHSCORES => *4 $1 b $1 2 $1 c $1 3"));
        check(&format!("{FIVE} | ZRANGESTORE z z +inf 4 BYSCORE REV => :2 | ZRANGE z 0 -1 => *2 $1 d $1 e"));
        check(&format!(
            "SET y x PX 50 => +OK | {FIVE} | ZRANGESTORE y z 0 0 => :1 | PTTL y => :-1 | ZRANGESTORE y z 7 9 => :0 | EXISTS y => :0"
        ));
        check("SET y x => +OK | ZRANGESTORE y nosuch 0 1 => :0 | EXISTS y => :0");
        let mut bench = Bench::new();
        for i in 0..3_000 {
            bench.run(&[b"ZADD", b"z", i.to_string().as_bytes(), format!("m{i}").as_bytes()]);
        }
        bench.effects.clear();
        bench.script("ZRANGESTORE y z 0 -1 => :3000 | ZCARD y => :3000 | OBJECT ENCODING y => $8 skiplist");
        assert_eq!(bench.effects.count(), 3, "effects of bounded length");
        bench.script("ZRANGESTORE y z 0 127 => :128 | OBJECT ENCODING y => $8 listpack | ZRANK y m127 => :127");
    }

    #[test]
    fn refusals() {
        check(
            "ZRANGE z 0 1 LIMIT 0 1 => -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        );
        check("ZRANGE z - + BYLEX WITHSCORES => -ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        for wrong in [
            "ZRANGE z 0 1 FOO",
            "ZRANGE z 0 1 REV REV",
            "ZRANGE z 0 1 BYSCORE BYLEX",
            "ZREVRANGE z 0 1 REV",
            "ZRANGEBYSCORE z 0 1 LIMIT 0",
            "ZRANGESTORE y z 0 1 WITHSCORES",
        ] {
            check(&format!("{wrong} => -ERR syntax error"));
        }
        check(
            "ZRANGE z a 1 => -ERR value is not an integer or out of range | ZRANGE z a 1 BYSCORE => -ERR min or max is not a float",
        );
        check(
            "SET s 1 => +OK | ZRANGESTORE y s 0 1 => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
