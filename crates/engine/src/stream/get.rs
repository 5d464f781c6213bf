//! XLEN, XRANGE, XREVRANGE.

use super::id::StreamId;
use super::look_up::{read, reply_entries};
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// XLEN key
pub const XLEN: Command =
    Command::data("xlen", "<key>", "Returns the number of entries of a stream.", |engine, args, env| {
        let key = engine.first_key(args, env);
        let len = read(engine, &key, env)?.map_or(0, |stream| stream.len());
        env.reply.integer(len as i64);
        Ok(())
    });
/// XRANGE key start end \[COUNT count]
pub const XRANGE: Command = Command::data(
    "xrange",
    "<key> <start> <end> [COUNT <count>]",
    "Returns the entries of a stream within a range of ids.",
    |engine, args, env| range(engine, args, env, false),
);
/// XREVRANGE key end start \[COUNT count]
pub const XREVRANGE: Command = Command::data(
    "xrevrange",
    "<key> <end> <start> [COUNT <count>]",
    "Returns the entries of a stream within a range of ids, the last one first.",
    |engine, args, env| range(engine, args, env, true),
);

fn range(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>, reverse: bool) -> Result<(), CommandError> {
    let (start, end) = if reverse { (3, 2) } else { (2, 3) };
    let (start, end) = (StreamId::parse_start(args.get(start))?, StreamId::parse_end(args.get(end))?);
    let (mut count, mut at) = (None, 4);
    while at < args.len() {
        match args.try_get(at + 1) {
            Some(number) if args.get(at).eq_ignore_ascii_case(b"count") => count = Some(integer(number)?.max(0)),
            _ => return Err(CommandError::Syntax),
        }
        at += 2;
    }
    let key = engine.first_key(args, env);
    match (read(engine, &key, env)?, count) {
        (None, _) => env.reply.array(0),
        (Some(_), Some(0)) => env.reply.null_array(),
        (Some(stream), count) => {
            let count = usize::try_from(count.unwrap_or(0)).unwrap_or(usize::MAX);
            if reverse {
                reply_entries(stream.range_back(start, end), count, env.reply);
            } else {
                reply_entries(stream.range(start, end), count, env.reply);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    const ADD: &str = "XADD s 1-0 a 1 => $3 1-0 | XADD s 1-1 b x c y => $3 1-1 | XADD s 2-0 a 3 => $3 2-0";

    #[test]
    fn ranges() {
        let (first, second, third) =
            ("*2 $3 1-0 *2 $1 a $1 1", "*2 $3 1-1 *4 $1 b $1 x $1 c $1 y", "*2 $3 2-0 *2 $1 a $1 3");
        check(&format!(
            "{ADD} | XRANGE s - + => *3 {first} {second} {third} | XREVRANGE s + - => *3 {third} {second} {first}"
        ));
        check(&format!("{ADD} | XRANGE s 1 1 => *2 {first} {second} | XREVRANGE s 1 1 => *2 {second} {first}"));
        check(&format!("{ADD} | XRANGE s (1-0 (2-0 => *1 {second} | XRANGE s 1-1 + COUNT 1 => *1 {second}"));
        check(&format!("{ADD} | XREVRANGE s + - COUNT 2 => *2 {third} {second} | XRANGE s 3 + => *0"));
        check(&format!(
            "{ADD} | XRANGE s - + COUNT 0 => *-1 | XRANGE s - + COUNT -5 => *-1 | XRANGE none - + COUNT 0 => *0"
        ));
        check(&format!("{ADD} | XLEN s => :3 | XLEN none => :0 | XRANGE s + - => *0"));
    }

    #[test]
    fn refusals() {
        check("XRANGE s (+ - => -ERR Invalid stream ID specified as stream command argument");
        check("XRANGE s - (0-0 => -ERR invalid end ID for the interval | XRANGE s - + COUNT => -ERR syntax error");
        check(
            "XRANGE s - + LIMIT 1 => -ERR syntax error | XRANGE s - + COUNT x => -ERR value is not an integer or out of range",
        );
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!("SET s 1 => +OK | XLEN s => {wrong} | XRANGE s - + => {wrong}"));
    }

    #[test]
    fn many_nodes() {
        let mut bench = Bench::new();
        for i in 1..=2_000 {
            bench.run(&[b"XADD", b"s", format!("{i}-0").as_bytes(), b"a", format!("{i}").as_bytes()]);
        }
        bench.script("XLEN s => :2000 | XRANGE s 1234 1234 => *1 *2 $6 1234-0 *2 $1 a $4 1234");
        bench.script("XREVRANGE s 1300 - COUNT 1 => *1 *2 $6 1300-0 *2 $1 a $4 1300");
        bench.script("XRANGE s 2001 + => *0 | XRANGE s (2000 + => *0 | XREVRANGE s 0-5 - => *0");
    }
}
