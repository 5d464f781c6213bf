//! LREM, LTRIM. The key is removed with its last element.

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

/// LREM key count element
pub const LREM: Command = Command::data(
    "lrem",
    "<key> <count> <element>",
    "Removes elements with this value from a list; a list without elements is deleted.",
    lrem,
);
/// LTRIM key start stop
pub const LTRIM: Command = Command::data(
    "ltrim",
    "<key> <start> <stop>",
    "Removes the elements of a list outside of a range; a list without elements is deleted.",
    ltrim,
);

/// An integer whose negative is one, too.
pub(super) fn symmetric(text: &[u8]) -> Result<i64, CommandError> {
    const RANGE: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    match integer(text)? {
        i64::MIN => Err(CommandError::Fixed(RANGE)),
        number => Ok(number),
    }
}

fn lrem(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let count = symmetric(args.get(2))?;
    let key = engine.first_key(args, env);
    let Some(list) = look_up(engine, &key, env)? else {
        env.reply.integer(0);
        return Ok(());
    };
    let wanted = WantedElement::new(args.get(3));
    let most = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let positions: Vec<usize> = if count < 0 {
        let last = list.len().saturating_sub(1);
        let found = list.iter_back(last).enumerate().filter(|(_, element)| wanted.is(*element)).take(most);
        let mut positions: Vec<usize> = found.map(|(back, _)| last - back).collect();
        positions.reverse();
        positions
    } else {
        let found = list.iter_from(0).enumerate().filter(|(_, element)| wanted.is(*element)).take(most);
        found.map(|(position, _)| position).collect()
    };
    if !positions.is_empty() {
        engine.remove_elements(&key, &positions, env);
        engine.notify_removal(NotifyClasses::LIST, "lrem", &key);
    }
    env.reply.integer(positions.len() as i64);
    Ok(())
}

fn ltrim(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (start, end) = (integer(args.get(2))?, integer(args.get(3))?);
    let key = engine.first_key(args, env);
    if let Some(list) = look_up(engine, &key, env)? {
        let (from, to) = list.range(start, end).unwrap_or((list.len(), list.len()));
        let (head, tail) = (from as u64, (list.len() - to) as u64);
        if head + tail > 0 {
            engine.change_list(&key, ListChange::Trim { head, tail }, env);
        }
        engine.notify_removal(NotifyClasses::LIST, "ltrim", &key);
    }
    env.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn removes_equal_elements() {
        check(
            "RPUSH l a 1 a b a 1 => :6 | LREM l 1 a => :1 | LREM l -1 a => :1 | \
            LRANGE l 0 -1 => *4 $1 1 $1 a $1 b $1 1",
        );
        check("RPUSH l a 1 a b a 1 => :6 | LREM l 0 1 => :2 | LREM l 9 a => :3 | LREM l 0 b => :1 | EXISTS l => :0");
        check("LREM l 0 a => :0 | LREM l x a => -ERR value is not an integer or out of range");
        check(
            "LREM l -9223372036854775808 a => -ERR value is out of range, value must between \
            -9223372036854775807 and 9223372036854775807",
        );
        check("SET s 1 => +OK | LREM s 0 a => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn keeps_a_range() {
        check(
            "RPUSH l a b c d => :4 | LTRIM l 1 -2 => +OK | LRANGE l 0 -1 => *2 $1 b $1 c | LTRIM l 5 9 => +OK | \
            EXISTS l => :0",
        );
        check(
            "LTRIM l 0 1 => +OK | RPUSH l a => :1 | LTRIM l 0 9223372036854775807 => +OK | LLEN l => :1 | \
            LTRIM l 1 0 => +OK | EXISTS l => :0",
        );
        check(
            "LTRIM l x 0 => -ERR value is not an integer or out of range | \
            LTRIM l 0 x => -ERR value is not an integer or out of range",
        );
        check("SET s 1 => +OK | LTRIM s 0 1 => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    /// Whatever a command removes, its effect and its undo record are small.
    #[test]
    fn effects_of_large_removals_are_bounded() {
        let mut bench = Bench::new();
        for _ in 0..100 {
            let words: Vec<&[u8]> = [&b"RPUSH"[..], b"l"]
                .into_iter()
                .chain((0..1_000).map(|n| if n % 2 == 0 { &b"even"[..] } else { b"odd" }))
                .collect();
            bench.run(&words);
        }
        bench.effects.clear();
        bench.engine.keep_undo(usize::MAX);
        bench.script("LREM l 0 even => :50000");
        assert!(bench.effects.len() < 50_100, "one byte for each: {}", bench.effects.len());
        bench.effects.clear();
        bench.script("LTRIM l 100 -100 => +OK | LLEN l => :49801");
        assert!(bench.effects.len() < 20, "{}", bench.effects.len());
    }
}
