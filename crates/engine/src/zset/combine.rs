//! ZUNION, ZINTER, ZDIFF, ZINTERCARD, ZUNIONSTORE, ZINTERSTORE, ZDIFFSTORE.
//!
//! Sets count as sorted sets whose scores are all 1.
//!
//! Sums of more than two scores are added in Valkey's order, the smallest source first, because it shows in the result.

use super::look_up::reply_members;
use super::members::{ScoredMembers, member_of};
use super::score::{order_of, parse};
use super::view::SortedSet;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Entry;
use crate::notify::NotifyClasses;
use crate::set::{Set, SetMember};
use fastness_resp::Args;
use fastness_resp::number::parse_int;
use fastness_types::HashSeed;
use std::borrow::Cow;

const READ_SYNTAX: &str =
    "<numkeys> <key> [<key> ...] [WEIGHTS <weight> [<weight> ...]] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]";
const STORE_SYNTAX: &str =
    "<destination> <numkeys> <key> [<key> ...] [WEIGHTS <weight> [<weight> ...]] [AGGREGATE SUM|MIN|MAX]";

/// ZUNION numkeys key \[key ...] \[WEIGHTS weight \[weight ...]] \[AGGREGATE SUM|MIN|MAX] \[WITHSCORES]
pub const ZUNION: Command =
    Command::data("zunion", READ_SYNTAX, "Returns the union of sorted sets.", |engine, args, env| {
        reply(engine, args.skip(1), env, CombineForm::read("zunion", CombineKind::Union))
    });
/// ZINTER numkeys key \[key ...] \[WEIGHTS weight \[weight ...]] \[AGGREGATE SUM|MIN|MAX] \[WITHSCORES]
pub const ZINTER: Command =
    Command::data("zinter", READ_SYNTAX, "Returns the intersection of sorted sets.", |engine, args, env| {
        reply(engine, args.skip(1), env, CombineForm::read("zinter", CombineKind::Intersection))
    });
/// ZDIFF numkeys key \[key ...] \[WITHSCORES]
pub const ZDIFF: Command = Command::data(
    "zdiff",
    "<numkeys> <key> [<key> ...] [WITHSCORES]",
    "Returns the members of a sorted set that no other one has.",
    |engine, args, env| reply(engine, args.skip(1), env, CombineForm::read("zdiff", CombineKind::Difference)),
);
/// ZINTERCARD numkeys key \[key ...] \[LIMIT limit]
pub const ZINTERCARD: Command = Command::data(
    "zintercard",
    "<numkeys> <key> [<key> ...] [LIMIT <limit>]",
    "Returns the number of members in the intersection of sorted sets.",
    zintercard,
);
/// ZUNIONSTORE destination numkeys key \[key ...] \[WEIGHTS weight \[weight ...]] \[AGGREGATE SUM|MIN|MAX]
pub const ZUNIONSTORE: Command =
    Command::data("zunionstore", STORE_SYNTAX, "Stores the union of sorted sets.", |engine, args, env| {
        store(engine, args, env, CombineForm::stored("zunionstore", CombineKind::Union))
    });
/// ZINTERSTORE destination numkeys key \[key ...] \[WEIGHTS weight \[weight ...]] \[AGGREGATE SUM|MIN|MAX]
pub const ZINTERSTORE: Command =
    Command::data("zinterstore", STORE_SYNTAX, "Stores the intersection of sorted sets.", |engine, args, env| {
        store(engine, args, env, CombineForm::stored("zinterstore", CombineKind::Intersection))
    });
/// ZDIFFSTORE destination numkeys key \[key ...]
pub const ZDIFFSTORE: Command = Command::data(
    "zdiffstore",
    "<destination> <numkeys> <key> [<key> ...]",
    "Stores the members of a sorted set that no other one has.",
    |engine, args, env| store(engine, args, env, CombineForm::stored("zdiffstore", CombineKind::Difference)),
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CombineKind {
    Union,
    Intersection,
    Difference,
}

/// How scores of a member in several sources are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, held: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(held + other),
            Aggregate::Min if other < held => other,
            Aggregate::Max if other > held => other,
            Aggregate::Min | Aggregate::Max => held,
        }
    }
}

