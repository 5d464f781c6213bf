//! SISMEMBER, SMISMEMBER, SCARD, SMEMBERS.

use super::look_up::read;
use super::member::SetMember;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// SISMEMBER key member
pub const SISMEMBER: Command =
    Command::data("sismember", "<key> <member>", "Returns whether a set has a member.", sismember);
/// SMISMEMBER key member \[member ...]
pub const SMISMEMBER: Command = Command::data(
    "smismember",
    "<key> <member> [<member> ...]",
    "Returns whether a set has each of several members.",
    smismember,
);
/// SCARD key
pub const SCARD: Command = Command::data("scard", "<key>", "Returns the number of members of a set.", scard);
/// SMEMBERS key
pub const SMEMBERS: Command = Command::data("smembers", "<key>", "Returns all members of a set.", smembers);

fn sismember(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let has = read(engine, &key, env)?.is_some_and(|set| set.has(SetMember::Text(args.get(2))));
    env.reply.integer(has.into());
    Ok(())
}

fn smismember(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let set = read(engine, &key, env)?;
    let named = args.skip(2);
    env.reply.array(named.len());
    for member in named.iter() {
        env.reply.integer(set.is_some_and(|set| set.has(SetMember::Text(member))).into());
    }
    Ok(())
}

fn scard(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let len = read(engine, &key, env)?.map_or(0, |set| set.len());
    env.reply.integer(len as i64);
    Ok(())
}

fn smembers(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let set = read(engine, &key, env)?;
    // One allocation: growing costs a copy, and memory touched for the first time, at every doubling.
    env.reply.reserve(set.map_or(0, |set| set.heap_bytes()));
    env.reply.set(set.map_or(0, |set| set.len()));
    set.into_iter().flat_map(|set| set.iter()).for_each(|member| member.write(env.reply));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    #[test]
    fn reads_members() {
        check(
            "SISMEMBER s a => :0 | SADD s a 12 => :2 | SISMEMBER s a => :1 | SISMEMBER s 12 => :1 | SISMEMBER s b => :0",
        );
        check("SMISMEMBER s a b => *2 :0 :0 | SADD s a => :1 | SMISMEMBER s b a a => *3 :0 :1 :1");
        check("SCARD s => :0 | SADD s 1 2 => :2 | SCARD s => :2 | SMISMEMBER s 1 01 => *2 :1 :0");
        check("SMEMBERS s => *0 | SADD s b a => :2 | SMEMBERS s => *2 $1 b $1 a");
    }

    #[test]
    fn a_set_in_resp3() {
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("SMEMBERS s => ~0 | SADD s a => :1 | SMEMBERS s => ~1 $1 a | SMISMEMBER s a => *1 :1");
    }

    #[test]
    fn other_types_are_refused() {
        let error = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        for command in ["SISMEMBER t a", "SMISMEMBER t a", "SCARD t", "SMEMBERS t"] {
            check(&format!("SET t 1 => +OK | {command} => {error}"));
        }
    }
}
