//! SETBIT, GETBIT.

use super::offset::bit_offset;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use crate::string::look_up::text_of;
use fastness_resp::Args;

/// SETBIT
pub const SETBIT: Command = Command::data(
    "setbit",
    "<key> <offset> <value>",
    "Sets one bit of a string value and returns the previous bit; the string grows to hold it.",
    setbit,
);
/// GETBIT
pub const GETBIT: Command =
    Command::data("getbit", "<key> <offset>", "Returns one bit of a string value; 0 after its end.", getbit);

fn setbit(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let offset = bit_offset(args.get(2))?;
    let one = match args.get(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(CommandError::Fixed("ERR bit is not an integer or out of range")),
    };
    let key = engine.first_key(args, env);
    let (at, mask) = place(offset);
    let mut buffer = itoa::Buffer::new();
    let old = match engine.look_up(&key, env) {
        Some(entry) => text_of(entry, &mut buffer)?.get(at).copied(),
        None => None,
    };
    let byte = old.unwrap_or(0);
    let new = if one { byte | mask } else { byte & !mask };
    if old != Some(new) {
        engine.set_range(&key, at as u64, &[new], env);
        engine.notify(NotifyClasses::STRING, "setbit", &key);
    }
    env.reply.integer(i64::from(byte & mask != 0));
    Ok(())
}

fn getbit(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (at, mask) = place(bit_offset(args.get(2))?);
    let key = engine.first_key(args, env);
    let mut buffer = itoa::Buffer::new();
    let byte = match engine.read(&key, env) {
        Some(entry) => text_of(entry, &mut buffer)?.get(at).copied(),
        None => None,
    };
    env.reply.integer(i64::from(byte.unwrap_or(0) & mask != 0));
    Ok(())
}

/// The byte of a bit, and the bit in it.
fn place(offset: usize) -> (usize, u8) {
    (offset / 8, 0x80 >> (offset % 8))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn sets_and_reads_bits() {
        check("SETBIT k 1 1 => :0 | SETBIT k 7 1 => :0 | GET k => $1 A | GETBIT k 1 => :1 | GETBIT k 2 => :0");
        check("SETBIT k 1 1 => :0 | SETBIT k 1 0 => :1 | SETBIT k 1 0 => :0 | STRLEN k => :1 | GETBIT k 99 => :0");
        check("GETBIT k 0 => :0 | SETBIT k 23 0 => :0 | STRLEN k => :3 | GETBIT k 4294967295 => :0");
    }

    #[test]
    fn numbers_are_texts() {
        check("SET k 1 => +OK | GETBIT k 7 => :1 | GETBIT k 8 => :0 | SETBIT k 6 1 => :0 | GET k => $1 3");
        check("SET k 10 => +OK | SETBIT k 20 1 => :0 | STRLEN k => :3");
    }

    #[test]
    fn keeps_the_deadline() {
        check("SET k 1 EX 9 => +OK | SETBIT k 6 1 => :0 | PTTL k => :9000");
        check("SET k 1 PX 1 => +OK | wait 2 | GETBIT k 7 => :0 | SETBIT k 6 0 => :0 | PTTL k => :-1");
    }

    #[test]
    fn an_unchanged_string_is_not_logged() {
        let mut bench = Bench::new();
        bench.script("SET k 1 => +OK | SET long x => +OK | SETBIT long 9000 1 => :0");
        let logged = bench.effects.encoded().to_vec().len();
        bench.script("SETBIT k 7 1 => :1 | SETBIT k 0 0 => :0 | SETBIT long 9000 1 => :1 | SETBIT long 8000 0 => :0");
        assert_eq!(bench.effects.encoded().to_vec().len(), logged);
        bench.script("SETBIT k 8 0 => :0 | STRLEN k => :2");
        assert!(bench.effects.encoded().to_vec().len() > logged, "it grew");
    }

    #[test]
    fn refusals() {
        check("SETBIT k -1 x => -ERR bit offset is not an integer or out of range");
        check("SETBIT k 4294967296 1 => -ERR bit offset is not an integer or out of range");
        check("SETBIT k #1 1 => -ERR bit offset is not an integer or out of range");
        check("GETBIT k x => -ERR bit offset is not an integer or out of range");
        check("SETBIT k 0 2 => -ERR bit is not an integer or out of range | EXISTS k => :0");
        check("SETBIT k 0 -1 => -ERR bit is not an integer or out of range");
        check("SETBIT k 0 01 => -ERR bit is not an integer or out of range");
        check(
            "RPUSH l a => :1 | SETBIT l 0 2 => -ERR bit is not an integer or out of range | \
             SETBIT l 0 0 => -WRONGTYPE Operation against a key holding the wrong kind of value | \
             GETBIT l 0 => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
