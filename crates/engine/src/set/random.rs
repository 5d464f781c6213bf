//! Random members of a set: SPOP, SRANDMEMBER.

use super::Set;
use super::look_up::{look_up, read};
use super::member::SetMember;
use super::packed::SetForm;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Key, PackedLimits};
use crate::notify::NotifyClasses;
use crate::random::Random;
use crate::sampling::{self, Sampled, different};
use fastness_resp::{Args, ReplyBuf};
use std::collections::BTreeSet;

/// SPOP key \[count]
pub const SPOP: Command =
    Command::data("spop", "<key> [<count>]", "Removes and returns one or more random members of a set.", spop);
/// SRANDMEMBER key \[count]
pub const SRANDMEMBER: Command =
    Command::data("srandmember", "<key> [<count>]", "Returns one or more random members of a set.", srandmember);

/// As in Valkey, a large set from which SPOP leaves less than one member for this many that it removes is made anew,
/// and may be packed then.
const ANEW: usize = 5;

fn spop(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let Some(count) = args.try_get(2) else { return pop_one(engine, args, env) };
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    const NEGATIVE: CommandError = CommandError::Fixed("ERR value is out of range, must be positive");
    let count = usize::try_from(integer(count).map_err(|_| NEGATIVE)?).map_err(|_| NEGATIVE)?;
    let key = engine.first_key(args, env);
    let Some(set) = look_up(engine, &key, env)? else {
        env.reply.set(0);
        return Ok(());
    };
    if count < set.len() {
        pop_some(engine, &key, count, env);
        if count > 0 {
            engine.notify(NotifyClasses::SET, "spop", &key);
        }
        return Ok(());
    }
    env.reply.reserve(set.heap_bytes());
    env.reply.set(set.len());
    set.iter().for_each(|member| member.write(env.reply));
    engine.unlink(&key, env);
    engine.notify_removal(NotifyClasses::SET, "spop", &key);
    Ok(())
}

fn pop_one(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let set = look_up(engine, &key, env)?;
    let Some(member) = set.and_then(|set| set.random(env.random)) else {
        env.reply.null();
        return Ok(());
    };
    member.write(env.reply);
    let member = member.to_vec();
    engine.remove_members(&key, Args::slices(&[&member]), false, env);
    engine.notify_removal(NotifyClasses::SET, "spop", &key);
    Ok(())
}

/// Removes and returns `count` members, fewer than the set has.
fn pop_some(engine: &mut Engine, key: &Key<'_>, count: usize, env: &mut Env<'_>) {
    let Some(set) = engine.keyspace().find(key).and_then(|entry| Set::of(entry.value())) else { return };
    let members = different(set, count, env.random);
    env.reply.set(members.len());
    members.iter().for_each(|member| member.write(env.reply));
    let left = set.len() - members.len();
    let limits = engine.keyspace().packed_limits();
    let pack = set.form() == SetForm::Table
        && left.saturating_mul(ANEW) <= count
        && SetForm::Texts.for_len(left, limits) == SetForm::Texts
        && is_packed_without(set, &members, limits);
    let members: Vec<Vec<u8>> = members.into_iter().map(SetMember::to_vec).collect();
    engine.remove_members(key, Args::owned(&members), pack, env);
}

/// Whether a packed set of texts can hold what is left without these members.
fn is_packed_without(set: Set<'_>, members: &[SetMember<'_>], limits: PackedLimits) -> bool {
    let gone: BTreeSet<SetMember<'_>> = members.iter().copied().collect();
    let left = set.iter().filter(|member| !gone.contains(member));
    SetForm::of_members(SetForm::Texts, left, limits) == SetForm::Texts
}

fn srandmember(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let requested = sampling::requested(args.skip(2), None)?;
    let key = engine.first_key(args, env);
    sampling::reply(read(engine, &key, env)?, requested, env)
}

impl<'a> Sampled for Set<'a> {
    type Part = SetMember<'a>;
    type Name = SetMember<'a>;

    fn count(self) -> usize {
        self.len()
    }

