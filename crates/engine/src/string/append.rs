//! APPEND, SETRANGE.

use super::look_up::check_length;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// APPEND
pub const APPEND: Command = Command::data(
    "append",
    "<key> <value>",
    "Appends to the string value of a key; a missing key counts as empty.",
    append,
);
/// SETRANGE
pub const SETRANGE: Command = Command::data(
    "setrange",
    "<key> <offset> <value>",
    "Overwrites part of a string value, starting at an offset; a missing key counts as empty.",
    setrange,
);

/// The length of a string; `None` if the key does not exist.
fn length(engine: &mut Engine, key: &Key<'_>, env: &mut Env<'_>) -> Result<Option<usize>, CommandError> {
    engine.value(key, env).map(|value| value.text_len().ok_or(CommandError::WrongType)).transpose()
}

fn append(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (key, tail) = (engine.first_key(args, env), args.get(2));
    let len = length(engine, &key, env)?;
    if let Some(len) = len {
        check_length(len, tail.len())?;
    }
    engine.append(&key, tail, env);
    engine.notify(NotifyClasses::STRING, "append", &key);
    env.reply.integer((len.unwrap_or(0) + tail.len()) as i64);
    Ok(())
}

fn setrange(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let offset = usize::try_from(integer(args.get(2))?).map_err(|_| CommandError::OffsetOutOfRange)?;
    let (key, bytes) = (engine.first_key(args, env), args.get(3));
    let len = length(engine, &key, env)?.unwrap_or(0);
    if bytes.is_empty() {
        env.reply.integer(len as i64);
        return Ok(());
    }
    check_length(offset, bytes.len())?;
    engine.set_range(&key, offset as u64, bytes, env);
    engine.notify(NotifyClasses::STRING, "setrange", &key);
    env.reply.integer(len.max(offset + bytes.len()) as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn appends() {
        check(
            "APPEND k ab => :2 | APPEND k c => :3 | GET k => $3 abc | SET n 1 => +OK | APPEND n 2 => :2 | GET n => $2 12",
        );
        check("SET k v EX 9 => +OK | APPEND k w => :2 | PTTL k => :9000");
        check("SET k v PX 1 => +OK | wait 2 | APPEND k w => :1");
    }

    #[test]
    fn grows_far() {
        let part = "x".repeat(500);
        let step = |n: usize| format!("APPEND k {part} => :{}", n * 500);
        let steps: Vec<String> = (1..=10).map(step).collect();
        check(&format!("{} | STRLEN k => :5000 | SET k v => +OK | GET k => $1 v", steps.join(" | ")));
    }

    #[test]
    fn overwrites_a_range() {
        check("SETRANGE k 2 ab => :4 | STRLEN k => :4 | SETRANGE k 0 xy => :4 | GET k => $4 xyab");
        check("SET k 12345 => +OK | SETRANGE k 1 x => :5 | GET k => $5 1x345");
        check("SETRANGE k 536870911 ab => -ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        check("SETRANGE k -1 a => -ERR offset is out of range");
        check("SETRANGE k a a => -ERR value is not an integer or out of range | EXISTS k => :0");
    }

    #[test]
    fn an_empty_range_changes_nothing() {
        let mut bench = crate::testing::Bench::new();
        assert_eq!(bench.run(&[b"setrange", b"k", b"9", b""]), b":0\r\n");
        assert!(bench.effects.is_empty());
        bench.script("EXISTS k => :0");
    }
}
