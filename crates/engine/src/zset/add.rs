//! ZADD, ZINCRBY. The effect is the resulting score of each member that changes.

use super::look_up::look_up;
use super::members::Member;
use super::score::parse;
use super::write::makes_table;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// ZADD key \[NX|XX] \[GT|LT] \[CH] \[INCR] score member \[score member ...]
pub const ZADD: Command = Command::data(
    "zadd",
    "<key> [NX|XX] [GT|LT] [CH] [INCR] <score> <member> [<score> <member> ...]",
    "Adds members to a sorted set, or updates their scores.",
    |engine, args, env| {
        let (options, pairs) = AddOptions::parse(args.skip(2))?;
        add(engine, args, &parsed(pairs)?, options, env)
    },
);
/// ZINCRBY key increment member
pub const ZINCRBY: Command = Command::data(
    "zincrby",
    "<key> <increment> <member>",
    "Increments the score of a member of a sorted set; a missing member counts as 0.",
    |engine, args, env| {
        let options = AddOptions { increments: true, ..AddOptions::default() };
        add(engine, args, &parsed(args.skip(2))?, options, env)
    },
);

/// The options of ZADD.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AddOptions {
    /// NX
    pub(crate) only_new: bool,
    /// XX
    pub(crate) only_existing: bool,
    only_greater: bool,
    only_less: bool,
    /// CH
    pub(crate) counts_changed: bool,
    increments: bool,
}

impl AddOptions {
    /// The options, and the pairs of score and member after them.
    fn parse(args: Args<'_>) -> Result<(AddOptions, Args<'_>), CommandError> {
        let mut options = AddOptions::default();
        let mut at = 0;
        while let Some(option) = args.try_get(at) {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => options.only_new = true,
                b"xx" => options.only_existing = true,
                b"gt" => options.only_greater = true,
                b"lt" => options.only_less = true,
                b"ch" => options.counts_changed = true,
                b"incr" => options.increments = true,
                _ => break,
            }
            at += 1;
        }
        let pairs = args.skip(at);
        if pairs.is_empty() || pairs.len() % 2 == 1 {
            return Err(CommandError::Syntax);
        }
        let AddOptions { only_new, only_existing, only_greater, only_less, increments, .. } = options;
        let text = if only_new && only_existing {
            "ERR XX and NX options at the same time are not compatible"
        } else if (only_new && (only_greater || only_less)) || (only_greater && only_less) {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if increments && pairs.len() > 2 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok((options, pairs));
        };
        Err(CommandError::Fixed(text))
    }

    /// The score that a member gets which has `old`; `None`: the options exclude it.
    fn result(self, old: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(old) = old else { return Ok((!self.only_existing).then_some(given)) };
        if self.only_new {
            return Ok(None);
        }
        let score = if self.increments { old + given } else { given };
        if score.is_nan() {
            return Err(CommandError::Fixed("ERR resulting score is not a number (NaN)"));
        }
        let is_excluded = (self.only_less && score >= old) || (self.only_greater && score <= old);
        Ok((!is_excluded).then_some(score))
    }
}

/// What a ZADD has done.
#[derive(Debug, Default)]
struct Added<'a> {
    added: usize,
    updated: usize,
    /// The last score that was set, or would have been if it were another.
    last: Option<f64>,
    changed: SmallVec<[Member<'a>; 4]>,
}

/// The members of pairs of score and member.
fn parsed(pairs: Args<'_>) -> Result<SmallVec<[Member<'_>; 4]>, CommandError> {
    let mut given = SmallVec::with_capacity(pairs.len() / 2);
    for at in (0..pairs.len()).step_by(2) {
        given.push((pairs.get(at + 1), parse(pairs.get(at)).ok_or(CommandError::NotAFloat)?));
    }
    Ok(given)
}

/// Adds members to the sorted set of the first key, or updates their scores, and replies.
pub(crate) fn add(
    engine: &mut Engine,
    args: Args<'_>,
    given: &[Member<'_>],
    options: AddOptions,
    env: &mut Env<'_>,
) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let limits = engine.keyspace().packed_limits();
    let set = look_up(engine, &key, env)?;
    let to_table = makes_table(limits, given.len(), given.iter().map(|(name, _)| *name));
    let becomes_table = to_table && set.is_some_and(|set| set.is_packed());
    let added = added(given, options, |name| set.and_then(|set| set.score(name)))?;
    if !added.changed.is_empty() || becomes_table {
        engine.set_scores(&key, &added.changed, to_table, env);
    }
    if !added.changed.is_empty() {
        engine.notify(NotifyClasses::ZSET, if options.increments { "zincr" } else { "zadd" }, &key);
    }
    if options.increments {
        super::look_up::reply_score(added.last, env.reply);
    } else {
        let updated = if options.counts_changed { added.updated } else { 0 };
        env.reply.integer((added.added + updated) as i64);
    }
    Ok(())
}

