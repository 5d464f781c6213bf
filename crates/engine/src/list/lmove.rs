//! LMOVE, RPOPLPUSH: moves an element from an end of a list to an end of another, or of the same.

use super::change::{ListChange, ListEnd};
use super::look_up::look_up;
use crate::codec::listpack::Packable;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// LMOVE source destination LEFT | RIGHT LEFT | RIGHT
pub const LMOVE: Command = Command::data(
    "lmove",
    "<source> <destination> (LEFT|RIGHT) (LEFT|RIGHT)",
    "Moves an element from an end of a list to an end of another one, and returns it.",
    |engine, args, env| {
        let (from, to) = (ListEnd::parse(args.get(3))?, ListEnd::parse(args.get(4))?);
        run(engine, args, env, from, to)
    },
);
/// RPOPLPUSH source destination
pub const RPOPLPUSH: Command = Command::data(
    "rpoplpush",
    "<source> <destination>",
    "Moves the last element of a list to the head of another one, and returns it.",
    |engine, args, env| run(engine, args, env, ListEnd::Tail, ListEnd::Head),
);

/// Moves an element from an end of the list at the first key to an end of that at the second.
pub(super) fn run(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    from: ListEnd,
    to: ListEnd,
) -> Result<(), CommandError> {
    let source = engine.first_key(args, env);
    let Some(list) = look_up(engine, &source, env)? else {
        env.reply.null();
        return Ok(());
    };
    let index = if from == ListEnd::Head { 0 } else { list.len() - 1 };
    let element = list.get(index).map(Packable::to_vec).unwrap_or_default();
    let destination = engine.key(args.get(2));
    if source.bytes == destination.bytes {
        // The list keeps its deadline, even if it has no other element.
        engine.change_list(&source, ListChange::Rotate { from, to }, env);
        engine.notify(NotifyClasses::LIST, to.pushed(), &source);
        engine.notify(NotifyClasses::LIST, from.popped(), &source);
    } else {
        look_up(engine, &destination, env)?;
        engine.push_elements(&destination, to, Args::slices(&[&element]), env);
        engine.pop_elements(&source, from, 1, env);
    }
    env.reply.bulk(&element);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn moves_between_lists() {
        check(
            "LMOVE l m LEFT LEFT => $-1 | RPUSH l a b c => :3 | LMOVE l m LEFT RIGHT => $1 a | \
            LMOVE l m RIGHT RIGHT => $1 c | LRANGE m 0 -1 => *2 $1 a $1 c",
        );
        check(
            "RPUSH l a => :1 | RPUSH m x => :1 | RPOPLPUSH l m => $1 a | EXISTS l => :0 | \
            LRANGE m 0 -1 => *2 $1 a $1 x",
        );
    }

    #[test]
    fn moves_within_a_list() {
        check(
            "RPUSH l a b c => :3 | LMOVE l l LEFT RIGHT => $1 a | LRANGE l 0 -1 => *3 $1 b $1 c $1 a | \
            RPOPLPUSH l l => $1 a | LRANGE l 0 -1 => *3 $1 a $1 b $1 c",
        );
        check(
            "RPUSH l a => :1 | PEXPIRE l 50 => :1 | RPOPLPUSH l l => $1 a | PTTL l => :50 | \
            LMOVE l l RIGHT RIGHT => $1 a | LRANGE l 0 -1 => *1 $1 a",
        );
    }

    /// The texts of a packed list may have as many bytes as a node, and its packed form more, which is what a move
    /// compares.
    #[test]
    fn a_move_within_a_list_over_the_limit_unpacks_it() {
        let mut bench = Bench::new();
        let elements: Vec<String> = (0..280).map(|n| format!("{n:>28}")).collect();
        let words = [&b"RPUSH"[..], b"l"].into_iter().chain(elements.iter().map(String::as_bytes));
        assert_eq!(bench.run(&words.collect::<Vec<_>>()), b":280\r\n");
        bench.script("OBJECT ENCODING l => $8 listpack");
        bench.run(&[b"LMOVE", b"l", b"l", b"LEFT", b"RIGHT"]);
        bench.script("OBJECT ENCODING l => $9 quicklist | LLEN l => :280");
    }

    #[test]
    fn refusals() {
        check("LMOVE l m x LEFT => -ERR syntax error | LMOVE l m LEFT x => -ERR syntax error");
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!(
            "SET s 1 => +OK | RPUSH l a => :1 | LMOVE l s LEFT LEFT => {wrong} | RPOPLPUSH s l => {wrong} | \
            LLEN l => :1"
        ));
        check("SET s 1 => +OK | LMOVE l s LEFT LEFT => $-1");
    }
}
