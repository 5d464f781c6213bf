//! BITFIELD, BITFIELD_RO.

use super::field::{BitField, Overflow};
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use crate::string::look_up::{check_length, check_string, text_of};
use fastness_resp::Args;
use smallvec::SmallVec;

/// BITFIELD
pub const BITFIELD: Command = Command::data(
    "bitfield",
    "<key> [GET <encoding> <offset>|[OVERFLOW WRAP|SAT|FAIL] \
     SET <encoding> <offset> <value>|INCRBY <encoding> <offset> <increment> ...]",
    "Reads, sets and increments integers of any width at any bit of a string value.",
    |engine, args, env| {
        let steps = steps(args)?;
        if writes(&steps) { change(engine, args, &steps, env) } else { read(engine, args, &steps, env) }
    },
);
/// BITFIELD_RO
pub const BITFIELD_RO: Command = Command::data(
    "bitfield_ro",
    "<key> [GET <encoding> <offset> [GET <encoding> <offset> ...]]",
    "Reads integers of any width at any bit of a string value.",
    |engine, args, env| {
        let steps = steps(args)?;
        if writes(&steps) {
            return Err(CommandError::Fixed("ERR BITFIELD_RO only supports the GET subcommand"));
        }
        read(engine, args, &steps, env)
    },
);

