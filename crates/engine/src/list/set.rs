//! LSET, LINSERT.

use super::change::ListChange;
use super::look_up::look_up;
use super::view::WantedElement;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use fastness_types::FormatLevel;

/// LSET key index element
pub const LSET: Command =
    Command::data("lset", "<key> <index> <element>", "Replaces an element of a list by its position.", lset);
/// LINSERT key BEFORE | AFTER pivot element
pub const LINSERT: Command = Command::data(
    "linsert",
    "<key> (BEFORE|AFTER) <pivot> <element>",
    "Adds an element before or after the first element of a list with this value.",
    linsert,
);

fn lset(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let list = look_up(engine, &key, env)?.ok_or(CommandError::NoSuchKey)?;
    let index = list.index(integer(args.get(2))?).ok_or(CommandError::Fixed("ERR index out of range"))?;
    engine.change_list(&key, ListChange::Set { index: index as u64, element: args.get(3) }, env);
    engine.notify(NotifyClasses::LIST, "lset", &key);
    env.reply.ok();
    Ok(())
}

fn linsert(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let after = match args.get(2) {
        word if word.eq_ignore_ascii_case(b"after") => true,
        word if word.eq_ignore_ascii_case(b"before") => false,
        _ => return Err(CommandError::Syntax),
    };
    let key = engine.first_key(args, env);
    let Some(list) = look_up(engine, &key, env)? else {
        env.reply.integer(0);
        return Ok(());
    };
    let wanted = WantedElement::new(args.get(3));
    let Some(pivot) = list.iter_from(0).position(|element| wanted.is(element)) else {
        env.reply.integer(-1);
        return Ok(());
    };
    env.reply.integer(list.len() as i64 + 1);
    let value = (engine.format() >= FormatLevel::OUTBOUND).then(|| args.get(3));
    engine.change_list(&key, ListChange::Insert { pivot: pivot as u64, value, after, element: args.get(4) }, env);
    engine.notify(NotifyClasses::LIST, "linsert", &key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn replaces_by_position() {
        check("RPUSH l a b c => :3 | LSET l 1 x => +OK | LSET l -1 17 => +OK | LRANGE l 0 -1 => *3 $1 a $1 x $2 17");
        check("LSET l 0 a => -ERR no such key | RPUSH l a => :1 | LSET l 1 b => -ERR index out of range");
        check("RPUSH l a => :1 | LSET l x b => -ERR value is not an integer or out of range");
        check("SET s 1 => +OK | LSET s 0 a => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn inserts_beside_the_first_that_is_equal() {
        check(
            "RPUSH l a 5 a => :3 | LINSERT l BEFORE a x => :4 | LINSERT l after 5 y => :5 | \
            LRANGE l 0 -1 => *5 $1 x $1 a $1 5 $1 y $1 a",
        );
        check(
            "LINSERT l BEFORE a x => :0 | RPUSH l 05 => :1 | LINSERT l BEFORE 5 x => :-1 | \
            LINSERT l x 5 x => -ERR syntax error",
        );
        check(
            "SET s 1 => +OK | \
            LINSERT s AFTER a b => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn encodings() {
        let long = "v".repeat(9_000);
        check(&format!(
            "RPUSH l a b => :2 | LSET l 0 {long} => +OK | OBJECT ENCODING l => $9 quicklist | LLEN l => :2 | \
            LSET l 0 a => +OK | OBJECT ENCODING l => $8 listpack"
        ));
        check(&format!(
            "RPUSH l a b => :2 | LINSERT l AFTER a {long} => :3 | OBJECT ENCODING l => $9 quicklist | \
            LINDEX l 2 => $1 b"
        ));
    }
}
