//! SINTER, SINTERCARD, SUNION, SDIFF, and what stores their results: SINTERSTORE, SUNIONSTORE, SDIFFSTORE.
//!
//! An intersection walks the smallest set. A union takes time in proportion to the number of all members, and so does a
//! difference, unless looking the members of the first set up in the others takes less. A result that is stored is one
//! effect, which names every member: a longer one than a unit may have is refused before it is staged.

use super::Set;
use super::look_up::Operands;
use super::member::SetMember;
use super::packed::SetForm;
use super::table::SetTable;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Entry;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use fastness_types::limits::UNIT_BYTES_MAX;
use std::cmp::Reverse;

/// SINTER key \[key ...]
pub const SINTER: Command = Command::data(
    "sinter",
    "<key> [<key> ...]",
    "Returns the members that all of several sets have.",
    |engine, args, env| {
        let operands = Operands::read(engine, args.skip(1), env)?;
        let place = env.reply.defer();
        let mut count = 0;
        for member in intersection(&operands, engine) {
            member.write(env.reply);
            count += 1;
        }
        env.reply.finish_set(place, count);
        Ok(())
    },
);
/// SINTERCARD numkeys key \[key ...] \[LIMIT limit]
pub const SINTERCARD: Command = Command::data(
    "sintercard",
    "<numkeys> <key> [<key> ...] [LIMIT <limit>]",
    "Returns how many members all of several sets have.",
    sintercard,
);
/// SINTERSTORE destination key \[key ...]
pub const SINTERSTORE: Command = Command::data(
    "sinterstore",
    "<destination> <key> [<key> ...]",
    "Stores the members that all of several sets have.",
    |engine, args, env| {
        let operands = Operands::read(engine, args.skip(2), env)?;
        let members = collected(intersection(&operands, engine))?;
        store(engine, args, (&members, SetForm::Ints), "sinterstore", env);
        Ok(())
    },
);
/// SUNION key \[key ...]
pub const SUNION: Command = Command::data(
    "sunion",
    "<key> [<key> ...]",
    "Returns the members that any of several sets has.",
    |engine, args, env| {
        let operands = Operands::read(engine, args.skip(1), env)?;
        let union = Combined::union(&operands, engine);
        union.write(env);
        Ok(())
    },
);
/// SUNIONSTORE destination key \[key ...]
pub const SUNIONSTORE: Command = Command::data(
    "sunionstore",
    "<destination> <key> [<key> ...]",
    "Stores the members that any of several sets has.",
    |engine, args, env| {
        let operands = Operands::read(engine, args.skip(2), env)?;
        let members = collected(Combined::union(&operands, engine).iter())?;
        store(engine, args, (&members, SetForm::Ints), "sunionstore", env);
        Ok(())
    },
);
/// SDIFF key \[key ...]
pub const SDIFF: Command = Command::data(
    "sdiff",
    "<key> [<key> ...]",
    "Returns the members of the first set that none of the others has.",
    |engine, args, env| {
        let operands = Operands::read(engine, args.skip(1), env)?;
        let (difference, _) = Combined::difference(&operands, engine);
        difference.write(env);
        Ok(())
    },
);
/// SDIFFSTORE destination key \[key ...]
pub const SDIFFSTORE: Command = Command::data(
    "sdiffstore",
    "<destination> <key> [<key> ...]",
    "Stores the members of the first set that none of the others has.",
    |engine, args, env| {
        let operands = Operands::read(engine, args.skip(2), env)?;
        let (difference, least) = Combined::difference(&operands, engine);
        let members = collected(difference.iter())?;
        store(engine, args, (&members, least), "sdiffstore", env);
        Ok(())
    },
);

fn sintercard(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (keys, limit) = parse(args)?;
    let operands = Operands::read(engine, keys, env)?;
    let count = intersection(&operands, engine).take(limit).count();
    env.reply.integer(count as i64);
    Ok(())
}