/// One operation of a command.
#[derive(Debug, Clone, Copy)]
struct Step {
    field: BitField,
    access: Access,
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

/// Few commands have more.
type Steps = SmallVec<[Step; 2]>;

/// Reads the operations among the arguments. OVERFLOW applies to those after it.
fn steps(args: Args<'_>) -> Result<Steps, CommandError> {
    let (mut steps, mut overflow) = (Steps::new(), Overflow::Wrap);
    let mut at = 2;
    while let Some(word) = args.try_get(at) {
        let is = |name: &str, takes: usize| word.eq_ignore_ascii_case(name.as_bytes()) && args.len() - at > takes;
        let (gets, sets, increments) = (is("get", 2), is("set", 3), is("incrby", 3));
        if is("overflow", 1) {
            overflow = Overflow::parse(args.get(at + 1))?;
            at += 2;
            continue;
        }
        if !gets && !sets && !increments {
            return Err(CommandError::Syntax);
        }
        let field = BitField::parse(args.get(at + 1), args.get(at + 2))?;
        let access = match gets {
            true => Access::Get,
            false if sets => Access::Set(integer(args.get(at + 3))?, overflow),
            false => Access::Increment(integer(args.get(at + 3))?, overflow),
        };
        at += if gets { 3 } else { 4 };
        steps.push(Step { field, access });
    }
    Ok(steps)
}

fn writes(steps: &[Step]) -> bool {
    steps.iter().any(|step| !matches!(step.access, Access::Get))
}

fn read(engine: &mut Engine, args: Args<'_>, steps: &[Step], env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let mut buffer = itoa::Buffer::new();
    let text = match engine.read(&key, env) {
        Some(entry) => text_of(entry, &mut buffer)?,
        None => b"",
    };
    env.reply.array(steps.len());
    steps.iter().for_each(|step| env.reply.integer(step.field.read(text)));
    Ok(())
}

/// Performs operations, some of which write. As in Valkey, the string grows to hold all integers that are written, even
/// if OVERFLOW FAIL then forbids it; unlike there, it does not grow beyond the longest string.
fn change(engine: &mut Engine, args: Args<'_>, steps: &[Step], env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    engine.look_up(&key, env).map_or(Ok(()), check_string)?;
    let written = steps.iter().filter(|step| !matches!(step.access, Access::Get));
    let end = written.map(|step| step.field.end()).max().unwrap_or(0);
    check_length(end, 0)?;
    let before = env.effects.len();
    env.reply.array(steps.len());
    for step in steps {
        match step.perform(engine, &key, env) {
            Some(integer) => env.reply.integer(integer),
            None => env.reply.null(),
        }
    }
    if with_text(engine, &key, <[u8]>::len) < end {
        engine.set_range(&key, end as u64 - 1, &[0], env);
    }
    if env.effects.len() > before {
        engine.notify(NotifyClasses::STRING, "setbit", &key);
    }
    Ok(())
}

impl Step {
    /// Performs it and returns its reply; `None` if it failed.
    fn perform(self, engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) -> Option<i64> {
        let field = self.field;
        let present = with_text(engine, key, |text| field.read(text));
        let (new, reply) = match self.access {
            Access::Get => return Some(present),
            Access::Set(number, overflow) => (field.set(number, overflow)?, present),
            Access::Increment(number, overflow) => {
                let sum = field.add(present, number, overflow)?;
                (sum, sum)
            }
        };
        if new != present {
            let bytes = with_text(engine, key, |text| field.written(text, new));
            engine.set_range(key, field.start() as u64, bytes.as_slice(), env);
        }
        Some(reply)
    }
}

/// Reads the string of a key that has been looked up; a missing one is empty.
fn with_text<T>(engine: &Engine, key: &Key<'_>, read: impl FnOnce(&[u8]) -> T) -> T {
    let mut buffer = itoa::Buffer::new();
    read(engine.keyspace().find(key).and_then(|entry| entry.value().text(&mut buffer)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn sets_and_gets() {
        check("BITFIELD k SET u8 0 65 SET u8 #1 66 GET u16 0 => *3 :0 :0 :16706 | GET k => $2 AB");
        check("SET k AB => +OK | BITFIELD k SET i8 8 -1 GET u8 8 GET i8 8 GET i8 4 => *4 :66 :255 :-1 :31");
        check("SET k 12 => +OK | BITFIELD k GET u8 0 => *1 :49 | BITFIELD k SET u4 12 3 => *1 :2 | GET k => $2 13");
        check("BITFIELD k => *0 | BITFIELD k GET u8 0 OVERFLOW FAIL => *1 :0 | EXISTS k => :0");
    }

    #[test]
    fn increments() {
        check(
            "BITFIELD k INCRBY i5 100 1 GET u4 0 => *2 :1 :0 | STRLEN k => :14 | bitfield k incrby i5 100 -3 => *1 :-2",
        );
        check(
            "BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1 => *2 :1 :1 | \
             BITFIELD k INCRBY u2 100 3 OVERFLOW SAT INCRBY u2 102 3 => *2 :0 :3 | \
             BITFIELD k OVERFLOW FAIL INCRBY u2 102 1 OVERFLOW WRAP INCRBY u2 102 1 => *2 $-1 :0",
        );
    }

    #[test]
    fn keeps_the_deadline() {
        check("SET k 1 EX 9 => +OK | BITFIELD k SET u8 64 1 => *1 :0 | PTTL k => :9000 | STRLEN k => :9");
        check(
            "SET k 1 PX 1 => +OK | wait 2 | BITFIELD k GET u8 0 => *1 :0 | BITFIELD k SET u8 0 0 => *1 :0 | \
             TTL k => :-1",
        );
    }

    #[test]
    fn grows_even_if_nothing_is_written() {
        check("BITFIELD k OVERFLOW FAIL SET u2 8 9 => *1 $-1 | STRLEN k => :2 | GETBIT k 8 => :0");
        check("BITFIELD k SET u8 0 0 GET u8 800 => *2 :0 :0 | STRLEN k => :1");
    }

    #[test]
    fn an_unchanged_string_is_not_logged() {
        let mut bench = Bench::new();
        bench.script("SET k AB => +OK");
        let logged = bench.effects.encoded().to_vec().len();
        bench.script("BITFIELD k SET u8 8 66 INCRBY u8 0 0 OVERFLOW FAIL INCRBY u8 0 200 => *3 :66 :65 $-1");
        assert_eq!(bench.effects.encoded().to_vec().len(), logged);
    }

    #[test]
    fn read_only() {
        check("SET k A => +OK | BITFIELD_RO k GET u8 0 get i4 4 => *2 :65 :1 | BITFIELD_RO k OVERFLOW SAT => *0");
        check("BITFIELD_RO k SET u8 0 1 => -ERR BITFIELD_RO only supports the GET subcommand | EXISTS k => :0");
        check("BITFIELD_RO k INCRBY u8 0 x => -ERR value is not an integer or out of range");
    }

    #[test]
    fn refusals() {
        const TYPE: &str =
            "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
        check(&format!(
            "BITFIELD k GET u64 x => {TYPE} | BITFIELD k SET i8 0 1 SET i65 0 1 => {TYPE} | EXISTS k => :0"
        ));
        check("BITFIELD k SET u8 -1 x => -ERR bit offset is not an integer or out of range");
        check("BITFIELD k SET u8 0 x => -ERR value is not an integer or out of range");
        check("BITFIELD k GET u8 => -ERR syntax error | BITFIELD k SET u8 0 => -ERR syntax error");
        check("BITFIELD k FOO u8 0 => -ERR syntax error | BITFIELD k OVERFLOW => -ERR syntax error");
        check("BITFIELD k OVERFLOW foo GET u8 0 => -ERR Invalid OVERFLOW type specified");
        check("BITFIELD k SET u8 4294967295 1 => -ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        check(
            "RPUSH l a => :1 | BITFIELD l SET u8 0 x => -ERR value is not an integer or out of range | \
             BITFIELD l SET u8 0 1 => -WRONGTYPE Operation against a key holding the wrong kind of value | \
             BITFIELD l => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
