//! ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX. The key is removed with its last member.

use super::look_up::look_up;
use super::range::{NameRange, RankRange, ScoreRange};
use super::view::SortedSet;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use smallvec::SmallVec;
use std::ops::Range;

/// ZREM key member \[member ...]
pub const ZREM: Command = Command::data(
    "zrem",
    "<key> <member> [<member> ...]",
    "Removes members from a sorted set; a sorted set without members is deleted.",
    zrem,
);
/// ZREMRANGEBYRANK key start stop
pub const ZREMRANGEBYRANK: Command = Command::data(
    "zremrangebyrank",
    "<key> <start> <stop>",
    "Removes the members of a sorted set within a range of ranks.",
    |engine, args, env| {
        let range = RankRange::parse(args.get(2), args.get(3))?;
        remove(engine, args, env, "zremrangebyrank", |set| range.of(set.len()))
    },
);
/// ZREMRANGEBYSCORE key min max
pub const ZREMRANGEBYSCORE: Command = Command::data(
    "zremrangebyscore",
    "<key> <min> <max>",
    "Removes the members of a sorted set with scores in a range.",
    |engine, args, env| {
        let range = ScoreRange::parse(args.get(2), args.get(3))?;
        remove(engine, args, env, "zremrangebyscore", |set| set.with_scores(&range))
    },
);
/// ZREMRANGEBYLEX key min max
pub const ZREMRANGEBYLEX: Command = Command::data(
    "zremrangebylex",
    "<key> <min> <max>",
    "Removes the members of a sorted set with names in a range.",
    |engine, args, env| {
        let range = NameRange::parse(args.get(2), args.get(3))?;
        remove(engine, args, env, "zremrangebylex", |set| set.with_names(&range, false))
    },
);

fn zrem(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let set = look_up(engine, &key, env)?;
    let exists = |name: &&[u8]| set.is_some_and(|set| set.score(name).is_some());
    let mut found: SmallVec<[&[u8]; 8]> = args.skip(2).iter().filter(exists).collect();
    found.sort_unstable();
    found.dedup();
    if !found.is_empty() {
        engine.remove_scores(&key, Args::slices(&found), env);
        engine.notify_removal(NotifyClasses::ZSET, "zrem", &key);
    }
    env.reply.integer(found.len() as i64);
    Ok(())
}

fn remove(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    event: &'static str,
    ranks: impl Fn(SortedSet<'_>) -> Range<usize>,
) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let found = look_up(engine, &key, env)?.map(|set| (ranks(set), set.len()));
    let (ranks, len) = found.unwrap_or((0..0, 0));
    if !ranks.is_empty() {
        engine.remove_ranks(&key, ranks.clone(), len, env);
        engine.notify_removal(NotifyClasses::ZSET, event, &key);
    }
    env.reply.integer(ranks.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn counts_what_it_removed() {
        check("ZREM z a => :0 | ZADD z 1 a 2 b 3 c => :3 | ZREM z a a x c => :2 | ZRANGE z 0 -1 => *1 $1 b");
        check("ZADD z 1 a 2 b => :2 | ZREM z a b => :2 | EXISTS z => :0 | TYPE z => +none");
    }

    #[test]
    fn ranges() {
        let all = "ZADD z 1 a 2 b 3 c 4 d 5 e => :5";
        check(&format!(
            "{all} | ZREMRANGEBYRANK z 1 -2 => :3 | ZRANGE z 0 -1 => *2 $1 a $1 e | ZREMRANGEBYRANK z 2 9 => :0"
        ));
        check(&format!("{all} | ZREMRANGEBYSCORE z (1 3 => :2 | ZRANGE z 0 -1 => *3 $1 a $1 d $1 e"));
        check(&format!("{all} | ZREMRANGEBYSCORE z -inf +inf => :5 | EXISTS z => :0"));
        check("ZADD z 0 a 0 b 0 c => :3 | ZREMRANGEBYLEX z [b + => :2 | ZRANGE z 0 -1 => *1 $1 a");
        check("ZREMRANGEBYRANK z 0 1 => :0 | ZREMRANGEBYRANK z a 1 => -ERR value is not an integer or out of range");
        check("ZREMRANGEBYSCORE z x 1 => -ERR min or max is not a float");
        check("ZREMRANGEBYLEX z x + => -ERR min or max not valid string range item");
    }

    #[test]
    fn long_ranges_are_several_effects() {
        let mut bench = Bench::new();
        for i in 0..5_000 {
            bench.run(&[b"ZADD", b"z", b"1", format!("m{i:04}").as_bytes()]);
        }
        bench.effects.clear();
        bench.script("ZREMRANGEBYRANK z 1 -2 => :4998 | ZRANGE z 0 -1 => *2 $5 m0000 $5 m4999");
        assert_eq!(bench.effects.count(), 5);
        bench.effects.clear();
        bench.script("ZREMRANGEBYSCORE z 0 1 => :2 | EXISTS z => :0");
        assert_eq!(bench.effects.count(), 1);
    }
}
