//! BITCOUNT.

use super::bits;
use super::range::BitRange;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::string::look_up::text_of;
use fastness_resp::Args;

/// BITCOUNT
pub const BITCOUNT: Command = Command::data(
    "bitcount",
    "<key> [<start> [<end> [BYTE|BIT]]]",
    "Counts the bits that are 1 in a string value, or in a part of it.",
    bitcount,
);

fn bitcount(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let range = BitRange::parse(args.skip(2))?;
    let key = engine.first_key(args, env);
    let mut buffer = itoa::Buffer::new();
    let text = match engine.read(&key, env) {
        Some(entry) => text_of(entry, &mut buffer)?,
        None => b"",
    };
    let count = if range.is_reversed() { 0 } else { bits::count(text, range.bits(text.len())) };
    env.reply.integer(count as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn counts_ones() {
        check("SET k foobar => +OK | BITCOUNT k => :26 | BITCOUNT k 0 0 => :4 | BITCOUNT k 1 1 => :6");
        check("SET k foobar => +OK | BITCOUNT k 1 => :22 | BITCOUNT k -1 => :4 | BITCOUNT k -2 -1 => :7");
        check("SET k foobar => +OK | BITCOUNT k 1 1 BYTE => :6 | BITCOUNT k 5 30 BIT => :17");
        check("SET k 12 => +OK | BITCOUNT k => :6 | BITCOUNT missing 1 2 => :0");
    }

    #[test]
    fn empty_ranges() {
        check("SET k abc => +OK | BITCOUNT k 3 => :0 | BITCOUNT k 2 1 => :0 | BITCOUNT k -1 -2 => :0");
        check("SET k abc => +OK | BITCOUNT k -50 -100 => :0 | BITCOUNT k -100 -50 => :3");
    }

    #[test]
    fn refusals() {
        check("BITCOUNT k x => -ERR value is not an integer or out of range");
        check("BITCOUNT k 0 x => -ERR value is not an integer or out of range");
        check("BITCOUNT k 0 x nibble => -ERR syntax error | BITCOUNT k x 1 BIT 1 => -ERR syntax error");
        check(
            "RPUSH l a => :1 | BITCOUNT l x => -ERR value is not an integer or out of range | \
             BITCOUNT l => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
