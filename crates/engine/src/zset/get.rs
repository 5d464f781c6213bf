//! ZSCORE, ZMSCORE, ZCARD, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT.

use super::look_up::{read, reply_score};
use super::range::{NameRange, ScoreRange};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// ZSCORE key member
pub const ZSCORE: Command =
    Command::data("zscore", "<key> <member>", "Returns the score of a member of a sorted set.", |engine, args, env| {
        let key = engine.first_key(args, env);
        let score = read(engine, &key, env)?.and_then(|set| set.score(args.get(2)));
        reply_score(score, env.reply);
        Ok(())
    });
/// ZMSCORE key member \[member ...]
pub const ZMSCORE: Command = Command::data(
    "zmscore",
    "<key> <member> [<member> ...]",
    "Returns the scores of several members of a sorted set.",
    |engine, args, env| {
        let key = engine.first_key(args, env);
        let set = read(engine, &key, env)?;
        let names = args.skip(2);
        env.reply.array(names.len());
        names.iter().for_each(|name| reply_score(set.and_then(|set| set.score(name)), env.reply));
        Ok(())
    },
);
/// ZCARD key
pub const ZCARD: Command =
    Command::data("zcard", "<key>", "Returns the number of members in a sorted set.", |engine, args, env| {
        let key = engine.first_key(args, env);
        let len = read(engine, &key, env)?.map_or(0, |set| set.len());
        env.reply.integer(len as i64);
        Ok(())
    });
/// ZRANK key member \[WITHSCORE]
pub const ZRANK: Command = Command::data(
    "zrank",
    "<key> <member> [WITHSCORE]",
    "Returns the rank of a member of a sorted set by ascending scores.",
    |engine, args, env| rank(engine, args, env, "zrank", false),
);
/// ZREVRANK key member \[WITHSCORE]
pub const ZREVRANK: Command = Command::data(
    "zrevrank",
    "<key> <member> [WITHSCORE]",
    "Returns the rank of a member of a sorted set by descending scores.",
    |engine, args, env| rank(engine, args, env, "zrevrank", true),
);
/// ZCOUNT key min max
pub const ZCOUNT: Command = Command::data(
    "zcount",
    "<key> <min> <max>",
    "Returns the number of members with scores in a range.",
    |engine, args, env| {
        let range = ScoreRange::parse(args.get(2), args.get(3))?;
        let key = engine.first_key(args, env);
        let count = read(engine, &key, env)?.map_or(0, |set| set.with_scores(&range).len());
        env.reply.integer(count as i64);
        Ok(())
    },
);
/// ZLEXCOUNT key min max
pub const ZLEXCOUNT: Command = Command::data(
    "zlexcount",
    "<key> <min> <max>",
    "Returns the number of members with names in a range.",
    |engine, args, env| {
        let range = NameRange::parse(args.get(2), args.get(3))?;
        let key = engine.first_key(args, env);
        let count = read(engine, &key, env)?.map_or(0, |set| set.with_names(&range, false).len());
        env.reply.integer(count as i64);
        Ok(())
    },
);

fn rank(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    name: &'static str,
    reverse: bool,
) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::Arity(name));
    }
    let with_score = match args.try_get(3) {
        None => false,
        Some(option) if option.eq_ignore_ascii_case(b"withscore") => true,
        Some(_) => return Err(CommandError::Syntax),
    };
    let key = engine.first_key(args, env);
    let found = read(engine, &key, env)?.and_then(|set| {
        let (rank, score) = set.rank(args.get(2))?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        None if with_score => env.reply.null_array(),
        None => env.reply.null(),
        Some((rank, score)) => {
            if with_score {
                env.reply.array(2);
            }
            env.reply.integer(rank as i64);
            if with_score {
                env.reply.double(score);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    #[test]
    fn scores() {
        check("ZSCORE z a => $-1 | ZADD z 1.5 a => :1 | ZSCORE z a => $3 1.5 | ZSCORE z b => $-1");
        check("ZMSCORE z a b => *2 $-1 $-1 | ZADD z 1 a 1e30 b => :2 | ZMSCORE z b x a => *3 $5 1e+30 $-1 $1 1");
        check("ZCARD z => :0 | ZADD z 1 a 2 b => :2 | ZCARD z => :2");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("ZADD z 100000000 a -inf b => :2 | ZSCORE z a => ,100000000 | ZMSCORE z b c => *2 ,-inf _");
    }

    #[test]
    fn ranks() {
        check("ZRANK z a => $-1 | ZADD z 2 a 1 b 2 aa => :3 | ZRANK z b => :0 | ZRANK z a => :1 | ZREVRANK z aa => :0");
        check(
            "ZRANK z a WITHSCORE => *-1 | ZADD z 2 a 1 b => :2 | ZRANK z a WITHSCORE => *2 :1 $1 2 | ZRANK z x withscore => *-1",
        );
        check(
            "ZRANK z a FOO => -ERR syntax error | ZRANK z a b c => -ERR wrong number of arguments for 'zrank' command",
        );
    }

    #[test]
    fn counts() {
        check(
            "ZCOUNT z 0 1 => :0 | ZADD z 1 a 2 b 3 c => :3 | ZCOUNT z (1 3 => :2 | ZCOUNT z -inf +inf => :3 | ZCOUNT z 3 1 => :0",
        );
        check("ZLEXCOUNT z - + => :0 | ZADD z 0 a 0 b 0 c => :3 | ZLEXCOUNT z - + => :3 | ZLEXCOUNT z [b (c => :1");
        check(
            "ZCOUNT z a 1 => -ERR min or max is not a float | ZLEXCOUNT z a + => -ERR min or max not valid string range item",
        );
    }

    #[test]
    fn other_types_are_refused() {
        let error = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        for command in
            ["ZSCORE s a", "ZMSCORE s a", "ZCARD s", "ZRANK s a", "ZREVRANK s a", "ZCOUNT s 0 1", "ZLEXCOUNT s - +"]
        {
            check(&format!("SET s 1 => +OK | {command} => {error}"));
        }
        check(&format!("HSET h a 1 => :1 | ZCARD h => {error} | ZADD z 1 a => :1 | HLEN z => {error}"));
    }
}
