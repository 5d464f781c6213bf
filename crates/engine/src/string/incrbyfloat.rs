//! INCRBYFLOAT.

use super::look_up::text_of;
use crate::codec::long_double::LongDouble;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::ExpiryChange;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// INCRBYFLOAT
pub const INCRBYFLOAT: Command = Command::data(
    "incrbyfloat",
    "<key> <increment>",
    "Increments the floating point value of a key by a number; a missing key counts as 0.",
    incrbyfloat,
);

fn incrbyfloat(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let parse = |text: &[u8]| LongDouble::parse(text).ok_or(CommandError::NotAFloat);
    let old = match engine.look_up(&key, env) {
        Some(entry) => parse(text_of(entry, &mut itoa::Buffer::new())?)?,
        None => LongDouble::ZERO,
    };
    let sum = old.add(parse(args.get(2))?).ok_or(CommandError::NanOrInfinity)?;
    let text = sum.to_text();
    engine.set(&key, text.as_bytes(), ExpiryChange::Keep, env);
    engine.notify(NotifyClasses::STRING, "incrbyfloat", &key);
    env.reply.bulk(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn adds() {
        check("INCRBYFLOAT k 0.1 => $3 0.1 | INCRBYFLOAT k 0.2 => $3 0.3 | INCRBYFLOAT k -0.3 => $1 0");
        check("SET k 1 EX 9 => +OK | INCRBYFLOAT k 1.5 => $3 2.5 | PTTL k => :9000");
    }

    #[test]
    fn refusals() {
        check("INCRBYFLOAT k x => -ERR value is not a valid float");
        check("SET k x => +OK | INCRBYFLOAT k 1 => -ERR value is not a valid float");
        check("INCRBYFLOAT k inf => -ERR increment would produce NaN or Infinity");
    }
}
