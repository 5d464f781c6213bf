//! BITPOS.

use super::bits;
use super::range::BitRange;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::string::look_up::text_of;
use fastness_resp::Args;

/// BITPOS
pub const BITPOS: Command = Command::data(
    "bitpos",
    "<key> <bit> [<start> [<end> [BYTE|BIT]]]",
    "Finds the first bit that is 1, or that is 0, in a string value or in a part of it.",
    bitpos,
);

fn bitpos(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let one = match integer(args.get(2))? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::Fixed("ERR The bit argument must be 1 or 0.")),
    };
    let range = BitRange::parse(args.skip(3))?;
    let key = engine.first_key(args, env);
    let mut buffer = itoa::Buffer::new();
    let found = match engine.read(&key, env) {
        Some(entry) => position(text_of(entry, &mut buffer)?, one, range),
        // Bits without an end, all of them 0.
        None => (!one).then_some(0),
    };
    env.reply.integer(found.map_or(-1, |at| at as i64));
    Ok(())
}

/// The first such bit. A range without an end is followed by zeroes, unless it is empty.
fn position(text: &[u8], one: bool, range: BitRange) -> Option<usize> {
    let bits = range.bits(text.len());
    let after = (!one && !range.has_end() && !bits.is_empty()).then_some(bits.end);
    bits::find(text, one, bits).or(after)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn finds_the_first() {
        check("SET k 0 => +OK | BITPOS k 1 => :2 | BITPOS k 0 => :0 | BITPOS k 1 4 => :-1 | BITPOS k 0 0 0 => :0");
        check("SET k abc => +OK | BITPOS k 1 1 => :9 | BITPOS k 1 -1 => :17 | BITPOS k 0 1 1 BYTE => :8");
        check("SET k abc => +OK | BITPOS k 1 3 7 BIT => :7 | BITPOS k 1 3 6 BIT => :-1 | BITPOS k 0 1 -1 BIT => :3");
        check("SET k abc => +OK | BITPOS k 0 -50 -100 => :0 | BITPOS k 1 3 => :-1 | BITPOS k 0 3 => :-1");
    }

    #[test]
    fn zeroes_follow_a_string_whose_end_is_not_given() {
        let mut bench = Bench::new();
        bench.run(&[b"set", b"k", &[0xff; 5]]);
        bench.script("BITPOS k 0 => :40 | BITPOS k 0 2 => :40 | BITPOS k 0 2 -1 => :-1 | BITPOS k 0 0 39 BIT => :-1");
        bench.script("BITPOS k 1 => :0 | BITPOS k 0 5 => :-1");
    }

    #[test]
    fn missing_and_empty_strings() {
        check("BITPOS k 1 => :-1 | BITPOS k 0 => :0 | BITPOS k 0 5 9 => :0 | BITPOS k 1 5 9 BIT => :-1");
        let mut bench = Bench::new();
        bench.run(&[b"set", b"k", b""]);
        bench.script("BITPOS k 0 => :-1 | BITPOS k 1 => :-1 | BITPOS k 0 0 => :-1");
    }

    #[test]
    fn refusals() {
        check("BITPOS k x 1 2 3 4 => -ERR value is not an integer or out of range");
        check("BITPOS k 2 1 2 3 4 => -ERR The bit argument must be 1 or 0.");
        check("BITPOS k 1 1 2 BIT 4 => -ERR syntax error | BITPOS k 1 1 2 nibble => -ERR syntax error");
        check("BITPOS k 1 x => -ERR value is not an integer or out of range");
        check("RPUSH l a => :1 | BITPOS l 1 => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }
}