/// The keys of SINTERCARD, and the most members that it counts.
fn parse(args: Args<'_>) -> Result<(Args<'_>, usize), CommandError> {
    let numkeys = integer(args.get(1)).ok().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let numkeys = numkeys.ok_or(CommandError::Fixed("ERR numkeys should be greater than 0"))?;
    let rest = args.skip(2);
    if numkeys > rest.len() {
        return Err(CommandError::Fixed("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut options = rest.skip(numkeys).iter();
    while let Some(option) = options.next() {
        let value = options.next().filter(|_| option.eq_ignore_ascii_case(b"limit")).ok_or(CommandError::Syntax)?;
        let number = integer(value).ok().and_then(|limit| usize::try_from(limit).ok());
        limit = number.ok_or(CommandError::Fixed("ERR LIMIT can't be negative"))?;
    }
    Ok((rest.take(numkeys), if limit == 0 { usize::MAX } else { limit }))
}

/// The members that every set has: none, if a key is missing.
fn intersection<'e>(operands: &Operands<'_>, engine: &'e Engine) -> impl Iterator<Item = SetMember<'e>> {
    let mut sets: Vec<Set<'e>> = Vec::new();
    if operands.all_exist() {
        sets = operands.sets(engine).into_iter().flatten().collect();
        sets.sort_by_key(|set| set.len());
    }
    let mut sets = sets.into_iter();
    let (smallest, others) = (sets.next(), sets.collect::<Vec<_>>());
    let members = smallest.into_iter().flat_map(Set::iter);
    members.filter(move |member| others.iter().all(|set| set.has(*member)))
}

/// The members of a union or a difference.
enum Combined<'e> {
    /// Members of one set.
    Of(Vec<SetMember<'e>>),
    /// Copies of members.
    Table(SetTable),
}

impl<'e> Combined<'e> {
    fn union(operands: &Operands<'_>, engine: &'e Engine) -> Combined<'e> {
        let sets: Vec<Set<'e>> = operands.sets(engine).into_iter().flatten().collect();
        if let [] | [_] = sets[..] {
            return Combined::Of(sets.into_iter().flat_map(Set::iter).collect());
        }
        let mut table = SetTable::new(engine.keyspace().seed());
        sets.into_iter().for_each(|set| add_all(&mut table, set));
        Combined::Table(table)
    }

    /// The difference, and the least form in which it is stored: as in Valkey, the one that the whole first set would
    /// have where the others are removed from it.
    fn difference(operands: &Operands<'_>, engine: &'e Engine) -> (Combined<'e>, SetForm) {
        let mut sets = operands.sets(engine).into_iter();
        let nothing = (Combined::Of(Vec::new()), SetForm::Ints);
        let Some(first) = sets.next().flatten().filter(|_| !operands.names_first_again()) else { return nothing };
        let mut others: Vec<Set<'e>> = sets.flatten().collect();
        let looked_up = first.len().saturating_mul(1 + others.len()) / 2;
        let all = others.iter().map(|set| set.len()).sum::<usize>() + first.len();
        if looked_up <= all {
            // The largest are most likely to have a member.
            others.sort_by_key(|set| Reverse(set.len()));
            let is_left = |member: &SetMember<'e>| !others.iter().any(|set| set.has(*member));
            return (Combined::Of(first.iter().filter(is_left).collect()), SetForm::Ints);
        }
        let mut table = SetTable::new(engine.keyspace().seed());
        add_all(&mut table, first);
        for set in others {
            for member in set.iter() {
                table.remove(member.text(&mut itoa::Buffer::new()), &mut None);
            }
            if table.is_empty() {
                break;
            }
        }
        let limits = engine.keyspace().packed_limits();
        (Combined::Table(table), SetForm::of_members(SetForm::Ints, first.iter(), limits))
    }

    fn len(&self) -> usize {
        match self {
            Combined::Of(members) => members.len(),
            Combined::Table(table) => table.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = SetMember<'_>> {
        let (members, table) = match self {
            Combined::Of(members) => (&members[..], None),
            Combined::Table(table) => (&[][..], Some(table)),
        };
        let of_table = table.into_iter().flat_map(SetTable::iter).map(Entry::key).map(SetMember::Text);
        members.iter().copied().chain(of_table)
    }

    fn write(&self, env: &mut Env<'_>) {
        env.reply.set(self.len());
        self.iter().for_each(|member| member.write(env.reply));
    }
}

fn add_all(table: &mut SetTable, set: Set<'_>) {
    for member in set.iter() {
        table.add(member.text(&mut itoa::Buffer::new()), &mut None);
    }
}

/// Copies of members, for an effect.
fn collected<'m>(members: impl Iterator<Item = SetMember<'m>>) -> Result<Vec<Vec<u8>>, CommandError> {
    collected_within(members, UNIT_BYTES_MAX)
}

fn collected_within<'m>(
    members: impl Iterator<Item = SetMember<'m>>,
    bytes_max: usize,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for member in members {
        let member = member.to_vec();
        bytes += 1 + member.len();
        if bytes > bytes_max {
            return Err(CommandError::effects_too_long(bytes_max));
        }
        all.push(member);
    }
    Ok(all)
}

/// Gives the destination, which is the first argument, these members and replies with their number.
fn store(
    engine: &mut Engine,
    args: Args<'_>,
    (members, least): (&[Vec<u8>], SetForm),
    event: &'static str,
    env: &mut Env<'_>,
) {
    let key = engine.first_key(args, env);
    let existed = engine.put_members(&key, Args::owned(members), least, env);
    engine.notify_stored(NotifyClasses::SET, event, &key, existed);
    env.reply.integer(members.len() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, check};
    use fastness_resp::{Protocol, Value, value};
    use std::collections::BTreeSet;

    const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    fn members(reply: &[u8]) -> BTreeSet<Vec<u8>> {
        let (Value::Array(members), _) = value::parse(reply).unwrap().unwrap() else { panic!("an array") };
        let distinct: BTreeSet<Vec<u8>> = members.iter().map(|member| member.as_bytes().unwrap().to_vec()).collect();
        assert_eq!(distinct.len(), members.len(), "each once");
        distinct
    }

    /// Sets of every form that have some members in common: their model.
    fn filled(bench: &mut Bench) -> Vec<(&'static str, BTreeSet<Vec<u8>>)> {
        let text = |i: usize| format!("m{i}");
        let ranges: [(&str, Vec<String>); 6] = [
            ("ints", (0..60).map(|i| i.to_string()).collect()),
            ("more", (30..400).map(|i| i.to_string()).collect()),
            ("texts", (20..90).map(|i| if i % 2 == 0 { i.to_string() } else { text(i) }).collect()),
            ("table", (0..700).map(|i| if i % 3 == 0 { i.to_string() } else { text(i) }).collect()),
            ("few", ["40", "m41", "m43"].map(str::to_owned).to_vec()),
            ("none", Vec::new()),
        ];
        for (key, members) in &ranges {
            for member in members {
                bench.run(&[b"SADD", key.as_bytes(), member.as_bytes()]);
            }
        }
        ranges.into_iter().map(|(key, all)| (key, all.into_iter().map(String::into_bytes).collect())).collect()
    }

    #[test]
    fn sets_of_all_forms_are_combined() {
        let mut bench = Bench::new();
        let sets = filled(&mut bench);
        for (a, of_a) in &sets {
            for (b, of_b) in &sets {
                for (c, of_c) in &sets {
                    let (union, inter): (BTreeSet<_>, BTreeSet<_>) = (
                        of_a.union(of_b).cloned().collect::<BTreeSet<_>>().union(of_c).cloned().collect(),
                        of_a.intersection(of_b).cloned().collect::<BTreeSet<_>>().intersection(of_c).cloned().collect(),
                    );
                    let without: BTreeSet<_> = of_a.difference(of_b).filter(|m| !of_c.contains(*m)).cloned().collect();
                    let keys = [a.as_bytes(), b.as_bytes(), c.as_bytes()];
                    for (command, expected) in [("SUNION", &union), ("SINTER", &inter), ("SDIFF", &without)] {
                        let reply = bench.run(&[&[command.as_bytes()], &keys[..]].concat());
                        assert_eq!(&members(&reply), expected, "{command} {a} {b} {c}");
                    }
                    let count = format!(":{}\r\n", inter.len()).into_bytes();
                    assert_eq!(bench.run(&[&[&b"SINTERCARD"[..], b"3"], &keys[..]].concat()), count);
                    let count = format!(":{}\r\n", inter.len().min(5)).into_bytes();
                    let limited = [&[&b"SINTERCARD"[..], b"3"], &keys[..], &[&b"LIMIT"[..], b"5"]].concat();
                    assert_eq!(bench.run(&limited), count);
                }
            }
        }
    }

    #[test]
    fn results_are_stored() {
        let mut bench = Bench::new();
        let sets = filled(&mut bench);
        for command in ["SUNION", "SINTER", "SDIFF"] {
            for (a, _) in &sets {
                for (b, _) in &sets {
                    bench.run(&[b"SET", b"to", b"x", b"PX", b"5000"]);
                    let all = members(&bench.run(&[command.as_bytes(), a.as_bytes(), b.as_bytes()]));
                    let store = format!("{command}STORE");
                    let stored = bench.run(&[store.as_bytes(), b"to", a.as_bytes(), b.as_bytes()]);
                    assert_eq!(stored, format!(":{}\r\n", all.len()).into_bytes());
                    assert_eq!(members(&bench.run(&[b"SMEMBERS", b"to"])), all);
                    bench.script(&format!("PTTL to => {}", if all.is_empty() { ":-2" } else { ":-1" }));
                }
            }
        }
        // Into one of the operands, and of a key without a set.
        bench.script("SUNIONSTORE few few none => :3 | SDIFFSTORE few none few => :0 | EXISTS few => :0");
        let mut replica = Bench::new();
        replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
        assert_eq!(replica.engine.digest(), bench.engine.digest());
    }

    #[test]
    fn results_have_the_form_of_their_members() {
        let mut bench = Bench::new();
        filled(&mut bench);
        bench.script("SINTERSTORE to table ints => :20 | OBJECT ENCODING to => $6 intset");
        bench.script("SINTERSTORE to table texts => :34 | OBJECT ENCODING to => $8 listpack");
        bench.script("SUNIONSTORE to ints few => :62 | OBJECT ENCODING to => $8 listpack");
        bench.script("SUNIONSTORE to more few => :372 | OBJECT ENCODING to => $9 hashtable");
        bench.script("SDIFFSTORE to ints more => :30 | OBJECT ENCODING to => $6 intset");
        // The first set is copied and the others are removed from it, as in Valkey: it stays a table.
        bench.script("SDIFFSTORE most table few => :698 | SADD x y => :1 | SDIFFSTORE t table x x x x most => :2");
        bench.script(
            "OBJECT ENCODING t => $9 hashtable | SDIFFSTORE t table most => :2 | OBJECT ENCODING t => $8 listpack",
        );
        bench.script("SDIFFSTORE t few ints none => :2 | OBJECT ENCODING t => $8 listpack");
    }

    #[test]
    fn shapes() {
        check(
            "SINTER a => *0 | SUNION a b => *0 | SDIFF a => *0 | SADD a x => :1 | SDIFF a a => *0 | SDIFF a b => *1 $1 x",
        );
        check(
            "SINTERCARD 1 a => :0 | SADD a 1 2 3 => :3 | SINTERCARD 2 a a LIMIT 2 => :2 | SINTERCARD 1 a LIMIT 0 => :3",
        );
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("SINTER a => ~0 | SUNION a => ~0 | SDIFF a => ~0 | SADD a 1 => :1 | SINTER a a => ~1 $1 1");
        bench.script("SUNION a b => ~1 $1 1 | SDIFF a b => ~1 $1 1 | SUNIONSTORE c a => :1");
    }

    #[test]
    fn refusals() {
        for command in
            ["SINTER", "SUNION", "SDIFF", "SINTERSTORE to", "SUNIONSTORE to", "SDIFFSTORE to", "SINTERCARD 2"]
        {
            check(&format!("SET t 1 => +OK | SADD s a => :1 | {command} s t => {WRONG} | {command} none t => {WRONG}"));
        }
        check("SET t 1 => +OK | SADD s a => :1 | SUNIONSTORE t s => :1 | TYPE t => +set");
        let numkeys = "-ERR numkeys should be greater than 0";
        check(&format!("SINTERCARD 0 a => {numkeys} | SINTERCARD x a => {numkeys} | SINTERCARD -1 a => {numkeys}"));
        check("SINTERCARD 2 a => -ERR Number of keys can't be greater than number of args");
        check("SINTERCARD 1 a LIMIT => -ERR syntax error | SINTERCARD 1 a FOO 1 => -ERR syntax error");
        check(
            "SINTERCARD 1 a LIMIT -1 => -ERR LIMIT can't be negative | SINTERCARD 1 a LIMIT x => -ERR LIMIT can't be negative",
        );
    }

    #[test]
    fn a_result_that_is_too_long_is_refused() {
        let members = [&b"abc"[..], b"de"].map(SetMember::Text);
        assert_eq!(collected_within(members.into_iter(), 7), Ok(vec![b"abc".to_vec(), b"de".to_vec()]));
        assert!(collected_within(members.into_iter(), 6).is_err());
    }
}
