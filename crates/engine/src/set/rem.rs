//! SREM and SMOVE. The key is removed with its last member.

use super::look_up::{distinct, look_up};
use super::member::SetMember;
use super::packed::SetForm;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// SREM key member \[member ...]
pub const SREM: Command = Command::data(
    "srem",
    "<key> <member> [<member> ...]",
    "Removes members of a set; a set without members is deleted.",
    srem,
);
/// SMOVE source destination member
pub const SMOVE: Command =
    Command::data("smove", "<source> <destination> <member>", "Moves a member from one set to another.", smove);

fn srem(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let set = look_up(engine, &key, env)?;
    let has = |member: &[u8]| set.is_some_and(|set| set.has(SetMember::Text(member)));
    let removed = distinct(args.skip(2).iter(), has);
    if !removed.is_empty() {
        engine.remove_members(&key, Args::slices(&removed), false, env);
        engine.notify_removal(NotifyClasses::SET, "srem", &key);
    }
    env.reply.integer(removed.len() as i64);
    Ok(())
}

fn smove(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (from, to) = (engine.first_key(args, env), engine.key(args.get(2)));
    let moved = [args.get(3)];
    let member = SetMember::Text(moved[0]);
    // A missing source answers before the type of the destination is checked, a wrong type of it before that.
    let source = engine.look_up(&from, env).map(|entry| super::Set::of(entry.value()).map(|set| set.has(member)));
    let destination = look_up(engine, &to, env).map(|set| set.map(|set| set.has(member)));
    let held = match source {
        None => false,
        Some(held) => {
            let held = held.ok_or(CommandError::WrongType)?;
            let has_already = destination?.unwrap_or(false);
            if held && from.bytes != to.bytes {
                engine.remove_members(&from, Args::slices(&moved), false, env);
                engine.notify_removal(NotifyClasses::SET, "srem", &from);
                if !has_already {
                    engine.add_members(&to, Args::slices(&moved), SetForm::Ints, env);
                    engine.notify(NotifyClasses::SET, "sadd", &to);
                }
            }
            held
        }
    };
    env.reply.integer(held.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn counts_what_it_removed() {
        check("SREM s a => :0 | SADD s a b c => :3 | SREM s a a x c => :2 | SMEMBERS s => *1 $1 b");
        check("SADD s 1 2 3 => :3 | SREM s 3 x 01 3 => :1 | SMEMBERS s => *2 $1 1 $1 2");
        check(&format!("SET t 1 => +OK | SREM t a => {WRONG}"));
    }

    #[test]
    fn the_key_is_removed_with_its_last_member() {
        let long = "v".repeat(100);
        for members in ["a b", "1 2", &format!("{long} b")] {
            check(&format!("SADD s {members} => :2 | SREM s {members} => :2 | EXISTS s => :0 | DBSIZE => :0"));
        }
    }

    #[test]
    fn a_member_moves() {
        check("SADD s a b => :2 | SMOVE s t a => :1 | SMEMBERS s => *1 $1 b | SMEMBERS t => *1 $1 a");
        check("SADD s a => :1 | SMOVE s t a => :1 | EXISTS s => :0 | SMOVE s t a => :0");
        check("SADD s a => :1 | SADD t a b => :2 | SMOVE s t a => :1 | SCARD t => :2 | EXISTS s => :0");
        check("SADD s a => :1 | SMOVE s s a => :1 | SMOVE s s b => :0 | SCARD s => :1 | SMOVE s t x => :0");
        check("SADD s 1 => :1 | SADD t a => :1 | SMOVE s t 1 => :1 | OBJECT ENCODING t => $8 listpack");
    }

    #[test]
    fn types_are_checked_in_order() {
        check(&format!("SET x 1 => +OK | SMOVE none x a => :0 | SMOVE x none a => {WRONG}"));
        check(&format!(
            "SET x 1 => +OK | SADD s a => :1 | SMOVE s x a => {WRONG} | SMOVE s x b => {WRONG} | SCARD s => :1"
        ));
    }
}