/// Applies the pairs in order: a member that is named twice has the first score when the second is set.
fn added<'a>(
    given: &[Member<'a>],
    options: AddOptions,
    score: impl Fn(&[u8]) -> Option<f64>,
) -> Result<Added<'a>, CommandError> {
    let mut done = Added::default();
    let mut changed: BTreeMap<&[u8], f64> = BTreeMap::new();
    let is_single = given.len() == 1;
    for &(name, given) in given {
        let old = changed.get(name).copied().or_else(|| score(name));
        let Some(score) = options.result(old, given)? else { continue };
        done.last = Some(score);
        if old == Some(score) {
            continue;
        }
        if old.is_none() {
            done.added += 1;
        } else {
            done.updated += 1;
        }
        if is_single {
            done.changed.push((name, score));
        } else {
            changed.insert(name, score);
        }
    }
    done.changed.extend(changed);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn counts_what_it_adds_and_changes() {
        check("ZADD z 1 a 2 b => :2 | ZADD z 1 a 3 b 4 c => :1 | ZADD z CH 1 a 5 b 6 c 7 d => :3");
        check("ZADD z CH 1 a 2 a 3 b => :3 | ZSCORE z a => $1 2 | ZADD z 1 c 1 c => :1 | ZCARD z => :3");
        check("ZADD z 0 a -0 b => :2 | ZADD z CH -0 a 0 b => :0 | ZRANGE z 0 -1 WITHSCORES => *4 $1 a $1 0 $1 b $1 0");
    }

    #[test]
    fn conditions() {
        check("ZADD z NX 1 a => :1 | ZADD z NX CH 2 a 2 b => :1 | ZSCORE z a => $1 1 | ZADD z XX 3 a 3 c => :0");
        check("ZADD z 5 a => :1 | ZADD z GT CH 4 a => :0 | ZADD z GT CH 6 a 1 b => :2 | ZADD z LT CH 7 a 0 b => :1");
        check("ZADD z XX 1 a => :0 | EXISTS z => :0 | ZADD z XX INCR 1 a => $-1 | ZADD z NX INCR 1 a => $1 1");
        check(
            "ZADD z 5 a => :1 | ZADD z GT INCR -1 a => $-1 | ZADD z LT INCR -1 a => $1 4 | ZADD z NX INCR 1 a => $-1",
        );
    }

    #[test]
    fn increments() {
        check("ZINCRBY z 1.5 a => $3 1.5 | ZINCRBY z -3 a => $4 -1.5 | ZADD z INCR 0 a => $4 -1.5 | ZCARD z => :1");
        check("ZINCRBY z -0 a => $2 -0 | ZSCORE z a => $1 0 | ZINCRBY z inf a => $3 inf");
        check(
            "ZADD z inf a => :1 | ZINCRBY z -inf a => -ERR resulting score is not a number (NaN) | ZSCORE z a => $3 inf",
        );
    }

    #[test]
    fn refusals() {
        check("ZADD z NX XX 1 a => -ERR XX and NX options at the same time are not compatible");
        for both in ["NX GT", "NX LT", "GT LT"] {
            let error = "-ERR GT, LT, and/or NX options at the same time are not compatible";
            check(&format!("ZADD z {both} 1 a => {error}"));
        }
        check("ZADD z INCR 1 a 2 b => -ERR INCR option supports a single increment-element pair");
        check(
            "ZADD z NX 1 a 2 => -ERR syntax error | ZADD z 1 a x b => -ERR value is not a valid float | EXISTS z => :0",
        );
        check("ZADD z nan a => -ERR value is not a valid float | ZINCRBY z x a => -ERR value is not a valid float");
        check("SET s 1 => +OK | ZADD s XX 1 a => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn encodings() {
        let (fits, long) = ("m".repeat(64), "m".repeat(65));
        check(&format!("ZADD z 1 {fits} => :1 | OBJECT ENCODING z => $8 listpack"));
        check(&format!("ZADD z 1 a 2 {long} => :2 | ZREM z {long} => :1 | OBJECT ENCODING z => $8 skiplist"));
        check(&format!(
            "ZADD z 1 a => :1 | ZADD z XX 1 {long} => :0 | OBJECT ENCODING z => $8 skiplist | ZCARD z => :1"
        ));
        let many = " 1 a".repeat(129);
        check(&format!("ZADD z{many} => :1 | OBJECT ENCODING z => $8 skiplist"));
        let mut bench = Bench::new();
        for i in 0..128 {
            bench.run(&[b"ZADD", b"z", b"1", format!("m{i}").as_bytes()]);
        }
        bench.script("OBJECT ENCODING z => $8 listpack | ZADD z 2 m0 => :0 | OBJECT ENCODING z => $8 listpack");
        bench.script("ZADD z 1 more => :1 | OBJECT ENCODING z => $8 skiplist | ZCARD z => :129 | ZSCORE z m0 => $1 2");
        bench.script("ZREMRANGEBYRANK z 5 -1 => :124 | OBJECT ENCODING z => $8 skiplist");
    }

    #[test]
    fn works_as_other_types_do() {
        check(
            "ZADD z 1 a => :1 | TYPE z => +zset | SCAN 0 TYPE zset COUNT 99 => *2 $1 0 *1 $1 z | GET z => -WRONGTYPE \
               Operation against a key holding the wrong kind of value",
        );
        check(
            "ZADD z 1 a => :1 | COPY z y => :1 | ZADD z 2 a => :0 | ZSCORE y a => $1 1 | RENAME y z => +OK | ZSCORE z \
               a => $1 1 | PEXPIRE z 50 => :1 | ZADD z 3 b => :1 | PTTL z => :50 | wait 51 | ZCARD z => :0",
        );
        check(
            "ZADD z 1 a => :1 | SET z x => +OK | ZCARD z => -WRONGTYPE Operation against a key holding the wrong kind \
               of value | DEL z => :1 | ZADD z 1 a => :1 | OBJECT REFCOUNT z => :1",
        );
    }

    #[test]
    fn nothing_is_staged_for_nothing() {
        let mut bench = Bench::new();
        bench.run(&[b"ZADD", b"z", b"1", b"a"]);
        bench.effects.clear();
        bench.script(
            "ZADD z 1 a => :0 | ZADD z NX 2 a => :0 | ZINCRBY z 0 a => $1 1 | ZREM z b => :0 | ZPOPMIN z 0 => *0",
        );
        assert!(bench.effects.is_empty());
    }
}