/// The sum of infinities of both signs is 0, and so is the product of an infinity and 0.
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What the name of a command fixes.
#[derive(Debug, Clone, Copy)]
struct CombineForm {
    name: &'static str,
    kind: CombineKind,
    is_stored: bool,
    is_counted: bool,
}

impl CombineForm {
    fn read(name: &'static str, kind: CombineKind) -> CombineForm {
        CombineForm { name, kind, is_stored: false, is_counted: false }
    }

    fn stored(name: &'static str, kind: CombineKind) -> CombineForm {
        CombineForm { is_stored: true, ..CombineForm::read(name, kind) }
    }
}

/// The options after the keys.
#[derive(Debug)]
struct CombineOptions {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Of ZINTERCARD; 0: no limit.
    limit: usize,
}

impl CombineOptions {
    fn parse(options: Args<'_>, keys: usize, form: CombineForm) -> Result<CombineOptions, CommandError> {
        let mut parsed =
            CombineOptions { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let is_weighted = form.kind != CombineKind::Difference && !form.is_counted;
        let mut at = 0;
        while let Some(option) = options.try_get(at) {
            let left = options.len() - at;
            at += match option.to_ascii_lowercase().as_slice() {
                b"weights" if is_weighted && left > keys => {
                    for (weight, text) in parsed.weights.iter_mut().zip(options.skip(at + 1).iter()) {
                        *weight = parse(text).ok_or(CommandError::Fixed("ERR weight value is not a float"))?;
                    }
                    1 + keys
                }
                b"aggregate" if is_weighted && left >= 2 => {
                    parsed.aggregate = match options.get(at + 1).to_ascii_lowercase().as_slice() {
                        b"sum" => Aggregate::Sum,
                        b"min" => Aggregate::Min,
                        b"max" => Aggregate::Max,
                        _ => return Err(CommandError::Syntax),
                    };
                    2
                }
                b"withscores" if !form.is_stored && !form.is_counted => {
                    parsed.with_scores = true;
                    1
                }
                b"limit" if form.is_counted && left >= 2 => {
                    let limit = parse_int(options.get(at + 1)).and_then(|limit| usize::try_from(limit).ok());
                    parsed.limit = limit.ok_or(CommandError::Fixed("ERR LIMIT can't be negative"))?;
                    2
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(parsed)
    }
}

/// A value whose members are combined.
#[derive(Debug, Clone, Copy)]
enum ZsetSource<'e> {
    Missing,
    Sorted(SortedSet<'e>),
    /// Every score is 1.
    Unscored(Set<'e>),
}

/// A member of a source, whose name is copied if it is stored as a number.
type SourceMember<'e> = (Cow<'e, [u8]>, f64);

fn unscored(member: SetMember<'_>) -> SourceMember<'_> {
    let name = match member {
        SetMember::Int(_) => Cow::Owned(member.to_vec()),
        SetMember::Text(text) => Cow::Borrowed(text),
    };
    (name, 1.0)
}

impl<'e> ZsetSource<'e> {
    /// The value of an entry; `None`: it is of another type.
    fn of(entry: &'e Entry) -> Option<ZsetSource<'e>> {
        let value = entry.value();
        SortedSet::of(value).map(ZsetSource::Sorted).or_else(|| Set::of(value).map(ZsetSource::Unscored))
    }

    fn len(self) -> usize {
        match self {
            ZsetSource::Missing => 0,
            ZsetSource::Sorted(set) => set.len(),
            ZsetSource::Unscored(set) => set.len(),
        }
    }

    fn score(self, name: &[u8]) -> Option<f64> {
        match self {
            ZsetSource::Missing => None,
            ZsetSource::Sorted(set) => set.score(name),
            ZsetSource::Unscored(set) => set.has(SetMember::Text(name)).then_some(1.0),
        }
    }

    fn members(self) -> impl Iterator<Item = SourceMember<'e>> {
        let (sorted, set) = match self {
            ZsetSource::Missing => (None, None),
            ZsetSource::Sorted(sorted) => (Some(sorted), None),
            ZsetSource::Unscored(set) => (None, Some(set)),
        };
        let of_sorted = sorted.into_iter().flat_map(|sorted| sorted.unordered());
        let of_set = set.into_iter().flat_map(|set| set.iter()).map(unscored);
        of_sorted.map(|(name, score)| (Cow::Borrowed(name), score)).chain(of_set)
    }
}

/// The sources with their weights, in the order of the keys, and what is made of them.
#[derive(Debug)]
struct Combination<'e> {
    sources: Vec<(ZsetSource<'e>, f64)>,
    form: CombineForm,
    options: CombineOptions,
    seed: HashSeed,
}

impl<'e> Combination<'e> {
    /// Parses `numkeys key ... option ...`, and finds the sources.
    fn find(
        engine: &'e mut Engine,
        args: Args<'_>,
        env: &mut Env<'_>,
        form: CombineForm,
    ) -> Result<Combination<'e>, CommandError> {
        let numkeys = integer(args.get(0))?;
        let Some(numkeys) = usize::try_from(numkeys).ok().filter(|numkeys| *numkeys > 0) else {
            let text = format!("ERR at least 1 input key is needed for '{}' command", form.name);
            return Err(CommandError::Text(text));
        };
        let rest = args.skip(1);
        if numkeys > rest.len() {
            return Err(CommandError::Syntax);
        }
        let keys = rest.take(numkeys);
        for name in keys.iter() {
            let key = engine.key(name);
            if engine.read(&key, env).is_some_and(|entry| ZsetSource::of(entry).is_none()) {
                return Err(CommandError::WrongType);
            }
        }
        let options = CombineOptions::parse(rest.skip(numkeys), numkeys, form)?;
        let keyspace = engine.keyspace();
        let source = |name: &[u8]| {
            let entry = keyspace.find(&keyspace.key(name)).filter(|entry| !entry.is_expired(env.now));
            entry.and_then(ZsetSource::of).unwrap_or(ZsetSource::Missing)
        };
        let sources = keys.iter().map(source).zip(options.weights.iter().copied()).collect();
        Ok(Combination { sources, form, options, seed: keyspace.seed() })
    }

    /// The sources, the smallest first.
    fn by_size(&self) -> Vec<(ZsetSource<'e>, f64)> {
        let mut sources = self.sources.clone();
        sources.sort_by_key(|(source, _)| source.len());
        sources
    }

    /// The result in order.
    fn sorted(&self) -> Vec<(Vec<u8>, f64)> {
        let owned = |(name, score): SourceMember<'_>| (name.into_owned(), score);
        let mut found: Vec<(Vec<u8>, f64)> = match self.form.kind {
            CombineKind::Union => {
                self.union().iter().map(member_of).map(|(name, score)| (name.to_vec(), score)).collect()
            }
            CombineKind::Intersection => self.intersection().map(owned).collect(),
            CombineKind::Difference => self.difference().map(owned).collect(),
        };
        found.sort_unstable_by(|(a, a_score), (b, b_score)| {
            order_of(*a_score).cmp(&order_of(*b_score)).then_with(|| a.cmp(b))
        });
        found
    }

    fn union(&self) -> ScoredMembers {
        let mut sums = ScoredMembers::new(self.seed);
        for (source, weight) in self.by_size() {
            for (name, score) in source.members() {
                let score = number_or_zero(weight * score);
                let joined = sums.score(&name).map_or(score, |held| self.options.aggregate.join(held, score));
                sums.set(&name, joined, &mut None);
            }
        }
        sums
    }

    fn intersection(&self) -> impl Iterator<Item = SourceMember<'e>> {
        let sources = self.by_size();
        let aggregate = self.options.aggregate;
        let (smallest, weight) = sources.first().copied().unwrap_or((ZsetSource::Missing, 1.0));
        smallest.members().filter_map(move |(name, score)| {
            let mut joined = number_or_zero(weight * score);
            for (source, weight) in &sources[1..] {
                joined = aggregate.join(joined, source.score(&name)? * weight);
            }
            Some((name, joined))
        })
    }

    /// The members of the first source that no other has: by looking each up in the others, or, if these are small
    /// compared with it, by removing theirs.
    fn difference(&self) -> Box<dyn Iterator<Item = SourceMember<'e>> + '_> {
        let Some(((first, _), others)) = self.sources.split_first() else { return Box::new(std::iter::empty()) };
        let (looked_up, removed) =
            (first.len() * self.sources.len(), self.sources.iter().map(|(source, _)| source.len()).sum::<usize>());
        if looked_up / 2 <= removed {
            let is_kept =
                move |(name, _): &SourceMember<'e>| others.iter().all(|(source, _)| source.score(name).is_none());
            return Box::new(first.members().filter(is_kept));
        }
        let mut left = ScoredMembers::new(self.seed);
        others.iter().flat_map(|(source, _)| source.members()).for_each(|(name, _)| left.set(&name, 0.0, &mut None));
        Box::new(first.members().filter(move |(name, _)| left.find(name).is_none()))
    }
}

fn reply(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, form: CombineForm) -> Result<(), CommandError> {
    let combination = Combination::find(engine, args, env, form)?;
    let found = combination.sorted();
    let members = found.iter().map(|(name, score)| (&name[..], *score));
    reply_members(found.len(), members, combination.options.with_scores, env.reply);
    Ok(())
}

fn zintercard(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let form = CombineForm { is_counted: true, ..CombineForm::read("zintercard", CombineKind::Intersection) };
    let combination = Combination::find(engine, args.skip(1), env, form)?;
    let limit = if combination.options.limit == 0 { usize::MAX } else { combination.options.limit };
    let count = combination.intersection().take(limit).count();
    env.reply.integer(count as i64);
    Ok(())
}

fn store(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, form: CombineForm) -> Result<(), CommandError> {
    let found = Combination::find(engine, args.skip(2), env, form)?.sorted();
    let key = engine.first_key(args, env);
    let existed = engine.put_scores(&key, &found, env);
    engine.notify_stored(NotifyClasses::ZSET, form.name, &key, existed);
    env.reply.integer(found.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    const TWO: &str = "ZADD y 1 a 2 b 3 c => :3 | ZADD z 10 b 20 c 30 d => :3";

    #[test]
    fn unions() {
        check(&format!(
            "{TWO} | ZUNION 2 y z => *4 $1 a $1 b $1 c $1 d | ZUNION 2 y x WITHSCORES => *6 $1 a $1 1 $1 b $1 2 $1 c $1 3"
        ));
        check(&format!(
            "{TWO} | ZUNION 2 y z WEIGHTS 2 -1 WITHSCORES => *8 $1 d $3 -30 $1 c $3 -14 $1 b $2 -6 $1 a $1 2"
        ));
        check(&format!("{TWO} | ZUNION 2 y z AGGREGATE MIN WITHSCORES => *8 $1 a $1 1 $1 b $1 2 $1 c $1 3 $1 d $2 30"));
        check(&format!(
            "{TWO} | ZUNION 2 y z AGGREGATE max WITHSCORES => *8 $1 a $1 1 $1 b $2 10 $1 c $2 20 $1 d $2 30"
        ));
        check("ZUNION 1 x => *0 | ZADD y 1 a => :1 | ZUNION 3 y y y WITHSCORES => *2 $1 a $1 3");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("ZADD y 1.5 a => :1 | ZUNION 2 y y WITHSCORES => *1 *2 $1 a ,3 | ZUNION 1 y => *1 $1 a");
    }

    #[test]
    fn infinities_and_zeros() {
        check("ZADD y inf a => :1 | ZADD z -inf a => :1 | ZUNION 2 y z WITHSCORES => *2 $1 a $1 0");
        check("ZADD y inf a => :1 | ZUNION 1 y WEIGHTS 0 WITHSCORES => *2 $1 a $1 0 | ZADD z 1 a => :1");
        check("ZADD y inf a => :1 | ZADD z -inf a => :1 | ZINTER 2 y z AGGREGATE MIN WITHSCORES => *2 $1 a $4 -inf");
    }

    #[test]
    fn intersections_and_differences() {
        check(&format!("{TWO} | ZINTER 2 y z WITHSCORES => *4 $1 b $2 12 $1 c $2 23 | ZINTER 3 y z x => *0"));
        check(&format!(
            "{TWO} | ZINTERCARD 2 y z => :2 | ZINTERCARD 2 y z LIMIT 1 => :1 | ZINTERCARD 2 y z LIMIT 0 => :2"
        ));
        check(&format!(
            "{TWO} | ZDIFF 2 y z WITHSCORES => *2 $1 a $1 1 | ZDIFF 2 y y => *0 | ZDIFF 2 x y => *0 | ZDIFF 1 y => *3 $1 a $1 b $1 c"
        ));
    }

    #[test]
    fn a_difference_of_a_large_and_small_ones() {
        let mut bench = Bench::new();
        for i in 0..2_000 {
            bench.run(&[b"ZADD", b"z", i.to_string().as_bytes(), format!("m{i}").as_bytes()]);
        }
        bench.script("ZADD x 1 m0 => :1 | ZADD y 1 m1 1 n => :2 | ZDIFFSTORE w 5 z x y nosuch x => :1998");
        bench.script("ZRANGE w 0 0 WITHSCORES => *2 $2 m2 $1 2 | ZUNIONSTORE w 2 w y => :2000 | ZSCORE w m1 => $1 1");
        bench.script("ZINTERSTORE w 2 w x => :0 | EXISTS w => :0");
    }

    #[test]
    fn sets_count_as_sorted_sets_of_score_1() {
        const BOTH: &str = "SADD s 1 2 => :2 | SADD t a 2 => :2 | ZADD z 5 2 7 y => :2";
        check(&format!(
            "{BOTH} | ZUNION 2 s z WITHSCORES => *6 $1 1 $1 1 $1 2 $1 6 $1 y $1 7 | ZINTERCARD 2 z s => :1"
        ));
        check(&format!("{BOTH} | ZINTER 3 s z t WEIGHTS 3 1 -1 WITHSCORES => *2 $1 2 $1 7 | ZDIFF 2 s z => *1 $1 1"));
        check(&format!("{BOTH} | ZDIFF 2 z s WITHSCORES => *2 $1 y $1 7 | ZDIFF 2 t s => *1 $1 a"));
        check(&format!("{BOTH} | ZUNIONSTORE s 1 s => :2 | TYPE s => +zset | ZSCORE s 1 => $1 1"));
    }

    #[test]
    fn stores() {
        check(&format!(
            "SET w x PX 50 => +OK | {TWO} | ZUNIONSTORE w 2 y z => :4 | PTTL w => :-1 | ZCARD w => :4 | OBJECT ENCODING w => $8 listpack"
        ));
        check(&format!("{TWO} | ZINTERSTORE y 2 y z => :2 | ZRANGE y 0 -1 WITHSCORES => *4 $1 b $2 12 $1 c $2 23"));
        check(&format!(
            "{TWO} | ZDIFFSTORE y 2 y z => :1 | ZRANGE y 0 -1 => *1 $1 a | ZDIFFSTORE y 2 y y => :0 | EXISTS y => :0"
        ));
    }

    #[test]
    fn refusals() {
        check(
            "ZUNION 0 y => -ERR at least 1 input key is needed for 'zunion' command | ZUNION x y => -ERR value is not an \
               integer or out of range | ZINTERCARD 0 y => -ERR at least 1 input key is needed for 'zintercard' command",
        );
        for wrong in [
            "ZUNION 3 y z",
            "ZUNION 1 y WEIGHTS",
            "ZUNION 1 y AGGREGATE foo",
            "ZDIFF 1 y WEIGHTS 1",
            "ZUNIONSTORE w 1 y WITHSCORES",
            "ZINTERCARD 1 y WITHSCORES",
            "ZUNION 1 y LIMIT 1",
        ] {
            check(&format!("{wrong} => -ERR syntax error"));
        }
        check(
            "ZUNION 1 y WEIGHTS x => -ERR weight value is not a float | ZINTERCARD 1 y LIMIT -1 => -ERR LIMIT can't be negative",
        );
        check(
            "SET s x => +OK | ZUNION 2 y s WEIGHTS x y => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