    fn parts(self) -> impl Iterator<Item = SetMember<'a>> {
        self.iter()
    }

    fn draw(self, random: &mut dyn Random) -> Option<SetMember<'a>> {
        self.random(random)
    }

    fn name(member: SetMember<'a>) -> SetMember<'a> {
        member
    }

    fn reply_head(count: usize, _: bool, reply: &mut ReplyBuf) {
        reply.array(count);
    }

    fn reply_part(member: SetMember<'a>, _: bool, reply: &mut ReplyBuf) {
        member.write(reply);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::{Protocol, Value, value};
    use std::collections::BTreeSet;

    fn members(reply: &[u8]) -> Vec<Vec<u8>> {
        let (Value::Array(members), _) = value::parse(reply).unwrap().unwrap() else { panic!("an array") };
        members.iter().map(|member| member.as_bytes().unwrap().to_vec()).collect()
    }

    /// A set of so many members, of integers or not.
    fn filled(count: usize, prefix: &str) -> Bench {
        let mut bench = Bench::new();
        for i in 0..count {
            bench.run(&[b"SADD", b"s", format!("{prefix}{i}").as_bytes()]);
        }
        bench
    }

    #[test]
    fn returns_the_requested_count() {
        for (len, prefix) in [(700, "m"), (500, ""), (100, "m")] {
            let mut bench = filled(len, prefix);
            for count in [0usize, 1, 5, 200, 300, len - 1, len, 9_999] {
                let drawn = members(&bench.run(&[b"SRANDMEMBER", b"s", count.to_string().as_bytes()]));
                assert_eq!(drawn.len(), count.min(len));
                assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len(), "all different");
            }
            let anew = members(&bench.run(&[b"SRANDMEMBER", b"s", b"-2000"]));
            assert_eq!(anew.len(), 2_000);
            let different = anew.iter().collect::<BTreeSet<_>>().len();
            assert!((len * 6 / 7..=len).contains(&different), "{different} of {len}");
        }
    }

    #[test]
    fn what_is_popped_is_gone() {
        for (len, prefix) in [(700, "m"), (500, ""), (100, "m")] {
            for count in [1usize, 5, 60, 90, 99] {
                let mut bench = filled(len, prefix);
                let popped = members(&bench.run(&[b"SPOP", b"s", count.to_string().as_bytes()]));
                assert_eq!(popped.iter().collect::<BTreeSet<_>>().len(), count);
                let left = members(&bench.run(&[b"SMEMBERS", b"s"]));
                assert_eq!(left.len(), len - count);
                assert!(left.iter().all(|member| !popped.contains(member)));
                let mut replica = Bench::new();
                replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
                assert_eq!(replica.engine.digest(), bench.engine.digest(), "effects say what was removed");
            }
        }
    }

    #[test]
    fn a_large_set_is_packed_when_little_is_left() {
        let mut bench = filled(600, "m");
        bench.script("PEXPIRE s 5000 => :1");
        bench.run(&[b"SPOP", b"s", b"480"]);
        bench.script("OBJECT ENCODING s => $9 hashtable | SCARD s => :120 | PTTL s => :5000");
        bench.run(&[b"SPOP", b"s", b"100"]);
        bench.script("OBJECT ENCODING s => $8 listpack | SCARD s => :20 | PTTL s => :5000");
        // A member that no packed set takes is among those that are left.
        let mut bench = Bench::new();
        for i in 0..30 {
            bench.run(&[b"SADD", b"s", format!("{i}{}", "v".repeat(70)).as_bytes()]);
        }
        bench.run(&[b"SPOP", b"s", b"29"]);
        bench.script("OBJECT ENCODING s => $9 hashtable | SCARD s => :1");
        // Integers in a table are texts then, as in Valkey.
        let mut bench = filled(600, "");
        bench.run(&[b"SPOP", b"s", b"599"]);
        bench.script("OBJECT ENCODING s => $8 listpack | SCARD s => :1");
    }

    #[test]
    fn shapes() {
        check("SPOP s => $-1 | SPOP s 2 => *0 | SADD s a => :1 | SPOP s 0 => *0 | SPOP s => $1 a | EXISTS s => :0");
        check("SADD s 1 => :1 | SPOP s 2 => *1 $1 1 | EXISTS s => :0 | SRANDMEMBER s => $-1 | SRANDMEMBER s 2 => *0");
        check("SADD s a => :1 | SRANDMEMBER s => $1 a | SRANDMEMBER s -2 => *2 $1 a $1 a | SRANDMEMBER s 0 => *0");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench
            .script("SPOP s => _ | SPOP s 1 => ~0 | SADD s a => :1 | SRANDMEMBER s 1 => *1 $1 a | SPOP s 9 => ~1 $1 a");
    }

    #[test]
    fn refusals() {
        let (positive, wrong) = (
            "-ERR value is out of range, must be positive",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        );
        check(&format!("SPOP s -1 => {positive} | SPOP s x => {positive}"));
        check("SPOP s 1 2 => -ERR syntax error | SRANDMEMBER s 1 2 => -ERR syntax error");
        check(&format!("SET t 1 => +OK | SPOP t => {wrong} | SPOP t 0 => {wrong} | SRANDMEMBER t 1 => {wrong}"));
        check(
            "SRANDMEMBER s x => -ERR value is not an integer or out of range | SRANDMEMBER s -9223372036854775808 => \
             -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        check("SADD s a => :1 | SRANDMEMBER s -9223372036854775807 => -ERR the reply would be too large");
    }
}
